"""The HTTP process's end of the relay: a Kerberos message in, the answer of some worker out."""

import asyncio
import os
import socket
import time
from typing import Final

from kdc.outcome import Peer
from kdc.server.relay import MAX_PACKET_BYTES, NAME_BYTES, encode_request

ANSWER_S: Final = 4.0
"""A worker answers in milliseconds; clients wait for some seconds before they ask elsewhere."""

MAX_IN_FLIGHT: Final = 256
"""About what the workers answer in a quarter of a second; more would wait longer than it is worth,
and starve those who ask by UDP and TCP."""


class NoAnswerError(Exception):
    """No worker answers in time, or too much waits already: 503."""


class RelayClient:
    """Asks the workers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        # Answers to a dead predecessor may still lie in the socket; they have other names.
        self._prefix = os.urandom(NAME_BYTES // 2)
        self._number = 0
        loop.add_reader(sock.fileno(), self._on_readable)

    def close(self) -> None:
        """Ask no more."""
        self._loop.remove_reader(self._sock.fileno())

    async def ask(self, message: bytes, peer: Peer) -> bytes:
        """Return the workers' answer; empty when they are silent on purpose.

        peer: the client. Raises NoAnswerError.
        """
        if len(self._waiting) >= MAX_IN_FLIGHT:
            raise NoAnswerError("too many requests wait")
        self._number += 1
        name = self._prefix + self._number.to_bytes(NAME_BYTES // 2, "big")
        deadline_ns = time.monotonic_ns() + int(ANSWER_S * 1e9)
        packet = encode_request(name, message, peer=peer, deadline_ns=deadline_ns)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[name] = answer
        try:
            self._sock.send(packet)
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except (BlockingIOError, InterruptedError, OSError, TimeoutError) as error:
            raise NoAnswerError("no worker takes or answers it") from error
        finally:
            del self._waiting[name]

    def _on_readable(self) -> None:
        while True:
            try:
                packet = self._sock.recv(MAX_PACKET_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            if not packet:
                return
            answer = self._waiting.get(packet[:NAME_BYTES])
            # None: its client was told 503 meanwhile.
            if answer is not None and not answer.done():
                answer.set_result(packet[NAME_BYTES:])
