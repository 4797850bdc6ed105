"""The local store: lists and searches for administrators, beside the path of a logon."""

from typing import cast

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountSummary
from directory.distinguished_name import parse_dn
from directory.model import AccountKind, match_key
from directory.store_groups import Query, is_storable
from directory.store_rows import DISABLED, MUST_CHANGE_PASSWORD, SMARTCARD_REQUIRED
from directory.store_schema import embedded_dn, from_micros


def read_summaries(
    query: Query, prefix: str, after: str, limit: int, kind: AccountKind | None
) -> tuple[AccountSummary, ...]:
    """List accounts in order of their names: those that start with `prefix`, after `after`."""
    low, start = match_key(prefix), match_key(after)
    rows = query(
        "SELECT id, name, kind, upn, flags, expires_at,"
        " (SELECT count(*) FROM key_credentials c WHERE c.account_id = a.id)"
        " FROM accounts a WHERE name_key >= ? AND name_key < ? AND name_key > ?"
        " AND kind = coalesce(?, kind) ORDER BY name_key LIMIT ?",
        low,
        low + "\U0010ffff",
        start,
        kind.value if kind else None,
        limit,
    )
    return tuple(
        AccountSummary(
            account_id=account_id,
            sam_account_name=name,
            kind=AccountKind(kind_text),
            upn=upn,
            disabled=bool(flags & DISABLED),
            expires_at=from_micros(expires),
            must_change_password=bool(flags & MUST_CHANGE_PASSWORD),
            smartcard_required=bool(flags & SMARTCARD_REQUIRED),
            key_credentials=count,
        )
        for account_id, name, kind_text, upn, flags, expires, count in cast(
            list[tuple[int, str, str, str | None, int, int | None, int]], rows
        )
    )


def read_key_id_owners(query: Query, prefix: bytes, limit: int) -> tuple[int, ...]:
    """List the accounts with a key credential whose KeyID starts so. Reads the whole table."""
    rows = query(
        "SELECT DISTINCT account_id FROM key_credentials"
        " WHERE substr(key_id, 1, ?) = ? ORDER BY account_id LIMIT ?",
        len(prefix),
        prefix,
        limit,
    )
    return tuple(cast(int, row[0]) for row in rows)


def read_account_id_by_dn(query: Query, dn: str, realm: str) -> int | None:
    """Find an account by its DN: one that a directory gave it, or the one its name makes.

    Raises DirectoryError(CORRUPT) when two have it.
    """
    wanted = match_key(dn)
    if not is_storable(wanted):
        return None
    rows = query("SELECT id FROM accounts WHERE dn_key = ? LIMIT 2", wanted)
    if len(rows) > 1:
        raise DirectoryError(DirectoryFault.CORRUPT, "two accounts have one DN")
    if rows:
        return cast(int, rows[0][0])
    try:
        first = parse_dn(dn)[0]
    except (ValueError, IndexError):
        return None
    ((_, name),) = first if len(first) == 1 else (("", ""),)
    for account_id, found, kind in cast(
        "list[tuple[int, str, str]]",
        query(
            "SELECT id, name, kind FROM accounts WHERE name_key IN (?, ?) AND dn IS NULL",
            match_key(name),
            match_key(name) + "$",
        ),
    ):
        if match_key(embedded_dn(found, AccountKind(kind), realm)) == wanted:
            return account_id
    return None
