"""TCP connections: whole messages in, framed replies out, and none kept longer than it deserves.

Rules.
1. The deadline of a connection runs from its start or its last answer. Octets of an unfinished
   message, or a reply read slowly, do not move it: dripping keeps nobody connected.
2. Messages are answered in the order in which they were complete, a few per turn of the loop, so
   that datagrams get their turn as well. A connection has one message in that queue at most: a
   client that sends fifty at once does not hold up the others for fifty signatures.
3. While a reply waits to be read by its client, nothing more is read from it.
4. A message the handler drops ends the connection: a client waiting in vain helps nobody.
5. When the queue would keep the worker busy for longer than MAX_WAIT_S, no more connections are
   accepted. Those made in quiet times can still be too many: a message that would wait for
   SHED_WAIT_S closes its connection.
"""

import asyncio
import socket
import time
from collections import deque
from typing import Final

from kdc.outcome import Peer
from kdc.server.dispatch import LATER, Dispatcher
from kdc.server.framing import MessageTooLong, TcpFramer, frame
from kdc.server.service import TcpLimits
from kdc.server.sources import SourceCounts
from kdc.wire.constants import ErrorCode

READ_BYTES: Final = 64 * 1024

MESSAGES_PER_TURN: Final = 8
TURN_S: Final = 0.01
"""The most that is answered per turn, by number and by time; the same holds for datagrams."""

MAX_WAIT_S: Final = 0.1
"""What waits in the listen queue and in the socket of datagrams comes on top; all of it together
stays under a quarter of a second, while clients wait for one second at least."""

SHED_WAIT_S: Final = 0.5
"""Past it an answer would come when the client has asked elsewhere or given up."""

EXPECTED_S: Final = 0.001
"""The time per message before any was measured: a logon by key takes about as long."""

_MEMORY: Final = 32
"""Messages over which that time is averaged."""

_MAX_SURPRISE: Final = 4
"""A turn counts as this many times the average at most: a new worker reads its code and data from
disk, and others may have its core. Only slowness that lasts may shed."""

LINGER_BYTES: Final = 1024 * 1024
"""How much is read and thrown away after a refused length."""


class ConnectionTable:
    """The connections of one worker, in the order of their deadlines."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatcher: Dispatcher,
        limits: TcpLimits,
        sources: SourceCounts,
        *,
        max_connections: int,
        expected_s: float = EXPECTED_S,
    ) -> None:
        self.loop = loop
        self.dispatcher = dispatcher
        self.limits = limits
        self._sources = sources
        self._max_connections = max_connections
        # All deadlines have the same length, so a dict in the order of the last answer is sorted by
        # deadline too: the first is the next to time out, and the idlest. One timer serves all.
        self._deadlines: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ready: deque[Connection] = deque()
        self._turn_due = False
        self._turn_ended = 0.0
        """When the last turn ended, if it left something in the queue; else 0."""
        self._mean_s = expected_s
        """From one answer to the next while there is a queue, datagrams in between included."""
        self.draining = False

    def __len__(self) -> int:
        return len(self._deadlines)

    def admit(self, sock: socket.socket, peer: Peer) -> None:
        """Take a connection just accepted, or close it when its source has too many."""
        counters = self.dispatcher.counters
        if not self._sources.take(peer.address):
            counters.connections_over_source_limit += 1
            sock.close()
            return
        if len(self._deadlines) >= self._max_connections:
            counters.connections_over_total += 1
            self.close_idlest()
        counters.connections += 1
        counters.open_connections += 1
        connection = Connection(self, sock, peer)
        self.touch(connection)
        connection.start()

    @property
    def room(self) -> int:
        """How many more messages may wait without keeping the worker busy for too long."""
        # One fits always: only a message that is answered can show that things are faster again.
        return max(1, int(MAX_WAIT_S / self._mean_s)) - len(self._ready)

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._ready

    def enqueue(self, connection: "Connection") -> None:
        """Let a connection with a whole message wait for its turn, or close it."""
        if len(self._ready) * self._mean_s > SHED_WAIT_S and not self.draining:
            self.dispatcher.counters.connections_shed += 1
            connection.close()
            return
        self._ready.append(connection)
        if not self._turn_due:
            self._turn_due = True
            self.loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Answer the messages that have waited for longest."""
        began = now = time.monotonic()
        answered = 0
        while self._ready and answered < MESSAGES_PER_TURN and now - began < TURN_S:
            self._ready.popleft().answer()
            answered += 1
            now = time.monotonic()
        last_s = (now - (self._turn_ended or began)) / answered
        last_s = min(last_s, MAX_WAIT_S, _MAX_SURPRISE * self._mean_s)
        self._mean_s += (last_s - self._mean_s) * answered / _MEMORY
        self._turn_due = bool(self._ready)
        self._turn_ended = now if self._ready else 0.0
        if self._ready:
            self.loop.call_soon(self._take_turn)

    def touch(self, connection: "Connection") -> None:
        """Give a connection its full time again."""
        self._deadlines.pop(connection, None)
        self._deadlines[connection] = self.loop.time() + self.limits.idle_timeout_s
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.idle_timeout_s, self._close_expired)

    def forget(self, connection: "Connection") -> None:
        """Take note that a connection is closed."""
        if self._deadlines.pop(connection, None) is not None:
            self._sources.give_back(connection.peer.address)
            self.dispatcher.counters.open_connections -= 1

    def close_idlest(self) -> bool:
        """Close the connection with the oldest answer; return False when there is none."""
        for connection in self._deadlines:
            connection.close()
            return True
        return False

    def drain(self) -> None:
        """Close what is idle now, and every other connection after its next answer."""
        self.draining = True
        for connection in list(self._deadlines):
            connection.drain()

    def close_all(self) -> None:
        """Close every connection at once."""
        for connection in list(self._deadlines):
            connection.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_expired(self) -> None:
        self._timer = None
        now = self.loop.time()
        for connection, deadline in list(self._deadlines.items()):
            if deadline > now:
                self._timer = self.loop.call_at(deadline, self._close_expired)
                return
            self.dispatcher.counters.connections_timed_out += 1
            connection.close()


class Connection:
    """One TCP connection on a non-blocking socket."""

    __slots__ = (
        "_closed",
        "_fd",
        "_framer",
        "_last",
        "_linger_left",
        "_loop",
        "_message",
        "_pending",
        "_reading",
        "_sock",
        "_table",
        "_unsent",
        "peer",
    )

    def __init__(self, table: ConnectionTable, sock: socket.socket, peer: Peer) -> None:
        self.peer = peer
        self._table = table
        self._loop = table.loop
        self._sock = sock
        self._fd = sock.fileno()
        self._framer = TcpFramer()
        self._message: bytes | None = None
        """Whole, and waiting for its turn."""
        self._pending = False
        """The answer to a message is still to come."""
        self._unsent = b""
        self._reading = False
        self._last = False
        """Close once everything is sent."""
        self._linger_left = 0
        self._closed = False

    def start(self) -> None:
        """Begin to read."""
        self._set_reading(True)

    def close(self) -> None:
        """Close at once, whatever is unsent."""
        if self._closed:
            return
        self._closed = True
        self._set_reading(False)
        if self._unsent:
            self._loop.remove_writer(self._fd)
        self._sock.close()
        self._table.forget(self)

    def drain(self) -> None:
        """Finish what was begun; what has arrived but was not read yet counts as begun."""
        if self._reading and not self._linger_left:
            self._on_readable()
        busy = self._message is not None or self._pending
        idle = not busy and not self._unsent and not self._framer.buffered_bytes
        if not self._closed and idle:
            self.close()

    def _set_reading(self, wanted: bool) -> None:
        if wanted and not self._reading:
            self._loop.add_reader(self._fd, self._on_readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._fd)
        self._reading = wanted

    def _on_readable(self) -> None:
        if self._message is not None or self._pending:
            # One message at a time; what follows it waits in the socket.
            self._set_reading(False)
            return
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # Reset by the peer, or its host is gone.
            self.close()
            return
        if self._linger_left:
            self._linger_left -= len(data)
            if not data or self._linger_left <= 0:
                self.close()
            return
        if not data:
            # A client may close its half after the request; all whole requests are answered, and
            # unsent rests keep reading off, so here nothing is left to do.
            self.close()
            return
        self._framer.feed(data)
        self._await_turn()

    def _await_turn(self) -> None:
        """Queue the next message, if it is whole; else go on reading."""
        try:
            self._message = self._framer.next_message()
        except MessageTooLong:
            self._refuse_length()
            return
        if self._message is None:
            self._set_reading(True)
        else:
            self._table.enqueue(self)

    def answer(self) -> None:
        """Answer the message whose turn has come."""
        message, self._message = self._message, None
        if message is None or self._closed:
            return
        reply = self._table.dispatcher.answer(message, self.peer, self._reply)
        if reply == LATER:
            self._pending = True
        else:
            self._reply(reply)

    def _reply(self, reply: bytes | None) -> None:
        """Send the reply to the message whose turn came; None: close."""
        self._pending = False
        if self._closed:
            return
        if reply is None:
            self.close()
            return
        self._table.touch(self)
        if self._table.draining and not self._framer.buffered_bytes:
            self._last = True
        self._send(frame(reply))
        if not self._closed and not self._unsent:
            self._await_turn()

    def _refuse_length(self) -> None:
        reply = self._table.dispatcher.refuse(
            ErrorCode.KRB_ERR_FIELD_TOOLONG, "TCP message over the size limit", self.peer
        )
        # Closing with unread octets makes the kernel send a reset, which may overtake the reply.
        # So our half is closed, and what the peer still sends is thrown away for a moment.
        self._linger_left = LINGER_BYTES
        self._loop.call_later(self._table.limits.linger_s, self.close)
        self._set_reading(True)
        if reply is not None:
            self._send(frame(reply))
        if not self._closed and not self._unsent:
            self._shut_down_writing()

    def _send(self, data: bytes) -> None:
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        if sent == len(data):
            if self._last:
                self.close()
            return
        # The client reads slowly. The deadline of the connection bounds its patience with us.
        self._unsent = data[sent:]
        self._set_reading(False)
        self._loop.add_writer(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        rest = self._unsent[sent:]
        if rest:
            self._unsent = rest
            return
        self._loop.remove_writer(self._fd)
        self._unsent = b""
        if self._linger_left:
            self._set_reading(True)
            self._shut_down_writing()
        elif self._last:
            self.close()
        else:
            self._await_turn()

    def _shut_down_writing(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
