"""PRF+ and KRB-FX-CF2 (RFC 6113 5.1): MIT's published results, and what the RFC says of them."""

import pytest

from kdc.crypto.etypes import KEY_BYTES, EncType, ProtocolKey, prf, string_to_key
from kdc.crypto.rfc6113 import krb_fx_cf2, prf_plus
from tests.kdc.crypto.vectors import Case, case_id, cases

every_enctype = pytest.mark.parametrize("enctype", list(EncType), ids=lambda e: str(int(e)))


def a_key(enctype: EncType, first: int = 1) -> ProtocolKey:
    return ProtocolKey(enctype, bytes(range(first, first + KEY_BYTES[enctype])))


@pytest.mark.parametrize("case", cases("rfc6113"), ids=case_id)
def test_cf2_vectors(case: Case) -> None:
    """MIT krb5's t_cf2: both keys are string-to-key of a text with itself as the salt."""
    enctype = EncType(case.number("enctype"))
    k1, k2 = (
        string_to_key(enctype, case.text(p), case.text(p)) for p in ("password1", "password2")
    )
    made = krb_fx_cf2(k1, k2, case.text("pepper1").encode(), case.text("pepper2").encode())
    assert made == ProtocolKey(enctype, case.octets("expected"))


@every_enctype
def test_prf_plus_counts_from_one(enctype: EncType) -> None:
    """RFC 6113 5.1: PRF(1 | info) | PRF(2 | info) | ..., cut at the end."""
    key = a_key(enctype)
    whole = b"".join(prf(key, bytes((n,)) + b"info") for n in (1, 2, 3))
    for size in (0, 1, 16, 17, len(whole)):
        assert prf_plus(key, b"info", size) == whole[:size]


def test_prf_plus_has_an_end() -> None:
    """RFC 6113 5.1: the counter is one octet."""
    key = a_key(EncType.AES128_CTS_HMAC_SHA1_96)
    assert len(prf_plus(key, b"", 255 * 16)) == 255 * 16
    with pytest.raises(ValueError, match="more octets"):
        prf_plus(key, b"", 255 * 16 + 1)


@every_enctype
def test_cf2_has_the_type_of_the_first_key(enctype: EncType) -> None:
    """RFC 6113 5.1: the types may differ; the result's is that of k1."""
    for other in EncType:
        made = krb_fx_cf2(a_key(enctype), a_key(other), b"one", b"two")
        assert made.enctype == enctype
        assert made != krb_fx_cf2(a_key(enctype), a_key(other, 2), b"one", b"two")


@every_enctype
def test_the_peppers_keep_equal_keys_from_giving_zeros(enctype: EncType) -> None:
    """RFC 6113 5.1: equal keys and equal peppers would give a key that everybody knows."""
    key = a_key(enctype)
    assert not any(krb_fx_cf2(key, key, b"same", b"same").value)
    assert any(krb_fx_cf2(key, key, b"one", b"two").value)
