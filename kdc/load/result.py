"""The result of a load as one JSON value: what was planned, what came, and how two results compare.

The keys are a contract (`FORMAT`): scripts, `kdc load compare` and the report read them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdc.load.generate import Verdict
from kdc.load.measure import NOT_SENT, Histogram, Record, Tally, end_name, tally, windows
from kdc.load.plan import Closed, Condition, Open, Schedule, Work

FORMAT = "keytrust-load/1"
MAX_RESULT_BYTES = 64 * 1024 * 1024
BUSY_GENERATOR = 0.8
"""Above this share of a core the generator itself may be what is measured."""

Json = dict[str, Any]


class ResultError(Exception):
    """A file is no result of a load; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a load was asked to be."""

    exchange: str
    target: str
    realm: str
    transport: str
    works: tuple[Work, ...]
    weights: tuple[int, ...]
    schedule: Schedule
    timeout_s: float
    until: tuple[Condition, ...] = ()
    thresholds: tuple[Condition, ...] = ()


def make_result(
    setting: Setting, record: Record, kinds: Sequence[int], verdicts: Sequence[Verdict]
) -> Json:
    """Sum up a load."""
    numbers = record.sent_numbers()
    total = tally(record, numbers)
    seconds = record.seconds
    by_work = []
    for place, work in enumerate(setting.works):
        part = tally(record, (n for n in numbers if kinds[n] == place))
        by_work.append({"work": work.name, **_sums(part, seconds)})
    bad = [verdict for verdict in verdicts if not verdict.good]
    out: Json = {
        "format": FORMAT,
        "started_at": datetime.fromtimestamp(record.started_at, UTC).isoformat(timespec="seconds"),
        "exchange": setting.exchange,
        "target": setting.target,
        "realm": setting.realm,
        "transport": setting.transport,
        "mix": [
            {"work": work.name, "weight": weight}
            for work, weight in zip(setting.works, setting.weights, strict=True)
        ],
        "load": _load_json(setting.schedule),
        "timeout_s": setting.timeout_s,
        "seconds": round(seconds, 3),
        "stopped": record.stopped or None,
        "total": _sums(total, seconds),
        "by_work": by_work,
        "windows": [{k: _number(v) for k, v in window.items()} for window in windows(record)],
        "curve": [[p, _number(ms)] for p, ms in total.latencies.curve()],
        "verified": {
            "sampled": len(verdicts),
            "good": len(verdicts) - len(bad),
            "bad": [{"request": one.number, "why": one.why} for one in bad[:20]],
        },
        "generator": {
            "cpu_share": round(record.cpu_share, 3),
            "busy": record.cpu_share > BUSY_GENERATOR,
        },
        "kdc": None,
    }
    if record.kdc_cpu_s is not None:
        out["kdc"] = {
            "cpu_s": round(record.kdc_cpu_s, 3),
            "tickets_per_cpu_s": _number(total.tickets / record.kdc_cpu_s)
            if record.kdc_cpu_s
            else None,
        }
    if isinstance(setting.schedule, Open) and len(setting.schedule.steps) > 1:
        out["ramp"] = _ramp_json(setting.schedule, record, setting.until)
    if setting.thresholds:
        metrics = total.metrics(seconds)
        out["thresholds"] = [
            {"condition": str(one), "held": one.holds(metrics)} for one in setting.thresholds
        ]
    return out


def step_tally(schedule: Open, record: Record, place: int) -> Tally | None:
    """Sum up one step of a ramp; None when not all of it was sent."""
    first = sum(step.requests for step in schedule.steps[:place])
    last = first + schedule.steps[place].requests
    if record.ends[last - 1] == NOT_SENT:
        return None
    return tally(record, range(first, last))


def too_much(found: Tally, seconds: float, until: Sequence[Condition]) -> Condition | None:
    """Return the first condition of `--until` that a step meets."""
    metrics = found.metrics(seconds)
    return next((one for one in until if one.holds(metrics)), None)


def _ramp_json(schedule: Open, record: Record, until: Sequence[Condition]) -> Json:
    steps: list[Json] = []
    knee: float | None = None
    ended: str | None = None
    for place, step in enumerate(schedule.steps):
        found = step_tally(schedule, record, place)
        if found is None:
            break
        met = too_much(found, step.seconds, until)
        steps.append(
            {"rate": step.rate, **_sums(found, step.seconds), "met": str(met) if met else None}
        )
        if ended is None:
            if met is None:
                knee = step.rate
            else:
                ended = str(met)
    return {"steps": steps, "knee": knee, "ended_by": ended, "until": [str(one) for one in until]}


def _sums(found: Tally, seconds: float) -> Json:
    return {
        "requests": found.requests,
        "tickets": found.tickets,
        "tickets_per_s": _number(found.tickets / seconds if seconds else 0.0),
        "errors_percent": round(found.errors_percent(), 4),
        "ends": {end_name(end): count for end, count in found.ends.most_common()},
        "latency_ms": {name: _number(value) for name, value in found.latencies.summary().items()},
    }


def _load_json(schedule: Schedule) -> Json:
    if isinstance(schedule, Closed):
        return {"kind": "closed", "window": schedule.window, "requests": schedule.requests}
    first, last = schedule.steps[0], schedule.steps[-1]
    if len(schedule.steps) == 1:
        return {"kind": "open", "rate": first.rate, "seconds": first.seconds}
    return {
        "kind": "ramp",
        "from": first.rate,
        "to": last.rate,
        "steps": len(schedule.steps),
        "step_s": first.seconds,
    }


def _number(value: float) -> float | None:
    """Round for people; JSON has no NaN."""
    return round(value, 3) if math.isfinite(value) else None


def all_latencies(record: Record) -> Histogram:
    """Return the latencies of all answered requests, for an HDR file."""
    return tally(record, record.sent_numbers()).latencies


# -- reading and comparing -------------------------------------------------------------------------


def read_result(path: Path) -> Json:
    """Read the JSON of a load. Raises ResultError, OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_RESULT_BYTES + 1)
    try:
        found = json.loads(data) if len(data) <= MAX_RESULT_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ResultError(f"{path} is no result of kdc load ({FORMAT})")
    return found


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Json]:
    """Put two results side by side: name, both values, and second to first."""
    rows: list[tuple[str, float | None, float | None]] = []
    for name in ("tickets_per_s", "errors_percent"):
        rows.append((name, first["total"][name], second["total"][name]))
    for name, value in first["total"]["latency_ms"].items():
        rows.append((f"{name} ms", value, second["total"]["latency_ms"].get(name)))
    if first.get("kdc") and second.get("kdc"):
        name = "tickets_per_cpu_s"
        rows.append((name, first["kdc"][name], second["kdc"][name]))
    if first.get("ramp") and second.get("ramp"):
        rows.append(("knee /s", first["ramp"]["knee"], second["ramp"]["knee"]))
    return [
        {"name": name, "a": a, "b": b, "ratio": round(b / a, 3) if a and b is not None else None}
        for name, a, b in rows
    ]


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Say in which settings two results differ: they are then not the same work."""
    return [
        f"{name}: {first.get(name)} and {second.get(name)}"
        for name in ("exchange", "transport", "mix", "load", "timeout_s")
        if first.get(name) != second.get(name)
    ]
