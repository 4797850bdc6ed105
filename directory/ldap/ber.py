"""BER as LDAP uses it (RFC 4511 5.1): definite lengths, tags of one octet.

Lengths may be written longer than needed: Active Directory and Samba always use four octets.
"""

from collections.abc import Iterator

INTEGER = 0x02
OCTET_STRING = 0x04
ENUMERATED = 0x0A
BOOLEAN = 0x01
SEQUENCE = 0x30
SET = 0x31

MAX_LENGTH_OCTETS = 4
MAX_INTEGER_OCTETS = 8


class BerError(ValueError):
    """Octets that are not BER as LDAP uses it; the text is one fixed phrase."""


def tlv(tag: int, *parts: bytes) -> bytes:
    """Encode one element from the parts of its content."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    """Encode an INTEGER or ENUMERATED."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def octets(value: bytes | str, tag: int = OCTET_STRING) -> bytes:
    """Encode an OCTET STRING; text as UTF-8."""
    return tlv(tag, value.encode() if isinstance(value, str) else value)


def boolean(value: bool) -> bytes:
    """Encode a BOOLEAN as RFC 4511 wants it: FF is true."""
    return tlv(BOOLEAN, b"\xff" if value else b"\0")


def message_size(data: bytes | bytearray, start: int = 0) -> int | None:
    """Return how many octets the element at `start` has, or None while its length is not there.

    Raises BerError.
    """
    if len(data) < start + 2:
        return None
    first = data[start + 1]
    if first < 0x80:
        return 2 + first
    count = first & 0x7F
    if not 1 <= count <= MAX_LENGTH_OCTETS:
        raise BerError("a length is indefinite or too long")
    if len(data) < start + 2 + count:
        return None
    return 2 + count + int.from_bytes(data[start + 2 : start + 2 + count], "big")


def read(data: bytes, start: int, end: int) -> tuple[int, int, int]:
    """Read the element at `start`; return its tag and where its content begins and ends.

    Raises BerError when it does not lie within `end`.
    """
    if start + 2 > end:
        raise BerError("an element is cut off")
    tag = data[start]
    if tag & 0x1F == 0x1F:
        raise BerError("a tag has several octets")
    size = data[start + 1]
    begin = start + 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= MAX_LENGTH_OCTETS or begin + count > end:
            raise BerError("a length is indefinite, too long or cut off")
        size = int.from_bytes(data[begin : begin + count], "big")
        begin += count
    if begin + size > end:
        raise BerError("an element is longer than what holds it")
    return tag, begin, begin + size


def expect(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Read an element that must have this tag; return where its content begins and ends."""
    found, begin, stop = read(data, start, end)
    if found != tag:
        raise BerError("an element has another tag than expected")
    return begin, stop


def children(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Read the elements between two places one after the other."""
    while start < end:
        tag, begin, stop = read(data, start, end)
        yield tag, begin, stop
        start = stop


def to_int(data: bytes, begin: int, stop: int) -> int:
    """Decode the content of an INTEGER or ENUMERATED."""
    if not 1 <= stop - begin <= MAX_INTEGER_OCTETS:
        raise BerError("a number is empty or too long")
    return int.from_bytes(data[begin:stop], "big", signed=True)


def to_text(data: bytes, begin: int, stop: int) -> str:
    """Decode the content of an LDAPString."""
    try:
        return data[begin:stop].decode()
    except UnicodeDecodeError:
        raise BerError("a text is not UTF-8") from None
