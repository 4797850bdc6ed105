"""Encryption types and key usages, and the operations of RFC 3961 on a key.

Nothing here draws random numbers: confounders and new keys come in as arguments.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from hmac import compare_digest
from typing import Protocol

from kdc.crypto import rfc3962, rfc8009
from kdc.crypto.aes_cts import BLOCK_BYTES, HmacKey
from kdc.crypto.faults import CryptoError, CryptoFault

__all__ = [
    "CHECKSUM_BYTES",
    "CHECKSUM_TYPES",
    "CONFOUNDER_BYTES",
    "DEFAULT_ITERATIONS",
    "ENC_TYPES",
    "KEY_BYTES",
    "MAX_ITERATIONS",
    "CryptoError",
    "CryptoFault",
    "EncType",
    "KeyUsage",
    "ProtocolKey",
    "decrypt",
    "encrypt",
    "iterations_of",
    "make_checksum",
    "prf",
    "random_to_key",
    "string_to_key",
    "verify_checksum",
]


class EncType(IntEnum):
    """The encryption types we can use. Others exist on the wire; they stay plain integers."""

    AES128_CTS_HMAC_SHA1_96 = 17
    AES256_CTS_HMAC_SHA1_96 = 18
    AES128_CTS_HMAC_SHA256_128 = 19
    AES256_CTS_HMAC_SHA384_192 = 20


ENC_TYPES: dict[int, EncType] = {int(enctype): enctype for enctype in EncType}
"""By their numbers. `EncType(number)` says the same, but takes a microsecond."""

KEY_BYTES: dict[EncType, int] = {
    EncType.AES128_CTS_HMAC_SHA1_96: 16,
    EncType.AES256_CTS_HMAC_SHA1_96: 32,
    EncType.AES128_CTS_HMAC_SHA256_128: 16,
    EncType.AES256_CTS_HMAC_SHA384_192: 32,
}

CHECKSUM_TYPES: dict[EncType, int] = {
    EncType.AES128_CTS_HMAC_SHA1_96: 15,
    EncType.AES256_CTS_HMAC_SHA1_96: 16,
    EncType.AES128_CTS_HMAC_SHA256_128: 19,
    EncType.AES256_CTS_HMAC_SHA384_192: 20,
}
"""The mandatory checksum type of each encryption type (RFC 3962 section 7, RFC 8009 section 6)."""

CHECKSUM_BYTES: dict[EncType, int] = {
    EncType.AES128_CTS_HMAC_SHA1_96: rfc3962.MAC_BYTES,
    EncType.AES256_CTS_HMAC_SHA1_96: rfc3962.MAC_BYTES,
    EncType.AES128_CTS_HMAC_SHA256_128: rfc8009.AES128_SHA256.mac_bytes,
    EncType.AES256_CTS_HMAC_SHA384_192: rfc8009.AES256_SHA384.mac_bytes,
}

CONFOUNDER_BYTES = BLOCK_BYTES

DEFAULT_ITERATIONS: dict[EncType, int] = {
    EncType.AES128_CTS_HMAC_SHA1_96: rfc3962.DEFAULT_ITERATIONS,
    EncType.AES256_CTS_HMAC_SHA1_96: rfc3962.DEFAULT_ITERATIONS,
    EncType.AES128_CTS_HMAC_SHA256_128: rfc8009.DEFAULT_ITERATIONS,
    EncType.AES256_CTS_HMAC_SHA384_192: rfc8009.DEFAULT_ITERATIONS,
}

# A forged s2kparams must not keep a client busy for minutes. RFC 3962 section 4 asks for a
# limit of at least 50,000; a million takes half a second, with either family.
MAX_ITERATIONS = 1_000_000


class KeyUsage(IntEnum):
    """Key usage numbers: RFC 4120 section 7.5.1 where nothing else is said."""

    PA_ENC_TIMESTAMP = 1
    TICKET = 2
    AS_REP_ENC_PART = 3
    TGS_REQ_AUTHORIZATION_DATA_SESSION_KEY = 4
    TGS_REQ_AUTHORIZATION_DATA_SUBKEY = 5
    TGS_REQ_AUTHENTICATOR_CHECKSUM = 6
    TGS_REQ_AUTHENTICATOR = 7
    TGS_REP_ENC_PART_SESSION_KEY = 8
    TGS_REP_ENC_PART_SUBKEY = 9
    AP_REQ_AUTHENTICATOR_CHECKSUM = 10
    AP_REQ_AUTHENTICATOR = 11
    AP_REP_ENC_PART = 12
    KRB_PRIV_ENC_PART = 13
    KRB_CRED_ENC_PART = 14
    KRB_SAFE_CHECKSUM = 15
    KERB_NON_KERB_SALT = 16
    """PAC_CREDENTIAL_INFO (MS-PAC 2.6.1)."""
    KERB_NON_KERB_CKSUM_SALT = 17
    """PAC signatures (MS-PAC 2.8) and PA-FOR-USER (MS-SFU 2.2.1)."""
    AD_KDC_ISSUED_CHECKSUM = 19
    ACCEPTOR_SEAL = 22
    """This and the next three: RFC 4121 section 2."""
    ACCEPTOR_SIGN = 23
    INITIATOR_SEAL = 24
    INITIATOR_SIGN = 25
    PA_S4U_X509_USER_REQUEST = 26
    """MS-SFU 2.2.2."""
    PA_S4U_X509_USER_REPLY = 27
    PA_PKINIT_KX = 44
    """RFC 6112."""
    FAST_REQ_CHKSUM = 50
    """This and the next five: RFC 6113 section 5.4."""
    FAST_ENC = 51
    FAST_REP = 52
    FAST_FINISHED = 53
    ENC_CHALLENGE_CLIENT = 54
    ENC_CHALLENGE_KDC = 55
    AS_REQ = 56
    """PA-REQ-ENC-PA-REP (RFC 6806 section 11)."""
    AS_FRESHNESS = 60
    """RFC 8070."""
    PA_FX_COOKIE = 513
    """A local matter of the KDC (RFC 6113 section 5.2); MIT uses this number."""


class _Encryption(Protocol):
    def encrypt(self, plaintext: bytes, confounder: bytes) -> bytes: ...
    def decrypt(self, ciphertext: bytes) -> bytes: ...


class _BaseKey(Protocol):
    def encryption(self, usage: int) -> _Encryption: ...
    def checksum(self, usage: int) -> HmacKey: ...
    def prf(self, data: bytes) -> bytes: ...


class ProtocolKey:
    """A key of one encryption type (RFC 3961 section 2). Treated as frozen; no printable value.

    The specific keys of a usage are derived at their first use and kept: whoever keeps a
    long-term key should keep this object. The number kept is bounded by the usages our own code
    names. Raises CryptoError: UNSUPPORTED, BAD_KEY.
    """

    __slots__ = ("_base", "_checksums", "_encryptions", "enctype", "value")

    def __init__(self, enctype: EncType, value: bytes) -> None:
        size = KEY_BYTES.get(enctype)
        if size is None:
            raise CryptoError(CryptoFault.UNSUPPORTED)
        if len(value) != size:
            raise CryptoError(CryptoFault.BAD_KEY)
        self.enctype = enctype
        self.value = value
        self._base: _BaseKey | None = None
        self._encryptions: dict[int, _Encryption] = {}
        self._checksums: dict[int, HmacKey] = {}

    def __repr__(self) -> str:
        return f"<ProtocolKey etype {int(self.enctype)}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProtocolKey):
            return NotImplemented
        return self.enctype == other.enctype and compare_digest(self.value, other.value)

    def __hash__(self) -> int:
        return hash((self.enctype, self.value))

    def __reduce__(self) -> str:
        raise TypeError("keys are not copied or pickled")

    def _base_key(self) -> _BaseKey:
        base = self._base
        if base is None:
            base = self._base = _FAMILIES[self.enctype](self.value)
        return base

    def _encryption(self, usage: int) -> _Encryption:
        derived = self._encryptions[usage] = self._base_key().encryption(usage)
        return derived

    def _checksum(self, usage: int) -> HmacKey:
        derived = self._checksums[usage] = self._base_key().checksum(usage)
        return derived


_FAMILIES: dict[EncType, Callable[[bytes], _BaseKey]] = {
    EncType.AES128_CTS_HMAC_SHA1_96: rfc3962.BaseKey,
    EncType.AES256_CTS_HMAC_SHA1_96: rfc3962.BaseKey,
    EncType.AES128_CTS_HMAC_SHA256_128: partial(rfc8009.BaseKey, rfc8009.AES128_SHA256),
    EncType.AES256_CTS_HMAC_SHA384_192: partial(rfc8009.BaseKey, rfc8009.AES256_SHA384),
}

# (password, salt, iterations) -> key
_STRING_TO_KEY: dict[EncType, Callable[[bytes, bytes, int], bytes]] = {
    EncType.AES128_CTS_HMAC_SHA1_96: partial(rfc3962.string_to_key, 16),
    EncType.AES256_CTS_HMAC_SHA1_96: partial(rfc3962.string_to_key, 32),
    EncType.AES128_CTS_HMAC_SHA256_128: partial(rfc8009.string_to_key, rfc8009.AES128_SHA256),
    EncType.AES256_CTS_HMAC_SHA384_192: partial(rfc8009.string_to_key, rfc8009.AES256_SHA384),
}


def encrypt(key: ProtocolKey, usage: int, plaintext: bytes, confounder: bytes) -> bytes:
    """Encrypt and protect `plaintext` (RFC 3961 section 3); the content of EncryptedData.cipher.

    confounder: 16 fresh random bytes.
    """
    if len(confounder) != CONFOUNDER_BYTES:
        raise ValueError("a confounder has 16 bytes")
    keys = key._encryptions.get(usage) or key._encryption(usage)
    return keys.encrypt(plaintext, confounder)


def decrypt(key: ProtocolKey, usage: int, ciphertext: bytes) -> bytes:
    """Verify and decrypt the content of EncryptedData.cipher; the confounder is taken off.

    Raises CryptoError: TRUNCATED, INTEGRITY (also for the wrong key or usage).
    """
    keys = key._encryptions.get(usage) or key._encryption(usage)
    return keys.decrypt(ciphertext)


def make_checksum(key: ProtocolKey, usage: int, data: bytes) -> bytes:
    """Return the keyed checksum of `data`, of type CHECKSUM_TYPES[key.enctype]."""
    mac = key._checksums.get(usage) or key._checksum(usage)
    return mac.digest(data)[: CHECKSUM_BYTES[key.enctype]]


def verify_checksum(key: ProtocolKey, usage: int, data: bytes, mac: bytes) -> bytes:
    """Return `data` when `mac` is its keyed checksum; CryptoError INTEGRITY otherwise.

    Assumes the caller has compared the checksum's type with CHECKSUM_TYPES[key.enctype].
    """
    if not compare_digest(make_checksum(key, usage, data), mac):
        raise CryptoError(CryptoFault.INTEGRITY)
    return data


def prf(key: ProtocolKey, data: bytes) -> bytes:
    """Return the pseudo-random function of the key: 16, 16, 32 or 48 bytes for 17 to 20."""
    return key._base_key().prf(data)


def random_to_key(enctype: EncType, data: bytes) -> ProtocolKey:
    """Make a key of KEY_BYTES[enctype] random bytes (the identity for AES)."""
    return ProtocolKey(enctype, data)


def iterations_of(enctype: EncType, s2kparams: bytes | None) -> int:
    """Return the iteration count in s2kparams (4 bytes, big endian), or the default if absent.

    Raises CryptoError: BAD_PARAMETER for another length, zero (it stands for 2**32), or more
    than MAX_ITERATIONS.
    """
    if s2kparams is None:
        return DEFAULT_ITERATIONS[enctype]
    if len(s2kparams) != 4:
        raise CryptoError(CryptoFault.BAD_PARAMETER)
    return _checked_iterations(int.from_bytes(s2kparams, "big"))


def _checked_iterations(iterations: int) -> int:
    if not 1 <= iterations <= MAX_ITERATIONS:
        raise CryptoError(CryptoFault.BAD_PARAMETER)
    return iterations


def string_to_key(
    enctype: EncType, password: str | bytes, salt: str | bytes, iterations: int | None = None
) -> ProtocolKey:
    """Make the key of a password; text is taken as UTF-8.

    iterations: the type's default when None. Costs milliseconds: never on the server's path.
    Raises CryptoError: UNSUPPORTED, BAD_PARAMETER.
    """
    make = _STRING_TO_KEY.get(enctype)
    if make is None:
        raise CryptoError(CryptoFault.UNSUPPORTED)
    count = DEFAULT_ITERATIONS[enctype] if iterations is None else _checked_iterations(iterations)
    return ProtocolKey(enctype, make(_octets(password), _octets(salt), count))


def _octets(text: str | bytes) -> bytes:
    # Names that were not UTF-8 on the wire carry their bytes as surrogates; they go back as such.
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
