"""The recorder: bounded, private, shared, and never in the way."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kdc.cli.checks.kpasswd import PROBE
from kdc.cli.checks.provoked import is_of_doctor
from kdc.explain import recorder
from kdc.explain.recorder import (
    FILE_NAME,
    MAX_MESSAGE_BYTES,
    MAX_RECORDS_PER_SECOND,
    MAX_RECORDS_PER_SOURCE,
    Refusal,
    RefusalRecorder,
    find_refusal,
    last_refusal,
    older_path,
    read_refusals,
)
from kdc.outcome import Outcome, Peer
from tests.kdc.builders import BODY, NOW, as_req, enc_timestamp, key_of, pk_as_req

PEER = Peer(address="192.0.2.7", port=40_000, transport="udp")


def outcome(reference: str = "7K3M", **facts: object) -> Outcome:
    return Outcome(
        reply=b"", exchange="AS", code=62, why="a reason", reference=reference, facts=dict(facts)
    )


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """Return where the ring of a test lies."""
    return tmp_path / FILE_NAME


def record(ring: Path, *messages: bytes, references: tuple[str, ...] = ()) -> None:
    """Record messages a second apart, by one worker."""
    worker = RefusalRecorder(ring)
    for index, message in enumerate(messages):
        reference = references[index] if references else f"REF{index}"
        worker.record(message, PEER, NOW + timedelta(seconds=index), outcome(reference))
    worker.close()


def test_a_refusal_is_kept_whole(ring: Path) -> None:
    """Reference, time, peer, code, why, facts and the message as it was received."""
    message = pk_as_req()
    worker = RefusalRecorder(ring)
    worker.record(message, PEER, NOW, outcome(client="alice", preauth=16))
    worker.close()
    assert last_refusal(ring) == Refusal(
        reference="7K3M",
        time=NOW,
        address="192.0.2.7",
        port=40_000,
        transport="udp",
        exchange="AS",
        code=62,
        why="a reason",
        facts={"client": "alice", "preauth": 16},
        message=message,
        length=len(message),
    )


def test_what_has_no_reference_is_not_kept(ring: Path) -> None:
    """A ticket, and the routine answers 25 and 52, are not refusals that anybody asks about."""
    worker = RefusalRecorder(ring)
    worker.record(b"message", PEER, NOW, outcome(""))
    worker.close()
    assert ring.read_bytes() == b""


def test_the_file_is_private_even_if_it_was_not(ring: Path) -> None:
    """Mode 0600, made so again at every opening; a link is not followed."""
    ring.touch(mode=0o644)
    RefusalRecorder(ring).close()
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600
    target = ring.with_name("elsewhere")
    ring.unlink()
    ring.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        RefusalRecorder(ring)
    assert not target.exists()


@pytest.mark.parametrize("text", ["7K3M", "7k3m", " 7K3M\n", "[ref 7K3M]", "ref 7K3M"])
def test_a_reference_is_found_as_people_write_it(ring: Path, text: str) -> None:
    """In any case, with or without what stands around it in the e-text."""
    record(ring, b"first", b"second", b"third", references=("7K3M", "7K3M", "AAAA"))
    found = find_refusal(ring, text)
    assert found is not None
    assert found.message == b"second"
    assert find_refusal(ring, "ZZZZ") is None


def test_the_newest_comes_first(ring: Path) -> None:
    """The order of reading, through both halves of the ring."""
    record(ring, b"1", b"2", b"3")
    assert [r.message for r in read_refusals(ring)] == [b"3", b"2", b"1"]


def test_refusals_of_test_accounts_are_the_last_only_when_there_are_no_others(ring: Path) -> None:
    """The doctor has requests refused on purpose: who asks for the last means the one before."""
    worker = RefusalRecorder(ring)
    made = (("REF1", "kdc-doctor-1", b"x"), ("REF2", "alice", b"x"), ("REF3", "", PROBE))
    for reference, account, message in made:
        worker.record(message, PEER, NOW, outcome(reference, account=account))
        newest = last_refusal(ring, is_test=is_of_doctor)
        assert newest is not None
        assert newest.reference == {"REF1": "REF1", "REF2": "REF2", "REF3": "REF2"}[reference]
    worker.close()


def test_no_ring_is_an_empty_one(ring: Path) -> None:
    """Recording is off, or nothing was refused yet."""
    assert last_refusal(ring) is None


def test_an_encrypted_timestamp_is_blanked(ring: Path) -> None:
    """Whoever has one can try passwords offline; it is not kept, its etype and length are."""
    pa = enc_timestamp(key_of(18))
    record(ring, as_req(BODY, pa))
    found = last_refusal(ring)
    assert found is not None
    assert found.redacted
    assert found.length == len(found.message) == len(as_req(BODY, pa))
    cipher = pa.padata_value[-40:]
    assert cipher not in found.message
    assert cipher not in ring.read_bytes()


def test_a_long_message_is_cut(ring: Path) -> None:
    """One record cannot fill the ring; how long the message was is kept."""
    record(ring, bytes(200_000))
    found = last_refusal(ring)
    assert found is not None
    assert (len(found.message), found.length) == (MAX_MESSAGE_BYTES, 200_000)


def test_the_ring_is_bounded_and_keeps_the_newest(ring: Path) -> None:
    """Two files of a segment each, give or take one record, whatever is recorded."""
    segment = 20_000
    worker = RefusalRecorder(ring, segment_bytes=segment)
    message = os.urandom(2000)
    for index in range(100):
        at = NOW + timedelta(seconds=index)
        worker.record(message, PEER, at, outcome(f"R{index}"))
    worker.close()
    kept = [r.reference for r in read_refusals(ring)]
    assert kept == [f"R{index}" for index in range(99, 99 - len(kept), -1)]
    assert 7 <= len(kept) <= 16
    assert ring.stat().st_size + older_path(ring).stat().st_size <= 2 * (segment + 4000)
    assert sorted(p.name for p in ring.parent.iterdir()) == ["refusals.1.jsonl", "refusals.jsonl"]


def test_another_worker_follows_when_the_ring_turns(ring: Path) -> None:
    """A worker whose file was renamed notices at its bound and goes on in the new one."""
    first = RefusalRecorder(ring, segment_bytes=3000)
    second = RefusalRecorder(ring, segment_bytes=3000)
    for index in range(40):
        worker = (first, second)[index % 2]
        at = NOW + timedelta(seconds=index)
        worker.record(os.urandom(300), PEER, at, outcome(f"R{index}"))
    first.close()
    second.close()
    assert [r.reference for r in read_refusals(ring)][:2] == ["R39", "R38"]
    assert ring.stat().st_size + older_path(ring).stat().st_size <= 2 * (3000 + 3 * 1000)


_WRITER = """
import sys
from pathlib import Path
from datetime import datetime, timedelta, UTC
from kdc.explain.recorder import RefusalRecorder
from kdc.outcome import Outcome, Peer
recorder = RefusalRecorder(Path(sys.argv[1]), segment_bytes=200_000)
peer = Peer(address="192.0.2.7", port=1, transport="udp")
for i in range(int(sys.argv[3])):
    outcome = Outcome(reply=b"", exchange="AS", code=62, why="w", reference=f"{sys.argv[2]}{i}")
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=i)
    recorder.record(b"m" * 500, peer, at, outcome)
print("done", flush=True)
if sys.argv[4] == "die":
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_share_one_ring_and_survive_kill_9(ring: Path) -> None:
    """Lines of two processes do not mix; what was recorded before a SIGKILL is there."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(ring), name, "60", "die"],
            cwd=Path(__file__).resolve().parents[3],
            stdout=subprocess.PIPE,
        )
        for name in ("A", "B")
    ]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == -9
    found = {r.reference for r in read_refusals(ring)}
    assert found == {f"{name}{index}" for name in "AB" for index in range(60)}


def test_a_broken_line_spoils_no_other(ring: Path) -> None:
    """A worker was killed in the middle of a write, or the disk was full."""
    record(ring, b"before")
    with ring.open("ab") as file:
        file.write(b'\n{"reference":"7K')
    record(ring, b"after")
    assert [r.message for r in read_refusals(ring)] == [b"after", b"before"]


def test_a_flood_is_cut_by_source_and_in_all(ring: Path) -> None:
    """One source gets ten records a second, all together fifty; what was missed is counted."""
    worker = RefusalRecorder(ring)
    for _ in range(1000):
        worker.record(b"flood", PEER, NOW, outcome())
    assert worker.missed == 1000 - MAX_RECORDS_PER_SOURCE
    for index in range(1000):
        peer = replace(PEER, address=f"2001:db8::{index:x}")
        worker.record(b"flood", peer, NOW, outcome())
    kept = list(read_refusals(ring))
    assert len(kept) == MAX_RECORDS_PER_SECOND
    worker.record(b"later", PEER, NOW + timedelta(seconds=1), outcome())
    worker.close()
    last = last_refusal(ring)
    assert last is not None
    assert last.missed == 960
    assert worker.missed == 0


def test_a_clock_set_back_does_not_stop_the_recorder(ring: Path) -> None:
    """The second only has to be another one."""
    worker = RefusalRecorder(ring)
    for _ in range(MAX_RECORDS_PER_SOURCE):
        worker.record(b"now", PEER, NOW, outcome())
    worker.record(b"earlier", PEER, NOW - timedelta(hours=1), outcome())
    worker.close()
    last = last_refusal(ring)
    assert last is not None
    assert last.message == b"earlier"


def test_a_disk_error_is_counted_and_never_raised(
    ring: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk must not cost a client its answer; the log says so, but not for each."""
    worker = RefusalRecorder(ring)

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for index in range(9):
        worker.record(b"message", PEER, NOW + timedelta(seconds=index), outcome())
    assert worker.failures == 9
    assert len(caplog.records) == 4


class _Secret:
    def __repr__(self) -> str:
        return "the secret"


def test_facts_are_kept_in_a_safe_form(ring: Path) -> None:
    """Octets as hex, odd strings as escapes, long ones cut, unknown objects by their type."""
    worker = RefusalRecorder(ring)
    worker.record(
        b"message",
        PEER,
        NOW,
        outcome(
            client="al\udcffice",
            digest=b"\x01\x02",
            ids=(1, "two", _Secret()),
            thing=_Secret(),
            long="x" * 1000,
            huge=1 << 100,
            code=recorder.SEGMENT_BYTES,
        ),
    )
    worker.close()
    found = last_refusal(ring)
    assert found is not None
    assert found.facts["client"] == "al\\udcffice"
    assert found.facts["digest"] == "0102"
    assert found.facts["ids"] == [1, "two", "<_Secret>"]
    assert found.facts["thing"] == "<_Secret>"
    assert found.facts["long"] == "x" * 256
    assert found.facts["huge"] == hex(1 << 100)
    assert "the secret" not in ring.read_text()


def test_a_line_is_json_for_other_tools(ring: Path) -> None:
    """One object a line; blank lines between are how a broken one is kept apart."""
    record(ring, b"message")
    (line,) = (line for line in ring.read_text().splitlines() if line)
    assert json.loads(line)["reference"] == "REF0"


def test_reopening_goes_on_in_a_file_of_that_name(ring: Path) -> None:
    """An administrator removed the file; after SIGHUP it is there again."""
    worker = RefusalRecorder(ring)
    ring.unlink()
    worker.record(b"lost", PEER, NOW, outcome())
    worker.reopen()
    worker.record(b"kept", PEER, NOW, outcome())
    worker.close()
    assert [r.message for r in read_refusals(ring)] == [b"kept"]


def test_removing_the_file_meanwhile_costs_at_most_a_segment(ring: Path) -> None:
    """Without SIGHUP the worker finds out when its own file is full."""
    worker = RefusalRecorder(ring, segment_bytes=2000)
    ring.unlink()
    for index in range(20):
        worker.record(bytes(500), PEER, NOW + timedelta(seconds=index), outcome())
    worker.close()
    assert last_refusal(ring) is not None
