"""What the companion tells in the log: each thing once an hour, and nothing grows."""

from kdc.server.revocation.schedule import COMPLAIN_S, MAX_COMPLAINTS, Complaints


def test_the_same_complaint_is_told_once_an_hour() -> None:
    """A server that is down for a day is 24 lines, not one for each attempt."""
    told = Complaints()
    assert told.due("a", 0.0)
    assert not told.due("a", COMPLAIN_S - 1)
    assert told.due("a", COMPLAIN_S)
    assert told.due("b", COMPLAIN_S)


def test_what_is_well_again_is_settled_once() -> None:
    """The next failure is told at once."""
    told = Complaints()
    assert told.due("a", 0.0)
    assert told.settle("a")
    assert not told.settle("a")
    assert told.due("a", 1.0)


def test_complaints_of_many_hosts_do_not_pile_up() -> None:
    """Hosts come from certificates: the oldest complaint goes, the latest stays."""
    told = Complaints()
    names = [f"host{number}" for number in range(MAX_COMPLAINTS + 1)]
    assert all(told.due(name, 0.0) for name in names)
    assert not told.settle(names[0])
    assert all(told.settle(name) for name in names[1:])
