"""Nonces and jtis: row R04 where it is decided."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from directory.sealing import MasterKey
from tenant.state import nonces
from tenant.state.database import Database
from tenant.state.nonces import NonceError, NoncePurpose

NOW = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
KEY = b"k" * 32
CLIENT = str(UUID(int=5))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    made = Database.create(tmp_path / "tenant.sqlite")
    yield made
    made.close()


def _issue(client: str | None = None, random: bytes = bytes(16)) -> str:
    return nonces.issue(KEY, NoncePurpose.LOGIN, NOW, random, peer="127.0.0.1", client=client)


def _consume(
    database: Database,
    nonce: str,
    *,
    key: bytes = KEY,
    purpose: NoncePurpose = NoncePurpose.LOGIN,
    at: datetime = NOW,
    peer: str = "127.0.0.1",
    client: str | None = None,
) -> None:
    with database.write() as connection:
        nonces.consume(connection, key, nonce, purpose, at, 300, peer=peer, client=client)


def test_a_nonce_is_used_once(database: Database) -> None:
    """Row R04: the second use is refused, also at the last moment of its life."""
    nonce = _issue()
    _consume(database, nonce)
    for at in (NOW, NOW + timedelta(seconds=299)):
        with pytest.raises(NonceError, match="the nonce was used"):
            _consume(database, nonce, at=at)


def test_a_nonce_of_nobody_in_particular_serves_any_client(database: Database) -> None:
    """MS-OAPXBC 3.2.5.1.1: the request for a nonce names no client; roadtx sends none."""
    _consume(database, _issue(), client=CLIENT)


FOREIGN = "the nonce was not given to this client"


def test_a_nonce_is_for_whom_it_was_given_to(database: Database) -> None:
    """Row R04, from another client: by client id where one was named, by address always."""
    nonce = _issue(CLIENT)
    for peer, client, purpose, key in (
        ("127.0.0.2", CLIENT, NoncePurpose.LOGIN, KEY),
        ("127.0.0.1", str(UUID(int=6)), NoncePurpose.LOGIN, KEY),
        ("127.0.0.1", None, NoncePurpose.LOGIN, KEY),
        ("127.0.0.1", CLIENT, NoncePurpose.REGISTRATION, KEY),
        ("127.0.0.1", CLIENT, NoncePurpose.LOGIN, b"o" * 32),
    ):
        with pytest.raises(NonceError, match=FOREIGN):
            _consume(database, nonce, peer=peer, client=client, purpose=purpose, key=key)
    _consume(database, nonce, client=CLIENT)


def test_an_expired_nonce_is_refused(database: Database) -> None:
    """Row R04: at the end of its life, and before it was made."""
    _consume(database, _issue(random=b"a" * 16), at=NOW + timedelta(seconds=299))
    for at in (NOW + timedelta(seconds=300), NOW - timedelta(microseconds=1)):
        with pytest.raises(NonceError, match="the nonce has expired"):
            _consume(database, _issue(), at=at)


def test_what_is_no_nonce_of_ours_is_refused(database: Database) -> None:
    """Every changed character, wrong lengths, spare bits: one nonce has one spelling."""
    nonce = _issue()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = nonce[:-1] + last[last.index(nonce[-1]) ^ 1]
    changed = [
        nonce[:at] + ("A" if nonce[at] != "A" else "B") + nonce[at + 1 :] for at in range(54)
    ]
    for wrong in ("", nonce[:-1], nonce + "A", respelled, "ä" * 55, "!" * 55, *changed):
        with pytest.raises(NonceError):
            _consume(database, wrong)
    _consume(database, nonce)


def test_used_nonces_are_forgotten_when_they_have_expired(database: Database) -> None:
    """The table is bounded by time."""
    _consume(database, _issue())
    _consume(
        database,
        nonces.issue(
            KEY, NoncePurpose.LOGIN, NOW + timedelta(seconds=301), bytes(16), peer="127.0.0.1"
        ),
        at=NOW + timedelta(seconds=301),
    )
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM used_once").fetchone() == (1,)


def test_a_full_table_refuses_and_forgets_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is bounded by number, and fails closed."""
    monkeypatch.setattr(nonces, "MAX_USED", 2)
    used = [_issue(random=bytes([number]) * 16) for number in range(2)]
    for nonce in used:
        _consume(database, nonce)
    with pytest.raises(NonceError, match="too many nonces are in use"):
        _consume(database, _issue(random=b"x" * 16))
    with pytest.raises(NonceError):
        _consume(database, used[0])


def test_a_jti_is_used_once_by_each_issuer(database: Database) -> None:
    """Row R04, jti replayed (RFC 7523 3)."""
    ends = NOW + timedelta(seconds=60)
    with database.write() as connection:
        nonces.consume_jti(connection, "alice", "1", ends, NOW)
        nonces.consume_jti(connection, "bob", "1", ends, NOW)
        with pytest.raises(NonceError, match="the jti was used"):
            nonces.consume_jti(connection, "alice", "1", ends, NOW)
        for jti in ("", "j" * 257):
            with pytest.raises(NonceError, match="the jti is empty or too long"):
                nonces.consume_jti(connection, "alice", jti, ends, NOW)


def test_of_many_at_once_one_wins(tmp_path: Path, database: Database) -> None:
    """Two processes with a connection each: the write lock decides, nobody wins twice."""
    nonce = _issue()
    others = [Database.open(tmp_path / "tenant.sqlite") for _ in range(4)]
    start = threading.Barrier(4)
    results: list[str] = []

    def use(opened: Database) -> None:
        start.wait()
        try:
            _consume(opened, nonce)
        except NonceError as error:
            results.append(error.why)
        else:
            results.append("won")

    threads = [threading.Thread(target=use, args=(opened,)) for opened in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for opened in others:
        opened.close()
    assert sorted(results) == ["the nonce was used"] * 3 + ["won"]


def test_the_key_is_made_once_and_kept_sealed(tmp_path: Path, database: Database) -> None:
    """A restart does not end the nonces that were given out; the file does not show the key."""
    master = MasterKey(bytes(32))
    with database.write() as c:
        assert nonces.find_key(c, master) is None
        key = nonces.make_key(c, master, lambda count: b"\x5a" * count)
        again = nonces.make_key(c, master, lambda count: b"\xa5" * count)
        assert nonces.find_key(c, master) == key == again == b"\x5a" * 32
    database.close()
    found = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key not in found
