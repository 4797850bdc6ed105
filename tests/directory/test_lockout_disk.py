"""Counting wrong passwords when the disk is full."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.lockout import LockoutBook
from directory.model import LockoutPolicy

NOW = datetime(2026, 11, 22, tzinfo=UTC)
POLICY = LockoutPolicy(threshold=3, window=timedelta(minutes=10), duration=timedelta(minutes=10))


def fill_up(book: LockoutBook) -> sqlite3.Connection:
    """Let the database have not one page more."""
    book.locked_until(1)
    connection = book._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1")
    return connection


def fill_table(book: LockoutBook) -> None:
    """Count for others until the next count would need a new page."""
    with pytest.raises(DirectoryError) as caught:
        for account in range(2, 1000):
            book.record_failure(account, NOW, POLICY)
    assert caught.value.kind is DirectoryFault.UNAVAILABLE


def test_full_disk_stops_counting_and_nothing_else(tmp_path: Path) -> None:
    """A wrong password is refused (29); reading, which every logon does, goes on as before."""
    book = LockoutBook(tmp_path / "lockout.sqlite")
    connection = fill_up(book)
    fill_table(book)
    assert book._connection is connection
    assert not connection.in_transaction
    assert book.locked_until(1) is None
    assert book.failures(2) == 1


def test_counting_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    """Nobody has to start the server again."""
    book = LockoutBook(tmp_path / "lockout.sqlite")
    connection = fill_up(book)
    fill_table(book)
    connection.execute("PRAGMA max_page_count = 100000")
    book.record_failure(1, NOW, POLICY)
    assert book.failures(1) == 1
