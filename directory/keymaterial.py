"""The KeyMaterial entry of a key credential: every form in which a public key is found there.

Told apart by the first octets: `RSA1` BCRYPT_RSAKEY_BLOB, 0x30 DER (RSAPublicKey or
SubjectPublicKeyInfo), `PCPM` a TPM 2.0 key of the Windows platform crypto provider, `{` the JSON
of a FIDO key (never for PKINIT).
"""

import struct
from enum import StrEnum
from typing import NoReturn

from pki import der
from pki.errors import KeyFault, PkiError
from pki.keys import (
    KeyKind,
    PublicKey,
    public_key_from_rsa_public_key,
    public_key_from_spki,
    rsa_key,
)


class MaterialForm(StrEnum):
    """How the public key is written."""

    BCRYPT = "BCRYPT"
    RSA_PUBLIC_KEY = "RSAPublicKey"
    SPKI = "SubjectPublicKeyInfo"
    TPM = "TPM"
    FIDO = "FIDO"


# BCRYPT_RSAKEY_BLOB: magic, BitLength, cbPublicExp, cbModulus, cbPrime1, cbPrime2, all
# little-endian; then exponent and modulus, big-endian.
_BCRYPT_HEADER = struct.Struct("<4s5I")
_BCRYPT_MAX_EXPONENT_OCTETS = 8

# PCP_KEY_BLOB_WIN8 has 13 little-endian DWORDs: magic, cbHeader, pcpType, flags, then lengths.
# Since Windows 10 a USHORT follows (PCP_20_KEY_BLOB). cbHeader says where TPM2B_PUBLIC starts;
# Samba writes 46 there and 54 octets.
_PCP_FIXED = struct.Struct("<4s3I")
_PCP_WIN8_HEADER = 52
_PCP_20_HEADER = 54
_PCP_TYPE_TPM20 = 2
_TPM_ALG_RSA = 0x0001
_TPM_ALG_SHA256 = 0x000B
_TPM_ALG_NULL = 0x0010
_TPM_ALG_RSASSA = 0x0014
_TPM_ALG_RSAES = 0x0015
_TPM_SCHEMES_WITH_HASH = (_TPM_ALG_RSASSA, 0x0016, 0x0017)  # and RSAPSS, OAEP
_TPM_DEFAULT_EXPONENT = 65537  # TPM 2.0 part 2, 12.2.3.5: an exponent of zero means 2^16 + 1
_TPM_SIGN_ATTRIBUTES = 0x00040072  # sign, userWithAuth, sensitiveDataOrigin, fixedParent/TPM


def _malformed(detail: str) -> NoReturn:
    raise PkiError(KeyFault.MALFORMED, detail)


def decode_key_material(data: bytes) -> tuple[MaterialForm, PublicKey]:
    """Decode the public key of a KeyMaterial entry and say in which form it was.

    Raises PkiError(KeyFault.MALFORMED or UNSUPPORTED). Sizes and exponents are not judged here.
    """
    if data[:4] == b"RSA1":
        return MaterialForm.BCRYPT, _decode_bcrypt(data)
    if data[:4] == b"PCPM":
        return MaterialForm.TPM, _decode_tpm(data)
    if data[:1] == b"\x30":
        # Both DER forms are a SEQUENCE; RSAPublicKey starts with an INTEGER inside.
        try:
            _, start, end = der.read_tlv(data)
            inner = data[start] if start < end else 0
        except PkiError:
            _malformed("DER")
        if inner == der.INTEGER:
            return MaterialForm.RSA_PUBLIC_KEY, public_key_from_rsa_public_key(data)
        return MaterialForm.SPKI, public_key_from_spki(data)
    if data[:1] == b"{":
        raise PkiError(KeyFault.UNSUPPORTED, "FIDO key")
    if data[:4] in (b"RSA2", b"RSA3"):
        _malformed("BCRYPT private key blob")
    _malformed("unknown form")


def encode_key_material(key: PublicKey, form: MaterialForm) -> bytes:
    """Encode a public key in one of the forms. EC keys fit SubjectPublicKeyInfo only.

    Raises PkiError(KeyFault.UNSUPPORTED).
    """
    if form is MaterialForm.SPKI:
        return key.spki_der()
    if key.kind is not KeyKind.RSA or form is MaterialForm.FIDO:
        raise PkiError(KeyFault.UNSUPPORTED, f"{key.kind} key as {form}")
    if form is MaterialForm.RSA_PUBLIC_KEY:
        return key.rsa_public_key_der()
    modulus = key.n.to_bytes((key.n.bit_length() + 7) // 8, "big")
    if form is MaterialForm.TPM:
        return _encode_tpm(key, modulus)
    exponent = key.e.to_bytes((key.e.bit_length() + 7) // 8, "big")
    header = _BCRYPT_HEADER.pack(b"RSA1", key.n.bit_length(), len(exponent), len(modulus), 0, 0)
    return header + exponent + modulus


def _decode_bcrypt(data: bytes) -> PublicKey:
    if len(data) < _BCRYPT_HEADER.size:
        _malformed("BCRYPT header")
    _, bits, exponent_size, modulus_size, prime1, prime2 = _BCRYPT_HEADER.unpack_from(data)
    if prime1 or prime2:
        _malformed("BCRYPT blob with primes")
    if not 1 <= exponent_size <= _BCRYPT_MAX_EXPONENT_OCTETS:
        _malformed("BCRYPT exponent size")
    middle = _BCRYPT_HEADER.size + exponent_size
    if len(data) != middle + modulus_size or modulus_size != (bits + 7) // 8:
        _malformed("BCRYPT modulus size")
    n = int.from_bytes(data[middle:], "big")
    if n.bit_length() != bits:
        _malformed("BCRYPT bit length")
    return rsa_key(n, int.from_bytes(data[_BCRYPT_HEADER.size : middle], "big"))


class _Cursor:
    """Reads big-endian fields of a TPM structure and never past its end."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int) -> None:
        self.data, self.pos, self.end = data, pos, len(data)

    def take(self, size: int) -> bytes:
        start, self.pos = self.pos, self.pos + size
        if self.pos > self.end:
            _malformed("TPM structure cut short")
        return self.data[start : self.pos]

    def uint16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def restrict_to(self, size: int) -> None:
        if self.pos + size > self.end:
            _malformed("TPM structure cut short")
        self.end = self.pos + size


def _decode_tpm(data: bytes) -> PublicKey:
    if len(data) < _PCP_FIXED.size:
        _malformed("TPM header")
    _, header, kind, _ = _PCP_FIXED.unpack_from(data)
    if kind != _PCP_TYPE_TPM20:
        raise PkiError(KeyFault.UNSUPPORTED, "TPM version")
    cursor = _Cursor(data, header if header >= _PCP_WIN8_HEADER else _PCP_20_HEADER)
    # TPM2B_PUBLIC: size, then TPMT_PUBLIC: type, nameAlg, objectAttributes, authPolicy,
    # parameters, unique (TPM 2.0 part 2, 12.2.4).
    cursor.restrict_to(cursor.uint16())
    if cursor.uint16() != _TPM_ALG_RSA:
        raise PkiError(KeyFault.UNSUPPORTED, "TPM key is not RSA")
    cursor.take(2 + 4)
    cursor.take(cursor.uint16())
    if cursor.uint16() != _TPM_ALG_NULL:
        raise PkiError(KeyFault.UNSUPPORTED, "TPM storage key")
    scheme = cursor.uint16()
    if scheme in _TPM_SCHEMES_WITH_HASH:
        cursor.take(2)
    elif scheme not in (_TPM_ALG_NULL, _TPM_ALG_RSAES):
        raise PkiError(KeyFault.UNSUPPORTED, "TPM signature scheme")
    bits = cursor.uint16()
    exponent = int.from_bytes(cursor.take(4), "big")
    modulus = cursor.take(cursor.uint16())
    if cursor.pos != cursor.end:
        _malformed("TPM public area has more octets than fields")
    n = int.from_bytes(modulus, "big")
    if n.bit_length() != bits:
        _malformed("TPM keyBits")
    return rsa_key(n, exponent or _TPM_DEFAULT_EXPONENT)


def _encode_tpm(key: PublicKey, modulus: bytes) -> bytes:
    if key.e >= 1 << 32:
        raise PkiError(KeyFault.UNSUPPORTED, "exponent over 32 bits as TPM")
    exponent = 0 if key.e == _TPM_DEFAULT_EXPONENT else key.e
    area = struct.pack(
        ">HHIHHHHHIH",
        _TPM_ALG_RSA,
        _TPM_ALG_SHA256,
        _TPM_SIGN_ATTRIBUTES,
        0,
        _TPM_ALG_NULL,
        _TPM_ALG_RSASSA,
        _TPM_ALG_SHA256,
        key.n.bit_length(),
        exponent,
        len(modulus),
    )
    area += modulus
    public = len(area).to_bytes(2, "big") + area
    header = _PCP_FIXED.pack(b"PCPM", _PCP_20_HEADER, _PCP_TYPE_TPM20, 0)
    lengths = struct.pack("<9IH", len(public), 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return header + lengths + public
