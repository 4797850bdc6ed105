"""The audit log: escaping, whole lines, failure policy (negative rows S03, S08)."""

import json
import multiprocessing
import os
import stat
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from kdc.outcome import Outcome, Peer
from kdc.server.audit import MAX_FACTS, AuditLog, TimeText, encode_record, escape, event_id

NOW = datetime(2026, 11, 22, 12, 0, 0, 7999, tzinfo=UTC)
TIME = "2026-11-22T12:00:00.007Z"
PEER = Peer(address="192.0.2.7", port=50123, transport="udp")
SPAWN = multiprocessing.get_context("spawn")


def outcome(code: int = 0, exchange: str = "AS", **facts: object) -> Outcome:
    """Return an outcome with these facts."""
    why = "" if code == 0 else "the reason"
    reference = "" if code == 0 else "7K3M"
    return Outcome(
        reply=b"reply", exchange=exchange, code=code, why=why, reference=reference, facts=facts
    )


def record(made: Outcome) -> dict[str, object]:
    """Return the decoded record of an outcome."""
    line = encode_record(made, PEER, TIME, 0.0021)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    decoded: dict[str, object] = json.loads(line)
    return decoded


def test_ticket_is_recorded_as_windows_event_4768() -> None:
    """The field names and forms are Windows' own, ours stand beside them."""
    made = outcome(
        client="alice",
        realm="LAB.TEST",
        service="krbtgt/LAB.TEST",
        etype=18,
        preauth=16,
        trust="key",
        key_id="ab12",
        retransmit=False,
    )
    assert record(made) == {
        "time": TIME,
        "EventID": 4768,
        "exchange": "AS",
        "Status": "0x0",
        "IpAddress": "192.0.2.7",
        "IpPort": 50123,
        "transport": "udp",
        "TargetUserName": "alice",
        "TargetDomainName": "LAB.TEST",
        "ServiceName": "krbtgt/LAB.TEST",
        "TicketEncryptionType": "0x12",
        "PreAuthType": "16",
        "trust": "key",
        "key_id": "ab12",
        "why": "",
        "ref": "",
        "ms": 2.1,
        "retransmit": False,
    }


@pytest.mark.parametrize(
    "step",
    [
        timedelta(microseconds=1),
        timedelta(microseconds=999_999),
        timedelta(seconds=1),
        timedelta(seconds=-1),
        timedelta(microseconds=-8000),
        timedelta(days=400),
    ],
)
def test_time_of_a_record_follows_the_clock_forth_and_back(step: timedelta) -> None:
    """The text of a second is kept, and never used for another second."""
    times = TimeText()
    for now in (NOW, NOW + step, NOW, NOW - step, NOW + step):
        expected = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert times.of(now) == expected


def test_time_of_a_whole_second_has_its_milliseconds() -> None:
    """Three digits, always."""
    assert TimeText().of(NOW.replace(microsecond=0)) == "2026-11-22T12:00:00.000Z"
    assert TimeText().of(NOW.replace(microsecond=999_999)) == "2026-11-22T12:00:00.999Z"


def test_refusal_has_code_reason_and_reference() -> None:
    """A refused logon shows no encryption type, as in Windows."""
    shown = record(outcome(62, client="alice", preauth=16))
    assert shown["EventID"] == 4771
    assert shown["Status"] == "0x3e"
    assert shown["why"] == "the reason"
    assert shown["ref"] == "7K3M"
    assert shown["TicketEncryptionType"] == "0xffffffff"


@pytest.mark.parametrize(
    ("code", "exchange", "expected"),
    [
        (0, "AS", 4768),
        (6, "AS", 4768),
        (25, "AS", 4768),
        (24, "AS", 4771),
        (80, "AS", 4771),
        (0, "TGS", 4769),
        (24, "TGS", 4769),
        (0, "", 4768),
    ],
)
def test_event_id_follows_exchange_and_code(code: int, exchange: str, expected: int) -> None:
    """4768 ticket, 4769 service ticket, 4771 refused pre-authentication."""
    assert event_id(outcome(code, exchange)) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alice", "alice"),
        ("zoë müller 李", "zoë müller 李"),
        ("a\nb\r\0", r"a\x0ab\x0d\x00"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u200bb\u2028", r"a\u200bb\u2028"),
        ("\udcff\udc80", r"\xff\x80"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        (r"LAB\alice", r"LAB\\alice"),
        (r"\x1b", r"\\x1b"),
    ],
)
def test_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    """Nothing of a client's reaches a terminal, and an escape cannot be forged."""
    assert escape(text) == shown
    assert (
        json.loads(encode_record(outcome(client=text), PEER, TIME, 0.0))["TargetUserName"] == shown
    )


@pytest.mark.parametrize("text", ["a" * 300, "\x1b" * 300, "\\" * 10_000])
def test_long_text_is_cut_to_256_characters(text: str) -> None:
    """A cut is marked."""
    assert 250 < len(escape(text)) <= 256
    assert escape(text).endswith("…")


def test_text_of_256_characters_is_whole() -> None:
    """The limit itself is not cut."""
    assert escape("a" * 256) == "a" * 256


def test_facts_may_not_pose_as_what_the_socket_saw() -> None:
    """A fact named like one of our own fields is kept apart."""
    shown = record(outcome(IpAddress="198.51.100.1", time="then"))
    assert shown["IpAddress"] == "192.0.2.7"
    assert shown["fact_IpAddress"] == "198.51.100.1"
    assert shown["time"] == TIME


def test_object_of_unknown_kind_is_named_not_shown() -> None:
    """A key that got among the facts by mistake does not get into the log (row S08)."""

    class Key:
        def __repr__(self) -> str:
            return "secret"

    shown = record(outcome(key=Key(), digest=b"\x01\xff", names=["a\n", 3], nothing=None))
    assert shown["key"] == "<Key>"
    assert shown["digest"] == "01ff"
    assert shown["names"] == [r"a\x0a", 3]
    assert shown["nothing"] is None


class Numbered(IntEnum):
    """A fact of a kind that is an int as well."""

    EIGHTEEN = 18


class Named(Enum):
    """Facts that are shown by what is in them."""

    NOTHING = None
    YES = True
    TEXT = "a\nb"


def test_facts_of_all_kinds_have_their_form() -> None:
    """Enumerations are shown by their value, truth is no number."""
    shown = record(
        outcome(
            etype=Numbered.EIGHTEEN,
            preauth=Numbered.EIGHTEEN,
            number=Numbered.EIGHTEEN,
            empty=Named.NOTHING,
            sure=Named.YES,
            text=Named.TEXT,
            truth=True,
            share=0.5,
            many=tuple(range(40)),
            when=NOW,
        )
    )
    assert (shown["TicketEncryptionType"], shown["PreAuthType"], shown["number"]) == (
        "0x12",
        "18",
        18,
    )
    assert (shown["empty"], shown["sure"], shown["truth"]) == (None, True, True)
    assert (shown["text"], shown["share"]) == (r"a\x0ab", 0.5)
    assert (shown["many"], shown["when"]) == (list(range(16)), "2026-11-22T12:00:00+00:00")


def test_number_of_facts_is_bounded() -> None:
    """No record grows without limit, and one that was cut says by how much."""
    made = outcome()
    made.facts.update({f"fact{number}": number for number in range(1000)})
    written = record(made)
    assert len(written) < 64
    assert written["facts_left_out"] == len(made.facts) - MAX_FACTS


def test_file_is_private_and_appended_to(tmp_path: Path) -> None:
    """0600, also when it was made with another mode; nothing old is lost."""
    path = tmp_path / "audit.jsonl"
    path.write_text("old\n")
    path.chmod(0o644)
    audit = AuditLog(path)
    assert audit.write(outcome(), PEER, NOW, 0.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("old\n{")


def test_reopened_log_writes_to_the_new_file(tmp_path: Path) -> None:
    """Rotation: rename, then SIGHUP."""
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path)
    audit.write(outcome(), PEER, NOW, 0.0)
    path.rename(tmp_path / "audit.jsonl.1")
    audit.write(outcome(), PEER, NOW, 0.0)
    audit.reopen()
    audit.write(outcome(), PEER, NOW, 0.0)
    assert len((tmp_path / "audit.jsonl.1").read_text().splitlines()) == 2
    assert len(path.read_text().splitlines()) == 1


def test_failed_reopening_keeps_the_old_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that went away does not end the audit."""
    folder = tmp_path / "log"
    folder.mkdir()
    audit = AuditLog(folder / "audit.jsonl")
    folder.rename(tmp_path / "moved")
    audit.reopen()
    assert "cannot reopen the audit file" in caplog.text
    assert audit.write(outcome(), PEER, NOW, 0.0)
    assert (tmp_path / "moved" / "audit.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize(("policy", "may_leave"), [("refuse", False), ("count", True)])
def test_full_disk_follows_the_policy(
    policy: str, may_leave: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Row S03: refused, or counted and alarmed; the alarm is one line, not one per request."""
    on_failure = "refuse" if policy == "refuse" else "count"
    audit = AuditLog(Path("/dev/full"), on_failure=on_failure)  # type: ignore[arg-type]  # narrowed
    assert [audit.write(outcome(), PEER, NOW, 0.0) for _ in range(3)] == [may_leave] * 3
    assert audit.failures == 3
    assert [entry.getMessage() for entry in caplog.records] == [
        "audit record lost: ENOSPC; 1 lost in all"
    ]


def _write_many(path: Path, go: Event, name: str) -> None:
    audit = AuditLog(path)
    go.wait(20)
    for number in range(2000):
        audit.write(outcome(client=name * 100, number=number), PEER, NOW, 0.0)


def test_records_of_two_processes_never_mix(tmp_path: Path) -> None:
    """One write per record on O_APPEND: every line is whole."""
    path = tmp_path / "audit.jsonl"
    go = SPAWN.Event()
    writers = [SPAWN.Process(target=_write_many, args=(path, go, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    go.set()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for name in "ab":
        numbers = [line["number"] for line in lines if line["TargetUserName"] == name * 100]
        assert numbers == list(range(2000))
    assert len(lines) == 4000
    assert os.path.getsize(path) > 0
