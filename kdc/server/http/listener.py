"""Connections of the HTTP process: taken within limits, and none kept longer than it deserves.

Rules.
1. aiohttp parses HTTP and writes answers. Everything about how many connections there are, and how
   long they may take, is here, since a library of the web expects a proxy in front of it.
2. The deadline of a connection runs from its start or its last answer: handshake, head, body, and a
   client that reads slowly, are all within it. Dripping keeps nobody connected.
3. A source has so many connections over all processes of the server as `max_connections_per_source`
   says, whether it speaks Kerberos over TCP or over HTTPS. Trusted proxies are exempt: their
   clients are counted by request.
4. When there are too many, the one whose last answer is the oldest goes.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from kdc.server.alarm import Alarm
from kdc.server.counters import Counters
from kdc.server.sockets import (
    ACCEPT_PAUSE_S,
    ACCEPTS_PER_TURN,
    OUT_OF_DESCRIPTORS,
    peer_address,
)
from kdc.server.sources import SourceCounts

log = logging.getLogger(__name__)

DEADLINE_S: Final = 9.5
"""Half a second under the 10 s within which a slow connection is promised to be gone (row W02)."""

MAX_CONNECTIONS: Final = 2048
"""One costs some 60 KiB with TLS; file descriptors allow fewer where their limit is lower."""

MAX_LINE_BYTES: Final = 4096
"""Of the request line and of one header: our paths are short, and clients send no cookies."""

MAX_HEADERS: Final = 32

SERVER_NAME: Final = "keytrust"
"""What we call ourselves in HTTP: versions are told to nobody."""

Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]
"""Answers one request; what it raises is a bug."""


def text_response(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return a short answer in plain text."""
    return web.Response(
        status=status,
        text=f"{text}\n",
        headers={"Server": SERVER_NAME, "Cache-Control": "no-store", **(headers or {})},
    )


class Connection:
    """A connection from its acceptance to its end, whatever becomes of it."""

    __slots__ = ("_sock", "_task", "_timer", "address", "counted", "table", "transport")

    def __init__(self, table: "Connections", sock: socket.socket, address: str) -> None:
        self.table = table
        self.address = address
        self.counted = True
        """Takes a place of its source."""
        self.transport: asyncio.BaseTransport | None = None
        self._sock = sock
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, server: web.Server, context: ssl.SSLContext | None) -> None:
        """Begin to read, with TLS when there is a context."""
        self.touch()
        self._task = self.table.loop.create_task(self._open(server, context))

    async def _open(self, server: web.Server, context: ssl.SSLContext | None) -> None:
        try:
            await self.table.loop.connect_accepted_socket(
                lambda: BoundedHandler(self, server), self._sock, ssl=context
            )
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            # A failed handshake, or a client that went away: nothing to tell anybody.
            pass
        finally:
            if self.transport is None:
                self._forget()
                # Only here, when the loop has let go of it: a new connection could get its number.
                self._sock.close()

    def touch(self) -> None:
        """Give the connection its full time again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.table.loop.call_later(DEADLINE_S, self._expire)
        self.table.note_touch(self)

    def _expire(self) -> None:
        self.table.counters.connections_timed_out += 1
        self.close()

    def close(self) -> None:
        """Close at once, whatever is unsent."""
        self._forget()
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        elif self._task is not None:
            self._task.cancel()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.table.forget(self)


class BoundedHandler(RequestHandler):
    """aiohttp's protocol of one connection, told to our table, and silent about what clients do."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection, server: web.Server) -> None:
        super().__init__(
            server,
            loop=connection.table.loop,
            keepalive_timeout=DEADLINE_S,
            access_log=None,  # type: ignore[arg-type]  # documented: None turns it off
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=1.0,
            # Nobody compresses a request of this protocol; a bomb would be unpacked in memory.
            auto_decompress=False,
        )
        self.connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to speak HTTP; with TLS, after the handshake."""
        self.connection.transport = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        super().connection_lost(exc)
        self.connection.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP: without its own words, and without a line in the log each."""
        status = 400 if 400 <= status < 500 else 500
        if isinstance(exc, ConnectionError):
            # It went away while its body was read: nobody gets this answer, and nobody is at fault.
            status = 400
        if status == 500:
            log.error("bug: %s escaped the answer over HTTP", type(exc).__name__)
            self.connection.table.counters.internal_errors += 1
        self.connection.table.counters.count_http(self.connection.table.listener, status)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        response = text_response(status, "bad request" if status == 400 else "internal error")
        response.force_close()
        return response


class Connections:
    """All connections of one listener, in the order of their last answers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: str,
        answer: Answer,
        counters: Counters,
        sources: SourceCounts,
        *,
        is_proxy: Callable[[str], bool],
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """listener: the label of its metrics. is_proxy: tells whether an address is trusted."""
        self.loop = loop
        self.listener = listener
        self.counters = counters
        self.context: ssl.SSLContext | None = None
        """TLS for the connections to come; swapped on reload."""
        self._answer = answer
        self._sources = sources
        self._is_proxy = is_proxy
        self._max_connections = max_connections
        self._server = web.Server(self._handle, loop=loop)
        # The first is the one whose last answer is the oldest.
        self._open: dict[Connection, None] = {}
        self._draining = False

    def admit(self, sock: socket.socket, address: str) -> None:
        """Take a connection just accepted, or close it when its source has too many."""
        connection = Connection(self, sock, address)
        if self._is_proxy(address):
            connection.counted = False
        elif not self._sources.take(address):
            self.counters.connections_over_source_limit += 1
            sock.close()
            return
        if len(self._open) >= self._max_connections:
            self.counters.connections_over_total += 1
            self.close_oldest()
        self.counters.connections += 1
        self.counters.open_connections += 1
        self._open[connection] = None
        connection.start(self._server, self.context)

    def note_touch(self, connection: Connection) -> None:
        """Put a connection at the end of the order."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def forget(self, connection: Connection) -> None:
        """Take note that a connection is closed."""
        if connection in self._open:
            del self._open[connection]
            self.counters.open_connections -= 1
            if connection.counted:
                self._sources.give_back(connection.address)

    def close_oldest(self) -> bool:
        """Close the connection whose last answer is the oldest; False when there is none."""
        for connection in self._open:
            connection.close()
            return True
        return False

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._answer(request)
        self.counters.count_http(self.listener, response.status)
        handler = request.protocol
        if isinstance(handler, BoundedHandler):
            handler.connection.touch()
        if self._draining:
            response.force_close()
        return response

    async def drain(self) -> None:
        """Close what is idle, let what is begun be answered, then close everything."""
        self._draining = True
        self._server.pre_shutdown()
        await self._server.shutdown(timeout=DEADLINE_S)
        for connection in list(self._open):
            connection.close()


class Listener:
    """One listening socket."""

    def __init__(self, sock: socket.socket, connections: Connections) -> None:
        self._sock = sock
        self._connections = connections
        self._loop = connections.loop
        self._alarm = Alarm(log, "cannot accept HTTP connections: %s")
        self._pause: asyncio.TimerHandle | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(sock.fileno(), self._on_readable)

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _on_readable(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, sockaddr = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._connections.counters.accept_errors += 1
                if error.errno not in OUT_OF_DESCRIPTORS:
                    continue  # The peer was gone before we came (accept(2), "Error handling").
                self._alarm.raise_(error.strerror)
                if not self._connections.close_oldest():
                    self._loop.remove_reader(self._sock.fileno())
                    self._pause = self._loop.call_later(ACCEPT_PAUSE_S, self._go_on)
                return
            sock.setblocking(False)
            self._connections.admit(sock, peer_address(sockaddr))

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._on_readable)
