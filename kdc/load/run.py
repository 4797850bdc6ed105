"""A load from plan to result: make the requests, send them, verify a sample, sum up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kdc.load.drive import DriveOptions, drive
from kdc.load.generate import Generator, Order, Target
from kdc.load.measure import NO_REPLY, TICKET, Record
from kdc.load.people import People
from kdc.load.plan import Closed, Open, PlanError, spread
from kdc.load.result import Json, Setting, make_result, step_tally, too_much

MAX_DRIFT_S = 240.0
"""How far the planned start may be off: proofs are good for a skew of 300 s."""
LIVE_WINDOW_S = 1.0
_SECONDS_PER_REQUEST = {"password": 0.0004, "keytrust": 0.0016, "cert": 0.0016, "tgs": 0.0005}
"""What making one costs a core, roughly: to guess when the load begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The last second of a load, for a line on the terminal."""

    seconds: float
    sent: int
    of: int
    tickets_per_s: float
    errors: int
    """Requests of that second that ended without a ticket."""
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who is told how it goes."""

    made: Callable[[int], None]
    live: Callable[[Live], None]


def run_load(
    setting: Setting,
    target: Target,
    people: People,
    options: DriveOptions,
    *,
    processes: int,
    sample: int,
    listeners: Listeners,
) -> tuple[Json, Record]:
    """Run a load and return its result, and the raw record.

    processes: that make requests beforehand. sample: how many replies are verified.
    Raises PlanError, GenerateError, DriveError.
    """
    for work in setting.works:
        people.check(work.kind)
    schedule = setting.schedule
    count = schedule.requests
    kinds = list(spread(setting.weights, count))
    offsets = [0.0] * count if isinstance(schedule, Closed) else list(schedule.send_times())
    expected = sum(_SECONDS_PER_REQUEST[setting.works[kind].kind] for kind in kinds) / processes
    start = datetime.now(UTC) + timedelta(seconds=expected)
    step = max(1, count // sample) if sample else count + 1
    sampled = frozenset(range(0, count, step) if sample else ())
    order = Order(works=setting.works, kinds=kinds, offsets=offsets, start=start, sampled=sampled)
    generator = Generator(order, target, people, processes)
    try:
        messages = generator.messages(listeners.made)
        drift = abs((datetime.now(UTC) - start).total_seconds())
        if drift > MAX_DRIFT_S:
            raise PlanError(
                f"making the requests took {drift:.0f} s more or less than expected",
                "their timestamps would be refused: ask for fewer requests",
            )
        watch = _Watch(setting, listeners)
        record, replies = drive(messages, schedule, options, sampled, watch)
        verdicts = generator.verify(replies)
    finally:
        generator.close()
    return make_result(setting, record, kinds, verdicts), record


class _Watch:
    """Looks at a running load: the live line, and whether a ramp has gone far enough."""

    def __init__(self, setting: Setting, listeners: Listeners) -> None:
        self._setting = setting
        self._listeners = listeners
        self._judged = 0
        self._first = 0
        self._last_line = 0.0

    def __call__(self, record: Record, sent: int, seconds: float) -> bool:
        self._line(record, sent, seconds)
        if record.stopped:
            return True
        schedule = self._setting.schedule
        if not isinstance(schedule, Open) or not self._setting.until:
            return False
        # A step is judged when its last request has had its time.
        patience = min(self._setting.timeout_s, 1.0)
        steps = schedule.steps
        while self._judged < len(steps) - 1:
            step = steps[self._judged]
            if seconds < step.start_s + step.seconds + patience:
                return False
            found = step_tally(schedule, record, self._judged)
            if found is None:
                return False
            met = too_much(found, step.seconds, self._setting.until)
            self._judged += 1
            if met is not None:
                record.stopped = f"{met} at {step.rate:g}/s"
                return True
        return False

    def _line(self, record: Record, sent: int, seconds: float) -> None:
        if seconds - self._last_line < LIVE_WINDOW_S:
            return
        self._last_line = seconds
        while self._first < sent and record.due[self._first] < seconds - LIVE_WINDOW_S:
            self._first += 1
        recent = range(self._first, sent)
        spans = sorted(
            (record.answered[n] - record.due[n]) * 1000 for n in recent if record.answered[n]
        )
        ended = [record.ends[n] for n in recent]
        self._listeners.live(
            Live(
                seconds=seconds,
                sent=sent,
                of=record.count,
                tickets_per_s=ended.count(TICKET) / LIVE_WINDOW_S,
                errors=sum(end not in (TICKET, NO_REPLY) for end in ended),
                p50_ms=_at(spans, 0.5),
                p99_ms=_at(spans, 0.99),
            )
        )


def _at(spans: Sequence[float], share: float) -> float:
    return spans[min(len(spans) - 1, int(len(spans) * share))] if spans else float("nan")
