"""The directory is away, or says nothing, while people log on (rows L01, L02).

python -m tests.bench.outage --folder F [--seconds 60] [--how stopped|frozen] [--rate 60]

`kdc load` logs on users whom the store has, all the time. Beside it names that nobody has are asked
for, as many as come. After the directory's return an account is added there: that it can log on is
full service.
"""

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from kdc.wire.rfc4120 import KrbError
from pki import asn1
from tests.bench import directory_realm
from tests.bench.directory_realm import Place, dn_of, name_of
from tests.bench.load import AS_REP_TAG
from tests.bench.realm import Server, serving
from tests.bench.requests import plain_requests
from tests.rig.slapd import person

How = Literal["stopped", "frozen"]
PREAUTH_REQUIRED: Final = 25
REVOKED: Final = 18
UNAVAILABLE: Final = 29
ASK_EVERY_S: Final = 0.25
BEFORE_S: Final = 3.0
AFTER_S: Final = 5.0
LAST_RID: Final = 900_000
_NO_ANSWER: Final = -1
_WAIT_S: Final = 10.0
_BEGIN_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question for one name: when (monotonic), how long it took, and the code."""

    at: float
    seconds: float
    code: int


@dataclass(slots=True, kw_only=True)
class Outage:
    """What came of it."""

    known: dict[str, float]
    """`total` of `kdc load --json`: requests, tickets, errors_percent ..."""
    latency_ms: dict[str, float]
    unknown: list[Asked]
    """During the outage, but for its first moment: until the loss is noticed."""
    back_s: float
    """From the directory's return until a new account and a changed one count."""
    windows: list[dict[str, float]] = field(repr=False)

    @property
    def share(self) -> float:
        """Of the known users' requests, those that got a ticket."""
        return self.known["tickets"] / self.known["requests"]

    @property
    def codes(self) -> dict[int, int]:
        """How often unknown names were told what."""
        codes = [asked.code for asked in self.unknown]
        return {code: codes.count(code) for code in sorted(set(codes))}

    @property
    def longest_s(self) -> float:
        """The longest that an unknown name waited."""
        return max(asked.seconds for asked in self.unknown)


def ask(server: Server, name: str) -> Asked:
    """Ask for a name without proof."""
    (message,) = plain_requests(1, name)
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_WAIT_S)
        sock.connect(server.address)
        sock.send(message)
        try:
            reply = sock.recv(65535)
        except TimeoutError:
            return Asked(at=began, seconds=_WAIT_S, code=_NO_ANSWER)
    code = 0 if reply[0] == AS_REP_TAG else int(asn1.decode(KrbError, reply).error_code)
    return Asked(at=began, seconds=time.monotonic() - began, code=code)


class _Strangers(threading.Thread):
    """Asks for names that nobody has, a new one each time."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._end = threading.Event()
        self.asked: list[Asked] = []

    def run(self) -> None:
        """Ask until told to stop."""
        number = 0
        while not self._end.wait(ASK_EVERY_S):
            number += 1
            self.asked.append(ask(self._server, f"stranger{number}"))

    def stop(self) -> None:
        """Stop asking."""
        self._end.set()
        self.join()


def outage(place: Place, server: Server, *, seconds: float, how: How, rate: float) -> Outage:
    """Take the directory away under load, and give it back."""
    audit = place.state / "audit.jsonl"
    before = audit.stat().st_size if audit.exists() else 0
    duration = BEFORE_S + seconds + AFTER_S
    load = subprocess.Popen(
        [
            *(sys.executable, "-m", "kdc", "load", "as", "--state", str(place.state)),
            *("--kdc", f"{server.address[0]}:{server.address[1]}"),
            *("--keys", str(place.state / "keys"), "--rate", str(rate)),
            *("--duration", f"{duration:.0f}s", "--sample", "20", "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    strangers = _Strangers(server)
    try:
        _wait_for_load(load, audit, before)
        strangers.start()
        time.sleep(BEFORE_S)
        (place.server.stop if how == "stopped" else place.server.freeze)()
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
        (place.server.start if how == "stopped" else place.server.thaw)()
        back_s = _full_service(place, server)
        strangers.stop()
        out, _ = load.communicate(timeout=duration + _BEGIN_S)
    except BaseException:
        load.kill()
        load.wait()
        raise
    result = json.loads(out)
    total = result["total"]
    return Outage(
        known={name: float(total[name]) for name in ("requests", "tickets", "errors_percent")},
        latency_ms=total["latency_ms"],
        unknown=[one for one in strangers.asked if began <= one.at <= ended - _WAIT_S / 2],
        back_s=back_s,
        windows=result["windows"],
    )


def _wait_for_load(load: "subprocess.Popen[str]", audit: Path, before: int) -> None:
    """Requests are made first, and only then sent."""
    end = time.monotonic() + _BEGIN_S
    while not audit.exists() or audit.stat().st_size <= before:
        if load.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the load did not begin")
        time.sleep(0.02)


def _full_service(place: Place, server: Server) -> float:
    """Add an account and disable another as soon as the directory takes it; wait until both count.

    The first is asked for when somebody comes; of the second only the followed changes tell.
    """
    began = time.monotonic()
    new, old = f"new{time.monotonic_ns()}", name_of(1)
    place.server.add(person(new, LAST_RID))
    place.server.change(dn_of(old), "replace", "userAccountControl", "514")
    for name, code in ((new, PREAUTH_REQUIRED), (old, REVOKED)):
        while ask(server, name).code != code:
            time.sleep(0.02)
            if time.monotonic() - began > _BEGIN_S:
                raise RuntimeError("no full service after the directory's return")
    spent = time.monotonic() - began
    place.server.delete(dn_of(new))
    place.server.change(dn_of(old), "replace", "userAccountControl", "512")
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--how", choices=("stopped", "frozen"), action="append")
    parser.add_argument("--rate", type=float, default=60.0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    keys = directory_realm.private_keys(options.folder / "private", 20)
    place = directory_realm.make(options.folder / "place", 100, keys)
    try:
        with serving(place.state, workers=2) as server:
            time.sleep(2)
            for how in options.how or ("stopped", "frozen"):
                found = outage(place, server, seconds=options.seconds, how=how, rate=options.rate)
                print(
                    f"{how} for {options.seconds:.0f} s: {found.known['tickets']:.0f} of"
                    f" {found.known['requests']:.0f} known users got a ticket ({found.share:.2%}),"
                    f" p50 {found.latency_ms['p50']:.1f} ms, p99 {found.latency_ms['p99']:.1f} ms;"
                    f" {len(found.unknown)} unknown names were told {found.codes} within"
                    f" {found.longest_s:.2f} s; full service {found.back_s:.2f} s after the return"
                )
    finally:
        place.server.stop()


if __name__ == "__main__":
    main()
