"""Public keys in one canonical form, and the policy they must meet.

Rules
  1. A key is its numbers: (n, e), or a curve and a point. However it arrived (certificate,
     SubjectPublicKeyInfo, BCRYPT blob, TPM blob), equal numbers are the same `PublicKey`.
  2. `check_key` looks at the numbers only. Callers run it before `PublicKey.verifier()`, so that
     a hostile key costs microseconds and no library ever works with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from math import gcd, prod
from typing import Literal, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki import der
from pki.errors import DerFault, KeyFault, PkiError

RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
EC_PUBLIC_KEY = "1.2.840.10045.2.1"

MAX_EXPONENT = 2**32  # CryptoAPI and many smart cards hold the exponent in 32 bits

Verifier = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class KeyKind(StrEnum):
    """The families of public keys we know."""

    RSA = "RSA"
    EC = "EC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named curve (RFC 5480 2.1.1.1)."""

    name: str
    oid: str
    bits: int
    make: Callable[[], ec.EllipticCurve]

    @property
    def octets(self) -> int:
        """The length of one coordinate."""
        return (self.bits + 7) // 8


CURVES = {
    curve.name: curve
    for curve in (
        Curve(name="P-256", oid="1.2.840.10045.3.1.7", bits=256, make=ec.SECP256R1),
        Curve(name="P-384", oid="1.3.132.0.34", bits=384, make=ec.SECP384R1),
        Curve(name="P-521", oid="1.3.132.0.35", bits=521, make=ec.SECP521R1),
    )
}
_CURVE_BY_OID = {curve.oid: curve for curve in CURVES.values()}
_CURVE_BY_LIBRARY_NAME = {curve.make().name: curve for curve in CURVES.values()}


def _fail(fault: KeyFault, detail: str) -> NoReturn:
    raise PkiError(fault, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key as numbers; make one with `rsa_key`, `ec_key` or `public_key_from_*`."""

    kind: KeyKind
    n: int = 0
    """RSA modulus; 0 for EC."""
    e: int = 0
    """RSA public exponent; 0 for EC."""
    curve: str = ""
    """A name in CURVES; "" for RSA."""
    x: int = 0
    y: int = 0
    _digest: bytes = field(default=b"", init=False, compare=False, repr=False)
    _verifier: Verifier | None = field(default=None, init=False, compare=False, repr=False)
    _passed: "tuple[KeyPolicy, tuple[str, ...]] | None" = field(
        default=None, init=False, compare=False, repr=False
    )
    """The policy that `check_key` found met, with its warnings."""

    def __repr__(self) -> str:
        return f"PublicKey({self.kind} {self.bits} {self.digest.hex()[:16]})"

    @property
    def bits(self) -> int:
        """Size of the modulus or of the curve's field, in bits."""
        return self.n.bit_length() if self.kind is KeyKind.RSA else CURVES[self.curve].bits

    @property
    def canonical(self) -> bytes:
        """An unambiguous encoding: kind, then each part with its length before it."""
        if self.kind is KeyKind.RSA:
            parts = (_unsigned(self.n), _unsigned(self.e))
        else:
            parts = (self.curve.encode(), self.point())
        return str(self.kind).encode() + b"".join(len(p).to_bytes(4, "big") + p for p in parts)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical form: the key of the key -> account index."""
        if not self._digest:
            object.__setattr__(self, "_digest", sha256(self.canonical).digest())
        return self._digest

    def point(self) -> bytes:
        """Return the uncompressed point 04 x y of an EC key (SEC 1 2.3.3)."""
        size = CURVES[self.curve].octets
        return b"\x04" + self.x.to_bytes(size, "big") + self.y.to_bytes(size, "big")

    def rsa_public_key_der(self) -> bytes:
        """Encode RSAPublicKey ::= SEQUENCE { n, e } (RFC 8017 A.1.1)."""
        return der.sequence(der.encode_integer(self.n), der.encode_integer(self.e))

    def spki_der(self) -> bytes:
        """Encode SubjectPublicKeyInfo (RFC 5280 4.1, RFC 3279 2.3.1, RFC 5480)."""
        if self.kind is KeyKind.RSA:
            algorithm = der.sequence(der.encode_oid(RSA_ENCRYPTION), der.tlv(der.NULL, b""))
            return der.sequence(algorithm, der.encode_bit_string(self.rsa_public_key_der()))
        algorithm = der.sequence(
            der.encode_oid(EC_PUBLIC_KEY), der.encode_oid(CURVES[self.curve].oid)
        )
        return der.sequence(algorithm, der.encode_bit_string(self.point()))

    def verifier(self) -> Verifier:
        """Return the key as an object of `cryptography`, built once.

        Assumes `check_key` has passed. Raises PkiError(KeyFault.MALFORMED) when the library
        refuses the numbers, as for a point that is not on its curve.
        """
        if self._verifier is None:
            try:
                built: Verifier
                if self.kind is KeyKind.RSA:
                    built = rsa.RSAPublicNumbers(self.e, self.n).public_key()
                else:
                    built = ec.EllipticCurvePublicNumbers(
                        self.x, self.y, CURVES[self.curve].make()
                    ).public_key()
            except (ValueError, OverflowError, UnsupportedAlgorithm) as error:
                raise PkiError(KeyFault.MALFORMED, "refused by the library") from error
            object.__setattr__(self, "_verifier", built)
            return built
        return self._verifier


def _unsigned(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def rsa_key(n: int, e: int) -> PublicKey:
    """Make an RSA key. Only what cannot be a key at all is refused here; the rest is policy."""
    if n < 3 or e < 1:
        _fail(KeyFault.MALFORMED, "RSA numbers not positive")
    if n.bit_length() > der.MAX_INTEGER_BYTES * 8 or e.bit_length() > n.bit_length():
        _fail(KeyFault.TOO_LARGE, "RSA numbers")
    return PublicKey(kind=KeyKind.RSA, n=n, e=e)


def ec_key(curve: str, x: int, y: int) -> PublicKey:
    """Make an EC key and check that its point is on the curve.

    curve: a name in CURVES. Their cofactor is 1: a point on the curve is in the right group.
    Raises PkiError: KeyFault.UNSUPPORTED, MALFORMED.
    """
    known = CURVES.get(curve)
    if known is None:
        _fail(KeyFault.UNSUPPORTED, "curve")
    if not (0 <= x < 1 << known.bits and 0 <= y < 1 << known.bits):
        _fail(KeyFault.MALFORMED, "coordinate out of range")
    key = PublicKey(kind=KeyKind.EC, curve=known.name, x=x, y=y)
    key.verifier()
    return key


def _decode_rsa_public_key(buf: bytes, start: int, end: int) -> PublicKey:
    content, stop = der.open_tlv(buf, der.SEQUENCE, start, end)
    parts = der.children(buf, content, stop, limit=2)
    if [part[0] for part in parts] != [der.INTEGER, der.INTEGER]:
        der.fail(DerFault.BAD_TAG, "RSAPublicKey")
    (_, _, n_start, n_end), (_, _, e_start, e_end) = parts
    return rsa_key(der.decode_integer(buf, n_start, n_end), der.decode_integer(buf, e_start, e_end))


def _decode_point(curve: Curve, point: bytes) -> PublicKey:
    if len(point) != 1 + 2 * curve.octets or point[0] != 0x04:
        _fail(KeyFault.MALFORMED, "not an uncompressed point of this curve")
    return ec_key(
        curve.name,
        int.from_bytes(point[1 : 1 + curve.octets], "big"),
        int.from_bytes(point[1 + curve.octets :], "big"),
    )


def _decode_spki(buf: bytes, start: int, end: int) -> PublicKey:
    content, stop = der.open_tlv(buf, der.SEQUENCE, start, end)
    parts = der.children(buf, content, stop, limit=2)
    if [part[0] for part in parts] != [der.SEQUENCE, der.BIT_STRING]:
        der.fail(DerFault.BAD_TAG, "SubjectPublicKeyInfo")
    (_, _, alg_start, alg_end), (_, _, bits_start, bits_end) = parts
    algorithm = der.children(buf, alg_start, alg_end, limit=2)
    if not algorithm or algorithm[0][0] != der.OID:
        der.fail(DerFault.BAD_TAG, "AlgorithmIdentifier")
    name = der.decode_oid(buf, algorithm[0][2], algorithm[0][3])
    if bits_start == bits_end or buf[bits_start] != 0:
        der.fail(DerFault.BAD_VALUE, "subjectPublicKey with unused bits")
    if name == RSA_ENCRYPTION:
        # RFC 3279 2.3.1: the parameters MUST be NULL.
        if len(algorithm) != 2 or buf[algorithm[1][1] : algorithm[1][3]] != b"\x05\x00":
            _fail(KeyFault.MALFORMED, "rsaEncryption parameters")
        return _decode_rsa_public_key(buf, bits_start + 1, bits_end)
    if name != EC_PUBLIC_KEY:
        _fail(KeyFault.UNSUPPORTED, "public key algorithm")
    # RFC 5480 2.1.1: namedCurve only. Explicit parameters let the sender choose the
    # generator (CVE-2020-0601) and are never looked at.
    if len(algorithm) != 2 or algorithm[1][0] != der.OID:
        _fail(KeyFault.UNSUPPORTED, "curve not named")
    curve = _CURVE_BY_OID.get(der.decode_oid(buf, algorithm[1][2], algorithm[1][3]))
    if curve is None:
        _fail(KeyFault.UNSUPPORTED, "curve")
    return _decode_point(curve, buf[bits_start + 1 : bits_end])


def public_key_from_spki(data: bytes) -> PublicKey:
    """Decode a SubjectPublicKeyInfo (DER, whole buffer).

    Raises PkiError: KeyFault.MALFORMED, UNSUPPORTED, TOO_LARGE.
    """
    try:
        return _decode_spki(data, 0, len(data))
    except PkiError as error:
        raise _as_key_fault(error) from error


def public_key_from_rsa_public_key(data: bytes) -> PublicKey:
    """Decode a PKCS#1 RSAPublicKey (DER, whole buffer). Raises PkiError(KeyFault)."""
    try:
        return _decode_rsa_public_key(data, 0, len(data))
    except PkiError as error:
        raise _as_key_fault(error) from error


def public_key_from_certificate(data: bytes) -> PublicKey:
    """Decode the subjectPublicKeyInfo of a certificate (DER, whole buffer).

    Nothing else of the certificate is looked at. Raises PkiError(KeyFault).
    """
    try:
        start, end = der.open_tlv(data, der.SEQUENCE)
        tag, tbs_start, tbs_end = der.read_tlv(data, start, end)
        if tag != der.SEQUENCE:
            der.fail(DerFault.BAD_TAG, "TBSCertificate")
        fields = der.children(data, tbs_start, tbs_end, limit=16)
        # version is [0] and absent in v1; then serialNumber, signature, issuer, validity,
        # subject, subjectPublicKeyInfo (RFC 5280 4.1).
        index = 6 if fields and fields[0][0] == 0xA0 else 5
        if len(fields) <= index:
            der.fail(DerFault.MISSING_FIELD, "subjectPublicKeyInfo")
        return _decode_spki(data, fields[index][1], fields[index][3])
    except PkiError as error:
        raise _as_key_fault(error) from error


def public_key_from_cryptography(key: object) -> PublicKey:
    """Take the numbers of a public key object of `cryptography`. Raises PkiError(KeyFault)."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return rsa_key(numbers.n, numbers.e)
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_numbers()
        curve = _CURVE_BY_LIBRARY_NAME.get(key.curve.name)
        if curve is not None:
            return ec_key(curve.name, point.x, point.y)
    _fail(KeyFault.UNSUPPORTED, "public key algorithm")


def _as_key_fault(error: PkiError) -> PkiError:
    if isinstance(error.fault, KeyFault):
        # A new one: an exception that is its own cause is a cycle, which waits for the collector.
        return PkiError(error.fault, error.detail)
    return PkiError(KeyFault.MALFORMED, error.detail or "DER")


# -- policy ----------------------------------------------------------------------------------

RocaPolicy = Literal["block", "audit", "ignore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """Which public keys may sign for a logon."""

    min_rsa_bits: int = 2048
    max_rsa_bits: int = 4096
    """A verification grows with the square of the size; 16,384 bits take 3 ms."""
    curves: frozenset[str] = frozenset(CURVES)
    roca: RocaPolicy = "block"


def check_key(key: PublicKey, policy: KeyPolicy) -> tuple[str, ...]:
    """Check a key's numbers against the policy; return warnings for the audit record.

    Raises PkiError: KeyFault.TOO_SMALL, TOO_LARGE, BAD_EXPONENT, MALFORMED (a modulus with a
    small factor), UNSUPPORTED (curve), ROCA.
    """
    passed = key._passed
    if passed is not None and passed[0] is policy:
        return passed[1]
    warnings = _check_numbers(key, policy)
    object.__setattr__(key, "_passed", (policy, warnings))
    return warnings


def _check_numbers(key: PublicKey, policy: KeyPolicy) -> tuple[str, ...]:
    if key.kind is KeyKind.EC:
        if key.curve not in policy.curves:
            _fail(KeyFault.UNSUPPORTED, "curve not allowed")
        return ()
    bits = key.n.bit_length()
    if bits > policy.max_rsa_bits:
        _fail(KeyFault.TOO_LARGE, "RSA modulus")
    if bits < policy.min_rsa_bits:
        _fail(KeyFault.TOO_SMALL, "RSA modulus")
    # 65537 or any larger odd exponent of 32 bits: small ones (3) make padding flaws fatal.
    if not 65537 <= key.e < MAX_EXPONENT or not key.e & 1:
        _fail(KeyFault.BAD_EXPONENT, "RSA exponent")
    residue = key.n % _SMALL_PRODUCT
    if not key.n & 1 or gcd(residue, _SMALL_PRODUCT) != 1:
        _fail(KeyFault.MALFORMED, "RSA modulus has a small factor")
    if policy.roca != "ignore" and _in_roca_subgroups(residue):
        if policy.roca == "block":
            _fail(KeyFault.ROCA, "RSA modulus")
        return ("ROCA fingerprint (CVE-2017-15361)",)
    return ()


# The ROCA fingerprint. The flawed generator (Nemec, Sys, Svenda, Klinec, Matyas: "The Return of
# Coppersmith's Attack", CCS 2017, section 2) makes primes of the form k * M + (65537 ** a mod M),
# where M is the product of the first primes: 39 of them (to 167) for the smallest keys, more for
# larger ones. So modulo every prime p dividing M a weak n is a power of 65537. A random n passes
# for all 38 odd primes to 167 with a chance of about 2 ** -28.


def _odd_primes(limit: int) -> tuple[int, ...]:
    return tuple(
        n for n in range(3, limit + 1, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))
    )


def _powers_of_65537(p: int) -> frozenset[int]:
    found: set[int] = set()
    value = 1
    while value not in found:
        found.add(value)
        value = value * 65537 % p
    return frozenset(found)


_SMALL_PRIMES = _odd_primes(167)
_SMALL_PRODUCT = prod(_SMALL_PRIMES)
# A prime for which 65537 generates the whole group says nothing and is left out.
_ROCA_RESIDUES = tuple(
    sorted(
        ((p, powers) for p in _SMALL_PRIMES if len(powers := _powers_of_65537(p)) < p - 1),
        key=lambda item: len(item[1]) / item[0],
    )
)


def _in_roca_subgroups(residue: int) -> bool:
    return all(residue % p in powers for p, powers in _ROCA_RESIDUES)


def has_roca_fingerprint(n: int) -> bool:
    """Tell whether a modulus looks as if made by the generator of CVE-2017-15361."""
    return _in_roca_subgroups(n % _SMALL_PRODUCT)
