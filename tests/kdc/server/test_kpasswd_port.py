"""The port of kpasswd: the same sockets and limits as the KDC's, and its own framing of errors."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from kdc.outcome import Outcome, Peer
from kdc.server.audit import AuditLog, event_id
from kdc.server.connection import ConnectionTable
from kdc.server.dispatch import Dispatcher
from kdc.server.framing import frame
from kdc.server.reply_budget import ReplyBudgetTable
from kdc.server.service import TcpLimits
from kdc.server.sockets import TcpListener, UdpEndpoint
from kdc.server.sources import SourceTable
from kdc.wire.rfc3244 import decode_frame
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from tests.kdc.server.handlers import ScriptedHandler

PATIENCE_S = 5.0


async def ask_udp(folder: Path, message: bytes, *, bound: str, asked: str) -> bytes | None:
    """Ask an endpoint of kpasswd by UDP; None when nothing comes."""
    loop = asyncio.get_running_loop()
    dispatcher = Dispatcher(ScriptedHandler(folder), AuditLog(folder / "audit"), "LAB.TEST")
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((bound, 0))
    sock.setblocking(False)
    # No exemption of loopback: replies are budgeted as to a stranger.
    budget = ReplyBudgetTable().for_worker(1 << 20)
    endpoint = UdpEndpoint(loop, sock, dispatcher, budget, "kpasswd")
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.setblocking(False)
    try:
        client.connect((asked, sock.getsockname()[1]))
        client.send(message)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(loop.sock_recv(client, 4096), 1.0)
        return None
    finally:
        client.close()
        endpoint.close()


@pytest.mark.parametrize(
    ("bound", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.9"), ("::", "::1")],  # noqa: S104
)
async def test_datagram_knows_the_address_it_was_sent_to(
    tmp_path: Path, bound: str, asked: str
) -> None:
    """RFC 4120 5.7.1: s-address of the reply is the one that the client asked."""
    if ":" in asked and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    reply = await ask_udp(tmp_path, b"port", bound=bound, asked=asked)
    assert reply == f"kpasswd {asked}".encode()


async def test_connection_knows_the_address_it_was_made_to(tmp_path: Path) -> None:
    """The same by TCP, with the usual framing around kpasswd's own."""
    loop = asyncio.get_running_loop()
    dispatcher = Dispatcher(ScriptedHandler(tmp_path), AuditLog(tmp_path / "audit"), "LAB.TEST")
    sources = SourceTable(1).for_worker(0, limit=10)
    table = ConnectionTable(loop, dispatcher, TcpLimits(), sources, max_connections=10)
    sock = socket.create_server(("0.0.0.0", 0))  # noqa: S104
    sock.setblocking(False)
    listener = TcpListener(loop, sock, table, "kpasswd")
    try:
        reader, writer = await asyncio.open_connection("127.0.0.7", sock.getsockname()[1])
        writer.write(frame(b"port"))
        expected = frame(b"kpasswd 127.0.0.7")
        assert await asyncio.wait_for(reader.readexactly(len(expected)), PATIENCE_S) == expected
        writer.write(b"\xff\xff\xff\xff")
        length = int.from_bytes(await reader.readexactly(4), "big")
        refused = decode_frame(await reader.readexactly(length))
        assert refused is not None
        assert asn1.decode(KrbError, refused.rest).error_code == 61
        writer.close()
    finally:
        table.close_all()
        listener.close()


async def test_error_is_no_amplification(tmp_path: Path) -> None:
    """CVE-2002-2443 and its kind: a short datagram with a forged sender gets no long error."""
    ask = {"bound": "127.0.0.1", "asked": "127.0.0.1"}
    assert await ask_udp(tmp_path, b"kpasswd-error", **ask) is None
    long = b"kpasswd-error ".ljust(300, b"x")
    reply = await ask_udp(tmp_path, long, **ask)
    assert reply is not None
    assert len(reply) == 200


def test_withheld_reply_is_an_error_in_a_frame(tmp_path: Path) -> None:
    """audit_failure = "refuse": a client of kpasswd can read why."""
    dispatcher = Dispatcher(ScriptedHandler(tmp_path), AuditLog(Path("/dev/full")), "LAB.TEST")
    peer = Peer(address="192.0.2.7", port=50123, transport="udp", service="kpasswd")
    reply = dispatcher.answer(b"hello", peer)
    assert reply is not None
    refused = decode_frame(reply)
    assert refused is not None
    assert asn1.decode(KrbError, refused.rest).error_code == 29


@pytest.mark.parametrize(("reset", "expected"), [(False, 4723), (True, 4724)])
@pytest.mark.parametrize("code", [0, 12, 24, 31])
def test_event_is_that_of_a_change_or_a_reset(reset: bool, expected: int, code: int) -> None:
    """Windows' numbers; a refused proof of kpasswd is no refused pre-authentication."""
    outcome = Outcome(reply=b"", exchange="kpasswd", code=code, why="", reference="")
    outcome.facts["reset"] = reset
    assert event_id(outcome) == expected
