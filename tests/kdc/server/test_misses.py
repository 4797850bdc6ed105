"""A worker asks the follower and goes on: questions are joined, bounded, and end in time."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from directory.ldap.questions import Told, socket_address
from kdc.server import misses
from kdc.server.misses import MissClient

ALICE = (("name", "alice"),)
BOB = (("name", "bob"),)


class FakeFollower:
    """The follower's end of the socket, in the test's hands."""

    def __init__(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_PATH)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(socket_address(descriptor))
        self.listener.listen()
        self.listener.settimeout(2)
        os.close(descriptor)
        self.sock: socket.socket | None = None

    def asked(self) -> list[dict[str, object]]:
        """Read the questions that have come."""
        if self.sock is None:
            self.sock, _ = self.listener.accept()
            self.sock.settimeout(2)
        return [json.loads(line) for line in self.sock.recv(65536).splitlines()]

    def tell(self, text: str) -> None:
        """Send octets as an answer."""
        assert self.sock is not None
        self.sock.sendall(text.encode())

    def close(self) -> None:
        """Go away."""
        self.listener.close()
        if self.sock is not None:
            self.sock.close()


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[FakeFollower]:
    """Listen in a state folder whose path is longer than a socket's address may be."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    made = FakeFollower(folder)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `follower` listens."""
    return tmp_path / ("x" * 120)


async def settled() -> None:
    """Let the loop do what it has to."""
    for _ in range(5):
        await asyncio.sleep(0.01)


async def test_answer_reaches_everybody_who_asked(folder: Path, follower: FakeFollower) -> None:
    """The same questions at the same time are one question."""
    client = MissClient(asyncio.get_running_loop(), folder)
    told: list[Told] = []
    client.ask(ALICE, told.append)
    client.ask(ALICE, told.append)
    client.ask(BOB, told.append)
    first, second = follower.asked()
    assert (first["ask"], second["ask"]) == ([["name", "alice"]], [["name", "bob"]])
    assert not told
    follower.tell(
        f'{{"id":{second["id"]},"told":"same"}}\n{{"id":{first["id"]},"told":"changed"}}\n'
    )
    await settled()
    assert told == [Told.SAME, Told.CHANGED, Told.CHANGED]
    client.close()


async def test_no_follower_is_a_directory_that_is_away(folder: Path, tmp_path: Path) -> None:
    """Told at once, and later: never from within the call."""
    told: list[Told] = []
    client = MissClient(asyncio.get_running_loop(), tmp_path)
    client.ask(ALICE, told.append)
    assert not told
    await settled()
    assert told == [Told.AWAY]


async def test_silence_ends_in_time(folder: Path, follower: FakeFollower) -> None:
    """Row L02: whoever waits is told, and an answer that comes too late is nobody's."""
    client = MissClient(asyncio.get_running_loop(), folder)
    told: list[Told] = []
    client.ask(ALICE, told.append, 0.05)
    (asked,) = follower.asked()
    await asyncio.sleep(0.1)
    assert told == [Told.AWAY]
    follower.tell(f'{{"id":{asked["id"]},"told":"changed"}}\n')
    await settled()
    assert told == [Told.AWAY]
    client.close()


@pytest.mark.parametrize("text", ["junk\n", '{"id":1,"told":"maybe"}\n', "x" * 40_000])
async def test_nonsense_ends_the_connection_and_all_questions(
    folder: Path, follower: FakeFollower, text: str
) -> None:
    """A follower that cannot be understood is none."""
    client = MissClient(asyncio.get_running_loop(), folder)
    told: list[Told] = []
    client.ask(ALICE, told.append)
    follower.asked()
    follower.tell(text)
    await settled()
    assert told == [Told.AWAY]
    client.close()


async def test_what_waits_is_bounded(
    folder: Path, follower: FakeFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than MAX_WAITING are told at once that the directory is away."""
    monkeypatch.setattr(misses, "MAX_WAITING", 2)
    client = MissClient(asyncio.get_running_loop(), folder)
    told: list[Told] = []
    for _ in range(2):
        client.ask(ALICE, lambda _: None)
    client.ask(ALICE, told.append)
    client.ask(BOB, told.append)
    await settled()
    assert told == [Told.AWAY, Told.AWAY]
    client.close()


async def test_follower_that_comes_back_is_asked_again(
    folder: Path, follower: FakeFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost connection is opened anew by the next question."""
    monkeypatch.setattr(misses, "RECONNECT_PAUSE_S", 0.0)
    client = MissClient(asyncio.get_running_loop(), folder)
    told: list[Told] = []
    client.ask(ALICE, told.append)
    follower.asked()
    assert follower.sock is not None
    follower.sock.close()
    follower.sock = None
    await settled()
    assert told == [Told.AWAY]
    client.ask(ALICE, told.append)
    (asked,) = follower.asked()
    follower.tell(f'{{"id":{asked["id"]},"told":"same"}}\n')
    await settled()
    assert told == [Told.AWAY, Told.SAME]
    client.close()


async def test_what_nobody_waits_for_leaves_room(
    folder: Path, follower: FakeFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions about hidden names: asked after the answer, never twice, and a few at a time."""
    monkeypatch.setattr(misses, "MAX_UNAWAITED", 1)
    client = MissClient(asyncio.get_running_loop(), folder)
    client.ask_soon(ALICE)
    assert not client._waiting, "it is asked after what is being answered"
    await settled()
    client.ask_soon(ALICE)
    client.ask_soon(BOB)
    await settled()
    assert [question["ask"] for question in follower.asked()] == [[["name", "alice"]]]
    client.close()
    await settled()
