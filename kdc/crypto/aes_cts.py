"""AES in CBC mode with ciphertext stealing, and HMAC: what both AES families share.

Rules
  1. The initial vector is always zero (RFC 3962 section 6, RFC 8009 section 5): the first block
     is a random confounder.
  2. The last two blocks are swapped even when the data fill whole blocks (RFC 3962 section 5);
     a single block is plain CBC.

How it is kept cheap: one cipher context for each direction of a key, since making a context costs
2 to 4 us and encrypting 600 bytes 0.8 us. A context's vector is the last block of ciphertext that
went through it, and there is no way to set it anew. So each message begins with that vector taken
back: from its first block when encrypting, by a block of zeros behind it when decrypting.
Stealing is done by slicing what one CBC pass returned.
"""

from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

BLOCK_BYTES = 16
_ZERO_BLOCK = bytes(BLOCK_BYTES)
_CBC_ZERO_IV = modes.CBC(_ZERO_BLOCK)
_ECB = modes.ECB()  # noqa: S305  # single blocks only: the key derivation chains them itself


def block_encryptor(key: bytes) -> Callable[[bytes], bytes]:
    """Return AES encryption of whole, independent blocks under `key`; it keeps no state."""
    return Cipher(algorithms.AES(key), _ECB).encryptor().update


class AesCts:
    """CBC with ciphertext stealing under one AES key. Data must be at least one block.

    An object is one thread's: its contexts go on from message to message.
    """

    __slots__ = ("_cipher", "_decryptor", "_encryptor", "_vector")

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), _CBC_ZERO_IV)
        self._encryptor: CipherContext | None = None
        self._vector = _ZERO_BLOCK
        self._decryptor: CipherContext | None = None

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt; the result is as long as `data`."""
        missing = -len(data) % BLOCK_BYTES
        padded = data + _ZERO_BLOCK[:missing] if missing else data
        context = self._encryptor
        if context is None:
            context = self._cipher.encryptor()
        else:
            # Away while it is in use: what stops halfway must not leave an unknown vector.
            self._encryptor = None
            padded = _xor(padded[:BLOCK_BYTES], self._vector) + padded[BLOCK_BYTES:]
        blocks = context.update(padded)
        last = blocks[-BLOCK_BYTES:]
        self._vector = last
        self._encryptor = context
        if len(blocks) == BLOCK_BYTES:
            return blocks
        return blocks[:-32] + last + blocks[-32 : -16 - missing]

    def decrypt(self, data: bytes) -> bytes:
        """Decrypt what `encrypt` returned."""
        context = self._decryptor
        if context is None:
            context = self._cipher.decryptor()
        self._decryptor = None
        size = len(data)
        tail_bytes = size % BLOCK_BYTES
        if size == BLOCK_BYTES:
            out = context.update(data + _ZERO_BLOCK)[:-BLOCK_BYTES]
        elif tail_bytes == 0:
            whole = data[:-32] + data[-16:] + data[-32:-16]
            out = context.update(whole + _ZERO_BLOCK)[:-BLOCK_BYTES]
        else:
            # The block before the short tail is the encryption of the zero-padded last block. Under
            # the zero vector its decryption is (last block || 0) XOR (full block before it), so its
            # end restores the stolen part of the tail. The same context then does the rest: its
            # chaining value is `padded` instead of zero, which the first XOR below takes back.
            padded = data[-16 - tail_bytes : -tail_bytes]
            tail = data[-tail_bytes:]
            mask = context.update(padded)
            rest = data[: -16 - tail_bytes] + tail + mask[tail_bytes:]
            found = context.update(rest + _ZERO_BLOCK)
            out = _xor(found[:16], padded) + found[16:-16] + _xor(mask[:tail_bytes], tail)
        self._decryptor = context
        return out


def _xor(one: bytes, other: bytes) -> bytes:
    mixed = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return mixed.to_bytes(len(one), "big")


class Hash(Protocol):
    """What hashlib's objects offer and HMAC needs."""

    def digest(self) -> bytes:
        """Return the digest."""


_INNER = bytes(octet ^ 0x36 for octet in range(256))
_OUTER = bytes(octet ^ 0x5C for octet in range(256))


class HmacKey:
    """HMAC (RFC 2104) under one key, with the padded key prepared once.

    Two one-shot hashes cost 0.9 us for 200 bytes; hmac.digest costs 1.7 us because OpenSSL
    fetches and sets up the algorithm at each call. A test compares the two.

    key: not longer than a hash block (ours are 16 to 32 bytes, the blocks 64 or 128).
    prefix: bytes that come before the data in every message.
    """

    __slots__ = ("_hash", "_inner", "_outer")

    def __init__(
        self, key: bytes, hash_new: Callable[[bytes], Hash], block_bytes: int, prefix: bytes = b""
    ) -> None:
        padded = key.ljust(block_bytes, b"\x00")
        self._hash = hash_new
        self._inner = padded.translate(_INNER) + prefix
        self._outer = padded.translate(_OUTER)

    def digest(self, data: bytes) -> bytes:
        """Return HMAC(key, prefix || data), whole."""
        hash_new = self._hash
        return hash_new(self._outer + hash_new(self._inner + data).digest()).digest()
