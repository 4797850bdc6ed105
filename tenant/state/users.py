"""The tenant's users: who may sign in, with which password, and what a second factor is for them.

Every function works in the caller's transaction (`Database.write` or `read`).
"""

import sqlite3
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from tenant.state.passwords import PasswordHash

MAX_UPN_CHARS: Final = 256
MAX_NAME_CHARS: Final = 256

SCHEMA: Final = """
CREATE TABLE users (
    object_id BLOB PRIMARY KEY CHECK (length(object_id) = 16),
    upn TEXT NOT NULL,
    upn_key TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    mfa TEXT NOT NULL,
    password BLOB,
    onprem_sid TEXT UNIQUE,
    onprem_sam TEXT,
    onprem_guid BLOB UNIQUE CHECK (length(onprem_guid) = 16)
) STRICT, WITHOUT ROWID;
"""


class MfaMode(StrEnum):
    """What a second factor is for a user: the switch of `tenant user`."""

    NONE = "none"
    """There is none. What demands one is refused."""
    ON_DEMAND = "on-demand"
    """There is one; it is asked for when a client demands it (`amr_values=ngcmfa`)."""
    REQUIRED = "required"
    """There is one, and every sign-in needs it."""
    ASSUMED = "assumed"
    """No factor at all: each sign-in passes as one with MFA. For scripts of a lab, no proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user."""

    object_id: UUID
    """The `oid` of tokens."""
    upn: str
    display_name: str
    enabled: bool = True
    mfa: MfaMode = MfaMode.NONE
    password: PasswordHash | None = field(default=None, repr=False)
    """None: nobody signs in with a password."""
    onprem_sid: str | None = None
    """SID of the account in the lab's domain, once it was synced."""
    onprem_sam: str | None = None
    """sAMAccountName there."""
    onprem_guid: UUID | None = None
    """objectGUID there."""

    @property
    def mfa_registered(self) -> bool:
        """Whether the user has a second factor, or passes as having one."""
        return self.mfa is not MfaMode.NONE


_COLUMNS = (
    "object_id, upn, display_name, enabled, mfa, password, onprem_sid, onprem_sam, onprem_guid"
)


def check_upn(upn: str) -> str:
    """Return a user principal name that can be stored. Raises DirectoryError(INVALID)."""
    name, at, domain = upn.partition("@")
    if not (name and at and domain) or "@" in domain:
        raise DirectoryError(DirectoryFault.INVALID, "a UPN has the form name@domain")
    if len(upn) > MAX_UPN_CHARS or not upn.isprintable() or " " in upn:
        raise DirectoryError(DirectoryFault.INVALID, "a UPN has at most 256 printable characters")
    return upn


def add(connection: sqlite3.Connection, user: User) -> None:
    """Add a user. Raises DirectoryError: INVALID (a name), EXISTS (a name or identity is taken)."""
    _check(user)
    try:
        connection.execute(
            f"INSERT INTO users ({_COLUMNS}, upn_key) VALUES ({', '.join('?' * 10)})",  # noqa: S608  names are constant
            (*_row(user), _key(user.upn)),
        )
    except sqlite3.IntegrityError:
        raise _taken(user) from None


def update(connection: sqlite3.Connection, user: User) -> None:
    """Replace what is stored of this object id.

    Raises DirectoryError: NOT_FOUND, INVALID, EXISTS (the new name belongs to another user).
    """
    _check(user)
    names = [name.strip() for name in _COLUMNS.split(",")][1:]
    try:
        changed = connection.execute(
            f"UPDATE users SET {', '.join(f'{name} = ?' for name in names)}, upn_key = ? "  # noqa: S608  names are constant
            "WHERE object_id = ?",
            (*_row(user)[1:], _key(user.upn), user.object_id.bytes),
        ).rowcount
    except sqlite3.IntegrityError:
        raise _taken(user) from None
    if not changed:
        raise DirectoryError(DirectoryFault.NOT_FOUND, f"there is no user {user.object_id}")


def delete(connection: sqlite3.Connection, object_id: UUID) -> None:
    """Delete a user, and with it all that refers to it. Raises DirectoryError(NOT_FOUND)."""
    if not connection.execute("DELETE FROM users WHERE object_id = ?", (object_id.bytes,)).rowcount:
        raise DirectoryError(DirectoryFault.NOT_FOUND, f"there is no user {object_id}")


def by_upn(connection: sqlite3.Connection, upn: str) -> User | None:
    """Find a user by name, in any case of its letters."""
    return _one(connection, "upn_key = ?", _key(upn))


def by_id(connection: sqlite3.Connection, object_id: UUID) -> User | None:
    """Find a user by object id."""
    return _one(connection, "object_id = ?", object_id.bytes)


def by_onprem_guid(connection: sqlite3.Connection, guid: UUID) -> User | None:
    """Find the user that was synced from this account of the lab's domain."""
    return _one(connection, "onprem_guid = ?", guid.bytes)


def all_users(connection: sqlite3.Connection) -> tuple[User, ...]:
    """Return all users, by name."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM users ORDER BY upn_key")  # noqa: S608  names are constant
    return tuple(_user(row) for row in rows)


def _one(connection: sqlite3.Connection, where: str, value: str | bytes) -> User | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM users WHERE {where}", (value,)).fetchone()  # noqa: S608  constant
    return None if row is None else _user(row)


def _key(upn: str) -> str:
    # A lone surrogate, which no stored name has, cannot be bound to a statement.
    return upn.casefold().encode("utf-8", "replace").decode()


def _check(user: User) -> None:
    check_upn(user.upn)
    if len(user.display_name) > MAX_NAME_CHARS or not user.display_name.isprintable():
        raise DirectoryError(
            DirectoryFault.INVALID, "a display name has at most 256 printable characters"
        )


def _taken(user: User) -> DirectoryError:
    return DirectoryError(
        DirectoryFault.EXISTS, f"{user.upn}: the name or its account is another user's"
    )


def _row(user: User) -> tuple[object, ...]:
    return (
        user.object_id.bytes,
        user.upn,
        user.display_name,
        int(user.enabled),
        user.mfa.value,
        None if user.password is None else user.password.encode(),
        user.onprem_sid,
        user.onprem_sam,
        None if user.onprem_guid is None else user.onprem_guid.bytes,
    )


def _user(row: tuple[object, ...]) -> User:
    object_id, upn, name, enabled, mfa, password, sid, sam, guid = row
    try:
        return User(
            object_id=UUID(bytes=_bytes(object_id)),
            upn=str(upn),
            display_name=str(name),
            enabled=bool(enabled),
            mfa=MfaMode(str(mfa)),
            password=None if password is None else PasswordHash.decode(_bytes(password)),
            onprem_sid=None if sid is None else str(sid),
            onprem_sam=None if sam is None else str(sam),
            onprem_guid=None if guid is None else UUID(bytes=_bytes(guid)),
        )
    except (TypeError, ValueError) as error:
        raise DirectoryError(DirectoryFault.CORRUPT, f"the row of user {upn}") from error


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value
