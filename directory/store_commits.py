"""Has anything been committed to a database since one last asked? Told without asking SQLite.

In WAL mode the file `-shm` begins with the header of the WAL-index, in two copies: a counter of
changes, the number of frames in the log, its salts, the checksum of the last frame. Every commit,
by whatever process, puts both copies there anew before it returns. SQLite itself takes its snapshot
for current when that header is as it was (sqlite.org: walformat.html 2.1), and only then does
`PRAGMA data_version` stay the same. We compare the same octets in the same memory, for less than
a microsecond; the query takes ten.

Rules
  1. Only sameness is believed. For all else SQLite is asked: another header, two copies that are
     not alike (somebody is writing, or was killed writing), no WAL mode, no mapping.
  2. A mark is taken before SQLite is asked, and kept when SQLite has answered. A commit between the
     two makes the next mark differ: one query too many, never one too few.
  3. While our connection is open nobody removes the file or ends WAL mode: the connection holds a
     shared lock on the database from its first read on.
  4. What is mapped stays mapped and open. When a process closes any descriptor of a file, POSIX
     drops all its locks on that file, SQLite's too; then another process may take a -shm in use
     for a leftover and empty it (sqlite.org: howtocorrupt.html 2.2). So a process maps each file
     once, and lets go of it when it is unlinked, which SQLite does when nobody has it open.
"""

import mmap
import os
import sqlite3
import sys
import threading

HEADER_BYTES = 48
MAX_MAPPED = 64  # databases of one process; for any more SQLite is asked
_FORMAT = (3007000).to_bytes(4, sys.byteorder)  # walformat.html 2.1: iVersion, never another yet

# Rule 4 is about locks of the whole process, so this belongs to the process: (device, inode) ->
# descriptor and mapping of a -shm.
_mapped: dict[tuple[int, int], tuple[int, mmap.mmap]] = {}
_mapping = threading.Lock()


class CommitWatch:
    """Watches the database of one open connection."""

    __slots__ = ("_index",)

    def __init__(self) -> None:
        self._index: mmap.mmap | None = None

    def attach(self, connection: sqlite3.Connection) -> None:
        """Watch the main database of a connection that stays open until `detach`.

        Raises sqlite3.Error.
        """
        self._index = None
        # Reads: from here on the connection has its -shm open, and rule 3 holds.
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            # By the name that SQLite made of ours: symbolic links are resolved.
            (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
            self._index = _map(f"{path}-shm")

    def detach(self) -> None:
        """Watch nothing more; to be called before the connection is closed."""
        self._index = None

    def mark(self) -> bytes:
        """Return octets that every commit changes; empty when SQLite has to be asked."""
        index = self._index
        if index is None:
            return b""
        header = index[: 2 * HEADER_BYTES]
        return header if header[:HEADER_BYTES] == header[HEADER_BYTES:] else b""


def _map(path: str) -> mmap.mmap | None:
    """Map the beginning of a -shm that SQLite has open in this process; None: ask SQLite."""
    with _mapping:
        _let_go()
        try:
            found = os.stat(path)
            place = (found.st_dev, found.st_ino)
            if place not in _mapped:
                if len(_mapped) >= MAX_MAPPED or found.st_size < 2 * HEADER_BYTES:
                    return None
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                # mmap has a duplicate of its own: both stay open. So does this one when mmap fails,
                # for closing it would drop the locks (rule 4).
                index = mmap.mmap(descriptor, 2 * HEADER_BYTES, access=mmap.ACCESS_READ)
                _mapped[place] = (descriptor, index)
            index = _mapped[place][1]
        except (OSError, ValueError):  # ValueError: it is shorter by now
            return None
        return index if index[:4] == _FORMAT else None


def _let_go() -> None:
    """Close what was unlinked; a mapping that is still watched ends with its watch."""
    for place, (descriptor, _) in tuple(_mapped.items()):
        if not os.fstat(descriptor).st_nlink:
            del _mapped[place]
            os.close(descriptor)
