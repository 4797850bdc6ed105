"""The sync job's journal: what it wrote into the directory, or set out to, by value.

Rules
  1. A row is there before the directory is written to, and on disk: whatever kills the job in
     between, the next run knows what may be its own.
  2. What has no row is somebody else's.
  3. Rows are of one directory, the SID of whose domain is kept beside them.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, cast
from uuid import UUID

SCHEMA: Final = """
CREATE TABLE sync_keys (
    account BLOB NOT NULL,
    kid BLOB NOT NULL,
    blob BLOB NOT NULL,
    done INTEGER NOT NULL,
    PRIMARY KEY (account, kid)
) WITHOUT ROWID;
CREATE TABLE sync_devices (
    device_id BLOB PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE sync_disabled (
    computer BLOB PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE sync_directory (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    domain TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenKey:
    """A value of msDS-KeyCredentialLink that is ours, or was about to be written."""

    account: UUID
    """objectGUID of the account that has it."""
    kid: UUID
    """The registration's number in the tenant."""
    blob: bytes = field(repr=False)
    """KEYCREDENTIALLINK_BLOB: the value without the DN, which follows its owner's name."""
    done: bool
    """Whether the directory said that it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What the sync job wrote into the directory, or set out to."""

    directory: str | None = None
    """SID of the domain; None: there was no run yet."""
    keys: tuple[WrittenKey, ...] = ()
    devices: frozenset[UUID] = frozenset()
    """DeviceIds of the device objects that are ours."""
    disabled: frozenset[UUID] = frozenset()
    """objectGUIDs of computers whose devices the sync job disabled in the tenant."""


def read_journal(connection: sqlite3.Connection) -> Journal:
    """Read everything."""
    rows = connection.execute("SELECT account, kid, blob, done FROM sync_keys").fetchall()
    domain = connection.execute("SELECT domain FROM sync_directory").fetchone()
    return Journal(
        directory=None if domain is None else cast(str, domain[0]),
        keys=tuple(
            WrittenKey(account=UUID(bytes=account), kid=UUID(bytes=kid), blob=blob, done=bool(done))
            for account, kid, blob, done in cast("list[tuple[bytes, bytes, bytes, int]]", rows)
        ),
        devices=_numbers(connection, "SELECT device_id FROM sync_devices"),
        disabled=_numbers(connection, "SELECT computer FROM sync_disabled"),
    )


def _numbers(connection: sqlite3.Connection, sql: str) -> frozenset[UUID]:
    return frozenset(UUID(bytes=row[0]) for row in connection.execute(sql))


# -- writing, within a transaction of the caller's -------------------------------------------


def set_directory(connection: sqlite3.Connection, domain: str) -> None:
    """Remember which directory the rows are of."""
    connection.execute("INSERT OR REPLACE INTO sync_directory VALUES (1, ?)", (domain,))


def intend_keys(connection: sqlite3.Connection, keys: Iterable[WrittenKey]) -> None:
    """Add rows of values that will be written; those that are there stay as they are."""
    connection.executemany(
        "INSERT OR IGNORE INTO sync_keys VALUES (?, ?, ?, 0)",
        [(key.account.bytes, key.kid.bytes, key.blob) for key in keys],
    )


def mark_keys(connection: sqlite3.Connection, places: Iterable[tuple[UUID, UUID]]) -> None:
    """Mark rows, by account and kid, as written."""
    connection.executemany(
        "UPDATE sync_keys SET done = 1 WHERE account = ? AND kid = ?",
        [(account.bytes, kid.bytes) for account, kid in places],
    )


def forget_keys(connection: sqlite3.Connection, places: Iterable[tuple[UUID, UUID]]) -> None:
    """Remove rows, by account and kid: their values are not in the directory."""
    connection.executemany(
        "DELETE FROM sync_keys WHERE account = ? AND kid = ?",
        [(account.bytes, kid.bytes) for account, kid in places],
    )


def intend_devices(connection: sqlite3.Connection, device_ids: Iterable[UUID]) -> None:
    """Add rows of device objects that will be written."""
    connection.executemany(
        "INSERT OR IGNORE INTO sync_devices VALUES (?)", [(d.bytes,) for d in device_ids]
    )


def forget_devices(connection: sqlite3.Connection, device_ids: Iterable[UUID]) -> None:
    """Remove rows: their objects are not in the directory."""
    connection.executemany(
        "DELETE FROM sync_devices WHERE device_id = ?", [(d.bytes,) for d in device_ids]
    )


def set_disabled(connection: sqlite3.Connection, computers: Iterable[UUID]) -> None:
    """Remember exactly these computers as those whose devices the sync job disabled."""
    connection.execute("DELETE FROM sync_disabled")
    connection.executemany("INSERT INTO sync_disabled VALUES (?)", [(c.bytes,) for c in computers])
