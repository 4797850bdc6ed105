"""Filters: nothing in a name changes one (row N04), and an independent library reads the same."""

import pytest
from ldap3.operation.search import (  # type: ignore[import-untyped]  # it ships no types
    compile_filter,
    parse_filter,
)
from pyasn1.codec.ber import encoder  # type: ignore[import-untyped]  # it ships no types

from directory.ldap import ber, filters


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("*", r"(sAMAccountName=\2a)"),
        ("alice)(objectClass=*", r"(sAMAccountName=alice\29\28objectClass=\2a)"),
        (r"\2a", r"(sAMAccountName=\5c2a)"),
        ("alice\\", "(sAMAccountName=alice\\5c)"),
        ("a\0b", r"(sAMAccountName=a\00b)"),
        ("Jörg", r"(sAMAccountName=J\c3\b6rg)"),
    ],
)
def test_name_with_special_characters_is_one_escaped_value(name: str, text: str) -> None:
    """RFC 4515 3, row N04: the directory sees one equality with the whole name as its value."""
    made = filters.equal("sAMAccountName", name)
    assert str(made) == text
    tag, begin, stop = ber.read(made.encoded, 0, len(made.encoded))
    assert tag == 0xA3
    parts = [made.encoded[a:b] for _, a, b in ber.children(made.encoded, begin, stop)]
    assert parts == [b"sAMAccountName", name.encode()]


def test_text_form_gives_the_same_octets_by_an_independent_encoder() -> None:
    """RFC 4515 and RFC 4511 4.5.1: ldap3 makes the same octets of the text form."""
    made = filters.all_of(
        filters.present("objectClass"),
        filters.any_of(filters.equal("cn", "a*b"), filters.at_least("uSNChanged", "7")),
        filters.equal("cn", "(x)"),
    )
    tree = parse_filter(str(made), None, False, False, None, False).elements[0]
    assert encoder.encode(compile_filter(tree)) == made.encoded


def test_octets_that_are_no_text_are_escaped_each() -> None:
    """RFC 4515 3: a binary value, such as a SID, is written octet by octet."""
    assert str(filters.equal("objectSid", b"\x01\x05A")) == r"(objectSid=\01\05A)"


def test_single_condition_needs_no_and() -> None:
    """An "and" of one filter is that filter: some servers do not optimise it away."""
    only = filters.present("cn")
    assert filters.all_of(only) is only
