"""Slow peers, floods of connections and spent descriptors, on real workers (rows W02, W03, W08)."""

import os
import re
import resource
import select
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kdc.server.framing import frame
from tests.e2e.server_process import (
    Server,
    ask_tcp,
    ask_udp,
    is_alive,
    receive,
    running,
    wait_until,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

CUT_S = 10.0
"""What row W02 promises, from the last answer."""

LATE_S = 4.0
"""For a machine that is busy with other things."""


def connect_from(source: str, port: int, *, receive_buffer: int = 0) -> socket.socket:
    """Connect from one of the many addresses of loopback, each a source of its own."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(5.0)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def open_connections(port: int) -> int:
    """Count the server's ends of TCP connections that it has not closed."""
    suffix, alive = f":{port:04X}", {"01", "08"}  # ESTABLISHED, CLOSE_WAIT
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(local.endswith(suffix) and state in alive for _, local, _, state, *_ in rows)


def ask_from(source: str, port: int) -> bytes:
    """Ask once by TCP, as an honest client does."""
    with connect_from(source, port) as sock:
        sock.sendall(frame(b"hello"))
        return receive(sock)


def counters(server: Server) -> dict[str, int]:
    """Ask for the counters with SIGUSR1."""
    before = server.log.read_text().count("counters: ")
    server.process.send_signal(signal.SIGUSR1)
    assert wait_until(lambda: server.log.read_text().count("counters: ") > before)
    line = [line for line in server.log.read_text().splitlines() if "counters: " in line][-1]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


@pytest.mark.slow
def test_500_slow_connections_harm_nobody_and_are_cut(tmp_path: Path) -> None:
    """Row W02: 20 of 20 honest clients served meanwhile; every slow one is gone after 10 s."""
    with running(tmp_path) as server, ThreadPoolExecutor(20) as honest:
        port = server.port
        slow = []
        for number in range(500):
            reads_slowly = number % 2
            sock = connect_from(
                f"127.0.0.{2 + number % 10}", port, receive_buffer=4096 if reads_slowly else 0
            )
            # A reply that it does not read, or a message of which it sends an octet now and then.
            sock.sendall(frame(b"big 1000000") if reads_slowly else b"\0\0\x01\0")
            slow.append(sock)
        opened_at = time.monotonic()
        assert wait_until(lambda: open_connections(port) == 500)
        rounds = 0
        while open_connections(port) and time.monotonic() < opened_at + CUT_S + LATE_S:
            sources = [f"127.0.1.{1 + number}" for number in range(20)]
            answers = list(honest.map(lambda source: ask_from(source, port), sources))
            assert answers == [b"echo:hello"] * 20
            assert ask_udp(port, b"hello") == b"echo:hello"
            for sock in slow[::2]:
                try:
                    sock.send(b"x")
                except OSError:
                    continue
            rounds += 1
            time.sleep(0.5)
        assert open_connections(port) == 0
        assert rounds > 5
        assert counters(server)["kdc_connections_timed_out_total"] == 500
        for sock in slow:
            sock.close()


def test_2000_connections_of_one_source_keep_64(tmp_path: Path) -> None:
    """Row W03: over both workers a source keeps its share; others are served."""
    with running(tmp_path) as server:
        port = server.port
        flood = [connect_from("127.0.0.66", port) for _ in range(2000)]
        assert all(ask_from(f"127.0.1.{n + 1}", port) == b"echo:hello" for n in range(20))
        poll = select.poll()
        for sock in flood:
            poll.register(sock, select.POLLIN | select.POLLRDHUP)
        assert wait_until(lambda: len(poll.poll(0)) >= 2000 - 64)
        seen = counters(server)
        assert seen["kdc_connections_over_source_limit_total"] == 2000 - 64
        assert seen["kdc_connections_total"] == 64 + 20
        for sock in flood:
            sock.close()


def test_worker_without_descriptors_answers_udp_and_recovers(tmp_path: Path) -> None:
    """Row W08: not one descriptor for a connection, then some: those that waited are served."""
    with running(tmp_path, workers=1) as server:
        (pid,) = server.worker_pids()
        port = server.port
        assert ask_tcp(port, b"hello") == b"echo:hello"
        old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, old[1]))
        with connect_from("127.0.0.5", port) as waiting:
            waiting.sendall(frame(b"hello"))
            assert wait_until(lambda: counters(server)["kdc_accept_errors_total"] > 1)
            assert ask_udp(port, b"hello") == b"echo:hello"
            resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
            assert receive(waiting) == b"echo:hello"
        assert ask_tcp(port, b"hello") == b"echo:hello"
        assert server.worker_pids() == {pid}
        assert "cannot accept TCP connections: Too many open files" in server.log.read_text()


def test_idle_connections_make_room_when_descriptors_run_out(tmp_path: Path) -> None:
    """Row W08: whoever has waited longest without asking goes first."""
    with running(tmp_path, workers=1) as server:
        (pid,) = server.worker_pids()
        port = server.port
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 10, hard))
        idle = [connect_from("127.0.0.5", port) for _ in range(40)]
        assert all(ask_from(f"127.0.1.{n + 1}", port) == b"echo:hello" for n in range(20))
        for sock in idle:
            sock.close()


def test_counters_are_logged_on_request_and_at_the_end_and_survive_a_worker(
    tmp_path: Path,
) -> None:
    """What an operator sees until there are metrics; SIGUSR1 sent to a worker does no harm."""
    with running(tmp_path, workers=1) as server:
        (first,) = server.worker_pids()
        for message in (b"hello", b"hello", b"raise"):
            ask_udp(server.port, message, timeout_s=0.2)
        seen = counters(server)
        assert (seen["kdc_requests_total"], seen["kdc_internal_errors_total"]) == (3, 1)
        os.kill(first, signal.SIGUSR1)
        assert ask_udp(server.port, b"hello") == b"echo:hello"
        assert is_alive(first)
        os.kill(first, signal.SIGKILL)
        assert wait_until(lambda: bool(server.worker_pids() - {first}))
        assert ask_udp(server.port, b"hello", timeout_s=5.0) == b"echo:hello"
        assert counters(server)["kdc_requests_total"] == 5
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        last = [line for line in server.log.read_text().splitlines() if "counters: " in line][-1]
        assert "kdc_requests_total=5 " in last
        assert "kdc_internal_errors_total=1 " in last
