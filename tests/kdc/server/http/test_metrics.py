"""/metrics: names, labels and values, and its table in the documentation."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kdc.config_read import parse_config
from kdc.server.counters import Counters
from kdc.server.http.metrics import DROPS, METRICS, KdcCollector, code_name
from kdc.server.replay import FileReplayMemory, replay_usage
from kdc.server.revocation.status import Source, encode_status
from kdc.server.row import count_request
from kdc.server.shared import SharedTables
from kdc.state_folder import StateFolder
from kdc.wire.constants import ErrorCode

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DOCUMENT = Path(__file__).parents[4] / "docs/operations.md"


def scraped(
    root: Path, shared: SharedTables
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample of /metrics of a state folder, read back by Prometheus' own parser."""
    config = parse_config('realm = "LAB.TEST"\n').config
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        KdcCollector(StateFolder(root), lambda: config, shared, wall_clock=lambda: NOW)
    )
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_empty_folder_is_scraped(tmp_path: Path) -> None:
    """What cannot be read is absent, or 0 where it says so; a scrape never fails."""
    found = scraped(tmp_path, SharedTables(1))
    assert found[("kdc_store_up", ())] == 0
    assert ("kdc_replay_chunks", ()) not in found
    assert not [name for name, _ in found if name == "kdc_certificate_expiry_seconds"]


def test_values_are_those_counted(tmp_path: Path) -> None:
    """Summed over the rows of all processes, by name of the code."""
    shared = SharedTables(2)
    for index in range(2):
        row = shared.counters.for_worker(index)
        count_request(row.cells, "TGS", 7, "kkdcp", "192.0.2.1", 3_000_000)
        row.internal_errors += 1
    shared.counters.for_http().count_http("kkdcp", 415)
    found = scraped(tmp_path, shared)
    labels = (("exchange", "TGS"), ("family", "ipv4"), ("proto", "kkdcp"))
    assert found[("kdc_requests_total", labels)] == 2
    code = (("code", "KDC_ERR_S_PRINCIPAL_UNKNOWN"), ("exchange", "TGS"))
    assert found[("kdc_responses_total", code)] == 2
    assert found[("kdc_internal_errors_total", ())] == 2
    bucket = "kdc_request_duration_seconds_bucket"
    assert found[(bucket, (("exchange", "TGS"), ("le", "0.002048")))] == 0
    assert found[(bucket, (("exchange", "TGS"), ("le", "0.004096")))] == 2
    assert found[(bucket, (("exchange", "TGS"), ("le", "+Inf")))] == 2
    assert found[("kdc_http_responses_total", (("listener", "kkdcp"), ("status", "415")))] == 1


def test_what_is_fetched_is_counted_by_how_it_stands(tmp_path: Path) -> None:
    """Nothing of an address is in a label; what was never written is 0."""
    kind, hour = ("kind", "crl"), timedelta(hours=1)
    assert (
        scraped(tmp_path, SharedTables(1))[
            ("kdc_fetched_sources", (("condition", "current"), kind))
        ]
        == 0
    )
    sources = [
        Source(key=str(n), kind="crl", urls=("http://x/",), origin="kdc.toml", next_update=end)
        for n, end in enumerate((NOW + hour, NOW - hour, None))
    ]
    (tmp_path / "pki").mkdir()
    data = encode_status(sources, {"crl new": 2, "ocsp refused": 1}, NOW)
    StateFolder(tmp_path).fetched_status.write_bytes(data)
    found = scraped(tmp_path, SharedTables(1))
    for condition, count in (("current", 1), ("stale", 1), ("missing", 1), ("failing", 0)):
        assert found[("kdc_fetched_sources", (("condition", condition), kind))] == count
    assert found[("kdc_fetched_expiry_seconds", (kind,))] == -3600
    assert found[("kdc_fetches_total", (kind, ("result", "new")))] == 2
    assert found[("kdc_fetches_total", (("kind", "ocsp"), ("result", "refused")))] == 1


def test_every_name_is_one_that_is_defined(tmp_path: Path) -> None:
    """No name comes from anywhere but METRICS, and every label is one of its own."""
    suffixes = re.compile("_(bucket|count|sum)$")
    for name, labels in scraped(tmp_path, SharedTables(1)):
        definition = METRICS.get(name) or METRICS[suffixes.sub("", name)]
        assert {label for label, _ in labels} - {"le"} == set(definition.labels)


def test_every_code_has_a_name_and_no_other_has_one() -> None:
    """The label's values are RFC 4120's names."""
    assert code_name(0) == "KDC_ERR_NONE"
    assert all(code_name(code.value) == code.name for code in ErrorCode)
    assert code_name(126) == code_name(-1) == "OTHER"


def test_reasons_of_drops_are_counters_that_exist() -> None:
    """Each reads a cell that somebody writes."""
    assert set(DROPS.values()) <= set(vars(Counters))


def test_usage_of_the_replay_memory_is_read_from_its_file(tmp_path: Path) -> None:
    """Read without opening it: the map belongs to the workers."""
    skew = timedelta(minutes=5)
    memory = FileReplayMemory(tmp_path / "replay.map", clockskew=skew, now=NOW)
    later = NOW + timedelta(seconds=10)
    assert memory.remember(bytes(32), ctime=later, now=later)
    usage = replay_usage(tmp_path / "replay.map", clockskew=skew, now=later)
    memory.close()
    assert (usage.chunks, usage.chunks_used, usage.floor) == (4096, 1, NOW)


def test_documentation_lists_every_metric() -> None:
    """docs/operations.md: one row a name, with its type and labels, in the order of METRICS."""
    rows = re.findall(r"^\| `(kdc_\w+)` \| (\w+) \| ([^|]*) \|", DOCUMENT.read_text(), re.MULTILINE)
    expected = [
        (metric.name, metric.kind, ", ".join(metric.labels) or "-") for metric in METRICS.values()
    ]
    assert [(name, kind, labels.strip()) for name, kind, labels in rows] == expected


def test_alerts_use_names_that_exist() -> None:
    """conf/prometheus/alerts.yml: an alert on a misspelt name never fires."""
    text = (DOCUMENT.parents[1] / "conf/prometheus/alerts.yml").read_text()
    names = {name.removesuffix("_bucket") for name in re.findall(r"\bkdc_\w+", text)}
    assert names
    assert names <= set(METRICS)
