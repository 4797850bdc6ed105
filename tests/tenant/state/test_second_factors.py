"""One-time codes, approvals, and the lock against guessing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from directory.sealing import MasterKey
from tenant.state import lockouts, second_factors, users
from tenant.state.database import Database
from tenant.state.users import User

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
ALICE = User(object_id=UUID(int=1), upn="alice@lab.test", display_name="Alice")
MASTER = MasterKey(bytes(32))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with one user."""
    made = Database.create(tmp_path / "tenant.sqlite")
    with made.write() as connection:
        users.add(connection, ALICE)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "94287082"), (1111111109, "07081804"), (2000000000, "69279037")],
)
def test_one_time_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    """RFC 6238 appendix B, its eight digits cut to the six that are used."""
    assert second_factors.one_time_code(b"12345678901234567890", seconds // 30) == code[-6:]


def test_a_one_time_code_counts_once_and_near_its_time(database: Database) -> None:
    """RFC 6238 5.2: a step of difference, and never the same code again."""
    with database.write() as c:
        assert not second_factors.use_code(c, ALICE.object_id, "123456", NOW, MASTER)
        secret = second_factors.new_authenticator(c, ALICE.object_id, MASTER, lambda n: b"s" * n)
        step = int(NOW.timestamp()) // 30
        for distance in (-2, 2):
            far = second_factors.one_time_code(secret, step + distance)
            assert not second_factors.use_code(c, ALICE.object_id, far, NOW, MASTER)
        code = second_factors.one_time_code(secret, step)
        assert second_factors.use_code(c, ALICE.object_id, f"{code[:3]} {code[3:]}", NOW, MASTER)
        assert not second_factors.use_code(c, ALICE.object_id, code, NOW, MASTER)
        earlier = second_factors.one_time_code(secret, step - 1)
        assert not second_factors.use_code(c, ALICE.object_id, earlier, NOW, MASTER)
        for wrong in ("", "ä", "\ud800", "0" * 1000):
            assert not second_factors.use_code(c, ALICE.object_id, wrong, NOW, MASTER)


def test_an_authenticator_is_written_as_apps_take_it() -> None:
    """Base32 without a case, names escaped."""
    uri = second_factors.authenticator_uri(b"s" * 20, "alice@lab.test", "lab.test tenant")
    assert uri == (
        "otpauth://totp/lab.test%20tenant:alice%40lab.test"
        "?secret=ONZXG43TONZXG43TONZXG43TONZXG43T&issuer=lab.test%20tenant"
    )


def test_an_approval_serves_one_sign_in(database: Database) -> None:
    """As a tap on a telephone does, and not for long."""
    with database.write() as c:
        assert not second_factors.use_approval(c, ALICE.object_id, NOW)
        second_factors.approve(c, ALICE.object_id, NOW, 60)
        assert second_factors.use_approval(c, ALICE.object_id, NOW + timedelta(seconds=59))
        assert not second_factors.use_approval(c, ALICE.object_id, NOW)
        second_factors.approve(c, ALICE.object_id, NOW, 60)
        assert not second_factors.use_approval(c, ALICE.object_id, NOW + timedelta(seconds=60))


def test_ten_failures_lock_a_name_and_each_further_one_doubles_it(database: Database) -> None:
    """Up to a quarter of an hour; a sign-in or an hour of peace forgets them."""
    with database.write() as c:
        for _ in range(9):
            assert lockouts.record_failure(c, "Alice@lab.test", NOW, known=True) is None
        assert lockouts.locked_until(c, "alice@lab.test", NOW) is None
        for minutes in (1, 2, 4, 8, 15, 15):
            end = NOW + timedelta(minutes=minutes)
            assert lockouts.record_failure(c, "alice@lab.test", NOW, known=True) == end
            assert lockouts.locked_until(c, "ALICE@lab.test", NOW) == end
            assert lockouts.locked_until(c, "alice@lab.test", end) is None
        lockouts.clear(c, "alice@LAB.test")
        assert lockouts.record_failure(c, "alice@lab.test", NOW, known=True) is None
        for _ in range(8):
            lockouts.record_failure(c, "alice@lab.test", NOW, known=True)
        later = NOW + timedelta(hours=1)
        assert lockouts.record_failure(c, "alice@lab.test", later, known=True) is None


def test_names_of_nobody_push_out_no_users_count(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is bounded, and what it drops is nobody's."""
    monkeypatch.setattr(lockouts, "MAX_NAMES", 5)
    with database.write() as c:
        for _ in range(10):
            lockouts.record_failure(c, "alice@lab.test", NOW, known=True)
        for number in range(20):
            at = NOW + timedelta(seconds=1)
            lockouts.record_failure(c, f"nobody{number}@lab.test", at, known=False)
        assert lockouts.locked_until(c, "alice@lab.test", NOW) is not None
        assert c.execute("SELECT count(*) FROM lockouts").fetchone() == (5,)
