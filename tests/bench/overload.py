"""Offer twice what a worker can do: goodput and the time until those that get a ticket have it.

python -m tests.bench.overload --folder F [--work password|p256|modp14] [--transport udp|tcp]

One worker on core 0, the load on core 1. In turn, --rounds times: the peak (16 requests at a time),
then twice that rate for --seconds, whatever is answered. Row W07 wants 90 % of the peak and 250 ms
at p99; the medians of the rounds are printed last.

Other programs on the worker's core spoil tickets per second, so a second figure needs no quiet
machine: tickets per second of the worker's own CPU time, times the share of the time in which it
ran or wanted to. A worker that works in vain loses in the first factor, one that waits for
connections it does not accept loses in the second.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import Outcome, Transport, offer
from tests.bench.realm import Server, cpu_s, make_realm, run_queue_s, serving
from tests.bench.requests import KeyUsers, password_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What a load got, and what it took."""

    outcome: Outcome
    tickets_per_cpu_s: float
    wanted: float
    """The share of the time in which the worker ran or waited for its core only."""

    def capacity(self) -> float:
        """Return the tickets a second that a core of its own would have given."""
        return self.tickets_per_cpu_s * self.wanted


def _phase(server: Server, messages: list[bytes], transport: Transport, rate: float) -> Phase:
    pids = server.workers()
    cpu, queue = [cpu_s(pids)], [run_queue_s(pids)]

    def read() -> None:
        cpu.append(cpu_s(pids))
        queue.append(run_queue_s(pids))

    # What is answered after the last request was sent is neither load nor goodput.
    outcome = offer(
        server.address, messages, transport=transport, rate=rate, timeout_s=6.0, when_sent=read
    )
    busy, waited = cpu[1] - cpu[0], queue[1] - queue[0]
    return Phase(
        outcome=outcome,
        tickets_per_cpu_s=outcome.in_time() / busy,
        # At the peak the load waits for the worker; a pause of the load is no pause of ours.
        wanted=min(1.0, (busy + waited) / outcome.seconds) if rate else 1.0,
    )


def _round(
    server: Server,
    make: Callable[[int], list[bytes]],
    transport: Transport,
    arguments: argparse.Namespace,
) -> tuple[float, float, float]:
    """Measure once; return goodput and capacity as shares of the peak's, and p99 in ms."""
    peak = _phase(server, make(arguments.peak), transport, 0.0)
    print(
        f"peak: {peak.outcome.rate():.0f}/s, p99 {peak.outcome.latency_ms(0.99):.1f} ms, "
        f"{1e6 / peak.tickets_per_cpu_s:.0f} us a ticket, core wanted {peak.wanted:.0%}, "
        f"{peak.outcome.ends()}"
    )
    rate = arguments.factor * peak.outcome.rate()
    messages = make(int(rate * arguments.seconds))
    over = _phase(server, messages, transport, rate)
    goodput = over.outcome.rate() / peak.outcome.rate()
    capacity = over.capacity() / peak.capacity()
    # By TCP a SYN that is ignored is sent again after a second: that wait is no work of ours.
    taken = [
        1000 * (one.answered_at - one.sent_at)
        for one in over.outcome.tickets()
        if one.connected_at - one.sent_at < 0.9
    ]
    p99 = statistics.quantiles(taken, n=100)[98]
    print(
        f"offered {len(messages) / over.outcome.seconds:.0f}/s: goodput {goodput:.0%} of the peak, "
        f"with a core of its own {capacity:.0%} ({1e6 / over.tickets_per_cpu_s:.0f} us a ticket, "
        f"core wanted {over.wanted:.0%}); {len(taken)} taken at once, p99 {p99:.0f} ms; "
        f"{over.outcome.ends()}",
        flush=True,
    )
    return goodput, capacity, p99


def main() -> None:
    """Measure and print two lines a round, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", choices=("password", "p256", "modp14"), default="password")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", type=int, default=0, help="requests of the peak")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    transport: Transport = arguments.transport
    make_realm(folder)
    users = None if arguments.work == "password" else KeyUsers(folder, group=arguments.work)
    make = password_requests if users is None else users.requests
    arguments.peak = arguments.peak or (8000 if users is None else 3000)
    with serving(folder, workers=1, cores={0}) as server:
        os.sched_setaffinity(0, {1})
        offer(server.address, make(200), transport=transport)
        rounds = [_round(server, make, transport, arguments) for _ in range(arguments.rounds)]
        goodput, capacity, p99 = (
            statistics.median(figures) for figures in zip(*rounds, strict=True)
        )
        print(
            f"{arguments.work} {transport}, {arguments.rounds} rounds: goodput {goodput:.0%}, with "
            f"a core of its own {capacity:.0%} of the peak, p99 {p99:.0f} ms"
        )
        print({name: count for name, count in server.counters().items() if count})


if __name__ == "__main__":
    main()
