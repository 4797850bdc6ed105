"""The tables of the local store, their connections, and rows to values and back.

Two database files, on purpose. `PRAGMA data_version` moves with every commit to a file, and a
moved version drops every worker's decoded accounts. Wrong passwords are written by whoever can
send a packet, so they go to a file of their own (`lockout.py`): an attack on one password does
not make every logon of the realm read its account again.
"""

import os
import sqlite3
import struct
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from functools import lru_cache
from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.distinguished_name import escape_value
from directory.keycredential import format_dn_binary, parse_dn_binary
from directory.model import AccountKind

SCHEMA_VERSION = 6
READ_WAIT_S = 1.0  # a reader in WAL mode waits for nobody but a checkpoint's end
WRITE_WAIT_S = 10.0
CACHE_KIB = 8 * 1024  # SQLite's own page cache, per connection

# Notes. AUTOINCREMENT: an account's number is never used again, for sealed keys and lockout
# counters are bound to it. key_credentials.value is a BLOB when the text is exactly what
# format_dn_binary makes of it and the owner's DN (half the size), else the text as it came.
# digest is set when the key may log on; lenient = 1: only while keycredential_check_keyid is off.
# dn_key is set with dn only: an embedded realm's DNs follow from the names.
ACCOUNT_TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE secrets (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    upn TEXT,
    upn_key TEXT UNIQUE,
    kind TEXT NOT NULL,
    flags INTEGER NOT NULL,
    sid BLOB,
    dn TEXT,
    guid BLOB,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    password_expires_at INTEGER,
    logon_hours BLOB,
    primary_group INTEGER,
    password_set_at INTEGER,
    dn_key TEXT,
    supported_enctypes INTEGER
);
CREATE INDEX accounts_by_dn ON accounts (dn_key) WHERE dn_key IS NOT NULL;
CREATE UNIQUE INDEX accounts_by_guid ON accounts (guid) WHERE guid IS NOT NULL;
CREATE TABLE spns (
    spn_key TEXT PRIMARY KEY,
    spn TEXT NOT NULL,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX spns_of_account ON spns (account_id);
CREATE TABLE keys (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kvno INTEGER NOT NULL,
    etype INTEGER NOT NULL,
    salt TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (account_id, kvno, etype)
) WITHOUT ROWID;
CREATE TABLE key_credentials (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    key_id BLOB NOT NULL,
    digest BLOB,
    lenient INTEGER NOT NULL,
    value NOT NULL,
    PRIMARY KEY (account_id, position)
) WITHOUT ROWID;
CREATE INDEX key_owners ON key_credentials (digest, lenient, account_id) WHERE digest IS NOT NULL;
"""

# The NT hash is a table of its own: it is no key of this KDC (etype 23 does not exist here), and
# only a realm with legacy_ntlm keeps it.
NT_HASH_TABLE = """
CREATE TABLE nt_hashes (
    account_id INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL
);
"""

# account_values: what few accounts have, a row for each value, in order. password_history: one
# key of each earlier password; a higher position is a later one.
VALUE_TABLES = """
CREATE TABLE account_values (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    attribute TEXT NOT NULL,
    position INTEGER NOT NULL,
    value NOT NULL,
    PRIMARY KEY (account_id, attribute, position)
) WITHOUT ROWID;
CREATE TABLE password_history (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    etype INTEGER NOT NULL,
    salt TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (account_id, position)
) WITHOUT ROWID;
"""

# What leads from the number of a krbtgt key to the accounts of a read-only domain controller. A
# query uses the index when it has the same condition, word for word.
READ_ONLY_DC_VALUES = "attribute IN ('msDS-SecondaryKrbTgtNumber', 'msDS-KrbTgtLink')"
READ_ONLY_DC_INDEX = f"""
CREATE INDEX read_only_dcs ON account_values (attribute) WHERE {READ_ONLY_DC_VALUES};
"""


class AccountFlag(IntFlag):
    """The yes/no fields of an account, in one column."""

    DISABLED = 1
    MUST_CHANGE_PASSWORD = 2
    SMARTCARD_REQUIRED = 4
    PREAUTH_NOT_REQUIRED = 8
    HAS_SPNS = 16
    HAS_KEYS = 32
    HAS_KEY_CREDENTIALS = 64
    TRUSTED_FOR_DELEGATION = 128
    TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION = 256
    NOT_DELEGATED = 512
    NO_AUTH_DATA_REQUIRED = 1024
    ADMIN_COUNT = 2048
    PARTIAL_SECRETS = 4096
    HAS_VALUES = 8192


# Those with HAS say which other tables have rows of the account: a user with a Hello key and
# nothing else is read with two queries, not four.


def unavailable(error: sqlite3.Error) -> DirectoryError:
    """Turn an error of SQLite into UNAVAILABLE: locked, unreadable or damaged is all the same."""
    return DirectoryError(DirectoryFault.UNAVAILABLE, f"store: {error}")


def connect(path: Path, *, write: bool, write_wait_s: float = WRITE_WAIT_S) -> sqlite3.Connection:
    """Open an existing database; a reading connection can change nothing.

    write_wait_s: how long a change waits for another process's. Raises DirectoryError(UNAVAILABLE).
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=write_wait_s if write else READ_WAIT_S,
        )
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            if write:
                connection.execute("PRAGMA foreign_keys = ON")
                # FULL: a commit returns when the log is on disk. What was acknowledged is kept.
                connection.execute("PRAGMA synchronous = FULL")
            else:
                connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise unavailable(error) from error
    return connection


def create_file(path: Path, schema: str) -> sqlite3.Connection:
    """Make an empty database of mode 0600 in WAL mode and run its schema.

    Raises DirectoryError: EXISTS, DENIED, UNAVAILABLE.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise DirectoryError(DirectoryFault.EXISTS, f"{path} is already there") from None
    except OSError as error:
        detail = f"cannot write {path}: {error.strerror}"
        raise DirectoryError(DirectoryFault.DENIED, detail) from error
    connection = connect(path, write=True)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")
    except sqlite3.Error as refused:
        connection.close()
        raise unavailable(refused) from refused
    return connection


# -- rows ------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KEY_PLACE = struct.Struct(">QQI")


def to_micros(value: datetime | None) -> int | None:
    """Turn an aware datetime into microseconds since 1970."""
    return None if value is None else (value - _EPOCH) // _MICROSECOND


def from_micros(value: int | None) -> datetime | None:
    """Turn microseconds since 1970 into an aware datetime."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def key_aad(account_id: int, kvno: int, etype: int) -> bytes:
    """Return the additional data under which an account's key is sealed."""
    return b"keytrust account key\0" + _KEY_PLACE.pack(account_id, kvno, etype & 0xFFFFFFFF)


def nt_hash_aad(account_id: int) -> bytes:
    """Return the additional data under which an account's NT hash is sealed."""
    return b"keytrust NT hash\0" + account_id.to_bytes(8, "big")


def history_aad(account_id: int, position: int, etype: int) -> bytes:
    """Return the additional data under which the key of an earlier password is sealed."""
    return b"keytrust password history\0" + _KEY_PLACE.pack(
        account_id, position, etype & 0xFFFFFFFF
    )


def secret_aad(name: str) -> bytes:
    """Return the additional data under which a secret of the realm is sealed."""
    return b"keytrust realm secret\0" + name.encode()


def embedded_dn(name: str, kind: AccountKind, realm: str) -> str:
    """Make the DN of an account of an embedded realm: CN=alice,CN=Users,DC=LAB,DC=TEST."""
    container = "Users"
    if kind is AccountKind.COMPUTER:
        container = "Computers"
        name = name.removesuffix("$")
    return f"CN={escape_value(name)},CN={container},{_domain_dn(realm)}"


@lru_cache(maxsize=16)
def _domain_dn(realm: str) -> str:
    return ",".join(f"DC={escape_value(label)}" for label in realm.split("."))


def pack_credential(text: str, owner_dn: str) -> bytes | str:
    """Return how a key credential's text is kept: its octets when they give it back exactly."""
    try:
        blob, _ = parse_dn_binary(text)
    except ValueError:
        return text
    return blob if format_dn_binary(blob, owner_dn) == text else text
