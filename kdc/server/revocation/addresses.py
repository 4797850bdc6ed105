"""Where revocation data is: the addresses in configuration, certificates and CRLs.

Rules
  1. Plain HTTP only: what is fetched is signed, and TLS would need revocation data first
     (RFC 5280 section 8). LDAP and file addresses are passed over.
  2. An address is tied to the CA whose data is expected there; nothing else found there counts.
  3. The addresses of one distribution point are alternatives; several points are several sources.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from kdc.config_values import FETCH_URL
from pki import oids
from pki.certificate import Certificate
from pki.crl import Crl
from pki.errors import PkiError
from pki.extensions import (
    DistributionPoint,
    decode_authority_info_access,
    decode_crl_distribution_points,
)

Kind = Literal["crl", "ocsp"]
Origin = Literal["kdc.toml", "CA certificate", "logon certificate", "CRL"]

MAX_URL_CHARACTERS: Final = 1024
MAX_ALTERNATIVES: Final = 4
"""Addresses of one point that are tried; an Active Directory CA writes one by HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One thing to fetch: a CRL of a CA, or what a responder says of one certificate."""

    kind: Kind
    urls: tuple[str, ...]
    origin: Origin
    issuer: str = ""
    """`issuer_id` of the CA whose data it is; "": any CA that is held."""
    serial_number: int = 0
    """OCSP: of the certificate."""
    certificate: str = ""
    """OCSP: SHA-256 of the certificate, in hexadecimal."""

    @property
    def key(self) -> str:
        """What it is known by, the same after a restart; part of a file's name."""
        text = "\n".join((self.kind, self.issuer, self.certificate, *self.urls))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def issuer_id(authority: Certificate) -> str:
    """Return what a CA is known by: its name and key, which a renewed certificate keeps."""
    return hashlib.sha256(authority.subject + authority.subject_public_key_info).hexdigest()[:24]


def usable(urls: Iterable[str]) -> tuple[str, ...]:
    """Keep what can be fetched, each once."""
    found = (url for url in urls if len(url) <= MAX_URL_CHARACTERS and FETCH_URL.fullmatch(url))
    return tuple(dict.fromkeys(found))[:MAX_ALTERNATIVES]


def of_certificate(
    certificate: Certificate, issuer: Certificate, origin: Origin, *, ocsp: bool = True
) -> Iterator[Wanted]:
    """Yield what a certificate says about where its own revocation is told.

    issuer: who issued it. Raises PkiError.
    """
    of = issuer_id(issuer)
    for oid in (oids.ID_CE_CRL_DISTRIBUTION_POINTS, oids.ID_CE_FRESHEST_CRL):
        value = certificate.extension(oid)
        if value is not None:
            yield from _of_points(decode_crl_distribution_points(value), of, origin)
    value = certificate.extension(oids.ID_PE_AUTHORITY_INFO_ACCESS)
    if value is None or not ocsp:
        return
    urls = usable(decode_authority_info_access(value))
    if urls:
        yield Wanted(
            kind="ocsp",
            urls=urls,
            origin=origin,
            issuer=of,
            serial_number=certificate.serial_number,
            certificate=hashlib.sha256(certificate.der).hexdigest(),
        )


def of_list(crl: Crl, issuer: str) -> Iterator[Wanted]:
    """Yield where the delta CRLs to a list are. issuer: `issuer_id` of the CA that made it."""
    yield from _of_points(crl.freshest, issuer, "CRL")


def of_authorities(held: Iterable[Certificate], own: frozenset[str]) -> Iterator[Wanted]:
    """Yield what the certificates of CAs say: where their own revocation is told.

    own: `issuer_id` of each CA whose revocation data is made here.
    """
    held = tuple(held)
    for authority in held:
        issuer = issuer_of(authority, held)
        if issuer is None or issuer_id(issuer) in own:
            continue
        self_issued = issuer is authority
        try:
            # Nobody asks about a root; its own CRL is about the CAs below it.
            found = tuple(of_certificate(authority, issuer, "CA certificate", ocsp=not self_issued))
        except PkiError:
            continue
        yield from found


def issuer_of(certificate: Certificate, held: Iterable[Certificate]) -> Certificate | None:
    """Return the CA held that a CA's certificate names as its issuer; itself for a root."""
    if certificate.subject == certificate.issuer:
        return certificate
    return next((one for one in held if one.subject == certificate.issuer), None)


def _of_points(
    points: tuple[DistributionPoint, ...], issuer: str, origin: Origin
) -> Iterator[Wanted]:
    for point in points:
        urls = usable(point.urls)
        # cRLIssuer names another CA's list: such lists are not supported (`pki.crl`).
        if urls and not point.indirect:
            yield Wanted(kind="crl", urls=urls, origin=origin, issuer=issuer)
