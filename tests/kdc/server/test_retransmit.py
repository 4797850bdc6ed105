"""The retransmit memory in a shared ring (RFC 4120 3.1.2, negative row F02)."""

import hashlib
import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from kdc.server.retransmit import FileRetransmitMemory, RetransmitGeometry

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SMALL = RetransmitGeometry(ring_bytes=64 * 1024, buckets=64)
WIDE = RetransmitGeometry(ring_bytes=256 * 1024, buckets=4096)
"""Room for a few replies in the stretch that a worker takes."""
SPAWN = multiprocessing.get_context("spawn")


def memory(path: Path, geometry: RetransmitGeometry = SMALL) -> FileRetransmitMemory:
    """Open the memory in a folder."""
    return FileRetransmitMemory(path / "retransmit", geometry=geometry)


def digest(name: object) -> bytes:
    """Return the digest of a made-up packet."""
    return hashlib.sha256(repr(name).encode()).digest()


def reply_to(number: int) -> bytes:
    """Return a reply that tells its packet and length from its own octets."""
    return (b"%d " % number) * (1 + number % 300)


def test_stored_reply_is_found_by_every_opening(tmp_path: Path) -> None:
    """Whatever the worker, and after a restart as well."""
    first = memory(tmp_path)
    other = memory(tmp_path)
    assert first.lookup(digest(1), NOW) is None
    first.store(digest(1), b"reply", NOW)
    assert first.lookup(digest(1), NOW) == b"reply"
    assert other.lookup(digest(1), NOW + timedelta(seconds=60)) == b"reply"
    first.close()
    other.close()
    assert memory(tmp_path).lookup(digest(1), NOW) == b"reply"


@pytest.mark.parametrize("age_s", [61, 3600, -1])
def test_reply_outside_the_window_is_not_found(tmp_path: Path, age_s: int) -> None:
    """After a minute, or after the clock went back, the packet is looked at again."""
    retransmit = memory(tmp_path)
    retransmit.store(digest(1), b"reply", NOW)
    assert retransmit.lookup(digest(1), NOW + timedelta(seconds=age_s)) is None


def test_second_reply_to_a_packet_replaces_the_first(tmp_path: Path) -> None:
    """The newest reply is the one to repeat."""
    retransmit = memory(tmp_path)
    retransmit.store(digest(1), b"first", NOW)
    retransmit.store(digest(1), b"second", NOW)
    assert retransmit.lookup(digest(1), NOW) == b"second"


def test_first_reply_of_a_new_memory_keeps_its_place_in_the_index(tmp_path: Path) -> None:
    """A bucket holds eight, the very first among them."""
    retransmit = memory(tmp_path, RetransmitGeometry(ring_bytes=64 * 1024, buckets=1))
    for number in range(8):
        retransmit.store(digest(number), b"%d" % number, NOW)
    found = [retransmit.lookup(digest(number), NOW) for number in range(8)]
    assert found == [b"%d" % number for number in range(8)]


def test_ring_keeps_the_newest_replies(tmp_path: Path) -> None:
    """The memory is bounded: new replies push out the oldest, and none comes back wrong."""
    retransmit = memory(tmp_path)
    for number in range(1000):
        retransmit.store(digest(number), reply_to(number), NOW)
    found = [number for number in range(1000) if retransmit.lookup(digest(number), NOW)]
    assert set(found) >= set(range(970, 1000))
    assert len(found) < 300
    assert all(retransmit.lookup(digest(number), NOW) == reply_to(number) for number in found)


def test_workers_do_not_write_over_each_other(tmp_path: Path) -> None:
    """Each fills a stretch of its own, one of them much slower than the other."""
    slow, fast = memory(tmp_path, WIDE), memory(tmp_path, WIDE)
    for turn in range(200):
        slow.store(digest(turn), reply_to(turn), NOW)
        for number in range(20):
            fast.store(digest((turn, number)), b"reply of the other", NOW)
        for number in range(20):
            assert slow.lookup(digest((turn, number)), NOW) == b"reply of the other"
        for earlier in range(max(0, turn - 20), turn + 1):
            assert fast.lookup(digest(earlier), NOW) == reply_to(earlier), (turn, earlier)


def test_reply_of_an_idle_worker_is_kept_as_long_as_others(tmp_path: Path) -> None:
    """A stretch taken long ago is left: what is stored in it would be overwritten at once."""
    idle, busy = memory(tmp_path, WIDE), memory(tmp_path, WIDE)
    idle.store(digest("first"), b"reply", NOW)
    pushed = 0
    while idle.lookup(digest("first"), NOW):
        pushed += 1
        busy.store(digest(pushed), bytes(1000), NOW)
    assert pushed > 200
    idle.store(digest("second"), b"reply", NOW)
    for number in range(pushed * 3 // 4):
        busy.store(digest(-number), bytes(1000), NOW)
    assert idle.lookup(digest("second"), NOW) == b"reply"


def test_memory_goes_on_after_the_stretch_of_a_worker_that_was_killed(tmp_path: Path) -> None:
    """What it stored is there, what it had taken and not filled is a gap."""
    dead, other = memory(tmp_path, WIDE), memory(tmp_path, WIDE)
    dead.store(digest(1), b"one", NOW)
    dead.close()
    other.store(digest(2), b"two", NOW)
    successor = memory(tmp_path, WIDE)
    successor.store(digest(3), b"three", NOW)
    found = [successor.lookup(digest(number), NOW) for number in (1, 2, 3)]
    assert found == [b"one", b"two", b"three"]


def test_too_large_reply_is_not_kept(tmp_path: Path) -> None:
    """One reply must not push out all the others."""
    retransmit = memory(tmp_path)
    retransmit.store(digest(1), b"reply", NOW)
    retransmit.store(digest(2), bytes(SMALL.ring_bytes // 8), NOW)
    assert retransmit.lookup(digest(2), NOW) is None
    assert retransmit.lookup(digest(1), NOW) == b"reply"


def test_torn_record_is_not_found(tmp_path: Path) -> None:
    """A record with any octet changed is never returned."""
    retransmit = memory(tmp_path)
    retransmit.store(digest(1), b"the reply", NOW)
    path = tmp_path / "retransmit"
    octets = path.read_bytes()
    at = octets.index(b"the reply")
    for position in range(at - 32, at + 9 + 16):
        with path.open("r+b") as file:
            file.seek(position)
            file.write(bytes((octets[position] ^ 1,)))
        assert retransmit.lookup(digest(1), NOW) is None, position - at
        with path.open("r+b") as file:
            file.seek(position)
            file.write(octets[position : position + 1])
    assert retransmit.lookup(digest(1), NOW) == b"the reply"


def test_damaged_header_makes_a_new_memory(tmp_path: Path) -> None:
    """A corrupt file is moved aside; a lost retransmit memory loses replies, not safety."""
    memory(tmp_path).close()
    with (tmp_path / "retransmit").open("r+b") as file:
        file.write(b"broken")
    retransmit = memory(tmp_path)
    assert (tmp_path / "retransmit.corrupt").exists()
    retransmit.store(digest(1), b"reply", NOW)
    assert retransmit.lookup(digest(1), NOW) == b"reply"


def _store_for_ever(folder: Path, started: Event, first: int) -> None:
    retransmit = memory(folder)
    for turn in range(10_000_000):
        number = (first + turn) % 200
        retransmit.store(digest(number), reply_to(number), NOW)
        if turn == 100:
            started.set()


def test_reader_never_gets_a_wrong_reply_while_others_write_and_die(tmp_path: Path) -> None:
    """Two writers race round the ring, one is killed; every reply found is the right one."""
    retransmit = memory(tmp_path)
    started = [SPAWN.Event(), SPAWN.Event()]
    firsts = [0, 100]
    writers = [
        SPAWN.Process(target=_store_for_ever, args=(tmp_path, event, first))
        for event, first in zip(started, firsts, strict=True)
    ]
    try:
        for writer in writers:
            writer.start()
        assert all(event.wait(20) for event in started)
        found = 0
        for turn in range(20_000):
            number = turn % 200
            reply = retransmit.lookup(digest(number), NOW)
            assert reply is None or reply == reply_to(number)
            found += reply is not None
            if turn == 10_000:
                assert writers[0].pid is not None
                os.kill(writers[0].pid, signal.SIGKILL)
        assert found > 1000
    finally:
        for writer in writers:
            writer.kill()
            writer.join(10)
    retransmit.store(digest("mine"), b"mine", NOW)
    assert retransmit.lookup(digest("mine"), NOW) == b"mine"
