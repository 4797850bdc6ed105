"""Bringing a store of an older schema up to today's, in place and in one transaction."""

import sqlite3
from pathlib import Path

from directory.model import Sid
from directory.store_groups import GROUP_TABLES, insert_well_known_groups
from directory.store_schema import NT_HASH_TABLE, SCHEMA_VERSION, connect, unavailable

_ACCOUNT_COLUMNS_2 = """
ALTER TABLE accounts ADD COLUMN primary_group INTEGER;
ALTER TABLE accounts ADD COLUMN password_set_at INTEGER;
"""


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
        if settings.get("schema_version") == 1:
            _from_1_to_2(connection, Sid.parse(str(settings["domain_sid"])))
            connection.execute(
                "UPDATE settings SET value = ? WHERE name = 'schema_version'", (SCHEMA_VERSION,)
            )
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise unavailable(error) from error
    finally:
        connection.close()  # undoes what is not committed


def _from_1_to_2(connection: sqlite3.Connection, domain: Sid) -> None:
    """Add groups, NT hashes, and when a password was set."""
    # Statement by statement: executescript would commit first.
    for statement in (_ACCOUNT_COLUMNS_2 + NT_HASH_TABLE + GROUP_TABLES).split(";"):
        connection.execute(statement)
    insert_well_known_groups(connection, domain)
