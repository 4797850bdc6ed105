"""UDP endpoints and TCP connections of one worker, on loopback (negative rows W01 to W08)."""

import asyncio
import contextlib
import json
import os
import resource
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdc.server.audit import AuditLog
from kdc.server.connection import ConnectionTable
from kdc.server.dispatch import Dispatcher
from kdc.server.framing import frame
from kdc.server.reply_budget import LOOPBACK, ReplyBudget, ReplyBudgetTable
from kdc.server.service import TcpLimits
from kdc.server.sockets import REFUSED_SOURCE_PORTS, TcpListener, UdpEndpoint, peer_address
from kdc.server.sources import SourceTable
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from tests.kdc.server.handlers import ScriptedHandler

IDLE_S = 0.4
"""Short, so that the tests are; honest clients here answer within milliseconds."""

PATIENCE_S = 5.0


@dataclass(slots=True, kw_only=True)
class Endpoints:
    """One worker's endpoints in this process."""

    dispatcher: Dispatcher
    connections: ConnectionTable
    listener: TcpListener
    udp: UdpEndpoint
    tcp_port: int
    udp_port: int
    audit: Path


def serve(
    folder: Path,
    *,
    per_source: int = 1000,
    total: int = 1000,
    idle_s: float = IDLE_S,
    host: str = "127.0.0.1",
    budget: ReplyBudget | None = None,
    expected_s: float = 0.001,
) -> Endpoints:
    """Serve the scripted handler on free ports."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dispatcher = Dispatcher(ScriptedHandler(folder), AuditLog(folder / "audit"), "LAB.TEST")
    connections = ConnectionTable(
        loop,
        dispatcher,
        TcpLimits(idle_timeout_s=idle_s, linger_s=IDLE_S),
        SourceTable(1).for_worker(0, limit=per_source),
        max_connections=total,
        expected_s=expected_s,
    )
    if budget is None:
        budget = ReplyBudgetTable().for_worker(0, exempt=LOOPBACK)
    tcp = socket.socket(family, socket.SOCK_STREAM)
    tcp.bind((host, 0))
    tcp.listen(1024)
    tcp.setblocking(False)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((host, 0))
    udp.setblocking(False)
    return Endpoints(
        dispatcher=dispatcher,
        connections=connections,
        listener=TcpListener(loop, tcp, connections),
        udp=UdpEndpoint(loop, udp, dispatcher, budget),
        tcp_port=tcp.getsockname()[1],
        udp_port=udp.getsockname()[1],
        audit=folder / "audit",
    )


async def connect(
    under_test: Endpoints, host: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a TCP connection."""
    return await asyncio.open_connection(host, under_test.tcp_port)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Read one framed message."""
    async with asyncio.timeout(PATIENCE_S):
        length = int.from_bytes(await reader.readexactly(4), "big")
        return await reader.readexactly(length)


async def ask_udp(
    port: int, message: bytes, host: str = "127.0.0.1", source_port: int = 0
) -> bytes:
    """Send a datagram from a connected socket and wait for the reply."""
    loop = asyncio.get_running_loop()
    with socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
    ) as sock:
        sock.setblocking(False)
        if source_port:
            sock.bind((host, source_port))
        sock.connect((host, port))
        sock.send(message)
        async with asyncio.timeout(PATIENCE_S):
            return await loop.sock_recv(sock, 65536)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Tell whether the server closes the connection in time."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read(1) == b""
        except ConnectionResetError:
            return True


async def test_udp_request_is_answered_and_audited(tmp_path: Path) -> None:
    """One datagram, one reply, one record."""
    under_test = serve(tmp_path)
    assert await ask_udp(under_test.udp_port, b"hello") == b"echo:hello"
    record = json.loads(under_test.audit.read_text())
    assert (record["IpAddress"], record["transport"]) == ("127.0.0.1", "udp")


async def test_udp_and_tcp_over_ipv6(tmp_path: Path) -> None:
    """Both transports, and the peer's address in plain form."""
    under_test = serve(tmp_path, host="::1")
    assert await ask_udp(under_test.udp_port, b"peer", "::1") == b"::1 udp"
    reader, writer = await connect(under_test, "::1")
    writer.write(frame(b"peer"))
    assert await read_message(reader) == b"::1 tcp"
    writer.close()


@pytest.mark.parametrize(("bound", "asked"), [("0.0.0.0", "127.0.0.9"), ("::", "::1")])  # noqa: S104  the case under test
async def test_wildcard_socket_answers_from_the_address_asked(
    tmp_path: Path, bound: str, asked: str
) -> None:
    """A client with a connected socket hears only the address it wrote to."""
    under_test = serve(tmp_path, host=bound)
    assert await ask_udp(under_test.udp_port, b"hello", asked) == b"echo:hello"


async def test_dropped_datagram_gets_no_reply_and_the_next_one_does(tmp_path: Path) -> None:
    """Row W06: the handler's silence is kept, and recorded."""
    under_test = serve(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", under_test.udp_port))
        sock.send(b"drop")
        sock.send(b"raise")
        sock.send(b"")
        sock.send(b"hello")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            assert await loop.sock_recv(sock, 100) == b"echo:"
            assert await loop.sock_recv(sock, 100) == b"echo:hello"
    assert len(under_test.audit.read_text().splitlines()) == 4


def strict_budget(octets_per_second: int = 0) -> ReplyBudget:
    """Return a budget that loopback is not exempt from, and that time does not refill."""
    return ReplyBudgetTable().for_worker(octets_per_second, clock=lambda: 10**12)


async def replies_to(port: int, messages: list[bytes], source: str = "127.0.0.1") -> list[bytes]:
    """Send datagrams from one socket; return all replies, in the order they came in."""
    loop = asyncio.get_running_loop()
    received: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        for message in messages:
            sock.send(message)
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.2):
                    received.append(await loop.sock_recv(sock, 65536))
    return received


async def test_error_longer_than_three_times_its_request_becomes_52_or_silence(
    tmp_path: Path,
) -> None:
    """Row W05: an unproven request is never answered with more than three times its octets."""
    under_test = serve(tmp_path, budget=strict_budget())
    port = under_test.udp_port
    error = b"error 300 "
    assert [len(r) for r in await replies_to(port, [error + bytes(90)])] == [300]
    (short,) = await replies_to(port, [error + bytes(89)])
    assert asn1.decode(KrbError, short).error_code == 52
    assert len(short) <= 3 * 99
    assert await replies_to(port, [b"error 300"]) == []
    assert [len(r) for r in await replies_to(port, [b"big 300"])] == [300]
    counters = under_test.dispatcher.counters
    assert (counters.sent_to_tcp, counters.dropped_by_size) == (2, 1)
    assert len(under_test.audit.read_text().splitlines()) == 4


async def test_flood_from_one_network_gets_its_budget_and_then_nothing(tmp_path: Path) -> None:
    """Row W05: 0 replies past the budget; other networks and TCP are served as before."""
    budget = strict_budget(1000)
    under_test = serve(tmp_path, budget=budget)
    port = under_test.udp_port
    request = b"\x6a" + bytes(175)
    replies = await replies_to(port, [request] * 200)
    assert sum(len(reply) for reply in replies) <= 4000 + len(replies[0]) + 1000
    kinds = [asn1.decode(KrbError, r).error_code if r[0] == 0x7E else 0 for r in replies]
    assert kinds.count(0) > 10
    assert kinds.count(52) > 2
    assert kinds == sorted(kinds)
    assert under_test.dispatcher.counters.dropped_by_budget > 100
    assert await replies_to(port, [request], source="127.0.0.200") == []
    assert await replies_to(port, [b"hello"], source="127.0.1.1") == [b"echo:hello"]
    reader, writer = await connect(under_test)
    writer.write(frame(b"hello"))
    assert await read_message(reader) == b"echo:hello"
    writer.close()


async def test_what_is_no_request_is_not_told_to_use_tcp(tmp_path: Path) -> None:
    """Row W06: an error answered with an error would start two servers talking."""
    budget = strict_budget(1000)
    under_test = serve(tmp_path, budget=budget)
    slot = budget.slot("127.0.0.1")
    assert slot is not None
    budget.charge(slot, 3600)
    assert await replies_to(under_test.udp_port, [b"\x7e" + bytes(175)]) == []
    (reply,) = await replies_to(under_test.udp_port, [b"\x6c" + bytes(175)])
    assert asn1.decode(KrbError, reply).error_code == 52


async def test_datagrams_past_the_queue_are_dropped_newest_first(tmp_path: Path) -> None:
    """Row W07: what was sent first is answered, in order; what would wait for long is not kept."""
    under_test = serve(tmp_path)
    messages = [b"number %d" % number + bytes(250) for number in range(1000)]
    # No await between them: the server cannot read until all are sent.
    replies = await replies_to(under_test.udp_port, messages)
    assert 50 < len(replies) < 500
    assert replies == [b"echo:" + message for message in messages[: len(replies)]]


async def test_accepting_pauses_while_too_much_waits_and_goes_on_afterwards(tmp_path: Path) -> None:
    """Row W07: connections wait in the kernel, where surplus is shed; nobody accepted is lost."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S, expected_s=0.02)
    clients = []
    for _ in range(40):
        client = socket.socket()
        client.setblocking(False)
        clients.append(client)
        with contextlib.suppress(BlockingIOError):
            client.connect(("127.0.0.1", under_test.tcp_port))
        client.send(frame(b"sleep 0.02"))
    loop = asyncio.get_running_loop()
    for client in clients:
        async with asyncio.timeout(PATIENCE_S):
            assert await loop.sock_recv(client, 100) == frame(b"echo:sleep 0.02")
        client.close()
    assert under_test.dispatcher.counters.accept_pauses > 0
    assert under_test.dispatcher.counters.connections_shed == 0
    reader, writer = await connect(under_test)
    writer.write(frame(b"hello"))
    assert await read_message(reader) == b"echo:hello"
    writer.close()


async def test_one_slow_message_does_not_stop_accepting(tmp_path: Path) -> None:
    """Row W07: a pause of the machine looks like an overload, and must not outlast it."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S)
    for message in (b"sleep 0.5", b"hello", b"hello"):
        reader, writer = await connect(under_test)
        writer.write(frame(message))
        assert await read_message(reader) == b"echo:" + message
        writer.close()


async def test_cold_workers_first_slow_turn_sheds_nobody(tmp_path: Path) -> None:
    """Row W07: pages read from disk and a busy machine are not an overload; only what lasts is."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S)
    clients = [await connect(under_test) for _ in range(201)]
    slow, quick = clients[0], clients[1:]
    slow[1].write(frame(b"sleep 0.2"))
    assert await read_message(slow[0]) == b"echo:sleep 0.2"
    for _, writer in quick:
        writer.write(frame(b"hello"))
    for reader, _ in quick:
        assert await read_message(reader) == b"echo:hello"
    assert under_test.dispatcher.counters.connections_shed == 0
    assert under_test.connections.room > 50


async def test_message_that_would_wait_for_too_long_closes_its_connection(tmp_path: Path) -> None:
    """Row W07: connections made in quiet times cannot all be served at once; the last are shed."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S, expected_s=0.05)
    clients = [await connect(under_test) for _ in range(30)]
    for _, writer in clients:
        writer.write(frame(b"sleep 0.05"))
    answered = 0
    for reader, _ in clients:
        try:
            answered += await read_message(reader) == b"echo:sleep 0.05"
        except (asyncio.IncompleteReadError, ConnectionResetError):
            continue
    assert 1 <= answered <= 20
    assert under_test.dispatcher.counters.connections_shed == 30 - answered
    assert await ask_udp(under_test.udp_port, b"hello") == b"echo:hello"


@pytest.mark.skipif(os.geteuid() != 0, reason="binding a low source port needs root")
async def test_datagram_from_a_servers_port_is_dropped_unread(tmp_path: Path) -> None:
    """Row W06, CVE-2002-2443: echo, chargen, kpasswd or a KDC as source would loop."""
    under_test = serve(tmp_path)
    for port in sorted(REFUSED_SOURCE_PORTS - {0}):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.77", port))
            sock.sendto(b"hello", ("127.0.0.1", under_test.udp_port))
    assert await ask_udp(under_test.udp_port, b"hello") == b"echo:hello"
    assert under_test.dispatcher.counters.dropped_by_port == 4
    assert under_test.dispatcher.counters.requests == 1


async def test_tcp_request_split_at_every_octet_is_answered(tmp_path: Path) -> None:
    """However the octets arrive."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S)
    stream = frame(b"hello")
    for cut in range(1, len(stream)):
        reader, writer = await connect(under_test)
        writer.write(stream[:cut])
        await writer.drain()
        await asyncio.sleep(0.005)
        writer.write(stream[cut:])
        assert await read_message(reader) == b"echo:hello", cut
        writer.close()


async def test_several_requests_on_one_connection_are_answered_in_order(tmp_path: Path) -> None:
    """Sent one after the other, and all at once."""
    under_test = serve(tmp_path)
    reader, writer = await connect(under_test)
    for number in range(3):
        writer.write(frame(b"one %d" % number))
        assert await read_message(reader) == b"echo:one %d" % number
    writer.write(b"".join(frame(b"many %d" % number) for number in range(50)))
    for number in range(50):
        assert await read_message(reader) == b"echo:many %d" % number
    writer.write(frame(b"last"))
    assert await read_message(reader) == b"echo:last"
    writer.close()


async def test_client_that_closes_its_half_gets_its_reply(tmp_path: Path) -> None:
    """A request followed by FIN is a request."""
    under_test = serve(tmp_path)
    reader, writer = await connect(under_test)
    writer.write(frame(b"big 200000"))
    writer.write_eof()
    assert len(await read_message(reader)) == 200000
    assert await is_closed(reader)


@pytest.mark.parametrize("length", [0x80000000, 0xFFFFFFFF, 16 * 1024 * 1024])
async def test_refused_length_gets_61_and_the_connection_is_closed(
    tmp_path: Path, length: int
) -> None:
    """Row W01: the reply arrives although the peer goes on sending."""
    under_test = serve(tmp_path)
    reader, writer = await connect(under_test)
    writer.write(frame(b"good"))
    assert await read_message(reader) == b"echo:good"
    writer.write(length.to_bytes(4, "big") + bytes(300_000))
    error = asn1.decode(KrbError, await read_message(reader))
    assert error.error_code == 61
    assert await is_closed(reader)
    records = [json.loads(line) for line in under_test.audit.read_text().splitlines()]
    assert [record["Status"] for record in records] == ["0x0", "0x3d"]


async def test_dropped_message_closes_the_connection(tmp_path: Path) -> None:
    """A client is not left waiting for a reply that never comes."""
    under_test = serve(tmp_path)
    for message in (b"drop", b"raise"):
        reader, writer = await connect(under_test)
        writer.write(frame(message))
        assert await is_closed(reader)
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"\0", b"\0\0\0\x09half"])
async def test_idle_connection_is_closed(tmp_path: Path, begun: bytes) -> None:
    """Row W02: with nothing, a piece of a length or half a message sent."""
    under_test = serve(tmp_path)
    reader, writer = await connect(under_test)
    writer.write(begun)
    assert await is_closed(reader)
    assert under_test.dispatcher.counters.connections_timed_out == 1
    assert len(under_test.connections) == 0
    writer.close()


async def test_dripping_octets_keeps_nobody_connected(tmp_path: Path) -> None:
    """Row W02: the time runs from the last answer, not from the last octet."""
    under_test = serve(tmp_path)
    reader, writer = await connect(under_test)
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    writer.write(b"\0\0\xff\xff")
    while not reader.at_eof() and loop.time() < end:
        writer.write(b"x")
        await asyncio.sleep(IDLE_S / 10)
        if len(under_test.connections) == 0:
            break
    assert under_test.dispatcher.counters.connections_timed_out == 1
    writer.close()


async def test_answered_requests_keep_a_connection(tmp_path: Path) -> None:
    """The time runs anew from every answer."""
    under_test = serve(tmp_path)
    reader, writer = await connect(under_test)
    for _ in range(6):
        await asyncio.sleep(IDLE_S / 3)
        writer.write(frame(b"again"))
        assert await read_message(reader) == b"echo:again"
    writer.close()


async def test_client_that_does_not_read_is_closed_and_others_are_served(tmp_path: Path) -> None:
    """Row W02: slow readers are cut, and hold nobody up meanwhile."""
    under_test = serve(tmp_path)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", under_test.tcp_port))
    slow.sendall(b"".join(frame(b"big 2000000") for _ in range(8)))
    for _ in range(5):
        assert await ask_udp(under_test.udp_port, b"hello") == b"echo:hello"
        await asyncio.sleep(IDLE_S / 20)
    async with asyncio.timeout(PATIENCE_S):
        while len(under_test.connections):
            await asyncio.sleep(IDLE_S / 10)
    assert under_test.dispatcher.counters.connections_timed_out == 1
    assert under_test.dispatcher.counters.requests < 13
    slow.close()


async def test_slow_reader_gets_everything_in_order(tmp_path: Path) -> None:
    """Replies that do not fit the socket wait, and nothing more is read meanwhile."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S)
    reader, writer = await connect(under_test)
    writer.write(frame(b"big 20000000") + frame(b"big 7") + frame(b"after"))
    await asyncio.sleep(0.1)
    assert under_test.dispatcher.counters.requests == 1
    assert len(await read_message(reader)) == 20000000
    assert len(await read_message(reader)) == 7
    assert await read_message(reader) == b"echo:after"
    writer.close()


async def test_source_over_its_limit_is_refused_and_may_come_back(tmp_path: Path) -> None:
    """Row W03: the newest connections of a source are closed, the old ones go on."""
    under_test = serve(tmp_path, per_source=3)
    kept = [await connect(under_test) for _ in range(3)]
    refused, refused_writer = await connect(under_test)
    assert await is_closed(refused)
    refused_writer.close()
    assert under_test.dispatcher.counters.connections_over_source_limit == 1
    reader, writer = kept[0]
    writer.write(frame(b"hello"))
    assert await read_message(reader) == b"echo:hello"
    writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while len(under_test.connections) > 2:
            await asyncio.sleep(0.01)
    reader, writer = await connect(under_test)
    writer.write(frame(b"hello"))
    assert await read_message(reader) == b"echo:hello"
    for _, each in [*kept, (reader, writer)]:
        each.close()


async def test_over_the_total_the_idlest_connection_is_closed(tmp_path: Path) -> None:
    """Row W03: who has waited longest since the last answer makes room."""
    under_test = serve(tmp_path, total=3, idle_s=PATIENCE_S)
    connections = [await connect(under_test) for _ in range(3)]
    reader, writer = connections[0]
    writer.write(frame(b"hello"))
    assert await read_message(reader) == b"echo:hello"
    newest = await connect(under_test)
    assert await is_closed(connections[1][0])
    for reader, writer in (connections[0], connections[2], newest):
        writer.write(frame(b"hello"))
        assert await read_message(reader) == b"echo:hello"
        writer.close()


async def test_listener_survives_when_descriptors_run_out(tmp_path: Path) -> None:
    """Row W08: the idlest connections make room, and new ones are served at once."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(40)]
    highest = max(client.fileno() for client in clients)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    try:
        for client in clients:
            client.connect(("127.0.0.1", under_test.tcp_port))
            client.setblocking(False)
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        loop = asyncio.get_running_loop()
        clients[-1].send(frame(b"hello"))
        async with asyncio.timeout(1.0):
            assert await loop.sock_recv(clients[-1], 100) == frame(b"echo:hello")
        assert under_test.dispatcher.counters.accept_errors > 0
        assert await ask_udp_with(clients[0], under_test.udp_port) == b"echo:hello"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            client.close()


async def ask_udp_with(spare: socket.socket, port: int) -> bytes:
    """Ask by UDP, with the descriptor of a connection that is given up for it."""
    spare.close()
    return await ask_udp(port, b"hello")


async def test_listener_pauses_and_recovers_when_there_is_nothing_to_close(tmp_path: Path) -> None:
    """Row W08: no busy loop, and back within a second."""
    under_test = serve(tmp_path)
    client = socket.socket()
    client.setblocking(False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), hard))
    spare: list[int] = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                spare.append(os.dup(0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", under_test.tcp_port))
        await asyncio.sleep(0.25)
        assert 1 <= under_test.dispatcher.counters.accept_errors <= 5
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in spare:
            os.close(descriptor)
    client.send(frame(b"hello"))
    async with asyncio.timeout(1.0):
        assert await loop.sock_recv(client, 100) == frame(b"echo:hello")
    client.close()


async def test_drain_finishes_what_is_begun(tmp_path: Path) -> None:
    """Idle connections go at once, half a message may be completed, then all is closed."""
    under_test = serve(tmp_path, idle_s=PATIENCE_S)
    idle = await connect(under_test)
    begun = await connect(under_test)
    begun[1].write(frame(b"hello")[:6])
    await asyncio.sleep(0.05)
    assert len(under_test.connections) == 2
    waiting = await connect(under_test)
    waiting[1].write(frame(b"just sent"))
    await asyncio.sleep(0)
    under_test.listener.drain()
    under_test.connections.drain()
    assert await is_closed(idle[0])
    assert await read_message(waiting[0]) == b"echo:just sent"
    begun[1].write(frame(b"hello")[6:])
    assert await read_message(begun[0]) == b"echo:hello"
    assert await is_closed(begun[0])
    assert len(under_test.connections) == 0
    with pytest.raises(OSError, match="Connect"):
        await connect(under_test)
    for _, writer in (idle, begun, waiting):
        writer.close()


@pytest.mark.parametrize(
    ("sockaddr", "shown"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8::1", 1), "2001:db8::1"),
        (("fe80::1%eth0", 1), "fe80::1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
    ],
)
def test_peer_address_is_plain(sockaddr: tuple[str, int], shown: str) -> None:
    """No zone, no mapped IPv4: one source has one name."""
    assert peer_address(sockaddr) == shown
