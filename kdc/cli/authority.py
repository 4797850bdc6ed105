"""The realm's CA at work: what it issues is in the ledger first, what it revokes in the CRL.

Files are replaced whole. A certificate and its key are two files: the new key lies under another
name until the certificate is there (`kdc.server.key_files`), so that a process killed between never
leaves a certificate without its key.
"""

import fcntl
import ipaddress
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from kdc.ca_ledger import Ledger, LedgerEntry, ledger_id
from kdc.cli.errors import CliError
from kdc.cli.state import ROOT_CRL_DAYS, RealmState, now, write_private, write_public
from kdc.config import KdcConfig
from kdc.config_values import format_address, parse_address
from kdc.server.key_files import next_key
from kdc.state_folder import StateFolder
from pki import ca
from pki.certificate import Certificate
from pki.crl import Crl
from pki.errors import PkiError
from pki.pem import from_pem
from pki.templates import HTTP, KDC, OCSP, Template
from pki.x500 import canonical_name, decode_name, render_rfc4514

CRL_PATH, CA_PATH, OCSP_PATH = "/pki/ca.crl", "/pki/ca.crt", "/ocsp"
KDC_KEYS = {
    "rsa2048": (ca.KeyType.RSA_2048,),
    "ec-p256": (ca.KeyType.EC_P256,),
    "both": (ca.KeyType.RSA_2048, ca.KeyType.EC_P256),
}
KEEP_EXPIRED = timedelta(days=30)
"""How long an expired certificate stays on the list: once after its end is what RFC 5280 3.3 asks
for, and clocks are wrong."""


def issuer_id(certificate: bytes) -> str:
    """Return what the ledger knows a CA by: its key, which a renewed certificate keeps."""
    return ledger_id(Certificate(certificate))


@contextmanager
def ledger_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the ledger into three lines. Raises CliError."""
    try:
        yield
    except sqlite3.Error as error:
        raise CliError(
            f"{path} cannot be used",
            str(error) or "the database is in trouble",
            "check its owner, its mode and the disk",
        ) from error


@contextmanager
def open_ledger(folder: StateFolder, *, read_only: bool = False) -> Iterator[Ledger]:
    """Open the ledger for the length of a block. Raises CliError."""
    with ledger_errors(folder.ca_ledger):
        ledger = Ledger(folder.ca_ledger, read_only=read_only and folder.ca_ledger.exists())
        try:
            yield ledger
        finally:
            ledger.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The CA that issues now, with its key open."""

    folder: StateFolder
    config: KdcConfig
    issuer: ca.IssuedCertificate
    ledger: Ledger

    @property
    def issuer_id(self) -> str:
        """What the ledger knows this CA by."""
        return issuer_id(self.issuer.certificate_der)

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The CA certificates that are sent along with a leaf: never a root."""
        certificate = Certificate(self.issuer.certificate_der)
        return () if certificate.subject == certificate.issuer else (certificate.der,)

    def pem(self, certificate: bytes) -> bytes:
        """Return a leaf with what is sent along with it."""
        return b"".join(map(ca.certificate_to_pem, (certificate, *self.chain)))

    def record(self, certificate: bytes, template: Template | str, account: str = "") -> int:
        """Write a certificate into the ledger; return its serial number."""
        found = Certificate(certificate)
        not_before, not_after = found.validity()
        self.ledger.record(
            LedgerEntry(
                issuer=self.issuer_id,
                serial_number=found.serial_number,
                template=template if isinstance(template, str) else template.name,
                account=account,
                subject=render_rfc4514(decode_name(found.subject)),
                not_before=not_before,
                not_after=not_after,
                issued_at=now(),
                certificate=certificate,
            )
        )
        return found.serial_number

    def publish_crl(self, days: int = ca.CRL_DAYS) -> int:
        """Write a new CRL of everything revoked; return its number.

        One process at a time, so that the list with the higher number has all that a lower had.
        """
        folder, moment = self.folder, now()
        with _locked(folder.ca_lock):
            published = published_crl(folder, self.issuer.certificate_der)
            number = 0 if published is None else published.number or 0
            number = self.ledger.next_crl_number(self.issuer_id, number)
            lines = tuple(
                ca.RevokedCertificate(
                    serial_number=entry.serial_number,
                    date=entry.revoked_at or moment,
                    reason=ca.reason_flag(entry.reason or 0),
                )
                for entry in self.ledger.revoked(self.issuer_id, moment - KEEP_EXPIRED)
            )
            write_public(folder.crl, ca.create_crl(self.issuer, number, lines, moment, days))
        return number


def write_root_crl(folder: StateFolder, root: ca.IssuedCertificate) -> int:
    """Write a new CRL of the offline root, which revokes nothing; return its number."""
    with _locked(folder.ca_lock):
        try:
            number = Crl(from_pem(folder.root_crl.read_bytes())).number or 0
        except (OSError, PkiError):
            number = 0
        data = ca.create_crl(root, number + 1, (), now(), ROOT_CRL_DAYS)
        write_public(folder.root_crl, data)
    return number + 1


@contextmanager
def open_authority(realm: RealmState) -> Iterator[Authority]:
    """Open the CA's key and the ledger for the length of a block. Raises CliError."""
    issuer = realm.ca()
    with open_ledger(realm.folder) as ledger:
        yield Authority(folder=realm.folder, config=realm.config, issuer=issuer, ledger=ledger)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def published_crl(folder: StateFolder, issuer: bytes) -> Crl | None:
    """Read the CRL that is published; None when there is none of this CA that can be read."""
    try:
        crl = Crl(from_pem(folder.crl.read_bytes()))
    except (OSError, PkiError):
        return None
    return crl if crl.issuer == canonical_name(Certificate(issuer).subject) else None


def with_certificates(folder: StateFolder, moment: datetime) -> frozenset[str]:
    """Name the accounts that hold a certificate of ours that is good now."""
    if not folder.ca_ledger.exists():
        return frozenset()
    with open_ledger(folder, read_only=True) as ledger:
        return frozenset(e.account for e in ledger.entries() if e.status(moment) == "valid")


# -- where certificates point ----------------------------------------------------------------


def public_url(config: KdcConfig) -> str | None:
    """Return how others reach what is served by HTTP; None: nothing is, or nobody can say."""
    if config.http_url is not None:
        return config.http_url.rstrip("/")
    for address in config.http_listen:
        host, port = parse_address(address)
        if host != "*" and not ipaddress.ip_address(host).is_unspecified:
            return f"http://{format_address(host, port)}"
    return None


def pointers_of(config: KdcConfig, *, ocsp: bool = True) -> ca.Pointers:
    """Return the URLs that new certificates of this realm name."""
    base = public_url(config)
    if base is None:
        return ca.Pointers(crl=config.cdp_url)
    return ca.Pointers(
        crl=config.cdp_url or base + CRL_PATH,
        issuer=base + CA_PATH,
        ocsp=base + OCSP_PATH if ocsp else None,
    )


# -- the realm's own certificates ------------------------------------------------------------


def write_pair(place: tuple[Path, Path], certificate: bytes, key: bytes) -> None:
    """Replace a certificate (PEM) and its key so that at every moment one key there fits."""
    certificate_path, key_path = place
    coming = next_key(key_path)
    write_private(coming, key)
    write_public(certificate_path, certificate)
    os.replace(coming, key_path)


def has_krbtgt_san(config: KdcConfig) -> bool:
    """Tell whether the KDC certificate names krbtgt/REALM (id-pkinit-san).

    Clients of the impacket family fail on a certificate with that SAN, which domain controllers
    do not have: under `tools` ours is like a domain controller's.
    """
    return config.compat != "tools"


def issue_kdc_certificates(
    authority: Authority,
    key_types: tuple[ca.KeyType, ...],
    hosts: tuple[str, ...],
    crl_url: str | None = None,
    days: int = KDC.days,
) -> tuple[Path, ...]:
    """Issue and write the KDC's certificates, one of each key type; return their paths.

    The first takes kdc.pem, the second kdc-ec.pem; a second one from earlier is removed.
    crl_url: another CRL distribution point than the configuration's.
    """
    folder, config = authority.folder, authority.config
    places = (
        (folder.kdc_certificate, folder.kdc_key),
        (folder.kdc_ec_certificate, folder.kdc_ec_key),
    )
    pointers = pointers_of(config)
    if crl_url is not None:
        pointers = ca.Pointers(crl=crl_url, issuer=pointers.issuer, ocsp=pointers.ocsp)
    for key_type, place in zip(key_types, places, strict=False):
        issued = ca.issue_kdc_certificate(
            authority.issuer,
            config.realm,
            (*hosts, config.domain),
            config.netbios,
            key_type,
            now(),
            days,
            pointers=pointers,
            krbtgt_san=has_krbtgt_san(config),
        )
        authority.record(issued.certificate_der, KDC)
        key = ca.private_key_to_pem(issued.private_key)
        write_pair(place, authority.pem(issued.certificate_der), key)
    for certificate_path, key_path in places[len(key_types) :]:
        certificate_path.unlink(missing_ok=True)
        key_path.unlink(missing_ok=True)
    return tuple(certificate for certificate, _ in places[: len(key_types)])


def issue_http_certificate(
    authority: Authority, dns_names: tuple[str, ...], addresses: tuple[str, ...]
) -> Path:
    """Issue the certificate of HTTPS with a new key; return its path."""
    issued = ca.issue_tls_certificate(
        authority.issuer,
        authority.config.realm,
        dns_names,
        addresses,
        now(),
        pointers=pointers_of(authority.config),
    )
    authority.record(issued.certificate_der, HTTP)
    place = authority.folder.own_http_tls
    key = ca.private_key_to_pem(issued.private_key)
    write_pair(place, authority.pem(issued.certificate_der), key)
    return place[0]


def issue_ocsp_certificate(authority: Authority) -> Path:
    """Issue the OCSP responder's certificate with a new key; return its path."""
    issued = ca.issue_ocsp_certificate(authority.issuer, authority.config.realm, now())
    authority.record(issued.certificate_der, OCSP)
    place = authority.folder.ocsp_responder
    certificate = ca.certificate_to_pem(issued.certificate_der)
    write_pair(place, certificate, ca.private_key_to_pem(issued.private_key))
    return place[0]


def age_of(certificate: bytes, moment: datetime) -> float:
    """Return which part of a certificate's life has passed: 0 at its start, 1 at its end."""
    start, end = Certificate(certificate).validity()
    return (moment - start) / (end - start)


def names_of_hosts(listed: Iterable[str], config: KdcConfig) -> tuple[str, ...]:
    """Leave out of a KDC certificate's DNS names those that every one of the realm has."""
    own = (config.domain, config.netbios, config.realm.lower())
    return tuple(name for name in listed if name not in own)
