"""What was measured: how each request ended, how long it took, and what that is in sum.

Latency is counted from the time at which a request was due, not from when it could be sent: a
server's pause is then felt by every request that fell into it ("coordinated omission").
"""

import contextlib
import os
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from kdc.wire.constants import ErrorCode, MessageType

MAX_LATENCY_US = 120_000_000
DIGITS = 3
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99)

# How a request ended, when not with an error code of the KDC (those are positive numbers).
TICKET = 0
NO_REPLY = -1
REFUSED_CONNECTION = -2
CLOSED_CONNECTION = -3
NETWORK_ERROR = -4
UNREADABLE = -5
NOT_SENT = -6

END_NAMES: Mapping[int, str] = {
    TICKET: "ticket",
    NO_REPLY: "no reply in time",
    REFUSED_CONNECTION: "connection refused",
    CLOSED_CONNECTION: "connection closed",
    NETWORK_ERROR: "network error",
    UNREADABLE: "unreadable reply",
    NOT_SENT: "not sent",
}

# The ends of a request that no KDC had a part in.
NO_ANSWER = frozenset(
    END_NAMES[end]
    for end in (NO_REPLY, REFUSED_CONNECTION, CLOSED_CONNECTION, NETWORK_ERROR, NOT_SENT)
)

TICKET_TAGS = frozenset((0x60 | MessageType.AS_REP, 0x60 | MessageType.TGS_REP))


def end_name(end: int) -> str:
    """Name how a request ended: `ticket`, `24 KDC_ERR_PREAUTH_FAILED`, `no reply in time`."""
    if end in END_NAMES:
        return END_NAMES[end]
    try:
        return f"{end} {ErrorCode(end).name}"
    except ValueError:
        return str(end)


class Histogram:
    """Latencies in microseconds, three digits exact."""

    def __init__(self) -> None:
        self._inner = HdrHistogram(1, MAX_LATENCY_US, DIGITS)

    @classmethod
    def of(cls, latencies_us: Iterable[int]) -> "Histogram":
        """Make one of values."""
        out = cls()
        for value in latencies_us:
            out.record(value)
        return out

    def record(self, latency_us: int) -> None:
        """Count one value; a longer one than two minutes counts as two minutes."""
        self._inner.record_value(min(max(1, latency_us), MAX_LATENCY_US))

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self._inner.get_total_count())

    def at(self, percentile: float) -> float:
        """Return a percentile in milliseconds; NaN when there is no value."""
        if not self.count:
            return float("nan")
        return float(self._inner.get_value_at_percentile(percentile)) / 1000

    def max_ms(self) -> float:
        """Return the largest value in milliseconds; NaN when there is none."""
        return float(self._inner.get_max_value()) / 1000 if self.count else float("nan")

    def summary(self) -> dict[str, float]:
        """Return the usual percentiles, and the largest value, in milliseconds."""
        out = {f"p{percentile:g}": self.at(percentile) for percentile in PERCENTILES}
        out["max"] = self.max_ms()
        return out

    def curve(self) -> list[tuple[float, float]]:
        """Return (percentile, milliseconds) for drawing, up to the last value."""
        if not self.count:
            return []
        points = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0]
        share = 10.0
        while self.count * share / 100 >= 1:
            points += [100 - share * part for part in (0.75, 0.5, 0.25, 0.1)]
            share /= 10
        return [(p, self.at(p)) for p in dict.fromkeys(points)] + [(100.0, self.max_ms())]

    def write_hdr(self, path: Path) -> None:
        """Write the percentile distribution in HdrHistogram's text form, in milliseconds."""
        with path.open("wb") as file:
            self._inner.output_percentile_distribution(file, 1000.0)


@dataclass(slots=True)
class Record:
    """The raw record of a load: one entry per request."""

    count: int
    due: "array[float]" = field(init=False)
    """Seconds from the start, as planned (closed load: as sent)."""
    sent: "array[float]" = field(init=False)
    answered: "array[float]" = field(init=False)
    """0 when there was no reply."""
    ends: "array[int]" = field(init=False)
    seconds: float = 0.0
    """From the first request to the end of sending (closed load: to the last reply)."""
    started_at: float = 0.0
    """Seconds since 1970."""
    cpu_share: float = 0.0
    """Of one core, by the sending process."""
    kdc_cpu_s: float | None = None
    stopped: str = ""
    """Why it was ended before its time."""

    def __post_init__(self) -> None:
        self.due = array("d", bytes(8 * self.count))
        self.sent = array("d", bytes(8 * self.count))
        self.answered = array("d", bytes(8 * self.count))
        self.ends = array("h", [NOT_SENT]) * self.count

    def latency_us(self, number: int) -> int:
        """Return the latency of an answered request."""
        return int((self.answered[number] - self.due[number]) * 1e6)

    def sent_numbers(self) -> range:
        """List the requests that were sent: the first ones, when the load was stopped."""
        count = self.count
        while count and self.ends[count - 1] == NOT_SENT:
            count -= 1
        return range(count)


@dataclass(slots=True, kw_only=True)
class Tally:
    """A group of requests in sum."""

    requests: int = 0
    ends: Counter[int] = field(default_factory=Counter)
    latencies: Histogram = field(default_factory=Histogram)

    def add(self, record: Record, number: int) -> None:
        """Count one request."""
        self.requests += 1
        end = record.ends[number]
        self.ends[end] += 1
        if record.answered[number]:
            self.latencies.record(record.latency_us(number))

    @property
    def tickets(self) -> int:
        """How many requests got what they asked for."""
        return self.ends[TICKET]

    def errors_percent(self) -> float:
        """Return the share of requests that got no ticket."""
        return 100 * (self.requests - self.tickets) / self.requests if self.requests else 0.0

    def metrics(self, seconds: float) -> dict[str, float]:
        """Return the values that conditions speak of."""
        out = self.latencies.summary()
        out["errors"] = self.errors_percent()
        out["rate"] = self.tickets / seconds if seconds else 0.0
        return out


def tally(record: Record, numbers: Iterable[int]) -> Tally:
    """Sum up requests."""
    out = Tally()
    for number in numbers:
        out.add(record, number)
    return out


def windows(record: Record, width_s: float = 1.0) -> list[dict[str, float]]:
    """Cut a load into windows by the time at which requests were due."""
    groups: dict[int, list[int]] = {}
    for number in record.sent_numbers():
        groups.setdefault(int(record.due[number] / width_s), []).append(number)
    out = []
    for place in sorted(groups):
        numbers = groups[place]
        found = tally(record, numbers)
        latencies = found.latencies
        out.append(
            {
                "at": place * width_s,
                "offered": len(numbers) / width_s,
                "tickets": found.tickets / width_s,
                "errors": (found.requests - found.tickets) / width_s,
                "p50": latencies.at(50),
                "p99": latencies.at(99),
                "max": latencies.max_ms(),
            }
        )
    # The last window is cut short by the end of the load: its rates would look like a fall.
    if len(out) > 1 and record.seconds % width_s > 0.01 * width_s and record.seconds > width_s:
        out.pop()
    return out


# -- processor time of others --------------------------------------------------------------------


def process_tree(pid: int) -> list[int]:
    """List a process and all its descendants that live now."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            fields = _stat(int(entry))
            if fields:
                parents[int(entry)] = int(fields[1])
    out, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        if one in parents:
            out.append(one)
            waiting += [child for child, parent in parents.items() if parent == one]
    return out


def cpu_seconds(pids: Sequence[int]) -> float:
    """Sum user and system time of processes, and of their children that have ended."""
    nanoseconds = ticks = 0
    for pid in pids:
        fields = _stat(pid)
        # Of a process that has ended meanwhile the time is now its parent's, as of a child.
        with contextlib.suppress(OSError):
            nanoseconds += time.clock_gettime_ns(_clock_of(pid))
        ticks += sum(int(value) for value in fields[13:15])
    return nanoseconds / 1e9 + ticks / os.sysconf("SC_CLK_TCK")


def _clock_of(pid: int) -> int:
    """Return Linux' clock of a process: clock_getcpuclockid(3). /proc has hundredths only."""
    return ~pid << 3 | 2


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("ascii", "replace")
    except OSError:
        return []
    # The name may hold spaces and brackets: what follows its last bracket does not.
    return text.rpartition(")")[2].split()
