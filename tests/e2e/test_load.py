"""`kdc load` against a real server: every kind of work, verified replies, exit codes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdc.load.measure import process_tree
from tests.e2e.server_process import is_alive, wait_until
from tests.rig.realm import LiveRealm, free_port, make_realm

pytestmark = pytest.mark.e2e
PASSWORD = "Sesame.open1"  # noqa: S105  # of a test user


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve a realm with four Hello users, a password user and a service."""
    folder = tmp_path_factory.mktemp("load")
    made = make_realm(folder / "state")
    made.kdc("user", "bulk-add", "--prefix", "u", "--count", "4", "--keys", str(folder / "keys"))
    made.kdc("user", "add", "pat", "--password-stdin", stdin=PASSWORD)
    made.kdc("service", "add", "host/web.lab.test")
    with made.served(workers=1) as live:
        yield live


def keys(realm: LiveRealm) -> str:
    return str(realm.state.with_name("keys"))


@pytest.mark.parametrize("transport", ["udp", "tcp", "tcp-kept"])
def test_a_mix_is_answered_with_tickets_that_verify(realm: LiveRealm, transport: str) -> None:
    """Key trust with two groups and passwords, over each transport."""
    out = realm.kdc(
        *("load", "as", "--mix", "keytrust-p256:2,keytrust-modp14+nonce:1,password:1"),
        *("--keys", keys(realm), "--users", "pat", "--password-stdin", "--rate", "50"),
        *("--duration", "1s", "--transport", transport, "--timeout", "10", "--json"),
        stdin=PASSWORD,
    )
    result = json.loads(out)
    assert result["total"]["ends"] == {"ticket": 50}
    assert result["verified"] == {"sampled": 50, "good": 50, "bad": []}
    assert [part["requests"] for part in result["by_work"]] == [25, 13, 12]


def test_service_tickets_are_asked_for_with_tgts_got_beforehand(realm: LiveRealm) -> None:
    """The TGTs are real logons; the load is TGS-REQs alone."""
    out = realm.kdc(
        *("load", "tgs", "--service", "host/web.lab.test", "--keys", keys(realm)),
        *("--closed", "4", "--count", "40", "--json"),
    )
    result = json.loads(out)
    assert result["total"]["ends"] == {"ticket": 40}
    assert result["verified"]["good"] == 40
    assert result["load"]["kind"] == "closed"


def test_refusals_are_counted_by_their_code(realm: LiveRealm) -> None:
    """A user that does not exist: 6, and no ticket."""
    out = realm.kdc(
        *("load", "as", "--mix", "password", "--users", "nobody", "--password-stdin"),
        *("--closed", "1", "--count", "5", "--json"),
        stdin=PASSWORD,
    )
    assert json.loads(out)["total"]["ends"] == {"6 KDC_ERR_C_PRINCIPAL_UNKNOWN": 5}


def test_a_threshold_that_was_missed_sets_the_exit_code(realm: LiveRealm) -> None:
    """For scripts: 1, with the condition named."""
    arguments = ("load", "as", "--keys", keys(realm), "--closed", "1", "--count", "3")
    realm.kdc(*arguments, "--threshold", "errors<1%")
    realm.kdc(*arguments, "--threshold", "p50<1us", ok=(1,))


def test_report_and_hdr_files_are_written(realm: LiveRealm, tmp_path: Path) -> None:
    """A ramp with its knee, as a page and as a percentile distribution."""
    out = realm.kdc(
        *("load", "as", "--keys", keys(realm), "--ramp", "20..60", "--steps", "3", "--step", "1s"),
        *("--until", "errors>50%", "--html", str(tmp_path / "r.html")),
        *("--hdr", str(tmp_path / "r.hgrm")),
    )
    assert "knee: 60/s" in out
    assert "Ramp" in (tmp_path / "r.html").read_text()
    assert "Percentile" in (tmp_path / "r.hgrm").read_text()


def test_a_server_that_is_not_there_is_unreachable(realm: LiveRealm) -> None:
    """For scripts: 6; the result is printed all the same."""
    out = realm.kdc(
        *("load", "as", "--keys", keys(realm), "--closed", "1", "--count", "3", "--json"),
        *("--kdc", f"127.0.0.1:{free_port()}", "--timeout", "0.5"),
        ok=(6,),
    )
    assert json.loads(out)["total"]["tickets"] == 0


def test_a_target_elsewhere_needs_its_owner(realm: LiveRealm) -> None:
    """Nothing is sent to another machine by a mistyped address."""
    arguments = ("load", "as", "--keys", keys(realm), "--closed", "1", "--kdc", "192.0.2.1:88")
    realm.kdc(*arguments, ok=(5,))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--rate", "5", "--closed", "1"),
        ("--rate", "0"),
        ("--closed", "1", "--mix", "keytrust-p257"),
        ("--closed", "1", "--mix", "cert-p256"),
        ("--rate", "5", "--until", "p99>1ms"),
        ("--ramp", "5"),
        ("--closed", "1", "--threshold", "p98<1ms"),
    ],
)
def test_a_load_that_cannot_be_is_wrong_usage(realm: LiveRealm, arguments: tuple[str, ...]) -> None:
    """Exit code 2, before anything is made."""
    realm.kdc("load", "as", "--keys", keys(realm), *arguments, ok=(2,))


def test_results_of_two_loads_are_compared(realm: LiveRealm, tmp_path: Path) -> None:
    """`kdc load compare` prints the ratio and writes a page with both."""
    for name in ("a", "b"):
        out = realm.kdc(
            "load", "as", "--keys", keys(realm), "--closed", "2", "--count", "10", "--json"
        )
        (tmp_path / f"{name}.json").write_text(out)
    files = (str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    rows = json.loads(realm.kdc("load", "compare", *files, "--json"))
    assert rows["differences"] == []
    assert any(row["name"] == "p99 ms" for row in rows["rows"])
    realm.kdc("load", "compare", *files, "--html", str(tmp_path / "c.html"))
    assert "b: p99" in (tmp_path / "c.html").read_text()


def test_no_password_is_in_the_result(realm: LiveRealm, tmp_path: Path) -> None:
    """Neither in JSON nor in the page."""
    out = realm.kdc(
        *("load", "as", "--mix", "password", "--users", "pat", "--password-stdin", "--closed", "1"),
        *("--count", "3", "--json", "--html", str(tmp_path / "p.html")),
        stdin=PASSWORD,
    )
    assert PASSWORD not in out + (tmp_path / "p.html").read_text()


def test_an_interrupted_load_leaves_no_process_behind(realm: LiveRealm) -> None:
    """The processes that make requests end with their parent, which says that it was stopped."""
    arguments = ("load", "as", "--keys", keys(realm), "--rate", "1000", "--duration", "60s")
    environment = {**os.environ, "KDC_STATE": str(realm.state)}
    with subprocess.Popen(
        [sys.executable, "-m", "kdc", *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert wait_until(lambda: len(process_tree(process.pid)) > 1)
        children: set[int] = set()
        # Python drops an interrupt that comes within a fork's own hooks, so a person presses again.
        for _ in range(10):
            children.update(process_tree(process.pid)[1:])
            os.kill(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
                break
        _, told = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "interrupted" in told
    assert wait_until(lambda: not any(is_alive(pid) for pid in children))
