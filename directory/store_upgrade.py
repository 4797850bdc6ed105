"""Bringing a store of an older schema up to today's, in place and in one transaction."""

import sqlite3
from pathlib import Path

from directory.model import Sid
from directory.store_devices import DEVICE_TABLES
from directory.store_groups import GROUP_TABLES, insert_well_known_groups
from directory.store_schema import (
    NT_HASH_TABLE,
    READ_ONLY_DC_INDEX,
    SCHEMA_VERSION,
    VALUE_TABLES,
    connect,
    unavailable,
)
from directory.store_values import MAPPING_TABLE, index_all_mappings

# Schema 2 added groups, NT hashes, and when a password was set.
_ACCOUNT_COLUMNS_2 = """
ALTER TABLE accounts ADD COLUMN primary_group INTEGER;
ALTER TABLE accounts ADD COLUMN password_set_at INTEGER;
"""
# Schema 3: what delegation and certificate mapping read, DNs and GUIDs that are searched for, and
# the history of passwords.
_ACCOUNT_COLUMNS_3 = """
ALTER TABLE accounts ADD COLUMN dn_key TEXT;
ALTER TABLE accounts ADD COLUMN supported_enctypes INTEGER;
CREATE INDEX accounts_by_dn ON accounts (dn_key) WHERE dn_key IS NOT NULL;
CREATE UNIQUE INDEX accounts_by_guid ON accounts (guid) WHERE guid IS NOT NULL;
"""
_GROUP_COLUMNS_3 = """
ALTER TABLE groups ADD COLUMN dn TEXT;
ALTER TABLE groups ADD COLUMN dn_key TEXT;
ALTER TABLE groups ADD COLUMN guid BLOB;
CREATE INDEX groups_by_dn ON groups (dn_key) WHERE dn_key IS NOT NULL;
CREATE UNIQUE INDEX groups_by_guid ON groups (guid) WHERE guid IS NOT NULL;
"""
# Schema 4: an index that finds read-only domain controllers.
# Schema 5: device objects. Whoever follows a directory passed over those that were there already:
# without the place to go on from it compares everything once.
_FOLLOW_ANEW_5 = """
DELETE FROM settings WHERE name = 'directory cookie' OR name LIKE 'directory usn %';
"""
# Schema 6: an index of altSecurityIdentities.


def upgrade_store(path: Path) -> None:
    """Upgrade a store to SCHEMA_VERSION; nothing happens to one of that schema or a newer one.

    Every process that opens an old store may come here: the first does it, the others wait and
    find it done. A process killed on the way leaves the old store.
    Raises DirectoryError(UNAVAILABLE).
    """
    connection = connect(path, write=True)
    try:
        connection.execute("BEGIN IMMEDIATE")
        settings = dict(connection.execute("SELECT name, value FROM settings").fetchall())
        found = settings.get("schema_version")
        if found in (1, 2, 3, 4, 5):
            if found == 1:
                # The tables of groups in today's form: schema 3 has nothing to add to them.
                _run(connection, _ACCOUNT_COLUMNS_2 + NT_HASH_TABLE + GROUP_TABLES)
            elif found == 2:
                _run(connection, _GROUP_COLUMNS_3)
            if found < 3:
                _run(connection, _ACCOUNT_COLUMNS_3 + VALUE_TABLES)
                insert_well_known_groups(connection, Sid.parse(str(settings["domain_sid"])))
                # SQLite's lower() takes ASCII letters only, as match_key does.
                connection.execute("UPDATE accounts SET dn_key = lower(dn) WHERE dn IS NOT NULL")
            if found < 4:
                _run(connection, READ_ONLY_DC_INDEX)
            if found < 5:
                _run(connection, DEVICE_TABLES + _FOLLOW_ANEW_5)
            _run(connection, MAPPING_TABLE)
            index_all_mappings(connection)
            connection.execute(
                "UPDATE settings SET value = ? WHERE name = 'schema_version'", (SCHEMA_VERSION,)
            )
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise unavailable(error) from error
    finally:
        connection.close()  # undoes what is not committed


def _run(connection: sqlite3.Connection, statements: str) -> None:
    """Run statements one by one: executescript would commit first."""
    for statement in statements.split(";"):
        connection.execute(statement)
