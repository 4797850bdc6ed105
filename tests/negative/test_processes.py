"""Rows about processes, files and floods: S01, S03, S05, S06, F08, A04, W02, W03, W08."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from kdc.outcome import Peer
from kdc.server.build import build_handler
from tests.negative.conftest import Targets
from tests.negative.engine import exchange, run
from tests.negative.realms import Target, served
from tests.negative.wire import kerberos
from tests.negative.wire.kerberos import AsRep
from tests.negative.wire.logon import Plain
from tests.negative.wire.transport import Transport, send
from tests.rig import peers

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def _wait(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _logs_on(target: Target, transport: Transport = "tcp") -> bool:
    got = run(target.world, exchange(target.world.pkinit()), transport, timeout_s=2.0)
    return got.ticket is not None


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A realm that refuses logons it cannot record, with no limit for connections from here."""
    switches = 'audit_failure = "refuse"\nexempt_sources = ["127.0.0.0/8"]\n'
    with served(tmp_path_factory.mktemp("guarded"), switches=switches) as target:
        yield target


# -- A04: lockout ----------------------------------------------------------------------------


def test_parallel_wrong_passwords_lock_the_account(guarded: Target) -> None:
    """Row A04: of 100 wrong passwords at once each is counted, and soon all that follow are 18."""
    world = guarded.world
    attempts = [world.password("suffixed", wrong=True) for _ in range(100)]

    def attempt(logon: Plain) -> int:
        got = run(world, exchange(logon), "udp")
        assert got.error is not None
        return got.error.code

    with ThreadPoolExecutor(16) as pool:
        codes = Counter(pool.map(attempt, attempts))
    # The threshold is 10; each of two workers may be judging one more when the tenth is counted.
    assert set(codes) == {18, 24}
    assert 10 <= codes[24] <= 12
    right = run(world, exchange(world.password("suffixed")), "udp")
    assert right.error is not None
    assert right.error.code == 18
    guarded.live.kdc("user", "unlock", "suffixed")
    assert run(world, exchange(world.password("suffixed")), "udp").ticket is not None


def test_failed_keys_do_not_lock_the_account(guarded: Target) -> None:
    """Row A04: whoever sends bad signatures in somebody's name cannot lock them out."""
    world = guarded.world
    for _ in range(15):
        logon = world.pkinit("card", by=world.stranger("rsa"))
        got = run(world, exchange(logon), "udp")
        assert got.error is not None
        assert got.error.code == 62
    assert run(world, exchange(world.pkinit("card")), "udp").ticket is not None


# -- F08: clocks -----------------------------------------------------------------------------


def test_clock_that_jumps_accepts_no_replay(tmp_path: Path) -> None:
    """Row F08: an hour forward and back, and an AuthPack still counts once."""
    with served(tmp_path) as target:
        world, state = target.world, target.live.state
    start = datetime.now(UTC)
    peer = Peer(address="127.0.0.1", port=1, transport="tcp")
    handler = build_handler(state)
    try:

        def code_at(message: bytes, when: datetime) -> int:
            return handler.handle(message, peer, when).code

        def logon_at(when: datetime) -> Plain:
            logon = world.pkinit()
            logon.auth.ctime = when
            return logon

        used = []
        for jump in (timedelta(), timedelta(hours=1), timedelta(), timedelta(hours=-1)):
            when = start + jump + timedelta(seconds=5)
            logon = logon_at(when)
            first = code_at(logon.message(), when)
            # An hour back lies before the memory was made: refusing is the safe answer there.
            assert first == (37 if jump < timedelta() else 0), jump
            logon.after = [kerberos.padata(kerberos.PA_PAC_REQUEST, b"")]
            used.append((logon.message(), when))
            for message, then in used:
                for moment in (when, then):
                    assert code_at(message, moment) in (34, 37), (jump, moment)
        assert code_at(logon_at(start + timedelta(seconds=20)).message(), start) == 0
    finally:
        handler.close()


# -- S01: killed workers ---------------------------------------------------------------------


def test_killed_worker_loses_only_what_it_was_doing(guarded: Target) -> None:
    """Row S01: honest clients hardly notice; a packet answered before is answered again (F02)."""
    world = guarded.world
    stop = Event()

    def client(_: int) -> tuple[int, int]:
        done = lost = 0
        while not stop.is_set():
            if run(world, exchange(world.pkinit()), "tcp", timeout_s=3.0).ticket is not None:
                done += 1
            else:
                lost += 1
        return done, lost

    remembered = world.pkinit()
    assert run(world, exchange(remembered), "udp").ticket is not None
    before = guarded.workers()
    clients = 4
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client, n) for n in range(clients)]
        time.sleep(1.0)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        replaced = _wait(lambda: len(guarded.workers() - {victim}) == 2, 1.0)
        time.sleep(1.5)
        stop.set()
        counts = [future.result() for future in running]
    assert replaced, "no new worker within a second"
    assert sum(done for done, _ in counts) > 50
    assert sum(lost for _, lost in counts) <= clients, "more lost than were under way"
    for _ in range(6):
        assert run(world, exchange(remembered), "udp").ticket is not None


# -- S03, S05, S06: files --------------------------------------------------------------------


def test_audit_log_that_cannot_grow_refuses_logons(guarded: Target) -> None:
    """Row S03: under audit_failure = "refuse" no ticket leaves without its record."""
    assert _logs_on(guarded)
    size = (guarded.live.state / "audit.jsonl").stat().st_size
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in guarded.workers()}
    try:
        for pid, (_, hard) in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        world = guarded.world
        for transport in ("udp", "tcp"):
            kind: Transport = "udp" if transport == "udp" else "tcp"
            got = run(world, exchange(world.pkinit()), kind)
            assert got.error is not None
            assert got.error.code == 29
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    assert _logs_on(guarded)


@pytest.mark.parametrize("name", ["kdc.toml", "pki/kdc.key", "pki/kdc.pem"])
def test_bad_file_on_reload_changes_nothing(guarded: Target, name: str) -> None:
    """Row S05: after a reload of nonsense the old configuration and keys go on; it is logged."""
    path = guarded.live.state / name
    good = path.read_bytes()
    before = guarded.live.log.stat().st_size
    process = guarded.live.process
    assert process is not None
    try:
        path.write_bytes(b"nonsense = [\n")
        process.send_signal(signal.SIGHUP)
        assert _wait(lambda: guarded.live.log.stat().st_size > before)
        assert _wait(lambda: "reload" in guarded.live.log.read_text()[before:])
        assert _logs_on(guarded)
        assert _logs_on(guarded, "udp")
    finally:
        path.write_bytes(good)
        process.send_signal(signal.SIGHUP)
    assert _logs_on(guarded)


@pytest.mark.parametrize("name", ["master.key", "pki/kdc.key"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_readable_secret_refuses_the_start(guarded: Target, name: str, mode: int) -> None:
    """Row S06: `kdc serve` does not start with a secret that others could have read."""
    path = guarded.live.state / name
    environment = peers.clean_environment({"KDC_STATE": str(guarded.live.state)})
    command = [sys.executable, "-m", "kdc", "serve", "--listen", "127.0.0.1:1", "--workers", "1"]
    try:
        path.chmod(mode)
        done = subprocess.run(
            command,
            cwd=peers.ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        path.chmod(0o600)
    assert done.returncode == 5
    assert path.name in done.stderr


# -- W02, W03, W08: connections --------------------------------------------------------------


def _connect(address: tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
    sock = socket.create_connection(address, 5.0, source_address=(source, 0))
    sock.settimeout(0.0)
    return sock


def _is_open(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_slow_connections_are_cut_and_honest_ones_served(guarded: Target) -> None:
    """Row W02: 500 connections drip and wait; 20 honest clients get their tickets meanwhile."""
    address = guarded.world.address
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(_connect(address)) for _ in range(500)]
        began = time.monotonic()
        for number, sock in enumerate(slow):
            with contextlib.suppress(OSError):
                sock.send(b"\x00\x00\x10\x00" if number % 2 else b"\x00")
        assert all(_logs_on(guarded) for _ in range(20))
        while any(_is_open(sock) for sock in slow) and time.monotonic() - began < 12:
            for sock in slow[::50]:
                with contextlib.suppress(OSError):
                    sock.send(b"\x00")
            time.sleep(0.5)
        assert not any(_is_open(sock) for sock in slow)
        assert time.monotonic() - began < 11.5


def test_one_source_keeps_its_share_of_connections(targets: Targets) -> None:
    """Row W03: of 300 connections from one address eight stay; others are served."""
    target = targets.get("small")  # max_connections_per_source = 8
    address = target.world.address
    with contextlib.ExitStack() as stack:
        flood = []
        for _ in range(300):
            with contextlib.suppress(OSError):
                flood.append(stack.enter_context(_connect(address, "127.0.0.9")))
        time.sleep(0.3)
        assert sum(_is_open(sock) for sock in flood) <= 8
        for _ in range(10):
            assert run(target.world, exchange(target.world.password()), "tcp").ticket is not None
            assert run(target.world, exchange(target.world.password()), "udp").ticket is not None
    time.sleep(0.2)
    message = target.world.password().message()
    answer = send(address, message, "tcp", source=("127.0.0.9", 0))
    assert answer.reply is not None
    assert isinstance(kerberos.read_reply(answer.reply), AsRep)


def test_listener_recovers_when_descriptors_are_used_up(guarded: Target) -> None:
    """Row W08: with no descriptor left, the idlest connection makes room for an honest one."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in guarded.workers()}
    try:
        for pid, (_, hard) in limits.items():
            used = len(os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, hard))
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(_connect(guarded.world.address))
            assert _wait(lambda: _logs_on(guarded), 1.0)
            assert _logs_on(guarded)
        assert _wait(lambda: _logs_on(guarded), 1.0)
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    assert guarded.workers() == set(limits)
