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


# -- certificates of CAs, and their lists ----------------------------------------------------

KEY_USAGE_BITS = {"digital_signature": 0, "key_encipherment": 2, "key_cert_sign": 5, "crl_sign": 6}


def key_usage(*names: str) -> bytes:
    """Encode keyUsage."""
    value = sum(0x80 >> KEY_USAGE_BITS[name] for name in names)
    unused = (value & -value).bit_length() - 1 if value else 0
    return extension("2.5.29.15", der.bits(bytes((value,)), unused), critical=True)


def ca_constraints(path_length: int | None = None) -> bytes:
    """Encode basicConstraints of a CA."""
    limit = b"" if path_length is None else der.integer(path_length)
    value = der.sequence(der.tlv(der.BOOLEAN, b"\xff") + limit)
    return extension("2.5.29.19", value, critical=True)


def san(*names: bytes) -> bytes:
    """Encode subjectAltName of encoded GeneralNames."""
    return extension("2.5.29.17", der.sequence(*names))


def upn_name(upn: str | bytes) -> bytes:
    """Encode a GeneralName that holds a UPN."""
    raw = upn.encode() if isinstance(upn, str) else upn
    return der.tlv(0xA0, der.oid(UPN) + der.explicit(0, der.tlv(der.UTF8_STRING, raw)))


def dns_name(host: str) -> bytes:
    """Encode a dNSName."""
    return der.tlv(0x82, host.encode())


def email_name(address: str) -> bytes:
    """Encode an rfc822Name."""
    return der.tlv(0x81, address.encode())


def uri_name(uri: str) -> bytes:
    """Encode a uniformResourceIdentifier."""
    return der.tlv(0x86, uri.encode())


def name_constraints(*, permitted: bytes = b"", excluded: bytes = b"") -> bytes:
    """Encode nameConstraints of one GeneralName on either side."""
    parts = b""
    if permitted:
        parts += der.tlv(0xA0, der.sequence(permitted))
    if excluded:
        parts += der.tlv(0xA1, der.sequence(excluded))
    return extension("2.5.29.30", der.sequence(parts), critical=True)


def subject_key_identifier(value: bytes) -> bytes:
    """Encode subjectKeyIdentifier."""
    return extension("2.5.29.14", der.octets(value))


def crl(
    issuer: bytes,
    key: SigningKey,
    revoked: tuple[int, ...] = (),
    *,
    this_update: datetime | None = None,
    next_update: datetime | None = None,
) -> bytes:
    """Make a CRL (RFC 5280 5.1) of an issuer's Name."""
    now = datetime.now(UTC)
    named = key.algorithm("sha256")
    parameters = der.null() if named.startswith("1.2.840.113549") else b""
    algorithm = der.sequence(der.oid(named), parameters)
    entries = [der.sequence(der.integer(serial), _time(now)) for serial in revoked]
    tbs = der.sequence(
        der.integer(1),
        algorithm,
        issuer,
        _time(this_update or now - timedelta(hours=1)),
        _time(next_update or now + timedelta(days=7)),
        der.sequence(*entries) if entries else b"",
        der.explicit(0, der.sequence(extension("2.5.29.20", der.integer(1)))),
    )
    return der.sequence(tbs, algorithm, der.bits(key.sign("sha256", tbs)))
