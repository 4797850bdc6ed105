"""Passwords of the tenant's users, kept as scrypt hashes (RFC 7914)."""

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass, field
from typing import Final

MAX_PASSWORD_OCTETS: Final = 256
_MAX_TYPED_CHARS: Final = 2 * MAX_PASSWORD_OCTETS
"""No spelling of an acceptable password is longer: of the characters that decompose, those of two
octets make three code points at most, those of three octets four."""
SALT_OCTETS: Final = 16
_HASH_OCTETS: Final = 32
_MAX_MEMORY: Final = 128 * 1024 * 1024

DEFAULT_COST: Final = 2**15
"""N of RFC 7914: with r = 8 a guess takes 32 MiB and some tenth of a second."""
_BLOCK_SIZE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordHash:
    """A password as it is stored; its repr shows nothing of it."""

    cost: int = field(repr=False)
    """N, a power of two."""
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Write it for the database: log2 N (one octet), salt, digest."""
        return bytes([self.cost.bit_length() - 1]) + self.salt + self.digest

    @classmethod
    def decode(cls, octets: bytes) -> "PasswordHash":
        """Read what `encode` wrote. Raises ValueError."""
        if len(octets) != 1 + SALT_OCTETS + _HASH_OCTETS or not 1 <= octets[0] <= 20:
            raise ValueError("this is no password hash")
        return cls(
            cost=1 << octets[0],
            salt=octets[1 : 1 + SALT_OCTETS],
            digest=octets[1 + SALT_OCTETS :],
        )


def hash_password(password: str, salt: bytes, *, cost: int = DEFAULT_COST) -> PasswordHash:
    """Hash a new password; salt: SALT_OCTETS random octets. Raises ValueError: empty, too long."""
    octets = _octets(password)
    if not octets or len(octets) > MAX_PASSWORD_OCTETS:
        raise ValueError("a password has 1 to 256 octets of UTF-8")
    return PasswordHash(cost=cost, salt=salt, digest=_scrypt(octets, salt, cost))


NOBODY: Final = PasswordHash(cost=DEFAULT_COST, salt=bytes(SALT_OCTETS), digest=bytes(_HASH_OCTETS))
"""What the password of an unknown user is compared with: as much work, and never equal."""


def is_password(candidate: str, stored: PasswordHash | None) -> bool:
    """Tell whether this is the password; a user without one costs the same time.

    Takes 32 MiB and the time of one hash: call it in a thread.
    """
    known = stored or NOBODY
    octets = _octets(candidate)[: MAX_PASSWORD_OCTETS + 1]
    same = hmac.compare_digest(_scrypt(octets, known.salt, known.cost), known.digest)
    return same and stored is not None and 0 < len(octets) <= MAX_PASSWORD_OCTETS


def _octets(password: str) -> bytes:
    if len(password) > _MAX_TYPED_CHARS:
        # Too long, whatever comes out. To normalize it takes time that grows with the square of the
        # combining characters in a row, and no other thread runs meanwhile.
        return bytes(MAX_PASSWORD_OCTETS + 1)
    # One spelling for every keyboard: Ä as one code point or as two (RFC 8265 4.2.2).
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _scrypt(octets: bytes, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(
        octets, salt=salt, n=cost, r=_BLOCK_SIZE, p=1, maxmem=_MAX_MEMORY, dklen=_HASH_OCTETS
    )
