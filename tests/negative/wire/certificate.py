"""Certificates as a client could make them, whatever is wrong with them."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.negative.wire import der
from tests.negative.wire.keys import SigningKey, digest

COMMON_NAME = "2.5.4.3"
SMART_CARD_LOGON = "1.3.6.1.4.1.311.20.2.2"
UPN = "1.3.6.1.4.1.311.20.2.3"
SID_EXTENSION = "1.3.6.1.4.1.311.25.2"
SERVER_AUTH = "1.3.6.1.5.5.7.3.1"


def name(common_name: str) -> bytes:
    """Encode a Name of one CN."""
    attribute = der.sequence(der.oid(COMMON_NAME), der.tlv(der.UTF8_STRING, common_name.encode()))
    return der.sequence(der.tlv(der.SET, attribute))


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """Encode an Extension."""
    flag = der.tlv(der.BOOLEAN, b"\xff") if critical else b""
    return der.sequence(der.oid(oid), flag, der.octets(value))


def eku(*purposes: str) -> bytes:
    """Encode extKeyUsage."""
    return extension("2.5.29.37", der.sequence(*(der.oid(p) for p in purposes)))


def upn_san(upn: str) -> bytes:
    """Encode subjectAltName with a UPN."""
    other = der.oid(UPN) + der.explicit(0, der.tlv(der.UTF8_STRING, upn.encode()))
    return extension("2.5.29.17", der.sequence(der.tlv(0xA0, other)))


def sid_extension(sid: str) -> bytes:
    """Encode the SID extension of MS-WCCE 2.2.2.7.7.4."""
    value = der.oid(SID_EXTENSION + ".1") + der.explicit(0, der.octets(sid.encode()))
    return extension(SID_EXTENSION, der.sequence(der.tlv(0xA0, value)))


def basic_constraints(*, ca: bool) -> bytes:
    """Encode basicConstraints."""
    content = der.tlv(der.BOOLEAN, b"\xff") if ca else b""
    return extension("2.5.29.19", der.sequence(content), critical=True)


def _time(value: datetime) -> bytes:
    if 1950 <= value.year < 2050:
        return der.tlv(0x17, value.strftime("%y%m%d%H%M%SZ").encode())
    return der.time(value)


@dataclass(kw_only=True)
class Certificate:
    """A certificate to be signed; by default self-signed as Windows Hello makes it."""

    key: SigningKey
    subject: str
    issuer: str = ""
    """"": the subject itself."""
    issuer_name: bytes | None = None
    """DER of the issuer's Name, when it is not a CN alone."""
    issuer_key: SigningKey | None = None
    serial: int = field(default_factory=lambda: secrets.randbits(120) | 1 << 119)
    not_before: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=1))
    not_after: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(days=365))
    extensions: tuple[bytes, ...] | None = (basic_constraints(ca=False), eku(SMART_CARD_LOGON))
    """None: a version 1 certificate."""
    hash: str = "sha256"

    def encode(self) -> "SignedCertificate":
        """Sign and encode."""
        signer = self.issuer_key or self.key
        named = signer.algorithm(self.hash)
        parameters = der.null() if named.startswith("1.2.840.113549") else b""
        algorithm = der.sequence(der.oid(named), parameters)
        issuer = self.issuer_name or name(self.issuer or self.subject)
        parts = [
            der.integer(self.serial),
            algorithm,
            issuer,
            der.sequence(_time(self.not_before), _time(self.not_after)),
            name(self.subject),
            self.key.spki,
        ]
        if self.extensions is not None:
            parts.insert(0, der.explicit(0, der.integer(2)))
            parts.append(der.explicit(3, der.sequence(*self.extensions)))
        tbs = der.sequence(*parts)
        signature = signer.sign(self.hash, tbs)
        whole = der.sequence(tbs, algorithm, der.bits(signature))
        return SignedCertificate(der=whole, issuer=issuer, serial=self.serial, spki=self.key.spki)


@dataclass(frozen=True, kw_only=True)
class SignedCertificate:
    """A certificate and what a SignerInfo says of it."""

    der: bytes
    issuer: bytes
    serial: int
    spki: bytes

    @property
    def key_identifier(self) -> bytes:
        """Return SHA-1 of the subjectPublicKey (RFC 5280 4.2.1.2, method 1)."""
        _, public = der.read(self.spki)
        return digest("sha1", public.content[1:])


def read_certificate(data: bytes) -> SignedCertificate:
    """Take apart a certificate that somebody else made."""
    tbs, *_ = der.read(data)
    fields = list(tbs)
    if fields[0].tag == 0xA0:
        fields = fields[1:]
    serial, _, issuer, _, _, spki = fields[:6]
    return SignedCertificate(der=data, issuer=issuer.raw, serial=serial.number(), spki=spki.raw)
