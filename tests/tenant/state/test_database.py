"""The database: transactions whole and on disk, one at a time, of the right version."""

import sqlite3
from pathlib import Path

import pytest

from directory.backend import DirectoryError, DirectoryFault
from tenant.state.database import Database


def _with_table(path: Path) -> Database:
    database = Database.create(path)
    with database.write() as connection:
        connection.execute("CREATE TABLE t (v INTEGER)")
    return database


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    """It holds password hashes: mode 0600, its companions as well."""
    database = _with_table(tmp_path / "d.sqlite")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    database.close()


def test_what_fails_within_a_transaction_undoes_all_of_it(tmp_path: Path) -> None:
    """Nothing half-written."""
    database = _with_table(tmp_path / "d.sqlite")
    with pytest.raises(ValueError, match="in the middle"), database.write() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        raise ValueError("in the middle")
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_what_a_transaction_wrote_is_there_for_the_next_process(tmp_path: Path) -> None:
    """Acknowledged is on disk: synchronous=FULL (2)."""
    database = _with_table(tmp_path / "d.sqlite")
    with database.write() as connection:
        connection.execute("INSERT INTO t VALUES (7)")
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    other = Database.open(tmp_path / "d.sqlite")
    with other.read() as connection:
        assert connection.execute("SELECT v FROM t").fetchall() == [(7,)]


def test_a_transaction_within_a_transaction_is_a_bug(tmp_path: Path) -> None:
    """An await in the block would let another request into it."""
    database = _with_table(tmp_path / "d.sqlite")
    with database.write(), pytest.raises(RuntimeError, match="await"), database.read():
        pass


@pytest.mark.parametrize(
    ("pragma", "kind"),
    [
        ("user_version = 99", DirectoryFault.INVALID),
        ("application_id = 1", DirectoryFault.CORRUPT),
    ],
)
def test_a_database_of_another_program_or_version_is_refused(
    tmp_path: Path, pragma: str, kind: DirectoryFault
) -> None:
    """It is neither read nor written."""
    path = tmp_path / "d.sqlite"
    Database.create(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {pragma}")
    connection.close()
    with pytest.raises(DirectoryError) as caught:
        Database.open(path)
    assert caught.value.kind is kind


def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    """Said as such, not as an error of SQLite."""
    path = tmp_path / "d.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DirectoryError) as caught:
        Database.open(path)
    assert caught.value.kind is DirectoryFault.CORRUPT
