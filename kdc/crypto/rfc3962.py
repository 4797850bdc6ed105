"""RFC 3962: AES with HMAC-SHA1-96 (encryption types 17 and 18), on RFC 3961's simplified profile.

The checksum is taken over the plaintext and its confounder, and 12 of its 20 bytes are kept.
Specific keys are DK(base key, usage || AA, 55 or 99) for encryption, integrity and checksums.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import pbkdf2_hmac, sha1
from hmac import compare_digest
from math import lcm

from kdc.crypto.aes_cts import BLOCK_BYTES, AesCts, Hash, HmacKey, block_encryptor
from kdc.crypto.faults import CryptoError, CryptoFault

MAC_BYTES = 12
DEFAULT_ITERATIONS = 4096  # RFC 3962 section 4
_SHA1_BLOCK_BYTES = 64


def n_fold(data: bytes, size: int) -> bytes:
    """Return the n-fold of `data`, `size` bytes long (RFC 3961 section 5.1).

    Copies of the data, each rotated 13 bits further right, are laid end to end up to the least
    common multiple of both lengths; the pieces of `size` bytes are added in one's complement.
    """
    bits = len(data) * 8
    total = lcm(len(data), size)
    value = int.from_bytes(data, "big")
    laid = bytearray()
    for copy in range(total // len(data)):
        turn = 13 * copy % bits
        rotated = (value >> turn) | ((value << (bits - turn)) & ((1 << bits) - 1))
        laid += rotated.to_bytes(len(data), "big")
    width = size * 8
    full = (1 << width) - 1
    added = sum(int.from_bytes(laid[at : at + size], "big") for at in range(0, total, size))
    while added > full:
        added = (added & full) + (added >> width)
    return added.to_bytes(size, "big")


# Usage numbers come from our own code, never from the wire; the bound is a few times the
# number of usages of RFC 4120, 6113 and MS-PAC together.
@lru_cache(maxsize=256)
def _folded(constant: bytes) -> bytes:
    return n_fold(constant, BLOCK_BYTES)


@lru_cache(maxsize=256)
def _encryption_constants(usage: int) -> bytes:
    """Return the folded constants of Ke and Ki, one after the other."""
    number = usage.to_bytes(4, "big")
    return _folded(number + b"\xaa") + _folded(number + b"\x55")


@lru_cache(maxsize=256)
def _checksum_constant(usage: int) -> bytes:
    return _folded(usage.to_bytes(4, "big") + b"\x99")


_FOLDED_KERBEROS = n_fold(b"kerberos", BLOCK_BYTES)
_FOLDED_PRF = n_fold(b"prf", BLOCK_BYTES)


class Encryption:
    """The encryption function of RFC 3961 section 5.3 under the keys of one usage."""

    __slots__ = ("_cts", "_mac")

    def __init__(self, ke: bytes, ki: bytes) -> None:
        self._cts = AesCts(ke)
        self._mac = _mac_key(ki)

    def encrypt(self, plaintext: bytes, confounder: bytes) -> bytes:
        """Return E(confounder || plaintext) || HMAC of the same."""
        data = confounder + plaintext
        return self._cts.encrypt(data) + self._mac.digest(data)[:MAC_BYTES]

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return the plaintext once its checksum is right; CryptoError otherwise."""
        if len(ciphertext) < BLOCK_BYTES + MAC_BYTES:
            raise CryptoError(CryptoFault.TRUNCATED)
        data = self._cts.decrypt(ciphertext[:-MAC_BYTES])
        if not compare_digest(self._mac.digest(data)[:MAC_BYTES], ciphertext[-MAC_BYTES:]):
            raise CryptoError(CryptoFault.INTEGRITY)
        return data[BLOCK_BYTES:]


class BaseKey:
    """A protocol key of encryption type 17 or 18, from which specific keys are derived."""

    __slots__ = ("_block", "_is_256")

    def __init__(self, value: bytes) -> None:
        self._block = block_encryptor(value)
        self._is_256 = len(value) == 32

    def derive(self, folded_constant: bytes) -> bytes:
        """Return DK(key, constant) of RFC 3961 section 5.1; the constant is already folded."""
        first = self._block(folded_constant)
        return first + self._block(first) if self._is_256 else first

    def encryption_keys(self, usage: int) -> tuple[bytes, bytes]:
        """Return Ke and Ki of a usage."""
        # Both derivations side by side, as the blocks are independent of each other.
        first = self._block(_encryption_constants(usage))
        if not self._is_256:
            return first[:16], first[16:]
        second = self._block(first)
        return first[:16] + second[:16], first[16:] + second[16:]

    def encryption(self, usage: int) -> Encryption:
        """Return the encryption function of a usage."""
        ke, ki = self.encryption_keys(usage)
        return Encryption(ke, ki)

    def checksum_key(self, usage: int) -> bytes:
        """Return Kc of a usage."""
        return self.derive(_checksum_constant(usage))

    def checksum(self, usage: int) -> HmacKey:
        """Return the checksum function of a usage, before truncation."""
        return _mac_key(self.checksum_key(usage))

    def prf(self, data: bytes) -> bytes:
        """Return the pseudo-random function of RFC 3961 section 5.3, 16 bytes."""
        hashed = _sha1(data).digest()[:BLOCK_BYTES]
        return block_encryptor(self.derive(_FOLDED_PRF))(hashed)


# SHA-1 is what these encryption types are made of; inside HMAC it is not known to be broken.
_sha1: Callable[[bytes], Hash] = sha1


def _mac_key(key: bytes) -> HmacKey:
    return HmacKey(key, _sha1, _SHA1_BLOCK_BYTES)


def string_to_key(key_bytes: int, password: bytes, salt: bytes, iterations: int) -> bytes:
    """Return DK(PBKDF2-HMAC-SHA1(password, salt), "kerberos") (RFC 3962 section 4)."""
    seed = pbkdf2_hmac("sha1", password, salt, iterations, key_bytes)
    return BaseKey(seed).derive(_FOLDED_KERBEROS)
