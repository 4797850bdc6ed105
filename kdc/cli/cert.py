"""`kdc cert`: certificates of the realm's own CA, and what a logon with one would come to."""

from pathlib import Path

import click

from kdc.cli.cert_verdict import describe, judge_certificate, purpose_name
from kdc.cli.errors import CliError
from kdc.cli.https_certificate import default_names, issue_http_certificate, names_of
from kdc.cli.init import KDC_KEYS, issue_kdc_certificates
from kdc.cli.options import HostName, IpAddress, json_option, read_input_file, state_option
from kdc.cli.output import print_fields, print_json
from kdc.cli.state import MAX_PEM_BYTES, RealmState, open_realm
from kdc.server.certificates import load_cert_trust
from pki import ca, names, oids
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.keys import KeyKind, public_key_from_certificate


@click.group("cert")
def command() -> None:
    """Certificates of the realm's own CA."""


@command.command("show")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Show a certificate and judge it.

    Says whether a logon with it would be accepted, and why. Further certificates in the file count
    as sent along by the client.

    JSON: subject, issuer, serial_number, not_before, not_after, key, sha256, sha1, purposes,
    upns, dns_names, principals, sid, kind (logon or kdc), accepted, account, code, reasons.
    """
    certificate, *others = _read_certificates(file)
    realm = open_realm(ctx)
    trust = load_cert_trust(realm.folder, realm.config)
    sent = tuple(other.der for other in others)
    with realm.store() as store:
        verdict = judge_certificate(certificate, realm.config, store, trust, sent)
    shown = describe(certificate)
    purposes = shown["purposes"] if isinstance(shown["purposes"], list) else []
    if as_json:
        print_json(
            {
                **shown,
                "kind": verdict.kind,
                "accepted": verdict.accepted,
                "account": verdict.account,
                "code": verdict.code,
                "reasons": list(verdict.reasons),
            }
        )
        return
    rows = []
    shown["purposes"] = list(map(purpose_name, purposes))
    for name, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
        if text:
            rows.append((name.replace("_", " "), text))
    print_fields(rows)
    click.echo()
    click.echo(verdict.headline)
    for reason in verdict.reasons:
        click.echo(f"  {reason}")


def _read_certificates(file: Path) -> tuple[Certificate, ...]:
    data = read_input_file(file, MAX_PEM_BYTES)
    try:
        is_pem = b"-----BEGIN" in data
        encoded = ca.certificates_from_pem(data) if is_pem else (data,)
        found = tuple(map(Certificate, encoded))
        describe(found[0])
    except PkiError as error:
        raise CliError(
            f"{file} is no certificate",
            f"it does not read as one, PEM or DER: {error.detail or error.fault.value}",
            "give a certificate file; kdc cert show pki/kdc.pem shows the KDC's",
        ) from None
    return found


@command.command("issue-kdc")
@click.option(
    "--kdc-key", type=click.Choice(list(KDC_KEYS)), help="Else of the same kind as before."
)
@click.option(
    "--dns",
    multiple=True,
    type=HostName(),
    metavar="NAME",
    help="Host name of the KDC; else as before.",
)
@click.option("--crl-url", metavar="URL", help="Where the CA's CRL will be fetched from.")
@state_option
@click.pass_context
def issue_kdc(
    ctx: click.Context, kdc_key: str | None, dns: tuple[str, ...], crl_url: str | None
) -> None:
    """Issue the KDC's certificate again, with a new key. A running server takes it on SIGHUP."""
    realm = open_realm(ctx)
    key_types = KDC_KEYS[kdc_key] if kdc_key else _key_types(realm)
    hosts = dns or kdc_hosts(realm)
    issuer = realm.ca()
    for path in issue_kdc_certificates(
        realm.folder, realm.config, issuer, key_types, hosts, crl_url
    ):
        click.echo(f"wrote {path}")
    click.echo("  a running server takes it on SIGHUP")


@command.command("issue-http")
@click.option(
    "--dns", multiple=True, type=HostName(), metavar="NAME", help="Host name; else as before."
)
@click.option(
    "--address", multiple=True, type=IpAddress(), metavar="IP", help="IP address; else as before."
)
@state_option
@click.pass_context
def issue_http(ctx: click.Context, dns: tuple[str, ...], address: tuple[str, ...]) -> None:
    """Issue the certificate of HTTPS (KKDCP), with a new key. A running server takes it on SIGHUP.

    Names and addresses are those that clients write into `kdc = https://...`.
    """
    realm = open_realm(ctx)
    names_before, addresses_before = _http_names(realm)
    path = issue_http_certificate(
        realm.folder, realm.config, realm.ca(), dns or names_before, address or addresses_before
    )
    click.echo(f"wrote {path}")
    if realm.config.http_tls_certificate is not None:
        click.echo("  it is not used: http.tls_certificate names another one")
    click.echo("  a running server takes it on SIGHUP")


def _http_names(realm: RealmState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take the names of the certificate that is there, else those it would be made with."""
    try:
        found = names_of(realm.folder.own_http_tls[0].read_bytes())
    except (OSError, ValueError):
        found = ((), ())
    return found if found[0] else default_names(realm.config, kdc_hosts(realm))


def _present(realm: RealmState) -> list[bytes]:
    return [
        ca.certificates_from_pem(path.read_bytes())[0]
        for path, _ in realm.folder.kdc_certificates()
    ]


def _key_types(realm: RealmState) -> tuple[ca.KeyType, ...]:
    kinds = [public_key_from_certificate(found).kind for found in _present(realm)]
    if KeyKind.RSA in kinds and KeyKind.EC in kinds:
        return KDC_KEYS["both"]
    return KDC_KEYS["ec-p256" if KeyKind.EC in kinds else "rsa2048"]


def kdc_hosts(realm: RealmState) -> tuple[str, ...]:
    """Take the host names of the certificate that is there; the domain's own are added anyway."""
    for found in _present(realm):
        value = Certificate(found).extension(oids.ID_CE_SUBJECT_ALT_NAME)
        try:
            listed = names.decode_subject_alt_name(value).dns if value else ()
        except PkiError:
            continue
        own = (realm.config.domain, realm.config.netbios, realm.config.realm.lower())
        hosts = tuple(name for name in listed if name not in own)
        if hosts:
            return hosts
    raise CliError(
        "the KDC's host name is not known",
        "there is no certificate to take it from",
        f"give it: kdc cert issue-kdc --dns kdc.{realm.config.domain}",
    )
