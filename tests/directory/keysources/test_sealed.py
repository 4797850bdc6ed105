"""Sealed keys: what was sealed opens for its account alone, and for no other form of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.backend import DirectoryError, DirectoryFault
from directory.keysources import sealed
from directory.keysources.sealed import open_keys, seal_keys
from directory.model import PrincipalKey
from directory.sealing import MasterKey

MASTER = MasterKey(bytes(32))
SID = bytes((1, 5, 0, 0, 0, 0, 0, 5)) + bytes(20)
KEYS = (
    PrincipalKey(etype=18, kvno=3, key=bytes(range(32)), salt="LAB.TESTpät"),
    PrincipalKey(etype=17, kvno=3, key=bytes(range(16)), salt="LAB.TESTpät"),
    PrincipalKey(etype=18, kvno=2, key=bytes(32)),
)


def test_what_was_sealed_opens() -> None:
    """Etype, kvno, salt and key come back as they were."""
    assert open_keys(MASTER, SID, seal_keys(MASTER, SID, KEYS)) == KEYS


@pytest.mark.parametrize("change", ["account", "master key", "octet", "cut"])
def test_nothing_else_opens(change: str) -> None:
    """A value copied onto another entry, or changed in the directory, gives no key."""
    value = seal_keys(MASTER, SID, KEYS)
    master, sid = MASTER, SID
    if change == "account":
        sid = SID[:-1] + b"\1"
    elif change == "master key":
        master = MasterKey(bytes(31) + b"\1")
    elif change == "octet":
        value = value[:20] + bytes((value[20] ^ 1,)) + value[21:]
    else:
        value = value[:-1]
    with pytest.raises(DirectoryError) as error:
        open_keys(master, sid, value)
    assert error.value.kind is DirectoryFault.CORRUPT


def test_too_many_keys_are_not_sealed() -> None:
    """A bound on everything."""
    with pytest.raises(DirectoryError) as error:
        seal_keys(MASTER, SID, KEYS[:1] * (sealed.MAX_KEYS + 1))
    assert error.value.kind is DirectoryFault.INVALID


@given(st.binary(max_size=120))
def test_sealed_octets_of_another_form_are_refused(inside: bytes) -> None:
    """A value sealed with the right key may be of a version that is not known here."""
    value = MASTER.seal(b"keytrust directory keys\0" + SID, inside)
    try:
        open_keys(MASTER, SID, value)
    except DirectoryError as error:
        assert error.kind is DirectoryFault.CORRUPT
