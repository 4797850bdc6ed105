"""`kdc doctor` on what is served over HTTP: the certificate of KKDCP, and the server's own word."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kdc.cli import doctor
from tests.kdc.cli.conftest import Shell

Line = tuple[str, str, str]


def lines(shell: Shell, check: str) -> list[Line]:
    """Return what the doctor says of one check."""
    report = shell("doctor", "--json", "--no-logons").json
    return [(c["level"], c["message"], c["fix"]) for c in report["checks"] if c["check"] == check]


def configure(shell: Shell, text: str) -> None:
    """Add lines to kdc.toml."""
    toml = shell.state / "kdc.toml"
    toml.write_text(toml.read_text() + text)


@contextmanager
def answering(status: int, checks: Mapping[str, object]) -> Iterator[int]:
    """Answer every GET with these checks; yields the port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"checks": checks}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_realm_without_http_is_not_asked(realm: Shell) -> None:
    """Off by default: nothing to say."""
    assert lines(realm, "server.http") == lines(realm, "server.https") == []


def test_ready_server_is_ok(realm: Shell) -> None:
    """/readyz as the orchestrator sees it."""
    with answering(200, {"store": {"ok": True, "detail": "3 accounts"}}) as port:
        configure(realm, f'http.listen = "127.0.0.1:{port}"\n')
        (found,) = lines(realm, "server.http")
    assert found[0] == "ok"


def test_failed_check_is_named(realm: Shell) -> None:
    """The server's own words, and where to look further."""
    checks = {"disk": {"ok": False, "detail": "the audit log's disk is full"}}
    with answering(503, checks) as port:
        configure(realm, f'http.listen = "127.0.0.1:{port}"\n')
        (found,) = lines(realm, "server.http")
    assert found == (
        "fail",
        f"the server on 127.0.0.1:{port} is not ready: the audit log's disk is full",
        "see its log",
    )


def test_silent_probe_is_a_failure(realm: Shell) -> None:
    """Configured, but nobody is there."""
    with answering(200, {}) as port:
        pass
    configure(realm, f'http.listen = "127.0.0.1:{port}"\n')
    ((level, message, _),) = lines(realm, "server.http")
    assert (level, message) == ("fail", f"no probe is answered on 127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [(0, "ok", "is valid until"), (340, "warn", "ends on"), (366, "fail", "is not valid now")],
)
def test_dates_of_the_certificate(realm: Shell, days: int, level: str, words: str) -> None:
    """A year long; a month's notice."""
    configure(realm, 'kkdcp.listen = "127.0.0.1:18443"\n')
    realm.monkeypatch.setattr(doctor, "now", lambda: datetime.now(UTC) + timedelta(days=days))
    ((found, message, _),) = lines(realm, "server.https")
    assert found == level
    assert words in message


def test_key_of_another_certificate_is_a_failure(realm: Shell) -> None:
    """The server would not start with it."""
    configure(realm, 'kkdcp.listen = "127.0.0.1:18443"\n')
    pki = realm.state / "pki"
    (pki / "http.key").write_bytes((pki / "kdc.key").read_bytes())
    ((level, message, _),) = lines(realm, "server.https")
    assert level == "fail"
    assert message.endswith("is the key of another certificate")


def test_missing_certificate_is_a_failure_and_issue_http_mends_it(realm: Shell) -> None:
    """The fix is the command that the line names; realms of an earlier version have none."""
    configure(realm, 'kkdcp.listen = "127.0.0.1:18443"\n')
    (realm.state / "pki/http.pem").unlink()
    ((level, _, fix),) = lines(realm, "server.https")
    assert level == "fail"
    assert fix.startswith("kdc cert issue-http")
    realm.ok("cert", "issue-http", "--dns", "kdc.lab.test", "--address", "192.0.2.1")
    assert lines(realm, "server.https")[0][0] == "ok"
    assert (realm.state / "pki/http.key").stat().st_mode & 0o777 == 0o600
