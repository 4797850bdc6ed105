"""RFC 8009: AES with HMAC-SHA2 (encryption types 19 and 20).

The checksum is taken over the initial vector and the ciphertext (encrypt, then MAC), so that
nothing is decrypted before it is verified. Specific keys come from KDF-HMAC-SHA2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import pbkdf2_hmac, sha256, sha384
from hmac import compare_digest

from kdc.crypto.aes_cts import BLOCK_BYTES, AesCts, Hash, HmacKey
from kdc.crypto.faults import CryptoError, CryptoFault

DEFAULT_ITERATIONS = 32768  # RFC 8009 section 4
_INITIAL_VECTOR = bytes(BLOCK_BYTES)


class Encryption:
    """The encryption function of RFC 8009 section 5 under the keys of one usage."""

    __slots__ = ("_cts", "_mac", "_mac_bytes")

    def __init__(self, ke: bytes, mac: HmacKey, mac_bytes: int) -> None:
        self._cts = AesCts(ke)
        self._mac = mac
        self._mac_bytes = mac_bytes

    def encrypt(self, plaintext: bytes, confounder: bytes) -> bytes:
        """Return C = E(confounder || plaintext), then HMAC(IV || C)."""
        sealed = self._cts.encrypt(confounder + plaintext)
        return sealed + self._mac.digest(sealed)[: self._mac_bytes]

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return the plaintext once the checksum is right; CryptoError otherwise."""
        mac_bytes = self._mac_bytes
        if len(ciphertext) < BLOCK_BYTES + mac_bytes:
            raise CryptoError(CryptoFault.TRUNCATED)
        sealed = ciphertext[:-mac_bytes]
        if not compare_digest(self._mac.digest(sealed)[:mac_bytes], ciphertext[-mac_bytes:]):
            raise CryptoError(CryptoFault.INTEGRITY)
        return self._cts.decrypt(sealed)[BLOCK_BYTES:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What differs between the two encryption types (RFC 8009 sections 5 and 6)."""

    enctype_name: bytes
    hash_name: str
    hash_new: Callable[[bytes], Hash]
    hash_block_bytes: int
    hash_bytes: int
    key_bytes: int
    mac_bytes: int
    """Length of the truncated checksum, and of Ki and Kc."""


AES128_SHA256 = Profile(
    enctype_name=b"aes128-cts-hmac-sha256-128",
    hash_name="sha256",
    hash_new=sha256,
    hash_block_bytes=64,
    hash_bytes=32,
    key_bytes=16,
    mac_bytes=16,
)
AES256_SHA384 = Profile(
    enctype_name=b"aes256-cts-hmac-sha384-192",
    hash_name="sha384",
    hash_new=sha384,
    hash_block_bytes=128,
    hash_bytes=48,
    key_bytes=32,
    mac_bytes=24,
)


class BaseKey:
    """A protocol key of encryption type 19 or 20, from which specific keys are derived."""

    __slots__ = ("_hmac", "_profile")

    def __init__(self, profile: Profile, value: bytes) -> None:
        self._profile = profile
        self._hmac = _mac_key(profile, value)

    def derive(self, label: bytes, size: int, context: bytes = b"") -> bytes:
        """Return KDF-HMAC-SHA2(key, label, context, size in bits) (RFC 8009 section 3).

        One block of the hash is always enough for these encryption types.
        """
        bits = (size * 8).to_bytes(4, "big")
        return self._hmac.digest(b"\x00\x00\x00\x01" + label + b"\x00" + context + bits)[:size]

    def encryption_keys(self, usage: int) -> tuple[bytes, bytes]:
        """Return Ke and Ki of a usage."""
        number = usage.to_bytes(4, "big")
        ke = self.derive(number + b"\xaa", self._profile.key_bytes)
        return ke, self.derive(number + b"\x55", self._profile.mac_bytes)

    def encryption(self, usage: int) -> Encryption:
        """Return the encryption function of a usage."""
        profile = self._profile
        ke, ki = self.encryption_keys(usage)
        return Encryption(ke, _mac_key(profile, ki, _INITIAL_VECTOR), profile.mac_bytes)

    def checksum_key(self, usage: int) -> bytes:
        """Return Kc of a usage."""
        return self.derive(usage.to_bytes(4, "big") + b"\x99", self._profile.mac_bytes)

    def checksum(self, usage: int) -> HmacKey:
        """Return the checksum function of a usage, before truncation."""
        return _mac_key(self._profile, self.checksum_key(usage))

    def prf(self, data: bytes) -> bytes:
        """Return the pseudo-random function of RFC 8009 section 5: 32 or 48 bytes."""
        return self.derive(b"prf", self._profile.hash_bytes, data)


def _mac_key(profile: Profile, key: bytes, prefix: bytes = b"") -> HmacKey:
    return HmacKey(key, profile.hash_new, profile.hash_block_bytes, prefix)


def string_to_key(profile: Profile, password: bytes, salt: bytes, iterations: int) -> bytes:
    """Return the key of a password (RFC 8009 section 4)."""
    salted = profile.enctype_name + b"\x00" + salt
    seed = pbkdf2_hmac(profile.hash_name, password, salted, iterations, profile.key_bytes)
    return BaseKey(profile, seed).derive(b"kerberos", profile.key_bytes)
