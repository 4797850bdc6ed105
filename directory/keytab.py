"""The MIT keytab, version 2 (file format 0x0502): bytes to entries and back.

Layout (MIT krb5, doc/formats/keytab_file_format.rst), all big-endian: 05 02, then records of
int32 size; a negative size is a hole of that many octets. A record holds uint16 component count,
realm, components (uint16 length each), uint32 name type, uint32 timestamp, uint8 kvno,
uint16 enctype, uint16 key length, key, and, when four octets are left, uint32 kvno. Heimdal adds
flags after that: what follows the last field is skipped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from directory.backend import DirectoryError, DirectoryFault

VERSION_2 = b"\x05\x02"
NT_PRINCIPAL = 1
MAX_FILE_BYTES = 16 * 1024 * 1024  # 100,000 entries
MAX_COMPONENTS = 16
MAX_KEY_BYTES = 256  # the largest enctype has 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KeytabEntry:
    """One key of one principal."""

    realm: str
    components: tuple[str, ...]
    name_type: int = NT_PRINCIPAL
    timestamp: int = 0
    """Seconds since 1970, as uint32."""
    kvno: int
    etype: int
    key: bytes = field(repr=False)

    @property
    def principal(self) -> str:
        """The name in text form (RFC 1964 2.1.1), `/` and `@` inside components escaped."""
        parts = (
            c.replace("\\", "\\\\").replace("/", "\\/").replace("@", "\\@") for c in self.components
        )
        return f"{'/'.join(parts)}@{self.realm}"


def _invalid(detail: str) -> NoReturn:
    raise DirectoryError(DirectoryFault.INVALID, f"keytab: {detail}")


class _Record:
    """Reads the fields of one record and never past its end."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self.data, self.pos, self.end = data, pos, end

    def take(self, size: int) -> bytes:
        start, self.pos = self.pos, self.pos + size
        if self.pos > self.end:
            _invalid("record cut short")
        return self.data[start : self.pos]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        return self.take(self.number(2)).decode("utf-8", "surrogateescape")


def decode_keytab(data: bytes) -> tuple[KeytabEntry, ...]:
    """Decode a keytab file. Raises DirectoryError(INVALID)."""
    if len(data) > MAX_FILE_BYTES:
        _invalid("too large")
    if data[:2] != VERSION_2:
        _invalid("not version 2")
    entries: list[KeytabEntry] = []
    pos = 2
    while pos < len(data):
        if pos + 4 > len(data):
            _invalid("record cut short")
        size = int.from_bytes(data[pos : pos + 4], "big", signed=True)
        pos += 4
        if size == 0:
            break  # "A length of 0 indicates the end of the file."
        end = pos + abs(size)
        if end > len(data):
            _invalid("record cut short")
        if size > 0:
            entries.append(_decode_entry(_Record(data, pos, end)))
        pos = end
    return tuple(entries)


def _decode_entry(record: _Record) -> KeytabEntry:
    count = record.number(2)
    if count > MAX_COMPONENTS:
        _invalid("too many name components")
    realm = record.text()
    components = tuple(record.text() for _ in range(count))
    name_type = record.number(4)
    timestamp = record.number(4)
    kvno = record.number(1)
    etype = record.number(2)
    length = record.number(2)
    if length > MAX_KEY_BYTES:
        _invalid("key too long")
    key = record.take(length)
    if record.end - record.pos >= 4:
        # The 32-bit kvno wins when set; old writers left zeros here.
        kvno = record.number(4) or kvno
    return KeytabEntry(
        realm=realm,
        components=components,
        name_type=name_type,
        timestamp=timestamp,
        kvno=kvno,
        etype=etype,
        key=key,
    )


def encode_keytab(entries: Iterable[KeytabEntry]) -> bytes:
    """Encode a keytab file. Raises DirectoryError(INVALID) for a value that does not fit."""
    out = bytearray(VERSION_2)
    for entry in entries:
        record = _encode_entry(entry)
        out += len(record).to_bytes(4, "big") + record
    if len(out) > MAX_FILE_BYTES:
        _invalid("too large")
    return bytes(out)


def _encode_entry(entry: KeytabEntry) -> bytes:
    if len(entry.components) > MAX_COMPONENTS or len(entry.key) > MAX_KEY_BYTES:
        _invalid("entry over a limit")
    try:
        return b"".join(
            (
                len(entry.components).to_bytes(2, "big"),
                _counted(entry.realm),
                *(_counted(component) for component in entry.components),
                entry.name_type.to_bytes(4, "big"),
                entry.timestamp.to_bytes(4, "big"),
                bytes((entry.kvno & 0xFF,)),
                entry.etype.to_bytes(2, "big"),
                len(entry.key).to_bytes(2, "big"),
                entry.key,
                entry.kvno.to_bytes(4, "big"),
            )
        )
    except OverflowError:
        _invalid("number out of range")


def _counted(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return len(raw).to_bytes(2, "big") + raw
