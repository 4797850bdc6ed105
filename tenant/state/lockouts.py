"""Wrong passwords and codes, counted by name: guessing gets slower, for unknown names as well.

The table is bounded. When it is full, the name that failed longest ago goes, those of nobody first:
so nobody's names cannot push out a user's count.
"""

import hashlib
import sqlite3
from datetime import datetime, timedelta
from typing import Final

from tenant.state.moments import from_micros, to_micros

THRESHOLD: Final = 10
"""Failures in a row that lock a name, as Entra's smart lockout does."""
FIRST_LOCK: Final = timedelta(seconds=60)
LONGEST_LOCK: Final = timedelta(minutes=15)
"""Each failure after a lock doubles it, up to this."""
FORGET: Final = timedelta(hours=1)
"""A count is forgotten so long after the last failure."""
MAX_NAMES: Final = 4096

SCHEMA: Final = """
CREATE TABLE lockouts (
    name BLOB PRIMARY KEY CHECK (length(name) = 32),
    known INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    locked_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX lockouts_age ON lockouts (known, failed);
"""


def locked_until(connection: sqlite3.Connection, name: str, now: datetime) -> datetime | None:
    """Return until when a name is locked; None when it is not. name: what was typed, any case."""
    row = connection.execute(
        "SELECT locked_until FROM lockouts WHERE name = ?", (_digest(name),)
    ).fetchone()
    if row is None or row[0] <= to_micros(now):
        return None
    return from_micros(row[0])


def record_failure(
    connection: sqlite3.Connection, name: str, now: datetime, *, known: bool
) -> datetime | None:
    """Count one failure; return the end of the lock that it causes."""
    digest = _digest(name)
    connection.execute("DELETE FROM lockouts WHERE failed <= ?", (to_micros(now - FORGET),))
    row = connection.execute("SELECT failures FROM lockouts WHERE name = ?", (digest,)).fetchone()
    failures = 1 if row is None else row[0] + 1
    until = now
    if failures >= THRESHOLD:
        doublings = min(failures - THRESHOLD, 10)  # 2^10 minutes is beyond the longest lock
        until = now + min(FIRST_LOCK * 2**doublings, LONGEST_LOCK)
    connection.execute(
        "INSERT OR REPLACE INTO lockouts VALUES (?, ?, ?, ?, ?)",
        (digest, int(known), failures, to_micros(now), to_micros(until)),
    )
    connection.execute(
        "DELETE FROM lockouts WHERE name IN (SELECT name FROM lockouts"
        " ORDER BY known DESC, failed DESC LIMIT -1 OFFSET ?)",
        (MAX_NAMES,),
    )
    return until if until > now else None


def clear(connection: sqlite3.Connection, name: str) -> None:
    """Forget the failures of a name: it signed in, or an administrator unlocks it."""
    connection.execute("DELETE FROM lockouts WHERE name = ?", (_digest(name),))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.casefold().encode("utf-8", "replace")).digest()
