"""NDR (C706 chapter 14) as the PAC uses it: type serialization version 1, little-endian, 32-bit.

The writer is a few functions that each return finished octets, for `buffers.py` to splice. The
reader walks untrusted octets: it never reads past its end, and no count makes it allocate more
than the octets that are there. Source: MS-RPCE 2.2.6, MS-PAC 2.2.
"""

import struct
from codecs import utf_16_le_decode
from functools import lru_cache

from directory.model import MAX_SUB_AUTHORITIES, Sid
from kdc.pac.faults import malformed

FIRST_REFERENT = 0x00020000  # Windows numbers pointers from here, in steps of 4
REFERENT_STEP = 4

# Common type header: version 1, little-endian, header length 8, filler (MS-RPCE 2.2.6.1).
_COMMON_HEADER = bytes.fromhex("01100800cccccccc")
_HEADER = struct.Struct("<8sIII")
HEADER_BYTES = 16  # common and private header
_COUNTS = struct.Struct("<III")
_U32 = struct.Struct("<I")


# -- writing ---------------------------------------------------------------------------------


def serialize(body: bytes) -> bytes:
    """Wrap one type: headers, the top-level pointer, the body, zeros up to a multiple of 8."""
    # The length counts the pointer, which is part of the object.
    pad = -(4 + len(body)) % 8
    head = _HEADER.pack(_COMMON_HEADER, 4 + len(body) + pad, 0, FIRST_REFERENT)
    return head + body + bytes(pad)


def string_referent(text: bytes) -> bytes:
    """Write what an RPC_UNICODE_STRING points at: a conformant varying array of UTF-16LE units.

    text: UTF-16LE; padded to a multiple of 4.
    """
    units = len(text) >> 1
    data = _COUNTS.pack(units, 0, units) + text
    return data + b"\0\0" if units & 1 else data


def sid_referent(sid: Sid) -> bytes:
    """Write an RPC_SID: a conformant structure, so its count stands before it as well."""
    return _U32.pack(len(sid.sub_authorities)) + sid.to_bytes()


# -- reading ---------------------------------------------------------------------------------


class NdrReader:
    """A cursor over one serialized type. Every method raises PacError(MALFORMED)."""

    __slots__ = ("_data", "_end", "_start", "pos")

    def __init__(self, data: bytes) -> None:
        """Check the headers and the top-level pointer, and stand at the body."""
        if len(data) < HEADER_BYTES + 4:
            raise malformed("NDR headers cut off")
        _, length, _, pointer = _HEADER.unpack_from(data)
        end = HEADER_BYTES + length
        # The common header's filler and the private header's are not looked at (MS-RPCE 2.2.6.1).
        if data[:4] != _COMMON_HEADER[:4]:
            raise malformed("not NDR type serialization version 1, little-endian")
        if not HEADER_BYTES + 4 <= end <= len(data) or len(data) - end >= 8:
            raise malformed("NDR object length is not the buffer's")
        if not pointer:
            raise malformed("NDR top-level pointer is null")
        self._data = data
        self._start = HEADER_BYTES
        self._end = end
        self.pos = HEADER_BYTES + 4

    def take(self, size: int) -> bytes:
        """Take octets as they are."""
        start = self.pos
        stop = start + size
        if stop > self._end:
            raise malformed("NDR data cut off")
        self.pos = stop
        return self._data[start:stop]

    def align(self) -> None:
        """Go to the next multiple of 4."""
        self.pos += -(self.pos - self._start) % 4

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Take a structure of integers."""
        return layout.unpack(self.take(layout.size))

    def u32(self) -> int:
        """Take an unsigned long, aligned."""
        self.align()
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def count(self, expected: int, element_bytes: int) -> int:
        """Take a conformant array's size, which must be `expected`, and check that it fits."""
        found = self.u32()
        if found != expected:
            raise malformed("NDR array size differs from its count")
        if found * element_bytes > self._end - self.pos:
            raise malformed("NDR array larger than the buffer")
        return found

    def string(self, pointer: int, length: int, maximum: int) -> str:
        """Take what an RPC_UNICODE_STRING of these three fields points at."""
        if not pointer:
            if length:
                raise malformed("string without its octets")
            return ""
        self.align()
        units, offset, actual = _COUNTS.unpack(self.take(_COUNTS.size))
        if offset or actual * 2 != length or actual > units or length > maximum:
            raise malformed("string lengths differ")
        try:
            # bytes.decode looks this codec up in a registry at each call: 0.6 us against 0.1.
            return utf_16_le_decode(self.take(length), "strict", True)[0] if length else ""
        except UnicodeDecodeError:
            raise malformed("string is not UTF-16") from None

    def sid(self) -> Sid:
        """Take an RPC_SID."""
        count = self.u32()
        if not 1 <= count <= MAX_SUB_AUTHORITIES:
            raise malformed("SID with no or too many sub-authorities")
        return read_sid(self.take(8 + 4 * count))

    def finish(self) -> None:
        """Check that only padding is left."""
        if self._end - self.pos >= 8 or any(self._data[self.pos : self._end]):
            raise malformed("octets after the NDR object")


@lru_cache(maxsize=1024)
def read_sid(data: bytes) -> Sid:
    """Decode a SID that fills `data`. Raises PacError(MALFORMED).

    Remembered, because the domain's SID and S-1-18-x are in every PAC.
    """
    try:
        return Sid.from_bytes(data)
    except ValueError:
        raise malformed("not a SID") from None
