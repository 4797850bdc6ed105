"""Results: their JSON, the comparison of two, and the page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kdc.load.generate import Verdict
from kdc.load.measure import NO_REPLY, TICKET, Record
from kdc.load.plan import parse_conditions, parse_mix, ramp, steady
from kdc.load.report import render
from kdc.load.result import (
    ResultError,
    Setting,
    compare,
    differences,
    make_result,
    read_result,
)


def result_of(
    latency_s: float = 0.01, *, lost: int = 0, **changes: Any
) -> tuple[Setting, Record, dict[str, Any]]:
    """Make the result of 200 requests of two kinds in two seconds, the last `lost` unanswered."""
    mix = parse_mix("keytrust-p256:1,password:1")
    values: dict[str, Any] = {
        "exchange": "as",
        "target": "127.0.0.1:88",
        "realm": "LAB.TEST",
        "transport": "udp",
        "works": tuple(work for work, _ in mix),
        "weights": (1, 1),
        "schedule": steady(100, 2),
        "timeout_s": 2.0,
    }
    setting = Setting(**{**values, **changes})
    record = Record(200)
    for number, due in enumerate(setting.schedule.send_times()):  # type: ignore[union-attr]
        record.due[number] = record.sent[number] = due
        answered = number < 200 - lost
        record.answered[number] = due + latency_s if answered else 0.0
        record.ends[number] = TICKET if answered else NO_REPLY
    record.seconds, record.kdc_cpu_s = 2.0, 0.5
    kinds = [number % 2 for number in range(200)]
    verdicts = [Verdict(number=0, good=True)]
    return setting, record, make_result(setting, record, kinds, verdicts)


def test_a_result_is_json_with_rates_latencies_and_ends() -> None:
    """Everything that was promised is in it, in plain JSON."""
    _, _, result = result_of(lost=20)
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again == result
    assert again["total"]["tickets"] == 180
    assert again["total"]["tickets_per_s"] == 90
    assert again["total"]["errors_percent"] == 10
    assert again["total"]["ends"] == {"ticket": 180, "no reply in time": 20}
    assert again["total"]["latency_ms"]["p99"] == pytest.approx(10, rel=0.01)
    assert [part["work"] for part in again["by_work"]] == ["keytrust-p256", "password"]
    assert again["kdc"]["tickets_per_cpu_s"] == 360
    assert again["verified"] == {"sampled": 1, "good": 1, "bad": []}


def test_a_load_of_no_replies_is_still_json() -> None:
    """There is no NaN in JSON: a percentile of nothing is null."""
    _, _, result = result_of(lost=200)
    assert "NaN" not in json.dumps(result)
    assert result["total"]["latency_ms"]["p99"] is None


def test_thresholds_are_judged() -> None:
    """Each says whether it held."""
    _, _, result = result_of(lost=20, thresholds=parse_conditions("p99<50ms,errors<1%"))
    assert result["thresholds"] == [
        {"condition": "p99<50ms", "held": True},
        {"condition": "errors<1%", "held": False},
    ]


def test_the_knee_of_a_ramp_is_the_last_good_step_before_a_bad_one() -> None:
    """A step that is good again after a bad one does not count."""
    schedule = ramp(50, 150, 2, 1)
    _, _, result = result_of(lost=30, schedule=schedule, until=parse_conditions("errors>1%"))
    assert result["ramp"]["knee"] == 50
    assert result["ramp"]["ended_by"] == "errors>1%"
    assert [step["met"] for step in result["ramp"]["steps"]] == [None, "errors>1%"]


def test_two_results_are_compared_line_by_line() -> None:
    """The ratio is second to first; what differs in the setting is told."""
    _, _, first = result_of(0.010)
    _, _, second = result_of(0.005, transport="tcp")
    rows = {row["name"]: row for row in compare(first, second)}
    assert rows["tickets_per_s"]["ratio"] == 1
    assert rows["p50 ms"]["ratio"] == pytest.approx(0.5, rel=0.01)
    assert differences(first, second) == ["transport: udp and tcp"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "other/1"}', "[" * 100_000])
def test_a_file_that_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    """`kdc load compare` says so instead of a traceback."""
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ResultError):
        read_result(tmp_path / "x.json")


def test_the_page_needs_nothing_beside_it() -> None:
    """No script, no link, no picture from elsewhere; it works without a network."""
    _, _, result = result_of()
    page = render([("ours", result)])
    assert not re.search(r"<script|<link|src=|href=|url\(|@import|https?://", page)
    assert page.count("<svg") == 3
    assert page.startswith("<!doctype html>")


def test_names_are_escaped_in_the_page() -> None:
    """A realm or file name is text."""
    _, _, result = result_of(realm="<b>X</b>")
    assert "<b>X</b>" not in render([("<i>ours</i>", result)])
    assert "<i>ours</i>" not in render([("<i>ours</i>", result)])


def test_a_busy_generator_and_wrong_replies_are_told() -> None:
    """What makes a result worthless stands at its top."""
    setting, record, _ = result_of()
    record.cpu_share = 0.95
    bad = [Verdict(number=3, good=False, why="nonce")]
    result = make_result(setting, record, [0] * 200, bad)
    page = render([("ours", result)])
    assert "95 % of its core" in page
    assert "1 of 1 sampled replies did not verify" in page
