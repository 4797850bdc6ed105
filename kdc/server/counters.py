"""What the workers did since the server's start, in memory that they share with the supervisor.

Each worker adds to a row of its own; a successor goes on where a killed worker stopped. So nothing
is lost by a crash, and who reads them needs no answer from a busy worker.
"""

import mmap
from typing import Final, overload

_CELL_BYTES: Final = 8
_CELLS: Final = 64
"""Room in a row; more than there are counters."""


class _Counter:
    """A counter: its attribute reads and writes one cell of the row."""

    __slots__ = ("cell", "meaning", "name")

    def __init__(self, cell: int, meaning: str) -> None:
        self.cell = cell
        self.meaning = meaning
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, row: None, owner: type) -> "_Counter": ...
    @overload
    def __get__(self, row: "Counters", owner: type) -> int: ...
    def __get__(self, row: "Counters | None", owner: type) -> "_Counter | int":
        return self if row is None else row.cells[self.cell]

    def __set__(self, row: "Counters", value: int) -> None:
        row.cells[self.cell] = value


class Counters:
    """The counters of one worker."""

    __slots__ = ("cells",)

    requests = _Counter(0, "messages handled or refused")
    replies = _Counter(1, "replies given out, refusals included")
    internal_errors = _Counter(2, "requests that ended in a bug; 0 in a correct server")
    refused_by_audit = _Counter(3, "replies withheld because their record could not be written")
    dropped_by_port = _Counter(4, "datagrams from a source port that only servers use")
    dropped_by_budget = _Counter(5, "datagrams unanswered because their network's budget is spent")
    sent_to_tcp = _Counter(6, "datagrams answered RESPONSE_TOO_BIG for the budget's sake")
    dropped_by_size = _Counter(7, "datagrams so short that every answer would be an amplification")
    send_errors = _Counter(8, "UDP replies the system would not send")
    connections = _Counter(9, "TCP connections taken")
    connections_over_source_limit = _Counter(10, "TCP connections closed: their source has enough")
    connections_over_total = _Counter(11, "TCP connections that displaced the idlest one")
    connections_timed_out = _Counter(12, "TCP connections closed because they were idle or slow")
    connections_shed = _Counter(13, "TCP connections closed because too many requests wait")
    accept_errors = _Counter(14, "failures to accept a TCP connection")
    accept_pauses = _Counter(15, "times accepting waited because too many requests did")

    def __init__(self, cells: memoryview | None = None) -> None:
        """cells: the worker's row; None: a row of its own."""
        self.cells = (
            memoryview(bytearray(_CELLS * _CELL_BYTES)).cast("q") if cells is None else cells
        )

    def values(self) -> dict[str, int]:
        """Return every counter by the name it has in metrics."""
        return {f"kdc_{one.name}_total": self.cells[one.cell] for one in _ALL}


_ALL: Final = tuple(one for one in vars(Counters).values() if isinstance(one, _Counter))


class CounterTable:
    """The rows of all workers."""

    def __init__(self, workers: int) -> None:
        self._map = mmap.mmap(-1, workers * _CELLS * _CELL_BYTES)
        self._workers = workers

    def for_worker(self, index: int) -> Counters:
        """Return a worker's row, with what its predecessors counted."""
        cells = memoryview(self._map).cast("q")
        return Counters(cells[index * _CELLS : (index + 1) * _CELLS])

    def totals(self) -> dict[str, int]:
        """Return every counter by the name it has in metrics, summed over the workers."""
        rows = [self.for_worker(index).values() for index in range(self._workers)]
        return {name: sum(row[name] for row in rows) for name in rows[0]}
