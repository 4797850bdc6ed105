"""The tenant's database: one SQLite file, and transactions that are on disk when they end.

Rules.
1. Every change is made in one IMMEDIATE transaction, and `write` returns when it is on disk
   (synchronous=FULL): what was acknowledged survives SIGKILL and a lost power supply.
2. No `await` inside a transaction: another request would get into it. It is refused as the bug that
   it is.
3. Commands open the file beside the running server; SQLite's lock keeps them apart.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from directory.backend import DirectoryError, DirectoryFault
from directory.sealing import SecretFileError
from tenant.state.schema import SCHEMA, SCHEMA_VERSION

APPLICATION_ID: Final = 0x4B544E54
"""KTNT, in the header of the file (PRAGMA application_id)."""

BUSY_TIMEOUT_S: Final = 5.0


class Database:
    """The open database. Used by one thread at a time: a second one waits."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take an open connection; `open` and `create` make them."""
        self._connection = connection
        self._path = path
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Database({str(self._path)!r})"

    @classmethod
    def create(cls, path: Path) -> "Database":
        """Make an empty database of mode 0600. Raises DirectoryError (EXISTS, UNAVAILABLE)."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            raise DirectoryError(DirectoryFault.EXISTS, f"{path} is already there") from None
        except OSError as error:
            raise DirectoryError(
                DirectoryFault.UNAVAILABLE, f"cannot write {path}: {error.strerror}"
            ) from error
        database = cls(_connect(path), path)
        with database.write() as connection:
            for script in SCHEMA:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        return database

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open a database that is there.

        Raises SecretFileError: NOT_FOUND, CORRUPT (no database of a tenant), INVALID (of another
        version of this program).
        """
        if not path.exists():
            raise _unusable(DirectoryFault.NOT_FOUND, path, "the file is missing")
        try:
            connection = _connect(path)
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError:
            raise _unusable(DirectoryFault.CORRUPT, path, "SQLite cannot read it") from None
        if application != APPLICATION_ID:
            connection.close()
            raise _unusable(DirectoryFault.CORRUPT, path, "it is no database of a tenant")
        if version != SCHEMA_VERSION:
            connection.close()
            raise SecretFileError(
                DirectoryFault.INVALID,
                f"{path} cannot be used",
                f"it has version {version}, this program knows {SCHEMA_VERSION}",
                "use the program that made it, or make the tenant anew",
            )
        return cls(connection, path)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that changes something; it is on disk when the block ends.

        An exception undoes all of it. Raises DirectoryError(UNAVAILABLE) when SQLite cannot.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that only reads, and sees one state of everything."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connection
            if connection.in_transaction:
                raise RuntimeError("a transaction is open: was there an await in it?")
            try:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise DirectoryError(
                    DirectoryFault.UNAVAILABLE, f"{self._path}: {error.sqlite_errorname}"
                ) from error
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _unusable(kind: DirectoryFault, path: Path, why: str) -> SecretFileError:
    remedy = f"restore {path.name} from a backup of this folder, or make the tenant anew"
    return SecretFileError(kind, f"{path} cannot be used", why, remedy)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Rows that are deleted, such as a used nonce or a user's hash, leave nothing behind.
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _statements(script: str) -> Iterator[str]:
    """Split a script: executescript would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        raise ValueError("the script ends within a statement")
