"""Strict JSON: one reading for every text, and bounds before the parser."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant.jose.strict_json import (
    JsonError,
    JsonObject,
    integer_member,
    object_member,
    optional_text,
    parse,
    parse_object,
    text_member,
)

REFUSED = {
    "a member twice": (b'{"a":1,"a":2}', "a member occurs twice in one object"),
    "a member twice by an escape": (b'{"a":1,"\\u0061":2}', "a member occurs twice in one object"),
    "a member twice far inside": (b'[{"b":{"a":1,"a":1}}]', "a member occurs twice in one object"),
    "a lone surrogate": (b'"\\ud800"', "a string has a lone surrogate"),
    "a lone surrogate in an array": (b'{"a":[["\\udfff"]]}', "a string has a lone surrogate"),
    "a lone surrogate as a name": (b'{"\\ud800":1}', "a string has a lone surrogate"),
    "NaN": (b"[NaN]", "NaN and Infinity are no JSON"),
    "Infinity": (b"-Infinity", "NaN and Infinity are no JSON"),
    "a number beyond all bounds": (b"1e999", "a number is too large"),
    "an integer of 65 bits": (b"[18446744073709551616]", "an integer has more than 64 bits"),
    "an integer of 2^63": (b"9223372036854775808", "an integer has more than 64 bits"),
    "an integer of 10,000 digits": (b"1" * 10_000, "an integer has more than 64 bits"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "the JSON text is malformed"),
    "UTF-16": ("{}".encode("utf-16"), "the JSON text is not UTF-8"),
    "bad UTF-8": (b'"\xc0\xaf"', "the JSON text is not UTF-8"),
    "nothing": (b"", "the JSON text is malformed"),
    "something after it": (b"{} {}", "the JSON text is malformed"),
    "a comma too many": (b"[1,]", "the JSON text is malformed"),
    "a raw line feed in a string": (b'"a\nb"', "the JSON text is malformed"),
    "single quotes": (b"{'a':1}", "the JSON text is malformed"),
    "a leading zero": (b"01", "the JSON text is malformed"),
    "17 arrays": (b"[" * 17 + b"]" * 17, "the JSON text is nested too deeply"),
    "10,000 objects": (b'{"a":' * 10_000, "the JSON text is nested too deeply"),
    "over the size": (b" " * 262_145, "the JSON text is too large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_two_readers_could_read_differently_is_refused(case: str) -> None:
    """RFC 8259 4, RFC 7493 2.1-2.3, row R11."""
    octets, why = REFUSED[case]
    with pytest.raises(JsonError) as refusal:
        parse(octets)
    assert refusal.value.why == why


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        (b' {"a": [1, -2.5, true, null, "\\u00e4"]} ', {"a": [1, -2.5, True, None, "ä"]}),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b"9223372036854775807", 2**63 - 1),
        (b"[" * 16 + b"]" * 16, [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]),
        (b'"' + b"[" * 100 + b'"', "[" * 100),
    ],
)
def test_json_is_read(octets: bytes, value: object) -> None:
    """The control: nothing else is lost; brackets inside a string are no nesting."""
    assert parse(octets) == value


@pytest.mark.parametrize(
    "octets", [b'"\\' * 131_072, b'\\"' * 131_072, b'"' * 262_143, b'["\\u005b",' * 26_000]
)
def test_a_long_text_of_quotes_ends_in_linear_time(octets: bytes) -> None:
    """The look for nesting never backtracks; the suite's timeout is the bound."""
    with pytest.raises(JsonError):
        parse(octets)


def test_members_have_the_type_that_is_asked_for() -> None:
    """A boolean is no integer; null is no string, and absent where that is allowed."""
    value: JsonObject = parse_object(b'{"t":"x","n":null,"b":true,"i":7,"o":{}}')
    assert (text_member(value, "t"), integer_member(value, "i")) == ("x", 7)
    assert (object_member(value, "o"), optional_text(value, "n")) == ({}, None)
    for read, name in (
        (text_member, "n"),
        (text_member, "i"),
        (optional_text, "i"),
        (integer_member, "b"),
        (integer_member, "t"),
        (object_member, "t"),
    ):
        with pytest.raises(JsonError, match=f"the member {name} is"):
            read(value, name)
    with pytest.raises(JsonError, match="the JSON text is no object"):
        parse_object(b"[]")


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0d8 1ea', max_size=200).map(str.encode)
)
def test_any_octets_give_a_value_or_the_error(octets: bytes) -> None:
    """Nothing else escapes."""
    try:
        parse(octets)
    except JsonError as error:
        assert error.why
