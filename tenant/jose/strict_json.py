r"""JSON read strictly (RFC 8259): what two readers could understand differently is refused.

Rules
  1. UTF-8 without a byte order mark; no lone surrogate, not even by \u escapes.
  2. A member name occurs once in its object (RFC 8259 4 leaves the second one undefined; RFC 8725
     2.4 counts on one reading).
  3. No NaN and no Infinity; integers fit in 64 bits, and a number is finite.
  4. Octets and nesting are bounded before the parser sees anything: it recurses.
"""

import json
import re
from typing import NoReturn

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
JsonObject = dict[str, JsonValue]

MAX_OCTETS = 256 * 1024  # the bound of a request's body
MAX_DEPTH = 16  # nothing in the protocols nests deeper than four
_MAX_INTEGER_DIGITS = 19
_MAX_INTEGER = 2**63 - 1

# The optional quote and the possessive repetitions keep an unclosed string linear.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


class JsonError(Exception):
    """A text is not JSON, or not JSON that is accepted here; `why` is one fixed phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def parse(octets: bytes, *, max_octets: int = MAX_OCTETS, max_depth: int = MAX_DEPTH) -> JsonValue:
    """Read one JSON text, with nothing after it.

    Raises JsonError: too large, too deep, no UTF-8, malformed, duplicate member, number or string
    outside what is exchangeable (RFC 7493 2.1-2.3).
    """
    if len(octets) > max_octets:
        raise JsonError("the JSON text is too large")
    _check_depth(octets, max_depth)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonError("the JSON text is not UTF-8") from None
    try:
        value: JsonValue = _DECODER.decode(text)
    except (ValueError, RecursionError):
        # The text of the error quotes what was sent.
        raise JsonError("the JSON text is malformed") from None
    return value


def parse_object(
    octets: bytes, *, max_octets: int = MAX_OCTETS, max_depth: int = MAX_DEPTH
) -> JsonObject:
    """Read a JSON text that is an object. Raises JsonError as `parse`, and for another type."""
    value = parse(octets, max_octets=max_octets, max_depth=max_depth)
    if not isinstance(value, dict):
        raise JsonError("the JSON text is no object")
    return value


def text_member(value: JsonObject, name: str) -> str:
    """Return a member that must be there and be a string. Raises JsonError."""
    found = value.get(name)
    if not isinstance(found, str):
        raise JsonError(f"the member {name} is missing or no string")
    return found


def optional_text(value: JsonObject, name: str) -> str | None:
    """Return a member that is a string, or None when it is absent or null. Raises JsonError."""
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise JsonError(f"the member {name} is no string")
    return found


def object_member(value: JsonObject, name: str) -> JsonObject:
    """Return a member that must be there and be an object. Raises JsonError."""
    found = value.get(name)
    if not isinstance(found, dict):
        raise JsonError(f"the member {name} is missing or no object")
    return found


def integer_member(value: JsonObject, name: str) -> int:
    """Return a member that must be there and be an integer (no boolean). Raises JsonError."""
    found = value.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise JsonError(f"the member {name} is missing or no integer")
    return found


def _check_depth(octets: bytes, max_depth: int) -> None:
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", octets)):
        if bracket in b"[{":
            depth += 1
            if depth > max_depth:
                raise JsonError("the JSON text is nested too deeply")
        else:
            depth -= 1


def _object(members: list[tuple[str, JsonValue]]) -> JsonObject:
    result = dict(members)
    if len(result) != len(members):
        raise JsonError("a member occurs twice in one object")
    for name, value in members:
        _check_text(name)
        _check_value(value)
    return result


def _check_value(value: JsonValue) -> None:
    """Look at strings; an array's as well, since arrays have no hook of their own."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_value(item)


def _check_text(value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise JsonError("a string has a lone surrogate") from None


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _MAX_INTEGER_DIGITS or abs(value := int(digits)) > _MAX_INTEGER:
        raise JsonError("an integer has more than 64 bits")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise JsonError("a number is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise JsonError("NaN and Infinity are no JSON")


class _Decoder(json.JSONDecoder):
    """The library's decoder with the hooks above; a text of one bare string or array as well."""

    def decode(self, text: str) -> JsonValue:  # type: ignore[override]  # no second parameter
        value: JsonValue = super().decode(text)
        _check_value(value)
        return value


_DECODER = _Decoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_constant,
    strict=True,
)
