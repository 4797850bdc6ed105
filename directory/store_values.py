"""What few accounts have: values in a table of their own, and the history of passwords.

An account with any of VALUES has the flag HAS_VALUES and is read with one query more; all others
are read without looking here.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn, cast

from directory.alt_security import index_keys
from directory.backend import DirectoryError, DirectoryFault
from directory.changes import UNCHANGED, AccountChanges, NewAccount
from directory.model import Account, PrincipalKey
from directory.sealing import MasterKey
from directory.store_groups import Query
from directory.store_schema import AccountFlag, history_aad, key_aad

MAX_VALUES_OF_ATTRIBUTE = 4096  # Active Directory gives out 1,500 at a time and few have so many
MAX_VALUE_BYTES = 64 * 1024  # a security descriptor's own bound (MS-DTYP 2.4.6: 16-bit ACL size)
_HISTORY_ETYPE = 18  # aes256-cts-hmac-sha1-96: 4,096 rounds to compare with, not 32,768
MAX_HISTORY = 1024  # Active Directory's own bound of pwdHistoryLength

# Field -> attribute of MS-ADA1/ADA2, of those with one value and of those with many.
SINGLE_VALUES = {
    "allowed_to_act": "msDS-AllowedToActOnBehalfOfOtherIdentity",
    "secondary_krbtgt_number": "msDS-SecondaryKrbTgtNumber",
    "krbtgt_link": "msDS-KrbTgtLink",
}
MANY_VALUES = {
    "allowed_to_delegate_to": "msDS-AllowedToDelegateTo",
    "alt_security_identities": "altSecurityIdentities",
    "reveal_on_demand": "msDS-RevealOnDemandGroup",
    "never_reveal": "msDS-NeverRevealGroup",
}
_FIELDS = {attribute: field for field, attribute in (SINGLE_VALUES | MANY_VALUES).items()}

# Field -> its bit, for the yes/no fields that few accounts have.
RARE_FLAGS = {
    "trusted_for_delegation": AccountFlag.TRUSTED_FOR_DELEGATION.value,
    "trusted_to_authenticate_for_delegation": (
        AccountFlag.TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION.value
    ),
    "not_delegated": AccountFlag.NOT_DELEGATED.value,
    "no_auth_data_required": AccountFlag.NO_AUTH_DATA_REQUIRED.value,
    "admin_count": AccountFlag.ADMIN_COUNT.value,
    "partial_secrets": AccountFlag.PARTIAL_SECRETS.value,
}
HAS_VALUES = AccountFlag.HAS_VALUES.value
RARE = HAS_VALUES | sum(RARE_FLAGS.values())


def _fail(kind: DirectoryFault, detail: str) -> NoReturn:
    raise DirectoryError(kind, detail)


def read_rare(query: Query, account: Account, flags: int) -> None:
    """Set the rare fields of an account just read. flags: its column, with any bit of RARE."""
    for field, bit in RARE_FLAGS.items():
        if flags & bit:
            setattr(account, field, True)
    if not flags & HAS_VALUES:
        return
    many: dict[str, list[object]] = {}
    for attribute, value in query(
        "SELECT attribute, value FROM account_values WHERE account_id = ?"
        " ORDER BY attribute, position",
        account.account_id,
    ):
        field = _FIELDS.get(cast(str, attribute), "")
        if field in SINGLE_VALUES:
            setattr(account, field, value)
        elif field:
            many.setdefault(field, []).append(value)
    for field, values in many.items():
        setattr(account, field, tuple(values))


def new_values(new: NewAccount) -> dict[str, tuple[object, ...]]:
    """Return the rare values of a new account, by field."""
    found = {field: getattr(new, field) for field in (*SINGLE_VALUES, *MANY_VALUES)}
    return {field: _as_many(value) for field, value in found.items() if value not in (None, ())}


def changed_values(changes: AccountChanges) -> dict[str, tuple[object, ...]]:
    """Return the rare values that a change sets, by field; empty ones are removed."""
    found = {field: getattr(changes, field) for field in (*SINGLE_VALUES, *MANY_VALUES)}
    return {field: _as_many(value) for field, value in found.items() if value is not UNCHANGED}


def _as_many(value: object) -> tuple[object, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def write_values(
    connection: sqlite3.Connection, account_id: int, values: Mapping[str, tuple[object, ...]]
) -> None:
    """Replace the rows of these fields. Raises DirectoryError(INVALID) past a bound."""
    for field, rows in values.items():
        attribute = SINGLE_VALUES.get(field) or MANY_VALUES[field]
        if len(rows) > MAX_VALUES_OF_ATTRIBUTE:
            _fail(DirectoryFault.INVALID, f"more than {MAX_VALUES_OF_ATTRIBUTE} of {attribute}")
        for value in rows:
            if isinstance(value, str | bytes) and len(value) > MAX_VALUE_BYTES:
                _fail(DirectoryFault.INVALID, f"a value of {attribute} is too long")
        connection.execute(
            "DELETE FROM account_values WHERE account_id = ? AND attribute = ?",
            (account_id, attribute),
        )
        connection.executemany(
            "INSERT INTO account_values VALUES (?, ?, ?, ?)",
            [(account_id, attribute, position, value) for position, value in enumerate(rows)],
        )
        if field == "alt_security_identities":
            index_mappings(connection, account_id, rows)
    if values:
        connection.execute(
            "UPDATE accounts SET flags = (flags & ~?1) | CASE WHEN EXISTS"
            " (SELECT 1 FROM account_values WHERE account_id = ?2) THEN ?1 ELSE 0 END"
            " WHERE id = ?2",
            (HAS_VALUES, account_id),
        )


# -- explicit mappings of certificates -------------------------------------------------------

# What leads from a certificate or an X.500 name to accounts: schema 6.
MAPPING_TABLE = """
CREATE TABLE alt_security_keys (
    key BLOB NOT NULL,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (key, account_id)
) WITHOUT ROWID;
CREATE INDEX alt_security_keys_of_account ON alt_security_keys (account_id);
"""
MAX_MAPPED = 64
MAX_SOUGHT = 64


def index_mappings(
    connection: sqlite3.Connection, account_id: int, values: Iterable[object]
) -> None:
    """Replace an account's rows of the index of altSecurityIdentities."""
    connection.execute("DELETE FROM alt_security_keys WHERE account_id = ?", (account_id,))
    keys = {key for value in values for key in index_keys(str(value))}
    connection.executemany(
        "INSERT INTO alt_security_keys VALUES (?, ?)", [(key, account_id) for key in sorted(keys)]
    )


def index_all_mappings(connection: sqlite3.Connection) -> None:
    """Fill the index of a store that had none."""
    found: dict[int, list[object]] = {}
    for account_id, value in connection.execute(
        "SELECT account_id, value FROM account_values WHERE attribute = 'altSecurityIdentities'"
    ):
        found.setdefault(account_id, []).append(value)
    for account_id, values in found.items():
        index_mappings(connection, account_id, values)


def read_mapped(query: Query, keys: Sequence[bytes]) -> tuple[int, ...]:
    """List, in order, the accounts that any of these keys leads to; at most MAX_MAPPED."""
    sought = tuple(keys[:MAX_SOUGHT])
    if not sought:
        return ()
    marks = ", ".join("?" * len(sought))
    rows = query(
        f"SELECT DISTINCT account_id FROM alt_security_keys WHERE key IN ({marks})"  # noqa: S608  # marks
        " ORDER BY account_id LIMIT ?",
        *sought,
        MAX_MAPPED,
    )
    return tuple(cast(int, row[0]) for row in rows)


# -- history of passwords --------------------------------------------------------------------


def read_history(query: Query, master_key: MasterKey, account_id: int) -> tuple[PrincipalKey, ...]:
    """Return one key of each earlier password, the latest first; kvno is its place, not a kvno.

    Raises DirectoryError(CORRUPT).
    """
    rows = query(
        "SELECT position, etype, salt, sealed FROM password_history WHERE account_id = ?"
        " ORDER BY position DESC LIMIT ?",
        account_id,
        MAX_HISTORY,
    )
    return tuple(
        PrincipalKey(
            etype=etype,
            kvno=position,
            salt=salt,
            key=master_key.open(history_aad(account_id, position, etype), sealed),
        )
        for position, etype, salt, sealed in cast("list[tuple[int, int, str, bytes]]", rows)
    )


def push_history(
    connection: sqlite3.Connection, master_key: MasterKey, account_id: int, keep: int
) -> None:
    """Put a key of the password in force into the history; keep the latest `keep`.

    One key of a password is enough to know it again. Call before its keys are replaced.
    """
    old = connection.execute(
        "SELECT kvno, etype, salt, sealed FROM keys WHERE account_id = ?"
        " ORDER BY kvno DESC, etype = ? DESC LIMIT 1",
        (account_id, _HISTORY_ETYPE),
    ).fetchone()
    (last,) = connection.execute(
        "SELECT coalesce(max(position), 0) FROM password_history WHERE account_id = ?",
        (account_id,),
    ).fetchone()
    if old is not None and keep > 0:
        last += 1
        kvno, etype, salt, sealed = old
        key = master_key.open(key_aad(account_id, kvno, etype), sealed)
        connection.execute(
            "INSERT INTO password_history VALUES (?, ?, ?, ?, ?)",
            (
                account_id,
                last,
                etype,
                salt,
                master_key.seal(history_aad(account_id, last, etype), key),
            ),
        )
    connection.execute(
        "DELETE FROM password_history WHERE account_id = ? AND position <= ?",
        (account_id, last - min(keep, MAX_HISTORY)),
    )
