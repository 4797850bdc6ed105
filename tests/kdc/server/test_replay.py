"""The replay memory in a shared map (RFC 4120 3.2.3, negative row F02)."""

import hashlib
import multiprocessing
import os
import signal
import stat
import struct
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from kdc.server.replay import FileReplayMemory, ReplayGeometry

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SKEW = timedelta(seconds=300)
SMALL = ReplayGeometry(shards=2, chunks=48, buckets=4)
SPAWN = multiprocessing.get_context("spawn")


def memory(path: Path, now: datetime = NOW, geometry: ReplayGeometry = SMALL) -> FileReplayMemory:
    """Open the memory in a folder."""
    return FileReplayMemory(path / "replay", clockskew=SKEW, now=now, geometry=geometry)


def digest(name: object) -> bytes:
    """Return the digest of a made-up proof or packet."""
    return hashlib.sha256(repr(name).encode()).digest()


def test_new_proof_is_remembered_once(tmp_path: Path) -> None:
    """The second use of a proof is a replay."""
    replay = memory(tmp_path)
    assert not replay.seen(digest(1), ctime=NOW, now=NOW)
    assert replay.remember(digest(1), ctime=NOW, now=NOW)
    assert replay.seen(digest(1), ctime=NOW, now=NOW)
    assert not replay.remember(digest(1), ctime=NOW, now=NOW)
    assert replay.remember(digest(2), ctime=NOW, now=NOW)


def test_same_proof_in_the_same_packet_is_a_retransmission(tmp_path: Path) -> None:
    """F02's control: the identical packet gets a reply though its worker died before storing it."""
    replay = memory(tmp_path)
    packet = digest("packet")
    assert replay.remember(digest(1), ctime=NOW, now=NOW, packet=packet)
    soon = NOW + timedelta(seconds=59)
    assert not replay.seen(digest(1), ctime=NOW, now=soon, packet=packet)
    assert replay.remember(digest(1), ctime=NOW, now=soon, packet=packet)


def test_same_proof_in_another_packet_is_a_replay(tmp_path: Path) -> None:
    """F02: the packet matters, not only the proof."""
    replay = memory(tmp_path)
    assert replay.remember(digest(1), ctime=NOW, now=NOW, packet=digest("packet"))
    assert not replay.remember(digest(1), ctime=NOW, now=NOW, packet=digest("other"))
    assert not replay.remember(digest(1), ctime=NOW, now=NOW)


@pytest.mark.parametrize("age_s", [61, -1])
def test_same_packet_outside_the_retransmit_window_is_a_replay(tmp_path: Path, age_s: int) -> None:
    """F02: after the window, or after the clock went back, the identical packet is refused too."""
    replay = memory(tmp_path)
    packet = digest("packet")
    assert replay.remember(digest(1), ctime=NOW, now=NOW, packet=packet)
    then = NOW + timedelta(seconds=age_s)
    assert not replay.remember(digest(1), ctime=NOW, now=then, packet=packet)


def test_proof_is_remembered_after_a_restart(tmp_path: Path) -> None:
    """Requirement 8: the memory survives a restart, and its floor does not move."""
    first = memory(tmp_path)
    floor = first.oldest_acceptable(NOW)
    assert first.remember(digest(1), ctime=NOW, now=NOW)
    first.close()
    later = NOW + timedelta(seconds=10)
    second = memory(tmp_path, later)
    assert not second.remember(digest(1), ctime=NOW, now=later)
    assert second.oldest_acceptable(later) == floor


def test_new_memory_refuses_what_is_older_than_itself(tmp_path: Path) -> None:
    """A lost memory cannot tell what was used before, so it refuses that (37)."""
    replay = memory(tmp_path)
    assert replay.oldest_acceptable(NOW) == NOW
    before = NOW - timedelta(seconds=1)
    assert replay.seen(digest(1), ctime=before, now=NOW)
    assert not replay.remember(digest(1), ctime=before, now=NOW)


def test_file_is_private(tmp_path: Path) -> None:
    """Only the service may read or write the map."""
    memory(tmp_path).close()
    (tmp_path / "replay").chmod(0o644)
    memory(tmp_path).close()
    assert stat.S_IMODE((tmp_path / "replay").stat().st_mode) == 0o600


@pytest.mark.parametrize("at", [0, 9, 16, 90, 120])
def test_damaged_header_makes_a_new_memory_that_fails_closed(tmp_path: Path, at: int) -> None:
    """A corrupt file is moved aside; everything before now is refused."""
    memory(tmp_path).close()
    path = tmp_path / "replay"
    octets = bytearray(path.read_bytes())
    octets[at] ^= 1
    path.write_bytes(octets)
    later = NOW + timedelta(seconds=50)
    replay = memory(tmp_path, later)
    assert replay.oldest_acceptable(later) == later
    assert (tmp_path / "replay.corrupt").exists()
    assert replay.remember(digest(1), ctime=later, now=later)


def test_cut_off_file_makes_a_new_memory(tmp_path: Path) -> None:
    """A file of another size is as good as none."""
    memory(tmp_path).close()
    os.truncate(tmp_path / "replay", 5000)
    later = NOW + timedelta(seconds=50)
    assert memory(tmp_path, later).oldest_acceptable(later) == later


def test_other_clockskew_or_geometry_makes_a_new_memory(tmp_path: Path) -> None:
    """A map of another layout cannot be read, so it fails closed."""
    memory(tmp_path).close()
    later = NOW + timedelta(seconds=50)
    other = ReplayGeometry(shards=2, chunks=48, buckets=8)
    assert memory(tmp_path, later, other).oldest_acceptable(later) == later
    wide = FileReplayMemory(
        tmp_path / "replay", clockskew=timedelta(hours=2), now=later, geometry=SMALL
    )
    assert wide.oldest_acceptable(later) == later


def test_restart_of_the_machine_refuses_what_was_before_it(tmp_path: Path) -> None:
    """Late writes may be missing after a power cut, so the floor rises to the opening."""
    memory(tmp_path).close()
    with (tmp_path / "replay").open("r+b") as file:
        file.seek(256)
        file.write(b"another boot id")
    later = NOW + timedelta(seconds=50)
    replay = memory(tmp_path, later)
    assert replay.oldest_acceptable(later) == later
    assert not (tmp_path / "replay.corrupt").exists()


def test_maker_killed_before_the_floor_was_set_fails_closed(tmp_path: Path) -> None:
    """A valid header without a floor is a memory that was never finished."""
    memory(tmp_path).close()
    with (tmp_path / "replay").open("r+b") as file:
        file.seek(512 + 8)
        file.write(struct.pack("=q", 0))
    later = NOW + timedelta(seconds=50)
    assert memory(tmp_path, later).oldest_acceptable(later) == later


def test_open_memory_follows_when_another_worker_moves_it_aside(tmp_path: Path) -> None:
    """Workers stay together: all go on with the file made anew."""
    first = memory(tmp_path)
    with (tmp_path / "replay").open("r+b") as file:
        file.write(b"broken")
    later = NOW + timedelta(seconds=5)
    second = memory(tmp_path, later)
    assert second.remember(digest(1), ctime=later, now=later)
    assert not first.remember(digest(1), ctime=later, now=later)
    assert first.oldest_acceptable(later) == later


def test_full_memory_forgets_the_oldest_and_refuses_its_range(tmp_path: Path) -> None:
    """Requirement 8: the oldest goes, and requests with a ctime in its range get 37.

    Whatever was remembered is afterwards either still known or refused by the floor.
    """
    replay = memory(tmp_path)
    used: list[tuple[bytes, datetime]] = []
    for number in range(SMALL.entries + 500):
        now = NOW + timedelta(milliseconds=100 * number)
        assert replay.remember(digest(number), ctime=now, now=now)
        used.append((digest(number), now))
    floor = replay.oldest_acceptable(NOW)
    assert NOW < floor < used[-1][1]
    assert all(not replay.remember(name, ctime=ctime, now=ctime) for name, ctime in used)


def test_flood_within_one_second_is_refused_not_forgotten(tmp_path: Path) -> None:
    """When all chunks serve the same window, a proof that finds no place is not accepted."""
    replay = memory(tmp_path)
    accepted = [
        number
        for number in range(SMALL.entries + 500)
        if replay.remember(digest(number), ctime=NOW, now=NOW)
    ]
    assert 0.9 * SMALL.entries < len(accepted) <= SMALL.entries
    assert replay.oldest_acceptable(NOW) == NOW
    assert all(not replay.remember(digest(number), ctime=NOW, now=NOW) for number in accepted)
    later = NOW + timedelta(seconds=60)
    assert replay.remember(digest("later"), ctime=later, now=later)


def test_clock_jump_forward_and_back_accepts_no_replay(tmp_path: Path) -> None:
    """F08: windows given up during the jump stay refused after it; new requests are accepted."""
    replay = memory(tmp_path)
    assert replay.remember(digest("before"), ctime=NOW, now=NOW)
    for number in range(2 * SMALL.entries):
        jumped = NOW + timedelta(hours=1, milliseconds=50 * number)
        replay.remember(digest(number), ctime=jumped, now=jumped)
    assert not replay.remember(digest("before"), ctime=NOW, now=NOW)
    late = NOW + timedelta(hours=1, milliseconds=100 * SMALL.entries)
    assert replay.remember(digest("after"), ctime=late, now=late)


def _remember_many(folder: Path, go: Event, name: str) -> None:
    replay = memory(folder, geometry=ReplayGeometry(shards=4, chunks=16, buckets=64))
    go.wait(20)
    won = [n for n in range(3000) if replay.remember(digest(n), ctime=NOW, now=NOW)]
    (folder / name).write_text(" ".join(map(str, won)))


def test_two_processes_accept_each_proof_once(tmp_path: Path) -> None:
    """Every proof is new for exactly one of two concurrent workers."""
    go = SPAWN.Event()
    names = ["one", "two"]
    workers = [SPAWN.Process(target=_remember_many, args=(tmp_path, go, name)) for name in names]
    for worker in workers:
        worker.start()
    go.set()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    won = [number for name in names for number in (tmp_path / name).read_text().split()]
    assert sorted(won, key=int) == [str(number) for number in range(3000)]


def _remember_for_ever(folder: Path, started: Event) -> None:
    replay = memory(folder, geometry=ReplayGeometry(shards=1, chunks=64, buckets=256))
    for number in range(10_000_000):
        replay.remember(digest(number), ctime=NOW, now=NOW)
        if number == 100:
            started.set()


def test_worker_killed_while_writing_blocks_nobody(tmp_path: Path) -> None:
    """Locks die with their owner (fcntl), and what it left is readable."""
    geometry = ReplayGeometry(shards=1, chunks=64, buckets=256)
    for _ in range(3):
        started = SPAWN.Event()
        worker = SPAWN.Process(target=_remember_for_ever, args=(tmp_path, started))
        worker.start()
        assert started.wait(20)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(10)
        replay = memory(tmp_path, geometry=geometry)
        assert not replay.remember(digest(50), ctime=NOW, now=NOW)
        assert replay.remember(os.urandom(32), ctime=NOW, now=NOW)
        replay.close()
