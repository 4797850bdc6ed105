"""Supervisor and workers as processes (negative rows S01, S03, S05; requirements 14 and 15)."""

import json
import os
import re
import signal
import socket
import sys
import time
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
    start,
    wait_for_line,
    wait_until,
)

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def pids_that_answer(server: Server, tries: int = 60) -> set[int]:
    """Ask from many ports; return the workers that answered."""
    answers = {ask_udp(server.port, b"pid") for _ in range(tries)}
    return {int(answer) for answer in answers if answer}


def test_ready_line_names_realm_addresses_and_workers(tmp_path: Path) -> None:
    """One line, when all workers are ready (cli.md)."""
    with running(tmp_path, listen=("127.0.0.1:0", "[::1]:0")) as server:
        pattern = (
            r"keytrust: realm LAB\.TEST ready on 127\.0\.0\.1:(\d+) \(udp, tcp\), "
            r"\[::1\]:(\d+) \(udp, tcp\), 2 workers, (?:compiled|interpreted), pid (\d+)\n"
        )
        found = re.fullmatch(pattern, server.ready_line)
        assert found is not None, server.ready_line
        assert found[1] == found[2]
        assert int(found[3]) == server.process.pid
        assert ask_udp(server.port, b"peer", host="::1") == b"::1 udp"
        assert ask_tcp(server.port, b"peer", host="::1") == b"::1 tcp"
        assert ask_tcp(server.port, b"peer") == b"127.0.0.1 tcp"


def test_workers_share_the_port(tmp_path: Path) -> None:
    """SO_REUSEPORT: both answer, by UDP and by TCP."""
    with running(tmp_path) as server:
        workers = server.worker_pids()
        assert len(workers) == 2
        assert pids_that_answer(server) == workers
        assert {int(ask_tcp(server.port, b"pid")) for _ in range(60)} == workers


def test_killed_worker_is_replaced_while_the_others_answer(tmp_path: Path) -> None:
    """Row S01: replaced within a second; no request sent meanwhile stays unanswered for long."""
    with running(tmp_path) as server:
        before = server.worker_pids()
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        assert ask_udp(server.port, b"hello") == b"echo:hello"
        assert wait_until(lambda: len(server.worker_pids() - {victim}) == 2, 5.0)
        assert wait_until(lambda: len(pids_that_answer(server, 20)) == 2, 5.0)
        assert time.monotonic() - killed_at < 1.0
        assert before - {victim} < pids_that_answer(server)


def test_requests_waiting_for_a_killed_worker_are_answered_by_its_successor(tmp_path: Path) -> None:
    """Row S01: only what the worker was working on is lost, since its sockets stay open."""
    with running(tmp_path, workers=1) as server:
        (victim,) = server.worker_pids()
        os.kill(victim, signal.SIGSTOP)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as tcp,
        ):
            udp.settimeout(5.0)
            udp.connect(("127.0.0.1", server.port))
            udp.send(b"pid")
            tcp.sendall(frame(b"pid"))
            os.kill(victim, signal.SIGKILL)
            successor = int(udp.recv(100))
            assert successor != victim
            assert int(receive(tcp)) == successor


def test_worker_that_keeps_dying_waits_longer_and_the_others_go_on(tmp_path: Path) -> None:
    """Requirement 15: back-off, and every request goes to the living."""
    with running(tmp_path) as server:
        survivor = max(server.worker_pids())
        (tmp_path / "die").touch()
        os.kill(min(server.worker_pids()), signal.SIGKILL)
        log = server.log
        assert wait_until(lambda: log.read_text().count("is started again in") >= 2)
        waits = re.findall(r"is started again in ([\d.]+) s", log.read_text())
        assert waits[:2] == ["0.5", "1.0"]
        assert pids_that_answer(server) == {survivor}
        (tmp_path / "die").unlink()
        assert wait_until(lambda: len(pids_that_answer(server, 20)) == 2)


def test_workers_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """No orphan keeps the port or answers with old keys."""
    with running(tmp_path) as server:
        workers = server.worker_pids()
        port = server.port
        idle = socket.create_connection(("127.0.0.1", port))
        server.process.kill()
        assert wait_until(lambda: not any(is_alive(pid) for pid in workers))
        assert ask_udp(port, b"hello", timeout_s=0.2) == b""
        idle.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_drains_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Requirement 15: what is in flight is finished, exit code 0, no process left."""
    with running(tmp_path) as server:
        workers = server.worker_pids()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as tcp,
            socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as idle,
        ):
            udp.settimeout(5.0)
            udp.connect(("127.0.0.1", server.port))
            udp.send(b"sleep 0.3")
            tcp.sendall(frame(b"sleep 0.3"))
            time.sleep(0.1)
            server.process.send_signal(number)
            assert udp.recv(100) == b"echo:sleep 0.3"
            assert receive(tcp) == b"echo:sleep 0.3"
            assert idle.recv(1) == b""
        assert server.process.wait(10) == 0
        assert not any(is_alive(pid) for pid in workers)


def test_worker_that_does_not_end_is_killed_after_the_drain_time(tmp_path: Path) -> None:
    """A stop is a stop: a stuck worker does not delay it for ever."""
    with running(tmp_path, drain_s=0.5) as server:
        workers = server.worker_pids()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(("127.0.0.1", server.port))
            udp.send(b"sleep 30")
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
        assert not any(is_alive(pid) for pid in workers)
        assert "did not end in time" in server.log.read_text()


def test_reload_reaches_every_worker_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    """Row S05: the old configuration stays, the error is logged; the audit file is reopened."""
    (tmp_path / "setting").write_text("old")
    with running(tmp_path) as server:

        def settings() -> set[bytes]:
            return {ask_udp(server.port, b"setting") for _ in range(30)}

        assert settings() == {b"old"}
        (tmp_path / "setting").write_text("new")
        server.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: settings() == {b"new"})
        (tmp_path / "audit.jsonl").rename(tmp_path / "audit.jsonl.1")
        (tmp_path / "setting").write_text("bad")
        server.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: server.log.read_text().count("reload refused") == 2)
        assert settings() == {b"new"}
        assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 30


def test_every_answer_of_every_worker_has_one_whole_record(tmp_path: Path) -> None:
    """Exactly one JSON record a request, from all workers into one file."""
    with running(tmp_path) as server:
        for number in range(100):
            ask_udp(server.port, b"request %d" % number)
        lines = (tmp_path / "audit.jsonl").read_text().splitlines()
        assert len([json.loads(line) for line in lines]) == 100


def test_taken_port_is_said_in_three_lines_with_code_6(tmp_path: Path) -> None:
    """A second server does not share the port by accident."""
    with running(tmp_path) as server:
        other = tmp_path / "other"
        other.mkdir()
        second = start(other, listen=(f"127.0.0.1:{server.port}",))
        assert second.wait(20) == 1
        error = (other / "log").read_text().splitlines()
        assert error[0] == f"cannot listen on 127.0.0.1:{server.port}"
        assert len(error) == 3
        assert len(pids_that_answer(server)) == 2


def test_handler_that_cannot_be_built_ends_the_start_in_three_lines(tmp_path: Path) -> None:
    """Bad configuration is 78; nothing is left half running."""
    (tmp_path / "setting").write_text("bad")
    server = start(tmp_path)
    assert wait_for_line(server) == ""
    assert server.wait(20) == 78
    assert (tmp_path / "log").read_text().splitlines()[-3:] == [
        f"{tmp_path / 'setting'}:1: bad setting",
        "it is bad",
        "mend it",
    ]


def test_worker_that_dies_at_the_start_ends_the_start(tmp_path: Path) -> None:
    """A server that never was ready does not try for ever."""
    (tmp_path / "die").touch()
    server = start(tmp_path)
    assert wait_for_line(server) == ""
    assert server.wait(20) == 1
    assert "exit code 3" in (tmp_path / "log").read_text()


def test_systemd_is_told_about_every_state(tmp_path: Path) -> None:
    """sd_notify: READY, RELOADING and READY again, STOPPING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10.0)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with running(tmp_path, environment=environment) as server:
            ready = manager.recv(4096).decode().splitlines()
            assert ready[:2] == ["READY=1", f"MAINPID={server.process.pid}"]
            server.process.send_signal(signal.SIGHUP)
            assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(4096) == b"READY=1"
            server.process.send_signal(signal.SIGTERM)
            assert manager.recv(4096) == b"STOPPING=1"
            assert server.process.wait(10) == 0


# systemd passes descriptors from 3 on, and names the process they are meant for.
_AS_SYSTEMD = """
import fcntl, os, sys
passed = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 20) for number in sys.argv[1:3]]
for wanted, descriptor in enumerate(passed, 3):
    os.dup2(descriptor, wanted)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""


def test_inherited_sockets_are_used_instead_of_binding(tmp_path: Path) -> None:
    """LISTEN_FDS (socket activation): a low port without the privilege."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    port = udp.getsockname()[1]
    tcp = socket.socket()
    tcp.bind(("127.0.0.1", 0))
    tcp_port = tcp.getsockname()[1]
    tcp.listen(8)
    server = start(
        tmp_path,
        listen=("192.0.2.1:88",),
        pass_fds=(udp.fileno(), tcp.fileno()),
        prefix=(sys.executable, "-c", _AS_SYSTEMD, str(udp.fileno()), str(tcp.fileno())),
    )
    udp.close()
    tcp.close()
    try:
        line = wait_for_line(server)
        assert f"127.0.0.1:{port} (udp), 127.0.0.1:{tcp_port} (tcp), 2 workers" in line
        assert ask_udp(port, b"hello") == b"echo:hello"
        assert ask_tcp(tcp_port, b"hello") == b"echo:hello"
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
    finally:
        server.kill()
        server.wait(10)
        if server.stdout is not None:
            server.stdout.close()
