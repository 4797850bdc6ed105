"""`kdc cert renew`, `issue-kdc`, `issue-http`: the certificates of the realm itself."""

from collections.abc import Callable, Iterator
from datetime import datetime

import click

from kdc.ca_ledger import Ledger
from kdc.cli.authority import (
    KDC_KEYS,
    Authority,
    age_of,
    issue_http_certificate,
    issue_kdc_certificates,
    issue_ocsp_certificate,
    issuer_id,
    names_of_hosts,
    open_authority,
    open_ledger,
    pointers_of,
    published_crl,
)
from kdc.cli.errors import CliError
from kdc.cli.https_certificate import default_names, names_of
from kdc.cli.options import HostName, IpAddress, json_option, state_option
from kdc.cli.output import print_json
from kdc.cli.state import RealmState, now, open_realm
from pki import ca, names, oids
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.extensions import decode_crl_distribution_points
from pki.keys import KeyKind, public_key_from_certificate
from pki.templates import HTTP, KDC, OCSP, Template

CRL_RENEW_AT = 1 / 2
"""A list is renewed at half of its life: a failure then leaves days to notice it."""


@click.command("issue-kdc")
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
    """Issue the KDC's certificate again, with a new key.

    A running server takes it on SIGHUP.
    """
    realm = open_realm(ctx)
    key_types = KDC_KEYS[kdc_key] if kdc_key else kdc_key_types(realm)
    hosts = dns or kdc_hosts(realm)
    with open_authority(realm) as authority:
        paths = issue_kdc_certificates(authority, key_types, hosts, crl_url or _crl_url(realm))
    for path in paths:
        click.echo(f"wrote {path}")
    click.echo("  a running server takes it on SIGHUP")


@click.command("issue-http")
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
    names_before, addresses_before = http_names(realm)
    with open_authority(realm) as authority:
        path = issue_http_certificate(authority, dns or names_before, address or addresses_before)
    click.echo(f"wrote {path}")
    if realm.config.http_tls_certificate is not None:
        click.echo("  it is not used: http.tls_certificate names another one")
    click.echo("  a running server takes it on SIGHUP")


def _renew_kdc(realm: RealmState, authority: Authority) -> None:
    issue_kdc_certificates(authority, kdc_key_types(realm), kdc_hosts(realm), _crl_url(realm))


def _renew_http(realm: RealmState, authority: Authority) -> None:
    issue_http_certificate(authority, *http_names(realm))


def _renew_ocsp(realm: RealmState, authority: Authority) -> None:
    issue_ocsp_certificate(authority)


def _renew_crl(realm: RealmState, authority: Authority) -> None:
    authority.publish_crl()


_WHAT: dict[str, Callable[[RealmState, Authority], None]] = {
    "kdc": _renew_kdc,
    "http": _renew_http,
    "ocsp": _renew_ocsp,
    "crl": _renew_crl,
}


@click.command("renew")
@click.argument("what", type=click.Choice([*_WHAT, "all"]), required=False)
@click.option("--due", is_flag=True, help="Only what has lived its time; else say nothing.")
@json_option
@state_option
@click.pass_context
def renew(ctx: click.Context, what: str | None, due: bool, as_json: bool) -> None:
    """Renew the realm's own certificates.

    kdc (default), http, ocsp, crl or all, with new keys. Names and kinds of keys stay.

    --due renews what is due of everything: the KDC's and HTTPS' certificates at two thirds of their
    life, the OCSP responder's and the CRL at half, and the CRL when it lacks a revocation. The CA's
    key is opened only when something is due. A running server does this by itself (ca_renewal).

    JSON: renewed (a list of kdc, http, ocsp, crl).
    """
    realm = open_realm(ctx)
    if due:
        with open_ledger(realm.folder, read_only=True) as ledger:
            chosen = tuple(due_now(realm, ledger, now()))
        if what not in (None, "all"):
            chosen = tuple(name for name in chosen if name == what)
    else:
        chosen = tuple(_WHAT) if what == "all" else (what or "kdc",)
    if chosen:
        with open_authority(realm) as authority:
            for name in chosen:
                _WHAT[name](realm, authority)
    if as_json:
        print_json({"renewed": list(chosen)})
        return
    for name in chosen:
        click.echo(f"renewed {name}")
    if {"kdc", "http", "ocsp"} & {*chosen} and not due:
        click.echo("  a running server takes it on SIGHUP")


def due_now(realm: RealmState, ledger: Ledger, moment: datetime) -> Iterator[str]:
    """Say what of the realm's CA is due, without its key.

    Certificates of another CA, which an administrator put there, are not ours to renew.
    """
    folder = realm.folder
    authority = ca.certificates_from_pem(folder.issuer_certificate.read_bytes())[0]
    if any(_is_due(found, authority, KDC, moment) for found in _present(realm)):
        yield "kdc"
    http, _ = folder.own_http_tls
    ocsp, _ = folder.ocsp_responder
    for name, path, template in (("http", http, HTTP), ("ocsp", ocsp, OCSP)):
        if path.exists():
            found = ca.certificates_from_pem(path.read_bytes())[0]
            if _is_due(found, authority, template, moment):
                yield name
        elif name == "ocsp" and realm.config.http_listen:
            yield name
    crl = published_crl(folder, authority)
    if crl is None:
        yield "crl"
        return
    age = (moment - crl.this_update) / (crl.next_update - crl.this_update)
    revoked = ledger.revoked(issuer_id(authority), moment)
    if age >= CRL_RENEW_AT or any(
        crl.reason_of(entry.serial_number) != entry.reason for entry in revoked
    ):
        yield "crl"


def _is_due(certificate: bytes, authority: bytes, template: Template, moment: datetime) -> bool:
    ours = Certificate(certificate).issuer == Certificate(authority).subject
    return ours and age_of(certificate, moment) >= template.renew_at


def _crl_url(realm: RealmState) -> str | None:
    """Keep the distribution point of the certificate that is there, when none is configured."""
    if pointers_of(realm.config).crl is not None:
        return None
    for found in _present(realm):
        value = Certificate(found).extension(oids.ID_CE_CRL_DISTRIBUTION_POINTS)
        points = () if value is None else decode_crl_distribution_points(value)
        for url in (url for point in points for url in point.urls):
            return url
    return None


def http_names(realm: RealmState) -> tuple[tuple[str, ...], tuple[str, ...]]:
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


def kdc_key_types(realm: RealmState) -> tuple[ca.KeyType, ...]:
    """Take the kinds of keys of the KDC's certificates that are there."""
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
        hosts = names_of_hosts(listed, realm.config)
        if hosts:
            return hosts
    raise CliError(
        "the KDC's host name is not known",
        "there is no certificate to take it from",
        f"give it: kdc cert issue-kdc --dns kdc.{realm.config.domain}",
    )


COMMANDS = (issue_kdc, issue_http, renew)
