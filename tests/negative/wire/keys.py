"""Signing keys, good and bad: RSA as plain numbers, so that no library corrects a hostile one."""

import hashlib
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from math import gcd, prod
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.negative.wire import der

RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
EC_PUBLIC_KEY = "1.2.840.10045.2.1"
DIGESTS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
    "sha3_256": "2.16.840.1.101.3.4.2.8",
}
RSA_WITH = {
    "md5": "1.2.840.113549.1.1.4",
    "sha1": "1.2.840.113549.1.1.5",
    "sha224": "1.2.840.113549.1.1.14",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
ECDSA_WITH = {
    "sha1": "1.2.840.10045.4.1",
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
P256 = "1.2.840.10045.3.1.7"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def digest(name: str, data: bytes) -> bytes:
    """Hash, with any algorithm."""
    return hashlib.new(name, data, usedforsecurity=False).digest()


class SigningKey(Protocol):
    """What signs certificates and AuthPacks."""

    @property
    def spki(self) -> bytes:
        """DER of the SubjectPublicKeyInfo."""
        ...

    def sign(self, name: str, data: bytes) -> bytes:
        """Sign data with a digest, as PKCS #1 v1.5 or ECDSA."""
        ...

    def algorithm(self, name: str) -> str:
        """Return the OID of the signature algorithm with this digest."""
        ...


@dataclass(frozen=True, kw_only=True)
class RsaKey:
    """An RSA key as numbers; d may be 0 for a key that cannot sign."""

    n: int
    e: int
    d: int = field(default=0, repr=False)
    primes: tuple[int, int] | None = field(default=None, repr=False)
    """Make signing three times as fast."""

    @cached_property
    def size(self) -> int:
        """Octets of the modulus."""
        return (self.n.bit_length() + 7) // 8

    @property
    def public_key(self) -> bytes:
        """DER of RSAPublicKey."""
        return der.sequence(der.integer(self.n), der.integer(self.e))

    @property
    def spki(self) -> bytes:
        """DER of the SubjectPublicKeyInfo."""
        algorithm = der.sequence(der.oid(RSA_ENCRYPTION), der.null())
        return der.sequence(algorithm, der.bits(self.public_key))

    def algorithm(self, name: str) -> str:
        """Return shaNNNWithRSAEncryption, or rsaEncryption where there is none."""
        return RSA_WITH.get(name, RSA_ENCRYPTION)

    def padded(self, name: str, data: bytes, *, null: bool = True) -> bytes:
        """Return EM = 00 01 FF.. 00 DigestInfo of EMSA-PKCS1-v1_5 (RFC 8017 9.2)."""
        parameters = der.null() if null else b""
        algorithm = der.sequence(der.oid(DIGESTS[name]), parameters)
        info = der.sequence(algorithm, der.octets(digest(name, data)))
        filler = b"\xff" * (self.size - 3 - len(info))
        return b"\x00\x01" + filler + b"\x00" + info

    def raw(self, encoded: bytes) -> bytes:
        """Apply the private exponent to a padded message."""
        message = int.from_bytes(encoded, "big")
        if self.primes is None:
            return pow(message, self.d, self.n).to_bytes(self.size, "big")
        p, q = self.primes
        low, high = pow(message, self.d % (q - 1), q), pow(message, self.d % (p - 1), p)
        return (low + q * ((high - low) * pow(q, -1, p) % p)).to_bytes(self.size, "big")

    def sign(self, name: str, data: bytes) -> bytes:
        """Sign with PKCS #1 v1.5; a key without d gives random octets."""
        if not self.d:
            return secrets.token_bytes(self.size)
        return self.raw(self.padded(name, data))


@dataclass(frozen=True, kw_only=True)
class EcKey:
    """A key on P-256."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def spki(self) -> bytes:
        """DER of the SubjectPublicKeyInfo."""
        numbers = self.private.public_key().public_numbers()
        point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        algorithm = der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(P256))
        return der.sequence(algorithm, der.bits(point))

    def algorithm(self, name: str) -> str:
        """Return ecdsa-with-SHANNN."""
        return ECDSA_WITH[name]

    def sign(self, name: str, data: bytes) -> bytes:
        """Sign with ECDSA."""
        return self.private.sign(data, ec.ECDSA(_HASHES[name]))

    def numbers(self, name: str, data: bytes) -> tuple[int, int]:
        """Sign and return (r, s)."""
        return decode_dss_signature(self.sign(name, data))


def new_rsa() -> RsaKey:
    """Make an ordinary RSA-2048 key."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    return RsaKey(n=made.public_numbers.n, e=65537, d=made.d, primes=(made.p, made.q))


def new_ec() -> EcKey:
    """Make an ordinary P-256 key."""
    return EcKey(private=ec.generate_private_key(ec.SECP256R1()))


# -- keys that must be refused ---------------------------------------------------------------


def _is_prime(n: int) -> bool:
    if any(n % p == 0 for p in _SMALL):
        return n in _SMALL
    d, s = n - 1, 0
    while not d & 1:
        d, s = d >> 1, s + 1
    for _ in range(8):
        x = pow(secrets.randbelow(n - 3) + 2, d, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


_SMALL = tuple(n for n in range(2, 702) if all(n % d for d in range(2, int(n**0.5) + 1)))


def _prime(bits: int, e: int) -> int:
    while True:
        n = secrets.randbits(bits) | 3 << (bits - 2) | 1
        if gcd(n - 1, e) == 1 and _is_prime(n):
            return n


def rsa_of(bits: int, e: int) -> RsaKey:
    """Make an RSA key of any size and exponent that signs correctly."""
    p, q = _prime(bits // 2, e), _prime(bits - bits // 2, e)
    return RsaKey(n=p * q, e=e, d=pow(e, -1, (p - 1) * (q - 1)))


def rsa_modulus_only(bits: int, e: int = 65537) -> RsaKey:
    """Make a public key of a random odd modulus; nobody can sign with it."""
    return RsaKey(n=secrets.randbits(bits) | 3 << (bits - 2) | 1, e=e)


def rsa_roca() -> RsaKey:
    """Make an RSA-2048 key as the generator of CVE-2017-15361 did: p = k M + (65537^a mod M)."""
    smooth = prod(_SMALL[:126])

    def weak_prime() -> int:
        low = (3 << 1022) // smooth
        while True:
            k = low + secrets.randbelow((1 << 1024) // smooth - low)
            p = k * smooth + pow(65537, secrets.randbits(64), smooth)
            if p.bit_length() == 1024 and _is_prime(p):
                return p

    while True:
        p, q = weak_prime(), weak_prime()
        if gcd(65537, (p - 1) * (q - 1)) == 1 and (p * q).bit_length() == 2048:
            return RsaKey(n=p * q, e=65537, d=pow(65537, -1, (p - 1) * (q - 1)))
