"""Key agreement of the client: listed groups, unlisted ones, and curves.

The primes are computed from pi and e as RFC 3526 and RFC 7919 define them; no table was copied.
"""

import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from tests.negative.wire import der

DH_PUBLIC_NUMBER = "1.2.840.10046.2.1"
EC_PUBLIC_KEY = "1.2.840.10045.2.1"
CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "p192": ("1.2.840.10045.3.1.1", ec.SECP192R1()),
    "p256": ("1.2.840.10045.3.1.7", ec.SECP256R1()),
    "p384": ("1.3.132.0.34", ec.SECP384R1()),
    "p521": ("1.3.132.0.35", ec.SECP521R1()),
    "k256": ("1.3.132.0.10", ec.SECP256K1()),
}
_OFFSETS = {
    768: 149686,
    1024: 129093,
    1536: 741804,
    2048: 124476,
    3072: 1690314,
    4096: 240904,
    6144: 929484,
    8192: 4743158,
}
"""RFC 2409 6.1-6.2 and RFC 3526: the first offset for which p is a safe prime."""


def _arctan_inverse(x: int, one: int) -> int:
    total = term = one // x
    n, sign = 3, -1
    while term:
        term //= x * x
        total += sign * (term // n)
        n, sign = n + 2, -sign
    return total


@lru_cache
def _pi(bits: int) -> int:
    """Return floor(2**bits * pi), by Machin's formula."""
    one = 1 << (bits + 64)
    return 4 * (4 * _arctan_inverse(5, one) - _arctan_inverse(239, one)) >> 64


@lru_cache
def modp_prime(bits: int) -> int:
    """Return the MODP prime: 2^n - 2^(n-64) - 1 + 2^64 ([2^(n-130) pi] + offset)."""
    middle = _pi(bits - 130) + _OFFSETS[bits]
    return (1 << bits) - (1 << bits - 64) - 1 + (middle << 64)


@lru_cache
def ffdhe2048_prime() -> int:
    """Return the prime of ffdhe2048: as the MODP primes, of e in place of pi (RFC 7919 A.1)."""
    one, total, n = 1 << (1918 + 64), 0, 1
    term = one
    while term:
        total += term
        term //= n
        n += 1
    return (1 << 2048) - (1 << 1984) - 1 + ((total >> 64) + 560316 << 64)


class Agreement(Protocol):
    """A key-agreement key of the client."""

    @property
    def spki(self) -> bytes:
        """DER of clientPublicValue."""
        ...

    def agree(self, peer: bytes) -> bytes:
        """Return the shared secret with the content of the KDC's BIT STRING."""
        ...


@dataclass(kw_only=True)
class Modp:
    """A finite-field key. p, g, q and y can be anything."""

    p: int = field(default_factory=lambda: modp_prime(2048))
    g: int = 2
    q: int | None = -1
    """-1: (p - 1) / 2; None: left out."""
    x: int = field(default_factory=lambda: secrets.randbits(256) | 1 << 255, repr=False)
    y: int | None = None
    """None: g^x mod p."""
    public: bytes | None = None
    """Content of the BIT STRING; None: the INTEGER y."""
    parameters: bytes | None = None
    """DER; None: DomainParameters; b"": left out."""
    unused_bits: int = 0

    @property
    def spki(self) -> bytes:
        """DER of clientPublicValue."""
        q = (self.p - 1) // 2 if self.q == -1 else self.q
        numbers = [der.integer(self.p), der.integer(self.g)]
        if q is not None:
            numbers.append(der.integer(q))
        parameters = der.sequence(*numbers) if self.parameters is None else self.parameters
        y = pow(self.g, self.x, self.p) if self.y is None else self.y
        public = der.integer(y) if self.public is None else self.public
        algorithm = der.sequence(der.oid(DH_PUBLIC_NUMBER), parameters)
        return der.sequence(algorithm, der.bits(public, self.unused_bits))

    def agree(self, peer: bytes) -> bytes:
        """Return Z, as long as p."""
        y = der.read(peer).number()
        if not 1 < y < self.p - 1:
            raise der.UnreadableError("the KDC's public value is not in the group")
        return pow(y, self.x, self.p).to_bytes((self.p.bit_length() + 7) // 8, "big")


@dataclass(kw_only=True)
class Curve:
    """A key on a named curve. Point and parameters can be anything."""

    name: str = "p256"
    private: ec.EllipticCurvePrivateKey = field(init=False, repr=False)
    public: bytes | None = None
    parameters: bytes | None = None

    def __post_init__(self) -> None:
        """Make the key."""
        self.private = ec.generate_private_key(CURVES[self.name][1])

    @property
    def point(self) -> bytes:
        """The uncompressed point."""
        numbers = self.private.public_key().public_numbers()
        size = (self.private.curve.key_size + 7) // 8
        return b"\x04" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")

    @property
    def spki(self) -> bytes:
        """DER of clientPublicValue."""
        parameters = der.oid(CURVES[self.name][0]) if self.parameters is None else self.parameters
        algorithm = der.sequence(der.oid(EC_PUBLIC_KEY), parameters)
        return der.sequence(algorithm, der.bits(self.point if self.public is None else self.public))

    def agree(self, peer: bytes) -> bytes:
        """Return the x coordinate of the shared point."""
        other = ec.EllipticCurvePublicKey.from_encoded_point(self.private.curve, peer)
        return self.private.exchange(ec.ECDH(), other)
