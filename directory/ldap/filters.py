"""Search filters as values, never as text put together: nothing in a name can change a filter.

A value is encoded whole as an assertion value (RFC 4511 4.5.1). The text form (RFC 4515, with its
escapes) is made for logs and people alone and is never parsed.
"""

from dataclasses import dataclass

from directory.ldap import ber

_AND = 0xA0
_OR = 0xA1
_EQUAL = 0xA3
_AT_LEAST = 0xA5
_PRESENT = 0x87
_EXTENSIBLE = 0xA9
_RULE_ID = 0x81
_TYPE = 0x82
_VALUE = 0x83

_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b"*()\\")


@dataclass(frozen=True, slots=True)
class Filter:
    """One search filter."""

    encoded: bytes
    """As it goes on the wire."""
    text: str
    """RFC 4515, for people."""

    def __str__(self) -> str:
        return self.text


def escaped(value: bytes | str) -> str:
    """Write an assertion value with the escapes of RFC 4515 3; all but plain ASCII is escaped."""
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return "".join(chr(octet) if octet in _PLAIN else f"\\{octet:02x}" for octet in data)


def _octets(value: bytes | str) -> bytes:
    # Names from the wire may hold octets that are no UTF-8: they match nothing, as they came.
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def equal(attribute: str, value: bytes | str) -> Filter:
    """Match entries with this value."""
    encoded = ber.tlv(_EQUAL, ber.octets(attribute), ber.octets(_octets(value)))
    return Filter(encoded, f"({attribute}={escaped(value)})")


def at_least(attribute: str, value: str) -> Filter:
    """Match entries with a value that is not smaller."""
    encoded = ber.tlv(_AT_LEAST, ber.octets(attribute), ber.octets(value))
    return Filter(encoded, f"({attribute}>={escaped(value)})")


def present(attribute: str) -> Filter:
    """Match entries that have the attribute."""
    return Filter(ber.tlv(_PRESENT, attribute.encode()), f"({attribute}=*)")


def matches(attribute: str, rule: str, value: str) -> Filter:
    """Match by a rule given by its OID, such as those for bits (MS-ADTS 3.1.1.3.4.4)."""
    encoded = ber.tlv(
        _EXTENSIBLE,
        ber.octets(rule, _RULE_ID),
        ber.octets(attribute, _TYPE),
        ber.octets(value, _VALUE),
    )
    return Filter(encoded, f"({attribute}:{rule}:={escaped(value)})")


def all_of(*filters: Filter) -> Filter:
    """Match what every one of them matches."""
    return _joined(_AND, "&", filters)


def any_of(*filters: Filter) -> Filter:
    """Match what at least one of them matches."""
    return _joined(_OR, "|", filters)


def _joined(tag: int, sign: str, filters: tuple[Filter, ...]) -> Filter:
    if len(filters) == 1:
        return filters[0]
    encoded = ber.tlv(tag, *(each.encoded for each in filters))
    return Filter(encoded, f"({sign}{''.join(each.text for each in filters)})")
