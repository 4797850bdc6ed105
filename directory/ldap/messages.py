"""LDAP messages (RFC 4511): requests written, answers read. Pure.

What is read: the results of bind, search and extended operations, entries, references,
intermediate responses (RFC 4533 sends its own as those), and controls.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from directory.ldap import ber
from directory.ldap.ber import BerError
from directory.ldap.filters import Filter

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Of one answer: a group of 200,000 members has some 16 MiB."""
MAX_DN_CHARS = 8192
MAX_ATTRIBUTES = 1024
MAX_VALUES = 500_000
MAX_CONTROLS = 32
MAX_REFERRALS = 64

_BIND_REQUEST = 0x60
_BIND_RESPONSE = 0x61
_UNBIND_REQUEST = 0x42
_SEARCH_REQUEST = 0x63
_SEARCH_ENTRY = 0x64
_SEARCH_DONE = 0x65
_SEARCH_REFERENCE = 0x73
_EXTENDED_REQUEST = 0x77
_EXTENDED_RESPONSE = 0x78
_INTERMEDIATE = 0x79
_MODIFY_REQUEST = 0x66
_MODIFY_RESPONSE = 0x67
_ADD_REQUEST = 0x68
_ADD_RESPONSE = 0x69
_DELETE_REQUEST = 0x4A
_DELETE_RESPONSE = 0x6B
_CONTROLS = 0xA0
_REFERRAL = 0xA3
_SASL_ANSWER = 0x87
_EXTENDED_NAME = 0x8A
_EXTENDED_VALUE = 0x8B

START_TLS = "1.3.6.1.4.1.1466.20037"
WHO_AM_I = "1.3.6.1.4.1.4203.1.11.3"
PAGED_RESULTS = "1.2.840.113556.1.4.319"
SHOW_DELETED = "1.2.840.113556.1.4.417"
NOTIFICATION = "1.2.840.113556.1.4.528"
SYNC_REQUEST = "1.3.6.1.4.1.4203.1.9.1.1"
SYNC_STATE = "1.3.6.1.4.1.4203.1.9.1.2"
SYNC_DONE = "1.3.6.1.4.1.4203.1.9.1.3"
SYNC_INFO = "1.3.6.1.4.1.4203.1.9.1.4"


class ResultCode(IntEnum):
    """The result codes that decide something here (RFC 4511 A.1, RFC 4533 2.6)."""

    SUCCESS = 0
    TIME_LIMIT_EXCEEDED = 3
    SIZE_LIMIT_EXCEEDED = 4
    REFERRAL = 10
    ADMIN_LIMIT_EXCEEDED = 11
    UNAVAILABLE_CRITICAL_EXTENSION = 12
    CONFIDENTIALITY_REQUIRED = 13
    SASL_BIND_IN_PROGRESS = 14
    NO_SUCH_OBJECT = 32
    INAPPROPRIATE_AUTHENTICATION = 48
    INVALID_CREDENTIALS = 49
    INSUFFICIENT_ACCESS_RIGHTS = 50
    BUSY = 51
    UNAVAILABLE = 52
    UNWILLING_TO_PERFORM = 53
    SYNC_REFRESH_REQUIRED = 4096


class Scope(IntEnum):
    """How deep a search goes."""

    BASE = 0
    ONE_LEVEL = 1
    SUBTREE = 2


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a request or an answer."""

    oid: str
    value: bytes | None = None
    critical: bool = False


@dataclass(slots=True, kw_only=True)
class Entry:
    """One entry as it was read."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]
    """By name in lower case, options included: `member;range=0-1499`."""
    controls: Mapping[str, bytes] = field(default_factory=dict)

    def values(self, name: str) -> tuple[bytes, ...]:
        """Return the values of an attribute; its name in lower case."""
        return self.attributes.get(name, ())


@dataclass(frozen=True, slots=True)
class Reference:
    """Where else to search (RFC 4511 4.5.3). Never followed."""

    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The end of an operation."""

    code: int
    diagnostic: str
    referrals: tuple[str, ...] = ()
    controls: Mapping[str, bytes] = field(default_factory=dict)
    sasl: bytes | None = None
    name: str = ""
    """The OID of an extended response."""
    value: bytes | None = None
    """What an extended response says."""


@dataclass(frozen=True, slots=True)
class Intermediate:
    """An intermediate response (RFC 4511 4.13)."""

    oid: str
    value: bytes


Answer = Entry | Reference | Result | Intermediate


# -- requests --------------------------------------------------------------------------------


def _message(number: int, operation: bytes, controls: Iterable[Control] = ()) -> bytes:
    listed = [
        ber.tlv(
            ber.SEQUENCE,
            ber.octets(control.oid),
            ber.boolean(True) if control.critical else b"",
            b"" if control.value is None else ber.octets(control.value),
        )
        for control in controls
    ]
    tail = ber.tlv(_CONTROLS, *listed) if listed else b""
    return ber.tlv(ber.SEQUENCE, ber.integer(number), operation, tail)


def simple_bind(number: int, dn: str, password: bytes) -> bytes:
    """Encode a simple bind."""
    operation = ber.tlv(_BIND_REQUEST, ber.integer(3), ber.octets(dn), ber.octets(password, 0x80))
    return _message(number, operation)


def sasl_bind(number: int, mechanism: str, credentials: bytes | None) -> bytes:
    """Encode one step of a SASL bind; credentials: None for none, b"" for empty ones."""
    sasl = ber.tlv(
        0xA3,
        ber.octets(mechanism),
        b"" if credentials is None else ber.octets(credentials),
    )
    return _message(number, ber.tlv(_BIND_REQUEST, ber.integer(3), ber.octets(b""), sasl))


def unbind(number: int) -> bytes:
    """Encode the end of a session."""
    return _message(number, ber.tlv(_UNBIND_REQUEST))


class ModifyOp(IntEnum):
    """What a change does with its values (RFC 4511 4.6)."""

    ADD = 0
    DELETE = 1
    REPLACE = 2


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one attribute; its values may be secret."""

    op: ModifyOp
    attribute: str
    values: tuple[bytes, ...] = field(default=(), repr=False)


def modify(number: int, dn: str, changes: Iterable[Change]) -> bytes:
    """Encode changes of an entry: all are made, or none."""
    listed = (
        ber.tlv(
            ber.SEQUENCE,
            ber.integer(change.op, ber.ENUMERATED),
            _attribute(change.attribute, change.values),
        )
        for change in changes
    )
    operation = ber.tlv(_MODIFY_REQUEST, ber.octets(dn), ber.tlv(ber.SEQUENCE, *listed))
    return _message(number, operation)


def add(
    number: int,
    dn: str,
    attributes: Mapping[str, tuple[bytes, ...]],
    controls: Iterable[Control] = (),
) -> bytes:
    """Encode a new entry."""
    listed = (_attribute(name, values) for name, values in attributes.items())
    operation = ber.tlv(_ADD_REQUEST, ber.octets(dn), ber.tlv(ber.SEQUENCE, *listed))
    return _message(number, operation, controls)


def delete(number: int, dn: str) -> bytes:
    """Encode the deletion of an entry that has none below it (RFC 4511 4.8)."""
    return _message(number, ber.octets(dn, _DELETE_REQUEST))


def _attribute(name: str, values: tuple[bytes, ...]) -> bytes:
    octets = (ber.octets(value) for value in values)
    return ber.tlv(ber.SEQUENCE, ber.octets(name), ber.tlv(ber.SET, *octets))


def extended(number: int, oid: str) -> bytes:
    """Encode an extended request without a value."""
    return _message(number, ber.tlv(_EXTENDED_REQUEST, ber.octets(oid, 0x80)))


def search(
    number: int,
    base: str,
    scope: Scope,
    filter_: Filter,
    attributes: Iterable[str],
    *,
    size_limit: int = 0,
    time_limit_s: int = 0,
    controls: Iterable[Control] = (),
) -> bytes:
    """Encode a search that follows no alias."""
    operation = ber.tlv(
        _SEARCH_REQUEST,
        ber.octets(base),
        ber.integer(scope, ber.ENUMERATED),
        ber.integer(0, ber.ENUMERATED),
        ber.integer(size_limit),
        ber.integer(time_limit_s),
        ber.boolean(False),
        filter_.encoded,
        ber.tlv(ber.SEQUENCE, *(ber.octets(name) for name in attributes)),
    )
    return _message(number, operation, controls)


def paged(size: int, cookie: bytes) -> Control:
    """Make the control for a page of results (RFC 2696)."""
    value = ber.tlv(ber.SEQUENCE, ber.integer(size), ber.octets(cookie))
    return Control(PAGED_RESULTS, value, critical=True)


def paged_cookie(result: Result) -> bytes:
    """Return the cookie for the next page; b"": this was the last. Raises BerError."""
    value = result.controls.get(PAGED_RESULTS)
    if value is None:
        return b""
    start, end = ber.expect(value, 0, len(value), ber.SEQUENCE)
    _, start = ber.expect(value, start, end, ber.INTEGER)
    begin, stop = ber.expect(value, start, end, ber.OCTET_STRING)
    return value[begin:stop]


# -- answers ---------------------------------------------------------------------------------


_RESULTS = (
    *(_SEARCH_DONE, _BIND_RESPONSE, _EXTENDED_RESPONSE),
    *(_MODIFY_RESPONSE, _ADD_RESPONSE, _DELETE_RESPONSE),
)


def decode(data: bytes) -> tuple[int, Answer]:
    """Decode one whole message; return its number and what it says. Raises BerError."""
    start, end = ber.expect(data, 0, len(data), ber.SEQUENCE)
    begin, stop = ber.expect(data, start, end, ber.INTEGER)
    number = ber.to_int(data, begin, stop)
    tag, begin, stop = ber.read(data, stop, end)
    controls = _controls(data, stop, end) if stop < end else {}
    if tag == _SEARCH_ENTRY:
        return number, _entry(data, begin, stop, controls)
    if tag in _RESULTS:
        return number, _result(data, begin, stop, controls)
    if tag == _SEARCH_REFERENCE:
        return number, Reference(_uris(data, begin, stop))
    if tag == _INTERMEDIATE:
        oid, value = "", b""
        for inner, first, last in ber.children(data, begin, stop):
            if inner == 0x80:
                oid = ber.to_text(data, first, last)
            elif inner == 0x81:
                value = data[first:last]
        return number, Intermediate(oid, value)
    raise BerError("an answer is of an unknown kind")


def _entry(data: bytes, start: int, end: int, controls: Mapping[str, bytes]) -> Entry:
    begin, stop = ber.expect(data, start, end, ber.OCTET_STRING)
    if stop - begin > MAX_DN_CHARS:
        raise BerError("a DN is too long")
    dn = ber.to_text(data, begin, stop)
    start, end = ber.expect(data, stop, end, ber.SEQUENCE)
    attributes: dict[str, tuple[bytes, ...]] = {}
    for tag, begin, stop in ber.children(data, start, end):
        if tag != ber.SEQUENCE or len(attributes) >= MAX_ATTRIBUTES:
            raise BerError("an entry has too many attributes, or none")
        first, last = ber.expect(data, begin, stop, ber.OCTET_STRING)
        name = ber.to_text(data, first, last).lower()
        first, last = ber.expect(data, last, stop, ber.SET)
        values: list[bytes] = []
        for inner, value, value_end in ber.children(data, first, last):
            if inner != ber.OCTET_STRING or len(values) >= MAX_VALUES:
                raise BerError("an attribute has too many values")
            values.append(data[value:value_end])
        attributes[name] = tuple(values)
    return Entry(dn=dn, attributes=attributes, controls=controls)


def _result(data: bytes, start: int, end: int, controls: Mapping[str, bytes]) -> Result:
    begin, stop = ber.expect(data, start, end, ber.ENUMERATED)
    code = ber.to_int(data, begin, stop)
    _, stop = ber.expect(data, stop, end, ber.OCTET_STRING)
    begin, stop = ber.expect(data, stop, end, ber.OCTET_STRING)
    diagnostic = data[begin:stop].decode("utf-8", "replace")
    referrals: tuple[str, ...] = ()
    sasl: bytes | None = None
    name = ""
    value: bytes | None = None
    for tag, first, last in ber.children(data, stop, end):
        if tag == _REFERRAL:
            referrals = _uris(data, first, last)
        elif tag == _SASL_ANSWER:
            sasl = data[first:last]
        elif tag == _EXTENDED_NAME:
            name = ber.to_text(data, first, last)
        elif tag == _EXTENDED_VALUE:
            value = data[first:last]
    return Result(
        code=code,
        diagnostic=diagnostic,
        referrals=referrals,
        controls=controls,
        sasl=sasl,
        name=name,
        value=value,
    )


def _uris(data: bytes, start: int, end: int) -> tuple[str, ...]:
    found = []
    for _, begin, stop in ber.children(data, start, end):
        found.append(data[begin:stop].decode("utf-8", "replace"))
        if len(found) > MAX_REFERRALS:
            raise BerError("a referral has too many places")
    return tuple(found)


def _controls(data: bytes, start: int, end: int) -> dict[str, bytes]:
    tag, start, end = ber.read(data, start, end)
    found: dict[str, bytes] = {}
    if tag != _CONTROLS:
        return found
    for _, begin, stop in ber.children(data, start, end):
        if len(found) >= MAX_CONTROLS:
            raise BerError("an answer has too many controls")
        first, last = ber.expect(data, begin, stop, ber.OCTET_STRING)
        oid = ber.to_text(data, first, last)
        value = b""
        for inner, place, place_end in ber.children(data, last, stop):
            if inner == ber.OCTET_STRING:
                value = data[place:place_end]
        found[oid] = value
    return found
