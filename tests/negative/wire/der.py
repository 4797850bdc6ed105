"""DER for a client that must also be able to write what DER forbids."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8_STRING, GENERALIZED_TIME, GENERAL_STRING = 0x0C, 0x18, 0x1B
SEQUENCE, SET = 0x30, 0x31


def length(count: int) -> bytes:
    """Encode a definite length in as few octets as possible."""
    if count < 0x80:
        return bytes((count,))
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def tlv(tag: int, content: bytes) -> bytes:
    """Encode one element."""
    return bytes((tag,)) + length(len(content)) + content


def long_form(element: bytes, octets: int) -> bytes:
    """Write an element's length in that many octets after the first, minimal or not."""
    node = read(element)
    count = len(node.content).to_bytes(octets, "big")
    return bytes((node.tag, 0x80 | octets)) + count + node.content


def indefinite(element: bytes) -> bytes:
    """Write an element with an indefinite length, as BER allows for constructed ones."""
    node = read(element)
    return bytes((node.tag, 0x80)) + node.content + b"\x00\x00"


def sequence(*parts: bytes) -> bytes:
    """Encode a SEQUENCE of encoded elements."""
    return tlv(SEQUENCE, b"".join(parts))


def set_of(*parts: bytes) -> bytes:
    """Encode a SET OF, its elements in DER order."""
    return tlv(SET, b"".join(sorted(parts)))


def explicit(number: int, element: bytes) -> bytes:
    """Put [number] around an element."""
    return tlv(0xA0 | number, element)


def implicit(number: int, content: bytes) -> bytes:
    """Encode a primitive element under [number] in place of its own tag."""
    return tlv(0x80 | number, content)


def integer(value: int) -> bytes:
    """Encode an INTEGER."""
    size = max(1, (value + (value < 0)).bit_length() // 8 + 1)
    return tlv(INTEGER, value.to_bytes(size, "big", signed=True))


def octets(value: bytes) -> bytes:
    """Encode an OCTET STRING."""
    return tlv(OCTET_STRING, value)


def bits(value: bytes, unused: int = 0) -> bytes:
    """Encode a BIT STRING."""
    return tlv(BIT_STRING, bytes((unused,)) + value)


def null() -> bytes:
    """Encode NULL."""
    return tlv(NULL, b"")


def oid(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    out = b""
    for arc in (first * 40 + second, *rest):
        piece = bytes((arc & 0x7F,))
        while arc := arc >> 7:
            piece = bytes((0x80 | arc & 0x7F,)) + piece
        out += piece
    return tlv(OID, out)


def string(value: str | bytes) -> bytes:
    """Encode a GeneralString; text as UTF-8."""
    return tlv(GENERAL_STRING, value.encode() if isinstance(value, str) else value)


def time(value: datetime | bytes) -> bytes:
    """Encode a GeneralizedTime; bytes are taken as they are."""
    raw = value if isinstance(value, bytes) else value.strftime("%Y%m%d%H%M%SZ").encode()
    return tlv(GENERALIZED_TIME, raw)


class UnreadableError(ValueError):
    """A reply is not the DER it should be."""


@dataclass(frozen=True, slots=True)
class Node:
    """One element of a reply."""

    tag: int
    content: bytes
    raw: bytes

    def __iter__(self) -> Iterator["Node"]:
        at = 0
        while at < len(self.content):
            child = read(self.content, at, whole=False)
            yield child
            at += len(child.raw)

    def inner(self) -> "Node":
        """Return the only element inside, as an EXPLICIT tag has it."""
        return read(self.content)

    def field(self, number: int) -> "Node":
        """Return what stands inside the EXPLICIT [number] of a SEQUENCE."""
        found = self.optional(number)
        if found is None:
            raise UnreadableError(f"no field [{number}]")
        return found

    def optional(self, number: int) -> "Node | None":
        """Return what stands inside the EXPLICIT [number] of a SEQUENCE, if it is there."""
        for child in self:
            if child.tag == 0xA0 | number:
                return child.inner()
        return None

    def number(self) -> int:
        """Return the value of an INTEGER."""
        if self.tag != INTEGER or not self.content:
            raise UnreadableError("no INTEGER")
        return int.from_bytes(self.content, "big", signed=True)

    def text(self) -> str:
        """Return the value of a string; what is no UTF-8 survives as surrogates."""
        return self.content.decode("utf-8", "surrogateescape")


def read(data: bytes, at: int = 0, *, whole: bool = True) -> Node:
    """Read the element at a position; whole: nothing may follow it."""
    start = at
    if len(data) - at < 2:
        raise UnreadableError("too short for an element")
    tag, count = data[at], data[at + 1]
    at += 2
    if count & 0x80:
        size = count & 0x7F
        if not 1 <= size <= 4 or at + size > len(data):
            raise UnreadableError("bad length")
        count = int.from_bytes(data[at : at + size], "big")
        at += size
    end = at + count
    if end > len(data) or (whole and end != len(data)):
        raise UnreadableError("length and content disagree")
    return Node(tag, data[at:end], data[start:end])
