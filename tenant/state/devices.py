"""The table of devices: joined, registered, or made by the sync and waiting for their hybrid join.

Rules
  1. A device has one certificate at a time, and only that one speaks for it: an earlier one is
     forgotten the moment a new one is issued.
  2. No two devices have one key.
  3. What a device is attested to be is what the tenant verified, not what the client said.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from hashlib import sha1
from typing import Final, cast
from uuid import UUID

from pki.keys import PublicKey, public_key_from_spki
from tenant.state.moments import from_micros, to_micros

MAX_TEXT_CHARS: Final = 256
"""Of a display name, an operating system and its version."""


class JoinType(IntEnum):
    """How a device came here; the numbers are the wire's (aad-join-spec 2.1.1.1.1)."""

    JOINED = 0
    REGISTERED = 4
    HYBRID = 6


SCHEMA: Final = """
CREATE TABLE devices (
    device_id BLOB PRIMARY KEY,
    object_id BLOB NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    join_type INTEGER NOT NULL,
    os_type TEXT NOT NULL,
    os_version TEXT NOT NULL,
    owner BLOB REFERENCES users ON DELETE SET NULL,
    shared INTEGER NOT NULL,
    certificate BLOB,
    thumbprint TEXT UNIQUE,
    device_key BLOB,
    key_digest BLOB UNIQUE,
    transport_key BLOB,
    onprem_guid BLOB UNIQUE,
    sid TEXT,
    user_certificate BLOB,
    proof_time INTEGER,
    enabled INTEGER NOT NULL,
    attested INTEGER NOT NULL,
    attestation TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_by_owner ON devices (owner);
"""

_SELECT: Final = (
    "SELECT device_id, object_id, display_name, join_type, os_type, os_version, owner, shared,"
    " certificate, device_key, transport_key, onprem_guid, sid, user_certificate, proof_time,"
    " enabled, attested, attestation, created FROM devices"
)

_Row = tuple[
    bytes,
    bytes,
    str,
    int,
    str,
    str,
    bytes | None,
    int,
    bytes | None,
    bytes | None,
    bytes | None,
    bytes | None,
    str | None,
    bytes | None,
    int | None,
    int,
    int,
    str,
    int,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """A device object. Times are aware and in UTC."""

    device_id: UUID
    """What the certificate and the tokens name; of a synced computer its objectGUID."""
    object_id: UUID
    display_name: str
    join_type: JoinType
    os_type: str = ""
    os_version: str = ""
    owner: UUID | None = None
    """object_id of the user who joined or registered it; None in a hybrid join."""
    shared: bool = False
    """Whether other users of the tenant may register keys on it."""
    certificate: bytes | None = None
    """DER of the one certificate that speaks for it; None until a computer has joined."""
    device_key: bytes | None = None
    """SubjectPublicKeyInfo of the key that its requests are signed with."""
    transport_key: bytes | None = None
    """SubjectPublicKeyInfo of the key that session keys are encrypted to."""
    onprem_guid: UUID | None = None
    """objectGUID of the computer; None: the sync did not make it."""
    sid: str | None = None
    """SID of the computer."""
    user_certificate: bytes | None = None
    """DER of the computer's self-signed certificate, as the sync found it."""
    proof_time: datetime | None = None
    """The time in the last proof of a hybrid join: none may be used twice."""
    enabled: bool = True
    attested: bool = False
    attestation: str = ""
    """Of an attestation that came: whose it is, or why it was not believed."""
    created: datetime

    @property
    def thumbprint(self) -> str | None:
        """SHA-1 of the certificate in hexadecimal, as Windows shows it. It decides nothing."""
        return None if self.certificate is None else thumbprint(self.certificate)

    def public_key(self) -> PublicKey | None:
        """Return the device key; None until a computer has joined."""
        return None if self.device_key is None else public_key_from_spki(self.device_key)


def thumbprint(certificate: bytes) -> str:
    """Return the SHA-1 of a certificate's DER in capitals (MS-DVRJ 3.1.5.1.1.2)."""
    return sha1(certificate, usedforsecurity=False).hexdigest().upper()


def _guid(value: bytes | None) -> UUID | None:
    return None if value is None else UUID(bytes=value)


def _row(device: DeviceRecord) -> tuple[object, ...]:
    key = device.public_key()
    return (
        device.device_id.bytes,
        device.object_id.bytes,
        device.display_name,
        int(device.join_type),
        device.os_type,
        device.os_version,
        device.owner.bytes if device.owner else None,
        device.shared,
        device.certificate,
        device.thumbprint,
        device.device_key,
        key.digest if key else None,
        device.transport_key,
        device.onprem_guid.bytes if device.onprem_guid else None,
        device.sid,
        device.user_certificate,
        None if device.proof_time is None else to_micros(device.proof_time),
        device.enabled,
        device.attested,
        device.attestation,
        to_micros(device.created),
    )


def _device(row: _Row) -> DeviceRecord:
    (
        device_id,
        object_id,
        display_name,
        join_type,
        os_type,
        os_version,
        owner,
        shared,
        certificate,
        device_key,
        transport_key,
        onprem_guid,
        sid,
        user_certificate,
        proof_time,
        enabled,
        attested,
        attestation,
        created,
    ) = row
    return DeviceRecord(
        device_id=UUID(bytes=device_id),
        object_id=UUID(bytes=object_id),
        display_name=display_name,
        join_type=JoinType(join_type),
        os_type=os_type,
        os_version=os_version,
        owner=_guid(owner),
        shared=bool(shared),
        certificate=certificate,
        device_key=device_key,
        transport_key=transport_key,
        onprem_guid=_guid(onprem_guid),
        sid=sid,
        user_certificate=user_certificate,
        proof_time=None if proof_time is None else from_micros(proof_time),
        enabled=bool(enabled),
        attested=bool(attested),
        attestation=attestation,
        created=from_micros(created),
    )


def _one(connection: sqlite3.Connection, where: str, value: object) -> DeviceRecord | None:
    row = connection.execute(f"{_SELECT} WHERE {where}", (value,)).fetchone()
    return None if row is None else _device(cast(_Row, row))


# -- reading ---------------------------------------------------------------------------------


def device_by_id(connection: sqlite3.Connection, device_id: UUID) -> DeviceRecord | None:
    """Find a device by its id."""
    return _one(connection, "device_id = ?", device_id.bytes)


def device_by_certificate(
    connection: sqlite3.Connection, certificate: bytes
) -> DeviceRecord | None:
    """Find the device that a certificate (DER) speaks for now.

    The whole certificate is compared, so that a collision of its thumbprint is nobody's device.
    """
    found = _one(connection, "thumbprint = ?", thumbprint(certificate))
    return found if found is not None and found.certificate == certificate else None


def device_by_key(connection: sqlite3.Connection, key: PublicKey) -> DeviceRecord | None:
    """Find the device whose key this is."""
    return _one(connection, "key_digest = ?", key.digest)


def count_devices_of(connection: sqlite3.Connection, owner: UUID) -> int:
    """Count the devices that a user joined or registered."""
    sql = "SELECT count(*) FROM devices WHERE owner = ?"
    (count,) = connection.execute(sql, (owner.bytes,)).fetchone()
    return cast("int", count)


def all_devices(
    connection: sqlite3.Connection, *, after: UUID | None = None, limit: int = -1
) -> tuple[DeviceRecord, ...]:
    """List devices in order of their ids, after one; limit -1: all of them."""
    first = after.bytes if after else b""
    rows = connection.execute(
        f"{_SELECT} WHERE device_id > ? ORDER BY device_id LIMIT ?", (first, limit)
    )
    return tuple(_device(row) for row in rows)


def devices_named(connection: sqlite3.Connection, name: str) -> tuple[DeviceRecord, ...]:
    """List the devices with this display name; letters' case makes no difference in ASCII."""
    rows = connection.execute(
        f"{_SELECT} WHERE display_name = ? COLLATE NOCASE ORDER BY device_id", (name,)
    )
    return tuple(_device(row) for row in rows)


# -- writing, within a transaction of the caller's -------------------------------------------


def insert_device(connection: sqlite3.Connection, device: DeviceRecord) -> None:
    """Insert a device. Raises sqlite3.IntegrityError: its id, key or objectGUID is in use."""
    connection.execute(
        "INSERT INTO devices VALUES"
        " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        _row(device),
    )


def update_device(connection: sqlite3.Connection, device: DeviceRecord) -> None:
    """Write a device in the place of what its id had. Raises sqlite3.IntegrityError as above."""
    # An UPDATE, not a new row: what refers to the device stays.
    connection.execute(
        "UPDATE devices SET object_id = ?, display_name = ?, join_type = ?, os_type = ?,"
        " os_version = ?, owner = ?, shared = ?, certificate = ?, thumbprint = ?, device_key = ?,"
        " key_digest = ?, transport_key = ?, onprem_guid = ?, sid = ?, user_certificate = ?,"
        " proof_time = ?, enabled = ?, attested = ?, attestation = ?, created = ?"
        " WHERE device_id = ?",
        (*_row(device)[1:], device.device_id.bytes),
    )


def delete_device(connection: sqlite3.Connection, device_id: UUID) -> bool:
    """Delete a device and all that refers to it, such as its keys; tell whether there was one."""
    sql = "DELETE FROM devices WHERE device_id = ?"
    return connection.execute(sql, (device_id.bytes,)).rowcount > 0
