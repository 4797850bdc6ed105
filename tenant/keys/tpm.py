"""Structures of a TPM 2.0 key attestation, read strictly: TPMS_ATTEST, TPMT_PUBLIC, TPMT_SIGNATURE.

Rules
  1. Every field is read within the length of its structure, and nothing may be left over.
  2. What is signed or hashed is kept as the octets that arrived.
  3. Only what a key for signing needs is understood: RSA keys, TPM2_Certify, SHA-2. The rest is
     refused as unsupported.

Sources: TPM 2.0 library specification part 2 (sections named below); MS-WCCE 2.2.2.5 for the frame
in which Windows puts the three.
"""

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pki.errors import PkiError
from pki.keys import PublicKey, rsa_key
from pki.signatures import Digest

TPM_GENERATED_VALUE: Final = 0xFF544347  # 6.2: a TPM puts it before what it signs itself
TPM_ST_ATTEST_CERTIFY: Final = 0x8017

_TPM_ALG_RSA: Final = 0x0001
_TPM_ALG_NULL: Final = 0x0010
_TPM_ALG_RSASSA: Final = 0x0014
_TPM_ALG_RSAES: Final = 0x0015
_TPM_ALG_RSAPSS: Final = 0x0016
_TPM_ALG_OAEP: Final = 0x0017
_TPM_ALG_ECDSA: Final = 0x0018
_DIGESTS: Final = {0x000B: Digest.SHA256, 0x000C: Digest.SHA384, 0x000D: Digest.SHA512}
_HASH_OCTETS: Final = {Digest.SHA256: 32, Digest.SHA384: 48, Digest.SHA512: 64}
_DEFAULT_EXPONENT: Final = 65537  # 12.2.3.5: zero means 2^16 + 1

MAX_STATEMENT_OCTETS: Final = 8192  # a genuine one, over an RSA-2048 key, has about 1 KiB
_MAX_NAME_OCTETS: Final = 2 + 64  # an algorithm's number and the longest digest (10.5.3)
_MAX_DATA_OCTETS: Final = 2 + 64  # TPM2B_DATA holds a TPMT_HA (10.4.3)
_MAX_MODULUS_OCTETS: Final = 512

_KADS: Final = struct.Struct("<4s5I")
_PLATFORM_TPM20: Final = 2
# PCP_KEY_BLOB_WIN8: nine lengths after magic, header size, type and flags; cbPublic is the first.
_PCP: Final = struct.Struct("<4s4I")
_PCP_WIN8_HEADER: Final = 52
_MAX_PCP_HEADER: Final = 256


class TpmError(Exception):
    """An attestation cannot be read; `why` is one fixed phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _fail(why: str) -> NoReturn:
    raise TpmError(why)


class ObjectAttributes(IntFlag):
    """TPMA_OBJECT (8.3): what a key in a TPM may do, and whether it can leave it."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    FIRMWARE_LIMITED = 1 << 8
    SVN_LIMITED = 1 << 9
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18
    X509_SIGN = 1 << 19


_KNOWN_ATTRIBUTES: Final = sum(ObjectAttributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """What is looked at in a TPMS_ATTEST of TPM2_Certify (10.12.12)."""

    extra_data: bytes
    """The qualifying data of who asked for the attestation."""
    firmware_version: int
    name: bytes
    """The Name of the certified object: its nameAlg and the digest of its public area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicArea:
    """A TPMT_PUBLIC (12.2.4) of an RSA key."""

    raw: bytes
    """As it arrived: what the Name is a digest of."""
    name_digest: Digest
    name_algorithm: int
    attributes: ObjectAttributes
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmSignature:
    """A TPMT_SIGNATURE (11.3.4) in the form that `pki.signatures.verify_octets` takes."""

    digest: Digest
    pss_salt: int | None
    value: bytes
    """RSA: the octets; ECDSA: the SEQUENCE of r and s."""
    ecdsa: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The three parts of an attestation, each as it arrived."""

    attest: bytes
    signature: bytes
    public_area: bytes


class _Cursor:
    """Reads big-endian fields and never past the end."""

    __slots__ = ("data", "pos", "what")

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.pos, self.what = data, 0, what

    def take(self, size: int) -> bytes:
        start, self.pos = self.pos, self.pos + size
        if self.pos > len(self.data):
            _fail(f"the {self.what} is cut short")
        return self.data[start : self.pos]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self, limit: int) -> bytes:
        """Read a TPM2B: two octets of length, the content."""
        size = self.uint(2)
        if size > limit:
            _fail(f"a field of the {self.what} is too long")
        return self.take(size)

    def end(self) -> None:
        if self.pos != len(self.data):
            _fail(f"the {self.what} has more octets than fields")


def split_statement(data: bytes) -> Statement:
    """Split a KeyAttestation (MS-WCCE 2.2.2.5): TPMS_ATTEST, signature and key blob.

    The key blob is a PCP_KEY_BLOB of Windows or a bare TPM2B_PUBLIC. Raises TpmError.
    """
    if len(data) > MAX_STATEMENT_OCTETS:
        _fail("the attestation is too long")
    if len(data) < _KADS.size:
        _fail("the attestation is cut short")
    magic, platform, header, attest, signature, blob = _KADS.unpack_from(data)
    if magic != b"KADS":
        _fail("the attestation is no KeyAttestation structure")
    if platform != _PLATFORM_TPM20:
        _fail("the attestation is not of a TPM 2.0")
    if header != _KADS.size or header + attest + signature + blob != len(data):
        _fail("the attestation's lengths do not add up")
    after_attest = header + attest
    after_signature = after_attest + signature
    return Statement(
        attest=data[header:after_attest],
        signature=data[after_attest:after_signature],
        public_area=_public_area(data[after_signature:]),
    )


def _public_area(blob: bytes) -> bytes:
    if blob[:4] == b"PCPM":
        if len(blob) < _PCP_WIN8_HEADER:
            _fail("the key blob is cut short")
        _, header, kind, _, public = _PCP.unpack_from(blob)
        if kind != _PLATFORM_TPM20:
            _fail("the key blob is not of a TPM 2.0")
        if not _PCP_WIN8_HEADER <= header <= _MAX_PCP_HEADER or header + public > len(blob):
            _fail("the key blob's lengths do not add up")
        # The private part that follows is sealed by the TPM and of no use to anybody else.
        blob = blob[header : header + public]
    cursor = _Cursor(blob, "key blob")
    area = cursor.sized(MAX_STATEMENT_OCTETS)
    cursor.end()
    return area


def decode_attest(data: bytes) -> Certified:
    """Decode a TPMS_ATTEST whose attested part is a TPMS_CERTIFY_INFO. Raises TpmError."""
    cursor = _Cursor(data, "TPMS_ATTEST")
    if cursor.uint(4) != TPM_GENERATED_VALUE:
        # Without it the TPM signed octets that somebody gave it.
        _fail("the attestation was not made by a TPM (magic)")
    if cursor.uint(2) != TPM_ST_ATTEST_CERTIFY:
        _fail("the attestation does not certify a key")
    cursor.sized(_MAX_NAME_OCTETS)  # qualifiedSigner: a name in the TPM's own hierarchy
    extra_data = cursor.sized(_MAX_DATA_OCTETS)
    cursor.take(8 + 4 + 4)  # TPMS_CLOCK_INFO: clock, resetCount, restartCount
    if cursor.uint(1) > 1:  # safe
        _fail("a TPMI_YES_NO is neither")
    firmware_version = cursor.uint(8)
    name = cursor.sized(_MAX_NAME_OCTETS)
    cursor.sized(_MAX_NAME_OCTETS)  # qualifiedName
    cursor.end()
    return Certified(
        extra_data=extra_data,
        firmware_version=firmware_version,
        name=name,
    )


def decode_public(data: bytes) -> PublicArea:
    """Decode a TPMT_PUBLIC of an RSA key that is not a storage key. Raises TpmError."""
    cursor = _Cursor(data, "TPMT_PUBLIC")
    if cursor.uint(2) != _TPM_ALG_RSA:
        _fail("the certified key is not RSA")
    name_algorithm = cursor.uint(2)
    digest = _digest(name_algorithm)
    attributes = cursor.uint(4)
    if attributes & ~_KNOWN_ATTRIBUTES:
        _fail("reserved object attributes are set")
    cursor.sized(max(_HASH_OCTETS.values()))  # authPolicy
    if cursor.uint(2) != _TPM_ALG_NULL:
        _fail("the certified key is a storage key")
    scheme = cursor.uint(2)
    if scheme in (_TPM_ALG_RSASSA, _TPM_ALG_RSAPSS, _TPM_ALG_OAEP):
        cursor.take(2)
    elif scheme not in (_TPM_ALG_NULL, _TPM_ALG_RSAES):
        _fail("the certified key's scheme is unknown")
    bits = cursor.uint(2)
    exponent = cursor.uint(4)
    n = int.from_bytes(cursor.sized(_MAX_MODULUS_OCTETS), "big")
    cursor.end()
    if n.bit_length() != bits:
        _fail("the certified key has another size than it says")
    try:
        key = rsa_key(n, exponent or _DEFAULT_EXPONENT)
    except PkiError:
        _fail("the certified key is no RSA key")
    return PublicArea(
        raw=data,
        name_digest=digest,
        name_algorithm=name_algorithm,
        attributes=ObjectAttributes(attributes),
        key=key,
    )


def decode_signature(data: bytes) -> TpmSignature:
    """Decode a TPMT_SIGNATURE. Raises TpmError."""
    cursor = _Cursor(data, "TPMT_SIGNATURE")
    algorithm = cursor.uint(2)
    if algorithm not in (_TPM_ALG_RSASSA, _TPM_ALG_RSAPSS, _TPM_ALG_ECDSA):
        _fail("the attestation's signature algorithm is unknown")
    digest = _digest(cursor.uint(2))
    if algorithm == _TPM_ALG_ECDSA:
        r, s = cursor.sized(66), cursor.sized(66)  # P-521 has 66 octets
        cursor.end()
        value = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        return TpmSignature(digest=digest, pss_salt=None, value=value, ecdsa=True)
    value = cursor.sized(_MAX_MODULUS_OCTETS)
    cursor.end()
    # Part 1, B.7: the salt is as long as the digest where FIPS 186-4 is followed, as all do.
    salt = _HASH_OCTETS[digest] if algorithm == _TPM_ALG_RSAPSS else None
    return TpmSignature(digest=digest, pss_salt=salt, value=value)


def _digest(algorithm: int) -> Digest:
    digest = _DIGESTS.get(algorithm)
    if digest is None:
        _fail("a digest algorithm of the attestation is not accepted")
    return digest
