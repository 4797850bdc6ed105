"""Refresh tokens, authorization codes and device codes: once, by their client, in time."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from directory.backend import DirectoryError
from tenant.state import tokens, users
from tenant.state.database import Database
from tenant.state.passwords import hash_password
from tenant.state.sign_in import SignIn, decode_sign_in, encode_sign_in
from tenant.state.tokens import DeviceCode, Grant, GrantError, GrantFault
from tenant.state.users import User

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)
CLIENT, OTHER = str(UUID(int=5)), str(UUID(int=6))
ALICE = User(object_id=UUID(int=1), upn="alice@lab.test", display_name="Alice")
SIGN_IN = SignIn(
    user_id=ALICE.object_id,
    client_id=CLIENT,
    methods=frozenset({"pwd"}),
    auth_time=NOW,
    mfa_time=NOW - timedelta(microseconds=3),
    device_id=UUID(int=9),
)
GRANT = Grant(sign_in=SIGN_IN, resource="urn:r", scope="openid")
WAITING = DeviceCode(client_id=CLIENT, resource="urn:r", scope="openid", demands_mfa=True)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with one user."""
    made = Database.create(tmp_path / "tenant.sqlite")
    with made.write() as connection:
        users.add(connection, ALICE)
    yield made
    made.close()


def _refused(call: Callable[[], object]) -> GrantFault:
    with pytest.raises(GrantError) as refusal:
        call()
    return refusal.value.fault


def test_a_sign_in_is_stored_exactly() -> None:
    """To the microsecond: its times decide about a second factor."""
    bare = replace(SIGN_IN, mfa_time=None, device_id=None)
    for sign_in in (SIGN_IN, bare):
        assert decode_sign_in(encode_sign_in(sign_in)) == sign_in
    for damaged in ("", "{}", "[]", encode_sign_in(SIGN_IN).replace(CLIENT, CLIENT)[:-5]):
        with pytest.raises(DirectoryError):
            decode_sign_in(damaged)


def test_ngcmfa_ends_when_the_second_factor_is_old() -> None:
    """Seed P1, phase A: less than ten minutes ago; mfa itself stays."""
    proven = replace(SIGN_IN, mfa_time=NOW)
    assert proven.amr(NOW, 600) == ("mfa", "ngcmfa", "pwd")
    assert proven.amr(NOW + timedelta(seconds=599), 600) == ("mfa", "ngcmfa", "pwd")
    assert proven.amr(NOW + timedelta(seconds=600), 600) == ("mfa", "pwd")
    assert proven.amr(NOW - timedelta(seconds=1), 600) == ("mfa", "pwd")
    assert replace(SIGN_IN, mfa_time=None).amr(NOW, 600) == ("pwd",)


def test_a_refresh_token_is_used_once_and_by_its_client(database: Database) -> None:
    """RFC 6749 10.4, RFC 9700 4.14.2."""
    with database.write() as c:
        tokens.keep_refresh_token(c, "rt", SIGN_IN, NOW, 3600)
        assert (
            _refused(lambda: tokens.use_refresh_token(c, "xx", CLIENT, NOW)) is GrantFault.UNKNOWN
        )
        assert (
            _refused(lambda: tokens.use_refresh_token(c, "rt", OTHER, NOW))
            is GrantFault.OTHER_CLIENT
        )
        assert tokens.find_refresh_token(c, "rt", CLIENT, NOW)[0] == SIGN_IN
        sign_in, family = tokens.use_refresh_token(c, "rt", CLIENT, NOW)
        assert sign_in == SIGN_IN
        tokens.keep_refresh_token(c, "rt2", sign_in, NOW, 3600, family=family)
        assert _refused(lambda: tokens.use_refresh_token(c, "rt", CLIENT, NOW)) is GrantFault.USED
        assert (
            _refused(lambda: tokens.find_refresh_token(c, "rt2", CLIENT, NOW + timedelta(hours=1)))
            is GrantFault.EXPIRED
        )


def test_a_refresh_token_shown_again_ends_its_family(database: Database) -> None:
    """RFC 9700 4.14.2: one of the two who hold it is a thief. A client that asks again is not."""
    with database.write() as c:
        tokens.keep_refresh_token(c, "rt", SIGN_IN, NOW, 3600)
        _, family = tokens.use_refresh_token(c, "rt", CLIENT, NOW)
        tokens.keep_refresh_token(c, "rt2", SIGN_IN, NOW, 3600, family=family)
        assert not tokens.end_family(c, "rt", NOW + timedelta(seconds=9))
        assert not tokens.end_family(c, "rt2", LATER)
        assert not tokens.end_family(c, "unknown", LATER)
        assert tokens.find_refresh_token(c, "rt2", CLIENT, NOW)[0] == SIGN_IN
        assert tokens.end_family(c, "rt", NOW + timedelta(seconds=10))
        assert (
            _refused(lambda: tokens.find_refresh_token(c, "rt2", CLIENT, NOW)) is GrantFault.UNKNOWN
        )


def test_of_two_at_once_one_refreshes(tmp_path: Path, database: Database) -> None:
    """Four connections at once: one wins, three hear that it was used."""
    with database.write() as c:
        tokens.keep_refresh_token(c, "rt", SIGN_IN, NOW, 3600)
    start = threading.Barrier(4)
    results: list[str] = []

    def use(opened: Database) -> None:
        start.wait()
        try:
            with opened.write() as connection:
                tokens.use_refresh_token(connection, "rt", CLIENT, NOW)
        except GrantError as error:
            results.append(error.fault.name)
        else:
            results.append("won")

    others = [Database.open(tmp_path / "tenant.sqlite") for _ in range(4)]
    threads = [threading.Thread(target=use, args=(opened,)) for opened in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for opened in others:
        opened.close()
    assert sorted(results) == ["USED"] * 3 + ["won"]


def test_a_user_has_a_bounded_number_of_tokens(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest goes; what expired goes first."""
    monkeypatch.setattr(tokens, "MAX_REFRESH_TOKENS", 3)
    with database.write() as c:
        for number in range(5):
            at = NOW + timedelta(seconds=number)
            tokens.keep_refresh_token(c, f"rt{number}", SIGN_IN, at, 3600)
        kept = [number for number in range(5) if _is_there(c, f"rt{number}")]
    assert kept == [2, 3, 4]


def _is_there(connection: object, token: str) -> bool:
    try:
        tokens.find_refresh_token(connection, token, CLIENT, LATER)  # type: ignore[arg-type]  # of sqlite3
    except GrantError:
        return False
    return True


def test_a_new_password_ends_what_rests_on_the_old_one(database: Database) -> None:
    """AADSTS50173; a new display name ends nothing, deletion everything."""
    with database.write() as c:
        tokens.keep_refresh_token(c, "rt", SIGN_IN, NOW, 3600)
        tokens.keep_code(c, "code", GRANT, "u", None, NOW, 60)
        tokens.keep_device_code(c, "dc", "UC", WAITING, NOW, 60)
        tokens.settle_device_code(c, "UC", SIGN_IN, NOW)
        users.update(c, replace(ALICE, display_name="A."))
        assert tokens.find_refresh_token(c, "rt", CLIENT, NOW)[0] == SIGN_IN
        users.update(c, replace(ALICE, password=hash_password("new", bytes(16), cost=2)))
        for call in (
            lambda: tokens.find_refresh_token(c, "rt", CLIENT, NOW),
            lambda: tokens.use_code(c, "code", CLIENT, NOW),
            lambda: tokens.use_device_code(c, "dc", CLIENT, NOW),
        ):
            assert _refused(call) is GrantFault.UNKNOWN
        tokens.keep_refresh_token(c, "rt3", SIGN_IN, NOW, 3600)
        users.delete(c, ALICE.object_id)
        assert (
            _refused(lambda: tokens.find_refresh_token(c, "rt3", CLIENT, NOW)) is GrantFault.UNKNOWN
        )


def test_an_authorization_code_is_used_once(database: Database) -> None:
    """RFC 6749 4.1.2: used again, it ends the tokens that it was changed for."""
    with database.write() as c:
        tokens.keep_code(c, "code", GRANT, "http://localhost", "challenge", NOW, 60)
        assert _refused(lambda: tokens.use_code(c, "code", OTHER, NOW)) is GrantFault.OTHER_CLIENT
        assert _refused(lambda: tokens.use_code(c, "code", CLIENT, LATER)) is GrantFault.EXPIRED
        assert tokens.use_code(c, "code", CLIENT, NOW) == (GRANT, "http://localhost", "challenge")
        tokens.keep_refresh_token(c, "rt", SIGN_IN, NOW, 3600, family=tokens.digest_of("code"))
        assert _refused(lambda: tokens.use_code(c, "code", CLIENT, NOW)) is GrantFault.USED
        tokens.end_tokens_of_code(c, "code")
        assert (
            _refused(lambda: tokens.find_refresh_token(c, "rt", CLIENT, NOW)) is GrantFault.UNKNOWN
        )
        assert _refused(lambda: tokens.use_code(c, "other", CLIENT, NOW)) is GrantFault.UNKNOWN


def test_a_device_code_waits_for_its_user(database: Database) -> None:
    """RFC 8628 3.5: pending, then once."""
    with database.write() as c:
        tokens.keep_device_code(c, "dc", "ABCD2345", WAITING, NOW, 60)
        assert _refused(lambda: tokens.use_device_code(c, "dc", CLIENT, NOW)) is GrantFault.PENDING
        assert (
            _refused(lambda: tokens.use_device_code(c, "dc", OTHER, NOW)) is GrantFault.OTHER_CLIENT
        )
        assert (
            _refused(lambda: tokens.use_device_code(c, "dc", CLIENT, LATER)) is GrantFault.EXPIRED
        )
        assert _refused(lambda: tokens.find_user_code(c, "ABCD2345", LATER)) is GrantFault.EXPIRED
        assert tokens.find_user_code(c, " abcd-2345 ", NOW) == WAITING
        tokens.settle_device_code(c, "abcd2345", SIGN_IN, NOW)
        assert (
            _refused(lambda: tokens.settle_device_code(c, "ABCD2345", None, NOW)) is GrantFault.USED
        )
        assert tokens.use_device_code(c, "dc", CLIENT, NOW) == GRANT
        assert _refused(lambda: tokens.use_device_code(c, "dc", CLIENT, NOW)) is GrantFault.UNKNOWN


def test_a_declined_device_code_is_no_sign_in(database: Database) -> None:
    """RFC 8628 3.5, access_denied."""
    with database.write() as c:
        tokens.keep_device_code(c, "dc", "ABCD2345", WAITING, NOW, 60)
        tokens.settle_device_code(c, "ABCD2345", None, NOW)
        assert _refused(lambda: tokens.use_device_code(c, "dc", CLIENT, NOW)) is GrantFault.DECLINED


def test_device_codes_that_wait_are_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone may ask for one; a flood pushes nobody's out, and ends by time."""
    monkeypatch.setattr(tokens, "MAX_DEVICE_CODES", 1)
    with database.write() as c:
        tokens.keep_device_code(c, "dc", "A", WAITING, NOW, 60)
        assert (
            _refused(lambda: tokens.keep_device_code(c, "dc2", "B", WAITING, NOW, 60))
            is GrantFault.FULL
        )
        tokens.keep_device_code(c, "dc3", "C", WAITING, LATER, 60)


def test_no_token_is_stored(tmp_path: Path, database: Database) -> None:
    """Only hashes: who reads the file holds no credential."""
    secret = "the-token-itself-0123456789"  # noqa: S105  a test's
    with database.write() as c:
        tokens.keep_refresh_token(c, secret, SIGN_IN, NOW, 3600)
        tokens.keep_code(c, secret, GRANT, "u", None, NOW, 60)
        tokens.keep_device_code(c, secret, "UC", WAITING, NOW, 60)
    database.close()
    assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
