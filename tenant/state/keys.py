"""The table of Hello keys: which user registered which key on which device.

Rules
  1. A key is one user's, on one device: its numbers occur once in the table, however they are
     written.
  2. `key_id` is the SHA-256 of the key material: the `kid` of the assertions that the key signs and
     the KeyID in the directory. `kid` is the number the server gives the registration. They have
     nothing to do with each other.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

from directory.keymaterial import decode_key_material
from pki.keys import PublicKey
from tenant.state.moments import from_micros, to_micros

MAX_KEYS_OF_A_USER: Final = 64
"""Each is a value of the user's msDS-KeyCredentialLink after the sync."""

SCHEMA: Final = """
CREATE TABLE registered_keys (
    kid BLOB PRIMARY KEY,
    user BLOB NOT NULL REFERENCES users ON DELETE CASCADE,
    device_id BLOB NOT NULL REFERENCES devices ON DELETE CASCADE,
    material BLOB NOT NULL,
    key_id BLOB NOT NULL UNIQUE,
    key_digest BLOB NOT NULL UNIQUE,
    attested INTEGER NOT NULL,
    attestation TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX registered_keys_by_user ON registered_keys (user);
CREATE INDEX registered_keys_by_device ON registered_keys (device_id);
"""

_SELECT: Final = (
    "SELECT kid, user, device_id, material, attested, attestation, created FROM registered_keys"
)

_Row = tuple[bytes, bytes, bytes, bytes, int, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredKey:
    """A user's Hello key on a device."""

    kid: UUID
    user: UUID
    """object_id of the user."""
    device_id: UUID
    material: bytes
    """BCRYPT_RSAKEY_BLOB as it arrived: the client's `kid` is a digest of these octets."""
    attested: bool = False
    attestation: str = ""
    """Of an attestation that came: whose it is, or why it was not believed."""
    created: datetime

    @property
    def key_id(self) -> bytes:
        """SHA-256 of the material."""
        return sha256(self.material).digest()

    def public_key(self) -> PublicKey:
        """Return the key as numbers. It was judged when it was registered."""
        return decode_key_material(self.material)[1]


def _key(row: _Row) -> RegisteredKey:
    kid, user, device_id, material, attested, attestation, created = row
    return RegisteredKey(
        kid=UUID(bytes=kid),
        user=UUID(bytes=user),
        device_id=UUID(bytes=device_id),
        material=material,
        attested=bool(attested),
        attestation=attestation,
        created=from_micros(created),
    )


def _one(connection: sqlite3.Connection, where: str, value: bytes) -> RegisteredKey | None:
    row = connection.execute(f"{_SELECT} WHERE {where}", (value,)).fetchone()
    return None if row is None else _key(row)


# -- reading ---------------------------------------------------------------------------------


def key_by_kid(connection: sqlite3.Connection, kid: UUID) -> RegisteredKey | None:
    """Find a key by the number of its registration."""
    return _one(connection, "kid = ?", kid.bytes)


def key_by_key_id(connection: sqlite3.Connection, key_id: bytes) -> RegisteredKey | None:
    """Find a key by the SHA-256 of its material."""
    return _one(connection, "key_id = ?", key_id)


def key_by_numbers(connection: sqlite3.Connection, key: PublicKey) -> RegisteredKey | None:
    """Find the registration of a public key."""
    return _one(connection, "key_digest = ?", key.digest)


def keys_of_user(connection: sqlite3.Connection, user: UUID) -> tuple[RegisteredKey, ...]:
    """List a user's keys, the oldest first."""
    rows = connection.execute(f"{_SELECT} WHERE user = ? ORDER BY created, kid", (user.bytes,))
    return tuple(_key(row) for row in rows)


def all_keys(connection: sqlite3.Connection) -> tuple[RegisteredKey, ...]:
    """List all keys in order of their users."""
    return tuple(_key(row) for row in connection.execute(f"{_SELECT} ORDER BY user, created, kid"))


# -- writing, within a transaction of the caller's -------------------------------------------


def insert_key(connection: sqlite3.Connection, key: RegisteredKey) -> None:
    """Insert a key. Raises sqlite3.IntegrityError: its numbers are registered already."""
    connection.execute(
        "INSERT INTO registered_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key.kid.bytes,
            key.user.bytes,
            key.device_id.bytes,
            key.material,
            key.key_id,
            key.public_key().digest,
            key.attested,
            key.attestation,
            to_micros(key.created),
        ),
    )


def delete_key(connection: sqlite3.Connection, kid: UUID) -> bool:
    """Delete a key; tell whether there was one."""
    sql = "DELETE FROM registered_keys WHERE kid = ?"
    return connection.execute(sql, (kid.bytes,)).rowcount > 0
