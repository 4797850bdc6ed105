"""What a second worker on a second core adds: `python -m tests.bench.workers --folder F`.

One worker on core 0 with the load on core 1, then two workers on both cores with the load beside
them, in turn; 16 requests outstanding for each worker, all made beforehand. The load needs a
processor as well, and with two cores it takes it from the workers, so three figures are given:

- by processor time: tickets per second of all workers' own time, of two against one, times two, and
  less by what the busier worker does too much. What workers do to each other (locks of the shared
  memories, the store, caches) costs time and shows here; sleeping for a lock would not.
- by the clock: tickets per second as they came. Everything shows here, the load's share as well.
- by the clock, shares given back: the last, times 2 / (2 - what the load and all other programs of
  the machine took of a core). What workers wait for each other shows here and nowhere else.
"""

import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import offer
from tests.bench.realm import Server, cpu_s, make_realm, serving
from tests.bench.requests import KeyUsers

CORES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a load got."""

    per_cpu_s: float
    """Tickets per second of the workers' processor time."""
    per_s: float
    busiest: float
    """The busiest worker's share of the workers' processor time."""
    load: float
    """What the load took of a core."""
    others: float
    """What took of a core that was neither worker nor load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What two workers do, as multiples of what one does."""

    by_cpu: float
    by_clock: float
    given_back: float
    """By the clock, what the load and other programs took given back."""


def _load(server: Server, messages: list[bytes], cores: set[int]) -> Rate:
    pids = server.workers()
    os.sched_setaffinity(0, cores)
    before, own, busy = [cpu_s([pid]) for pid in pids], time.process_time(), _busy_s()
    outcome = offer(server.address, messages, window=16 * len(pids))
    own, busy = time.process_time() - own, _busy_s() - busy
    spent = [cpu_s([pid]) - start for pid, start in zip(pids, before, strict=True)]
    if len(outcome.tickets()) < 0.99 * len(messages):
        raise SystemExit(f"not all got tickets: {outcome.ends()}")
    return Rate(
        per_cpu_s=len(outcome.tickets()) / sum(spent),
        per_s=outcome.rate(),
        busiest=max(spent) / sum(spent),
        load=own / outcome.seconds,
        others=max(0.0, busy - sum(spent) - own) / outcome.seconds,
    )


def _busy_s() -> float:
    """Return the seconds that all processors together were not idle."""
    user, nice, system, _idle, _waiting, *rest = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, *, work: str, rounds: int, number: int) -> list[Gain]:
    """Measure one worker and two in turn; say each round."""
    folders = [folder / "one", folder / "two"]
    for each in folders:
        make_realm(each, key_users=64)
    users = [KeyUsers(each, group=work) for each in folders]
    gains = []
    with (
        serving(folders[0], workers=1, cores={0}) as one,
        serving(folders[1], workers=2, cores={0, 1}) as two,
    ):
        for server, who in zip((one, two), users, strict=True):
            _load(server, who.requests(200), {0, 1})
        for _ in range(rounds):
            alone = _load(one, users[0].requests(number), {1})
            both = _load(two, users[1].requests(2 * number), {0, 1})
            print(
                f"{work}: one {alone.per_cpu_s:.0f} per CPU second, {alone.per_s:.0f}/s; two "
                f"{both.per_cpu_s:.0f} per CPU second, {both.per_s:.0f}/s, the busier did "
                f"{both.busiest:.0%}, the load took {both.load:.0%} of a core, others "
                f"{both.others:.0%}",
                file=sys.stderr,
            )
            by_clock = both.per_s / alone.per_s
            gains.append(
                Gain(
                    by_cpu=both.per_cpu_s / alone.per_cpu_s / both.busiest,
                    by_clock=by_clock,
                    given_back=by_clock * CORES / (CORES - both.load - both.others),
                )
            )
    return gains


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", choices=("p256", "modp14"), default="modp14")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=3000, help="requests for each worker")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < CORES:
        raise SystemExit("two cores are needed")
    options.folder.mkdir(parents=True, exist_ok=True)
    gains = measure(options.folder, work=options.work, rounds=options.rounds, number=options.number)
    print(f"two workers against one, {options.work}, median of {options.rounds} rounds:")
    by_cpu = statistics.median(gain.by_cpu for gain in gains)
    by_clock = statistics.median(gain.by_clock for gain in gains)
    given_back = statistics.median(gain.given_back for gain in gains)
    print(f"  by processor time                     {by_cpu:.2f} x")
    print(f"  by the clock, the load beside them    {by_clock:.2f} x")
    print(f"  by the clock, shares given back       {given_back:.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
