"""Counters that survive their worker."""

import pytest

from kdc.server.counters import Counters, CounterTable
from kdc.server.row import CODES, TIMED_ONE_OF, StageClock, count_request


def test_totals_are_summed_over_workers_and_their_predecessors() -> None:
    """A worker that is killed loses nothing that it counted."""
    table = CounterTable(2)
    table.for_worker(0).requests += 3
    table.for_worker(1).requests += 4
    successor = table.for_worker(0)
    successor.requests += 5
    successor.internal_errors += 1
    totals = table.totals()
    assert totals["kdc_requests_total"] == 12
    assert totals["kdc_internal_errors_total"] == 1
    assert sum(totals.values()) == 13


def test_every_counter_has_a_cell_of_its_own() -> None:
    """Two that shared one would both be wrong."""
    counters = Counters()
    for number, name in enumerate(counters.values(), 1):
        setattr(counters, name.removeprefix("kdc_").removesuffix("_total"), number)
    assert list(counters.values().values()) == list(range(1, len(counters.values()) + 1))


def test_rows_without_a_table_are_apart() -> None:
    """Two endpoints in one process do not count for each other."""
    one, two = Counters(), Counters()
    one.requests += 1
    assert two.requests == 0


def test_request_is_counted_by_exchange_transport_family_and_code() -> None:
    """Labels are a fixed set: what is unknown is `other`, whatever a client sends."""
    table = CounterTable(1)
    row = table.for_worker(0)
    count_request(row.cells, "AS", 24, "tcp", "2001:db8::1", 1_500_000)
    count_request(row.cells, "", 0, "udp", "192.0.2.1", 900)
    count_request(row.cells, "AS", 4711, "kkdcp", "192.0.2.1", 10**13)
    total = table.sum()
    assert [item for item in total.requests() if item[1]] == [
        (("AS", "tcp", "ipv6"), 1),
        (("AS", "kkdcp", "ipv4"), 1),
        (("other", "udp", "ipv4"), 1),
    ]
    assert list(total.responses()) == [
        (("AS", 24), 1),
        (("AS", CODES - 1), 1),
        (("other", 0), 1),
    ]


def test_duration_falls_into_the_bucket_of_its_power_of_two() -> None:
    """Bucket n holds less than 2**n microseconds; the last has no end."""
    table = CounterTable(1)
    for microseconds in (0, 1, 3, 1024, 10**8):
        count_request(table.for_worker(0).cells, "TGS", 0, "udp", "192.0.2.1", microseconds * 1000)
    found = {name: (counts, seconds) for name, counts, seconds in table.sum().durations()}
    counts, seconds = found["TGS"]
    assert {n: count for n, count in enumerate(counts) if count} == {0: 1, 1: 1, 2: 1, 11: 1, 24: 1}
    assert seconds == pytest.approx(100.001028)


def test_stage_clock_times_one_request_of_eight() -> None:
    """Each stage ends where the next begins; requests in between cost next to nothing."""
    table = CounterTable(1)
    clock = StageClock(table.for_worker(0).cells)
    for _ in range(2 * TIMED_ONE_OF):
        clock.begin()
        clock.enter("preauth")
        clock.enter("seal")
        clock.end()
    counts = {stage: sum(counts) for stage, counts, _ in table.sum().stages()}
    assert {stage: n for stage, n in counts.items() if n} == {"decode": 2, "preauth": 2, "seal": 2}


def test_successor_keeps_what_was_counted_and_not_what_was_open() -> None:
    """Connections of a killed worker are gone with it."""
    table = CounterTable(1)
    row = table.for_worker(0)
    row.connections += 3
    row.open_connections += 3
    table.for_worker(0).begin()
    assert (row.connections, row.open_connections) == (3, 0)
