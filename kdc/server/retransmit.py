"""The retransmit memory: the replies of the last minute, in a ring shared by all workers.

A client that hears nothing sends the same packet again, perhaps by TCP, perhaps to another worker.
It gets the same reply (RFC 4120 3.1.2), without the cost of another signature.

Theory of operation. The data area is a ring of records; its head is a position that only grows, so
"position < head - ring size" tells that a record was overwritten. A worker takes a stretch of the
ring at a time, under a lock, and fills it with record after record. An index of eight-way buckets
leads from the digest of a packet to a position. A record carries a checksum over its packet's
digest, its time and the reply, so that a record that is half written, half overwritten or left over
by a killed worker is not found rather than returned.

So nothing else needs a lock. Two workers that enter the same bucket within a microsecond can lose
one of the two entries; the reply it led to is made again when its packet comes again.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from datetime import datetime
from fcntl import LOCK_EX, LOCK_UN, lockf
from pathlib import Path
from typing import Final

from kdc.server.mapfile import FIRST_OWN_LOCK, FIRST_OWN_WORD, HEADER_BYTES, Layout, MapFile
from kdc.server.replay import RETRANSMIT_WINDOW_S

_HEAD: Final = FIRST_OWN_WORD
_WRITE_LOCK: Final = FIRST_OWN_LOCK
_DIGEST_BYTES: Final = 16
_CHECKSUM_BYTES: Final = 16
_RECORD = struct.Struct("<16sqq")
_RECORD_BYTES: Final = 32
"""Name, time and length; the reply follows, then the checksum of both."""
_SLOT = struct.Struct("<16sq")
_SLOT_BYTES: Final = 24
_SLOTS: Final = 8
_BUCKET_BYTES: Final = _SLOTS * _SLOT_BYTES
_POSITIONS = struct.Struct("<" + "16xq" * _SLOTS)
"""The positions of a bucket."""

MAX_REPLY_SHARE: Final = 8
"""A reply over this part of the ring is not kept: one reply must not push out all the others."""

_STRETCH_SHARE: Final = 256
"""A worker takes this part of the ring at a time: of 32 MB some forty replies of 3 KB."""

_STALE_SHARE: Final = 8
"""A stretch is left when this part of the ring was taken after it, for what is stored in it would
be overwritten so much sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetransmitGeometry:
    """How large the memory is; the default keeps about 11,000 PKINIT replies of 3 KB."""

    ring_bytes: int = 32 * 1024 * 1024
    buckets: int = 4096
    """Of the index, eight places each: three times what the ring holds, so that a busy bucket
    rarely forgets a reply before the ring does."""


class FileRetransmitMemory:
    """`kdc.exchange.memory.RetransmitMemory` in a file shared by the workers of this machine."""

    def __init__(self, path: Path, *, geometry: RetransmitGeometry | None = None) -> None:
        self._path = path
        self._geometry = geometry or RetransmitGeometry()
        self._ring_at = HEADER_BYTES + self._geometry.buckets * _BUCKET_BYTES
        self._digest = b""
        self._name = b""
        """The packet looked up last, since its reply is likely the one to be stored next."""
        self._free = 0
        self._free_end = 0
        """What is left of the stretch taken, as positions."""
        self._open()

    def _open(self) -> None:
        size = self._geometry
        layout = Layout(
            magic=b"KTRETRAN",
            geometry=(size.buckets, size.ring_bytes),
            body_bytes=size.buckets * _BUCKET_BYTES + size.ring_bytes,
        )
        self._file = MapFile.open(self._path, layout)
        self._map = self._file.map
        self._digest = b""
        self._free = self._free_end = 0
        self._file.release_open_lock()

    def close(self) -> None:
        """Give the file back; what is stored stays in it."""
        self._file.close()

    def lookup(self, digest: bytes, now: datetime) -> bytes | None:
        """Return the reply already given to this packet, or None."""
        if self._file.abandoned:
            self._reopen()
        name = self._record_name(digest)
        at = self._bucket_of(name)
        bucket = self._map[at : at + _BUCKET_BYTES]
        hit = bucket.find(name)
        if hit < 0 or hit % _SLOT_BYTES:
            return None
        _, position = _SLOT.unpack_from(bucket, hit)
        return self._read(name, position, int(now.timestamp()))

    def store(self, digest: bytes, reply: bytes, now: datetime) -> None:
        """Keep a reply for the retransmit window; a reply too large to keep is not kept."""
        ring_bytes = self._geometry.ring_bytes
        size = _RECORD_BYTES + len(reply) + _CHECKSUM_BYTES
        if size > ring_bytes // MAX_REPLY_SHARE:
            return
        if self._file.abandoned:
            self._reopen()
        name = self._record_name(digest)
        record = _RECORD.pack(name, int(now.timestamp()), len(reply)) + reply
        stale = self._file.words[_HEAD] - self._free_end > ring_bytes // _STALE_SHARE
        if stale or self._free_end - self._free < size:
            self._take_stretch(max(size, ring_bytes // _STRETCH_SHARE))
        position = self._free
        self._free = position + size
        at = self._ring_at + position % ring_bytes
        end = at + size - _CHECKSUM_BYTES
        self._map[at:end] = record
        self._map[end : end + _CHECKSUM_BYTES] = _checksum(record)
        self._index(name, position)

    def _take_stretch(self, size: int) -> None:
        """Take so many octets of the ring from all workers; it does not wrap."""
        ring_bytes = self._geometry.ring_bytes
        lockf(self._file.fd, LOCK_EX, 1, _WRITE_LOCK)
        try:
            # A new ring begins in its second round: position 0 is an empty place of the index.
            position = self._file.words[_HEAD] or ring_bytes
            left = ring_bytes - position % ring_bytes
            if left < size:
                position += left  # The rest of the ring stays unused.
            # The head moves before anything is written. A worker killed after it leaves a gap that
            # no index entry leads to; else its records could be overwritten while they are valid.
            self._file.words[_HEAD] = position + size
        finally:
            lockf(self._file.fd, LOCK_UN, 1, _WRITE_LOCK)
        self._free = position
        self._free_end = position + size

    def _read(self, name: bytes, position: int, now_s: int) -> bytes | None:
        ring_bytes = self._geometry.ring_bytes
        head = self._file.words[_HEAD]
        if not 0 <= head - position <= ring_bytes or position < 0:
            return None
        at = position % ring_bytes
        left = ring_bytes - at - _RECORD_BYTES - _CHECKSUM_BYTES
        if left < 0:
            return None
        at += self._ring_at
        stored_name, stored_s, length = _RECORD.unpack(self._map[at : at + _RECORD_BYTES])
        if stored_name != name or not 0 <= now_s - stored_s <= RETRANSMIT_WINDOW_S:
            return None
        if not 0 <= length <= left:
            return None
        end = at + _RECORD_BYTES + length
        record = self._map[at:end]
        if not hmac.compare_digest(self._map[end : end + _CHECKSUM_BYTES], _checksum(record)):
            return None
        return record[_RECORD_BYTES:]

    def _index(self, name: bytes, position: int) -> None:
        """Enter a record in its bucket: over itself, else over the oldest place."""
        at = self._bucket_of(name)
        bucket = self._map[at : at + _BUCKET_BYTES]
        hit = bucket.find(name)
        if hit < 0 or hit % _SLOT_BYTES:
            positions = _POSITIONS.unpack(bucket)
            hit = positions.index(min(positions)) * _SLOT_BYTES
        self._map[at + hit : at + hit + _SLOT_BYTES] = _SLOT.pack(name, position)

    def _record_name(self, digest: bytes) -> bytes:
        if digest is not self._digest:
            # Keyed, so that nobody can pick packets that push a victim's reply out of its bucket.
            key = self._file.key
            self._name = hashlib.blake2b(digest, digest_size=_DIGEST_BYTES, key=key).digest()
            self._digest = digest
        return self._name

    def _bucket_of(self, name: bytes) -> int:
        return (
            HEADER_BYTES
            + int.from_bytes(name[:4], "little") % self._geometry.buckets * _BUCKET_BYTES
        )

    def _reopen(self) -> None:
        self.close()
        self._open()


def _checksum(record: bytes) -> bytes:
    # Against accidents, not against an attacker, who could not write the file; SHA-256 because
    # processors have instructions for it: 2 us for a PKINIT reply, half of BLAKE2.
    return hashlib.sha256(record).digest()[:_CHECKSUM_BYTES]
