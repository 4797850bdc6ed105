"""SIDs, names that match, and secrets that do not show."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.model import PrincipalKey, Sid, match_key
from tests.directory.builders import hello_key, link

ALICE = Sid(5, (21, 1, 2, 4294967295, 1105))
sids = st.builds(
    Sid,
    st.integers(0, 2**48 - 1),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=15).map(tuple),
)


def test_sid_has_its_text_and_its_28_octets() -> None:
    """MS-DTYP 2.4.2.1 and 2.4.2.2."""
    assert str(ALICE) == "S-1-5-21-1-2-4294967295-1105"
    assert ALICE.to_bytes().hex() == ("0105000000000005150000000100000002000000ffffffff51040000")
    assert len(ALICE.to_bytes()) == 28
    assert (ALICE.rid, str(ALICE.domain)) == (1105, "S-1-5-21-1-2-4294967295")
    assert ALICE.domain.with_rid(1105) == ALICE


@given(sids)
def test_sid_round_trips_in_both_forms(sid: Sid) -> None:
    """MS-DTYP 2.4.2."""
    assert Sid.from_bytes(sid.to_bytes()) == sid
    assert Sid.parse(str(sid)) == sid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "S-1",
        "S-1-5",
        "S-2-5-21",
        "S-1-5-x",
        "S-1-5--1",
        "S-1-5-4294967296",
        "S-1-5-²",
        "X-1-5-1",
    ],
)
def test_text_that_is_no_sid_is_refused(text: str) -> None:
    """MS-DTYP 2.4.2.1."""
    with pytest.raises(ValueError):
        Sid.parse(text)


@given(st.binary(max_size=80))
def test_octets_are_a_sid_of_the_same_octets_or_a_value_error(data: bytes) -> None:
    """Fuzz: MS-DTYP 2.4.2.2."""
    with contextlib.suppress(ValueError):
        assert Sid.from_bytes(data).to_bytes() == data


def test_ascii_case_matches() -> None:
    """Names compare in any case (wire facts 2.6)."""
    assert match_key("ALICE") == match_key("alice")
    assert match_key("ÄRGER") == "Ärger"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("alice", "аlice"),  # Cyrillic a
        ("irene", "İrene"),  # Turkish capital dotted I
        ("irene", "ırene"),  # dotless i
        ("kate", "\u212aate"),  # Kelvin sign
        ("fiona", "\ufb01ona"),  # ligature fi
        ("rené", "rene\u0301"),  # decomposed
        ("strasse", "straße"),
        ("ärger", "Ärger"),
    ],
)
def test_lookalike_name_does_not_match(ours: str, theirs: str) -> None:
    """Row N03: nothing but ASCII case is folded."""
    assert match_key(ours) != match_key(theirs)


def test_secrets_do_not_show() -> None:
    """Row S08: no key in a repr."""
    key = PrincipalKey(etype=18, kvno=3, key=b"topsecretkey", salt="LAB.TESTalice")
    assert "topsecret" not in repr(key)
    assert repr(key) == "PrincipalKey(etype=18, kvno=3, key=***)"
    assert len(repr(hello_key())) < 60
    assert link()
