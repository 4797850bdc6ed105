"""TCP connections: whole messages in, framed replies out, and none kept longer than it deserves.

Rules.
1. The deadline of a connection runs from its start or its last answer. Octets of an unfinished
   message, or a reply read slowly, do not move it: dripping keeps nobody connected.
2. One message of a connection is answered per turn of the loop, so a client that sends fifty at
   once does not hold up the others for fifty signatures.
3. While a reply waits to be read by its client, nothing more is read from it.
4. A message the handler drops ends the connection: a client waiting in vain helps nobody.
"""

import asyncio
import socket
from typing import Final

from kdc.outcome import Peer
from kdc.server.dispatch import Dispatcher
from kdc.server.framing import MessageTooLong, TcpFramer, frame
from kdc.server.service import TcpLimits
from kdc.server.sources import SourceCounts
from kdc.wire.constants import ErrorCode

READ_BYTES: Final = 64 * 1024

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
        connection = Connection(self, sock, peer)
        self.touch(connection)
        connection.start()

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
        if not self._closed and not self._unsent and not self._framer.buffered_bytes:
            self.close()

    def _set_reading(self, wanted: bool) -> None:
        if wanted and not self._reading:
            self._loop.add_reader(self._fd, self._on_readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._fd)
        self._reading = wanted

    def _on_readable(self) -> None:
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
        self._answer_next()

    def _answer_next(self) -> None:
        if self._closed or self._unsent:
            return
        dispatcher = self._table.dispatcher
        try:
            message = self._framer.next_message()
        except MessageTooLong:
            self._refuse_length()
            return
        if message is None:
            self._set_reading(True)
            return
        reply = dispatcher.answer(message, self.peer)
        if reply is None:
            self.close()
            return
        self._table.touch(self)
        if self._table.draining and not self._framer.buffered_bytes:
            self._last = True
        self._send(frame(reply))
        if self._closed or self._unsent:
            return
        if self._framer.buffered_bytes:
            # Perhaps another whole message. Its turn comes after the other sockets had theirs.
            self._set_reading(False)
            self._loop.call_soon(self._answer_next)
        else:
            self._set_reading(True)

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
            self._answer_next()

    def _shut_down_writing(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
