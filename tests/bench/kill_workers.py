"""Kill a worker every five seconds under load, and say which requests were lost (row S01).

python -m tests.bench.kill_workers --folder F [--seconds 60] [--rate 150]

Two workers; half of the load are logons by key over UDP, half by password over TCP, none sent
twice. At most 0.1 % may be lost, and each of those must have been in flight at the worker that was
killed: sent before its death, by no more than it had to do.
"""

import argparse
import os
import signal
import threading
import time
from pathlib import Path

from tests.bench.load import Offered, Outcome, Transport, offer
from tests.bench.realm import Server, make_realm, serving
from tests.bench.requests import KeyUsers, password_requests

INTERVAL_S = 5.0
SHOWN = 20


class _Load(threading.Thread):
    """One of the two loads."""

    def __init__(self, server: Server, messages: list[bytes], rate: float, by: Transport) -> None:
        super().__init__()
        self._server = server
        self._messages = messages
        self._rate = rate
        self.by = by
        self.outcome: Outcome | None = None

    def run(self) -> None:
        """Send everything."""
        self.outcome = offer(
            self._server.address, self._messages, rate=self._rate, transport=self.by, timeout_s=3.0
        )


def _kill_in_turn(server: Server, seconds: float) -> list[tuple[float, float]]:
    """Kill workers, the one that lives longest first; return (time, seconds until replaced)."""
    kills = []
    known = server.workers()
    end = time.monotonic() + seconds - 1
    while time.monotonic() + INTERVAL_S < end:
        time.sleep(INTERVAL_S)
        victim = known.pop(0)
        killed_at = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        while len(new := [p for p in server.workers() if p not in known and p != victim]) < 1:
            time.sleep(0.005)
        kills.append((killed_at, time.monotonic() - killed_at))
        known += new
    return kills


def _describe(one: Offered, kills: list[tuple[float, float]]) -> str:
    """Say when a lost request was sent, seen from the nearest kill."""
    nearest = min((killed_at for killed_at, _ in kills), key=lambda at: abs(at - one.sent_at))
    span_ms = 1000 * (one.sent_at - nearest)
    return f"{span_ms:+.1f} ms ({one.ended})"


def main() -> None:
    """Measure and print what was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=150.0, help="of each of the two loads")
    arguments = parser.parse_args()
    make_realm(arguments.folder)
    count = int(arguments.seconds * arguments.rate)
    by_key = KeyUsers(arguments.folder).requests(count)
    by_password = password_requests(count)
    with serving(arguments.folder, workers=2) as server:
        loads = [
            _Load(server, by_key, arguments.rate, "udp"),
            _Load(server, by_password, arguments.rate, "tcp"),
        ]
        for load in loads:
            load.start()
        kills = _kill_in_turn(server, arguments.seconds)
        for load in loads:
            load.join()
        print(
            f"{len(kills)} kills, replaced after {max(s for _, s in kills) * 1000:.0f} ms at most"
        )
        lost = 0
        for load in loads:
            if load.outcome is None:
                raise RuntimeError(f"the load by {load.by} failed")
            missing = load.outcome.lost()
            lost += len(missing)
            print(
                f"{load.by}: {len(load.outcome.tickets())} tickets of {len(load.outcome.requests)},"
                f" p50 {load.outcome.latency_ms(0.5):.1f} p99 {load.outcome.latency_ms(0.99):.1f}"
                f" max {load.outcome.latency_ms(1):.0f} ms, lost {len(missing)}: "
                f"{[_describe(one, kills) for one in missing[:SHOWN]]}"
            )
        print(f"lost {lost / (2 * count):.3%}")
        print({name: number for name, number in server.counters().items() if number})


if __name__ == "__main__":
    main()
