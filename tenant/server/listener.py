"""Connections: taken within limits, read within limits, and none kept longer than it deserves.

Rules.
1. aiohttp parses HTTP and writes answers; how many connections there are and how long they may take
   is here. The deadline of a connection runs from its acceptance or its last answer: CONNECT,
   handshake, head and body are all within it. Dripping keeps nobody connected.
2. A body is read to its bound and no further: 413, and the connection ends.
3. When there are too many connections, or no descriptors are left for another, the one whose last
   answer is the oldest goes.

The HTTP listeners of the KDC (kdc.server.http.listener) keep rules 1 and 3 too, and are not these:
theirs counts by source over several processes, feeds metrics and reloads its certificate; ours
takes CONNECT before TLS. What would be left to share calls back into what differs at each step.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web_protocol import RequestHandler

from tenant.errors import TenantError
from tenant.http.message import Headers, MalformedError, Reply, Request, parse_pairs
from tenant.server.connect import ESTABLISHED, ConnectError, read_connect, refusal
from tenant.server.dispatch import Dispatcher

log = logging.getLogger(__name__)

DEADLINE_S: Final = 20.0
"""The slowest honest request signs and hashes for a tenth of a second."""

MAX_CONNECTIONS: Final = 256
MAX_BODY_BYTES: Final = 256 * 1024
"""The largest real body, a join with attestation, has some 20 KiB."""
MAX_LINE_BYTES: Final = 8 * 1024
MAX_FIELD_BYTES: Final = 16 * 1024
"""Of one header: a bearer token or a PRT cookie has some 4 KiB."""
MAX_HEADERS: Final = 64
ACCEPT_PAUSE_S: Final = 0.2
"""The wait when accepting fails: what was closed for it gives its descriptor back meanwhile."""
_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
BACKLOG: Final = 128

_MALFORMED: Final = (web.RequestPayloadError, BadHttpMessage)
"""What reading a body raises when its chunks are none."""

SERVER_NAME: Final = "keytrust-tenant"


class Connection:
    """A connection from its acceptance to its end, whatever becomes of it."""

    def __init__(self, table: "Connections", sock: socket.socket, peer: str) -> None:
        self.table = table
        self.peer = peer
        self.transport: asyncio.BaseTransport | None = None
        self._sock = sock
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, *, proxy: bool) -> None:
        """Begin to read."""
        self.touch()
        self._task = self.table.loop.create_task(self._open(proxy))

    async def _open(self, proxy: bool) -> None:
        loop = self.table.loop
        try:
            if proxy:
                await self._connect()
            await loop.connect_accepted_socket(
                lambda: BoundedHandler(self), self._sock, ssl=self.table.context
            )
        except ConnectError as error:
            if error.status:
                self.table.note_refused_connect(self.peer, error)
                with contextlib.suppress(OSError):
                    await loop.sock_sendall(self._sock, refusal(error))
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            # A failed handshake, or a client that went away: nothing to tell anybody.
            pass
        finally:
            if self.transport is None:
                self._forget()
                # Only here, when the loop has let go of it: a new connection could get its number.
                self._sock.close()

    async def _connect(self) -> None:
        loop = self.table.loop
        await read_connect(loop, self._sock, self.table.names)
        await loop.sock_sendall(self._sock, ESTABLISHED)

    def touch(self) -> None:
        """Give the connection its full time again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.table.loop.call_later(self.table.limits.deadline_s, self.close)
        self.table.note_touch(self)

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

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection.table.server,
            loop=connection.table.loop,
            keepalive_timeout=connection.table.limits.deadline_s,
            access_log=None,  # type: ignore[arg-type]  # documented: None turns it off
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=2.0,
            # Nobody compresses a request here; a bomb would be unpacked in memory.
            auto_decompress=False,
        )
        self.connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to speak HTTP, after the handshake."""
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
        if isinstance(exc, ConnectionError):
            raise exc  # The client went away in the middle; our caller ends the connection.
        status = 400 if 400 <= status < 500 or isinstance(exc, _MALFORMED) else 500
        if status == 500:
            log.error("bug: %s escaped the answer", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        text = "bad request\n" if status == 400 else "internal error\n"
        response = web.Response(status=status, text=text, headers={"Server": SERVER_NAME})
        response.force_close()
        return response


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What tests make smaller."""

    deadline_s: float = DEADLINE_S
    max_connections: int = MAX_CONNECTIONS
    max_body_bytes: int = MAX_BODY_BYTES


class Connections:
    """All connections of both listeners, in the order of their last answers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatcher: Dispatcher,
        context: ssl.SSLContext,
        limits: Limits,
    ) -> None:
        self.loop = loop
        self.context = context
        self.limits = limits
        self.names = dispatcher.names
        self.server = web.Server(self._handle, loop=loop)
        self._dispatcher = dispatcher
        # The first is the one whose last answer is the oldest.
        self._open: dict[Connection, None] = {}
        self._draining = False

    def admit(self, sock: socket.socket, peer: str, *, proxy: bool) -> None:
        """Take a connection just accepted."""
        if len(self._open) >= self.limits.max_connections:
            self.close_oldest()
        connection = Connection(self, sock, peer)
        self._open[connection] = None
        connection.start(proxy=proxy)

    def close_oldest(self) -> None:
        """Close the connection whose last answer is the oldest, if there is one."""
        for connection in self._open:
            connection.close()
            return

    def note_touch(self, connection: Connection) -> None:
        """Put a connection at the end of the order."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def forget(self, connection: Connection) -> None:
        """Take note that a connection is closed."""
        self._open.pop(connection, None)

    def note_refused_connect(self, peer: str, error: ConnectError) -> None:
        """Write down who wanted to go elsewhere."""
        self._dispatcher.note_connect(peer, error.host, error.status, error.why)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        reply, whole = await self._answer(request)
        headers = {"Server": SERVER_NAME, "Content-Type": reply.content_type, **dict(reply.headers)}
        response = web.Response(status=reply.status, body=reply.body, headers=headers)
        handler = request.protocol
        if isinstance(handler, BoundedHandler):
            handler.connection.touch()
        if self._draining or not whole:
            # What is unread of this request could be taken for the next one.
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> tuple[Reply, bool]:
        """Return the reply, and whether the request was read to its end."""
        read = Request(
            method=request.method,
            host=host_of(request.headers.getall("Host", [])),
            path=request.raw_path.partition("?")[0],
            headers=Headers.of(request.headers.items()),
            client_certificate=_client_certificate(request),
            peer=_peer(request),
        )
        refused: TenantError | None = None
        try:
            check_head(read)
            query = parse_pairs(request.raw_path.partition("?")[2].encode("utf-8", "replace"))
            read = replace(read, query=query, body=await self._body(request))
        except MalformedError as error:
            refused = self._dispatcher.refusal_of_host(read.host, 400, str(error))
        except HeadError as error:
            refused = self._dispatcher.refusal_of_host(read.host, error.status, error.why)
        return await self._dispatcher.answer(read, refused), request.content.is_eof()

    async def _body(self, request: web.BaseRequest) -> bytes:
        limit = self.limits.max_body_bytes
        if (request.content_length or 0) > limit:
            raise HeadError(413, "the body is too large")
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise HeadError(413, "the body is too large")
        return bytes(body)

    async def drain(self) -> None:
        """Close what is idle, let what is begun be answered, then close everything."""
        self._draining = True
        self.server.pre_shutdown()
        await self.server.shutdown(timeout=self.limits.deadline_s)
        for connection in list(self._open):
            connection.close()


@dataclass(slots=True)
class HeadError(Exception):
    """A request is refused before its path is looked at: a status and one fixed phrase."""

    status: int
    why: str


def host_of(values: list[str]) -> str:
    """Return the host of the only Host header, in lower case without port; else nothing.

    Source: RFC 9110 7.2: none or several are a request that is refused.
    """
    if len(values) != 1:
        return ""
    host, colon, port = values[0].lower().partition(":")
    if colon and not (port.isascii() and port.isdecimal()):
        return ""
    return host


def check_head(request: Request) -> None:
    """Check what is in front of the body. Raises HeadError."""
    if not request.host:
        raise HeadError(400, "there is not exactly one Host header")
    if not request.path.startswith("/"):
        raise HeadError(400, "the request's target is no path")
    if request.headers.get("content-encoding") is not None:
        raise HeadError(415, "the body is encoded")


def _client_certificate(request: web.BaseRequest) -> bytes | None:
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    found = tls.getpeercert(binary_form=True) if tls is not None else None
    return found if isinstance(found, bytes) else None


def _peer(request: web.BaseRequest) -> str:
    handler = request.protocol
    return handler.connection.peer if isinstance(handler, BoundedHandler) else ""


class Listener:
    """One listening socket."""

    def __init__(self, sock: socket.socket, connections: Connections, *, proxy: bool) -> None:
        """Accept from now on. proxy: CONNECT comes before TLS."""
        self._sock = sock
        self._connections = connections
        self._proxy = proxy
        self._task = connections.loop.create_task(self._accept())

    async def _accept(self) -> None:
        loop = self._connections.loop
        while True:
            try:
                sock, address = await loop.sock_accept(self._sock)
            except OSError as error:
                log.warning("cannot accept connections: %s", error.strerror)
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._connections.close_oldest()
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.admit(sock, str(address[0]), proxy=self._proxy)

    def close(self) -> None:
        """Accept no more."""
        self._task.cancel()
        self._sock.close()
