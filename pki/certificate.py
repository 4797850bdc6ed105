"""The parts of an X.509 certificate that anything here needs, read strictly and at little cost.

Rules
  1. Nothing is judged here: a version 1, expired, SAN-less or SHA-1 certificate is read like any
     other. Key trust accepts them all (MS-PKCA 3.1.5.2.1.4); path validation is `pki.chain`'s.
  2. Names, the key and extensions are kept as the bytes that arrived, and compared as such.
"""

from datetime import UTC, datetime

from pki import asn1, der, oids
from pki.errors import DerFault, PkiError
from pki.extensions import Extension, decode_extensions
from pki.keys import PublicKey, public_key_from_spki

MAX_CERTIFICATE_BYTES = 16384  # a 4096-bit logon certificate has 2 KB; 16 KB is Windows' token cap
_UTC_TIME = 0x17


@asn1.sequence
class Validity:
    """Validity ::= SEQUENCE { notBefore Time, notAfter Time }"""

    not_before: bytes = asn1.plain(asn1.ANY)
    not_after: bytes = asn1.plain(asn1.ANY)


@asn1.sequence
class TbsCertificate:
    """TBSCertificate ::= SEQUENCE {

    version [0] Version DEFAULT v1, serialNumber INTEGER, signature AlgorithmIdentifier,
    issuer Name, validity Validity, subject Name, subjectPublicKeyInfo SubjectPublicKeyInfo,
    issuerUniqueID [1] IMPLICIT BIT STRING OPTIONAL, subjectUniqueID [2] IMPLICIT BIT STRING
    OPTIONAL, extensions [3] Extensions OPTIONAL }
    """

    version: int = asn1.explicit(0, asn1.INT32, default=0)
    serial_number: int = asn1.plain(asn1.INTEGER)
    signature: bytes = asn1.plain(asn1.ANY)
    issuer: bytes = asn1.plain(asn1.ANY)
    validity: Validity = asn1.plain(asn1.nested(Validity))
    subject: bytes = asn1.plain(asn1.ANY)
    subject_public_key_info: bytes = asn1.plain(asn1.ANY)
    issuer_unique_id: bytes | None = asn1.implicit(1, asn1.OCTET_STRING, default=None)
    subject_unique_id: bytes | None = asn1.implicit(2, asn1.OCTET_STRING, default=None)
    extensions: bytes | None = asn1.explicit(3, asn1.ANY, default=None)
    raw: bytes = asn1.received()


@asn1.sequence
class CertificateSyntax:
    """Certificate ::= SEQUENCE {

    tbsCertificate TBSCertificate, signatureAlgorithm AlgorithmIdentifier,
    signatureValue BIT STRING }
    """

    tbs_certificate: TbsCertificate = asn1.plain(asn1.nested(TbsCertificate))
    signature_algorithm: bytes = asn1.plain(asn1.ANY)
    signature_value: bytes = asn1.plain(asn1.BIT_STRING)


@asn1.sequence
class _SubjectPublicKeyInfo:
    """SubjectPublicKeyInfo ::= SEQUENCE { algorithm AlgorithmIdentifier, key BIT STRING }"""

    algorithm: bytes = asn1.plain(asn1.ANY)
    subject_public_key: bytes = asn1.plain(asn1.BIT_STRING)


def decode_time(element: bytes) -> datetime:
    """Decode a Time (RFC 5280 4.1.2.5): UTCTime with seconds and Z, or GeneralizedTime."""
    tag, start, end = der.read_tlv(element)
    if tag == _UTC_TIME:
        century = b"19" if element[start : start + 1] >= b"5" else b"20"
        full = century + element[start:end]
        return der.decode_generalized_time(full, 0, len(full))
    if tag != der.GENERALIZED_TIME:
        raise PkiError(DerFault.BAD_TAG, "Time")
    return der.decode_generalized_time(element, start, end)


def encode_time(value: datetime) -> bytes:
    """Encode a Time as RFC 5280 4.1.2.5 asks: UTCTime through 2049, then GeneralizedTime."""
    full = der.generalized_time_content(value.astimezone(UTC))
    if 1950 <= value.year < 2050:
        return der.tlv(_UTC_TIME, full[2:])
    return der.tlv(der.GENERALIZED_TIME, full)


class Certificate:
    """A certificate as it arrived. The constructor reads its frame; the rest is read when asked.

    Raises PkiError for anything that is not the DER of a Certificate.
    """

    __slots__ = ("_extensions", "_public_key", "_syntax", "_tbs", "der")

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_CERTIFICATE_BYTES:
            raise PkiError(DerFault.OVER_LIMIT, "Certificate")
        self.der = data
        self._syntax = asn1.decode(CertificateSyntax, data)
        self._tbs = self._syntax.tbs_certificate
        self._extensions: dict[str, Extension] | None = None
        self._public_key: PublicKey | None = None

    @property
    def serial_number(self) -> int:
        """CertificateSerialNumber; zero and negative ones exist and are not refused."""
        return self._tbs.serial_number

    @property
    def issuer(self) -> bytes:
        """DER of the issuer's Name, as received."""
        return self._tbs.issuer

    @property
    def subject(self) -> bytes:
        """DER of the subject's Name, as received."""
        return self._tbs.subject

    @property
    def subject_public_key_info(self) -> bytes:
        """DER of the SubjectPublicKeyInfo, as received."""
        return self._tbs.subject_public_key_info

    @property
    def version(self) -> int:
        """1, 2 or 3 (the encoding says 0, 1, 2)."""
        return self._tbs.version + 1

    def validity(self) -> tuple[datetime, datetime]:
        """Return (notBefore, notAfter). Raises PkiError for a malformed time."""
        return decode_time(self._tbs.validity.not_before), decode_time(self._tbs.validity.not_after)

    @property
    def tbs(self) -> bytes:
        """DER of the TBSCertificate, as received: what the issuer signed."""
        return self._tbs.raw

    @property
    def signature(self) -> bytes:
        """The issuer's signature."""
        return self._syntax.signature_value

    @property
    def signature_algorithm(self) -> bytes:
        """DER of the AlgorithmIdentifier beside the signature."""
        return self._syntax.signature_algorithm

    @property
    def signed_algorithm(self) -> bytes:
        """DER of the AlgorithmIdentifier in the TBSCertificate: it must be the same one."""
        return self._tbs.signature

    def extensions(self) -> dict[str, Extension]:
        """Return all extensions by identifier.

        Raises PkiError when they are malformed or one occurs twice (RFC 5280 4.2).
        """
        if self._extensions is None:
            raw = self._tbs.extensions
            self._extensions = decode_extensions(raw) if raw is not None else {}
        return self._extensions

    def extension(self, oid: str) -> bytes | None:
        """Return the value of an extension (the DER inside its OCTET STRING), or None.

        Raises PkiError as `extensions` does.
        """
        found = self.extensions().get(oid)
        return None if found is None else found.value

    def subject_key_identifier(self) -> bytes | None:
        """Return the KeyIdentifier of the subjectKeyIdentifier extension, or None."""
        value = self.extension(oids.ID_CE_SUBJECT_KEY_IDENTIFIER)
        return None if value is None else asn1.decode_as(asn1.OCTET_STRING, value)

    def public_key(self) -> PublicKey:
        """Return the certified key as numbers, read once. Raises PkiError(KeyFault)."""
        if self._public_key is None:
            self._public_key = public_key_from_spki(self._tbs.subject_public_key_info)
        return self._public_key

    def subject_public_key(self) -> bytes:
        """Return the content of the subjectPublicKey BIT STRING."""
        spki = asn1.decode(_SubjectPublicKeyInfo, self._tbs.subject_public_key_info)
        return spki.subject_public_key

    def __repr__(self) -> str:
        return f"Certificate(serial_number={self.serial_number:#x}, {len(self.der)} bytes)"
