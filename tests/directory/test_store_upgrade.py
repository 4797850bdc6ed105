"""Stores of an older schema, and of a newer one."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from directory.alt_security import index_keys
from directory.backend import DirectoryError, DirectoryFault
from directory.store import Store
from directory.store_schema import SCHEMA_VERSION
from tests.directory.builders import NOW, make_store, master_key, secret_keys, user
from tests.directory.test_groups import names_of
from tests.directory.test_store_processes import script


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    yield made
    made.close()


TABLES_OF = {
    2: ("group_members", "account_members", "groups", "nt_hashes"),
    3: ("account_values", "password_history"),
    4: (),
    5: ("devices",),
    6: ("alt_security_keys",),
}
INDEXES_OF_3 = ("accounts_by_dn", "accounts_by_guid", "groups_by_dn", "groups_by_guid")


def to_schema(version: int, path: Path) -> None:
    """Take away from a store what later schemas added."""
    connection = sqlite3.connect(path)
    if version < 4:
        connection.execute("DROP INDEX read_only_dcs")
    if version >= 3:
        for later in range(version + 1, SCHEMA_VERSION + 1):
            for table in TABLES_OF[later]:
                connection.execute(f"DROP TABLE {table}")
        connection.execute(
            "UPDATE settings SET value = ? WHERE name = 'schema_version'", (version,)
        )
        connection.commit()
        connection.close()
        return
    for index in INDEXES_OF_3:
        connection.execute(f"DROP INDEX {index}")
    for column in ("dn", "dn_key", "guid"):
        connection.execute(f"ALTER TABLE groups DROP COLUMN {column}")
    columns = ["dn_key", "supported_enctypes"]
    if version == 1:
        columns += ["primary_group", "password_set_at"]
    for column in columns:
        connection.execute(f"ALTER TABLE accounts DROP COLUMN {column}")
    for later in range(version + 1, SCHEMA_VERSION + 1):
        for table in TABLES_OF[later]:
            connection.execute(f"DROP TABLE {table}")
    connection.execute("UPDATE settings SET value = ? WHERE name = 'schema_version'", (version,))
    connection.commit()
    connection.close()


def layout(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Describe the tables and indexes of a store."""
    connection = sqlite3.connect(path)
    names = [r[0] for r in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
    out = {name: connection.execute(f"PRAGMA table_xinfo('{name}')").fetchall() for name in names}
    connection.close()
    return out


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("old", [1, 2, 3, 4, 5])
def test_store_of_an_older_schema_is_upgraded_when_it_is_opened(
    store: Store, old: int, read_only: bool
) -> None:
    """Every account is still there; groups are those of a new realm; the layout is a new one's."""
    new_layout = layout(store.path)
    alice = store.add_account(user())
    store.close()
    to_schema(old, store.path)
    opened = Store.open(store.path, master_key(), read_only=read_only)
    assert opened.setting("schema_version") == SCHEMA_VERSION
    account = opened.account_by_name("alice")
    assert account is not None
    assert (account.account_id, account.password_set_at) == (alice, None if old == 1 else NOW)
    assert set(account.keys) == set(secret_keys("alice"))
    assert names_of(opened, alice) == ["Domain Users"]
    opened.close()
    assert layout(store.path) == new_layout


def test_upgrade_finds_accounts_of_a_directory_by_their_dn(store: Store) -> None:
    """Schema 2 kept DNs and did not search for them."""
    dn = "CN=Ärmel,OU=Süd,DC=LAB,DC=TEST"
    aermel = store.add_account(replace(user("aermel"), dn=dn))
    store.close()
    to_schema(2, store.path)
    opened = Store.open(store.path, master_key())
    assert opened.account_id_by_dn("cn=Ärmel,ou=Süd,dc=lab,dc=test") == aermel
    opened.close()


def test_upgrade_makes_a_follower_look_at_everything_again(store: Store) -> None:
    """Schema 4 passed over device objects: going on from its place would never read them."""
    for name in ("directory cookie", "directory usn 0123", "directory load"):
        store.set_setting(name, 7)
    store.close()
    to_schema(4, store.path)
    opened = Store.open(store.path, master_key())
    names = ("directory cookie", "directory usn 0123", "directory load")
    assert [opened.setting(name) for name in names] == [None, None, 7]
    opened.close()


def test_upgrade_indexes_explicit_mappings(store: Store) -> None:
    """Schema 5 kept altSecurityIdentities and did not search for them."""
    alice = store.add_account(replace(user(), alt_security_identities=("X509:<SKI>AABB",)))
    store.close()
    to_schema(5, store.path)
    opened = Store.open(store.path, master_key())
    keys = index_keys("x509:<SKI>aabb")
    assert opened.accounts_by_alt_security_identity(keys) == (alice,)
    opened.close()


def test_processes_that_open_an_old_store_at_once_upgrade_it_once(store: Store) -> None:
    """Workers start together."""
    store.add_account(user())
    store.close()
    to_schema(1, store.path)
    code = "print(len(store.list_groups()))\n"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script(store, code)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in started] == ["5"] * 4


def test_killed_upgrade_leaves_the_old_store(store: Store) -> None:
    """One transaction: the next process does it again."""
    alice = store.add_account(user())
    store.close()
    to_schema(1, store.path)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from directory import store_upgrade\n"
        "store_upgrade.insert_well_known_groups = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"store_upgrade.upgrade_store(Path({str(store.path)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL
    connection = sqlite3.connect(store.path)
    version = connection.execute("SELECT value FROM settings WHERE name = 'schema_version'")
    assert version.fetchone() == (1,)
    connection.close()
    opened = Store.open(store.path, master_key())
    assert names_of(opened, alice) == ["Domain Users"]
    opened.close()


def test_store_of_a_newer_schema_is_left_alone(store: Store) -> None:
    """An older program must not write what it does not know."""
    store.set_setting("schema_version", SCHEMA_VERSION + 1)
    store.close()
    with pytest.raises(DirectoryError) as caught:
        Store.open(store.path, master_key())
    assert caught.value.kind is DirectoryFault.UNAVAILABLE
    assert "schema" in caught.value.detail
