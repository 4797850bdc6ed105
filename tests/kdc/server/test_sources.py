"""Connections counted per source over all workers (negative row W03)."""

import pytest

from kdc.server.sources import SourceTable


def test_limit_holds_over_all_workers() -> None:
    """Two workers together give a source its share, no more."""
    table = SourceTable(2)
    one, two = (table.for_worker(index, limit=3) for index in range(2))
    assert [one.take("192.0.2.1"), two.take("192.0.2.1"), one.take("192.0.2.1")] == [True] * 3
    assert not one.take("192.0.2.1")
    assert not two.take("192.0.2.1")
    assert two.take("192.0.2.2")
    one.give_back("192.0.2.1")
    assert two.take("192.0.2.1")
    assert not one.take("192.0.2.1")


def test_successor_of_a_killed_worker_starts_at_zero() -> None:
    """What a killed worker held is given back when its place is filled again."""
    table = SourceTable(2)
    table.for_worker(0, limit=1).take("192.0.2.1")
    other = table.for_worker(1, limit=1)
    assert not other.take("192.0.2.1")
    table.for_worker(0, limit=1)
    assert other.take("192.0.2.1")


@pytest.mark.parametrize(
    ("exempt", "address"),
    [("127.0.0.0/8", "127.0.0.9"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::/32", "2001:db8::1")],
)
def test_exempt_source_has_no_limit(exempt: str, address: str) -> None:
    """Proxies and load tests may hold more."""
    counts = SourceTable(1).for_worker(0, limit=1, exempt=("198.51.100.0/24", exempt))
    assert all(counts.take(address) for _ in range(100))
    assert counts.take("203.0.113.1")
    assert not counts.take("203.0.113.1")


def test_ipv6_addresses_of_one_network_are_one_source() -> None:
    """Who has a /64 has as many addresses as he likes."""
    counts = SourceTable(1).for_worker(0, limit=1)
    assert counts.take("2001:db8:0:1::1")
    assert not counts.take("2001:db8:0:1:ffff::2")
    assert counts.take("2001:db8:0:2::1")


def test_giving_back_what_was_not_taken_changes_nothing() -> None:
    """A count never goes below zero."""
    counts = SourceTable(1).for_worker(0, limit=1)
    counts.give_back("192.0.2.1")
    assert counts.take("192.0.2.1")
    assert not counts.take("192.0.2.1")
