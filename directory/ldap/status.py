"""What the follower knows of itself, for workers and people: one small mapped file.

Written by the follower alone, read by every worker at every request (a microsecond). It is no
table of the store: a row that changes each second would make every worker drop its accounts.
"""

import mmap
import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path

_RECORD = struct.Struct("<8sIIQQQQQQ256s")
_MAGIC = b"KTFOLLOW"
_CONFIRMED = struct.Struct("<Q")
_CONFIRMED_AT = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class FollowerState(IntEnum):
    """What the follower is doing."""

    STARTING = 0
    LOADING = 1
    FOLLOWING = 2
    AWAY = 3
    """No directory server answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerStatus:
    """A reading of the file."""

    state: FollowerState
    pid: int
    confirmed_at: datetime | None
    """When the store was last known to be what the directory is."""
    entries: int
    changes: int
    """Entries written since the follower started."""
    fetches: int
    """What requests made it ask for since it started."""
    problems: int
    """Entries that cannot be used, or not wholly."""
    failures: int
    """How often the directory was lost since it started."""
    server: str

    def age(self, now: datetime) -> timedelta | None:
        """Return how old the store may be; None when it was never confirmed."""
        return None if self.confirmed_at is None else max(timedelta(0), now - self.confirmed_at)


class StatusFile:
    """The file, mapped. `open_status` for reading; the follower makes it."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """Map the file. Raises OSError when it is not there, or is none."""
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            if write and os.fstat(descriptor).st_size < _RECORD.size:
                os.ftruncate(descriptor, _RECORD.size)
            if os.fstat(descriptor).st_size < _RECORD.size:
                raise OSError(0, "is no status of a follower", str(path))
            self._map = mmap.mmap(
                descriptor,
                _RECORD.size,
                access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ,
            )
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def confirmed_us(self) -> int:
        """Return when the store was last confirmed, in microseconds since 1970; 0: never."""
        value: int = _CONFIRMED.unpack_from(self._map, _CONFIRMED_AT)[0]
        return value

    def read(self) -> FollowerStatus | None:
        """Read everything; None while nothing was written."""
        magic, state, pid, confirmed, entries, changes, fetches, problems, failures, server = (
            _RECORD.unpack_from(self._map, 0)
        )
        if magic != _MAGIC or state not in FollowerState.__members__.values():
            return None
        return FollowerStatus(
            state=FollowerState(state),
            pid=pid,
            confirmed_at=_EPOCH + confirmed * _MICROSECOND if confirmed else None,
            entries=entries,
            changes=changes,
            fetches=fetches,
            problems=problems,
            failures=failures,
            server=server.rstrip(b"\0").decode("utf-8", "replace"),
        )

    def write(self, status: FollowerStatus) -> None:
        """Write everything."""
        confirmed = 0
        if status.confirmed_at is not None:
            confirmed = (status.confirmed_at - _EPOCH) // _MICROSECOND
        _RECORD.pack_into(
            self._map,
            0,
            _MAGIC,
            int(status.state),
            status.pid,
            confirmed,
            status.entries,
            status.changes,
            status.fetches,
            status.problems,
            status.failures,
            status.server.encode()[:256],
        )
