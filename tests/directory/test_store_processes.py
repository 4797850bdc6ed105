"""The store between processes and under violence: fresh reads, kill -9, damage, lockout."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountChanges
from directory.model import NOBODY, LockoutPolicy
from directory.store import Store
from directory.store_schema import to_micros
from pki.keys import PublicKey
from tests.directory.builders import (
    NOW,
    hello_key,
    link,
    make_store,
    master_key,
    secret_keys,
    user,
)

pytestmark = pytest.mark.slow

POLICY = LockoutPolicy(threshold=3, duration=timedelta(minutes=30), window=timedelta(minutes=10))
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    yield made
    made.close()


def other_process(store: Store, code: str) -> None:
    """Run code with `store` open in a process of its own."""
    subprocess.run([sys.executable, "-c", script(store, code)], check=True, cwd=Path.cwd())


def script(store: Store, code: str) -> str:
    return (
        "from pathlib import Path\n"
        "from directory.changes import AccountChanges\n"
        "from directory.store import Store\n"
        "from tests.directory.builders import *\n"
        f"store = Store.open(Path({str(store.path)!r}), master_key())\n{code}"
    )


# -- fresh reads -----------------------------------------------------------------------------


def test_change_of_another_process_is_seen_at_the_next_refresh(store: Store) -> None:
    """Architecture section 4: a committed change is seen by every worker's next request."""
    alice = store.add_account(user())
    reader = Store.open(store.path, master_key(), read_only=True)
    reader.refresh()
    before = reader.account_by_name("alice")
    assert before is not None
    assert reader.account_by_name("bob") is None
    other_process(
        store,
        f"store.update_account({alice}, AccountChanges(disabled=True))\n"
        "store.add_account(user('bob'))\n"
        f"store.add_key_credential({alice}, link())\n",
    )
    assert reader.account_by_name("alice") is before, "one request sees one state"
    reader.refresh()
    after = reader.account_by_name("alice")
    assert after is not None
    assert (after.disabled, len(after.key_credentials)) == (True, 1)
    assert reader.account_by_name("bob") is not None


def test_refresh_without_a_change_keeps_decoded_accounts(store: Store) -> None:
    """The cache is dropped by commits, not by time."""
    store.add_account(user())
    reader = Store.open(store.path, master_key(), read_only=True)
    reader.refresh()
    first = reader.account_by_name("alice")
    reader.refresh()
    assert reader.account_by_name("alice") is first


def test_removed_key_is_gone_at_the_next_refresh(store: Store) -> None:
    """`kdc key remove alice --all` while serving."""
    alice = store.add_account(user())
    store.add_key_credential(alice, link())
    reader = Store.open(store.path, master_key(), read_only=True)
    reader.refresh()
    account = reader.account_by_id(alice)
    assert account is not None
    assert len(account.key_credentials) == 1
    assert reader.accounts_by_key(hello_key().digest) == (alice,)
    assert store.remove_key_credential(alice) == 1
    reader.refresh()
    account = reader.account_by_id(alice)
    assert account is not None
    assert account.key_credentials == ()
    assert reader.accounts_by_key(hello_key().digest) == ()


# -- violence --------------------------------------------------------------------------------


@pytest.mark.parametrize("acknowledged", [1, 7, 25])
def test_kill_during_writes_loses_nothing_acknowledged(store: Store, acknowledged: int) -> None:
    """Row S02: acknowledged accounts and keys survive SIGKILL; nothing is half-written."""
    code = (
        "for i in range(10_000):\n"
        "    n = store.add_account(user(f'user{i}'))\n"
        "    store.add_key_credential(n, link(hello_key(), store.owner_dn(n)))\n"
        "    print(i, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script(store, code)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(acknowledged):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        for line in writer.stdout:
            last = int(line)
    store.close()
    again = Store.open(store.path, master_key())
    for i in range(last + 1):
        account = again.account_by_name(f"user{i}")
        assert account is not None
        assert len(account.keys) == 4
        assert [c.usable for c in account.key_credentials] == [True]
    raw = sqlite3.connect(store.path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    again.add_account(user("after"))


def test_store_half_made_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """A killed `kdc init` leaves a draft, not a store."""
    (tmp_path / "store.sqlite.new").write_bytes(b"half a database")
    assert make_store(tmp_path).krbtgt().keys


def files_of(store: Store) -> list[Path]:
    return sorted(store.path.parent.glob(f"{store.path.stem}*"))


def test_secrets_are_not_in_the_files(store: Store) -> None:
    """Design requirement 12, row S08: sealed in database and log alike; files are the owner's."""
    store.add_account(user())
    store.set_secret("freshness", b"freshness-secret-0123456789abcdef")
    data = b"".join(path.read_bytes() for path in files_of(store))
    assert b"alice" in data
    for key in (*secret_keys("krbtgt"), *secret_keys("alice")):
        assert key.key not in data
        assert key.key.hex().encode() not in data.lower()
    assert b"freshness-secret" not in data
    assert {stat.S_IMODE(path.stat().st_mode) for path in files_of(store)} == {0o600}


def test_sealed_key_moved_to_another_account_is_corrupt(store: Store) -> None:
    """The seal binds account, kvno and etype: bob's row does not open as alice's."""
    alice, bob = store.add_account(user("alice")), store.add_account(user("bob"))
    raw = sqlite3.connect(store.path)
    raw.execute(
        "UPDATE keys SET sealed = (SELECT sealed FROM keys b WHERE b.account_id = ?"
        " AND b.etype = keys.etype) WHERE account_id = ?",
        (bob, alice),
    )
    raw.commit()
    raw.close()
    store.refresh()
    with pytest.raises(DirectoryError) as caught:
        store.account_by_name("alice")
    assert caught.value.kind is DirectoryFault.CORRUPT
    assert store.account_by_name("bob") is not None


def test_missing_store_is_unavailable(tmp_path: Path) -> None:
    """Row L01: never an empty realm."""
    with pytest.raises(DirectoryError) as caught:
        Store.open(tmp_path / "none.sqlite", master_key())
    assert caught.value.kind is DirectoryFault.UNAVAILABLE
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look at" * 100])
def test_file_that_is_no_store_is_unavailable(tmp_path: Path, content: bytes) -> None:
    """Row L01."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(content)
    with pytest.raises(DirectoryError) as caught:
        Store.open(path, master_key())
    assert caught.value.kind is DirectoryFault.UNAVAILABLE


def test_damage_while_serving_is_unavailable_never_unknown(store: Store) -> None:
    """Row L01, design requirement 11: 29, never 6."""
    store.add_accounts(user(f"user{i}") for i in range(500))
    store.close()
    size = store.path.stat().st_size
    reader = Store.open(store.path, master_key(), read_only=True)
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    for lookup in (reader.account_by_name, reader.account_by_upn, reader.account_by_spn):
        with pytest.raises(DirectoryError) as caught:
            lookup("user250")
        assert caught.value.kind is DirectoryFault.UNAVAILABLE
    with pytest.raises(DirectoryError) as caught:
        reader.accounts_by_key(bytes(32))
    assert caught.value.kind is DirectoryFault.UNAVAILABLE


def test_reader_goes_on_while_a_writer_holds_the_store(store: Store) -> None:
    """WAL: readers wait for nobody."""
    store.add_account(user())
    writer = sqlite3.connect(store.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE accounts SET flags = 1")
    reader = Store.open(store.path, master_key(), read_only=True)
    account = reader.account_by_name("alice")
    assert account is not None
    assert not account.disabled
    writer.execute("COMMIT")
    writer.close()
    reader.refresh()
    account = reader.account_by_name("alice")
    assert account is not None
    assert account.disabled


def test_failed_change_leaves_the_store_usable(store: Store) -> None:
    """A rolled-back transaction is closed, and the next one works."""
    account_id = store.add_account(user())
    with pytest.raises(DirectoryError):
        store.add_account(user())
    with pytest.raises(ZeroDivisionError):
        store.add_accounts(user(str(1 // i)) for i in (1, 0))
    store.update_account(account_id, AccountChanges(disabled=True))
    assert store.account_by_name("1") is None


def register_alone(path: Path, account_id: int, keys: tuple[PublicKey, ...]) -> int:
    """Register the same keys as another process; return how many this one got."""
    store = Store.open(path, master_key())
    won = 0
    for key in keys:
        text = link(key, dn=store.owner_dn(account_id))
        try:
            store.add_key_credential(account_id, text, unshared=True)
        except DirectoryError as error:
            assert error.kind is DirectoryFault.EXISTS, error
            continue
        won += 1
    store.close()
    return won


def test_key_registered_by_two_processes_at_once_is_on_one_account(store: Store) -> None:
    """Row K07: the check is part of the write, so no two can find the key free."""
    owners = [store.add_account(user(name)) for name in ("alice", "bob")]
    keys = tuple(hello_key(number) for number in range(3))
    for _ in range(2):
        store.close()
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(register_alone, store.path, owner, keys) for owner in owners]
            assert sum(job.result() for job in jobs) == 3
        again = Store.open(store.path, master_key())
        assert again.shared_keys() == ()
        for owner in owners:
            again.remove_key_credential(owner)
        again.close()


# -- lockout ---------------------------------------------------------------------------------


def failed(store: Store, account_id: int, now: datetime) -> datetime | None:
    return store.record_password_failure(account_id, now, POLICY)


def locked(store: Store, account_id: int) -> datetime | None:
    account = store.account_by_id(account_id)
    assert account is not None
    return account.locked_until


def test_threshold_locks_and_every_reader_sees_it_at_once(store: Store) -> None:
    """MS-SAMR 3.1.1.8.5 and row K15; without a refresh, and without dropping the cache."""
    alice, bob = store.add_account(user("alice")), store.add_account(user("bob"))
    reader = Store.open(store.path, master_key(), read_only=True)
    reader.refresh()
    before = reader.account_by_id(bob)
    assert [failed(store, alice, NOW), failed(store, alice, NOW)] == [None, None]
    assert locked(reader, alice) is None
    assert failed(store, alice, NOW) == NOW + POLICY.duration
    assert locked(reader, alice) == NOW + POLICY.duration
    reader.refresh()
    assert reader.account_by_id(bob) is before
    found = reader.account_by_name("alice")
    assert found is not None
    assert found.locked_until == NOW + POLICY.duration


def test_lock_is_not_extended_and_counts_afresh_when_it_ends(store: Store) -> None:
    """A locked account's wrong passwords change nothing."""
    alice = store.add_account(user())
    for _ in range(3):
        until = failed(store, alice, NOW)
    assert until == NOW + POLICY.duration
    assert failed(store, alice, NOW + 20 * MINUTE) == until
    assert failed(store, alice, NOW + 31 * MINUTE) is None
    assert store.password_failures(alice) == 1
    assert locked(store, alice) is None


def test_wrong_password_older_than_the_window_is_forgotten(store: Store) -> None:
    """MS-SAMR 3.1.1.8.5: lockoutObservationWindow."""
    alice = store.add_account(user())
    failed(store, alice, NOW)
    failed(store, alice, NOW + 9 * MINUTE)
    assert store.password_failures(alice) == 2
    assert failed(store, alice, NOW + 20 * MINUTE) is None
    assert store.password_failures(alice) == 1


def test_right_password_resets_the_count_but_not_a_lock(store: Store) -> None:
    """The badPwdCount is zero after a logon; a lock stays until its end."""
    alice = store.add_account(user())
    failed(store, alice, NOW)
    store.record_password_success(alice, NOW)
    assert store.password_failures(alice) == 0
    for _ in range(3):
        failed(store, alice, NOW)
    store.record_password_success(alice, NOW + MINUTE)
    assert locked(store, alice) == NOW + POLICY.duration
    assert store.unlock(alice)
    assert locked(store, alice) is None
    assert not store.unlock(alice)


def test_threshold_zero_never_locks(store: Store) -> None:
    """MS-SAMR 3.1.1.8.5: lockoutThreshold 0."""
    alice = store.add_account(user())
    for _ in range(50):
        assert store.record_password_failure(alice, NOW, LockoutPolicy()) is None
    assert locked(store, alice) is None


def test_duration_zero_locks_until_an_administrator_unlocks(store: Store) -> None:
    """MS-SAMR 3.1.1.8.5: lockoutDuration 0."""
    alice = store.add_account(user())
    policy = LockoutPolicy(threshold=1, duration=timedelta(0))
    until = store.record_password_failure(alice, NOW, policy)
    assert until is not None
    assert until.year == 9999


def test_lock_of_a_deleted_account_goes_with_it(store: Store) -> None:
    """No state for nobody."""
    alice = store.add_account(user())
    failed(store, alice, NOW)
    store.delete_account(alice)
    assert store.password_failures(alice) == 0


def fail_often(path: Path, account_id: int, times: int) -> int:
    """Record wrong passwords in a worker process; return how many were not yet locking."""
    store = Store.open(path, master_key(), read_only=True)
    policy = LockoutPolicy(threshold=100)
    unlocked = sum(
        store.record_password_failure(account_id, NOW, policy) is None for _ in range(times)
    )
    store.close()
    return unlocked


def test_parallel_wrong_passwords_count_once_each(store: Store) -> None:
    """A hundred from two processes: exactly 99 go by unlocked, then the account is locked."""
    alice = store.add_account(user())
    store.close()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(fail_often, store.path, alice, 60) for _ in range(2)]
        assert sum(job.result() for job in jobs) == 99
    assert locked(store, alice) is not None
    assert store.password_failures(alice) == 100


def test_packet_sent_again_counts_once(store: Store) -> None:
    """RFC 4120 3.1.2: a retransmission is the same guess, whichever worker sees it, and when."""
    alice = store.add_account(user())
    other = Store.open(store.path, master_key(), read_only=True)
    for reader in (store, other, store):
        assert reader.record_password_failure(alice, NOW, POLICY, b"first" * 7) is None
    later = NOW + 2 * POLICY.window
    assert other.record_password_failure(alice, later, POLICY, b"first" * 7) is None
    assert store.password_failures(alice) == 1
    for packet in (b"second", b"third"):
        locked_until = store.record_password_failure(alice, NOW, POLICY, packet * 6)
    assert locked_until is not None
    other.close()


def test_a_right_password_forgets_the_packets_too(store: Store) -> None:
    """Else a row would stay for ever for each account that ever failed."""
    alice = store.add_account(user())
    store.record_password_failure(alice, NOW, POLICY, bytes(32))
    store.record_password_success(alice, NOW)
    store.record_password_failure(alice, NOW, POLICY, bytes(32))
    assert store.password_failures(alice) == 1


def test_packets_kept_for_an_account_are_bounded(store: Store) -> None:
    """Where the threshold is high or there is no end to guesses at nobody's password."""
    policy = LockoutPolicy(threshold=10_000)
    alice = store.add_account(user())
    for number in range(100):
        store.record_password_failure(alice, NOW, policy, number.to_bytes(32, "little"))
    counters = sqlite3.connect(store.path.with_name("store-lockout.sqlite"))
    ((size,),) = counters.execute("SELECT length(packets) FROM lockout").fetchall()
    counters.close()
    assert size == 16 * 12


def test_nobody_is_counted_and_never_locked(store: Store) -> None:
    """Row A08: a lock would make guesses at unknown names cheaper than at known ones."""
    for _ in range(POLICY.threshold + 1):
        assert store.record_password_failure(NOBODY, NOW, POLICY) is None
    assert store.password_failures(NOBODY) == POLICY.threshold + 1


def test_counters_of_an_older_version_are_read_and_go_on(store: Store) -> None:
    """A file made before packets were remembered: locks stay, and packets count once from now."""
    alice, bob = store.add_account(user("alice")), store.add_account(user("bob"))
    until = NOW + POLICY.duration
    store.close()
    old = sqlite3.connect(store.path.with_name("store-lockout.sqlite"), isolation_level=None)
    old.executescript(
        "DROP TABLE IF EXISTS lockout; CREATE TABLE lockout (account_id INTEGER PRIMARY KEY,"
        " failures INTEGER NOT NULL, last_failure INTEGER NOT NULL, locked_until INTEGER)"
    )
    old.execute("INSERT INTO lockout VALUES (?, 3, 0, ?)", (alice, to_micros(until)))
    old.close()
    again = Store.open(store.path, master_key())
    assert locked(again, alice) == until
    for _ in range(2):
        assert again.record_password_failure(bob, NOW, POLICY, bytes(32)) is None
    assert again.password_failures(bob) == 1
    again.close()


def test_lost_counters_are_unavailable_not_unlocked(store: Store) -> None:
    """Fail closed: a lock that cannot be read is not "no lock"."""
    alice = store.add_account(user())
    failed(store, alice, NOW)
    store.close()
    for path in files_of(store):
        if "lockout" in path.name:
            path.write_bytes(b"damaged" * 1000)
    reader = Store.open(store.path, master_key(), read_only=True)
    for use in (
        lambda: reader.account_by_id(alice),
        lambda: reader.password_failures(alice),
        lambda: failed(reader, alice, NOW),
        lambda: reader.record_password_success(alice, NOW),
        lambda: reader.unlock(alice),
    ):
        with pytest.raises(DirectoryError) as caught:
            use()
        assert caught.value.kind is DirectoryFault.UNAVAILABLE


def test_counters_that_another_process_holds_are_unavailable(store: Store) -> None:
    """A worker waits a second, not for ever."""
    alice = store.add_account(user())
    failed(store, alice, NOW)
    path = store.path.with_name("store-lockout.sqlite")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DirectoryError) as caught:
        failed(store, alice, NOW)
    assert caught.value.kind is DirectoryFault.UNAVAILABLE
    assert locked(store, alice) is None
    holder.execute("ROLLBACK")
    holder.close()
    assert failed(store, alice, NOW) is None
    assert store.password_failures(alice) == 2
