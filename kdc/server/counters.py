"""What the processes did since the server's start, in memory that they share.

Rules.
1. Each process adds to a row of its own, so that counting needs no lock; a successor goes on where
   a killed process stopped. So nothing is lost by a crash, and who reads them needs no answer from
   a busy worker.
2. What is counted by is a fixed set: exchange, transport, address family, error code, stage. A row
   has a cell for each combination, whatever clients send.
3. What every request moves is counted by `kdc.server.row`, which also lays the cells out.
"""

import mmap
import time
from collections.abc import Iterator
from typing import Final, overload

from kdc.server.row import (
    CODES,
    DURATIONS_AT,
    EXCHANGES,
    FAMILIES,
    HISTOGRAM_CELLS,
    HTTP_AT,
    HTTP_STATUSES,
    LISTENERS,
    REPLIES,
    REQUESTS,
    REQUESTS_AT,
    RESPONSES_AT,
    ROW_CELLS,
    STAGE_CELLS,
    TRANSPORTS,
)

_CELL_BYTES: Final = 8


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


class _Gauge(_Counter):
    """A value that also falls; the row's owner sets it to 0 when it starts."""

    __slots__ = ()


class Counters:
    """The counters of one process."""

    __slots__ = ("cells",)

    requests = _Counter(REQUESTS, "messages handled or refused")
    replies = _Counter(REPLIES, "replies given out, refusals included")
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
    discarded = _Counter(16, "messages that deserve no answer, such as replies sent to us")
    retransmits = _Counter(17, "identical packets answered with the same reply again")
    worker_restarts = _Counter(18, "workers started in the place of a dead one")
    companion_restarts = _Counter(19, "other processes started in the place of a dead one")
    reloads = _Counter(20, "reloads that every process has taken")
    reloads_refused = _Counter(21, "reloads that some process has refused")
    relay_dropped = _Counter(22, "requests by HTTP that came to a worker too late to be answered")
    audit_failures = _Counter(23, "audit records that could not be written")

    open_connections = _Gauge(32, "TCP connections open now")
    heartbeat = _Gauge(33, "when the process was last seen running; monotonic, nanoseconds")
    workers_ready = _Gauge(34, "workers that are ready")

    def __init__(self, cells: memoryview | None = None) -> None:
        """cells: the process's row; None: a row of its own."""
        self.cells = (
            memoryview(bytearray(ROW_CELLS * _CELL_BYTES)).cast("q") if cells is None else cells
        )

    def begin(self) -> None:
        """Take the row over from a predecessor: what it counted stays, what it had is gone."""
        for gauge in _GAUGES:
            self.cells[gauge.cell] = 0

    def beat(self) -> None:
        """Show that the process is running and not stuck."""
        # The monotonic clock is the same in every process of the machine.
        self.heartbeat = time.monotonic_ns()

    def count_http(self, listener: str, status: int) -> None:
        """Count one answer over HTTP."""
        at = HTTP_AT + LISTENERS.index(listener) * len(HTTP_STATUSES)
        self.cells[at + HTTP_STATUSES.index(status)] += 1

    def values(self) -> dict[str, int]:
        """Return every single counter by the name it has in metrics."""
        return {f"kdc_{one.name}_total": self.cells[one.cell] for one in _COUNTERS}


_GAUGES: Final = tuple(one for one in vars(Counters).values() if isinstance(one, _Gauge))
_COUNTERS: Final = tuple(
    one
    for one in vars(Counters).values()
    if isinstance(one, _Counter) and not isinstance(one, _Gauge)
)


class Totals:
    """The rows of all processes added up, at one moment."""

    def __init__(self, cells: list[int]) -> None:
        self._cells = cells

    def single(self, name: str) -> int:
        """Return a single counter or gauge by the name of its attribute."""
        counter: _Counter = vars(Counters)[name]
        return self._cells[counter.cell]

    def http(self) -> Iterator[tuple[tuple[str, int], int]]:
        """Yield (listener, status) and how many answers over HTTP had it."""
        at = HTTP_AT
        for listener in LISTENERS:
            for status in HTTP_STATUSES:
                yield (listener, status), self._cells[at]
                at += 1

    def requests(self) -> Iterator[tuple[tuple[str, str, str], int]]:
        """Yield (exchange, transport, family) and how many requests came so."""
        at = REQUESTS_AT
        for exchange in EXCHANGES:
            for transport in TRANSPORTS:
                for family in FAMILIES:
                    yield (exchange, transport, family), self._cells[at]
                    at += 1

    def responses(self) -> Iterator[tuple[tuple[str, int], int]]:
        """Yield (exchange, code) and how many answers had it, those never given left out."""
        at = RESPONSES_AT
        for exchange in EXCHANGES:
            for code in range(CODES):
                if self._cells[at]:
                    yield (exchange, code), self._cells[at]
                at += 1

    def durations(self) -> Iterator[tuple[str, list[int], float]]:
        """Yield exchange, the counts of its buckets, and the sum in seconds."""
        for index, exchange in enumerate(EXCHANGES):
            yield exchange, *self._histogram(DURATIONS_AT + index * HISTOGRAM_CELLS)

    def stages(self) -> Iterator[tuple[str, list[int], float]]:
        """Yield stage, the counts of its buckets, and the sum in seconds."""
        for stage, at in STAGE_CELLS.items():
            yield stage, *self._histogram(at)

    def _histogram(self, at: int) -> tuple[list[int], float]:
        return self._cells[at + 1 : at + HISTOGRAM_CELLS], self._cells[at] / 1e9


class CounterTable:
    """The rows of all workers, of the supervisor and of the HTTP process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._rows = workers + 2
        self._map = mmap.mmap(-1, self._rows * ROW_CELLS * _CELL_BYTES)
        self._cells = memoryview(self._map).cast("q")

    def _row(self, index: int) -> Counters:
        return Counters(self._cells[index * ROW_CELLS : (index + 1) * ROW_CELLS])

    def for_worker(self, index: int) -> Counters:
        """Return a worker's row, with what its predecessors counted."""
        return self._row(index)

    def for_supervisor(self) -> Counters:
        """Return the supervisor's row."""
        return self._row(self.workers)

    def for_http(self) -> Counters:
        """Return the row of the HTTP process."""
        return self._row(self.workers + 1)

    def sum(self) -> Totals:
        """Add all rows up."""
        rows = [self._cells[i * ROW_CELLS : (i + 1) * ROW_CELLS] for i in range(self._rows)]
        return Totals([sum(cells) for cells in zip(*rows, strict=True)])

    def totals(self) -> dict[str, int]:
        """Return every single counter by the name it has in metrics, summed over the rows."""
        rows = [self._row(index).values() for index in range(self._rows)]
        return {name: sum(row[name] for row in rows) for name in rows[0]}
