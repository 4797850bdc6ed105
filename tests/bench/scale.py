"""What the number of accounts costs: `python -m tests.bench.scale --folder F [--accounts 1000000]`.

Two realms with the same 500 users with keys, of 1,000 and of so many accounts, each served by one
worker on core 0, the load on core 1. Measured are, in this order: `kdc user bulk-add` of 100,000
accounts by the clock (keys come from a pool of primes, whose making is measured by a run that adds
one user, and taken off), the size of the store, the time from the start to the ready line, the
worker's private memory before and after requests for names at random, and logons by key in turn.
The realms are kept in F.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.bench.load import offer
from tests.bench.realm import Server, cpu_s, kdc, make_realm, resident_kib, serving
from tests.bench.requests import KeyUsers, plain_requests_for

KEY_USERS: Final = 500
SMALL: Final = 1000
BATCH: Final = 200
"""Logons of one turn: short, so that what else the machine does meets both alike."""
_BATCH: Final = 100_000
_POOL: Final = 450
"""Primes: enough for the keys of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a realm of some size needs."""

    accounts: int
    store_mb: float
    start_s: float
    """From the start of `kdc serve` to its ready line."""
    private_mib: float
    """Of the worker, after its start."""
    private_after_mib: float
    """After requests for names at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What was measured."""

    bulk_per_s: float
    """Accounts per second by the clock."""
    small: Size
    large: Size
    ratios: list[float]
    """Logons per second of processor time, large to small, by rounds."""


def _bulk_add(folder: Path, prefix: str, count: int) -> float:
    """Add users without key files, with keys from a pool; return the seconds it took."""
    began = time.monotonic()
    kdc(
        *("user", "bulk-add", "--prefix", prefix, "--count", str(count)),
        *("--key-pool", str(_POOL), "--state", str(folder)),
    )
    return time.monotonic() - began


def _crowd(accounts: int) -> list[tuple[str, int]]:
    """Return (prefix, count) of the batches in which a crowd is added."""
    left = accounts - KEY_USERS
    out: list[tuple[str, int]] = []
    while left > 0:
        out.append((f"crowd{len(out):02d}-", min(left, _BATCH)))
        left -= out[-1][1]
    return out


def _make(folder: Path, accounts: int) -> None:
    """Make a realm of so many accounts. One that was left half made is finished."""
    make_realm(folder, key_users=KEY_USERS)
    done = folder / "batches"
    done.touch()
    for prefix, count in _crowd(accounts):
        if prefix not in done.read_text().split():
            _bulk_add(folder, prefix, count)
            with done.open("a") as file:
                file.write(prefix + "\n")


def _bulk_rate(folder: Path) -> float:
    """Add a batch of accounts to a new realm; return how many a second, by the clock."""
    shutil.rmtree(folder, ignore_errors=True)
    make_realm(folder, key_users=1)
    primes = _bulk_add(folder, "one", 1)
    return _BATCH / (_bulk_add(folder, "crowd", _BATCH) - primes)


def _names(accounts: int, number: int) -> list[str]:
    """Draw names of the crowd."""
    crowd = _crowd(accounts)
    draw = random.Random(8)  # noqa: S311  # the same names each time
    out = []
    for _ in range(number):
        prefix, count = draw.choices(crowd, [count for _, count in crowd])[0]
        out.append(f"{prefix}{draw.randrange(count):0{max(4, len(str(count - 1)))}d}")
    return out


def _size(folder: Path, accounts: int, questions: int) -> Size:
    began = time.monotonic()
    with serving(folder, workers=1, cores={0}) as server:
        start_s = time.monotonic() - began
        (pid,) = server.workers()
        time.sleep(0.5)
        before = resident_kib(pid)
        outcome = offer(server.address, plain_requests_for(_names(accounts, questions)))
        if len(outcome.lost()) > questions / 100:
            raise SystemExit(f"not all were answered: {outcome.ends()}")
        return Size(
            accounts=accounts,
            store_mb=sum(path.stat().st_size for path in folder.glob("store.sqlite*")) / 1e6,
            start_s=round(start_s, 2),
            private_mib=round(before / 1024, 1),
            private_after_mib=round(resident_kib(pid) / 1024, 1),
        )


def _rate(server: Server, messages: list[bytes]) -> float:
    pids = server.workers()
    before = cpu_s(pids)
    outcome = offer(server.address, messages)
    if len(outcome.tickets()) < 0.99 * len(messages):
        raise SystemExit(f"not all got tickets: {outcome.ends()}")
    return len(outcome.tickets()) / (cpu_s(pids) - before)


def measure(folder: Path, *, accounts: int, rounds: int, questions: int = 30_000) -> Scale:
    """Measure both realms, making them where they are not there yet."""
    folders = {SMALL: folder / "small", accounts: folder / f"large{accounts}"}
    for size, path in folders.items():
        _make(path, size)
    bulk = _bulk_rate(folder / "bulk")
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    small, large = (_size(path, size, questions) for size, path in folders.items())
    users = {size: KeyUsers(path) for size, path in folders.items()}
    ratios = []
    with (
        serving(folders[SMALL], workers=1, cores={0}) as few,
        serving(folders[accounts], workers=1, cores={0}) as many,
    ):
        servers = {SMALL: few, accounts: many}
        for size, server in servers.items():
            _rate(server, users[size].requests(KEY_USERS))
        for turn in range(rounds):
            order = list(servers) if turn % 2 == 0 else list(reversed(servers))
            rates = {size: _rate(servers[size], users[size].requests(BATCH)) for size in order}
            ratios.append(rates[accounts] / rates[SMALL])
    return Scale(bulk_per_s=bulk, small=small, large=large, ratios=ratios)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    found = measure(options.folder, accounts=options.accounts, rounds=options.rounds)
    if options.json:
        print(json.dumps(asdict(found), indent=1))
        return 0
    print(f"bulk-add: {found.bulk_per_s:.0f} accounts a second by the clock")
    for size in (found.small, found.large):
        print(size)
    quarters = ", ".join(f"{part:.3f}" for part in statistics.quantiles(found.ratios, n=4))
    print(f"logons, large to small, quartiles of {len(found.ratios)} pairs: {quarters}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
