"""A realm served by `kdc serve`, made and changed only by commands of `kdc`."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig import commands, peers
from tests.rig.clients import ClientRealm, Transport

REALM = "LAB.TEST"
_COMMAND_S = 60
_READY_S = 30.0
_STOP_S = 15.0
_KDC = (sys.executable, "-m", "kdc")


_FIRST_PORT = 15000
_LAST_PORT = 32000
"""Below what the kernel gives to clients (32768): a client's connection of some test, gone a minute
ago, would keep a server from the port that was free a moment before."""
_KPASSWD_AWAY = 464 - 88


def free_port(address: str = "127.0.0.1") -> int:
    """Find a port that is free for both UDP and TCP, as is the one beside it, for kpasswd."""
    for _ in range(50):
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if _is_free(address, port) and _is_free(address, port + _KPASSWD_AWAY):
            return port
    raise RuntimeError("no port is free for both UDP and TCP")


def _is_free(address: str, port: int) -> bool:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        try:
            stream.bind((address, port))
            datagram.bind((address, port))
        except OSError:
            return False
    return True


@dataclass(slots=True, kw_only=True)
class LiveRealm:
    """A realm's state folder, its KDC's address and, while it is served, its process."""

    state: Path
    address: str
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    realm: str = REALM
    prefix: tuple[str, ...] = ()
    """Before each command: how it comes into a namespace of its own."""
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        """Name the server's log; it lies beside the state folder, not in it."""
        self.log = self.state.with_name(f"{self.state.name}-serve.log")

    @property
    def ca(self) -> Path:
        """The issuer of the KDC's certificate."""
        return self.state / "pki/ca.pem"

    def kdc(self, *arguments: str, stdin: str = "", ok: Sequence[int] = (0,)) -> str:
        """Run one `kdc` command on this realm and return what it printed."""
        done = self._run(arguments, stdin)
        assert done.returncode in ok, (
            f"kdc {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def _run(self, arguments: Sequence[str], stdin: str) -> "subprocess.CompletedProcess[str]":
        environment = self._environment()
        if not self.prefix:
            return commands.run(
                "kdc", arguments, environment=environment, stdin=stdin, timeout_s=_COMMAND_S
            )
        return subprocess.run(
            [*self.prefix, *_KDC, *arguments],
            cwd=peers.ROOT,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        return peers.clean_environment({"KDC_STATE": str(self.state), "NO_COLOR": "1"})

    def client(self, folder: Path, *own_anchors: Path, transport: Transport = "udp") -> ClientRealm:
        """Describe the realm as a client in that folder knows it."""
        return ClientRealm(
            realm=self.realm,
            address=f"{self.address}:{self.port}",
            anchors=(self.ca,),
            own_anchors=own_anchors,
            folder=folder,
            transport=transport,
        )

    def audit(self) -> list[dict[str, object]]:
        """The audit records written so far, oldest first."""
        file = self.state / "audit.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    @contextlib.contextmanager
    def served(self, workers: int = 2) -> Iterator["LiveRealm"]:
        """Serve the realm while the block runs; ready when the server has said so in one line."""
        command = [*_KDC, "serve", "--listen", f"{self.address}:{self.port}"]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*self.prefix, *command, "--workers", str(workers)],
                cwd=peers.ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.process = process
        try:
            self._wait_until_ready(process)
            yield self
        finally:
            self.process = None
            _stop(process)

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        # The line's wording is the server's; that the port answers is what a client needs.
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            said = self.log.read_text(errors="replace")
            assert process.poll() is None, f"kdc serve ended with {process.returncode}:\n{said}"
            if "\n" in said and _answers(self.address, self.port):
                return
            time.sleep(0.05)
        raise AssertionError(f"kdc serve was not ready in {_READY_S} s:\n{said}")


def _answers(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((address, port)) == 0


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server as an operator does; its whole session if it does not drain in time."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def make_realm(
    state: Path,
    *options: str,
    address: str = "127.0.0.1",
    port: int | None = None,
    prefix: tuple[str, ...] = (),
    renewal: bool = False,
    fetching: bool = False,
) -> LiveRealm:
    """Make a realm with `kdc init`; options are added to the command.

    renewal, fetching: let the server run its processes that renew certificates and that fetch
    revocation data; tests that count the server's processes do without.
    """
    port = free_port(address) if port is None else port
    live = LiveRealm(state=state, address=address, port=port, prefix=prefix)
    live.kdc("init", "--realm", REALM, "--listen", f"{address}:{port}", *options)
    toml = state / "kdc.toml"
    switches = (("ca_renewal", renewal), ("fetch_revocation", fetching))
    for key, wanted in switches:
        text = toml.read_text()
        # A second init leaves the file of the first as it is, these lines too.
        if not wanted and f"\n{key} = false\n" not in f"\n{text}":
            toml.write_text(f"{key} = false\n{text}")
    return live
