"""Diffie-Hellman: published vectors, agreement, and rows D01 and D03 to D06."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from kdc.crypto.key_agreement import (
    EC_GROUPS,
    GROUPS,
    MODP_GROUPS,
    AgreementError,
    AgreementFault,
    EcGroup,
    Group,
    KeyPair,
    ModpGroup,
    generate,
    group_by_curve_oid,
    match_domain_parameters,
)
from pki import der
from tests.kdc.crypto.vectors import Case, case_id, cases

MODP2, MODP14, MODP16 = MODP_GROUPS
P256, P384, P521 = EC_GROUPS


def name_of(group: Group) -> str:
    return group.name


every_group = pytest.mark.parametrize("group", list(GROUPS.values()), ids=name_of)
every_modp = pytest.mark.parametrize("group", MODP_GROUPS, ids=name_of)
every_curve = pytest.mark.parametrize("group", EC_GROUPS, ids=name_of)


def fault_of(pair: KeyPair, peer_public: bytes) -> AgreementFault:
    with pytest.raises(AgreementError) as refused:
        pair.agree(peer_public)
    return refused.value.fault


def pi_scaled(bits: int) -> int:
    """Return floor(2**bits * pi), by Machin's formula with 64 spare bits."""

    def arctan_of_inverse(x: int) -> int:
        term = total = (1 << (bits + 64)) // x
        divisor, sign = 3, -1
        while term:
            term //= x * x
            total += sign * (term // divisor)
            divisor, sign = divisor + 2, -sign
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> 64


# -- the groups ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "bits", "offset"),
    [(MODP2, 1024, 129093), (MODP14, 2048, 124476), (MODP16, 4096, 240904)],
    ids=["modp2", "modp14", "modp16"],
)
def test_primes_are_those_of_the_formula(group: ModpGroup, bits: int, offset: int) -> None:
    """RFC 2409 section 6.2, RFC 3526 sections 3 and 5."""
    formula = 2**bits - 2 ** (bits - 64) - 1 + 2**64 * (pi_scaled(bits - 130) + offset)
    assert group.p == formula
    assert (group.bits, group.secret_bytes, group.g) == (bits, bits // 8, 2)
    assert group.q * 2 + 1 == group.p


@pytest.mark.parametrize("case", cases("rfc5903"), ids=case_id)
def test_curve_vectors(case: Case) -> None:
    """RFC 5903 section 8, both sides."""
    group = GROUPS[case.text("group")]
    ours = KeyPair.from_private(group, int(case.text("private"), 16))
    theirs = KeyPair.from_private(group, int(case.text("peer_private"), 16))
    assert ours.public == case.octets("public")
    assert theirs.public == case.octets("peer_public")
    assert ours.agree(theirs.public) == theirs.agree(ours.public) == case.octets("expected")


@every_modp
def test_modp_agrees_with_arithmetic(group: ModpGroup) -> None:
    """No document gives vectors for these groups; the definition is one line."""
    x, peer_x = 0x123456789ABCDEF << 120, 0xFEDCBA987654321 << 119
    pair = KeyPair.from_private(group, x)
    assert pair.public == der.encode_integer(pow(2, x, group.p))
    secret = pair.agree(der.encode_integer(pow(2, peer_x, group.p)))
    assert secret == pow(2, x * peer_x, group.p).to_bytes(group.secret_bytes, "big")


@every_modp
def test_a_short_secret_is_padded_on_the_left(group: ModpGroup) -> None:
    """RFC 4556 section 3.2.3.1: Z is as long as p, even when it is a small number."""
    pair = KeyPair.from_private(group, 3)
    secret = pair.agree(der.encode_integer(1 << 100))
    assert secret == (1 << 300).to_bytes(group.secret_bytes, "big")


@every_group
def test_two_fresh_pairs_agree(group: Group) -> None:
    """And no two pairs are alike (row D09)."""
    one, other = generate(group), generate(group)
    assert one.public != other.public
    secret = one.agree(other.public)
    assert secret == other.agree(one.public)
    assert len(secret) == group.secret_bytes
    assert one.group is group


@every_modp
def test_modp_public_value_is_one_der_integer(group: ModpGroup) -> None:
    """RFC 4556 section 3.2.1: subjectPublicKey holds DHPublicKey ::= INTEGER."""
    public = generate(group).public
    y = der.decode_integer(public, *der.open_tlv(public, der.INTEGER))
    assert der.encode_integer(y) == public
    assert 1 < y < group.p - 1


@every_curve
def test_curve_public_value_is_the_uncompressed_point(group: EcGroup) -> None:
    """RFC 5349 section 4, RFC 5480 section 2.2."""
    public = generate(group).public
    assert public[0] == 4
    assert len(public) == 1 + 2 * group.secret_bytes
    ec.EllipticCurvePublicKey.from_encoded_point(group.curve, public)


def test_a_pair_does_not_print_its_numbers() -> None:
    """Private numbers must not reach a log."""
    assert repr(KeyPair.from_private(MODP14, 12345)) == "<KeyPair modp14>"
    assert len(repr(MODP14)) < 200


# -- AlgorithmIdentifier ---------------------------------------------------------------------


@every_modp
def test_modp_algorithm_identifier_holds_p_g_q(group: ModpGroup) -> None:
    """RFC 3279 section 2.3.3: DomainParameters, in this order."""
    numbers = b"".join(der.encode_integer(n) for n in (group.p, 2, group.q))
    assert group.algorithm_identifier == der.sequence(
        der.encode_oid("1.2.840.10046.2.1"), der.tlv(der.SEQUENCE, numbers)
    )


@every_curve
def test_curve_algorithm_identifier_is_the_library_s(group: EcGroup) -> None:
    """RFC 5480 section 2.1.1: id-ecPublicKey with namedCurve."""
    spki = (
        ec.generate_private_key(group.curve)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    start, end = der.open_tlv(spki, der.SEQUENCE)
    first = der.children(spki, start, end)[0]
    assert spki[first[1] : first[3]] == group.algorithm_identifier


# -- matching parameters (rows D01, D04, D06) ------------------------------------------------


@every_modp
def test_q_absent_zero_or_right_is_our_group(group: ModpGroup) -> None:
    """Row D04: Windows sends q, tools send 0, others nothing."""
    for q in (None, 0, group.q):
        assert match_domain_parameters(group.p, group.g, q) is group


@every_modp
def test_other_parameters_are_no_group_of_ours(group: ModpGroup) -> None:
    """Row D04: right p with g = 1, p-1 or another, or a wrong q."""
    for g in (0, 1, 3, group.p - 1, group.p + 2, -2):
        assert match_domain_parameters(group.p, g, None) is None
    for q in (1, 2, group.q - 1, group.q + 1, group.p, -group.q):
        assert match_domain_parameters(group.p, group.g, q) is None


@pytest.mark.parametrize(
    "p",
    [0, 1, 23, -MODP14.p, MODP14.p + 2, MODP14.q, (1 << 16384) - 1],
    ids=["0", "1", "23", "negative", "next odd", "q", "16384 bits"],
)
def test_another_prime_is_no_group_of_ours(p: int) -> None:
    """Rows D01 and D06: small, negative, near, and 16,384 bits."""
    assert match_domain_parameters(p, 2, None) is None


def test_curves_are_known_by_their_identifier() -> None:
    """RFC 5480 section 2.1.1.1; P-192, secp256k1 and P-224 are not ours (row D05)."""
    assert group_by_curve_oid("1.2.840.10045.3.1.7") is P256
    assert group_by_curve_oid("1.3.132.0.34") is P384
    assert group_by_curve_oid("1.3.132.0.35") is P521
    for oid in ("1.2.840.10045.3.1.1", "1.3.132.0.10", "1.3.132.0.33", ""):
        assert group_by_curve_oid(oid) is None


# -- the peer's value (rows D03, D05) --------------------------------------------------------


@every_modp
@pytest.mark.parametrize("which", ["0", "1", "p-1", "p", "p+1", "p+2", "-1", "-2", "2p", "huge"])
def test_y_outside_its_range_is_refused(group: ModpGroup, which: str) -> None:
    """Row D03."""
    p = group.p
    y = {
        "0": 0,
        "1": 1,
        "p-1": p - 1,
        "p": p,
        "p+1": p + 1,
        "p+2": p + 2,
        "-1": -1,
        "-2": -2,
        "2p": 2 * p,
        "huge": 1 << 16000,
    }[which]
    pair = KeyPair.from_private(group, 5)
    assert fault_of(pair, der.encode_integer(y)) is AgreementFault.OUT_OF_RANGE


@every_modp
def test_the_ends_of_the_range_are_accepted(group: ModpGroup) -> None:
    """2 and p-2 are legal, if odd (row D03's control)."""
    pair = KeyPair.from_private(group, 5)
    for y in (2, group.p - 2):
        expected = pow(y, 5, group.p).to_bytes(group.secret_bytes, "big")
        assert pair.agree(der.encode_integer(y)) == expected


@pytest.mark.parametrize(
    "public",
    [
        b"",
        b"\x02",
        b"\x02\x00",
        b"\x02\x01",
        b"\x04\x01\x05",
        b"\x02\x01\x05\x00",
        b"\x02\x02\x00\x05",
        b"\x02\x81\x01\x05",
        b"\x02\x80\x05\x00\x00",
        b"\x05",
        b"\x30\x03\x02\x01\x05",
        der.encode_integer(1 << 20000),
    ],
    ids=[
        "empty",
        "tag alone",
        "empty integer",
        "truncated",
        "octet string",
        "trailing octet",
        "integer not minimal",
        "length not minimal",
        "indefinite length",
        "bare number",
        "in a sequence",
        "20,000 bits",
    ],
)
def test_a_value_that_is_not_one_integer_is_refused(public: bytes) -> None:
    """RFC 4556 section 3.2.1: the DER of an INTEGER, and nothing else."""
    assert fault_of(KeyPair.from_private(MODP14, 5), public) is AgreementFault.MALFORMED


@every_curve
def test_points_in_another_form_are_refused(group: EcGroup) -> None:
    """Row D05: infinity, compressed, hybrid, truncated, longer, of another curve."""
    pair, size = generate(group), group.secret_bytes
    public = generate(group).public
    parity = public[-1] & 1
    others = [generate(other).public for other in EC_GROUPS if other is not group]
    for bad in (
        b"",
        b"\x00",
        bytes((2 + parity,)) + public[1 : 1 + size],
        bytes((6 + parity,)) + public[1:],
        bytes((0,)) + public[1:],
        public[:-1],
        public + b"\x00",
        public[1:],
        *others,
    ):
        assert fault_of(pair, bad) is AgreementFault.POINT_FORM


@every_curve
def test_points_off_the_curve_are_refused(group: EcGroup) -> None:
    """Row D05: a flipped bit, (0, 0), (1, 1) and coordinates of p or more."""
    pair, size = generate(group), group.secret_bytes
    public = bytearray(generate(group).public)
    public[-1] ^= 1
    full = b"\xff" * size
    for x, y in ((bytes(size), bytes(size)), (bytes(size - 1) + b"\1",) * 2, (full, full)):
        assert fault_of(pair, b"\x04" + x + y) is AgreementFault.NOT_ON_CURVE
    assert fault_of(pair, bytes(public)) is AgreementFault.NOT_ON_CURVE


def test_a_point_on_the_twist_is_refused() -> None:
    """Row D05: an x whose curve equation has no square root, with a y of the twist."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    x = next(x for x in range(2, 100) if pow(x**3 - 3 * x + b, (p - 1) // 2, p) == p - 1)
    y = pow(-(x**3 - 3 * x + b) % p, (p + 1) // 4, p)  # -1 is no square modulo this p
    point = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    assert fault_of(generate(P256), point) is AgreementFault.NOT_ON_CURVE


SOME_PAIRS = [KeyPair.from_private(group, 7) for group in GROUPS.values()]


@given(pair=st.sampled_from(SOME_PAIRS), public=st.binary(max_size=160))
def test_any_bytes_are_refused_or_agreed_upon(pair: KeyPair, public: bytes) -> None:
    """Nothing but AgreementError comes out, whatever comes in."""
    try:
        secret = pair.agree(public)
    except AgreementError as refused:
        assert isinstance(refused.fault, AgreementFault)
    else:
        assert len(secret) == pair.group.secret_bytes


# -- the library's warning -------------------------------------------------------------------


def test_importing_the_module_warns_nobody() -> None:
    """`cryptography` announces the end of finite-field Diffie-Hellman; only this file knows."""
    code = (
        "import kdc.crypto.key_agreement as k;"
        "g = k.GROUPS['modp14']; k.generate(g).agree(k.generate(g).public);"
        "from warnings import catch_warnings;"
        "import cryptography.hazmat.primitives.asymmetric.dh as dh;"
        "w = catch_warnings(record=True); seen = w.__enter__();"
        "import warnings; warnings.simplefilter('always'); dh.DHParameterNumbers;"
        "assert len(seen) == 1, 'the filter must not outlive the import'"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
