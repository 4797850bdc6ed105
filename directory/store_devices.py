"""The local store: device objects (msDS-Device), which key credentials name by their DeviceId.

Rules
  1. A device is found by msDS-DeviceID. A directory does not keep that number unique: when several
     objects have it, the device is enabled only if all of them are.
  2. A realm without any device object is told once after each commit, and not asked again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, cast
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.model import Device, Sid, match_key
from directory.store_groups import Query
from directory.store_schema import from_micros, to_micros

MAX_KEPT_DEVICES = 4096  # some 2 MiB
MAX_DEVICE_NAME_CHARS = 256

DEVICE_TABLES = """
CREATE TABLE devices (
    guid BLOB PRIMARY KEY,
    device_id BLOB NOT NULL,
    name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    owner BLOB,
    dn TEXT,
    created_at INTEGER
) WITHOUT ROWID;
CREATE INDEX devices_by_id ON devices (device_id);
"""
_DEVICE = "SELECT guid, device_id, name, enabled, owner, dn, created_at FROM devices"

_Row = tuple[bytes, bytes, str, int, bytes | None, str | None, int | None]


def _fail(kind: DirectoryFault, detail: str) -> NoReturn:
    raise DirectoryError(kind, detail)


class Devices:
    """Which devices there are, read as needed and kept until `forget`.

    Owner: the store's reader. Bound: MAX_KEPT_DEVICES.
    """

    __slots__ = ("_any", "_found", "_query")

    def __init__(self, query: Query) -> None:
        self._query = query
        self._any: bool | None = None
        self._found: dict[UUID, Device | None] = {}

    def forget(self) -> None:
        """Drop everything that was read."""
        self._any = None
        self._found.clear()

    def any(self) -> bool:
        """Tell whether there is any device object."""
        if self._any is None:
            self._any = bool(self._query("SELECT 1 FROM devices LIMIT 1"))
        return self._any

    def find(self, device_id: UUID) -> Device | None:
        """Find a device by its number; of several objects with it one that is disabled."""
        if not self.any():
            return None
        try:
            return self._found[device_id]
        except KeyError:
            device = read_device(self._query, device_id)
            if len(self._found) >= MAX_KEPT_DEVICES:
                self._found.clear()
            self._found[device_id] = device
            return device


def read_device(query: Query, device_id: UUID) -> Device | None:
    """Read a device by its number; of several objects with it one that is disabled."""
    rows = query(f"{_DEVICE} WHERE device_id = ? ORDER BY enabled, guid LIMIT 1", device_id.bytes)
    return _device(cast(_Row, rows[0])) if rows else None


def read_devices(query: Query, after: UUID | None, limit: int) -> tuple[Device, ...]:
    """List device objects in order of their GUIDs, after `after`."""
    rows = query(
        f"{_DEVICE} WHERE guid > ? ORDER BY guid LIMIT ?", after.bytes if after else b"", limit
    )
    return tuple(_device(cast(_Row, row)) for row in rows)


def read_devices_named(query: Query, name: str, limit: int) -> tuple[Device, ...]:
    """List device objects with this name, compared as names of accounts are."""
    # SQLite's lower() takes ASCII letters only, as match_key does.
    rows = query(f"{_DEVICE} WHERE lower(name) = ? ORDER BY guid LIMIT ?", match_key(name), limit)
    return tuple(_device(cast(_Row, row)) for row in rows)


def read_device_owners(query: Query) -> dict[Sid, str]:
    """Name the accounts that registered devices. Reads the whole table of accounts, once."""
    rows = query("SELECT sid, name FROM accounts WHERE sid IN (SELECT owner FROM devices)")
    return {Sid.from_bytes(sid): name for sid, name in cast("list[tuple[bytes, str]]", rows)}


def _device(row: _Row) -> Device:
    guid, device_id, name, enabled, owner, dn, created_at = row
    return Device(
        device_id=UUID(bytes=device_id),
        name=name,
        enabled=bool(enabled),
        owner=None if owner is None else Sid.from_bytes(owner),
        dn=dn,
        guid=UUID(bytes=guid),
        created_at=from_micros(created_at),
    )


# -- writing, inside a transaction that someone else opened ----------------------------------


@contextmanager
def _unique() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise DirectoryError(DirectoryFault.EXISTS, "objectGUID of a device in use") from error


def insert_device(connection: sqlite3.Connection, device: Device) -> None:
    """Insert a device of an embedded realm. Raises DirectoryError: EXISTS, INVALID."""
    if not device.device_id.int:
        _fail(DirectoryFault.INVALID, "a DeviceId of zeros names no device")
    _check_name(device.name)
    known = "SELECT 1 FROM devices WHERE device_id = ?"
    if connection.execute(known, (device.device_id.bytes,)).fetchone():
        _fail(DirectoryFault.EXISTS, "a device has this DeviceId")
    with _unique():
        connection.execute("INSERT INTO devices VALUES (?, ?, ?, ?, ?, ?, ?)", _row(device))


def _check_name(name: str) -> None:
    if not name or len(name) > MAX_DEVICE_NAME_CHARS or not name.isprintable():
        _fail(DirectoryFault.INVALID, f"a device's name is 1 to {MAX_DEVICE_NAME_CHARS} characters")


def update_device_row(connection: sqlite3.Connection, device: Device) -> None:
    """Set name, state and owner of a device. Raises DirectoryError: NOT_FOUND, INVALID."""
    _check_name(device.name)
    owner = None if device.owner is None else device.owner.to_bytes()
    done = connection.execute(
        "UPDATE devices SET name = ?, enabled = ?, owner = ? WHERE device_id = ?",
        (device.name, int(device.enabled), owner, device.device_id.bytes),
    )
    if not done.rowcount:
        _fail(DirectoryFault.NOT_FOUND, "no such device")


def put_device(connection: sqlite3.Connection, device: Device) -> None:
    """Write a device as a directory holds it, in the place of what its GUID had before."""
    connection.execute("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?, ?)", _row(device))


def enable_device(connection: sqlite3.Connection, device_id: UUID, *, enabled: bool) -> None:
    """Enable or disable a device. Raises DirectoryError(NOT_FOUND)."""
    done = connection.execute(
        "UPDATE devices SET enabled = ? WHERE device_id = ?", (enabled, device_id.bytes)
    )
    if not done.rowcount:
        _fail(DirectoryFault.NOT_FOUND, "no such device")


def delete_device_rows(connection: sqlite3.Connection, device_id: UUID) -> None:
    """Delete a device. Raises DirectoryError(NOT_FOUND)."""
    done = connection.execute("DELETE FROM devices WHERE device_id = ?", (device_id.bytes,))
    if not done.rowcount:
        _fail(DirectoryFault.NOT_FOUND, "no such device")


def delete_device_object(connection: sqlite3.Connection, guid: UUID) -> None:
    """Delete the device object of this GUID, if there is one."""
    connection.execute("DELETE FROM devices WHERE guid = ?", (guid.bytes,))


def _row(device: Device) -> tuple[object, ...]:
    return (
        device.guid.bytes,
        device.device_id.bytes,
        device.name,
        int(device.enabled),
        None if device.owner is None else device.owner.to_bytes(),
        device.dn,
        to_micros(device.created_at),
    )
