"""Requests that come over HTTP, handed by the HTTP process to whichever worker is free.

Rules.
1. Both ends of the one socket pair are made by the supervisor and passed on by forking. No other
   process can reach them, so what a packet says about the client's address can be believed.
2. All workers read the same end; each packet goes to one of them. A worker takes one at a time, so
   that an idle worker gets what a busy one has not taken.
3. A packet names the moment after which nobody waits for its answer any more; a worker that comes
   to it later drops it unread. What waits is bounded by the socket's buffer, and by what the HTTP
   process lets in.
4. A worker that is killed loses the request it was working on; the client is told 503 in time.

A packet is one SOCK_SEQPACKET message. Request: 16 octets that name it, the deadline (monotonic
nanoseconds), the client's port, the service it wants (0 KDC, 1 kpasswd) and the length of its
address in text form, the address, the message. Reply: the same 16 octets, and the Kerberos message,
empty when there is none.
"""

import asyncio
import logging
import socket
import struct
import time
from functools import partial
from typing import Final

from kdc.outcome import Peer, Service
from kdc.server.alarm import Alarm
from kdc.server.dispatch import LATER, Dispatcher

log = logging.getLogger(__name__)

NAME_BYTES: Final = 16
_HEAD = struct.Struct(f"=qHBB{NAME_BYTES}s")
_SERVICES: Final[tuple[Service, ...]] = ("kdc", "kpasswd")

RELAY_QUEUE_BYTES: Final = 1024 * 1024
"""Wanted for each direction; the kernel grants what its own limit (net.core.wmem_max) allows."""

MAX_PACKET_BYTES: Final = 256 * 1024
"""More than any request (64 KiB and its head) and any reply."""


def relay_pair() -> tuple[socket.socket, socket.socket]:
    """Return the HTTP process's end and the workers' end, both non-blocking."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RELAY_QUEUE_BYTES)
    return ends


def encode_request(name: bytes, message: bytes, *, peer: Peer, deadline_ns: int) -> bytes:
    """Return the packet of a request. deadline_ns: of the monotonic clock."""
    text = peer.address.encode("ascii")
    service = _SERVICES.index(peer.service)
    return _HEAD.pack(deadline_ns, peer.port, service, len(text), name) + text + message


def decode_request(packet: bytes) -> tuple[bytes, Peer, int, bytes]:
    """Return name, peer, deadline and message of a packet from `encode_request`."""
    deadline_ns, port, service, length, name = _HEAD.unpack_from(packet)
    end = _HEAD.size + length
    address = packet[_HEAD.size : end].decode("ascii")
    peer = Peer(address=address, port=port, transport="kkdcp", service=_SERVICES[service])
    return name, peer, deadline_ns, packet[end:]


class RelayEndpoint:
    """A worker's way to the requests of the HTTP process."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, dispatcher: Dispatcher
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._dispatcher = dispatcher
        self._alarm = Alarm(log, "cannot answer the HTTP process: %s")
        loop.add_reader(sock.fileno(), self._answer_one)

    def drain(self) -> None:
        """Answer what waits, then read no more."""
        while self._answer_one():
            pass
        self._loop.remove_reader(self._sock.fileno())

    def _answer_one(self) -> bool:
        """Answer one request; return False when none is waiting."""
        try:
            packet = self._sock.recv(MAX_PACKET_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        if not packet:
            return False
        name, peer, deadline_ns, message = decode_request(packet)
        if time.monotonic_ns() > deadline_ns:
            self._dispatcher.counters.relay_dropped += 1
            return True
        reply = self._dispatcher.answer(message, peer, partial(self._reply, name))
        if reply != LATER:
            self._reply(name, reply)
        return True

    def _reply(self, name: bytes, reply: bytes | None) -> None:
        try:
            self._sock.send(name + (reply or b""))
        except OSError as error:
            # The HTTP process does not read. Its clients are told 503 by it, or notice its end.
            self._dispatcher.counters.relay_dropped += 1
            self._alarm.raise_(error.strerror)
