"""Answers to misses: one bounded search, at most so many a second (rows L01, L02)."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from directory.ldap.fetch import AWAY_S, NEGATIVE_S, Fetcher
from directory.ldap.questions import Told
from directory.ldap.session import Servers
from directory.store import Store
from tests.directory.builders import DEVICE
from tests.directory.ldap.builders import (
    BASE,
    guid,
    new_store,
    new_writer,
    openldap,
    record,
    user,
)
from tests.directory.ldap.stub import Asked, Stub, entry, result, well_behaved


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Read it."""
        return self.now


class Directory:
    """A stub that holds users."""

    def __init__(self, stub: Stub) -> None:
        self.users: dict[str, int] = {}
        self.searches = 0
        stub.answers = self.answer

    def answer(self, asked: Asked, sock: socket.socket) -> bytes | None:
        """Show the users whose name or number is asked for."""
        if asked.tag != 0x63 or b"entryUUID" not in asked.body:
            return well_behaved(asked, sock)
        self.searches += 1
        found = b""
        for name, number in self.users.items():
            named = name.encode() in asked.body or str(guid(number)).encode() in asked.body
            if named and b"\x06member" not in asked.body[:200]:
                made = user(number, name)
                values = {key: list(listed) for key, listed in made.attributes.items()}
                found += entry(asked.number, made.dn, values)
        return found + result(asked.number)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Make an empty store."""
    return new_store(tmp_path)


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """Run a server."""
    with Stub(tmp_path / "ldapi").running() as running:
        yield running


def fetcher(stub: Stub, store: Store, clock: Clock, rate: int = 10) -> Fetcher:
    servers = Servers(stub.settings())
    return Fetcher(servers, new_writer(store), rate=rate, clock=clock)


def test_unknown_name_is_looked_up_and_written(stub: Stub, store: Store) -> None:
    """Issue 5.2: on a miss one fetch at once."""
    directory = Directory(stub)
    directory.users["alice"] = 1
    asking = fetcher(stub, store, Clock())
    assert asking.answer((("name", "alice"),)) is Told.CHANGED
    store.refresh()
    assert store.account_by_name("alice") is not None
    assert asking.answer((("name", "alice"),)) is Told.SAME


def test_account_that_is_gone_is_removed(stub: Stub, store: Store) -> None:
    """What the store has under the name and the directory does not show is looked at, too."""
    Directory(stub)
    new_writer(store).apply([record(user(1, "alice"))])
    assert fetcher(stub, store, Clock()).answer((("name", "alice"),)) is Told.CHANGED
    store.refresh()
    assert store.account_by_name("alice") is None


def test_device_question_finds_the_object_by_its_number(stub: Stub, store: Store) -> None:
    """Row K11: the filter has the octets of a Windows GUID; one that is gone is removed."""
    filters: list[bytes] = []

    def answer(asked: Asked, sock: socket.socket) -> bytes | None:
        if asked.tag != 0x63 or b"entryUUID" not in asked.body:
            return well_behaved(asked, sock)
        filters.append(asked.body)
        return result(asked.number)

    stub.answers = answer
    gone = openldap(
        20,
        f"cn=20,{BASE}",
        objectClass=["msDS-Device"],
        msDS_DeviceID=DEVICE.bytes_le,
        msDS_IsEnabled="FALSE",
    )
    new_writer(store).apply([record(gone)])
    asking = fetcher(stub, store, Clock())
    assert asking.answer((("device", "no number"),)) is Told.SAME
    assert filters == []
    assert asking.answer((("device", DEVICE.hex),)) is Told.CHANGED
    assert b"msDS-DeviceID" in filters[0] and DEVICE.bytes_le in filters[0]
    store.refresh()
    assert not store.has_devices()


def test_key_question_reads_the_account_again(stub: Stub, store: Store) -> None:
    """A signer's key that is not on the named account: by its number in the store."""
    directory = Directory(stub)
    directory.users["alice"] = 1
    new_writer(store).apply([record(user(1, "alice", entryCSN="old"))])
    found = store.account_by_name("alice")
    assert found is not None
    asking = fetcher(stub, store, Clock())
    assert asking.answer((("key", f"{found.account_id}:aa"),)) is Told.CHANGED


def test_same_question_is_not_asked_again_within_a_second(stub: Stub, store: Store) -> None:
    """Negative answers are kept for NEGATIVE_S, for each account and key."""
    directory = Directory(stub)
    clock = Clock()
    asking = fetcher(stub, store, clock)
    question = (("name", "nobody"),)
    assert asking.cached(question) is None
    assert asking.answer(question) is Told.SAME
    asked = directory.searches
    assert asking.cached(question) is Told.SAME
    assert asking.cached((("name", "somebody"),)) is None
    clock.now += NEGATIVE_S
    assert asking.cached(question) is None
    assert directory.searches == asked


def test_questions_past_the_rate_are_not_asked(stub: Stub, store: Store) -> None:
    """`directory.miss_rate`: nobody makes a hammer of us."""
    clock = Clock()
    asking = fetcher(stub, store, clock, rate=3)
    told = [asking.cached((("name", f"n{i}"),)) for i in range(5)]
    assert told == [None, None, None, Told.BUSY, Told.BUSY]
    clock.now += 1.0
    assert asking.cached((("name", "n9"),)) is None


def test_directory_that_is_away_is_not_tried_by_everybody(tmp_path: Path, store: Store) -> None:
    """Rows L01, L02: after one failure all are told so at once, for AWAY_S."""
    clock = Clock()
    asking = fetcher(Stub(tmp_path / "nothing"), store, clock)
    assert asking.answer((("name", "alice"),)) is Told.AWAY
    assert asking.cached((("name", "bob"),)) is Told.AWAY
    clock.now += AWAY_S
    assert asking.cached((("name", "bob"),)) is None


def test_connection_that_was_idle_too_long_is_opened_again(stub: Stub, store: Store) -> None:
    """The server's idle timeout is nobody's refusal."""
    directory = Directory(stub)
    directory.users["alice"] = 1
    asking = fetcher(stub, store, Clock())
    assert asking.answer((("name", "nobody"),)) is Told.SAME
    stub.drop_all()
    assert asking.answer((("name", "alice"),)) is Told.CHANGED


def test_directory_of_another_domain_is_not_believed(stub: Stub, tmp_path: Path) -> None:
    """The store's domain is what its directory must show."""
    from directory.model import PrincipalKey, Sid
    from directory.store import Store as AnyStore
    from tests.directory.ldap.builders import KEY, NOW

    other = AnyStore.create(
        tmp_path / "other.sqlite",
        KEY,
        realm="LAB.TEST",
        netbios="LAB",
        krbtgt_keys=(PrincipalKey(etype=18, kvno=1, key=bytes(32)),),
        now=NOW,
        domain_sid=Sid(5, (21, 7, 7, 7)),
    )
    assert fetcher(stub, other, Clock()).answer((("name", "alice"),)) is Told.AWAY
