"""What a load measured: latency from the time a request was due, windows, ends, processor time."""

import os
import time
from pathlib import Path

import pytest

from kdc.load.measure import (
    NO_REPLY,
    TICKET,
    Histogram,
    Record,
    cpu_seconds,
    end_name,
    process_tree,
    tally,
    windows,
)


def record_of(*requests: tuple[float, float, float, int]) -> Record:
    """Make a record of (due, sent, answered, end)."""
    record = Record(len(requests))
    for number, (due, sent, answered, end) in enumerate(requests):
        record.due[number], record.sent[number] = due, sent
        record.answered[number], record.ends[number] = answered, end
    return record


def test_percentiles_are_those_of_the_sorted_values() -> None:
    """Three digits exact, against a sorted list."""
    values = sorted(50 + n * n * 7919 % 2_000_000 for n in range(5000))
    found = Histogram.of(values)
    for percentile in (50, 90, 99, 99.9):
        exact = values[min(len(values) - 1, int(len(values) * percentile / 100))] / 1000
        assert found.at(percentile) == pytest.approx(exact, rel=0.01)
    assert found.max_ms() == pytest.approx(values[-1] / 1000, rel=0.001)
    assert found.count == 5000


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A generator that was late does not make the server look quick."""
    record = record_of((1.0, 1.5, 1.6, TICKET))
    assert record.latency_us(0) == pytest.approx(600_000, abs=1)


def test_requests_without_a_ticket_are_errors() -> None:
    """No reply and a refusal both are; only a ticket is none."""
    record = record_of((0, 0, 0.1, TICKET), (0, 0, 0, NO_REPLY), (0, 0, 0.1, 24), (0, 0, 0.1, 0))
    found = tally(record, range(4))
    assert found.errors_percent() == 50
    assert found.tickets == 2
    assert found.latencies.count == 3


def test_ends_have_names() -> None:
    """Codes of the KDC are named as RFC 4120 names them."""
    assert end_name(24) == "24 KDC_ERR_PREAUTH_FAILED"
    assert end_name(NO_REPLY) == "no reply in time"
    assert end_name(9999) == "9999"


def test_windows_show_rates_over_time() -> None:
    """Requests are counted in the second in which they were due."""
    rows = [(n / 10, n / 10, n / 10 + 0.01, TICKET) for n in range(30)]
    record = record_of(*rows)
    record.seconds = 3.0
    found = windows(record)
    assert [(one["at"], one["offered"], one["tickets"]) for one in found] == [
        (0, 10, 10),
        (1, 10, 10),
        (2, 10, 10),
    ]


def test_requests_that_were_not_sent_are_not_counted() -> None:
    """A ramp that is ended early leaves the rest out of every sum."""
    record = Record(10)
    record.ends[0] = TICKET
    assert list(record.sent_numbers()) == [0]


def test_the_hdr_file_ends_at_the_last_percentile(tmp_path: Path) -> None:
    """HdrHistogram's text form, which its plotter reads."""
    Histogram.of([1000, 2000, 3000]).write_hdr(tmp_path / "a.hgrm")
    text = (tmp_path / "a.hgrm").read_text()
    assert "Percentile" in text
    assert "1.000000000000" in text


def test_this_process_is_in_its_own_tree_and_used_time() -> None:
    """A process that is gone counts nothing, instead of failing the load."""
    assert os.getpid() in process_tree(os.getpid())
    before, ours = cpu_seconds([os.getpid()]), time.process_time()
    assert cpu_seconds([]) == 0
    while time.process_time() < ours + 0.003:
        pass
    assert cpu_seconds([os.getpid()]) >= before + 0.003
    no_pid = int(Path("/proc/sys/kernel/pid_max").read_text())
    assert cpu_seconds([no_pid]) == 0
