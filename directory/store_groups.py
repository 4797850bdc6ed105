"""Groups of the local store: who is in them, directly or through other groups.

Rules
  1. The primary group is a field of the account, not a row here, as in Active Directory. All else
     about membership is two tables: accounts in groups, groups in groups.
  2. Nesting is followed level by level and each group counts once, so a cycle ends like any other
     path. MAX_GROUPS and MAX_NESTING bound count and depth.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, cast
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.model import (
    DOMAIN_ADMINS_RID,
    DOMAIN_COMPUTERS_RID,
    DOMAIN_CONTROLLERS_RID,
    DOMAIN_USERS_RID,
    PROTECTED_USERS_RID,
    Group,
    Sid,
    match_key,
)
from directory.store_names import check_group_name

MAX_GROUPS = 1015  # of one account: Windows makes no logon token with more SIDs than 1,024
MAX_NESTING = 64
MAX_KEPT_GROUPS = 64 * 1024  # some 30 MiB in a realm that has as many
FIRST_OWN_RID = 1000  # lower ones are well-known and stay (MS-DTYP 2.4.2.4)

WELL_KNOWN_GROUPS = (
    (DOMAIN_ADMINS_RID, "Domain Admins"),
    (DOMAIN_USERS_RID, "Domain Users"),
    (DOMAIN_COMPUTERS_RID, "Domain Computers"),
    (DOMAIN_CONTROLLERS_RID, "Domain Controllers"),
    (PROTECTED_USERS_RID, "Protected Users"),
)

GROUP_TABLES = """
CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    sid BLOB NOT NULL UNIQUE,
    dn TEXT,
    dn_key TEXT,
    guid BLOB
);
CREATE INDEX groups_by_dn ON groups (dn_key) WHERE dn_key IS NOT NULL;
CREATE UNIQUE INDEX groups_by_guid ON groups (guid) WHERE guid IS NOT NULL;
CREATE TABLE account_members (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (account_id, group_id)
) WITHOUT ROWID;
CREATE INDEX accounts_of_group ON account_members (group_id);
CREATE TABLE group_members (
    member_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (member_id, group_id)
) WITHOUT ROWID;
CREATE INDEX groups_of_group ON group_members (group_id);
"""

_MEMBERS = """
SELECT a.name FROM account_members m JOIN accounts a ON a.id = m.account_id
WHERE m.group_id = ?1
UNION ALL
SELECT g.name FROM group_members m JOIN groups g ON g.id = m.member_id WHERE m.group_id = ?1
ORDER BY 1 LIMIT ?2
"""

_GROUP = "SELECT id, name, sid, dn, guid FROM groups"

_Row = tuple[object, ...]
Query = Callable[..., Sequence[_Row]]
"""(sql, *values) -> rows; raises DirectoryError(UNAVAILABLE)."""


def _fail(kind: DirectoryFault, detail: str) -> NoReturn:
    raise DirectoryError(kind, detail)


# -- reading ---------------------------------------------------------------------------------


class GroupGraph:
    """Which group is in which, read as needed and kept for all accounts until `forget`.

    Owner: the store's reader. Bound: MAX_KEPT_GROUPS. One query for an account whose groups are
    known costs 3 us; SQLite's recursive query costs 130.
    """

    __slots__ = ("_by_sid", "_groups", "_query")

    def __init__(self, query: Query) -> None:
        self._query = query
        self._groups: dict[int, tuple[Sid, tuple[int, ...]]] = {}
        self._by_sid: dict[Sid, int | None] = {}

    def forget(self) -> None:
        """Drop everything that was read."""
        self._groups.clear()
        self._by_sid.clear()

    def flatten(self, account_id: int, primary: Sid) -> tuple[Sid, ...]:
        """List an account's groups: the primary one, then the others, nearest first.

        Raises DirectoryError(CORRUPT) past MAX_GROUPS or MAX_NESTING: leaving some out could leave
        out one that denies.
        """
        first = self._number_of(primary)
        rows = self._query("SELECT group_id FROM account_members WHERE account_id = ?", account_id)
        level = [cast(int, row[0]) for row in rows]
        if first is not None:
            level.append(first)
        seen = set(level)
        found = [primary]
        for _ in range(MAX_NESTING):
            above: list[int] = []
            for number in level:
                sid, parents = self._group(number)
                if number != first and sid is not None:
                    found.append(sid)
                above += [parent for parent in parents if parent not in seen]
                seen.update(parents)
            if len(found) > MAX_GROUPS:
                _fail(DirectoryFault.CORRUPT, f"an account is in more than {MAX_GROUPS} groups")
            if not above:
                return tuple(found)
            level = list(dict.fromkeys(above))
        _fail(DirectoryFault.CORRUPT, f"groups are nested more than {MAX_NESTING} deep")

    def _number_of(self, sid: Sid) -> int | None:
        """Find a group by its SID; a realm that follows a directory may not have it."""
        try:
            return self._by_sid[sid]
        except KeyError:
            rows = self._query("SELECT id FROM groups WHERE sid = ?", sid.to_bytes())
            number = self._by_sid[sid] = cast(int, rows[0][0]) if rows else None
            return number

    def _group(self, number: int) -> tuple[Sid | None, tuple[int, ...]]:
        """Return a group's SID and the groups that it is a direct member of.

        None for one that was deleted since the query before.
        """
        known = self._groups.get(number)
        if known is None:
            if len(self._groups) >= MAX_KEPT_GROUPS:
                self._groups.clear()
            named = self._query("SELECT sid FROM groups WHERE id = ?", number)
            if not named:
                return None, ()
            rows = self._query("SELECT group_id FROM group_members WHERE member_id = ?", number)
            parents = tuple(cast(int, row[0]) for row in rows)
            known = self._groups[number] = (Sid.from_bytes(cast(bytes, named[0][0])), parents)
        return known


def read_group(query: Query, name: str) -> Group | None:
    """Find a group by its name."""
    rows = query(f"{_GROUP} WHERE name_key = ?", match_key(name))
    return _group(rows[0]) if rows else None


def is_storable(text: str) -> bool:
    """Tell whether a store can hold a text: octets that were no UTF-8 are lone surrogates."""
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def read_group_by_dn(query: Query, dn: str) -> Group | None:
    """Find a group by the DN that a directory gave it. Raises DirectoryError(CORRUPT) on two."""
    if not is_storable(dn):
        return None
    rows = query(f"{_GROUP} WHERE dn_key = ? LIMIT 2", match_key(dn))
    if len(rows) > 1:
        _fail(DirectoryFault.CORRUPT, "two groups have one DN")
    return _group(rows[0]) if rows else None


def read_groups(query: Query, after: str, limit: int) -> tuple[Group, ...]:
    """List groups in order of their names, after `after`."""
    rows = query(
        f"{_GROUP} WHERE name_key > ? ORDER BY name_key LIMIT ?",
        match_key(after),
        limit,
    )
    return tuple(_group(row) for row in rows)


def read_members(query: Query, group_id: int, limit: int) -> tuple[str, ...]:
    """List the names of a group's direct members, accounts and groups."""
    return tuple(cast(str, row[0]) for row in query(_MEMBERS, group_id, limit))


def count_members(query: Query, group_id: int) -> int:
    """Count a group's direct members."""
    rows = query(
        "SELECT (SELECT count(*) FROM account_members WHERE group_id = ?1)"
        " + (SELECT count(*) FROM group_members WHERE group_id = ?1)",
        group_id,
    )
    return cast(int, rows[0][0])


def _group(row: _Row) -> Group:
    group_id, name, sid, dn, guid = cast("tuple[int, str, bytes, str | None, bytes | None]", row)
    return Group(
        group_id=group_id,
        name=name,
        sid=Sid.from_bytes(sid),
        dn=dn,
        guid=UUID(bytes=guid) if guid else None,
    )


# -- writing, inside a transaction that someone else opened ----------------------------------


def insert_group(
    connection: sqlite3.Connection,
    name: str,
    sid: Sid,
    dn: str | None = None,
    guid: UUID | None = None,
) -> int:
    """Insert a group; return its number. Raises DirectoryError: EXISTS, INVALID."""
    key = _free_name(connection, name)
    with _unique():
        done = connection.execute(
            "INSERT INTO groups (name, name_key, sid, dn, dn_key, guid) VALUES (?, ?, ?, ?, ?, ?)",
            (name, key, sid.to_bytes(), dn, dn and match_key(dn), guid.bytes if guid else None),
        )
    if done.lastrowid is None:
        _fail(DirectoryFault.UNAVAILABLE, "store gave no number")
    return done.lastrowid


def _free_name(connection: sqlite3.Connection, name: str) -> str:
    """Check that a group may have a name and no account has it; return its key."""
    check_group_name(name)
    key = match_key(name)
    if connection.execute("SELECT 1 FROM accounts WHERE name_key = ?", (key,)).fetchone():
        _fail(DirectoryFault.EXISTS, "name in use by an account")
    return key


@contextmanager
def _unique() -> Iterator[None]:
    """Turn a broken UNIQUE rule of the table into EXISTS."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise DirectoryError(DirectoryFault.EXISTS, "group name, SID or GUID in use") from error


def insert_well_known_groups(connection: sqlite3.Connection, domain: Sid) -> None:
    """Insert the groups that every domain has, those that are missing."""
    connection.executemany(
        "INSERT OR IGNORE INTO groups (name, name_key, sid) VALUES (?, ?, ?)",
        [
            (name, match_key(name), domain.with_rid(rid).to_bytes())
            for rid, name in WELL_KNOWN_GROUPS
        ],
    )


def delete_group_row(connection: sqlite3.Connection, group_id: int, domain: Sid) -> None:
    """Delete a group with its memberships. Raises DirectoryError: NOT_FOUND, DENIED."""
    row = connection.execute("SELECT sid FROM groups WHERE id = ?", (group_id,)).fetchone()
    if row is None:
        _fail(DirectoryFault.NOT_FOUND, "no such group")
    sid = Sid.from_bytes(row[0])
    if sid.rid < FIRST_OWN_RID and sid.domain == domain:
        _fail(DirectoryFault.DENIED, "a well-known group stays")
    connection.execute("DELETE FROM groups WHERE id = ?", (group_id,))


def insert_member(
    connection: sqlite3.Connection, group_id: int, account_id: int | None, member_id: int | None
) -> None:
    """Put an account or a group into a group. Raises DirectoryError: EXISTS, NOT_FOUND, INVALID."""
    if member_id == group_id:
        _fail(DirectoryFault.INVALID, "a group is not a member of itself")
    for table, number in (("groups", group_id), ("accounts", account_id), ("groups", member_id)):
        if number is not None:
            sql = f"SELECT 1 FROM {table} WHERE id = ?"  # noqa: S608  # names of ours
            if connection.execute(sql, (number,)).fetchone() is None:
                _fail(DirectoryFault.NOT_FOUND, "no such group or account")
    try:
        if member_id is not None:
            connection.execute("INSERT INTO group_members VALUES (?, ?)", (member_id, group_id))
        else:
            connection.execute("INSERT INTO account_members VALUES (?, ?)", (account_id, group_id))
    except sqlite3.IntegrityError as error:
        raise DirectoryError(DirectoryFault.EXISTS, "it is a member already") from error


def delete_member(
    connection: sqlite3.Connection, group_id: int, account_id: int | None, member_id: int | None
) -> None:
    """Take an account or a group out of a group. Raises DirectoryError(NOT_FOUND)."""
    if member_id is not None:
        sql, values = "group_members WHERE member_id = ?", (member_id, group_id)
    else:
        sql, values = "account_members WHERE account_id = ?", (account_id or 0, group_id)
    done = connection.execute(f"DELETE FROM {sql} AND group_id = ?", values)  # noqa: S608
    if not done.rowcount:
        _fail(DirectoryFault.NOT_FOUND, "it is no direct member of this group")
