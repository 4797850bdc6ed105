"""Send many requests and watch what a worker keeps: memory and descriptors (row S07).

python -m tests.bench.soak --folder F [--requests 500000]

Requests are made on the other core while the server works, none twice: half of them logons by
password, a tenth requests without proof, the rest hostile: damaged ones, unknown names, junk, and
connections that break off. Growth counts from a warm-up that fills the worker's caches: those of
names and of the databases' pages.
"""

import argparse
import os
import random
import socket
import time
from pathlib import Path

from tests.bench.load import offer
from tests.bench.realm import descriptors, make_realm, resident_kib, serving
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


def main() -> None:
    """Send, and print a line for every tenth of the requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    luck = random.Random(3)  # noqa: S311  damage that can be repeated
    make_realm(arguments.folder)
    with serving(arguments.folder, workers=arguments.workers) as server:
        names = (f"stranger{number}" for number in range(WARM_UP_NAMES))
        offer(server.address, [plain_requests(1, name)[0] for name in names], window=64)
        for _ in range(WARM_UP_BATCHES):
            offer(server.address, _batch(BATCH, luck), transport="tcp", window=32)
        began, sent, step = time.monotonic(), 0, max(BATCH, arguments.requests // 10)
        warm = {pid: resident_kib(pid) for pid in server.workers()}
        while sent < arguments.requests:
            messages = _batch(BATCH, luck)
            half = len(messages) // 2
            # Short, since what is dropped on purpose has no reply.
            udp = offer(server.address, messages[:half], window=64, timeout_s=0.2)
            tcp = offer(server.address, messages[half:], transport="tcp", window=32, timeout_s=2.0)
            _break_off(server.address, 20)
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
        print({name: count for name, count in server.counters().items() if count})
        os.truncate(arguments.folder / "audit.jsonl", 0)


if __name__ == "__main__":
    main()
