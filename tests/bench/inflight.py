"""What users in flight cost: `python -m tests.bench.inflight --folder F [--work p256|modp14]`.

One worker on core 0, the load on core 1, so many requests outstanding at any time, by UDP and by
TCP (a connection each). UDP's buffer holds some 48 key logons: what comes beyond it is dropped, so
larger numbers are by TCP alone. Prints tickets per second, processor time of a ticket, and the time
to a ticket.
"""

import argparse
import os
import sys
from pathlib import Path

from tests.bench.load import Transport, offer
from tests.bench.realm import Server, cpu_s, make_realm, resident_kib, serving
from tests.bench.requests import KeyUsers

_WINDOWS: dict[Transport, tuple[int, ...]] = {"udp": (1, 4, 16, 40), "tcp": (1, 4, 16, 128, 512)}
_MOST_FROM_A_SOURCE = 64


def _line(server: Server, messages: list[bytes], transport: Transport, window: int) -> str:
    pids = server.workers()
    before = cpu_s(pids)
    sources = [f"127.0.1.{1 + n}" for n in range(max(1, window // _MOST_FROM_A_SOURCE))]
    outcome = offer(
        server.address,
        messages,
        transport=transport,
        window=window,
        timeout_s=10.0,
        sources=sources if transport == "tcp" else (),
    )
    spent = cpu_s(pids) - before
    got = len(outcome.tickets())
    return (
        f"{transport} {window:4}: {outcome.rate():6.0f}/s, {1e6 * spent / got:5.0f} us a ticket, "
        f"p50 {outcome.latency_ms(0.5):6.1f} ms, p99 {outcome.latency_ms(0.99):6.1f} ms, "
        f"private {sum(map(resident_kib, pids)) / 1024:.1f} MiB"
        + ("" if got == len(messages) else f", {outcome.ends()}")
    )


def main() -> int:
    """Measure and print a line for each number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", choices=("p256", "modp14"), default="p256")
    parser.add_argument("--number", type=int, default=3000)
    options = parser.parse_args()
    make_realm(options.folder, key_users=64)
    users = KeyUsers(options.folder, group=options.work)
    with serving(options.folder, workers=1, cores={0}) as server:
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {1})
        offer(server.address, users.requests(500))
        for transport, windows in _WINDOWS.items():
            for window in windows:
                print(_line(server, users.requests(options.number), transport, window), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
