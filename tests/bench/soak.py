"""Send many requests and watch what a worker keeps: memory and descriptors (row S07).

python -m tests.bench.soak --folder F [--requests 500000]

Requests are made on the other core while the server works, none twice: half of them logons by
password, a tenth requests without proof, the rest hostile: damaged ones, unknown names, junk, and
connections that break off. Growth counts from a warm-up of 20,000 names and 60,000 requests of the
same mix, which fills what a worker keeps: names, pages of the databases, its allocator's pools.
Only private memory counts: the files that all workers map are the same size from the first request
on. With --maps the mappings that grew are listed.
"""

import argparse
import os
import random
import socket
import time
from pathlib import Path

from tests.bench.load import Outcome, offer
from tests.bench.realm import descriptors, make_realm, private_mappings, resident_kib, serving
from tests.bench.requests import password_requests, plain_requests

BATCH = 10_000
WARM_UP_NAMES = 20_000
"""More than a worker remembers."""
WARM_UP_BATCHES = 6


def _batch(number: int, luck: random.Random) -> list[bytes]:
    good = password_requests(number // 2)
    plain = plain_requests(number // 10)
    unknown = [
        message
        for _ in range(number // 1000)
        for message in plain_requests(100, f"nobody{luck.randrange(10**9)}")
    ]
    damaged = []
    for message in luck.sample(good, number // 5):
        octets = bytearray(message)
        octets[luck.randrange(len(octets))] ^= 1 << luck.randrange(8)
        damaged.append(bytes(octets))
    junk = [luck.randbytes(luck.randrange(1, 1400)) for _ in range(number // 50)]
    out = [*good, *plain, *unknown, *damaged, *junk]
    luck.shuffle(out)
    return out


def _break_off(address: tuple[str, int], count: int) -> None:
    """Open connections and leave them in the middle of a message."""
    for _ in range(count):
        with socket.create_connection(address, 5) as sock:
            sock.send(b"\0\0\x10\0half a message")


def _send(address: tuple[str, int], messages: list[bytes]) -> tuple[Outcome, Outcome]:
    """Send half by UDP and half by TCP, then open connections that break off."""
    half = len(messages) // 2
    # Short, since what is dropped on purpose has no reply.
    udp = offer(address, messages[:half], window=64, timeout_s=0.2)
    tcp = offer(address, messages[half:], transport="tcp", window=32, timeout_s=2.0)
    _break_off(address, 20)
    return udp, tcp


def main() -> None:
    """Send, and print a line for every tenth of the requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--maps", action="store_true", help="list the mappings that grew")
    arguments = parser.parse_args()
    luck = random.Random(3)  # noqa: S311  damage that can be repeated
    make_realm(arguments.folder)
    with serving(arguments.folder, workers=arguments.workers) as server:
        names = (f"stranger{number}" for number in range(WARM_UP_NAMES))
        offer(server.address, [plain_requests(1, name)[0] for name in names], window=64)
        for _ in range(WARM_UP_BATCHES):
            _send(server.address, _batch(BATCH, luck))
        began, sent, step = time.monotonic(), 0, max(BATCH, arguments.requests // 10)
        warm = {pid: resident_kib(pid) for pid in server.workers()}
        maps = {pid: private_mappings(pid) for pid in server.workers()}
        while sent < arguments.requests:
            messages = _batch(BATCH, luck)
            udp, tcp = _send(server.address, messages)
            sent += len(messages)
            if sent % step < BATCH:
                time.sleep(0.2)
                sizes = {pid: resident_kib(pid) for pid in server.workers()}
                growth = {
                    pid: f"{size} KiB ({size / warm[pid] - 1:+.2%})"
                    if pid in warm
                    else f"{size} KiB (new worker)"
                    for pid, size in sizes.items()
                }
                files = [descriptors(pid) for pid in server.workers()]
                print(
                    f"{sent} requests, {time.monotonic() - began:.0f} s: {growth}, "
                    f"descriptors {files}, last batch {len(udp.tickets())} + "
                    f"{len(tcp.tickets())} tickets, {udp.ends()} {tcp.ends()}",
                    flush=True,
                )
                for pid in server.workers() if arguments.maps else ():
                    now, before = private_mappings(pid), maps.get(pid, {})
                    grown = {
                        place: size - before.get(place, 0)
                        for place, size in now.items()
                        if abs(size - before.get(place, 0)) >= 64
                    }
                    print(f"  {pid}: {grown}", flush=True)
                    maps[pid] = now
        print({name: count for name, count in server.counters().items() if count})
        os.truncate(arguments.folder / "audit.jsonl", 0)


if __name__ == "__main__":
    main()
