"""The table of primary refresh tokens."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from directory.backend import DirectoryError
from directory.sealing import MasterKey
from tenant.state import devices, prts, tokens, users
from tenant.state.database import Database
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.passwords import hash_password
from tenant.state.prts import MAX_OF_A_PAIR, Prt
from tenant.state.sign_in import SignIn
from tenant.state.users import User
from tests.rig.tenant import NOW

MASTER_KEY = MasterKey(bytes(range(32)))
ALICE = User(object_id=UUID(int=1), upn="alice@lab.test", display_name="Alice")
DEVICE, OTHER_DEVICE = UUID(int=9), UUID(int=8)
LIFE = timedelta(days=14)
PRT = Prt(
    sign_in=SignIn(
        user_id=ALICE.object_id,
        client_id="38aa3b87-a06d-4817-b275-7a316988d93b",
        methods=frozenset({"rsa"}),
        auth_time=NOW,
        mfa_time=NOW,
        device_id=DEVICE,
    ),
    device_key=bytes(32),
    session_key=bytes(range(32)),
    hello_key=bytes(range(32, 64)),
    issued=NOW,
    expires=NOW + LIFE,
)


def device_record(device_id: UUID) -> DeviceRecord:
    """Make a device."""
    return DeviceRecord(
        device_id=device_id,
        object_id=UUID(int=device_id.int + 100),
        display_name="PC",
        join_type=JoinType.JOINED,
        created=NOW,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with one user."""
    made = Database.create(tmp_path / "tenant.sqlite")
    with made.write() as connection:
        users.add(connection, ALICE)
        for device_id in (DEVICE, OTHER_DEVICE):
            devices.insert_device(connection, device_record(device_id))
    yield made
    made.close()


def keep(database: Database, token: str, prt: Prt = PRT) -> None:
    """Insert a token."""
    with database.write() as connection:
        prts.insert_prt(connection, token, prt, MASTER_KEY)


def find(database: Database, token: str, key: MasterKey = MASTER_KEY) -> Prt | None:
    """Look a token up."""
    with database.read() as connection:
        return prts.prt_by_token(connection, token, key)


def test_token_comes_back_whole(database: Database) -> None:
    """With its session key, and the sign-in unchanged."""
    keep(database, "1.token")
    assert find(database, "1.token") == PRT
    assert find(database, "1.other") is None
    assert PRT.session_key.hex() not in repr(PRT)


def test_neither_token_nor_session_key_is_in_the_file(database: Database, tmp_path: Path) -> None:
    """A hash of the one, the other sealed."""
    keep(database, "1.token")
    octets = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"1.token" not in octets
    assert PRT.session_key not in octets


def test_session_key_is_bound_to_its_row(database: Database) -> None:
    """One moved into another row does not open, nor does it under another master key."""
    keep(database, "1.a")
    keep(database, "1.b", replace(PRT, session_key=bytes(32)))
    with database.write() as connection:
        connection.execute(
            "UPDATE prts SET session_key = (SELECT session_key FROM prts WHERE digest = ?)",
            (tokens.digest_of("1.a"),),
        )
    with pytest.raises(DirectoryError):
        find(database, "1.b")
    with pytest.raises(DirectoryError):
        find(database, "1.a", MasterKey(bytes(32)))


def test_newest_of_a_pair_are_kept(database: Database) -> None:
    """Renewals do not fill the table; another device's tokens are left alone."""
    other = replace(PRT, sign_in=replace(PRT.sign_in, device_id=OTHER_DEVICE))
    keep(database, "1.elsewhere", other)
    for number in range(MAX_OF_A_PAIR + 2):
        keep(database, f"1.{number}", replace(PRT, issued=NOW + timedelta(seconds=number // 3)))
    kept = [n for n in range(MAX_OF_A_PAIR + 2) if find(database, f"1.{n}")]
    assert len(kept) == MAX_OF_A_PAIR
    assert kept[-1] == MAX_OF_A_PAIR + 1
    assert find(database, "1.elsewhere") == other


def test_expired_ones_go_when_one_is_added(database: Database) -> None:
    """No job of its own is needed."""
    keep(database, "1.old")
    keep(database, "1.new", replace(PRT, issued=NOW + LIFE, expires=NOW + 2 * LIFE))
    assert find(database, "1.old") is None


def test_new_password_ends_what_rests_on_the_old_one(database: Database) -> None:
    """What a Hello key got stays."""
    keep(database, "1.password", replace(PRT, hello_key=None))
    keep(database, "1.hello")
    with database.write() as connection:
        changed = replace(ALICE, password=hash_password("new", bytes(16), cost=2))
        users.update(connection, changed)
    assert find(database, "1.password") is None
    assert find(database, "1.hello") == PRT


def test_tokens_go_with_their_user_and_device(database: Database) -> None:
    """ON DELETE CASCADE; a change of the device leaves them."""
    keep(database, "1.a")
    with database.write() as connection:
        devices.update_device(connection, replace(device_record(DEVICE), display_name="PC 2"))
    assert find(database, "1.a") == PRT
    with database.write() as connection:
        assert prts.delete_prts_of_user(connection, UUID(int=2)) == 0
        assert prts.delete_prts_of_user(connection, ALICE.object_id) == 1
    keep(database, "1.b")
    with database.write() as connection:
        devices.delete_device(connection, DEVICE)
    keep(database, "1.c", replace(PRT, sign_in=replace(PRT.sign_in, device_id=OTHER_DEVICE)))
    with database.write() as connection:
        users.delete(connection, ALICE.object_id)
    assert all(find(database, f"1.{name}") is None for name in "abc")


def test_token_without_a_device_is_refused(database: Database) -> None:
    """A PRT is bound to one."""
    with pytest.raises(ValueError, match="device"):
        keep(database, "1.a", replace(PRT, sign_in=replace(PRT.sign_in, device_id=None)))


def test_token_of_nobody_is_refused(database: Database) -> None:
    """The user was deleted meanwhile."""
    nobody = replace(PRT, sign_in=replace(PRT.sign_in, user_id=UUID(int=2)))
    with pytest.raises(sqlite3.IntegrityError):
        keep(database, "1.a", nobody)
