"""What counting costs a request: `python -m tests.bench.counting`.

Prints microseconds for one request counted, and for its stages timed as a worker times them: one
request of eight, ten stages each.
"""

import timeit
from collections.abc import Callable

from kdc.server.counters import CounterTable
from kdc.server.row import STAGES, StageClock, count_request

_ROUNDS = 20_000
_REPEATS = 7


def microseconds(action: Callable[[], object]) -> float:
    """Return what one call takes: the best of several runs, since all noise adds."""
    return min(timeit.repeat(action, number=_ROUNDS, repeat=_REPEATS)) / _ROUNDS * 1e6


def measure() -> tuple[float, float]:
    """Return the cost of counting and of timing a request, in microseconds."""
    cells = CounterTable(2).for_worker(0).cells
    clock = StageClock(cells)

    def count() -> None:
        count_request(cells, "AS", 24, "udp", "192.0.2.1", 812_345)

    def time_stages() -> None:
        clock.begin()
        for stage in STAGES[:10]:
            clock.enter(stage)
        clock.end()

    return microseconds(count), microseconds(time_stages)


if __name__ == "__main__":
    counting, timing = measure()
    print(
        f"counting {counting:.2f} us, stages {timing:.2f} us, together {counting + timing:.2f} us"
    )
