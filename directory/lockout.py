"""Wrong passwords, counted for the whole node in a database file of their own.

Whether an account is locked is asked at each logon, of the database as it is then: fresh for every
worker, without dropping anyone's decoded accounts (see `store_schema.py`). What was read stays
known until the next commit to this database (`store_commits.py`).

A client that hears nothing sends the same packet again, perhaps by TCP, perhaps to another worker.
So the packets counted last are kept with the counter, in the transaction that counts: a wrong
password counts once, however often its packet comes.
"""

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from directory.backend import DirectoryError
from directory.model import NOBODY, LockoutPolicy
from directory.store_commits import CommitWatch
from directory.store_schema import connect, from_micros, to_micros, unavailable

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)  # locked until an administrator unlocks
_WAIT_MS = 1000  # workers count inline: better 29 than a worker that stands still
_SCHEMA = """
CREATE TABLE IF NOT EXISTS lockout (
    account_id INTEGER PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_failure INTEGER NOT NULL,
    locked_until INTEGER,
    packets BLOB NOT NULL DEFAULT x''
)
"""
_PACKETS_COLUMN = "ALTER TABLE lockout ADD COLUMN packets BLOB NOT NULL DEFAULT x''"

MAX_KNOWN = 4096  # accounts whose lock, or lack of any row, is known; a full memory starts anew
_PACKET_BYTES = 12  # of the packet's digest: two packets of one account never share them by chance
_MAX_PACKETS = 16  # with a larger threshold, a packet resent after 16 others counts again


class LockoutBook:
    """The counters of wrong passwords; one connection, opened at the first use."""

    __slots__ = ("_commits", "_connection", "_known", "_mark", "_unfailed", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._commits = CommitWatch()
        self._mark = b""
        """Of the database when all that is in `_known` was read."""
        self._known: dict[int, tuple[int | None] | None] = {}
        """Account -> its row of `locked_until`, None when it has none."""
        self._unfailed: int | None = None
        """The account of the last `locked_until`, when nothing was on record for it."""

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        # Without an open connection the log may be made anew, and its first header is always the
        # same: a mark from before says nothing then.
        self._known.clear()
        self._mark = b""
        self._unfailed = None
        if self._connection is not None:
            self._commits.detach()
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Only a file that is new: closing one that another connection of this process has
            # open would take that one's locks away (`store_commits.py`, rule 4). Whatever else is
            # wrong, the connection below says.
            with contextlib.suppress(OSError):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(self.path, flags, 0o600))
            connection = connect(self.path, write=True)
            try:
                connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
                connection.execute("PRAGMA journal_mode = WAL")
                # NORMAL: a killed process loses nothing, a power cut may lose the last counts.
                # An fsync per wrong password would let anyone stop a worker by guessing.
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(_SCHEMA)
                _add_packets(connection)
                self._commits.attach(connection)
            except sqlite3.Error as error:
                connection.close()
                raise unavailable(error) from error
            self._connection = connection
        return self._connection

    def _failed(self, error: sqlite3.Error) -> DirectoryError:
        connection = self._connection
        if connection is not None and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            # Reading goes on: a new connection would find no room for its -shm, and then one wrong
            # password would stop everybody's logons, those by key as well.
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        else:
            self.close()
        return unavailable(error)

    def locked_until(self, account_id: int) -> datetime | None:
        """Return until when an account was locked last; None when it never was."""
        row = self._lock_row(account_id)
        self._unfailed = account_id if row is None else None
        return from_micros(row[0]) if row is not None else None

    def _lock_row(self, account_id: int) -> tuple[int | None] | None:
        mark = self._commits.mark()
        if not mark or mark != self._mark or len(self._known) >= MAX_KNOWN:
            self._known.clear()
            self._mark = mark
        elif account_id in self._known:
            return self._known[account_id]
        try:
            row: tuple[int | None] | None = (
                self._open()
                .execute("SELECT locked_until FROM lockout WHERE account_id = ?", (account_id,))
                .fetchone()
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if mark:
            self._known[account_id] = row
        return row

    def failures(self, account_id: int) -> int:
        """Return how many wrong passwords in a row are on record."""
        try:
            row = (
                self._open()
                .execute("SELECT failures FROM lockout WHERE account_id = ?", (account_id,))
                .fetchone()
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return int(row[0]) if row is not None else 0

    def record_failure(
        self, account_id: int, now: datetime, policy: LockoutPolicy, packet: bytes = b""
    ) -> datetime | None:
        """Count one wrong password, once, whichever process sees it; return the lock's end.

        While an account is locked nothing is counted and the lock is not extended. A lock that
        has ended, or a pause longer than the window, starts the count again. NOBODY is counted at
        the same cost, and never locked.
        packet: SHA-256 of the whole request; the same one again is not counted. Empty: unknown.
        """
        if policy.threshold <= 0:
            return None
        self._unfailed = None
        connection = self._begin()
        try:
            row = connection.execute(
                "SELECT failures, last_failure, locked_until, packets FROM lockout"
                " WHERE account_id = ?",
                (account_id,),
            ).fetchone()
            failures, last, until, packets = 1, to_micros(now), None, b""
            if row is not None:
                until = from_micros(row[2])
                before = from_micros(row[1])
                packets = bytes(row[3])
                if until is not None and now < until:
                    connection.execute("ROLLBACK")
                    return until
                if _holds(packets, packet):
                    connection.execute("ROLLBACK")
                    return None
                if until is None and before is not None and now - before <= policy.window:
                    failures = int(row[0]) + 1
                until = None
            if failures >= policy.threshold and account_id != NOBODY:
                until = now + policy.duration if policy.duration else FOREVER
            connection.execute(
                "INSERT OR REPLACE INTO lockout"
                " (account_id, failures, last_failure, locked_until, packets)"
                " VALUES (?, ?, ?, ?, ?)",
                (account_id, failures, last, to_micros(until), _with(packets, packet)),
            )
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return until

    def record_success(self, account_id: int, now: datetime) -> None:
        """Forget the wrong passwords of an account that is not locked now.

        Right after a `locked_until` that found nothing on record for it, as in a logon, nothing is
        asked again. What another worker counts between the two stays until the next success.
        """
        unfailed, self._unfailed = self._unfailed, None
        if unfailed == account_id or not self.failures(account_id):
            return
        try:
            self._open().execute(
                "DELETE FROM lockout WHERE account_id = ?"
                " AND (locked_until IS NULL OR locked_until <= ?)",
                (account_id, to_micros(now)),
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def lock(self, account_id: int, until: datetime) -> None:
        """Lock an account, whatever is on record."""
        self._unfailed = None
        try:
            self._open().execute(
                "INSERT OR REPLACE INTO lockout (account_id, failures, last_failure, locked_until)"
                " VALUES (?, 0, 0, ?)",
                (account_id, to_micros(until)),
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def unlock(self, account_id: int) -> bool:
        """Forget everything about an account; return whether there was anything."""
        try:
            done = self._open().execute("DELETE FROM lockout WHERE account_id = ?", (account_id,))
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return done.rowcount > 0

    def _begin(self) -> sqlite3.Connection:
        try:
            connection = self._open()
            # A transaction left open by an exception in between is ended first.
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return connection


def _add_packets(connection: sqlite3.Connection) -> None:
    """Give the table of an older version the column of packets; another process may be at it."""
    if _has_packets(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    if not _has_packets(connection):
        connection.execute(_PACKETS_COLUMN)
    connection.execute("COMMIT")


def _has_packets(connection: sqlite3.Connection) -> bool:
    return any(row[1] == "packets" for row in connection.execute("PRAGMA table_info(lockout)"))


def _holds(packets: bytes, packet: bytes) -> bool:
    start = packet[:_PACKET_BYTES]
    return bool(start) and any(
        packets[at : at + _PACKET_BYTES] == start for at in range(0, len(packets), _PACKET_BYTES)
    )


def _with(packets: bytes, packet: bytes) -> bytes:
    return (packets + packet[:_PACKET_BYTES])[-_MAX_PACKETS * _PACKET_BYTES :]
