"""No process that holds a key leaves a core file (design requirements 12 and 14)."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server_process import wait_until
from tests.rig import peers
from tests.rig.realm import LiveRealm, make_realm

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
# `kdc` itself, asleep at a moment when a command would hold the master key.
_COMMAND = """
import sys, time
from kdc.cli import main
main.run = lambda: print("ready", flush=True) or time.sleep(60)
main.main()
"""


def core_limit(pid: int) -> tuple[str, str]:
    """Return the soft and hard limit of core files as /proc shows them."""
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith("Max core file size"):
            soft, hard = line.removeprefix("Max core file size").split()[:2]
            return soft, hard
    raise AssertionError("no such limit")


def allow_core_files(pid: int) -> None:
    """Lift the limit from outside: what still forbids the dump is that it is not dumpable."""
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, _UNLIMITED)
    except (PermissionError, ValueError):
        pytest.skip("the limit of core files cannot be raised here")


def dumps_core(process: "subprocess.Popen[bytes]") -> bool:
    """Crash a child of ours and tell whether the kernel wrote its memory anywhere."""
    process.send_signal(signal.SIGSEGV)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGSEGV
    return os.WCOREDUMP(status)


def start(folder: Path, script: str) -> "subprocess.Popen[bytes]":
    """Start Python with a script that says when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        env=peers.clean_environment({"PYTHONPATH": str(peers.ROOT)}),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    return process


def test_a_python_that_forbids_nothing_does_dump(tmp_path: Path) -> None:
    """The control: on this machine a crash does leave a core file."""
    process = start(tmp_path, _SLEEP)
    allow_core_files(process.pid)
    if not dumps_core(process):
        pytest.skip("this machine writes no core files")


def test_no_command_dumps_core(tmp_path: Path) -> None:
    """Any command may open the master key: limit 0, and not dumpable even without the limit."""
    process = start(tmp_path, _COMMAND)
    assert core_limit(process.pid)[0] == "0"
    allow_core_files(process.pid)
    assert not dumps_core(process)
    assert list(tmp_path.glob("core*")) == []


@pytest.fixture
def live(tmp_path: Path) -> LiveRealm:
    """Make a realm for a server of its own."""
    return make_realm(tmp_path / "state")


def test_neither_supervisor_nor_worker_dumps_core(live: LiveRealm) -> None:
    """Requirement 14: LimitCORE=0 and PR_SET_DUMPABLE 0, without systemd's help."""
    with live.served(workers=1):
        assert live.process is not None
        supervisor = live.process.pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
        (worker,) = map(int, children.read_text().split())
        for pid in (supervisor, worker):
            assert core_limit(pid)[0] == "0"
            allow_core_files(pid)
        before = {path.name for path in peers.ROOT.glob("core*")}
        os.kill(worker, signal.SIGSEGV)
        assert wait_until(lambda: str(worker) not in children.read_text().split())
        assert wait_until(lambda: "ended with signal 11" in live.log.read_text())
        assert not dumps_core(live.process)
        assert {path.name for path in peers.ROOT.glob("core*")} == before
