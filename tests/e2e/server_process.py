"""A server as a process of its own, with the scripted handler of the server tests."""

import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kdc.server.framing import frame

READY_S: Final = 20.0
"""How long a start may take on a machine busy with other tests."""

_SCRIPT: Final = """
import logging, sys
from pathlib import Path
from kdc.server.companion import Companion
from kdc.server.service import ServeSettings
from kdc.server.supervisor import serve
logging.basicConfig(level=logging.INFO)
folder, workers, drain_s, companions, *listen = sys.argv[1:]
sys.exit(serve(ServeSettings(
    realm="LAB.TEST", state_dir=Path(folder), factory="tests.kdc.server.handlers:build_scripted",
    listen=tuple(listen), workers=int(workers), drain_s=float(drain_s), max_back_off_s=1.0,
), [Companion(
    name=name, factory="tests.kdc.server.handlers:run_scripted_companion",
    listen={"web": ("127.0.0.1:0",)}, asks_workers=name == "before",
    must_be_ready=name != "optional",
) for name in companions.split()]))
"""


@dataclass(slots=True, kw_only=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    ready_line: str
    log: Path

    @property
    def port(self) -> int:
        """The port of the first address."""
        found = re.search(r":(\d+) \(", self.ready_line)
        if found is None:
            raise ValueError(self.ready_line)
        return int(found.group(1))

    def worker_pids(self) -> set[int]:
        """Return the living children of the supervisor."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return {int(pid) for pid in Path(path).read_text().split()}


def start(
    folder: Path,
    *,
    workers: int = 2,
    listen: Sequence[str] = ("127.0.0.1:0",),
    drain_s: float = 5.0,
    companions: str = "",
    environment: dict[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    prefix: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a server; its log goes to `log` in the folder. companions: their names."""
    command = [sys.executable, "-c", _SCRIPT, str(folder), str(workers), str(drain_s)]
    command += [companions, *listen]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*prefix, *command],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(environment or {})},
            pass_fds=pass_fds,
            cwd=Path(__file__).parents[2],
        )


def wait_for_line(process: subprocess.Popen[bytes]) -> str:
    """Return the ready line, or "" when the server ends without one."""
    if process.stdout is None:
        raise ValueError("stdout is not a pipe")
    # Not select.select, which knows no descriptor over 1023.
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    return process.stdout.readline().decode() if poll.poll(READY_S * 1000) else ""


@contextmanager
def running(
    folder: Path,
    *,
    workers: int = 2,
    listen: Sequence[str] = ("127.0.0.1:0",),
    drain_s: float = 5.0,
    companions: str = "",
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server, and leave no process of it behind."""
    process = start(
        folder,
        workers=workers,
        listen=listen,
        drain_s=drain_s,
        companions=companions,
        environment=environment,
    )
    server = Server(process=process, ready_line=wait_for_line(process), log=folder / "log")
    try:
        yield server
    finally:
        # Workers end by themselves when their supervisor is gone.
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def ask_udp(port: int, message: bytes, *, timeout_s: float = 2.0, host: str = "127.0.0.1") -> bytes:
    """Ask once by UDP from a new port; b"" when no reply comes in time."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect((host, port))
        try:
            sock.send(message)
            return sock.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            return b""


def ask_tcp(port: int, message: bytes, *, host: str = "127.0.0.1") -> bytes:
    """Ask once by TCP on a new connection."""
    with socket.create_connection((host, port), timeout=5.0) as sock:
        sock.sendall(frame(message))
        return receive(sock)


def receive(sock: socket.socket) -> bytes:
    """Read one framed message, or b"" at the end."""
    length = int.from_bytes(receive_exactly(sock, 4), "big")
    return receive_exactly(sock, length)


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    """Read so many octets, fewer at the end."""
    octets = b""
    while len(octets) < count:
        more = sock.recv(count - len(octets))
        if not more:
            break
        octets += more
    return octets


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Wait for a condition; return whether it came true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
