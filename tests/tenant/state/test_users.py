"""Users of the tenant, and how their passwords are kept."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from directory.backend import DirectoryError, DirectoryFault
from tenant.state import passwords, users
from tenant.state.database import Database
from tenant.state.passwords import DEFAULT_COST, NOBODY, PasswordHash, hash_password, is_password
from tenant.state.users import MfaMode, User

ALICE = User(
    object_id=UUID(int=1),
    upn="Alice@lab.test",
    display_name="Alice Änne",
    password=hash_password("pässword", bytes(16), cost=2),
    mfa=MfaMode.REQUIRED,
    onprem_sid="S-1-5-21-1-2-3-1104",
    onprem_sam="alice",
    onprem_guid=UUID(int=77),
)
BOB = User(object_id=UUID(int=2), upn="bob@lab.test", display_name="Bob")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    made = Database.create(tmp_path / "tenant.sqlite")
    yield made
    made.close()


def test_a_user_is_found_by_each_of_its_names(database: Database) -> None:
    """All fields come back; a UPN has no case."""
    with database.write() as connection:
        users.add(connection, ALICE)
        users.add(connection, BOB)
    with database.read() as connection:
        assert users.by_upn(connection, "ALICE@LAB.TEST") == ALICE
        assert users.by_id(connection, BOB.object_id) == BOB
        assert users.by_onprem_guid(connection, UUID(int=77)) == ALICE
        assert users.all_users(connection) == (ALICE, BOB)
        for unknown in ("carol@lab.test", "alice", "' OR 1=1 --", "\ud800@lab.test", ""):
            assert users.by_upn(connection, unknown) is None


def test_a_user_is_changed_and_deleted(database: Database) -> None:
    """By object id, so that a name can change."""
    renamed = replace(BOB, upn="robert@lab.test", enabled=False, mfa=MfaMode.ASSUMED)
    with database.write() as connection:
        users.add(connection, BOB)
        users.update(connection, renamed)
        assert users.all_users(connection) == (renamed,)
        users.delete(connection, BOB.object_id)
        assert users.all_users(connection) == ()
        with pytest.raises(DirectoryError) as refusal:
            users.update(connection, BOB)
        assert refusal.value.kind is DirectoryFault.NOT_FOUND
        with pytest.raises(DirectoryError) as refusal:
            users.delete(connection, BOB.object_id)
        assert refusal.value.kind is DirectoryFault.NOT_FOUND


@pytest.mark.parametrize(
    "other",
    [
        replace(BOB, upn="aLICE@lab.test"),
        replace(BOB, onprem_sid=ALICE.onprem_sid),
        replace(BOB, onprem_guid=ALICE.onprem_guid),
        replace(BOB, object_id=ALICE.object_id),
    ],
)
def test_no_two_users_share_a_name_or_an_account(database: Database, other: User) -> None:
    """What a token is made for is one user."""
    with database.write() as connection:
        users.add(connection, ALICE)
    with pytest.raises(DirectoryError) as refusal, database.write() as connection:
        users.add(connection, other)
    assert refusal.value.kind is DirectoryFault.EXISTS


@pytest.mark.parametrize(
    "upn",
    ["bob", "@lab.test", "bob@", "a@b@c", "b ob@lab.test", "bob\n@lab.test", "b@" + "x" * 256],
)
def test_a_name_that_is_no_upn_is_refused(database: Database, upn: str) -> None:
    """It goes into tokens and logs."""
    with pytest.raises(DirectoryError) as refusal, database.write() as connection:
        users.add(connection, replace(BOB, upn=upn))
    assert refusal.value.kind is DirectoryFault.INVALID


def test_a_password_is_compared_in_one_spelling() -> None:
    """RFC 8265 4.2.2: composed and decomposed letters are the same password."""
    stored = hash_password("p\u00e4ss", b"s" * 16, cost=2)
    assert is_password("pa\u0308ss", stored)
    assert not is_password("pass", stored)
    assert not is_password("", stored)
    assert PasswordHash.decode(stored.encode()) == stored
    assert repr(stored) == "PasswordHash()"
    assert "PasswordHash" not in repr(ALICE)


@pytest.mark.parametrize("password", ["", "x" * 257])
def test_a_password_out_of_bounds_is_refused(password: str) -> None:
    """Empty, or more than is ever hashed."""
    with pytest.raises(ValueError, match="1 to 256 octets"):
        hash_password(password, bytes(16), cost=2)
    assert not is_password(password, hash_password("x", bytes(16), cost=2))
    assert not is_password("\ud800", None)


def test_the_longest_password_is_right_in_its_longest_spelling() -> None:
    """Each of its characters is typed as three code points (RFC 8265 4.2.2)."""
    composed, typed = "\u01d5" * 128, "U\u0308\u0304" * 128
    assert is_password(typed, hash_password(composed, bytes(16), cost=16))


def test_a_password_that_is_far_too_long_is_not_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordering 100,000 combining characters takes a minute in which nobody else is answered."""
    stored = hash_password("Fjord", bytes(16), cost=16)
    monkeypatch.setattr(passwords, "unicodedata", None)
    assert not is_password("a" + "\u0300" * 50_000 + "\u0316" * 50_000, stored)
    with pytest.raises(ValueError, match="256 octets"):
        hash_password("\u0316" * 100_000, bytes(16), cost=16)


def test_nobodys_password_costs_as_much_and_is_never_right() -> None:
    """An unknown user is as slow as a known one: the same hash is computed."""
    assert NOBODY.cost == DEFAULT_COST
    started = time.process_time()
    assert not is_password("x", None)
    assert time.process_time() > started
