"""Noticing commits without a query: never less than SQLite would, whoever commits, and however."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from directory import store_commits
from directory.changes import AccountChanges
from directory.lockout import LockoutBook
from directory.model import LockoutPolicy
from directory.store import Store
from directory.store_commits import MAX_MAPPED, CommitWatch
from directory.store_read import StoreReader
from directory.store_schema import to_micros
from tests.directory.builders import NOW, hello_key, link, make_store, master_key, user

SCRIPT = """
import os, sqlite3, sys
from datetime import datetime
from pathlib import Path
from directory.changes import AccountChanges
from directory.lockout import LockoutBook
from directory.model import LockoutPolicy
from directory.store import Store
from tests.directory.builders import *
path = Path(sys.argv[1])
"""
POLICY = LockoutPolicy(threshold=1)


class Other:
    """A process that runs a line of Python for each line it is given, and says when it is done."""

    def __init__(self, path: Path, start: str) -> None:
        loop = "for line in sys.stdin:\n    exec(line)\n    print(flush=True)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{SCRIPT}\n{start}\n{loop}", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )

    def does(self, line: str) -> None:
        """Run a line there; return when it has returned."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "\n"


@contextmanager
def other(path: Path, start: str = "") -> Iterator[Other]:
    """Start another process, and end it."""
    made = Other(path, start)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def elsewhere(path: Path, line: str) -> None:
    """Run Python in a process that ends."""
    command = [sys.executable, "-c", SCRIPT + line, str(path)]
    subprocess.run(command, check=True, cwd=Path.cwd(), timeout=60)


RAW = """
db = sqlite3.connect(path, isolation_level=None)
def put(number):
    db.execute("UPDATE numbers SET number = ?", (number,))
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.sqlite"
    new_database(path)
    return path


def new_database(path: Path, mode: str = "wal") -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE numbers (number INTEGER)")
    connection.execute("INSERT INTO numbers VALUES (0)")
    connection.close()


@contextmanager
def watched(path: Path) -> Iterator[tuple[sqlite3.Connection, CommitWatch]]:
    connection = sqlite3.connect(path, isolation_level=None)
    watch = CommitWatch()
    watch.attach(connection)
    yield connection, watch
    watch.detach()
    connection.close()


def number_in(connection: sqlite3.Connection) -> int:
    ((number,),) = connection.execute("SELECT number FROM numbers").fetchall()
    return int(number)


@contextmanager
def statements(connection: sqlite3.Connection | None) -> Iterator[list[str]]:
    """Note what SQLite is asked."""
    asked: list[str] = []
    assert connection is not None
    connection.set_trace_callback(asked.append)
    yield asked
    connection.set_trace_callback(None)


# -- commits of other processes --------------------------------------------------------------


@pytest.mark.slow
def test_each_commit_of_another_process_is_seen_by_the_next_request(tmp_path: Path) -> None:
    """Store, key index and counters: hundreds of commits, each followed by one look."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    reader = Store.open(store.path, master_key(), read_only=True)
    book = "book = LockoutBook(path.with_name('store-lockout.sqlite'))"
    with other(store.path, f"store = Store.open(path, master_key())\n{book}") as process:
        for number in range(150):
            disabled = not number % 2
            process.does(f"store.update_account({alice}, AccountChanges(disabled={disabled}))")
            reader.refresh()
            account = reader.account_by_name("alice")
            assert account is not None
            assert account.disabled is disabled
            if disabled:
                process.does(f"book.record_failure({alice}, NOW, LockoutPolicy(threshold=1))")
            else:
                process.does(f"book.unlock({alice})")
            account = reader.account_by_id(alice)
            assert account is not None
            assert (account.locked_until is not None) is disabled
            if disabled:
                text = link(hello_key(), store.owner_dn(alice))
                process.does(f"store.add_key_credential({alice}, {text!r})")
            else:
                process.does(f"store.remove_key_credential({alice})")
            reader.refresh()
            assert reader.accounts_by_key(hello_key().digest) == ((alice,) if disabled else ())
    reader.close()
    store.close()


@pytest.mark.slow
def test_no_acknowledged_commit_is_missed_while_two_processes_write(database: Path) -> None:
    """A mark that is taken while others write may cost a query; it never hides a commit."""
    loop = (
        "db.execute('PRAGMA synchronous = OFF')\ndb.execute('PRAGMA busy_timeout = 20000')\n"
        "db.execute('PRAGMA wal_autocheckpoint = 7')\n"
        "for number in range(1, 4000):\n"
        "    db.execute('UPDATE numbers SET number = number + 1')\n"
        "    os.write(1, b'.')\n"
    )
    command = [sys.executable, "-c", SCRIPT + RAW + loop, str(database)]
    kept, seen, quiet, done = b"", 0, 0, 0
    read_end, write_end = os.pipe()
    with watched(database) as (connection, watch):
        writers = [subprocess.Popen(command, stdout=write_end, cwd=Path.cwd()) for _ in range(2)]
        os.close(write_end)
        while octets := os.read(read_end, 4096):
            done += len(octets)
            for _ in range(3):
                mark = watch.mark()
                if mark and mark == kept:
                    quiet += 1
                else:
                    seen, kept = number_in(connection), mark
                assert seen >= done
        assert [writer.wait(60) for writer in writers] == [0, 0]
        assert seen == done == 2 * 3999
    os.close(read_end)
    assert quiet


@pytest.mark.slow
def test_killed_writers_hide_nothing(database: Path) -> None:
    """Row S02: what was acknowledged before the SIGKILL is seen, wherever the kill struck."""
    loop = (
        "db.execute('PRAGMA synchronous = OFF')\n"
        "while True:\n"
        "    db.execute('UPDATE numbers SET number = number + 1')\n"
        "    print(db.execute('SELECT number FROM numbers').fetchone()[0], flush=True)\n"
    )
    with watched(database) as (connection, watch):
        kept, seen = b"", 0
        for turn in range(12):
            writer = subprocess.Popen(
                [sys.executable, "-c", SCRIPT + RAW + loop, str(database)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path.cwd(),
            )
            assert writer.stdout is not None
            for _ in range(1 + 17 * turn):
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            left, _ = writer.communicate()
            acknowledged = int((left.split("\n")[:-1] or [str(acknowledged)])[-1])
            mark = watch.mark()
            if not mark or mark != kept:
                seen, kept = number_in(connection), mark
            assert seen >= acknowledged
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_half_written_header_is_unknown_until_sqlite_has_mended_it(database: Path) -> None:
    """A writer killed between the two copies: only one says that there was a commit."""
    with watched(database) as (connection, watch):
        before = watch.mark()
        assert before
        half = "file = open(f'{path}-shm', 'r+b'); file.seek(48 + 8); file.write(b'half')"
        elsewhere(database, half)
        assert watch.mark() == b""
        assert number_in(connection) == 0
        assert watch.mark()
        elsewhere(database, RAW + "put(7)")
        assert watch.mark() not in (b"", before)
        assert number_in(connection) == 7


@pytest.mark.parametrize("upkeep", ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"])
def test_commit_after_upkeep_is_seen(database: Path, upkeep: str) -> None:
    """The log begins anew, or the whole file is written anew: marks go on changing."""
    with watched(database) as (connection, watch), other(database, RAW) as process:
        marks = {watch.mark()}
        for number in range(1, 20):
            process.does(f"put({number})")
            marks.add(watch.mark())
            assert number_in(connection) == number
            process.does(f"db.execute({upkeep!r}).fetchall()")
            process.does(f"put({-number})")
            marks.add(watch.mark())
            assert number_in(connection) == -number
        assert b"" not in marks
        assert len(marks) == 1 + 2 * 19


def test_no_mark_comes_back_when_all_others_have_gone_and_come(database: Path) -> None:
    """The last other process writes the log back; ours stays open, and its file in place."""
    with watched(database) as (connection, watch):
        marks = [watch.mark()]
        for number in range(1, 6):
            elsewhere(database, RAW + f"put({number})")
            marks.append(watch.mark())
            assert number_in(connection) == number
        assert len(set(marks)) == 6


class Slow:
    """A connection on which something happens between the answer of a query and its use."""

    def __init__(self, connection: sqlite3.Connection, meanwhile: Callable[[], object]) -> None:
        self._connection = connection
        self._meanwhile = meanwhile

    def execute(self, sql: str, values: tuple[int, ...]) -> "Slow":
        """Ask, and let it happen."""
        self._answer = self._connection.execute(sql, values).fetchone()
        self._meanwhile()
        return self

    def fetchone(self) -> object:
        """Return the answer from before."""
        return self._answer


def test_commit_right_after_the_query_is_seen_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 2: the mark that is kept is from before the query."""
    book = LockoutBook(tmp_path / "lockout.sqlite")
    assert book.locked_until(2) is None
    connection = book._connection
    assert connection is not None
    # By a plain connection: `_open` of all books is the slow one for the moment.
    raw = sqlite3.connect(book.path, isolation_level=None)
    lock = "INSERT INTO lockout VALUES (1, 0, 0, ?, x'')"
    slow = Slow(connection, lambda: raw.execute(lock, (to_micros(NOW),)))
    monkeypatch.setattr(LockoutBook, "_open", lambda _: slow)
    assert book.locked_until(1) is None
    monkeypatch.undo()
    assert book.locked_until(1) == NOW
    raw.close()
    book.close()


# -- when nothing happens --------------------------------------------------------------------


def test_quiet_store_is_not_asked(tmp_path: Path) -> None:
    """A request of a known account costs no query, until somebody commits something."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    store.add_key_credential(alice, link())
    reader = Store.open(store.path, master_key(), read_only=True)

    def request() -> None:
        reader.refresh()
        assert reader.account_by_name("alice") is not None
        assert reader.accounts_by_key(hello_key().digest) == (alice,)

    for _ in range(2):
        request()
    with (
        statements(reader._connection) as asked,
        statements(reader._lockout._connection) as counters_asked,
    ):
        for _ in range(5):
            request()
        assert (asked, counters_asked) == ([], [])
        store.set_setting("colour", "blue")
        request()
        assert asked[0] == "PRAGMA data_version"
        assert counters_asked == []
        store.record_password_failure(alice, NOW, POLICY)
        request()
        assert len(counters_asked) == 1
    reader.close()
    store.close()


def test_name_of_nobody_costs_the_query_that_an_account_costs(tmp_path: Path) -> None:
    """Row A08: a lock is asked for at first and after a commit to the counters, known between."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    store.locked_until(alice + 1)  # opens the counters
    asks: tuple[Callable[[str], object], ...] = (store.account_by_name, store.spend_as_found)
    with statements(store._lockout._connection) as asked:
        for ask, name in zip(asks, ("alice", "nobody"), strict=True):
            counts = []
            for _ in range(3):
                asked.clear()
                ask(name)
                store.forget()
                ask(name)
                counts.append(len(asked))
                store.record_password_failure(alice, NOW, LockoutPolicy(threshold=50))
            assert counts == [1, 1, 1]
    store.spend_as_found("somebody else")
    assert store.locked_until(alice) is None
    store.close()


def test_keys_of_strangers_are_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody drives out registered keys by showing others; and those too are bounded."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    for number in range(3):
        store.add_key_credential(alice, link(hello_key(number)))
    for number in range(50):
        assert store.accounts_by_key(number.to_bytes(32, "big")) == ()
    assert not store._key_owners
    monkeypatch.setattr("directory.store_read.CACHED_KEY_OWNERS", 2)
    for number in (0, 1, 0, 2):
        assert store.accounts_by_key(hello_key(number).digest) == (alice,)
    assert list(store._key_owners) == [hello_key(0).digest, hello_key(2).digest]
    store.close()


def test_known_locks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full memory starts anew."""
    monkeypatch.setattr("directory.lockout.MAX_KNOWN", 10)
    book = LockoutBook(tmp_path / "lockout.sqlite")
    until = book.record_failure(3, NOW, POLICY)
    for account in range(100):
        assert book.locked_until(account % 25) == (until if account % 25 == 3 else None)
        assert len(book._known) <= 10
    book.close()


# -- where there is nothing to look at -------------------------------------------------------


def test_database_without_a_log_is_asked_each_time(tmp_path: Path) -> None:
    """Another journal mode has no header; one that was left behind says nothing."""
    path = tmp_path / "some.sqlite"
    new_database(path, "delete")
    Path(f"{path}-shm").write_bytes(bytes(32768))
    with watched(path) as (connection, watch):
        assert watch.mark() == b""
        elsewhere(path, RAW + "put(7)")
        assert watch.mark() == b""
        assert number_in(connection) == 7


@contextmanager
def opened(path: Path) -> Iterator[StoreReader]:
    reader = StoreReader(path, master_key())
    reader.refresh()
    yield reader
    reader.close()


def changed_elsewhere(reader: StoreReader, account_id: int) -> bool:
    """Disable an account in another process; return whether the next request sees it."""
    change = f"store.update_account({account_id}, AccountChanges(disabled=True))"
    elsewhere(reader.path, f"store = Store.open(path, master_key())\n{change}")
    reader.refresh()
    account = reader.account_by_id(account_id)
    return account is not None and account.disabled


def test_store_that_cannot_be_watched_is_as_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format of the header that we do not know: the query tells, as it always did."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    monkeypatch.setattr(store_commits, "_FORMAT", b"none")
    with opened(store.path) as reader:
        assert reader._commits.mark() == b""
        assert changed_elsewhere(reader, alice)
    store.close()


def test_store_that_is_not_in_wal_mode_is_as_fresh(tmp_path: Path) -> None:
    """Somebody changed its journal mode while nobody had it open."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    store.close()
    raw = sqlite3.connect(store.path, isolation_level=None)
    assert raw.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    raw.close()
    with opened(store.path) as reader:
        assert reader._commits.mark() == b""
        assert changed_elsewhere(reader, alice)


def test_store_behind_a_symbolic_link_is_watched_where_it_is(tmp_path: Path) -> None:
    """SQLite puts its files beside the store, not beside the link."""
    (tmp_path / "real").mkdir()
    store = make_store(tmp_path / "real")
    alice = store.add_account(user())
    link_path = tmp_path / "store.sqlite"
    link_path.symlink_to(store.path)
    Path(f"{link_path}-shm").write_bytes(Path(f"{store.path}-shm").read_bytes())
    with opened(link_path) as reader:
        assert reader._commits.mark()
        assert changed_elsewhere(reader, alice)
    store.close()


def test_store_put_in_place_of_another_is_seen_when_it_is_opened(tmp_path: Path) -> None:
    """As after a restore: closed, replaced, used again; nothing of the old one is left."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = make_store(tmp_path / "old"), make_store(tmp_path / "new")
    alice = old.add_account(user())
    assert new.add_account(user()) == alice
    new.update_account(alice, AccountChanges(disabled=True))
    new.close()
    old.refresh()
    before = old.account_by_id(alice)
    assert before is not None
    assert not before.disabled
    old.close()
    new.path.rename(old.path)
    old.refresh()
    after = old.account_by_id(alice)
    assert after is not None
    assert after.disabled
    old.update_account(alice, AccountChanges(disabled=False))
    assert changed_elsewhere(old, alice)
    old.close()


@pytest.mark.parametrize("first_use", ["failures", "unlock", "record_success"])
def test_lock_set_while_the_counters_were_closed_is_seen(tmp_path: Path, first_use: str) -> None:
    """Each new log begins with the same header: what was known before it must not come back."""
    path = tmp_path / "lockout.sqlite"
    made = LockoutBook(path)
    made.unlock(0)
    made.close()
    book, other = LockoutBook(path), LockoutBook(path)
    book.unlock(0)
    assert book.locked_until(7) is None
    mark = book._commits.mark()
    book.close()
    other.lock(7, NOW)
    other.close()
    uses: dict[str, Callable[[], object]] = {
        "failures": lambda: book.failures(8),
        "unlock": lambda: book.unlock(8),
        "record_success": lambda: book.record_success(8, NOW),
    }
    uses[first_use]()
    assert book._commits.mark() == mark
    assert book.locked_until(7) == NOW
    book.close()


def test_version_is_another_one_after_the_connection_was_lost(tmp_path: Path) -> None:
    """SQLite counts anew for each connection; a replica must not see the old number."""
    store = make_store(tmp_path)
    with opened(store.path) as reader:
        before = reader.version
        reader.close()
        store.set_setting("colour", "blue")
        reader.refresh()
        assert reader.version != before
    store.close()


def test_commit_is_seen_once_an_unfinished_query_has_ended(tmp_path: Path) -> None:
    """A snapshot that is still read hides a commit from SQLite; not for longer than that."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    with opened(store.path) as reader:
        for disabled in (True, False):
            reader.refresh()
            reader.refresh()
            reader.account_by_id(alice)
            unfinished = reader._open().execute("SELECT * FROM accounts")
            unfinished.fetchone()
            store.update_account(alice, AccountChanges(disabled=disabled))
            reader.refresh()
            unfinished.close()
            reader.refresh()
            found = reader.account_by_id(alice)
            assert found is not None
            assert found.disabled is disabled
    store.close()


# -- locks -----------------------------------------------------------------------------------


def test_another_reader_of_this_process_takes_no_locks_away(tmp_path: Path) -> None:
    """Rule 4: without our locks, the next process to leave would remove what we have mapped."""
    store = make_store(tmp_path)
    alice = store.add_account(user())
    store.record_password_failure(alice, NOW, LockoutPolicy(threshold=5))
    for _ in range(2):
        with opened(store.path) as reader:
            assert reader.account_by_name("alice") is not None
    indexes = [tmp_path / "store.sqlite-shm", tmp_path / "store-lockout.sqlite-shm"]
    before = [index.stat().st_ino for index in indexes]
    assert changed_elsewhere(store, alice)
    counters = tmp_path / "store-lockout.sqlite"
    elsewhere(
        counters, f"LockoutBook(path).record_failure({alice}, NOW, LockoutPolicy(threshold=1))"
    )
    account = store.account_by_id(alice)
    assert account is not None
    assert account.locked_until is not None
    elsewhere(counters, f"book = LockoutBook(path); book.unlock({alice}); book.close()")
    account = store.account_by_id(alice)
    assert account is not None
    assert account.locked_until is None
    assert [index.stat().st_ino for index in indexes] == before
    store.close()


def test_mappings_end_with_their_databases(tmp_path: Path) -> None:
    """Bounded: what is open counts, not what was; and past the bound SQLite is asked."""
    for number in range(2 * MAX_MAPPED):
        path = tmp_path / f"{number}.sqlite"
        new_database(path)
        with watched(path) as (_, watch):
            assert watch.mark()
    assert len(store_commits._mapped) <= MAX_MAPPED
    store_commits._let_go()
    open_now = len(store_commits._mapped)
    held = []
    for number in range(MAX_MAPPED - open_now + 1):
        connection = sqlite3.connect(tmp_path / f"{number}.sqlite", isolation_level=None)
        watch = CommitWatch()
        watch.attach(connection)
        held.append((connection, watch))
    assert [bool(watch.mark()) for _, watch in held] == [True] * (len(held) - 1) + [False]
    for connection, watch in held:
        watch.detach()
        connection.close()
    store_commits._let_go()
    assert len(store_commits._mapped) == open_now
