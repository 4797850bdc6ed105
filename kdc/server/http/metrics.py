"""/metrics: what the processes counted, and the state of the realm, in Prometheus' text format.

Rules.
1. Names are shaped like CoreDNS': `kdc_requests_total{exchange,proto,family}` and so on, in base
   units. docs/operations.md lists every name; a test keeps that table and `METRICS` in step.
2. A label has few values, all of them from a fixed set. Nothing that a client sends, no name and no
   address, ever becomes one.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from directory.backend import DirectoryError
from directory.ldap.questions import STATUS_NAME
from directory.ldap.status import FollowerState, StatusFile
from directory.store_status import count_accounts
from kdc.config import KdcConfig
from kdc.server.counters import Totals
from kdc.server.http.tls import crl_next_update, validity
from kdc.server.replay import replay_usage
from kdc.server.revocation.status import KINDS, RESULTS, FetchStatus, read_status
from kdc.server.row import BUCKETS, CODES, TIMED_ONE_OF
from kdc.server.shared import SharedTables
from kdc.state_folder import StateFolder
from kdc.wire.constants import ErrorCode

Kind = Literal["counter", "gauge", "histogram"]

CODE_NAMES: Final = {code.value: code.name for code in ErrorCode if 0 <= code.value < CODES - 1}
"""Error code -> value of the label `code`; any other is OTHER."""

STORE_KEPT_S: Final = 15
"""Counting 200,000 accounts takes some 10 ms; once between two scrapes is enough."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One name in /metrics."""

    name: str
    """As it is scraped, with `_total`."""
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


def _definitions(*rows: tuple[str, Kind, str, str]) -> Mapping[str, Definition]:
    return {
        name: Definition(name, kind, tuple(labels.split()), meaning)
        for name, kind, labels, meaning in rows
    }


DROPS: Final = {
    "source_port": "dropped_by_port",
    "reply_budget": "dropped_by_budget",
    "amplification": "dropped_by_size",
    "no_request": "discarded",
    "source_limit": "connections_over_source_limit",
    "connection_limit": "connections_over_total",
    "connection_timeout": "connections_timed_out",
    "overload": "connections_shed",
    "relay": "relay_dropped",
}
"""Values of the label `reason` -> the counter behind it."""

METRICS: Final = _definitions(
    ("kdc_requests_total", "counter", "exchange proto family", "Messages handled or refused."),
    (
        "kdc_responses_total",
        "counter",
        "exchange code",
        "Outcomes: KDC_ERR_NONE is a ticket or silence, others the KRB-ERROR's code.",
    ),
    (
        "kdc_request_duration_seconds",
        "histogram",
        "exchange",
        "From a whole message to its outcome, without the audit record.",
    ),
    (
        "kdc_stage_duration_seconds",
        "histogram",
        "stage",
        f"Stages of a request, timed in one request of {TIMED_ONE_OF}.",
    ),
    ("kdc_internal_errors_total", "counter", "", "Requests that ended in a bug; 0 is right."),
    ("kdc_dropped_total", "counter", "reason", "Messages and connections that got no answer."),
    ("kdc_sent_to_tcp_total", "counter", "", "Datagrams answered RESPONSE_TOO_BIG to save budget."),
    ("kdc_retransmits_total", "counter", "", "Identical packets answered with the same reply."),
    ("kdc_audit_failures_total", "counter", "", "Audit records that could not be written."),
    ("kdc_send_errors_total", "counter", "", "UDP replies the system would not send."),
    ("kdc_accept_errors_total", "counter", "", "Failures to accept a TCP connection."),
    ("kdc_accept_pauses_total", "counter", "", "Times accepting waited in an overload."),
    ("kdc_connections", "gauge", "", "TCP connections open now, HTTP included."),
    ("kdc_connections_total", "counter", "", "TCP connections taken, HTTP included."),
    ("kdc_http_responses_total", "counter", "listener status", "Answers over HTTP."),
    ("kdc_workers", "gauge", "", "Workers configured."),
    ("kdc_workers_ready", "gauge", "", "Workers that take requests."),
    ("kdc_worker_restarts_total", "counter", "", "Workers started in the place of a dead one."),
    ("kdc_companion_restarts_total", "counter", "", "Other processes started again."),
    ("kdc_reloads_total", "counter", "result", "Reloads: taken by all, or refused by some."),
    ("kdc_replay_chunks", "gauge", "", "Chunks of the replay memory."),
    ("kdc_replay_chunks_used", "gauge", "", "Chunks that hold proofs still acceptable."),
    (
        "kdc_replay_floor_age_seconds",
        "gauge",
        "",
        "Proofs older than this are refused; under clockskew some honest ones are.",
    ),
    ("kdc_store_up", "gauge", "", "1 when the account store can be read."),
    ("kdc_store_accounts", "gauge", "kind", "Accounts in the store."),
    ("kdc_directory_following", "gauge", "", "1 while the LDAP directory is followed."),
    ("kdc_directory_age_seconds", "gauge", "", "Since the store was last what LDAP says."),
    ("kdc_directory_entries", "gauge", "", "Accounts and groups of the LDAP directory."),
    ("kdc_directory_problems", "gauge", "", "Entries of LDAP that cannot be used, or not wholly."),
    ("kdc_directory_changes_total", "counter", "", "Entries of LDAP written to the store."),
    ("kdc_directory_questions_total", "counter", "", "What requests made the follower ask LDAP."),
    ("kdc_directory_losses_total", "counter", "", "How often no LDAP server could be followed."),
    (
        "kdc_certificate_expiry_seconds",
        "gauge",
        "certificate",
        "Time until the certificate ends; negative afterwards.",
    ),
    ("kdc_crl_expiry_seconds", "gauge", "crl", "Time until the list is to be renewed."),
    (
        "kdc_fetched_sources",
        "gauge",
        "kind condition",
        "CRLs and OCSP responses of other CAs: current, failing, stale, missing.",
    ),
    (
        "kdc_fetched_expiry_seconds",
        "gauge",
        "kind",
        "Time until the first fetched CRL or OCSP response ends; negative afterwards.",
    ),
    ("kdc_fetches_total", "counter", "kind result", "How asking for them went."),
    ("kdc_start_time_seconds", "gauge", "", "When the server started, Unix time."),
    ("kdc_build_info", "gauge", "version python", "Always 1."),
)

_SINGLE: Final = {
    "kdc_internal_errors_total": "internal_errors",
    "kdc_sent_to_tcp_total": "sent_to_tcp",
    "kdc_retransmits_total": "retransmits",
    "kdc_audit_failures_total": "audit_failures",
    "kdc_send_errors_total": "send_errors",
    "kdc_accept_errors_total": "accept_errors",
    "kdc_accept_pauses_total": "accept_pauses",
    "kdc_connections": "open_connections",
    "kdc_connections_total": "connections",
    "kdc_workers_ready": "workers_ready",
    "kdc_worker_restarts_total": "worker_restarts",
    "kdc_companion_restarts_total": "companion_restarts",
}
"""Names without labels -> the counter behind them."""

_BOUNDS: Final = tuple(repr(2**bits / 1e6) for bits in range(BUCKETS))
_FIRST_BOUND: Final = 2
"""Buckets under 4 us are added up: a stage that is so short is none to look into."""


def code_name(code: int) -> str:
    """Return the label of an error code: its name in RFC 4120, or OTHER."""
    return CODE_NAMES.get(code, "OTHER")


class KdcCollector(Collector):
    """Reads everything anew for each scrape."""

    def __init__(
        self,
        folder: StateFolder,
        config: Callable[[], KdcConfig],
        shared: SharedTables,
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._config = config
        self._shared = shared
        self._wall_clock = wall_clock
        self._accounts: dict[str, int] | None = None
        self._counted_at: datetime | None = None

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: the registry is ours alone."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its values."""
        totals = self._shared.counters.sum()
        now = self._wall_clock()
        yield from _of_requests(totals)
        for name, counter in _SINGLE.items():
            yield _family(name, {(): totals.single(counter)})
        yield _family(
            "kdc_dropped_total",
            {(reason,): totals.single(counter) for reason, counter in DROPS.items()},
        )
        yield _family(
            "kdc_http_responses_total",
            {(listener, str(status)): count for (listener, status), count in totals.http()},
        )
        yield _family("kdc_workers", {(): self._shared.counters.workers})
        yield _family(
            "kdc_reloads_total",
            {("taken",): totals.single("reloads"), ("refused",): totals.single("reloads_refused")},
        )
        yield from self._of_replay(now)
        yield from self._of_store(now)
        yield from self._of_directory(now)
        yield _family("kdc_certificate_expiry_seconds", dict(self._certificates(now)))
        yield _family("kdc_crl_expiry_seconds", dict(self._crls(now)))
        yield from self._of_fetching(now)
        yield _family("kdc_start_time_seconds", {(): self._shared.started_at.timestamp()})
        yield _family("kdc_build_info", {(_version(), platform.python_version()): 1})

    def _of_replay(self, now: datetime) -> Iterator[Metric]:
        skew = timedelta(seconds=self._config().clockskew_s)
        try:
            usage = replay_usage(self._folder.replay_map, clockskew=skew, now=now)
        except (OSError, ValueError):
            return  # A metric that is absent says so; a made-up 0 would not.
        yield _family("kdc_replay_chunks", {(): usage.chunks})
        yield _family("kdc_replay_chunks_used", {(): usage.chunks_used})
        age = (now - usage.floor).total_seconds()
        yield _family("kdc_replay_floor_age_seconds", {(): age})

    def _of_store(self, now: datetime) -> Iterator[Metric]:
        counted_at = self._counted_at
        if counted_at is None or not 0 <= (now - counted_at).total_seconds() < STORE_KEPT_S:
            self._counted_at = now
            try:
                self._accounts = count_accounts(self._folder.store)
            except DirectoryError:
                self._accounts = None
        yield _family("kdc_store_up", {(): int(self._accounts is not None)})
        found = self._accounts or {}
        yield _family("kdc_store_accounts", {(kind,): found[kind] for kind in sorted(found)})

    def _of_directory(self, now: datetime) -> Iterator[Metric]:
        if not self._config().directory_url:
            return
        try:
            with closing(StatusFile(self._folder.root / STATUS_NAME)) as file:
                status = file.read()
        except OSError:
            status = None
        if status is None:
            yield _family("kdc_directory_following", {(): 0})
            return
        following = status.state is FollowerState.FOLLOWING
        yield _family("kdc_directory_following", {(): int(following)})
        age = status.age(now)
        if age is not None:
            yield _family("kdc_directory_age_seconds", {(): age.total_seconds()})
        yield _family("kdc_directory_entries", {(): status.entries})
        yield _family("kdc_directory_problems", {(): status.problems})
        yield _family("kdc_directory_changes_total", {(): status.changes})
        yield _family("kdc_directory_questions_total", {(): status.fetches})
        yield _family("kdc_directory_losses_total", {(): status.failures})

    def _of_fetching(self, now: datetime) -> Iterator[Metric]:
        if not self._config().fetch_revocation:
            return
        status = read_status(self._folder.fetched_status) or FetchStatus()
        yield _family("kdc_fetched_sources", status.conditions(now))
        ends: dict[tuple[str, ...], float] = {}
        for source in status.sources:
            if source.next_update is not None:
                left = (source.next_update - now).total_seconds()
                ends[(source.kind,)] = min(left, ends.get((source.kind,), left))
        yield _family("kdc_fetched_expiry_seconds", ends)
        counts: dict[tuple[str, ...], float] = {
            (kind, result): status.count(kind, result) for kind in KINDS for result in RESULTS
        }
        yield _family("kdc_fetches_total", counts)

    def _certificates(self, now: datetime) -> Iterator[tuple[tuple[str], float]]:
        folder = self._folder
        places = {
            "ca": folder.ca_certificate,
            "kdc": folder.kdc_certificate,
            "kdc-ec": folder.kdc_ec_certificate,
            "http": folder.http_tls(self._config())[0],
        }
        for name, path in places.items():
            try:
                _, end = validity(path)
            except (OSError, ValueError):
                continue
            yield (name,), (end - now).total_seconds()

    def _crls(self, now: datetime) -> Iterator[tuple[tuple[str], float]]:
        try:
            yield ("ca",), (crl_next_update(self._folder.crl) - now).total_seconds()
        except (OSError, ValueError):
            return


def _of_requests(totals: Totals) -> Iterator[Metric]:
    yield _family("kdc_requests_total", dict(totals.requests()))
    outcomes: dict[tuple[str, ...], float] = {}
    for (exchange, code), count in totals.responses():
        key = (exchange, code_name(code))
        outcomes[key] = outcomes.get(key, 0) + count
    yield _family("kdc_responses_total", outcomes)
    yield _histogram("kdc_request_duration_seconds", totals.durations())
    yield _histogram("kdc_stage_duration_seconds", totals.stages())


def _family(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    definition = METRICS[name]
    kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    family = kind(name, definition.meaning, labels=definition.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(name: str, rows: Iterator[tuple[str, list[int], float]]) -> Metric:
    definition = METRICS[name]
    family = HistogramMetricFamily(name, definition.meaning, labels=definition.labels)
    for label, counts, seconds in rows:
        total = 0
        buckets: list[tuple[str, float]] = []
        for bits, count in enumerate(counts):
            total += count
            if bits >= _FIRST_BOUND:
                buckets.append((_BOUNDS[bits] if bits < BUCKETS else "+Inf", total))
        family.add_metric((label,), buckets, seconds)
    return family


def _version() -> str:
    try:
        return version("keytrust-kdc")
    except PackageNotFoundError:
        return "unknown"
