"""MD4 and the NT hash, against RFC 1320 and MS-NLMP."""

import pytest

from kdc.crypto.md4 import md4, nt_hash

# RFC 1320 appendix A.5.
SUITE = {
    "": "31d6cfe0d16ae931b73c59d7e0c089c0",
    "a": "bde52cb31de33e46245e05fbdbd6fb24",
    "abc": "a448017aaf21d8525fc10ae87aa6729d",
    "message digest": "d9130a8164549fe818874806e1c7014b",
    "abcdefghijklmnopqrstuvwxyz": "d79e1c308aa5bbcdeea8ed63df412da9",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": (
        "043f8582f241db351ce627e153e7f0e4"
    ),
    "1234567890" * 8: "e33b4ddc9c38f2199c3e7b164fcc0536",
}


@pytest.mark.parametrize("text", SUITE)
def test_the_suite_of_rfc_1320(text: str) -> None:
    """RFC 1320 A.5."""
    assert md4(text.encode()).hex() == SUITE[text]


@pytest.mark.parametrize("size", [55, 56, 63, 64, 65])
def test_sizes_around_a_block_agree_with_another_implementation(size: int) -> None:
    """RFC 1320 3.1: padding takes one or two blocks."""
    from Cryptodome.Hash import MD4

    data = bytes(range(size))
    assert md4(data) == MD4.new(data).digest()  # noqa: S303  # it is the subject


def test_nt_hash_of_password_is_the_documented_one() -> None:
    """MS-NLMP 4.2.2.1.2: NTOWFv1 of "Password"."""
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"
