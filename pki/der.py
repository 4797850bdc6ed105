"""Strict DER: reading and writing single elements, with bounds on everything.

Rules
  1. Bytes in are bytes out. Nothing here re-encodes what it read; callers slice the buffer.
  2. What X.690 clause 10 forbids is an error: indefinite or non-minimal lengths, non-minimal
     INTEGERs, BOOLEANs other than 00 and FF, high tag numbers (no type of ours has one).
  3. Every bound is a named constant with its reason. No recursion: `walk` keeps its own stack.

Positions are offsets into one `bytes` buffer, so that nested reads copy nothing.
"""

import struct
from datetime import UTC, datetime
from functools import lru_cache
from typing import NoReturn

from pki.errors import DerFault, PkiError

MAX_DEPTH = 24  # the deepest message we know (PKINIT with a certificate) has 17 levels
MAX_NODES = 4096  # a PKINIT AS-REQ with a chain of three certificates has about 600
MAX_INTEGER_BYTES = 2064  # an RSA modulus of 16,384 bits, so that policy, not DER, refuses it
MAX_OID_BYTES = 64  # the longest arc in use has 20; long OIDs are an old way to burn CPU

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
UTF8_STRING = 0x0C
SEQUENCE = 0x30
SET = 0x31
PRINTABLE_STRING = 0x13
IA5_STRING = 0x16
GENERALIZED_TIME = 0x18
GENERAL_STRING = 0x1B


def fail(fault: DerFault, where: str = "") -> NoReturn:
    """Raise a PkiError for a DER fault; `where` names a type or field, never content."""
    raise PkiError(fault, where)


# -- reading ---------------------------------------------------------------------------------


def long_length(buf: bytes, pos: int) -> tuple[int, int]:
    """Read a long-form length at pos; return (content start, content end).

    The end is not compared with the buffer: the caller knows which bound applies.
    """
    first = buf[pos]
    count = first & 0x7F
    if count == 0 or count > 4:
        fail(DerFault.BAD_LENGTH, "indefinite or over 4 octets")
    start = pos + 1 + count
    if start > len(buf):
        fail(DerFault.TRUNCATED, "length")
    length = int.from_bytes(buf[pos + 1 : start], "big")
    if length < 0x80 or length >> (8 * (count - 1)) == 0:
        fail(DerFault.BAD_LENGTH, "not minimal")
    return start, start + length


def read_tlv(buf: bytes, pos: int = 0, end: int | None = None) -> tuple[int, int, int]:
    """Read one element's header at pos; return (tag octet, content start, content end).

    Raises PkiError when the element does not fit before `end` (default: the buffer's end).
    """
    bound = len(buf) if end is None else end
    if pos + 2 > bound:
        fail(DerFault.TRUNCATED, "header")
    tag = buf[pos]
    if tag & 0x1F == 0x1F:
        fail(DerFault.BAD_TAG, "high tag number")
    length = buf[pos + 1]
    if length < 0x80:
        start, stop = pos + 2, pos + 2 + length
    else:
        start, stop = long_length(buf, pos + 1)
    if stop > bound:
        fail(DerFault.TRUNCATED, "content")
    return tag, start, stop


def open_tlv(buf: bytes, tag: int, pos: int = 0, end: int | None = None) -> tuple[int, int]:
    """Read the element that must have this tag and fill [pos, end); return its content range."""
    bound = len(buf) if end is None else end
    got, start, stop = read_tlv(buf, pos, bound)
    if got != tag:
        fail(DerFault.BAD_TAG)
    if stop != bound:
        fail(DerFault.TRAILING_DATA)
    return start, stop


def children(
    buf: bytes, start: int, end: int, limit: int = MAX_NODES
) -> list[tuple[int, int, int, int]]:
    """List the elements in a content range as (tag, element start, content start, end)."""
    out: list[tuple[int, int, int, int]] = []
    pos = start
    while pos < end:
        if len(out) >= limit:
            fail(DerFault.OVER_LIMIT, "elements")
        tag, content, stop = read_tlv(buf, pos, end)
        out.append((tag, pos, content, stop))
        pos = stop
    return out


def walk(buf: bytes, pos: int = 0, end: int | None = None) -> int:
    """Check that a range holds well-formed DER headers within MAX_DEPTH and MAX_NODES.

    Returns the number of elements. Values of primitive elements are not looked at.
    """
    nodes = 0
    stack = [(pos, len(buf) if end is None else end)]
    while stack:
        at, bound = stack.pop()
        while at < bound:
            nodes += 1
            if nodes > MAX_NODES:
                fail(DerFault.OVER_LIMIT, "elements")
            tag, start, stop = read_tlv(buf, at, bound)
            if tag & 0x20:
                if len(stack) + 1 >= MAX_DEPTH:
                    fail(DerFault.OVER_LIMIT, "depth")
                stack.append((stop, bound))
                at, bound = start, stop
            else:
                at = stop
    return nodes


def decode_integer(buf: bytes, start: int, end: int) -> int:
    """Decode the content of an INTEGER of at most MAX_INTEGER_BYTES."""
    length = end - start
    if length == 1:
        value = buf[start]
        return value - 256 if value > 127 else value
    if length == 0:
        fail(DerFault.BAD_VALUE, "empty INTEGER")
    if length > MAX_INTEGER_BYTES:
        fail(DerFault.OVER_LIMIT, "INTEGER")
    first = buf[start]
    if (first == 0 and buf[start + 1] < 0x80) or (first == 0xFF and buf[start + 1] >= 0x80):
        fail(DerFault.BAD_VALUE, "INTEGER not minimal")
    return int.from_bytes(buf[start:end], "big", signed=True)


def decode_number(buf: bytes, start: int, end: int, low: int, high: int, name: str) -> int:
    """Decode the content of an INTEGER within bounds, of at most nine octets."""
    if end - start > 9:
        fail(DerFault.BAD_VALUE, name)
    value = decode_integer(buf, start, end)
    if not low <= value <= high:
        fail(DerFault.BAD_VALUE, name)
    return value


def decode_boolean(buf: bytes, start: int, end: int) -> bool:
    """Decode the content of a BOOLEAN; DER allows only 00 and FF."""
    if end - start != 1 or buf[start] not in (0x00, 0xFF):
        fail(DerFault.BAD_VALUE, "BOOLEAN")
    return buf[start] == 0xFF


def decode_bit_string(buf: bytes, start: int, end: int) -> bytes:
    """Decode the content of a BIT STRING of whole octets (no unused bits)."""
    if end == start or buf[start] != 0:
        fail(DerFault.BAD_VALUE, "BIT STRING with unused bits")
    return buf[start + 1 : end]


def decode_flags(buf: bytes, start: int, end: int) -> int:
    """Decode KerberosFlags (RFC 4120 5.2.8) into a 32-bit integer, bit 0 the highest.

    Bits past the 32nd are ignored, as the RFC asks; missing low ones read as zero.
    """
    if end == start or buf[start] > 7 or (buf[start] and end - start == 1):
        fail(DerFault.BAD_VALUE, "KerberosFlags")
    if buf[end - 1] & ((1 << buf[start]) - 1):
        fail(DerFault.BAD_VALUE, "KerberosFlags with unused bits set")
    if end - start == 5:
        return int.from_bytes(buf[start + 1 : end], "big")
    raw = buf[start + 1 : min(end, start + 5)]
    return int.from_bytes(raw, "big") << (8 * (4 - len(raw)))


def decode_general_string(buf: bytes, start: int, end: int) -> str:
    """Decode the content of a KerberosString. Octets that are no UTF-8 become surrogates."""
    return buf[start:end].decode("utf-8", "surrogateescape")


@lru_cache(maxsize=512)
def _dotted(raw: bytes) -> str:
    arcs: list[int] = []
    value = 0
    fresh = True
    for octet in raw:
        if fresh and octet == 0x80:
            fail(DerFault.BAD_VALUE, "OBJECT IDENTIFIER arc not minimal")
        value = value << 7 | (octet & 0x7F)
        fresh = octet < 0x80
        if fresh:
            arcs.append(value)
            value = 0
    if not fresh or not arcs:
        fail(DerFault.BAD_VALUE, "OBJECT IDENTIFIER")
    root = min(arcs[0] // 40, 2)
    return ".".join(str(a) for a in (root, arcs[0] - 40 * root, *arcs[1:]))


def decode_oid(buf: bytes, start: int, end: int) -> str:
    """Decode the content of an OBJECT IDENTIFIER into dotted form."""
    if end - start > MAX_OID_BYTES:
        fail(DerFault.OVER_LIMIT, "OBJECT IDENTIFIER")
    return _dotted(buf[start:end])


@lru_cache(maxsize=256)
def _time(raw: bytes) -> datetime:
    if len(raw) != 15 or raw[14] != 0x5A or not raw[:14].isdigit():
        fail(DerFault.BAD_VALUE, "GeneralizedTime")
    try:
        return datetime(
            int(raw[0:4]),
            int(raw[4:6]),
            int(raw[6:8]),
            int(raw[8:10]),
            int(raw[10:12]),
            int(raw[12:14]),
            tzinfo=UTC,
        )
    except ValueError:
        fail(DerFault.BAD_VALUE, "GeneralizedTime")


def decode_generalized_time(buf: bytes, start: int, end: int) -> datetime:
    """Decode a GeneralizedTime of the form YYYYMMDDHHMMSSZ (RFC 4120 5.2.3: no fraction)."""
    # The times of requests are now, or now and a usual lifetime: most were read before.
    return _time(buf[start:end])


# -- writing ---------------------------------------------------------------------------------

# Packing costs half of what bytes((tag, length)) does, and a reply has fifty to ninety headers.
_SHORT_HEADERS = tuple(
    tuple(bytes((tag, length)) for length in range(0x80)) for tag in range(0x100)
)
"""By tag, then by length: looking them up takes less than packing them, in compiled code half."""
_OCTETS = tuple(bytes((octet,)) for octet in range(0x80))
_TWO_DIGITS = tuple(b"%02d" % number for number in range(100))
_HEADER_81 = struct.Struct("BBB").pack
_HEADER_82 = struct.Struct(">BBH").pack


def tlv(tag: int, content: bytes) -> bytes:
    """Encode one element with a definite, minimal length."""
    length = len(content)
    if length < 0x80:
        return _SHORT_HEADERS[tag][length] + content
    if length < 0x100:
        return _HEADER_81(tag, 0x81, length) + content
    if length < 0x10000:
        return _HEADER_82(tag, 0x82, length) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*parts: bytes) -> bytes:
    """Encode a SEQUENCE of elements that are already encoded."""
    return tlv(SEQUENCE, b"".join(parts))


def explicit(number: int, element: bytes) -> bytes:
    """Put the context tag [number] EXPLICIT around an encoded element."""
    return tlv(0xA0 | number, element)


def integer_content(value: int) -> bytes:
    """Return the content octets of an INTEGER."""
    if 0 <= value < 0x80:
        return _OCTETS[value]
    # Two's complement: -128 fits one octet, +128 needs two.
    bits = value.bit_length() if value >= 0 else (value + 1).bit_length()
    return value.to_bytes(bits // 8 + 1, "big", signed=True)


def number_content(value: int, low: int, high: int, name: str) -> bytes:
    """Return the content octets of an INTEGER within bounds; ValueError for another."""
    if not low <= value <= high:
        raise ValueError(f"{name} out of range")
    return integer_content(value)


def encode_integer(value: int) -> bytes:
    """Encode an INTEGER."""
    return tlv(INTEGER, integer_content(value))


def encode_octet_string(value: bytes) -> bytes:
    """Encode an OCTET STRING."""
    return tlv(OCTET_STRING, value)


def encode_bit_string(value: bytes) -> bytes:
    """Encode a BIT STRING of whole octets."""
    return tlv(BIT_STRING, b"\x00" + value)


def general_string_content(value: str) -> bytes:
    """Return the content octets of a KerberosString; see decode_general_string."""
    return value.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=512)
def _oid_octets(dotted: str) -> bytes:
    arcs = [int(a) for a in dotted.split(".")]
    if len(arcs) < 2 or arcs[0] > 2 or (arcs[0] < 2 and arcs[1] > 39) or min(arcs) < 0:
        raise ValueError(f"not an object identifier: {dotted!r}")
    out = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | (arc & 0x7F))
        out += bytes(reversed(octets))
    return bytes(out)


def oid_content(dotted: str) -> bytes:
    """Return the content octets of an OBJECT IDENTIFIER given in dotted form."""
    return _oid_octets(dotted)


def encode_oid(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER given in dotted form."""
    return tlv(OID, oid_content(dotted))


def generalized_time_content(value: datetime) -> bytes:
    """Return YYYYMMDDHHMMSSZ of an aware datetime in UTC; microseconds are dropped."""
    # Formatting takes twice as long, and a reply has four times or five.
    year = value.year
    return b"".join(
        (
            _TWO_DIGITS[year // 100],
            _TWO_DIGITS[year % 100],
            _TWO_DIGITS[value.month],
            _TWO_DIGITS[value.day],
            _TWO_DIGITS[value.hour],
            _TWO_DIGITS[value.minute],
            _TWO_DIGITS[value.second],
            b"Z",
        )
    )


def encode_generalized_time(value: datetime) -> bytes:
    """Encode a GeneralizedTime; see generalized_time_content."""
    return tlv(GENERALIZED_TIME, generalized_time_content(value))


def flags_content(value: int) -> bytes:
    """Return the content octets of KerberosFlags: always 32 bits, as RFC 4120 5.2.8 asks."""
    return b"\x00" + value.to_bytes(4, "big")
