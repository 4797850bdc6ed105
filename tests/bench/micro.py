"""What one request costs a worker, in its own processor time, without sockets: where to look next.

    python -m tests.bench.micro --folder F [--work p256] [--number 600] [--stages] [--profile 40]

`handle()` of the real worker's handler is called in this process: store, memories, PAC and all;
only socket, audit record and event loop are missing. Medians of rounds of 100, in microseconds.
--stages: of each stage of a request, as the metrics name them, the third decile over all requests.
"""

import argparse
import cProfile
import pstats
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from kdc.exchange.stages import Untimed
from kdc.outcome import Peer
from kdc.server.build import RealmHandler
from tests.bench.realm import kdc, make_realm
from tests.bench.requests import KeyUsers, password_requests, plain_requests, tgs_requests

ROUND = 100
ALL_WORK = "plain,password,p256,p256+nonce,modp14,modp14+nonce,tgs,tgs+new"
PEER = Peer(address="127.0.0.1", port=40000, transport="udp")


def requests_of(handler: RealmHandler, folder: Path, work: str, number: int) -> list[bytes]:
    """Make requests of one kind: plain, password, or a group, with +nonce for clientDHNonce.

    Or tgs: service tickets with one TGT; tgs+new: each with a TGT of its own.
    """
    if work.startswith("tgs"):
        tgts = number if work == "tgs+new" else 1
        return tgs_requests(lambda m: answer(handler, m), number, tgts)
    if work == "plain":
        return plain_requests(number)
    if work == "password":
        return password_requests(number)
    group, _, nonce = work.partition("+")
    return KeyUsers(folder, group=group, dh_nonce=bool(nonce)).requests(number)


class StageTimes:
    """Takes the processor time of each stage of one request after the other."""

    def __init__(self) -> None:
        self.requests: list[dict[str, float]] = []
        self._stage, self._since = "", 0

    def begin(self) -> None:
        """Begin a request, as the server does."""
        self.requests.append({})
        self._stage, self._since = "decode", time.thread_time_ns()

    def enter(self, stage: str) -> None:
        """End the stage that runs and start another."""
        now = time.thread_time_ns()
        if self.requests:
            last = self.requests[-1]
            last[self._stage] = last.get(self._stage, 0) + (now - self._since) / 1000
        self._stage, self._since = stage, time.thread_time_ns()

    def table(self) -> dict[str, float]:
        """Return stage -> third decile in microseconds."""
        times: dict[str, list[float]] = {}
        for request in self.requests:
            for stage, spent in request.items():
                times.setdefault(stage, []).append(spent)
        return {stage: sorted(spent)[len(spent) * 3 // 10] for stage, spent in times.items()}


def print_stages(handler: RealmHandler, messages: list[bytes]) -> None:
    """Answer messages and print what each stage took."""
    times = StageTimes()
    handler.time_stages(times)
    for message in messages:
        times.begin()
        handler.handle(message, PEER, datetime.now(UTC))
        times.enter("")
    handler.time_stages(Untimed())
    for stage, spent in times.table().items():
        print(f"    {stage:16} {spent:6.0f}")


def answer(handler: RealmHandler, message: bytes) -> bytes:
    """Return the reply to a message."""
    return handler.handle(message, PEER, datetime.now(UTC)).reply or b""


def costs_us(handler: RealmHandler, messages: list[bytes]) -> list[float]:
    """Return the processor time of a request, the mean of each round."""
    out = []
    for start in range(0, len(messages) - ROUND + 1, ROUND):
        part = messages[start : start + ROUND]
        began = time.thread_time()
        for message in part:
            handler.handle(message, PEER, datetime.now(UTC))
        out.append((time.thread_time() - began) / len(part) * 1e6)
    return out


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--work", default=ALL_WORK)
    parser.add_argument("--number", type=int, default=600)
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--profile", type=int, default=0, help="lines of a profile to print")
    parser.add_argument("--sort", default="tottime")
    options = parser.parse_args()
    make_realm(options.folder)
    if not (options.folder / "micro").exists():
        kdc("service", "add", "host/web.lab.test", "--state", str(options.folder))
        (options.folder / "micro").touch()
    handler = RealmHandler(options.folder)
    for work in options.work.split(","):
        messages = requests_of(handler, options.folder, work, options.number)
        outcomes = [handler.handle(m, PEER, datetime.now(UTC)) for m in messages[:ROUND]]
        if work != "plain" and any(outcome.code for outcome in outcomes):
            print(f"{work}: refused: {outcomes[0].why}", file=sys.stderr)
            return 1
        found = costs_us(handler, messages[ROUND:])
        print(f"{work:14} {statistics.median(found):8.0f} us  (best {min(found):.0f})")
        if options.stages:
            print_stages(handler, requests_of(handler, options.folder, work, options.number))
        if options.profile:
            profile = cProfile.Profile(time.thread_time)
            extra = requests_of(handler, options.folder, work, 200)
            profile.enable()
            for message in extra:
                handler.handle(message, PEER, datetime.now(UTC))
            profile.disable()
            pstats.Stats(profile).sort_stats(options.sort).print_stats(options.profile)
    handler.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
