"""Counters that survive their worker."""

from kdc.server.counters import Counters, CounterTable


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
