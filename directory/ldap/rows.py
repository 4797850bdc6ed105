"""Rows of accounts and groups that came from a directory, inside somebody else's transaction."""

import sqlite3
from dataclasses import replace
from typing import NoReturn, cast

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import NewAccount
from directory.keysources import NT_HASH_ETYPE
from directory.ldap.records import AccountEntry, GroupEntry
from directory.model import AccountKind, PrincipalKey, Sid, match_key
from directory.store_groups import insert_group
from directory.store_insert import Inserter, checked_enctypes, checked_hours
from directory.store_names import check_group_name, check_name
from directory.store_schema import AccountFlag, key_aad, nt_hash_aad, to_micros
from directory.store_values import (
    MANY_VALUES,
    RARE_FLAGS,
    SINGLE_VALUES,
    new_values,
    write_values,
)

_FLAGS = (
    (AccountFlag.DISABLED.value, "disabled"),
    (AccountFlag.MUST_CHANGE_PASSWORD.value, "must_change_password"),
    (AccountFlag.SMARTCARD_REQUIRED.value, "smartcard_required"),
    (AccountFlag.PREAUTH_NOT_REQUIRED.value, "preauth_not_required"),
    (AccountFlag.HAS_SPNS.value, "spns"),
    (AccountFlag.HAS_KEY_CREDENTIALS.value, "key_credentials"),
    *((bit, field) for field, bit in RARE_FLAGS.items()),
)
_KEPT = AccountFlag.HAS_KEYS.value
_NO_VALUES: dict[str, tuple[object, ...]] = dict.fromkeys((*SINGLE_VALUES, *MANY_VALUES), ())


def _exists(detail: str) -> NoReturn:
    raise DirectoryError(DirectoryFault.EXISTS, detail)


def own_krbtgt(connection: sqlite3.Connection) -> int | None:
    """Return the number of the realm's own krbtgt account while no entry stands for it."""
    row = connection.execute(
        "SELECT min(id), min(id) FILTER (WHERE guid IS NULL) FROM accounts WHERE kind = ?",
        (AccountKind.KRBTGT.value,),
    ).fetchone()
    # It is the store's first; those of read-only domain controllers come later.
    return cast("int | None", row[0] if row[0] == row[1] else None)


def account_names(account_id: int, connection: sqlite3.Connection, realm: str) -> set[str]:
    """List the names by which an account of the store is found, and its SID."""
    row = connection.execute(
        "SELECT name_key, upn_key, sid FROM accounts WHERE id = ?", (account_id,)
    ).fetchone()
    if row is None:
        return set()
    found = {f"name:{row[0]}", f"upn:{row[0]}@{match_key(realm)}"}
    if row[2] is not None:
        found.add(f"sid:{row[2].hex()}")
    if row[1] is not None:
        found.add(f"upn:{row[1]}")
    rows = connection.execute("SELECT spn_key FROM spns WHERE account_id = ?", (account_id,))
    return found | {f"spn:{spn}" for (spn,) in rows}


def taken_names(
    inserter: Inserter, new: NewAccount, account_id: int | None
) -> tuple[NewAccount, list[str], list[int]]:
    """Take the names off an account that others have as well.

    Returns the account without them, those names as `kind:key`, and the accounts whose own
    userPrincipalName is one of them: it is taken off those by the caller.
    Raises DirectoryError(EXISTS) when the sAMAccountName or the objectSid is another's.
    """
    sql = inserter.connection.execute
    me = account_id if account_id is not None else -1
    name_key = match_key(new.name)
    if sql("SELECT 1 FROM accounts WHERE name_key = ? AND id <> ?", (name_key, me)).fetchone():
        _exists("another account has its sAMAccountName")
    if sql("SELECT 1 FROM groups WHERE name_key = ?", (name_key,)).fetchone():
        _exists("a group has its sAMAccountName")
    if new.sid is not None:
        # Its SID is what services know an account by: nobody gets a second one's (row T03).
        sid = new.sid.to_bytes()
        if sql("SELECT 1 FROM accounts WHERE sid = ? AND id <> ?", (sid, me)).fetchone():
            _exists("another account has its objectSid")
        if sql("SELECT 1 FROM groups WHERE sid = ?", (sid,)).fetchone():
            _exists("a group has its objectSid")
    shared: list[str] = []
    losers: list[int] = []
    suffix = "@" + match_key(inserter.realm)
    upn_key = None if new.upn is None else match_key(new.upn)
    if upn_key is not None:
        local = upn_key.removesuffix(suffix) if upn_key.endswith(suffix) else name_key
        row = sql("SELECT id FROM accounts WHERE upn_key = ? AND id <> ?", (upn_key, me)).fetchone()
        implicit = (
            local != name_key
            and sql("SELECT 1 FROM accounts WHERE name_key = ? AND id <> ?", (local, me)).fetchone()
        )
        if row is not None or implicit:
            shared.append(f"upn:{upn_key}")
            new = replace(new, upn=None)
            if row is not None:
                losers.append(cast(int, row[0]))
    # CVE-2021-42282: another account's explicit UPN that would be this one's implicit one.
    row = sql(
        "SELECT id FROM accounts WHERE upn_key = ? AND id <> ?", (name_key + suffix, me)
    ).fetchone()
    if row is not None:
        shared.append(f"upn:{name_key}{suffix}")
        losers.append(cast(int, row[0]))
    kept = []
    for spn in new.spns:
        spn_key = match_key(spn)
        if sql(
            "SELECT 1 FROM spns WHERE spn_key = ? AND account_id <> ?", (spn_key, me)
        ).fetchone():
            shared.append(f"spn:{spn_key}")
        else:
            kept.append(spn)
    if len(kept) != len(new.spns):
        new = replace(new, spns=tuple(kept))
    return new, shared, losers


def replace_account(inserter: Inserter, account_id: int, new: NewAccount) -> None:
    """Set everything an account is but its number and its keys.

    Raises DirectoryError: INVALID, EXISTS.
    """
    sql = inserter.connection.execute
    check_name(new.name, new.kind)
    flags = sum(bit for bit, field in _FLAGS if getattr(new, field))
    sid = new.sid.to_bytes() if new.sid is not None else None
    try:
        sql(
            "UPDATE accounts SET name = ?, name_key = ?, upn = ?, upn_key = ?, kind = ?,"
            " flags = (flags & ?) | ?, sid = ?, dn = ?, dn_key = ?, guid = ?, created_at = ?,"
            " expires_at = ?, password_expires_at = ?, logon_hours = ?, primary_group = ?,"
            " password_set_at = ?, supported_enctypes = ? WHERE id = ?",
            (
                new.name,
                match_key(new.name),
                new.upn,
                None if new.upn is None else match_key(new.upn),
                new.kind.value,
                _KEPT,
                flags,
                sid,
                new.dn,
                None if new.dn is None else match_key(new.dn),
                None if new.guid is None else new.guid.bytes,
                to_micros(new.created_at),
                to_micros(new.expires_at),
                to_micros(new.password_expires_at),
                checked_hours(new.logon_hours),
                new.primary_group_id,
                to_micros(new.password_set_at),
                checked_enctypes(new.supported_enctypes),
                account_id,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise DirectoryError(DirectoryFault.EXISTS, "another account has one of its names") from (
            error
        )
    if new.kind is not AccountKind.KRBTGT:
        # The names krbtgt/REALM and krbtgt/DOMAIN are this realm's own, whatever the entry says.
        sql("DELETE FROM spns WHERE account_id = ?", (account_id,))
        inserter.insert_spns(account_id, new.spns)
    else:
        sql(
            "UPDATE accounts SET flags = flags | ? WHERE id = ?",
            (AccountFlag.HAS_SPNS.value, account_id),
        )
    sql("DELETE FROM key_credentials WHERE account_id = ?", (account_id,))
    if new.key_credentials:
        inserter.insert_credentials(account_id, new.kind, new.dn or "", new.key_credentials)
    write_values(inserter.connection, account_id, _NO_VALUES | new_values(new))


def put_keys(inserter: Inserter, account_id: int, keys: tuple[PrincipalKey, ...] | None) -> bool:
    """Give an account exactly these keys, or leave those it has (None); tell whether any changed.

    Raises DirectoryError(INVALID) for two keys of one kvno and encryption type.
    """
    if keys is None:
        return False
    hashes = [key.key for key in keys if key.etype == NT_HASH_ETYPE]
    changed = _put_nt_hash(inserter, account_id, hashes[0] if hashes else None)
    keys = tuple(key for key in keys if key.etype != NT_HASH_ETYPE)
    sql = inserter.connection.execute
    rows = sql(
        "SELECT kvno, etype, salt, sealed FROM keys WHERE account_id = ?", (account_id,)
    ).fetchall()
    have = {
        (kvno, etype, salt, inserter.master_key.open(key_aad(account_id, kvno, etype), sealed))
        for kvno, etype, salt, sealed in cast("list[tuple[int, int, str, bytes]]", rows)
    }
    if have == {(key.kvno, key.etype, key.salt, key.key) for key in keys}:
        return changed
    sql("DELETE FROM keys WHERE account_id = ?", (account_id,))
    inserter.insert_keys(account_id, keys)
    flag = AccountFlag.HAS_KEYS.value
    sql(
        "UPDATE accounts SET flags = (flags & ~?1) | ?2 WHERE id = ?3",
        (flag, flag if keys else 0, account_id),
    )
    return True


def _put_nt_hash(inserter: Inserter, account_id: int, nt_hash: bytes | None) -> bool:
    """Keep the NT hash that a source gives, for PAC_CREDENTIAL_INFO; tell whether it changed."""
    row = inserter.connection.execute(
        "SELECT sealed FROM nt_hashes WHERE account_id = ?", (account_id,)
    ).fetchone()
    have = inserter.master_key.open(nt_hash_aad(account_id), row[0]) if row is not None else None
    if have == nt_hash:
        return False
    inserter.put_nt_hash(account_id, nt_hash)
    return True


# -- groups ----------------------------------------------------------------------------------


def put_group(inserter: Inserter, entry: GroupEntry, group_id: int | None) -> int:
    """Insert or rename a group; one of the store that has its SID and no entry becomes its own.

    Raises DirectoryError: EXISTS (name or SID of another), INVALID (name).
    """
    connection = inserter.connection
    check_group_name(entry.name)
    key = match_key(entry.name)
    if connection.execute("SELECT 1 FROM accounts WHERE name_key = ?", (key,)).fetchone():
        _exists("an account has its sAMAccountName")
    if group_id is None:
        row = connection.execute(
            "SELECT id FROM groups WHERE sid = ? AND guid IS NULL", (entry.sid.to_bytes(),)
        ).fetchone()
        if row is None:
            _check_group(connection, -1, key, entry.sid)
            return insert_group(connection, entry.name, entry.sid, entry.dn, entry.guid)
        group_id = cast(int, row[0])
    _check_group(connection, group_id, key, entry.sid)
    connection.execute(
        "UPDATE groups SET name = ?, name_key = ?, sid = ?, dn = ?, dn_key = ?, guid = ?"
        " WHERE id = ?",
        (
            entry.name,
            key,
            entry.sid.to_bytes(),
            entry.dn,
            match_key(entry.dn),
            entry.guid.bytes,
            group_id,
        ),
    )
    return group_id


def _check_group(connection: sqlite3.Connection, group_id: int, key: str, sid: Sid) -> None:
    if connection.execute(
        "SELECT 1 FROM groups WHERE name_key = ? AND id <> ?", (key, group_id)
    ).fetchone():
        _exists("another group has its sAMAccountName")
    if connection.execute(
        "SELECT 1 FROM groups WHERE sid = ? AND id <> ?", (sid.to_bytes(), group_id)
    ).fetchone():
        _exists("another group has its objectSid")
    if connection.execute("SELECT 1 FROM accounts WHERE sid = ?", (sid.to_bytes(),)).fetchone():
        _exists("an account has its objectSid")


def set_members(connection: sqlite3.Connection, group_id: int, members: tuple[str, ...]) -> None:
    """Make a group have exactly these members, by DN; those not in the store are pending."""
    wanted_accounts: set[int] = set()
    wanted_groups: set[int] = set()
    wanted_pending: set[str] = set()
    for dn in members:
        key = match_key(dn)
        row = connection.execute("SELECT id FROM accounts WHERE dn_key = ?", (key,)).fetchone()
        if row is not None:
            wanted_accounts.add(row[0])
            continue
        row = connection.execute("SELECT id FROM groups WHERE dn_key = ?", (key,)).fetchone()
        if row is None:
            wanted_pending.add(key)
        elif row[0] != group_id:
            wanted_groups.add(row[0])
    for table, column, wanted in (
        ("account_members", "account_id", wanted_accounts),
        ("group_members", "member_id", wanted_groups),
        ("replica_pending", "member_key", wanted_pending),
    ):
        rows = connection.execute(
            f"SELECT {column} FROM {table} WHERE group_id = ?",  # noqa: S608  # names of ours
            (group_id,),
        ).fetchall()
        have = {row[0] for row in rows}
        connection.executemany(
            f"DELETE FROM {table} WHERE {column} = ? AND group_id = ?",  # noqa: S608
            [(gone, group_id) for gone in have - wanted],
        )
        connection.executemany(
            f"INSERT INTO {table} ({column}, group_id) VALUES (?, ?)",  # noqa: S608
            [(new, group_id) for new in wanted - have],
        )


def join_groups(
    connection: sqlite3.Connection, dn_key: str, account_id: int | None, group_id: int | None
) -> None:
    """Put an entry that has come into the groups that were waiting for its DN."""
    table, column, number = ("account_members", "account_id", account_id)
    if number is None:
        table, column, number = ("group_members", "member_id", group_id)
    connection.execute(
        f"INSERT OR IGNORE INTO {table} ({column}, group_id)"  # noqa: S608  # names of ours
        " SELECT ?1, group_id FROM replica_pending WHERE member_key = ?2 AND group_id <> ?3",
        (number, dn_key, -1 if group_id is None else group_id),
    )
    connection.execute("DELETE FROM replica_pending WHERE member_key = ?", (dn_key,))


def leave_groups(
    connection: sqlite3.Connection,
    dn_key: str,
    account_id: int | None,
    group_id: int | None,
    *,
    wait: bool,
) -> None:
    """Take an entry out of its groups; wait: they go on waiting for its DN."""
    for table, column, number in (
        ("account_members", "account_id", account_id),
        ("group_members", "member_id", group_id),
    ):
        if number is None:
            continue
        if wait:
            connection.execute(
                "INSERT OR IGNORE INTO replica_pending (member_key, group_id)"  # noqa: S608
                f" SELECT ?, group_id FROM {table} WHERE {column} = ?",
                (dn_key, number),
            )
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))  # noqa: S608


def names_of(entry: AccountEntry | GroupEntry) -> tuple[str, ...]:
    """List the names by which an entry would be found, as `kind:key`, and an account's SID."""
    if isinstance(entry, GroupEntry):
        return ()
    account = entry.account
    names = [f"name:{match_key(account.name)}"]
    if account.upn:
        names.append(f"upn:{match_key(account.upn)}")
    if account.sid is not None:
        names.append(f"sid:{account.sid.to_bytes().hex()}")
    names += [f"spn:{match_key(spn)}" for spn in account.spns]
    return tuple(names)
