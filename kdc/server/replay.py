"""The replay memory: which proofs were used, in a map shared by all workers.

Rules.
1. A proof (AuthPack or authenticator) is remembered as long as its ctime is acceptable, that is for
   2 x clockskew at most. Nothing is forgotten sooner without `oldest_acceptable` rising past it.
2. The size is fixed. When it does not suffice, the oldest proofs go first and requests with a ctime
   in their range are refused from then on: availability is lost at the old end, never safety.
3. A lost memory (file missing, damaged, or the machine restarted, when late writes may be missing)
   refuses every ctime before the moment of the loss.

Theory of operation. The map is cut into shards, each under its own lock, so that workers rarely
wait for each other. A shard is a pool of chunks; a chunk is a small hash table that belongs to one
window of ctime (30 s or more). The same proof has the same ctime, so only the chunks of its
window are searched. A window takes as many chunks as it needs; when the pool is used up, the chunk
with the oldest window is emptied and `oldest_acceptable` rises to that window's end. For a window
long past the skew that changes nothing; for a younger one it is rule 2. Windows go by ctime and not
by arrival because then a client with a fast clock cannot make the floor jump into the future.

An entry is 32 octets: 16 of a keyed digest of the proof, 4 for the second it was first seen, 12 of
the packet's digest. Sixteen octets suffice: with a million entries a false replay happens once in
2**108 requests, and a collision cannot be searched for since the key is random and stays here.
"""

import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fcntl import LOCK_EX, LOCK_UN, lockf
from pathlib import Path
from typing import Final

from kdc.server.mapfile import (
    FIRST_OWN_LOCK,
    FIRST_OWN_WORD,
    HEADER_BYTES,
    Layout,
    MapFile,
    peek,
)

RETRANSMIT_WINDOW_S: Final = 60
"""How long an identical packet is a retransmission: clients give up well before, MIT after 30 s."""

MIN_WINDOW_S: Final = 30
"""The step in which the floor rises on overflow; a chunk serves the proofs of that many seconds."""

_MAGIC: Final = b"KTREPLAY"
_ENTRY = struct.Struct("<16sI12s")
_DIGEST_BYTES: Final = 16
_TAG_BYTES: Final = 12
_ENTRY_BYTES: Final = 32
_SLOTS: Final = 8
_BUCKET_BYTES: Final = _SLOTS * _ENTRY_BYTES
_SECONDS = struct.Struct("<" + "16xI12x" * _SLOTS)
"""When the entries of a bucket were first seen; 0 where there is none."""
_WINDOW = struct.Struct("=q")
_WINDOW_BYTES: Final = 8
"""Of the table that says which window each chunk serves."""
_UNUSED: Final = -1
_FLOOR: Final = FIRST_OWN_WORD
_FLOOR_LOCK: Final = FIRST_OWN_LOCK
_FIRST_SHARD_LOCK: Final = FIRST_OWN_LOCK + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayGeometry:
    """How large the memory is; the default holds some 1.2 million proofs in 50 MB.

    That is ten minutes (twice the usual clockskew of 300 s) at 2,000 logons a second; chunks are
    three quarters full by then, on average (measured).
    """

    shards: int = 64
    """At most 256: one octet of the digest selects it."""
    chunks: int = 64
    """Per shard."""
    buckets: int = 48
    """Per chunk, eight entries each; at most 65,536."""

    @property
    def chunk_bytes(self) -> int:
        """Return the size of one chunk."""
        return self.buckets * _BUCKET_BYTES

    @property
    def table_bytes(self) -> int:
        """Return the size of the table that says which window each chunk serves."""
        return self.shards * self.chunks * _WINDOW_BYTES

    @property
    def entries(self) -> int:
        """Return how many proofs fit at most."""
        return self.shards * self.chunks * self.buckets * _SLOTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayUsage:
    """How full the memory is."""

    chunks: int
    chunks_used: int
    """Chunks of windows whose proofs may still be acceptable."""
    floor: datetime
    """A proof with an earlier ctime is refused."""


def replay_usage(path: Path, *, clockskew: timedelta, now: datetime) -> ReplayUsage:
    """Look into a replay memory that others use. Raises OSError."""
    numbers, words, _ = peek(path, _MAGIC, 0)
    shards, chunks_of_shard, _, window_s, *_ = numbers
    chunks = min(shards * chunks_of_shard, 1 << 20)  # a damaged header must not cost memory
    _, _, table = peek(path, _MAGIC, 8 * chunks)
    windows = memoryview(table[: len(table) // 8 * 8]).cast("q")
    oldest = (int(now.timestamp()) - 2 * int(clockskew.total_seconds())) // max(1, window_s)
    floor_s = memoryview(words).cast("q")[_FLOOR]
    return ReplayUsage(
        chunks=chunks,
        chunks_used=sum(window >= oldest for window in windows),
        floor=datetime.fromtimestamp(max(0, min(floor_s, 1 << 33)), UTC),
    )


class FileReplayMemory:
    """`kdc.exchange.memory.ReplayMemory` in a file shared by the workers of this machine."""

    def __init__(
        self,
        path: Path,
        *,
        clockskew: timedelta,
        now: datetime,
        geometry: ReplayGeometry | None = None,
    ) -> None:
        self._path = path
        self._geometry = geometry or ReplayGeometry()
        self._chunk_bytes = self._geometry.chunk_bytes
        # All windows within 2 x clockskew together may take half of the chunks; the other half is
        # for windows that need a second one.
        clockskew_s = int(clockskew.total_seconds())
        self._window_s = max(MIN_WINDOW_S, -(-4 * clockskew_s // self._geometry.chunks))
        self._open(now)

    def _open(self, now: datetime) -> None:
        size = self._geometry
        layout = Layout(
            magic=_MAGIC,
            geometry=(size.shards, size.chunks, size.buckets, self._window_s),
            body_bytes=size.table_bytes + size.shards * size.chunks * size.chunk_bytes,
        )
        self._file = MapFile.open(self._path, layout)
        self._map = self._file.map
        self._data_at = HEADER_BYTES + size.table_bytes
        self._windows = memoryview(self._file.map)[HEADER_BYTES : self._data_at].cast("q")
        now_s = int(now.timestamp())
        floor = self._file.words[_FLOOR]
        if self._file.fresh or floor == 0:
            # A new file, or one whose maker was killed before this line.
            for index in range(size.shards * size.chunks):
                self._windows[index] = _UNUSED
            self._file.words[_FLOOR] = now_s
        elif self._file.rebooted:
            self._file.words[_FLOOR] = max(floor, now_s)
        self._file.release_open_lock()

    def close(self) -> None:
        """Give the file back; what is remembered stays in it."""
        self._windows.release()
        self._file.close()

    def oldest_acceptable(self, now: datetime) -> datetime:
        """Return the ctime before which a request must be refused with KRB_AP_ERR_SKEW."""
        if self._file.abandoned:
            self._reopen(now)
        return datetime.fromtimestamp(self._file.words[_FLOOR], UTC)

    def seen(self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b"") -> bool:
        """Tell whether `remember` would refuse, without remembering anything."""
        # Without a lock: a proof that is being remembered at this moment may be missed, and is
        # caught by `remember`, which alone decides.
        if self._file.abandoned:
            self._reopen(now)
        ctime_s = int(ctime.timestamp())
        if ctime_s < self._file.words[_FLOOR]:
            return True
        entry = self._entry_digest(digest)
        window = ctime_s // self._window_s
        first_chunk = entry[0] % self._geometry.shards * self._geometry.chunks
        found, _ = self._search(entry, first_chunk, window)
        return found is not None and not _is_retransmission(found, packet, int(now.timestamp()))

    def remember(
        self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b""
    ) -> bool:
        """Remember a proof and return True, or return False when it is a replay."""
        if self._file.abandoned:
            self._reopen(now)
        ctime_s = int(ctime.timestamp())
        now_s = int(now.timestamp())
        entry = self._entry_digest(digest)
        window = ctime_s // self._window_s
        shard = entry[0] % self._geometry.shards
        first_chunk = shard * self._geometry.chunks
        lock = _FIRST_SHARD_LOCK + shard
        lockf(self._file.fd, LOCK_EX, 1, lock)
        try:
            # Under the lock, since another worker may just have emptied the chunk of this window.
            if ctime_s < self._file.words[_FLOOR]:
                return False
            found, room = self._search(entry, first_chunk, window)
            if found is not None:
                return _is_retransmission(found, packet, now_s)
            if room is None:
                room = self._make_room(entry, first_chunk, window)
                if room is None:
                    return False
            seconds = now_s & 0xFFFFFFFF or 1  # 0 is no entry
            tag = packet[:_TAG_BYTES]
            self._map[room : room + _ENTRY_BYTES] = _ENTRY.pack(entry, seconds, tag)
            return True
        finally:
            lockf(self._file.fd, LOCK_UN, 1, lock)

    def _entry_digest(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, digest_size=_DIGEST_BYTES, key=self._file.key).digest()

    def _buckets_of(self, entry: bytes) -> tuple[int, int]:
        # Two candidate buckets, the emptier one is used: so a chunk fills to nine tenths before
        # the first entry finds no place, against six tenths with one candidate.
        size = self._geometry.buckets
        return (
            int.from_bytes(entry[1:4], "little") % size * _BUCKET_BYTES,
            int.from_bytes(entry[4:7], "little") % size * _BUCKET_BYTES,
        )

    def _search(
        self, entry: bytes, first_chunk: int, window: int
    ) -> tuple[bytes | None, int | None]:
        """Look an entry up in the chunks of its window.

        Returns the stored entry, or the position where it may be written, or neither.
        """
        room: int | None = None
        in_one, in_other = self._buckets_of(entry)
        for chunk in self._chunks_of(first_chunk, window):
            base = self._data_at + chunk * self._chunk_bytes
            one = self._map[base + in_one : base + in_one + _BUCKET_BYTES]
            other = self._map[base + in_other : base + in_other + _BUCKET_BYTES]
            for bucket in (one, other):
                hit = bucket.find(entry)
                if hit >= 0:
                    hit -= hit % _ENTRY_BYTES
                    return bucket[hit : hit + _ENTRY_BYTES], None
            if room is None:
                used, used_other = _used_bytes(one), _used_bytes(other)
                at = base + in_one
                if used_other < used:
                    used, at = used_other, base + in_other
                if used < _BUCKET_BYTES:
                    room = at + used
        return None, room

    def _chunks_of(self, first_chunk: int, window: int) -> list[int]:
        """List the chunks of a shard that serve a window."""
        at = HEADER_BYTES + first_chunk * _WINDOW_BYTES
        table = self._map[at : at + self._geometry.chunks * _WINDOW_BYTES]
        number = _WINDOW.pack(window)
        found: list[int] = []
        hit = table.find(number)
        while hit >= 0:
            # Else the end of one number and the beginning of the next.
            if hit % _WINDOW_BYTES == 0:
                found.append(first_chunk + hit // _WINDOW_BYTES)
            hit = table.find(number, hit + 1)
        return found

    def _make_room(self, entry: bytes, first_chunk: int, window: int) -> int | None:
        """Give one more chunk to a window; empty the oldest when none is free.

        Assumes the shard's lock is held. Returns None when all the others are younger or as old:
        then the request cannot be remembered, so it cannot be accepted.
        """
        owners = self._windows[first_chunk : first_chunk + self._geometry.chunks].tolist()
        oldest = min(owners)
        if oldest >= window:
            return None
        if oldest != _UNUSED:
            self._raise_floor((oldest + 1) * self._window_s)
        chunk = first_chunk + owners.index(oldest)
        base = self._data_at + chunk * self._chunk_bytes
        # In this order, so that a worker killed between two steps leaves an unused chunk behind.
        self._windows[chunk] = _UNUSED
        self._map[base : base + self._chunk_bytes] = bytes(self._chunk_bytes)
        self._windows[chunk] = window
        return base + self._buckets_of(entry)[0]

    def _raise_floor(self, floor: int) -> None:
        lockf(self._file.fd, LOCK_EX, 1, _FLOOR_LOCK)
        try:
            self._file.words[_FLOOR] = max(floor, self._file.words[_FLOOR])
        finally:
            lockf(self._file.fd, LOCK_UN, 1, _FLOOR_LOCK)

    def _reopen(self, now: datetime) -> None:
        # Another worker found the file damaged and moved it aside; stay together with it.
        self.close()
        self._open(now)


def _used_bytes(bucket: bytes) -> int:
    """Return how much of a bucket is filled; entries are written in order and never removed."""
    return (_SLOTS - _SECONDS.unpack(bucket).count(0)) * _ENTRY_BYTES


def _is_retransmission(stored: bytes, packet: bytes, now_s: int) -> bool:
    """Tell whether a remembered proof came in this very packet, less than a minute ago."""
    _, first_seen_s, tag = _ENTRY.unpack(stored)
    if not packet or packet[:_TAG_BYTES] != tag:
        return False
    # After a clock jump backwards the age is negative: then it is a replay, not a retransmission.
    return 0 <= now_s - int(first_seen_s) <= RETRANSMIT_WINDOW_S
