"""The certificate request of a device (PKCS#10): its key, proven, and the nonce in it.

Rules
  1. The key's numbers are judged before any library works with them.
  2. The signature is verified over the octets that arrived; it proves that the sender has the key.
  3. Nothing else of the request reaches the certificate: names and extensions are the tenant's.
"""

from dataclasses import dataclass
from typing import Final, NoReturn

from pki import asn1, der, oids
from pki.cms_syntax import AlgorithmIdentifier
from pki.errors import PkiError
from pki.extensions import decode_extensions
from pki.keys import PublicKey, public_key_from_spki
from pki.signatures import Digest, verify_octets
from pki.x500 import decode_name
from tenant.keys.public_key import accept_key, key_reason

DEVICE_REQUEST_NAME: Final = "7E980AD9-B86D-4306-9425-9AC066FB014A"
"""The common name that marks a request of a device (aad-join-spec 2.1.1.1.1)."""

NONCE_EXTENSION: Final = "1.2.840.113556.1.5.284.2.1"
"""Where the request carries a nonce of the tenant's, an OCTET STRING in newer clients."""

EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"

MAX_REQUEST_OCTETS: Final = 16384  # of a 4096-bit key with extensions: 1.5 KiB
MAX_NONCE_OCTETS: Final = 4096  # Entra's are JWEs of some hundred octets
_MAX_ATTRIBUTES: Final = 16


@asn1.sequence
class _CertificationRequestInfo:
    """CertificationRequestInfo ::= SEQUENCE {

    version INTEGER { v1(0) }, subject Name, subjectPKInfo SubjectPublicKeyInfo,
    attributes [0] IMPLICIT SET OF Attribute }
    """

    version: int = asn1.plain(asn1.INT32)
    subject: bytes = asn1.plain(asn1.ANY)
    subject_pk_info: bytes = asn1.plain(asn1.ANY)
    attributes: tuple[bytes, ...] | None = asn1.implicit(
        0, asn1.set_of(asn1.ANY, _MAX_ATTRIBUTES), default=None
    )
    raw: bytes = asn1.received()


@asn1.sequence
class _CertificationRequest:
    """CertificationRequest ::= SEQUENCE {

    certificationRequestInfo CertificationRequestInfo, signatureAlgorithm AlgorithmIdentifier,
    signature BIT STRING }
    """

    info: _CertificationRequestInfo = asn1.plain(asn1.nested(_CertificationRequestInfo))
    signature_algorithm: AlgorithmIdentifier = asn1.plain(asn1.nested(AlgorithmIdentifier))
    signature: bytes = asn1.plain(asn1.BIT_STRING)


@asn1.sequence
class _RequestAttribute:
    """Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF ANY }"""

    type: str = asn1.plain(asn1.OID)
    values: tuple[bytes, ...] = asn1.plain(asn1.set_of(asn1.ANY, 4))


class CsrError(Exception):
    """A certificate request is refused; `why` is one fixed phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """A device's certificate request whose signature verified."""

    key: PublicKey
    nonce: str | None
    """What the nonce extension holds; None: the request has none."""


def _fail(why: str) -> NoReturn:
    raise CsrError(why)


def read_device_request(data: bytes) -> DeviceRequest:
    """Read and verify a device's PKCS#10 request (DER).

    Raises CsrError. Source: RFC 2986 4; MS-DVRJ 3.1.5.1.1.1 (RSA, SHA256WithRSAEncryption).
    """
    if len(data) > MAX_REQUEST_OCTETS:
        _fail("the certificate request is too long")
    try:
        request = asn1.decode(_CertificationRequest, data)
        info = request.info
        names = [a for rdn in decode_name(info.subject) for a in rdn]
    except PkiError:
        _fail("the certificate request cannot be read")
    if info.version != 0:
        _fail("the certificate request is of an unknown version")
    # Windows counts the terminating NUL into the string (the example in MS-DVRJ 4.1 has it).
    common_names = [
        a.value.removesuffix("\0").upper()
        for a in names
        if a.oid == oids.ID_AT_COMMON_NAME and isinstance(a.value, str)
    ]
    if len(names) != 1 or common_names != [DEVICE_REQUEST_NAME]:
        _fail("the certificate request has another name than a device's")
    key = _accepted_key(info.subject_pk_info)
    algorithm = request.signature_algorithm
    if algorithm.algorithm != oids.SHA256_WITH_RSA or algorithm.parameters not in (
        None,
        b"\x05\x00",
    ):
        _fail("the certificate request is not signed with SHA256WithRSAEncryption")
    try:
        verify_octets(key, request.signature, info.raw, Digest.SHA256, None)
    except PkiError:
        _fail("the certificate request is not signed with its own key")
    return DeviceRequest(key=key, nonce=_nonce(info.attributes or ()))


def _accepted_key(spki: bytes) -> PublicKey:
    try:
        return accept_key(public_key_from_spki(spki))
    except PkiError as error:
        _fail(key_reason(error))


def _nonce(attributes: tuple[bytes, ...]) -> str | None:
    """Find the nonce: an extension asked for (RFC 2985 5.4.2), or an attribute of that name."""
    try:
        for element in attributes:
            attribute = asn1.decode(_RequestAttribute, element)
            if attribute.type == NONCE_EXTENSION:
                return _nonce_text(_only(attribute.values))
            if attribute.type == EXTENSION_REQUEST:
                extension = decode_extensions(_only(attribute.values)).get(NONCE_EXTENSION)
                if extension is not None:
                    return _nonce_text(extension.value)
    except PkiError:
        _fail("the certificate request's attributes cannot be read")
    return None


def _only(values: tuple[bytes, ...]) -> bytes:
    if len(values) != 1:
        _fail("an attribute of the certificate request has not one value")
    return values[0]


def _nonce_text(value: bytes) -> str:
    """Take the text out of a string or an OCTET STRING: no document says which it is."""
    tag, start, end = der.read_tlv(value)
    if tag not in (der.OCTET_STRING, der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING):
        _fail("the nonce in the certificate request is no string")
    content = value[start:end]
    if end != len(value) or len(content) > MAX_NONCE_OCTETS:
        _fail("the nonce in the certificate request is too long")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        _fail("the nonce in the certificate request is no text")
