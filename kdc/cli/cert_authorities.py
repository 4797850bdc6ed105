"""`kdc cert issuing-ca` and `import-ca`: another CA than the one that `kdc init` made."""

from pathlib import Path

import click

from kdc.cli.authority import (
    Authority,
    issue_http_certificate,
    issue_kdc_certificates,
    issue_ocsp_certificate,
    open_ledger,
    write_root_crl,
)
from kdc.cli.cert_files import read_certificate, read_crl
from kdc.cli.cert_renew import http_names, kdc_hosts, kdc_key_types
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import state_option
from kdc.cli.state import (
    CA_KEY_AAD,
    MAX_PEM_BYTES,
    ROOT_KEY_AAD,
    RealmState,
    make_private_folder,
    now,
    open_realm,
    write_private,
    write_public,
)
from pki import ca, oids
from pki.certificate import Certificate
from pki.chain import is_self_issued
from pki.errors import PkiError
from pki.extensions import KeyUsageBit, decode_basic_constraints, decode_key_usage
from pki.keys import public_key_from_cryptography


def _sealed(realm: RealmState, aad: bytes, key: ca.PrivateKey) -> bytes:
    return realm.master_key().seal(aad, ca.private_key_to_pem(key))


def _put_in_place(
    realm: RealmState, issuer: ca.IssuedCertificate, root: bytes | None, root_crl: bytes | None
) -> None:
    """Make a CA the one that issues; everything of the realm's own is issued by it anew.

    root: the certificate above it; None: it is its own. The new anchor comes before what it judges.
    """
    folder = realm.folder
    key_types, hosts, names = kdc_key_types(realm), kdc_hosts(realm), http_names(realm)
    pem = ca.certificate_to_pem(issuer.certificate_der)
    for place in (folder.trusted_roots, folder.crls, folder.logon_cas):
        make_private_folder(place)
    if root is None:
        folder.own_trusted_root.unlink(missing_ok=True)
    else:
        write_public(folder.own_trusted_root, ca.certificate_to_pem(root))
    if root_crl is not None:
        write_public(folder.root_crl, root_crl)
    write_private(folder.ca_key(realm.config), _sealed(realm, CA_KEY_AAD, issuer.private_key))
    if root is None:
        folder.issuing_certificate.unlink(missing_ok=True)
        write_public(folder.ca_certificate, pem)
    else:
        write_public(folder.issuing_certificate, pem)
        write_public(folder.ca_certificate, ca.certificate_to_pem(root))
    write_public(folder.own_logon_ca, pem)
    with open_ledger(folder) as ledger:
        authority = Authority(folder=folder, config=realm.config, issuer=issuer, ledger=ledger)
        authority.publish_crl()
        issue_kdc_certificates(authority, key_types, hosts)
        issue_http_certificate(authority, *names)
        issue_ocsp_certificate(authority)


@click.command("issuing-ca")
@click.option(
    "--root-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="The sealed key of the offline root; else pki/root.key.",
)
@click.option("--crl-only", is_flag=True, help="Only renew the root's revocation list.")
@state_option
@click.pass_context
def issuing_ca(ctx: click.Context, root_key: Path | None, crl_only: bool) -> None:
    """Make a new issuing CA below the offline root.

    The root's key is needed for this alone, and once a year for the root's revocation list, which
    is renewed here as well. Certificates of the old issuing CA are refused afterwards: issue them
    anew. Clients keep their anchor.
    """
    realm = open_realm(ctx)
    folder = realm.folder
    if not folder.own_trusted_root.exists():
        raise CliError(
            "this realm has no offline root",
            "its CA is its own root",
            "kdc init --ca offline-root makes a realm with one",
        )
    path = root_key or folder.root_key
    root = realm.open_authority_key(path, folder.own_trusted_root, ROOT_KEY_AAD)
    write_root_crl(folder, root)
    click.echo(f"renewed the root's revocation list: {folder.root_crl}")
    if crl_only:
        return
    issuer = ca.issue_issuing_ca(root, realm.config.realm, now())
    _put_in_place(realm, issuer, root.certificate_der, None)
    click.echo(f"made a new issuing CA: {folder.issuing_certificate}")
    click.echo("  the realm's own certificates are issued by it; SIGHUP to a running server")


@click.command("import-ca")
@click.argument("certificate", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("key", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--root-crl",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="The revocation list of the root above it: it says that this CA is not revoked.",
)
@state_option
@click.pass_context
def import_ca(ctx: click.Context, certificate: Path, key: Path, root_crl: Path | None) -> None:
    """Make an existing CA the realm's own.

    CERTIFICATE: PEM, the CA first and, when it is not self-signed, its root last. KEY: its private
    key (PEM, without a password); it is sealed into the state folder, the file stays as it is.
    The CA from before is no logon CA afterwards; clients need the new pki/ca.pem.
    """
    realm = open_realm(ctx)
    chain = read_certificate(certificate)
    issuer = _read_issuer(chain[0], certificate, key)
    root: bytes | None = None
    if not is_self_issued(chain[0]):
        last = chain[-1]
        if len(chain) != 2 or not is_self_issued(last):
            raise CliError(
                f"{certificate} does not lead to a root",
                "a CA that is not self-signed needs the one certificate above it, its root",
                "put the root's certificate behind the CA's",
            )
        root = last.der
    if root is None and root_crl is not None:
        raise click.UsageError("--root-crl is of a root above the CA, and this one is its own")
    found = None if root_crl is None else read_crl(root_crl, chain[-1])
    _put_in_place(realm, issuer, root, found)
    click.echo(f"the realm's CA is now the one of {certificate}")
    click.echo(f"  clients need {realm.folder.ca_certificate}; SIGHUP to a running server")
    if root is not None and found is None and realm.config.revocation == "require":
        click.echo("  put the root's revocation list into pki/crls, or logons are refused (73)")


def _read_issuer(certificate: Certificate, file: Path, key_file: Path) -> ca.IssuedCertificate:
    """Read a CA's certificate and key, and see that they can do a CA's work. Raises CliError."""
    with key_file.open("rb") as opened:
        key = ca.private_key_from_pem(opened.read(MAX_PEM_BYTES))
    try:
        is_pair = public_key_from_cryptography(key.public_key()) == certificate.public_key()
        constraints = certificate.extension(oids.ID_CE_BASIC_CONSTRAINTS)
        usage = certificate.extension(oids.ID_CE_KEY_USAGE)
        is_ca = constraints is not None and bool(decode_basic_constraints(constraints).ca)
        needed = KeyUsageBit.KEY_CERT_SIGN | KeyUsageBit.CRL_SIGN
        may_sign = usage is None or decode_key_usage(usage) & needed == needed
    except PkiError as error:
        raise CliError(f"{file} cannot be used", str(error), "check the certificate") from None
    start, end = certificate.validity()
    for good, why in (
        (is_pair, f"{key_file} is not its key"),
        (is_ca, "it is no CA's (basicConstraints)"),
        (may_sign, "its keyUsage lacks keyCertSign or cRLSign"),
        (start <= now() <= end, "it is not valid now"),
    ):
        if not good:
            raise CliError(
                f"{file} cannot be this realm's CA",
                why,
                "give the CA's certificate and its key",
                ExitCode.FAILED,
            )
    return ca.IssuedCertificate(certificate_der=certificate.der, private_key=key)


COMMANDS = (issuing_ca, import_ca)
