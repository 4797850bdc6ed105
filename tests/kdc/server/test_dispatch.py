"""From message to reply: the audit policy and the boundary for bugs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kdc.outcome import Peer
from kdc.server.audit import AuditLog
from kdc.server.dispatch import Dispatcher
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from tests.kdc.server.handlers import ScriptedHandler

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
PEER = Peer(address="192.0.2.7", port=50123, transport="udp")


def dispatcher(tmp_path: Path, audit: Path | None = None, policy: str = "refuse") -> Dispatcher:
    """Return a dispatcher with a fixed clock."""
    on_failure = "refuse" if policy == "refuse" else "count"
    log = AuditLog(audit or tmp_path / "audit.jsonl", on_failure=on_failure)  # type: ignore[arg-type]  # narrowed
    return Dispatcher(ScriptedHandler(tmp_path), log, "LAB.TEST", clock=lambda: NOW)


def records(tmp_path: Path) -> list[dict[str, object]]:
    """Return the audit records written so far."""
    return [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


def test_reply_leaves_with_its_record_written(tmp_path: Path) -> None:
    """Exactly one record a request."""
    under_test = dispatcher(tmp_path)
    assert under_test.answer(b"hello", PEER) == b"echo:hello"
    assert [line["time"] for line in records(tmp_path)] == ["2026-11-22T12:00:00.000Z"]
    assert under_test.counters.requests == under_test.counters.replies == 1


def test_dropped_request_has_a_record(tmp_path: Path) -> None:
    """Nothing is dropped silently."""
    under_test = dispatcher(tmp_path)
    assert under_test.answer(b"drop", PEER) is None
    assert [line["why"] for line in records(tmp_path)] == ["dropped"]
    assert under_test.counters.replies == 0


def test_full_audit_disk_under_refuse_is_answered_29(tmp_path: Path) -> None:
    """Row S03, strict: no reply of the handler leaves without its record."""
    under_test = dispatcher(tmp_path, Path("/dev/full"))
    reply = under_test.answer(b"hello", PEER)
    assert reply is not None
    error = asn1.decode(KrbError, reply)
    assert (error.error_code, error.realm, error.stime) == (29, "LAB.TEST", NOW)
    assert error.sname.name_string == ("krbtgt", "LAB.TEST")
    assert under_test.counters.refused_by_audit == 1
    assert under_test.counters.audit_failures == 1
    assert under_test.answer(b"drop", PEER) is None


def test_full_audit_disk_under_count_is_answered(tmp_path: Path) -> None:
    """Row S03, lenient: the logon goes on, the loss is counted."""
    under_test = dispatcher(tmp_path, Path("/dev/full"), "count")
    assert under_test.answer(b"hello", PEER) == b"echo:hello"
    assert under_test.counters.audit_failures == 1
    assert under_test.counters.refused_by_audit == 0


def test_exception_of_the_handler_is_logged_without_the_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug drops one request, is counted, and what the exception says stays out of the log."""
    under_test = dispatcher(tmp_path)
    assert under_test.answer(b"raise secret", PEER) is None
    assert under_test.counters.internal_errors == 1
    assert "ValueError" in caplog.text
    assert "in handle" in caplog.text
    assert "secret" not in caplog.text
    assert [line["why"] for line in records(tmp_path)] == ["internal error"]
    assert under_test.answer(b"hello", PEER) == b"echo:hello"


def test_refusal_of_an_unread_message_is_recorded(tmp_path: Path) -> None:
    """A message over the size limit gets 61 and a record."""
    reply = dispatcher(tmp_path).refuse(61, "too long", PEER)
    assert reply is not None
    assert asn1.decode(KrbError, reply).error_code == 61
    assert [(line["Status"], line["why"]) for line in records(tmp_path)] == [("0x3d", "too long")]
