"""Public keys: one canonical form, strict decoding, policy, the ROCA fingerprint."""

import math
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from pki import der
from pki.errors import KeyFault, PkiError
from pki.keys import (
    CURVES,
    KeyKind,
    KeyPolicy,
    PublicKey,
    check_key,
    ec_key,
    has_roca_fingerprint,
    public_key_from_certificate,
    public_key_from_cryptography,
    public_key_from_rsa_public_key,
    public_key_from_spki,
    rsa_key,
)

RSA_PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_SPKI = RSA_PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
RSA = public_key_from_spki(RSA_SPKI)
EC_PRIVATE = {name: ec.generate_private_key(curve.make()) for name, curve in CURVES.items()}
POLICY = KeyPolicy()


def ec_spki(name: str) -> bytes:
    return (
        EC_PRIVATE[name].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


def fault_of(data: bytes) -> tuple[str, str]:
    with pytest.raises(PkiError) as caught:
        public_key_from_spki(data)
    assert isinstance(caught.value.fault, KeyFault)
    return caught.value.fault.name, caught.value.detail


def policy_fault(key: PublicKey, policy: KeyPolicy = POLICY) -> KeyFault:
    with pytest.raises(PkiError) as caught:
        check_key(key, policy)
    assert isinstance(caught.value.fault, KeyFault)
    return caught.value.fault


def test_rsa_key_is_the_same_from_every_source() -> None:
    """RFC 8017 A.1.1 and RFC 5280 4.1: one key, one canonical form."""
    numbers = RSA_PRIVATE.public_key().public_numbers()
    pkcs1 = RSA_PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    others = (
        public_key_from_rsa_public_key(pkcs1),
        public_key_from_cryptography(RSA_PRIVATE.public_key()),
        rsa_key(numbers.n, numbers.e),
    )
    for other in others:
        assert other == RSA
        assert other.digest == RSA.digest
        assert hash(other) == hash(RSA)
    assert RSA.spki_der() == RSA_SPKI
    assert RSA.rsa_public_key_der() == pkcs1
    assert (RSA.kind, RSA.bits) == (KeyKind.RSA, 2048)


@pytest.mark.parametrize("name", CURVES)
def test_ec_key_round_trips(name: str) -> None:
    """RFC 5480 2: namedCurve and an uncompressed point."""
    key = public_key_from_spki(ec_spki(name))
    assert key.spki_der() == ec_spki(name)
    assert key == public_key_from_cryptography(EC_PRIVATE[name].public_key())
    assert (key.kind, key.bits) == (KeyKind.EC, CURVES[name].bits)
    assert check_key(key, POLICY) == ()


def test_verifier_is_built_once_and_is_no_part_of_equality() -> None:
    """The cached library object does not change what the key is."""
    fresh = rsa_key(RSA.n, RSA.e)
    first = fresh.verifier()
    assert fresh.verifier() is first
    assert fresh == rsa_key(RSA.n, RSA.e)


def test_key_that_met_one_policy_is_judged_by_another() -> None:
    """What `check_key` remembers holds for the policy it was asked about, and no other."""
    fresh = rsa_key(RSA.n, RSA.e)
    strict = KeyPolicy(min_rsa_bits=3072)
    assert check_key(fresh, POLICY) == check_key(fresh, POLICY) == ()
    for _ in range(2):
        with pytest.raises(PkiError) as caught:
            check_key(fresh, strict)
        assert caught.value.fault is KeyFault.TOO_SMALL
    assert check_key(fresh, POLICY) == ()


def test_digests_of_kinds_and_numbers_do_not_run_together() -> None:
    """The canonical form carries the length of each part."""
    assert rsa_key(0x010203, 0x04).canonical != rsa_key(0x0102, 0x03).canonical
    keys = [RSA, replace(RSA, e=3), *(public_key_from_spki(ec_spki(name)) for name in CURVES)]
    assert len({key.digest for key in keys}) == len(keys)


def test_certificate_key_is_the_one_inside() -> None:
    """RFC 5280 4.1: subjectPublicKeyInfo is the sixth field after the optional version."""
    rest = [der.encode_integer(7), *[der.sequence()] * 4]
    for head in ([], [der.explicit(0, der.encode_integer(2))]):
        tbs = der.sequence(*head, *rest, RSA_SPKI)
        certificate = der.sequence(tbs, der.sequence(), der.encode_bit_string(b"x"))
        assert public_key_from_certificate(certificate) == RSA


def test_certificate_without_a_key_is_malformed() -> None:
    """RFC 5280 4.1."""
    with pytest.raises(PkiError) as caught:
        public_key_from_certificate(der.sequence(der.sequence(der.encode_integer(1))))
    assert caught.value.fault is KeyFault.MALFORMED


def test_rsa_algorithm_without_null_is_malformed() -> None:
    """RFC 3279 2.3.1: the parameters MUST be NULL."""
    inner = der.encode_bit_string(RSA.rsa_public_key_der())
    spki = der.sequence(der.sequence(der.encode_oid("1.2.840.113549.1.1.1")), inner)
    assert fault_of(spki) == ("MALFORMED", "rsaEncryption parameters")


def test_trailing_octet_is_malformed() -> None:
    """X.690 10.1: nothing after the value."""
    assert fault_of(RSA_SPKI + b"\0")[0] == "MALFORMED"


def test_negative_modulus_is_malformed() -> None:
    """RFC 8017 A.1.1: positive integers."""
    with pytest.raises(PkiError) as caught:
        public_key_from_rsa_public_key(der.sequence(der.tlv(2, b"\x80"), der.encode_integer(3)))
    assert caught.value.fault is KeyFault.MALFORMED


def test_explicit_curve_parameters_are_unsupported() -> None:
    """RFC 5480 2.1.1: specifiedCurve MUST NOT be used (CVE-2020-0601)."""
    algorithm = der.sequence(der.encode_oid("1.2.840.10045.2.1"), der.sequence())
    point = public_key_from_spki(ec_spki("P-256")).point()
    spki = der.sequence(algorithm, der.encode_bit_string(point))
    assert fault_of(spki) == ("UNSUPPORTED", "curve not named")


def test_other_curve_is_unsupported() -> None:
    """Curves outside the table have no name here."""
    private = ec.generate_private_key(ec.SECP256K1())
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert fault_of(spki) == ("UNSUPPORTED", "curve")
    with pytest.raises(PkiError) as caught:
        public_key_from_cryptography(private.public_key())
    assert caught.value.fault is KeyFault.UNSUPPORTED


def test_other_algorithms_are_unsupported() -> None:
    """Only RSA and EC keys sign for PKINIT here."""
    ed = ed25519.Ed25519PrivateKey.generate().public_key()
    spki = ed.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert fault_of(spki) == ("UNSUPPORTED", "public key algorithm")
    with pytest.raises(PkiError) as caught:
        public_key_from_cryptography(ed)
    assert caught.value.fault is KeyFault.UNSUPPORTED


def test_compressed_point_is_malformed() -> None:
    """SEC 1 2.3.3: only the uncompressed form is read."""
    point = (
        EC_PRIVATE["P-256"].public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    )
    algorithm = der.sequence(
        der.encode_oid("1.2.840.10045.2.1"), der.encode_oid(CURVES["P-256"].oid)
    )
    spki = der.sequence(algorithm, der.encode_bit_string(point))
    assert fault_of(spki) == ("MALFORMED", "not an uncompressed point of this curve")


@pytest.mark.parametrize("name", CURVES)
def test_point_off_the_curve_is_malformed(name: str) -> None:
    """SP 800-56A 5.6.2.3: a point must satisfy the curve's equation."""
    key = public_key_from_spki(ec_spki(name))
    with pytest.raises(PkiError) as caught:
        ec_key(name, key.x, key.y ^ 1)
    assert caught.value.fault is KeyFault.MALFORMED


def test_coordinate_not_reduced_is_malformed() -> None:
    """SP 800-56A 5.6.2.3: coordinates lie in [0, p-1]."""
    for x, y in ((2**256 - 1, 1), (2**256, 1), (-1, 1)):
        with pytest.raises(PkiError) as caught:
            ec_key("P-256", x, y)
        assert caught.value.fault is KeyFault.MALFORMED


@pytest.mark.parametrize(
    ("bits", "fault"),
    [(1024, KeyFault.TOO_SMALL), (2047, KeyFault.TOO_SMALL), (4097, KeyFault.TOO_LARGE)],
)
def test_rsa_size_out_of_range(bits: int, fault: KeyFault) -> None:
    """Row K12: 2048 to 4096 bits."""
    assert policy_fault(rsa_key((1 << (bits - 1)) | 1, 65537)) is fault


def test_modulus_of_16384_bits_is_too_large_and_a_longer_one_over_the_limit() -> None:
    """The size is judged before any arithmetic."""
    assert policy_fault(rsa_key((1 << 16383) | 1, 65537)) is KeyFault.TOO_LARGE
    with pytest.raises(PkiError) as caught:
        rsa_key(1 << (der.MAX_INTEGER_BYTES * 8), 3)
    assert caught.value.fault is KeyFault.TOO_LARGE


@pytest.mark.parametrize("exponent", [1, 3, 17, 65536, 65538, 2**32 + 1])
def test_exponent_not_accepted(exponent: int) -> None:
    """65537, or odd and larger within 32 bits."""
    assert policy_fault(rsa_key(RSA.n, exponent)) is KeyFault.BAD_EXPONENT


def test_larger_odd_exponent_is_accepted() -> None:
    """The control of the row above."""
    assert check_key(rsa_key(RSA.n, 65539), POLICY) == ()


@pytest.mark.parametrize("factor", [2, 3, 167])
def test_modulus_with_a_small_factor_is_malformed(factor: int) -> None:
    """A product of two large primes has none."""
    n = factor * ((1 << 2050) // factor)
    assert policy_fault(rsa_key(n, 65537)) is KeyFault.MALFORMED


def test_curve_not_allowed_by_the_policy() -> None:
    """A policy may name fewer curves than we know."""
    key = public_key_from_spki(ec_spki("P-521"))
    assert policy_fault(key, KeyPolicy(curves=frozenset({"P-256"}))) is KeyFault.UNSUPPORTED


def roca_like_modulus() -> int:
    """Return n = k * M + 65537^a mod M: the form of the flawed generator, primality aside."""
    primes = [p for p in range(2, 702) if all(p % d for d in range(2, math.isqrt(p) + 1))]
    product = math.prod(primes)
    factors = []
    for k, a in ((0x9ABCDEF, 123457), (0x8765431, 998877)):
        low = (1 << 1024) // product + k
        factors.append(low * product + pow(65537, a, product))
    return factors[0] * factors[1]


def test_roca_modulus_is_refused_reported_or_ignored_by_policy() -> None:
    """CVE-2017-15361, row K10: block, audit, ignore."""
    n = roca_like_modulus()
    assert has_roca_fingerprint(n)
    key = rsa_key(n, 65537)
    assert policy_fault(key) is KeyFault.ROCA
    assert check_key(key, replace(POLICY, roca="audit")) == ("ROCA fingerprint (CVE-2017-15361)",)
    assert check_key(key, replace(POLICY, roca="ignore")) == ()


def test_ordinary_moduli_have_no_roca_fingerprint() -> None:
    """The control: a key of OpenSSL, and numbers near a weak one."""
    assert not has_roca_fingerprint(RSA.n)
    weak = roca_like_modulus()
    assert not any(has_roca_fingerprint(weak + 2 * i) for i in range(1, 500))


@given(st.binary(max_size=600))
def test_any_octets_give_a_key_or_a_key_fault(data: bytes) -> None:
    """Fuzz: decoders raise nothing but PkiError(KeyFault)."""
    for decode in (
        public_key_from_spki,
        public_key_from_rsa_public_key,
        public_key_from_certificate,
    ):
        try:
            assert decode(data).canonical
        except PkiError as error:
            assert isinstance(error.fault, KeyFault)


@given(st.sampled_from([RSA_SPKI, *map(ec_spki, CURVES)]), st.data())
def test_changed_octet_gives_a_key_that_encodes_to_the_same_or_a_fault(
    spki: bytes, data: st.DataObject
) -> None:
    """Fuzz: what is accepted is canonical."""
    index = data.draw(st.integers(0, len(spki) - 1))
    octet = data.draw(st.integers(0, 255))
    changed = spki[:index] + bytes((octet,)) + spki[index + 1 :]
    try:
        assert public_key_from_spki(changed).spki_der() == changed
    except PkiError as error:
        assert isinstance(error.fault, KeyFault)
