"""The running server under what no client should send (row R11 and its kin)."""

import asyncio
import contextlib
import json
import random
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pki import ca
from tenant.http.message import Note, Reply, Request, Route
from tenant.server import dispatch
from tenant.server.dispatch import Dispatcher
from tenant.server.hosts import HostKind, certificate_names
from tenant.server.listener import Connections, Limits, Listener
from tenant.server.run import bind
from tenant.server.tls import tls_context
from tenant.services import Services
from tests.rig import tenant as rig
from tests.rig.realm import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

LIMITS = Limits(deadline_s=1.0, max_connections=8)
SEED = 20261122
FUZZ_ROUNDS = 300


async def _length(_services: Services, request: Request) -> Reply:
    return Reply.json(200, {"length": len(request.body)}, note=Note(reason="measured"))


async def _certificate(_services: Services, request: Request) -> Reply:
    return Reply.json(200, {"certificate": request.client_certificate is not None})


ROUTES = {
    HostKind.LOGIN: (Route("POST", "/length", _length), Route("GET", "/certificate", _certificate)),
    HostKind.REGISTRATION: (
        Route("POST", "/length", _length),
        Route("GET", "/certificate", _certificate),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A served tenant in this process."""

    folder: Path
    https: int
    proxy: int
    services: Services

    def context(self) -> ssl.SSLContext:
        """Trust the lab's CA."""
        return ssl.create_default_context(cafile=self.folder / "pki/ca.pem")

    def connect(
        self, host: str = rig.LOGIN, context: ssl.SSLContext | None = None
    ) -> ssl.SSLSocket:
        """Connect with TLS, its certificate checked for this name."""
        raw = socket.create_connection(("127.0.0.1", self.https), timeout=10)
        return (context or self.context()).wrap_socket(raw, server_hostname=host)

    def send(self, data: bytes, host: str = rig.LOGIN) -> bytes:
        """Send octets and return everything that comes until the end."""
        with self.connect(host) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(data)
            return _rest(sock)

    def alive(self) -> bool:
        """Ask something honest."""
        head = f"POST /length HTTP/1.1\r\nHost: {rig.LOGIN}\r\nContent-Length: 2\r\n"
        return b'{"length":2}' in self.send(f"{head}Connection: close\r\n\r\nab".encode())


def _rest(sock: socket.socket) -> bytes:
    out = b""
    with contextlib.suppress(OSError):
        while more := sock.recv(65536):
            out += more
    return out


def _keys(folder: Path, services: Services) -> None:
    """Write the files of TLS, as `tenant init` does."""
    now = datetime.now(UTC)
    root = ca.create_root("LAB.TEST", now)
    issued = ca.issue_tls_certificate(root, "LAB.TEST", certificate_names("lab.test"), (), now)
    place = services.folder
    place.pki.mkdir()
    place.ca_bundle.write_bytes(ca.certificate_to_pem(root.certificate_der))
    place.tls[0].write_bytes(ca.certificate_to_pem(issued.certificate_der))
    place.tls[1].touch(0o600)
    place.tls[1].write_bytes(ca.private_key_to_pem(issued.private_key))
    place.device_ca[0].write_bytes(ca.certificate_to_pem(services.device_ca.certificate_der))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve this file's routes by a loop in a thread."""
    folder = tmp_path_factory.mktemp("bounds")
    services = rig.services(folder)
    _keys(folder, services)
    https, proxy = free_port(), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "ROUTES", ROUTES)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def start() -> tuple[Connections, list[Listener]]:
            context = tls_context(services.folder)
            table = Connections(loop, Dispatcher(services), context, LIMITS)
            return table, [
                Listener(bind(f"127.0.0.1:{https}"), table, proxy=False),
                Listener(bind(f"127.0.0.1:{proxy}"), table, proxy=True),
            ]

        async def stop() -> None:
            for listener in listeners:
                listener.close()
            await table.drain()

        table, listeners = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        try:
            yield Server(folder=folder, https=https, proxy=proxy, services=services)
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _post(body: bytes, *headers: str, host: str = rig.LOGIN, length: int | None = None) -> bytes:
    lines = (
        "POST /length HTTP/1.1",
        f"Host: {host}",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
        *headers,
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize("size", [256 * 1024 + 1, 10_000_000])
@pytest.mark.parametrize("host", [rig.LOGIN, rig.REGISTRATION])
def test_a_body_over_the_bound_is_413_in_the_form_of_its_host(
    server: Server, size: int, host: str
) -> None:
    """Row R11: 10 MB; nothing of it is kept, and the connection ends."""
    answer = server.send(_post(bytes(size), host=host), host)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    member = "error" if host == rig.LOGIN else "ErrorType"
    assert json.loads(body)[member] in ("invalid_request", "BadRequest")
    assert rig.audit_records(server.folder)[-1]["reason"] == "the body is too large"


def test_a_body_in_chunks_is_bounded_too(server: Server) -> None:
    """Row R11: no Content-Length says how long it will be."""
    head = f"POST /length HTTP/1.1\r\nHost: {rig.LOGIN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    answer = server.send(head.encode() + chunk * 12 + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_at_the_bound_is_read(server: Server) -> None:
    """256 KiB are within it."""
    assert b'{"length":262144}' in server.send(_post(bytes(256 * 1024)))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 421),
        (b"GET http://login.microsoftonline.com/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: login.microsoftonline.com\r\n\r\n", 400),
        (b"GET /?a=%zz HTTP/1.1\r\nHost: login.microsoftonline.com\r\n\r\n", 400),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_a_head_that_is_none_or_too_large_is_400(server: Server, data: bytes, status: int) -> None:
    """RFC 9112 3.2, 5, 6.3: two lengths, two hosts, none, and everything over a bound."""
    with server.connect() as sock:
        sock.sendall(data)
        answer = sock.recv(65536)
    # aiohttp's own parser refuses in HTTP/1.0 what it could not read a version from.
    assert answer.startswith((f"HTTP/1.1 {status} ".encode(), f"HTTP/1.0 {status} ".encode()))
    assert server.alive()


def test_a_body_with_a_broken_chunk_is_400(server: Server) -> None:
    """RFC 9112 7.1: nothing after it could be understood."""
    head = f"POST /length HTTP/1.1\r\nHost: {rig.LOGIN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = server.send(head.encode() + b"3\r\nabc\r\nzz\r\n")
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


def test_an_encoded_body_is_415(server: Server) -> None:
    """Nobody compresses a request here, and a bomb is not unpacked."""
    assert server.send(_post(b"x", "Content-Encoding: gzip")).startswith(b"HTTP/1.1 415 ")


def test_who_drips_is_gone_after_the_deadline(server: Server) -> None:
    """It runs from the last answer, whatever is sent meanwhile."""
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        ended = False
        for _ in range(40):
            try:
                sock.sendall(b"A: b\r\n")
                sock.settimeout(0.1)
                ended = sock.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break
        assert ended
    assert server.alive()


@pytest.mark.parametrize("what", ["https", "proxy"])
def test_who_never_begins_is_gone_after_the_deadline(server: Server, what: str) -> None:
    """Neither a handshake nor CONNECT is waited for."""
    port = server.https if what == "https" else server.proxy
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        assert _rest(sock) == b""


def test_the_oldest_connection_makes_room_for_a_new_one(server: Server) -> None:
    """The bound is on all connections; a new client is served."""
    idle = [server.connect() for _ in range(LIMITS.max_connections + 2)]
    try:
        assert server.alive()
        assert _rest(idle[0]) == b""
    finally:
        for sock in idle:
            sock.close()


async def test_the_oldest_connection_makes_room_when_descriptors_run_out(tmp_path: Path) -> None:
    """Long before its deadline; who waits to be accepted could be somebody honest."""
    services = rig.services(tmp_path)
    _keys(tmp_path, services)
    loop, port = asyncio.get_running_loop(), free_port()
    table = Connections(loop, Dispatcher(services), tls_context(services.folder), Limits())
    listener = Listener(bind(f"127.0.0.1:{port}"), table, proxy=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(40)]
    highest = max(client.fileno() for client in clients)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    try:
        for client in clients:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
        async with asyncio.timeout(5):
            assert await loop.sock_recv(clients[0], 1) == b""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            client.close()
        listener.close()
        await table.drain()


@pytest.mark.parametrize("what", ["https", "proxy"])
def test_a_flood_of_silent_connections_leaves_the_honest_ones_alone(
    server: Server, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Closed within the handshake or CONNECT; no socket's number is used before it is free."""
    port = server.https if what == "https" else server.proxy
    for _ in range(20):
        silent = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(20)]
        assert server.alive()
        for sock in silent:
            sock.close()
    assert caplog.text == ""


def test_connect_leads_to_our_https_and_nowhere_else(server: Server) -> None:
    """The certificate under CONNECT is ours; another host is 403 and in the audit log."""
    with socket.create_connection(("127.0.0.1", server.proxy), timeout=10) as raw:
        raw.sendall(f"CONNECT {rig.LOGIN}:443 HTTP/1.1\r\nHost: {rig.LOGIN}:443\r\n\r\n".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 200 ")
        with server.context().wrap_socket(raw, server_hostname=rig.LOGIN) as sock:
            sock.sendall(_post(b"abc"))
            assert b'{"length":3}' in _rest(sock)
    with socket.create_connection(("127.0.0.1", server.proxy), timeout=10) as raw:
        raw.sendall(b"CONNECT graph.microsoft.com:443 HTTP/1.1\r\n\r\n")
        assert _rest(raw).startswith(b"HTTP/1.1 403 ")
    record = rig.audit_records(server.folder)[-1]
    assert (record["method"], record["host"]) == ("CONNECT", "graph.microsoft.com")


def _device_context(server: Server, issuer: ca.IssuedCertificate) -> ssl.SSLContext:
    """A client certificate under this CA, as a device has one."""
    now = datetime.now(UTC)
    key = ca.generate_key(ca.KeyType.RSA_2048)
    leaf = ca.issue_client_leaf(issuer, key.public_key(), (), now)
    path = server.folder / "device.pem"
    path.write_bytes(ca.certificate_to_pem(leaf) + ca.private_key_to_pem(key))
    context = server.context()
    context.load_cert_chain(path)
    return context


def _ask_certificate(server: Server, context: ssl.SSLContext, host: str) -> bytes:
    with server.connect(host, context) as sock:
        head = f"GET /certificate HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        return _rest(sock)


@pytest.mark.parametrize(("host", "seen"), [(rig.REGISTRATION, b"true"), (rig.LOGIN, b"false")])
def test_a_device_certificate_reaches_the_registration_host_alone(
    server: Server, host: str, seen: bytes
) -> None:
    """MS-DVRJ 3.1.5.1.2: the device deletes itself with it."""
    context = _device_context(server, server.services.device_ca)
    assert b'{"certificate":' + seen in _ask_certificate(server, context, host)


def test_a_client_certificate_of_another_ca_ends_the_handshake(server: Server) -> None:
    """Only the tenant's own CA speaks for devices."""
    context = _device_context(server, ca.create_root("EVIL.TEST", datetime.now(UTC)))
    # TLS 1.3: the client learns of it with its first read.
    with contextlib.suppress(OSError):
        assert _ask_certificate(server, context, rig.REGISTRATION) == b""


def test_no_octets_make_the_server_say_500_or_stop(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A seeded loop of broken heads, bodies, lengths, encodings: refused or read, never a bug."""
    random_ = random.Random(SEED)  # noqa: S311  reproducible
    seeds = [
        _post(b"grant_type=srv_challenge"),
        _post(b"\xff\xfe", "Content-Type: application/x-www-form-urlencoded"),
        f"GET /a/b?c=d HTTP/1.1\r\nHost: {rig.REGISTRATION}\r\n\r\n".encode(),
        b"POST /length HTTP/1.1\r\nHost: login.microsoftonline.com\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ]
    for _ in range(FUZZ_ROUNDS):
        data = bytearray(random_.choice(seeds))
        for _ in range(random_.randint(1, 8)):
            place = random_.randrange(len(data))
            kind = random_.randrange(4)
            if kind == 0:
                data[place] = random_.randrange(256)
            elif kind == 1:
                del data[place : place + random_.randint(1, 16)]
            elif kind == 2:
                data[place:place] = random_.randbytes(random_.randint(1, 16))
            else:
                data[place:place] = random_.choice((b"\r\n", b"\r\n\r\n", b"\0", b"%", b":"))
            if not data:
                data = bytearray(b"\r\n")
        with server.connect() as sock:
            with contextlib.suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            sock.settimeout(3)
            assert not _rest(sock).startswith((b"HTTP/1.1 5", b"HTTP/1.0 5"))
    assert server.alive()
    assert "bug" not in caplog.text
