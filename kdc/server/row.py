"""The row of cells that a process counts in, and what is counted of every request.

Apart from `kdc.server.counters`, whose counters are descriptors: this module is compiled.

Counting costs little beside the cheapest request: measured, compiled, 0.3 us, and 0.6 us for the
stages, since they are timed in one request of eight (tests/bench/counting.py).

Theory of operation. A row is a run of 64-bit cells: the single counters, then answers over HTTP,
then requests by exchange, transport and family, then answers by exchange and code, then the
histograms. A histogram is the sum in nanoseconds and a cell for each power of two of microseconds:
the bucket of a duration is the number of bits of its microseconds, which costs less than a search.
"""

import time
from typing import Final

SINGLE_CELLS: Final = 64
"""Room for single counters; more than there are."""

REQUESTS: Final = 0
REPLIES: Final = 1
"""The cells of those that every request moves; `kdc.server.counters` has the others."""

EXCHANGES: Final = ("AS", "TGS", "kpasswd", "other")
"""Values of the label `exchange`; what was not understood that far is `other`."""

TRANSPORTS: Final = ("udp", "tcp", "kkdcp")
FAMILIES: Final = ("ipv4", "ipv6")

CODES: Final = 128
"""Error codes counted apart; Kerberos has none over 96. The last cell takes any other."""

STAGES: Final = (
    "decode",
    "memory",
    "directory",
    "open",
    "preauth",
    "trust",
    "key_agreement",
    "policy",
    "pac",
    "seal",
    "refuse",
    "audit",
)
"""Values of the label `stage`, in the order of a request."""

BUCKETS: Final = 24
"""Finite buckets of a histogram: 1 us, 2 us, 4 us ... 8.4 s."""

TIMED_ONE_OF: Final = 8
"""Stages are timed in one request of so many: shares and quantiles stay right, counts are fewer."""

HISTOGRAM_CELLS: Final = 1 + BUCKETS + 1
"""The sum, the finite buckets, and the one without an end."""

LISTENERS: Final = ("http", "kkdcp")
"""Values of the label `listener` of what comes over HTTP."""

HTTP_STATUSES: Final = (200, 400, 404, 405, 411, 413, 415, 429, 500, 503)
"""Every status that the HTTP process answers with."""

HTTP_AT: Final = SINGLE_CELLS
REQUESTS_AT: Final = HTTP_AT + len(LISTENERS) * len(HTTP_STATUSES)
RESPONSES_AT: Final = REQUESTS_AT + len(EXCHANGES) * len(TRANSPORTS) * len(FAMILIES)
DURATIONS_AT: Final = RESPONSES_AT + len(EXCHANGES) * CODES
_STAGES_AT: Final = DURATIONS_AT + len(EXCHANGES) * HISTOGRAM_CELLS
ROW_CELLS: Final = _STAGES_AT + len(STAGES) * HISTOGRAM_CELLS

_EXCHANGE_INDEX: Final = {name: index for index, name in enumerate(EXCHANGES)}
_OTHER: Final = len(EXCHANGES) - 1
_TRANSPORT_INDEX: Final = {name: index * len(FAMILIES) for index, name in enumerate(TRANSPORTS)}
STAGE_CELLS: Final = {
    name: _STAGES_AT + index * HISTOGRAM_CELLS for index, name in enumerate(STAGES)
}
"""Stage -> the first cell of its histogram."""


def count_request(
    cells: memoryview, exchange: str, code: int, transport: str, address: str, elapsed_ns: int
) -> None:
    """Count one answered or dropped message."""
    index = _EXCHANGE_INDEX.get(exchange, _OTHER)
    cells[REQUESTS_AT + index * 6 + _TRANSPORT_INDEX[transport] + (":" in address)] += 1
    cells[RESPONSES_AT + index * CODES + (code if 0 <= code < CODES else CODES - 1)] += 1
    at = DURATIONS_AT + index * HISTOGRAM_CELLS
    cells[at] += elapsed_ns
    bits = (elapsed_ns // 1000).bit_length()
    cells[at + 1 + (bits if bits < BUCKETS else BUCKETS)] += 1


class StageClock:
    """Times the stages of one request after the other: `kdc.exchange.stages.Stages`."""

    __slots__ = ("_at", "_cells", "_request", "_since")

    def __init__(self, cells: memoryview) -> None:
        """cells: the process's row."""
        self._cells = cells
        self._request = 0
        self._at = 0
        """The first cell of the running stage; 0: this request is not timed."""
        self._since = 0

    def begin(self) -> None:
        """Begin a request, in the stage `decode`."""
        self._request += 1
        if self._request % TIMED_ONE_OF == 0:
            self._at = STAGE_CELLS["decode"]
            self._since = time.perf_counter_ns()

    def enter(self, stage: str) -> None:
        """End the stage that runs and start another."""
        if not self._at:
            return
        now = time.perf_counter_ns()
        elapsed_ns = now - self._since
        self._since = now
        cells, at = self._cells, self._at
        self._at = STAGE_CELLS[stage]
        cells[at] += elapsed_ns
        bits = (elapsed_ns // 1000).bit_length()
        cells[at + 1 + (bits if bits < BUCKETS else BUCKETS)] += 1

    def end(self) -> None:
        """End the last stage of a request."""
        self.enter("decode")
        self._at = 0
