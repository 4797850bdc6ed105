"""Offer twice what a worker can do: goodput and the time until those that get a ticket have it.

python -m tests.bench.overload --folder F [--work password|p256|modp14] [--transport udp|tcp]

One worker on core 0, the load on core 1. First the peak (16 requests at a time), then twice that
rate for --seconds, whatever is answered. Row W07 wants 90 % of the peak and 250 ms at p99. Where
other programs use the cores too, compare tickets per second of the worker's CPU time.
"""

import argparse
import os
from pathlib import Path

from tests.bench.load import Transport, offer
from tests.bench.realm import cpu_s, make_realm, serving
from tests.bench.requests import KeyUsers, password_requests


def main() -> None:
    """Measure and print one line per phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", choices=("password", "p256", "modp14"), default="password")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    transport: Transport = arguments.transport
    make_realm(folder)
    users = None if arguments.work == "password" else KeyUsers(folder, group=arguments.work)
    make = password_requests if users is None else users.requests
    with serving(folder, workers=1, cores={0}) as server:
        os.sched_setaffinity(0, {1})
        offer(server.address, make(200), transport=transport)
        messages = make(12000 if users is None else 2000)
        began = cpu_s(server.workers())
        peak = offer(server.address, messages, transport=transport)
        peak_cpu = (cpu_s(server.workers()) - began) / len(peak.tickets())
        print(
            f"peak: {peak.rate():.0f}/s, p99 {peak.latency_ms(0.99):.1f} ms, "
            f"core used {peak_cpu * peak.rate():.0%}, "
            f"{1e6 * peak_cpu:.0f} us a ticket, {peak.ends()}"
        )
        rate = arguments.factor * peak.rate()
        messages = make(int(rate * arguments.seconds))
        began = cpu_s(server.workers())
        over = offer(server.address, messages, transport=transport, rate=rate, timeout_s=6.0)
        cpu = (cpu_s(server.workers()) - began) / len(over.tickets())
        offered = len(messages) / over.seconds
        print(
            f"offered {offered:.0f}/s: goodput {over.rate():.0f}/s = "
            f"{over.rate() / peak.rate():.0%} of the peak, "
            f"per CPU second {peak_cpu / cpu:.0%}, "
            f"p50 {over.latency_ms(0.5):.0f} p99 {over.latency_ms(0.99):.0f} "
            f"max {over.latency_ms(1):.0f} ms, {over.ends()}"
        )
        if transport == "tcp":
            at_once = [one for one in over.tickets() if one.connected_at - one.sent_at < 0.9]
            spans = sorted(one.answered_at - one.sent_at for one in at_once)
            print(
                f"first SYN taken: {len(at_once)}, "
                f"p99 {1000 * spans[int(len(spans) * 0.99)]:.0f} ms from SYN"
            )
        counters = server.counters()
        print({name: count for name, count in counters.items() if count})


if __name__ == "__main__":
    main()
