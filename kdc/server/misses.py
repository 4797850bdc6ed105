"""Asking the follower what the store alone cannot answer, without standing still.

Rules
  1. A worker never waits: it asks over a local socket, goes on with other requests, and handles the
     one that asked again when the answer comes, or ASK_TIMEOUT_S have passed.
  2. What waits is bounded: MAX_WAITING requests of a worker. The same questions asked meanwhile
     are one question. No follower, no answer in time, too many: the directory is away, and whoever
     needed it gets 29 (KDC_ERR_SVC_UNAVAILABLE), never "unknown".
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import msgspec

from directory.ldap.questions import (
    ASK_TIMEOUT_S,
    MAX_LINE_BYTES,
    Question,
    Reply,
    Request,
    Told,
    socket_address,
)
from kdc.outcome import Outcome, Peer

log = logging.getLogger(__name__)

MAX_WAITING: Final = 512
"""Requests of one worker that wait at a time; at 10 KiB each 5 MiB."""
MAX_UNAWAITED: Final = MAX_WAITING // 4
"""Open questions past which nobody's are asked: requests that wait have the rest."""
RECONNECT_PAUSE_S: Final = 0.2

_REPLY = msgspec.json.Decoder(Reply)
_ENCODER = msgspec.json.Encoder()

Answered = Callable[[Told], None]


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A request that waits until the follower has looked at what it names."""

    message: bytes
    peer: Peer
    outcome: Outcome
    """What the store alone makes of it."""
    questions: tuple[Question, ...]
    seen: int
    """The version of the store that it was made from."""
    asked: set[Question] = field(default_factory=set)
    """What the follower has looked at for it already."""
    rounds: int = 1
    deadline: float
    """When it must be answered; monotonic."""


@runtime_checkable
class DeferringHandler(Protocol):
    """A handler whose requests may have to wait for the follower of a directory."""

    def begin(self, message: bytes, peer: Peer, now: datetime) -> Outcome | Waiting:
        """Answer a message, or say what has to be asked first."""
        ...

    def resume(self, waiting: Waiting, told: Told, now: datetime) -> Outcome | Waiting:
        """Go on with a message after the follower has answered."""
        ...

    def asker(self, loop: asyncio.AbstractEventLoop) -> "MissClient | None":
        """Return who asks the follower; None when there is none to ask."""
        ...


def _nobody(told: Told) -> None:
    """Nobody waits for the answer."""


class MissClient:
    """A worker's end of the socket to the follower. Owner: the worker's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, state_dir: Path) -> None:
        self._loop = loop
        self._folder = state_dir
        self._sock: socket.socket | None = None
        self._buffer = b""
        self._next_id = 0
        self._callbacks: dict[int, list[Answered]] = {}
        self._ids: dict[tuple[Question, ...], int] = {}
        self._questions: dict[int, tuple[Question, ...]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._waiting = 0
        self._not_before = 0.0

    def ask(
        self,
        questions: tuple[Question, ...],
        answered: Answered,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> None:
        """Ask; `answered` is called once, later, from the loop."""
        number = self._ids.get(questions)
        if number is None:
            if self._waiting >= MAX_WAITING or not self._connected():
                self._loop.call_soon(answered, Told.AWAY)
                return
            number = self._send(questions, timeout_s)
            if number is None:
                self._loop.call_soon(answered, Told.AWAY)
                return
        elif self._waiting >= MAX_WAITING:
            self._loop.call_soon(answered, Told.AWAY)
            return
        self._callbacks[number].append(answered)
        self._waiting += 1

    def ask_soon(self, questions: tuple[Question, ...]) -> None:
        """Ask for nobody: after what is being answered now, and only where there is much room.

        What the follower finds is in the store for the next attempt.
        """
        if questions and self._waiting < MAX_UNAWAITED and questions not in self._ids:
            self._loop.call_soon(self.ask, questions, _nobody)

    def close(self) -> None:
        """Close the socket; all who wait are told that the directory is away."""
        self._lost()

    def _connected(self) -> bool:
        if self._sock is not None:
            return True
        now = time.monotonic()
        if now < self._not_before:
            return False
        self._not_before = now + RECONNECT_PAUSE_S
        folder = -1
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            # Local: it connects at once or not at all (a full queue is BlockingIOError).
            sock.connect(socket_address(folder))
        except OSError as error:
            sock.close()
            log.warning("the follower cannot be asked: %s", error.strerror)
            return False
        finally:
            if folder >= 0:
                os.close(folder)
        self._sock = sock
        self._loop.add_reader(sock.fileno(), self._on_readable)
        return True

    def _send(self, questions: tuple[Question, ...], timeout_s: float) -> int | None:
        self._next_id += 1
        number = self._next_id
        line = _ENCODER.encode(Request(id=number, ask=list(questions))) + b"\n"
        sock = self._sock
        if sock is None or len(line) > MAX_LINE_BYTES:
            return None
        try:
            sent = sock.send(line)
        except OSError:
            sent = -1
        if sent != len(line):
            # The follower does not read: it is stopped, or overwhelmed.
            self._lost()
            return None
        self._ids[questions] = number
        self._questions[number] = questions
        self._callbacks[number] = []
        self._timers[number] = self._loop.call_later(timeout_s, self._tell, number, Told.AWAY)
        return number

    def _on_readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            data = sock.recv(MAX_LINE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE_BYTES:
            self._lost()
            return
        for line in lines:
            try:
                reply = _REPLY.decode(line)
                self._tell(reply.id, Told(reply.told))
            except (msgspec.DecodeError, ValueError):
                self._lost()
                return

    def _tell(self, number: int, told: Told) -> None:
        callbacks = self._callbacks.pop(number, None)
        if callbacks is None:
            return  # it came too late, and they know
        self._ids.pop(self._questions.pop(number), None)
        self._timers.pop(number).cancel()
        self._waiting -= len(callbacks)
        for answered in callbacks:
            answered(told)

    def _lost(self) -> None:
        sock, self._sock = self._sock, None
        self._buffer = b""
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            with contextlib.suppress(OSError):
                sock.close()
        for number in list(self._callbacks):
            self._loop.call_soon(self._tell, number, Told.AWAY)
