"""Rows about processes: S01, S03, F08. Those about floods and files are in tests/e2e."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from kdc.outcome import Peer
from kdc.server.build import build_handler
from tests.negative.engine import exchange, run
from tests.negative.realms import Target, served
from tests.negative.wire import kerberos
from tests.negative.wire.logon import Plain
from tests.negative.wire.transport import Transport

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


BUSY_S = 3.0
"""Where the row says one second: these tests share the machine with others."""


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
    """A realm that refuses logons it cannot record."""
    switches = 'audit_failure = "refuse"\n'
    with served(tmp_path_factory.mktemp("guarded"), switches=switches) as target:
        yield target


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
        replaced = _wait(lambda: len(guarded.workers() - {victim}) == 2, BUSY_S)
        time.sleep(1.5)
        stop.set()
        counts = [future.result() for future in running]
    assert replaced, "no new worker"
    assert sum(done for done, _ in counts) > 10
    assert sum(lost for _, lost in counts) <= clients, "more lost than were under way"
    for _ in range(6):
        assert run(world, exchange(remembered), "udp").ticket is not None


# -- S03: files --------------------------------------------------------------------


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
