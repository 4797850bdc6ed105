"""DNs that name the same object, and those that do not."""

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.distinguished_name import escape_value, parse_dn, same_object

OWNER = "CN=alice,CN=Users,DC=lab,DC=test"
GUID = UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")


@pytest.mark.parametrize(
    "dn",
    [
        OWNER,
        "cn=ALICE,cn=users,dc=LAB,dc=TEST",
        "CN=alice, CN=Users, DC=lab, DC=test",
        "CN = alice,CN= Users ,DC=lab,DC=test",
        "CN=ali\\63e,CN=Users,DC=lab,DC=test",
        'CN="alice",CN=Users,DC=lab,DC=test',
        "CN=alice;CN=Users;DC=lab;DC=test",
    ],
)
def test_other_spelling_is_the_same_object(dn: str) -> None:
    """Row K08, control; RFC 4514 2, RFC 4518."""
    assert same_object(dn, OWNER)


@pytest.mark.parametrize(
    "dn",
    [
        "",
        "CN=bob,CN=Users,DC=lab,DC=test",
        "CN=alice,DC=lab,DC=test",
        "CN=alice,CN=Users,DC=lab,DC=test,DC=evil",
        "CN=Users,CN=alice,DC=lab,DC=test",
        "CN=alice\\,CN=Users,DC=lab,DC=test",
        "OU=alice,CN=Users,DC=lab,DC=test",
        "CN=аlice,CN=Users,DC=lab,DC=test",
        "CN=alice,CN=Users,DC=lab,DC=test\\",
        "alice",
        '"CN=alice,CN=Users,DC=lab,DC=test',
        "CN=" + "a" * 5000,
    ],
)
def test_other_dn_is_another_object(dn: str) -> None:
    """Row K08."""
    assert not same_object(dn, OWNER)


def test_guid_alone_decides_when_both_sides_have_one() -> None:
    """Row K08: a renamed object keeps its GUID (MS-ADTS 3.1.1.3.4.1.5)."""
    other = UUID(int=1)
    assert same_object(f"<GUID={GUID}>;CN=old,DC=lab", OWNER, GUID)
    assert same_object(f"<GUID={GUID.bytes_le.hex()}>;CN=old,DC=lab", OWNER, GUID)
    assert not same_object(f"<GUID={other}>;{OWNER}", OWNER, GUID)


def test_extended_dn_without_a_guid_of_ours_compares_the_dn() -> None:
    """MS-ADTS 3.1.1.3.4.1.5: <GUID=...>;<SID=...>;DN."""
    assert same_object(f"<GUID={GUID}>;<SID=S-1-5-21-1-2-3-4>;{OWNER}", OWNER)
    assert not same_object(f"<GUID={GUID}>;<SID=S-1-5-21-1-2-3-4>;CN=bob,DC=lab", OWNER)


@given(st.text(max_size=40), st.text(max_size=40))
def test_escaped_value_is_one_component_that_equals_itself(left: str, right: str) -> None:
    """RFC 4514 2.4: no value can reach into its neighbours."""
    dn = f"CN={escape_value(left)},CN={escape_value(right)},DC=lab"
    assert len(parse_dn(dn)) == 3
    assert same_object(dn.replace(",DC=lab", ", dc=LAB"), dn)


@given(st.text(alphabet='CN=a,+\\" ;#<>1é', max_size=60))
def test_any_text_parses_or_is_a_value_error(text: str) -> None:
    """Fuzz: the parser raises nothing else."""
    with contextlib.suppress(ValueError):
        parse_dn(text)
    assert isinstance(same_object(text, OWNER), bool)
