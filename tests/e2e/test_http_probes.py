"""Probes and metrics as a scraper and an orchestrator see them."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdc.client.transport import KdcAddress, exchange
from tests.e2e.server_process import wait_until
from tests.kdc.builders import as_req, body_for
from tests.rig.http import HttpRealm, make_http_realm
from tests.rig.realm import make_realm

NAME = "nobody-knows-this-name"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRealm]:
    """Serve a realm by two workers and the HTTP process."""
    made = make_http_realm(tmp_path_factory.mktemp("probes") / "state")
    made.live.kdc("user", "add", "pat", "--password-stdin", stdin="Correct-Horse-7\n")
    with made.live.served(workers=2):
        yield made


def metric(realm: HttpRealm, name: str, **labels: str) -> float:
    """Return one value of /metrics; 0 when it is not there."""
    for line in realm.get("/metrics").body.decode().splitlines():
        found = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line)
        if found is not None and found[1] == name:
            given = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
            if given == labels:
                return float(found[3])
    return 0.0


def ask(realm: HttpRealm, protocol: str = "udp") -> None:
    """Send an AS-REQ of a client that does not exist: code 6."""
    address = KdcAddress(
        host="127.0.0.1", port=realm.live.port, protocol="tcp" if protocol == "tcp" else "udp"
    )
    exchange(address, as_req(body_for(NAME)))


def test_process_that_lives_says_so(realm: HttpRealm) -> None:
    """/livez: 200 and a word."""
    reply = realm.get("/livez")
    assert (reply.status, reply.body) == (200, b"ok\n")


def test_ready_server_lists_its_checks(realm: HttpRealm) -> None:
    """/readyz: 200, and JSON with every check by name."""
    reply = realm.get("/readyz")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("application/json")
    found = json.loads(reply.body)
    assert found["ready"] is True
    assert {name: check["ok"] for name, check in found["checks"].items()} == {
        "workers": True,
        "store": True,
        "certificate": True,
        "disk": True,
    }


def test_server_without_its_store_is_not_ready(realm: HttpRealm) -> None:
    """503, the failed check named; the KDC would answer 29. It lives nevertheless."""
    store = realm.live.state / "store.sqlite"
    aside = store.with_name("aside.sqlite")
    store.rename(aside)
    try:
        assert wait_until(lambda: realm.get("/readyz").status == 503)
        checks = json.loads(realm.get("/readyz").body)["checks"]
        assert [name for name, check in checks.items() if not check["ok"]] == ["store"]
        assert realm.get("/livez").status == 200
    finally:
        aside.rename(store)
    assert wait_until(lambda: realm.get("/readyz").status == 200)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/KdcProxy", "/../metrics", "/livez/x"])
def test_what_is_not_served_is_404(realm: HttpRealm, path: str) -> None:
    """Exact paths alone; Kerberos is not spoken without TLS."""
    assert realm.get(path).status == 404


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_are_only_read(realm: HttpRealm, path: str) -> None:
    """RFC 9110 15.5.6."""
    reply = realm.get(path, "POST")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_requests_are_counted_by_transport_and_code(realm: HttpRealm, protocol: str) -> None:
    """Counted in whichever worker, summed here; both histograms know of it."""

    def values() -> tuple[float, ...]:
        return (
            metric(realm, "kdc_requests_total", exchange="AS", proto=protocol, family="ipv4"),
            metric(realm, "kdc_responses_total", exchange="AS", code="KDC_ERR_C_PRINCIPAL_UNKNOWN"),
            metric(realm, "kdc_request_duration_seconds_count", exchange="AS"),
        )

    before = values()
    for _ in range(5):
        ask(realm, protocol)
    assert values() == tuple(value + 5 for value in before)


def test_no_label_comes_from_a_client(realm: HttpRealm) -> None:
    """A name in a label would be without bound, and a leak."""
    ask(realm)
    text = realm.get("/metrics").body.decode()
    assert NAME not in text
    assert "127.0.0.1" not in text
    assert "pat" not in re.sub("# HELP.*", "", text)


def test_stages_are_timed(realm: HttpRealm) -> None:
    """One request of eight, whichever worker answers."""
    before = metric(realm, "kdc_stage_duration_seconds_count", stage="directory")
    for _ in range(32):
        ask(realm)
    assert metric(realm, "kdc_stage_duration_seconds_count", stage="directory") >= before + 2
    assert metric(realm, "kdc_stage_duration_seconds_sum", stage="directory") > 0


def test_accounts_of_the_store_are_counted_by_kind(realm: HttpRealm) -> None:
    """What is in the store, by what kind of account it is."""
    assert metric(realm, "kdc_store_up") == 1
    assert metric(realm, "kdc_store_accounts", kind="user") == 1


def test_counts_survive_workers_and_the_http_process(realm: HttpRealm) -> None:
    """They lie in shared memory: a counter that fell would look like a restart to Prometheus."""
    ask(realm)
    labels = {"exchange": "AS", "proto": "udp", "family": "ipv4"}
    before = metric(realm, "kdc_requests_total", **labels)
    restarts = metric(realm, "kdc_worker_restarts_total")
    process = realm.live.process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    assert wait_until(lambda: metric(realm, "kdc_workers_ready") == 2)
    assert wait_until(lambda: metric(realm, "kdc_worker_restarts_total") == restarts + 2)
    assert metric(realm, "kdc_companion_restarts_total") == 1
    assert metric(realm, "kdc_requests_total", **labels) == before
    ask(realm)
    assert metric(realm, "kdc_requests_total", **labels) == before + 1


def test_reload_is_counted(realm: HttpRealm) -> None:
    """Taken by all, the HTTP process among them, or refused by some."""
    process = realm.live.process
    assert process is not None
    before = metric(realm, "kdc_reloads_total", result="taken")
    process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: metric(realm, "kdc_reloads_total", result="taken") == before + 1)
    toml = realm.live.state / "kdc.toml"
    text = toml.read_text()
    toml.write_text("frob = 1\n" + text)
    try:
        process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: metric(realm, "kdc_reloads_total", result="refused") == 1)
    finally:
        toml.write_text(text)


def test_no_http_process_where_none_is_asked_for(tmp_path: Path) -> None:
    """Off by default: nothing listens, no third process."""
    live = make_realm(tmp_path / "state")
    with live.served(workers=1):
        assert live.process is not None
        path = Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children")
        assert len(path.read_text().split()) == 1
