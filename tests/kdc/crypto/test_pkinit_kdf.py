"""octetstring2key of RFC 4556 and the KDFs of RFC 8636."""

import hashlib

import pytest

from kdc.crypto.etypes import KEY_BYTES, CryptoError, CryptoFault, EncType
from kdc.crypto.pkinit_kdf import (
    ID_PKINIT_KDF_AH_SHA1,
    ID_PKINIT_KDF_AH_SHA256,
    ID_PKINIT_KDF_AH_SHA384,
    ID_PKINIT_KDF_AH_SHA512,
    KDFS,
    kdf_octets,
    octetstring2key,
    rfc8636_kdf,
)
from tests.kdc.crypto.vectors import Case, case_id, cases

every_enctype = pytest.mark.parametrize("enctype", list(EncType), ids=lambda e: str(int(e)))


@pytest.mark.parametrize("case", cases("rfc4556"), ids=case_id)
def test_octetstring2key_vectors(case: Case) -> None:
    """RFC 4556 appendix B."""
    key = octetstring2key(EncType(case.number("enctype")), case.octets("input"))
    assert key.value == case.octets("expected")


@pytest.mark.parametrize("case", cases("rfc8636"), ids=case_id)
def test_kdf_vectors(case: Case) -> None:
    """RFC 8636 section 8; the third is for DES3, so only its 21 bytes can be compared."""
    expected = case.octets("expected")
    args = case.text("kdf"), case.octets("secret"), case.octets("other_info")
    assert kdf_octets(*args, len(expected)) == expected
    if len(expected) == 32:
        assert rfc8636_kdf(*args, EncType.AES256_CTS_HMAC_SHA1_96).value == expected


def test_the_identifiers_are_those_of_the_rfc() -> None:
    """RFC 8636 section 6: SHA-512 is 3 and SHA-384, which came later, is 4."""
    arc = "1.3.6.1.5.2.3.6."
    assert arc + "1" == ID_PKINIT_KDF_AH_SHA1
    assert arc + "2" == ID_PKINIT_KDF_AH_SHA256
    assert arc + "3" == ID_PKINIT_KDF_AH_SHA512
    assert arc + "4" == ID_PKINIT_KDF_AH_SHA384
    assert set(KDFS) == {arc + number for number in "1234"}


@pytest.mark.parametrize(
    ("kdf", "name"),
    [
        (ID_PKINIT_KDF_AH_SHA1, "sha1"),
        (ID_PKINIT_KDF_AH_SHA256, "sha256"),
        (ID_PKINIT_KDF_AH_SHA384, "sha384"),
        (ID_PKINIT_KDF_AH_SHA512, "sha512"),
    ],
)
def test_each_identifier_uses_its_hash(kdf: str, name: str) -> None:
    """RFC 8636 section 6; SHA-384 has no published vector."""
    hashed = hashlib.new(name, b"\0\0\0\1" + b"secret" + b"info")
    hashed_again = hashlib.new(name, b"\0\0\0\2" + b"secret" + b"info")
    expected = (hashed.digest() + hashed_again.digest())[:40]
    assert kdf_octets(kdf, b"secret", b"info", 40) == expected


@every_enctype
def test_keys_have_the_length_and_type_asked_for(enctype: EncType) -> None:
    """RFC 4556 section 3.2.3.1, RFC 8636 section 6."""
    for key in (
        octetstring2key(enctype, b"x"),
        rfc8636_kdf(ID_PKINIT_KDF_AH_SHA256, b"z", b"i", enctype),
    ):
        assert key.enctype is enctype
        assert len(key.value) == KEY_BYTES[enctype]


@pytest.mark.parametrize("kdf", ["", "1.3.6.1.5.2.3.6.5", "1.3.6.1.5.2.3.6"])
def test_an_unknown_kdf_is_refused(kdf: str) -> None:
    """RFC 8636 section 5: the KDC picks one of the client's that it knows."""
    with pytest.raises(CryptoError) as refused:
        rfc8636_kdf(kdf, b"z", b"i", EncType.AES256_CTS_HMAC_SHA1_96)
    assert refused.value.fault is CryptoFault.UNSUPPORTED


def test_an_unknown_enctype_is_refused() -> None:
    """A number that escaped the type is refused at run time."""
    with pytest.raises(CryptoError) as refused:
        octetstring2key(23, b"x")  # type: ignore[arg-type]  # the point of the test
    assert refused.value.fault is CryptoFault.UNSUPPORTED
