"""supplementalCredentials, MS-SAMR 2.2.10: what reads, and what is refused without harm."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.keysources.supplemental_credentials import BadCredentialsError, newer_keys
from tests.directory.keysources.credentials import NEWER_KEYS, properties, stored

AES256, AES128 = (18, bytes(range(32))), (17, bytes(range(16)))
OLD = (18, bytes(range(32, 64)))
GOOD = properties(
    ("Primary:Kerberos", b"other"),
    ("Packages", "Kerberos-Newer-Keys".encode("utf-16-le")),
    (NEWER_KEYS, stored("LAB.TESTpat", (AES256, AES128), (OLD,))),
)


def test_the_keys_of_two_passwords_and_their_salt() -> None:
    """2.2.10.6 KERB_STORED_CREDENTIAL_NEW."""
    found = newer_keys(GOOD)
    assert found is not None
    assert found.salt == "LAB.TESTpat"
    assert [(key.etype, key.key) for key in found.current] == [AES256, AES128]
    assert [(key.etype, key.key) for key in found.old] == [OLD]
    assert found.older == ()


def test_no_secret_is_in_a_repr() -> None:
    """House rule: a key prints nothing of itself."""
    assert AES256[1].hex() not in repr(newer_keys(GOOD))
    assert repr(AES256[1]) not in repr(newer_keys(GOOD))


def test_no_properties_at_all_mean_no_keys() -> None:
    """2.2.10.1: without properties the count is left out, too."""
    assert newer_keys(properties()) is None


def test_other_properties_mean_no_keys() -> None:
    """An account whose domain is too old for AES has other properties only."""
    assert newer_keys(properties(("Primary:WDigest", b"x"))) is None


def _with_stored(change: bytes, at: int) -> bytes:
    value = bytearray(stored("LAB.TESTpat", (AES256,)))
    value[at : at + len(change)] = change
    return properties((NEWER_KEYS, bytes(value)))


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        pytest.param(b"", "cut short", id="empty"),
        pytest.param(GOOD[:60], "cut short", id="only-the-reserved-part"),
        pytest.param(GOOD[:-5], "its length is wrong", id="shorter-than-it-says"),
        pytest.param(GOOD + b"\0", "its length is wrong", id="longer-than-it-says"),
        pytest.param(properties((NEWER_KEYS, b""), signature=0x51), "not signed", id="signature"),
        pytest.param(properties((NEWER_KEYS, b"\4\0")), "is cut short", id="no-head"),
        pytest.param(
            properties(*((NEWER_KEYS, stored("s", (AES256,))),) * 2), "does not read", id="twice"
        ),
        pytest.param(_with_stored(b"\3\0", 0), "another revision", id="revision"),
        pytest.param(_with_stored(b"\xff\xff", 4), "too many keys", id="count"),
        pytest.param(_with_stored(b"\2\0", 4), "cut short|past the end", id="a-key-more"),
        pytest.param(_with_stored(b"\xff\xff\xff\xff", 16), "salt runs past", id="salt-offset"),
        pytest.param(_with_stored(b"\xff\xff\xff\x7f", 40), "key runs past", id="key-length"),
        pytest.param(_with_stored(b"\xf0\xff\xff\xff", 44), "key runs past", id="key-offset"),
    ],
)
def test_a_malformed_blob_is_refused(blob: bytes, why: str) -> None:
    """Every length and offset of MS-SAMR 2.2.10 is checked before it is used."""
    with pytest.raises(BadCredentialsError, match=why):
        newer_keys(blob)


def test_a_value_that_is_not_hexadecimal_is_refused() -> None:
    """2.2.10.2: each octet of a value is two hexadecimal digits."""
    with pytest.raises(BadCredentialsError, match="does not read"):
        newer_keys(GOOD.replace(b"0400", b"04 0", 1))


@given(st.binary(max_size=400))
def test_any_octets_give_a_value_or_the_own_error(tail: bytes) -> None:
    """No octets crash the reader or make it read past their end."""
    for blob in (tail, struct.pack("<IIHH", 0, len(tail), 0, 0) + tail, GOOD[:150] + tail):
        try:
            newer_keys(blob)
        except BadCredentialsError:
            continue


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_octet_never_crashes(place: int, octet: int) -> None:
    """As above, near a genuine value."""
    changed = bytearray(GOOD)
    changed[place] = octet
    try:
        newer_keys(bytes(changed))
    except BadCredentialsError:
        return
