"""Companions under the supervisor: started, watched, reloaded and ended like workers."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server_process import (
    Server,
    ask_udp,
    is_alive,
    running,
    start,
    wait_for_line,
    wait_until,
)

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def companion_pid(server: Server) -> int:
    """Return the process of the companion that has started last."""
    text = (server.log.parent / "companion-pid").read_text()
    return int(text or 0)


def web_port(server: Server) -> int:
    """Return the companion's port, from the ready line."""
    found = re.search(r"web on 127\.0\.0\.1:(\d+)", server.ready_line)
    assert found is not None, server.ready_line
    return int(found[1])


def test_ready_line_names_the_companions_addresses(tmp_path: Path) -> None:
    """It comes when workers and companion are ready."""
    with running(tmp_path, companions="after") as server:
        pattern = r"keytrust: .*\), 2 workers, \w+, web on 127\.0\.0\.1:\d+, pid \d+\n"
        assert re.fullmatch(pattern, server.ready_line), server.ready_line
        assert companion_pid(server) in server.worker_pids()
        assert len(server.worker_pids()) == 3


def test_killed_companion_is_started_again_and_the_workers_stay(tmp_path: Path) -> None:
    """Row S01 for a companion; what has connected meanwhile waits in its socket."""
    with running(tmp_path, companions="after") as server:
        victim = companion_pid(server)
        workers = server.worker_pids() - {victim}
        os.kill(victim, signal.SIGKILL)
        with socket.create_connection(("127.0.0.1", web_port(server)), timeout=2.0):
            assert ask_udp(server.port, b"hello") == b"echo:hello"
            assert wait_until(lambda: companion_pid(server) not in (victim, 0))
        assert workers < server.worker_pids()
        assert f"after (pid {victim}) ended with signal 9" in server.log.read_text()
        assert not is_alive(victim)


def test_companion_that_keeps_failing_waits_longer_and_nobody_else_does(tmp_path: Path) -> None:
    """Back-off, with its sockets closed: who asks is refused at once and can go elsewhere."""
    with running(tmp_path, companions="after") as server:
        (tmp_path / "companion-crashes").touch()
        os.kill(companion_pid(server), signal.SIGKILL)
        log = server.log
        assert wait_until(lambda: log.read_text().count("after is started again in") >= 2)
        waits = re.findall(r"after is started again in ([\d.]+) s", log.read_text())
        assert waits[:2] == ["0.5", "1.0"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", web_port(server)), timeout=2.0)
        assert ask_udp(server.port, b"hello") == b"echo:hello"
        (tmp_path / "companion-crashes").unlink()
        (tmp_path / "companion-pid").write_text("")
        assert wait_until(lambda: companion_pid(server) != 0)
        socket.create_connection(("127.0.0.1", web_port(server)), timeout=2.0).close()


def test_companion_that_cannot_start_ends_the_start_in_three_lines(tmp_path: Path) -> None:
    """Its exit code is the server's; nothing is left half running."""
    (tmp_path / "companion-fails").touch()
    server = start(tmp_path, companions="after")
    assert wait_for_line(server) == ""
    assert server.wait(20) == 78
    assert (tmp_path / "log").read_text().splitlines()[-3:] == [
        "kdc.toml:3: bad companion",
        "it is bad",
        "mend it",
    ]


def test_bug_at_the_companions_start_ends_the_start_in_three_lines(tmp_path: Path) -> None:
    """The traceback goes to the log, the three lines name the process."""
    (tmp_path / "companion-crashes").touch()
    server = start(tmp_path, companions="after")
    assert wait_for_line(server) == ""
    assert server.wait(20) == 1
    assert (tmp_path / "log").read_text().splitlines()[-3:] == [
        "the after process cannot start",
        "unexpected ValueError, a bug",
        "see the log, and report it",
    ]


def test_companion_that_need_not_be_ready_does_not_hold_up_the_start(tmp_path: Path) -> None:
    """The server runs without it and goes on trying."""
    (tmp_path / "companion-fails").touch()
    with running(tmp_path, companions="optional") as server:
        assert "ready" in server.ready_line
        assert wait_until(lambda: "optional cannot start" in server.log.read_text())
        (tmp_path / "companion-fails").unlink()
        assert wait_until((tmp_path / "companion-pid").exists)


def test_reload_reaches_the_companion_and_its_refusal_counts(tmp_path: Path) -> None:
    """SIGHUP: one answer from every process; one that refuses is said in the log."""
    with running(tmp_path, companions="after") as server:
        server.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: ":reloaded\n" in server.log.read_text())
        (tmp_path / "companion-refuses").touch()
        server.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: "not reloaded: the old" in server.log.read_text())
        assert (tmp_path / "orders").read_text() == "RELOAD\nRELOAD\n"


@pytest.mark.parametrize("name", ["before", "after"])
def test_stop_drains_the_companion_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """Exit code 0, no process left, whether it ends before the workers or after them."""
    with running(tmp_path, companions=name) as server:
        pids = server.worker_pids()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert (tmp_path / "orders").read_text() == "DRAIN\n"
        assert not any(is_alive(pid) for pid in pids)


def test_companion_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """A stuck companion delays a stop by a quarter of the drain time."""
    (tmp_path / "companion-stays").touch()
    with running(tmp_path, companions="before", drain_s=1.0) as server:
        pids = server.worker_pids()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert "before did not end in time and is killed" in server.log.read_text()
        assert not any(is_alive(pid) for pid in pids)


def test_companion_ends_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """No orphan keeps a port or writes the store."""
    with running(tmp_path, companions="after") as server:
        pids = server.worker_pids()
        server.process.kill()
        assert wait_until(lambda: not any(is_alive(pid) for pid in pids))
        assert (tmp_path / "orders").read_text() == "DRAIN\n"


def test_companion_ignores_signals_that_reach_the_whole_group(tmp_path: Path) -> None:
    """^C in a terminal, or a service manager that signals every process: the supervisor decides."""
    with running(tmp_path, companions="after") as server:
        pid = companion_pid(server)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, number)
        server.process.send_signal(signal.SIGHUP)
        assert wait_until((tmp_path / "orders").exists)
        assert companion_pid(server) == pid
        assert is_alive(pid)


def test_companion_of_a_wrong_port_is_said_in_three_lines(tmp_path: Path) -> None:
    """The supervisor binds for it, before anything is forked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        script = (
            "import sys; from pathlib import Path\n"
            "from kdc.server.companion import Companion\n"
            "from kdc.server.service import ServeSettings\n"
            "from kdc.server.supervisor import serve\n"
            "settings = ServeSettings(realm='LAB.TEST', state_dir=Path('.'), workers=1,\n"
            "    factory='tests.kdc.server.handlers:build_scripted', listen=('127.0.0.1:0',))\n"
            f"web = Companion(name='web', factory='a:b', listen={{'web': ('127.0.0.1:{port}',)}})\n"
            "sys.exit(serve(settings, [web]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == f"cannot listen on 127.0.0.1:{port}"
    assert len(lines) == 3
