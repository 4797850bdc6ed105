"""The retransmit memory: the replies of the last minute, in a ring shared by all workers.

A client that hears nothing sends the same packet again, perhaps by TCP, perhaps to another worker.
It gets the same reply (RFC 4120 3.1.2), without the cost of another signature.

Theory of operation. The data area is a ring of records; its head is a position that only grows, so
"position < head - ring size" tells that a record was overwritten. An index of eight-way buckets
leads from the digest of a packet to a position. Writers hold one lock. Readers hold none: a record
carries a checksum over its packet's digest, its time and the reply, so a record that is half
written, half overwritten or left over by a killed worker is not found rather than returned.
"""

import fcntl
import hashlib
import hmac
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from kdc.server.mapfile import FIRST_OWN_LOCK, FIRST_OWN_WORD, HEADER_BYTES, Layout, MapFile
from kdc.server.replay import RETRANSMIT_WINDOW_S

_HEAD: Final = FIRST_OWN_WORD
_WRITE_LOCK: Final = FIRST_OWN_LOCK
_DIGEST_BYTES: Final = 16
_CHECKSUM_BYTES: Final = 16
_RECORD = struct.Struct("<16sqq16s")
_SLOT = struct.Struct("<16sq")
_SLOTS: Final = 8
_BUCKET_BYTES: Final = _SLOTS * _SLOT.size
_POSITIONS = struct.Struct("<" + "16xq" * _SLOTS)
"""The positions of a bucket."""

MAX_REPLY_SHARE: Final = 8
"""A reply over this part of the ring is not kept: one reply must not push out all the others."""


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
        self._open()

    def _open(self) -> None:
        size = self._geometry
        layout = Layout(
            magic=b"KTRETRAN",
            geometry=(size.buckets, size.ring_bytes),
            body_bytes=size.buckets * _BUCKET_BYTES + size.ring_bytes,
        )
        self._file = MapFile.open(self._path, layout)
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
        bucket = self._file.map[at : at + _BUCKET_BYTES]
        hit = bucket.find(name)
        if hit < 0 or hit % _SLOT.size:
            return None
        _, position = _SLOT.unpack_from(bucket, hit)
        return self._read(name, position, int(now.timestamp()))

    def store(self, digest: bytes, reply: bytes, now: datetime) -> None:
        """Keep a reply for the retransmit window; a reply too large to keep is not kept."""
        ring_bytes = self._geometry.ring_bytes
        size = _RECORD.size + len(reply)
        if size > ring_bytes // MAX_REPLY_SHARE:
            return
        if self._file.abandoned:
            self._reopen()
        now_s = int(now.timestamp())
        name = self._record_name(digest)
        record = _RECORD.pack(name, now_s, len(reply), self._checksum(name, now_s, reply)) + reply
        fcntl.lockf(self._file.fd, fcntl.LOCK_EX, 1, _WRITE_LOCK)
        try:
            position = self._file.words[_HEAD]
            left = ring_bytes - position % ring_bytes
            if left < size:
                position += left  # A record does not wrap: the rest of the ring stays unused.
            # The head moves first. A worker killed after it leaves a gap that no index entry
            # leads to; the other way round its record could be overwritten while it is valid.
            self._file.words[_HEAD] = position + size
            at = self._ring_at + position % ring_bytes
            self._file.map[at : at + size] = record
            self._index(name, position)
        finally:
            fcntl.lockf(self._file.fd, fcntl.LOCK_UN, 1, _WRITE_LOCK)

    def _read(self, name: bytes, position: int, now_s: int) -> bytes | None:
        ring_bytes = self._geometry.ring_bytes
        head = self._file.words[_HEAD]
        if not 0 <= head - position <= ring_bytes or position < 0:
            return None
        at = position % ring_bytes
        if at + _RECORD.size > ring_bytes:
            return None
        header = self._file.map[self._ring_at + at : self._ring_at + at + _RECORD.size]
        stored_name, stored_s, length, checksum = _RECORD.unpack(header)
        if stored_name != name or not 0 <= now_s - stored_s <= RETRANSMIT_WINDOW_S:
            return None
        at += _RECORD.size
        if not 0 <= length <= ring_bytes - at:
            return None
        reply = self._file.map[self._ring_at + at : self._ring_at + at + length]
        if not hmac.compare_digest(checksum, self._checksum(name, stored_s, reply)):
            return None
        return reply

    def _index(self, name: bytes, position: int) -> None:
        """Enter a record in its bucket: over itself, else over the oldest place."""
        at = self._bucket_of(name)
        bucket = self._file.map[at : at + _BUCKET_BYTES]
        hit = bucket.find(name)
        if hit < 0 or hit % _SLOT.size:
            positions = _POSITIONS.unpack(bucket)
            hit = positions.index(min(positions)) * _SLOT.size
        self._file.map[at + hit : at + hit + _SLOT.size] = _SLOT.pack(name, position)

    def _record_name(self, digest: bytes) -> bytes:
        # Keyed, so that nobody can pick packets that push a victim's reply out of its bucket.
        return hashlib.blake2b(digest, digest_size=_DIGEST_BYTES, key=self._file.key).digest()

    def _bucket_of(self, name: bytes) -> int:
        return (
            HEADER_BYTES
            + int.from_bytes(name[:4], "little") % self._geometry.buckets * _BUCKET_BYTES
        )

    def _checksum(self, name: bytes, stored_s: int, reply: bytes) -> bytes:
        # Against accidents, not against an attacker, who could not write the file; SHA-256 because
        # processors have instructions for it: 2 us for a PKINIT reply, half of BLAKE2.
        state = hashlib.sha256(b"%b%d:" % (name, stored_s))
        state.update(reply)
        return state.digest()[:_CHECKSUM_BYTES]

    def _reopen(self) -> None:
        self.close()
        self._open()
