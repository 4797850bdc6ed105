"""What a load is to be: the mix of work, when each request is sent, and when it is too much.

Rules
  1. A load is open by default: requests are sent at their times, whatever the replies do. A closed
     load (so many outstanding) hides every pause of the server, and is called closed in its result.
  2. Times are offsets in seconds from the start of the load; nothing here reads a clock.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

WorkKind = Literal["keytrust", "cert", "password", "tgs"]
Transport = Literal["udp", "tcp", "tcp-kept"]

GROUPS = ("modp14", "modp16", "p256", "p384", "p521")
MAX_REQUESTS = 5_000_000  # 3 KiB each on disk
MAX_RATE = 1_000_000.0


class PlanError(ValueError):
    """A load that cannot be; (what is wrong with it, what to write instead)."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of request."""

    name: str
    """`keytrust-p256`, `cert-modp14+nonce`, `password`, `tgs`."""
    kind: WorkKind
    group: str = ""
    """Of key agreement; "" for work without."""
    dh_nonce: bool = False
    """Whether clientDHNonce is sent, so that the KDC may reuse its key."""


TGS = Work(name="tgs", kind="tgs")

_WORK = re.compile(r"(keytrust|cert)-([a-z0-9]+)(\+nonce)?")


def parse_work(name: str) -> Work:
    """Read the name of a kind of work. Raises PlanError."""
    if name == "password":
        return Work(name=name, kind="password")
    found = _WORK.fullmatch(name)
    if found is None or found[2] not in GROUPS:
        raise PlanError(
            f"{name!r} is no kind of work",
            "write password, or keytrust- or cert- with a group ("
            + ", ".join(GROUPS)
            + "), with +nonce at the end if the KDC may reuse its key",
        )
    kind: WorkKind = "keytrust" if found[1] == "keytrust" else "cert"
    return Work(name=name, kind=kind, group=found[2], dh_nonce=found[3] is not None)


def parse_mix(text: str) -> tuple[tuple[Work, int], ...]:
    """Read a mix, `keytrust-p256:40,password:60` or one kind alone, as (work, weight).

    Raises PlanError.
    """
    out: list[tuple[Work, int]] = []
    for part in text.split(","):
        name, colon, weight = part.strip().partition(":")
        if colon and not (weight.isascii() and weight.isdecimal() and 0 < int(weight) <= 10_000):
            raise PlanError(f"{weight!r} is no weight", "write a number from 1 to 10000")
        work = parse_work(name)
        if any(work.name == other.name for other, _ in out):
            raise PlanError(f"{name} is in the mix twice", "name each kind of work once")
        out.append((work, int(weight) if colon else 1))
    return tuple(out)


def spread(weights: Sequence[int], count: int) -> Iterator[int]:
    """Say for each of `count` requests which entry of the mix it is, spread as evenly as can be.

    Nothing is drawn at random: two runs of a plan send the same sequence.
    """
    total = sum(weights)
    owed = [0] * len(weights)
    for _ in range(count):
        for place, weight in enumerate(weights):
            owed[place] += weight
        chosen = max(range(len(weights)), key=owed.__getitem__)
        owed[chosen] -= total
        yield chosen


# -- when ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A time of one rate."""

    start_s: float
    seconds: float
    rate: float
    """Requests per second."""

    @property
    def requests(self) -> int:
        """How many are sent."""
        return max(1, round(self.rate * self.seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """So many requests outstanding, as fast as they are answered."""

    window: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Requests at their times: one step, or the steps of a ramp."""

    steps: tuple[Step, ...]

    @property
    def requests(self) -> int:
        """How many are sent in all."""
        return sum(step.requests for step in self.steps)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.steps[-1].start_s + self.steps[-1].seconds

    def send_times(self) -> Iterator[float]:
        """Give the time of each request."""
        for step in self.steps:
            gap = step.seconds / step.requests
            for number in range(step.requests):
                yield step.start_s + number * gap


Schedule = Open | Closed


def steady(rate: float, seconds: float) -> Open:
    """Make a schedule of one rate. Raises PlanError."""
    return _checked(Open(steps=(Step(start_s=0.0, seconds=seconds, rate=rate),)))


def ramp(first: float, last: float, steps: int, step_s: float) -> Open:
    """Make a schedule that climbs in equal steps from one rate to another. Raises PlanError."""
    if steps < 2:
        raise PlanError("a ramp has at least two steps", "let it last longer, or shorten the steps")
    rise = (last - first) / (steps - 1)
    return _checked(
        Open(
            steps=tuple(
                Step(start_s=number * step_s, seconds=step_s, rate=first + number * rise)
                for number in range(steps)
            )
        )
    )


def closed(window: int, requests: int) -> Closed:
    """Make a closed load. Raises PlanError."""
    if window < 1 or not 1 <= requests <= MAX_REQUESTS:
        raise PlanError("a closed load needs requests", f"write 1 to {MAX_REQUESTS}")
    return Closed(window=window, requests=requests)


def _checked(schedule: Open) -> Open:
    for step in schedule.steps:
        if not 0 < step.rate <= MAX_RATE or not 0 < step.seconds <= 86400:
            raise PlanError(
                f"{step.rate:g} a second for {step.seconds:g} s is no load",
                "write a rate above 0 and at most a day",
            )
    if schedule.requests > MAX_REQUESTS:
        raise PlanError(
            f"{schedule.requests} requests are too many to make beforehand",
            f"stay under {MAX_REQUESTS}: a shorter time, or a lower rate",
        )
    return schedule


def parse_ramp(text: str) -> tuple[float, float]:
    """Read `100..2000`, two rates. Raises PlanError."""
    low, dots, high = text.partition("..")
    try:
        found = float(low), float(high)
    except ValueError:
        found = (0.0, 0.0)
    if not dots or not 0 < found[0] <= MAX_RATE or not 0 < found[1] <= MAX_RATE:
        raise PlanError(f"{text!r} is no ramp", "write two rates, such as 100..2000")
    return found


# -- how good is good enough -------------------------------------------------------------------

METRICS: Mapping[str, str] = {
    "p50": "ms",
    "p90": "ms",
    "p95": "ms",
    "p99": "ms",
    "p99.9": "ms",
    "max": "ms",
    "errors": "%",
    "rate": "/s",
}
"""What a condition may speak of, and its unit. Errors are requests without the ticket they asked
for, no reply among them; the rate is tickets per second."""

_CONDITION = re.compile(r"([a-z0-9.]+)\s*([<>])\s*([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s|%|/s)?")
_TO_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison of a metric, in the unit that METRICS says."""

    metric: str
    below: bool
    """True: the value has to be below the limit for this to hold."""
    limit: float

    def holds(self, values: Mapping[str, float]) -> bool:
        """Tell whether it is so; a value that is not there (NaN) is worse than any limit."""
        value = values[self.metric]
        if value != value:
            value = float("inf") if self.metric != "rate" else 0.0
        return value < self.limit if self.below else value > self.limit

    def __str__(self) -> str:
        return f"{self.metric}{'<' if self.below else '>'}{self.limit:g}{METRICS[self.metric]}"


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """Read `p99>50ms,errors>0.1%`. Raises PlanError."""
    out = []
    for part in text.split(","):
        found = _CONDITION.fullmatch(part.strip())
        unit = METRICS.get(found[1]) if found else None
        if found is None or unit is None or not _unit_fits(unit, found[4]):
            raise PlanError(
                f"{part.strip()!r} is no condition",
                "write p99<50ms, errors>0.1% or rate>500: " + ", ".join(METRICS),
            )
        scale = _TO_MS[found[4] or "ms"] if unit == "ms" else 1.0
        out.append(Condition(metric=found[1], below=found[2] == "<", limit=float(found[3]) * scale))
    return tuple(out)


def _unit_fits(unit: str, written: str | None) -> bool:
    return written is None or (written in _TO_MS if unit == "ms" else written == unit)
