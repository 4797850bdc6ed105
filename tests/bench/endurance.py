"""Offer twice what a worker can do for ten minutes: goodput, time to a ticket and memory by minute.

python -m tests.bench.endurance --folder F [--work p256|modp14] [--transport udp|tcp] [--minutes 10]

One worker on core 0, the load on core 1. The peak (16 requests at a time) is taken before and
after; in between, twice the first peak is offered, whatever is answered. Issue 8 wants 90 % of the
peak, 250 ms at p99 of what is served, and memory that does not grow.

The requests are made in advance by one process a core, which takes a quarter of the load's own
time. Each bears the time at which it is to be sent, since the KDC refuses what is more than five
minutes old; the load begins at that time.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.load import Outcome, Transport, offer
from tests.bench.realm import Server, cpu_s, make_realm, resident_kib, run_queue_s, serving
from tests.bench.requests import KeyUsers

_CHUNK = 500
_PEAK = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When which request is sent."""

    users: KeyUsers
    number: int
    rate: float
    begin: datetime

    def chunk(self, first: int) -> list[bytes]:
        """Make the requests from one number on."""
        numbers = range(first, min(first + _CHUNK, self.number))
        times = [self.begin + timedelta(seconds=number / self.rate) for number in numbers]
        return self.users.requests_at(times)

    def requests(self, builders: int) -> list[bytes]:
        """Make all requests by some processes, on all cores."""
        context = multiprocessing.get_context("fork")
        # Forked children have the plan without pickling, which private keys do not allow.
        with context.Pool(builders, initializer=_begin_building, initargs=(self,)) as pool:
            chunks = pool.imap(_build, range(0, self.number, _CHUNK))
            return list(itertools.chain.from_iterable(chunks))


_plans: list[Plan] = []


def _begin_building(plan: Plan) -> None:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    _plans.append(plan)


def _build(first: int) -> list[bytes]:
    return _plans[-1].chunk(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the system knew of the workers at one time."""

    at: float
    """Monotonic."""
    private_kib: int
    cpu_s: float
    queued_s: float

    @classmethod
    def take(cls, pids: list[int]) -> "Sample":
        """Look at processes now."""
        return cls(
            at=time.monotonic(),
            private_kib=sum(resident_kib(pid) for pid in pids),
            cpu_s=cpu_s(pids),
            queued_s=run_queue_s(pids),
        )


@dataclass(slots=True)
class Watch:
    """Samples taken every few seconds."""

    samples: list[Sample] = field(default_factory=list)

    @contextmanager
    def over(self, pids: list[int], every_s: float) -> Iterator[None]:
        """Take samples while the block runs."""
        done = threading.Event()

        def run() -> None:
            self.samples.append(Sample.take(pids))
            while not done.wait(every_s):
                self.samples.append(Sample.take(pids))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def near(self, at: float) -> Sample:
        """Return the sample taken nearest to a time."""
        return min(self.samples, key=lambda sample: abs(sample.at - at))


def _p99_ms(spans: list[float]) -> float:
    return 1000 * statistics.quantiles(spans, n=100)[98] if len(spans) > 1 else float("nan")


def _by_part(outcome: Outcome, watch: Watch, part_s: float, peak: float) -> None:
    """Print a line for each part of a load."""
    began = outcome.requests[0].sent_at
    tickets = outcome.tickets()
    print("from s  goodput/s  of peak  p99 ms  private KiB  CPU    waited for its core")
    start = 0.0
    while start < outcome.seconds - part_s / 2:
        inside = [one for one in tickets if start <= one.answered_at - began < start + part_s]
        spans = [one.answered_at - one.sent_at for one in inside]
        first, last = watch.near(began + start), watch.near(began + start + part_s)
        span = last.at - first.at
        print(
            f"{start:6.0f}  {len(inside) / part_s:9.0f}  {len(inside) / part_s / peak:7.0%}  "
            f"{_p99_ms(spans):6.1f}  {last.private_kib:11}  "
            f"{(last.cpu_s - first.cpu_s) / span:5.0%}  "
            f"{(last.queued_s - first.queued_s) / span:5.1%}"
        )
        start += part_s


def _peak(
    server: Server, make: Callable[[int], list[bytes]], transport: Transport, name: str
) -> float:
    """Measure what is answered at most; return tickets per second."""
    messages = make(_PEAK)
    pids = server.workers()
    before = Sample.take(pids)
    outcome = offer(server.address, messages, transport=transport)
    after = Sample.take(pids)
    busy = after.cpu_s - before.cpu_s
    print(
        f"peak {name}: {outcome.rate():.0f}/s, p99 {outcome.latency_ms(0.99):.1f} ms, "
        f"{1e6 * busy / len(outcome.tickets()):.0f} us of CPU a ticket, {outcome.ends()}",
        flush=True,
    )
    return outcome.rate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is offered, and how it is made."""

    folder: Path
    work: str = "modp14"
    transport: Transport = "udp"
    factor: float = 2.0
    """Of the peak."""
    minutes: float = 10.0
    users: int = 64
    builders: int = os.cpu_count() or 1
    build_rate: float = 3000.0
    """Requests that are made in a second, about: says when the load begins."""
    sample_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endured:
    """What came of it."""

    peak_before: float
    peak_after: float
    """Tickets per second."""
    goodput: float
    """Of the higher peak."""
    p99_ms: float
    """Of what got a ticket, from the time it was sent."""
    growth: float
    """Of the worker's private memory, from a tenth of the time to the end."""
    private_kib: list[int]


def measure(setting: Setting) -> Endured:
    """Offer the load to one worker and print how it goes."""
    make_realm(setting.folder, key_users=setting.users)
    users = KeyUsers(setting.folder, group=setting.work)
    free = os.sched_getaffinity(0)
    with serving(setting.folder, workers=1, cores={0}) as server:
        os.sched_setaffinity(0, {1})
        try:
            found = _endure(server, users, setting)
        finally:
            os.sched_setaffinity(0, free)
        print({name: count for name, count in server.counters().items() if count})
    return found


def _endure(server: Server, users: KeyUsers, setting: Setting) -> Endured:
    transport = setting.transport
    offer(server.address, users.requests(1000), transport=transport)
    peak = _peak(server, users.requests, transport, "before")
    rate = setting.factor * peak
    number = int(rate * 60 * setting.minutes)
    lead_s = number / setting.build_rate
    begin = time.time() + lead_s
    plan = Plan(users=users, number=number, rate=rate, begin=datetime.fromtimestamp(begin, UTC))
    started = time.monotonic()
    messages = plan.requests(setting.builders)
    print(
        f"{number} requests, {sum(map(len, messages)) >> 20} MiB, made in "
        f"{time.monotonic() - started:.0f} s of the {lead_s:.0f} s foreseen",
        flush=True,
    )
    # Early by up to two minutes is within the KDC's skew.
    time.sleep(max(0.0, begin - 120 - time.time()))
    watch = Watch()
    own = time.process_time()
    with watch.over(server.workers(), min(setting.sample_s, 1.5 * setting.minutes)):
        outcome = offer(server.address, messages, transport=transport, rate=rate, timeout_s=3.0)
    own = time.process_time() - own
    _by_part(outcome, watch, min(60.0, outcome.seconds / 4), peak)
    spans = [one.answered_at - one.sent_at for one in outcome.tickets()]
    memory = [sample.private_kib for sample in watch.samples]
    settled = memory[len(memory) // 10 :]
    growth = settled[-1] / settled[0] - 1
    goodput = outcome.rate()
    print(
        f"offered {number / outcome.seconds:.0f}/s for {outcome.seconds:.0f} s (load's own CPU "
        f"{own / outcome.seconds:.0%}): goodput {goodput:.0f}/s, {goodput / peak:.1%} of the peak "
        f"before, p99 {_p99_ms(spans):.0f} ms, longest {1000 * max(spans):.0f} ms; {outcome.ends()}"
    )
    print(
        f"private memory: {memory[0]} KiB at the start, {settled[0]} after a tenth of the time, "
        f"{settled[-1]} at the end ({growth:+.2%}), at most {max(memory)}"
    )
    del outcome, messages
    again = _peak(server, users.requests, transport, "after")
    print(f"goodput: {goodput / max(peak, again):.1%} of the higher peak")
    return Endured(
        peak_before=peak,
        peak_after=again,
        goodput=goodput / max(peak, again),
        p99_ms=_p99_ms(spans),
        growth=growth,
        private_kib=memory,
    )


def main() -> None:
    """Measure and print a line a minute, then the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", choices=("p256", "modp14"), default="modp14")
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--build-rate", type=float, default=3000.0, help="requests a second")
    options = parser.parse_args()
    measure(
        Setting(
            folder=options.folder,
            work=options.work,
            transport=options.transport,
            factor=options.factor,
            minutes=options.minutes,
            build_rate=options.build_rate,
        )
    )


if __name__ == "__main__":
    main()
