"""Row A08: can names be told apart by how long the answer takes?

    python -m tests.bench.enumeration --count 10000

Runs the core in this process, on a store on disk, with `hide_unknown`, and measures the CPU time of
each answer: known with a password, known with a key only, disabled, smart card only, and unknown
names, in turn, so that whatever else the machine does hits all alike. What the wire adds is the
same for all. Prints medians in microseconds, and their distance from the median of unknown names.
With --cold no account and no name is in the worker's memory, as when each name is asked for once.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, permutations
from pathlib import Path

from directory.model import PrincipalKey
from kdc.outcome import Peer
from kdc.wire.constants import PaType
from kdc.wire.rfc4120 import KdcReqBody
from tests.kdc.builders import (
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    make_template,
    padata,
    password_keys,
    running_kdc,
)
from tests.pki import issued

KINDS = ("unknown", "password", "key only", "disabled", "smart card")
ORDERS = math.factorial(len(KINDS))
NAMES_OF_A_KIND = 64
"""Enough that none is always the last one looked at, few enough to be in the cache."""


def body(user: str, now: datetime) -> KdcReqBody:
    """Ask for a ticket of today."""
    nonce = int.from_bytes(os.urandom(4))
    return replace(body_for(user), till=now + timedelta(hours=8), rtime=None, nonce=nonce)


def plain(user: str, now: datetime) -> bytes:
    """No pre-authentication: 25."""
    return as_req(body(user, now))


def freshness(user: str, now: datetime) -> bytes:
    """Ask for a token: 25."""
    return as_req(body(user, now), padata(PaType.AS_FRESHNESS))


def wrong_password(user: str, now: datetime) -> bytes:
    """Guess: 24."""
    return as_req(body(user, now), enc_timestamp(WRONG, at=now))


def strangers_key(user: str, now: datetime) -> bytes:
    """Sign with a key of nobody's: 62."""
    request = PkinitRequest(body=body(user, now), signer=issued.hello("mallory"), ctime=now)
    return request.build().message


WRONG = PrincipalKey(etype=18, kvno=1, key=bytes(32))
QUESTIONS: dict[str, Callable[[str, datetime], bytes]] = {
    "25 plain": plain,
    "25 freshness": freshness,
    "24 wrong password": wrong_password,
    "62 stranger's key": strangers_key,
}


def name_of(kind: str, number: int) -> str:
    """Give a name; all have the same length."""
    return f"{kind[:3]}{number:05d}"


def populate(kdc: Kdc) -> None:
    """Add the accounts of each kind that exists."""
    keys = password_keys("pat")
    for number in range(NAMES_OF_A_KIND):
        for kind in KINDS[1:]:
            kdc.add_user(
                name_of(kind, number),
                keys=() if kind == "key only" else keys,
                disabled=kind == "disabled",
                smartcard_required=kind == "smart card",
            )


def measure(
    kdc: Kdc, question: Callable[[str, datetime], bytes], count: int, *, cold: bool = False
) -> dict[str, tuple[float, int]]:
    """Return each kind's median CPU time in microseconds and its code; `count` answers a kind."""
    times: dict[str, list[int]] = {kind: [] for kind in KINDS}
    codes: dict[str, set[int]] = {kind: set() for kind in KINDS}
    peer = Peer(address="192.0.2.7", port=40_000, transport="tcp")
    for kind, number in rounds(count):
        now = datetime.now(UTC).replace(microsecond=0)
        message = question(name_of(kind, number % NAMES_OF_A_KIND), now)
        if cold:
            kdc.store.forget()
            kdc.store.krbtgt()  # some request before this one needed it
        start = time.thread_time_ns()
        outcome = kdc.core.handle(message, peer, now)
        times[kind].append(time.thread_time_ns() - start)
        codes[kind].add(outcome.code)
    (code,) = set().union(*codes.values())
    return {kind: (statistics.median(times[kind]) / 1000, code) for kind in KINDS}


def rounds(count: int) -> Iterator[tuple[str, int]]:
    """Take the kinds in turn, each as often after every other one as before it."""
    for number in range(count):
        orders = permutations(KINDS)
        for kind in next(islice(orders, number % ORDERS, None)):
            yield kind, number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="answers of each kind")
    parser.add_argument("--cold", action="store_true", help="nothing in memory")
    parser.add_argument("--question", choices=list(QUESTIONS), action="append")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        template, work = Path(folder, "template"), Path(folder, "work")
        template.mkdir()
        work.mkdir()
        make_template(template)
        with running_kdc(template, work) as kdc:
            populate(kdc)
            # As where nobody is locked: every guess is a counted one.
            kdc.configure(hide_unknown=True, lockout_threshold=1000)
            for text in given.question or QUESTIONS:
                medians = measure(kdc, QUESTIONS[text], given.count, cold=given.cold)
                found[text] = {kind: round(us, 1) for kind, (us, _) in medians.items()}
                if not given.json:
                    show(text, found[text])
    if given.json:
        print(json.dumps(found, indent=2))


def show(text: str, medians: dict[str, float]) -> None:
    """Print one line for each kind."""
    print(text)
    for kind, us in medians.items():
        print(f"  {kind:12} {us:8.1f} us  {us - medians['unknown']:+8.1f}")


if __name__ == "__main__":
    main()
