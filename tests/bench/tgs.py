"""Service tickets per second of a KDC's own processor time, beside MIT's krb5kdc, in turns.

    python -m tests.bench.tgs --folder F [--rounds 3] [--number 1500] [--tgts 1,300]

Each KDC is one process on core 0, this client on another; UDP, 16 outstanding. Every request is
distinct and made beforehand by the client of tests.negative, which shares no code with either;
every hundredth reply is opened. With `--tgts 1` one TGT gets all tickets, as one busy client would;
with more, requests take turns with so many TGTs, each got by a logon. Our server runs complete:
PAC with four signatures, replay and retransmit memory, audit record. MIT runs as Debian has it.
"""

import argparse
import contextlib
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import offer
from tests.bench.realm import PASSWORD, REALM, cpu_s, kdc, make_realm, serving
from tests.negative.engine import exchange, judge, run
from tests.negative.mit import served_by_mit
from tests.negative.wire.tgs import Held, TgsRequest, held
from tests.negative.wire.transport import send
from tests.negative.world import Person, World

KDC_CORE, CLIENT_CORE = 0, 1
TGS_REP_TAG = 0x6D
SAMPLE = 100
SERVICE = ("host", "web.lab.test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A KDC to measure."""

    name: str
    world: World
    pids: tuple[int, ...]
    """Whose processor time counts."""


@contextlib.contextmanager
def keytrust(folder: Path) -> Iterator[Rival]:
    """Serve a realm of ours by one worker on the KDC's core."""
    make_realm(folder, key_users=1)
    if not (folder / "tgs-bench").exists():
        kdc("service", "add", "/".join(SERVICE), "--state", str(folder))
        (folder / "tgs-bench").touch()
    with serving(folder, workers=1, cores={KDC_CORE}) as server:
        world = World(
            realm=REALM,
            netbios=None,
            address=server.address,
            people={"pat": Person(name="pat", password=PASSWORD)},
            service=SERVICE,
        )
        yield Rival(name="Keytrust", world=world, pids=tuple(server.workers()))


@contextlib.contextmanager
def mit(folder: Path) -> Iterator[Rival]:
    """Serve a realm of MIT's by one process on the KDC's core."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("principal*"):
        old.unlink()
    with served_by_mit(folder) as world:
        pid = os.getpid()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        (found,) = (p for p in children if Path(f"/proc/{p}/comm").read_text() == "krb5kdc\n")
        os.sched_setaffinity(int(found), {KDC_CORE})
        yield Rival(name="MIT", world=world, pids=(int(found),))


def _log_on(world: World, number: int) -> list[Held]:
    """Get TGTs; the key of the password is made once."""
    first = world.password("pat")
    out: list[Held] = []
    for _ in range(number):
        logon = world.password("pat") if not out else first
        logon.body = world.body(first.body.cname)
        logon.sealed = None
        got = run(world, exchange(logon), "udp")
        if got.ticket is None:
            raise SystemExit(f"no TGT: {got}")
        out.append(held(got.ticket, "pat"))
    return out


def _requests(world: World, tgts: list[Held], number: int) -> list[TgsRequest]:
    return [
        TgsRequest(
            body=world.body(None, sname=world.service_name()),
            owner="pat",
            held=tgts[index % len(tgts)],
        )
        for index in range(number)
    ]


def measure(rival: Rival, *, number: int, tgts: int) -> float:
    """Return tickets per second of the KDC's processor time."""
    world = rival.world
    held_tgts = _log_on(world, tgts)
    sample = _requests(world, held_tgts, max(1, number // SAMPLE))
    for one in sample:
        got = judge(world, one, send(world.address, one.message(), "udp"))
        if got.ticket is None:
            raise SystemExit(f"{rival.name}: no ticket: {got}")
    messages = [one.message() for one in _requests(world, held_tgts, number)]
    before = cpu_s(list(rival.pids))
    done = offer(world.address, messages)
    spent = cpu_s(list(rival.pids)) - before
    tickets = sum(one.tag == TGS_REP_TAG for one in done.requests)
    if tickets < number * 0.99:
        raise SystemExit(f"{rival.name}: {tickets} tickets for {number} requests: {done.ends()}")
    return tickets / spent


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=1500)
    parser.add_argument("--tgts", default="1,300", help="how many TGTs take turns, for each series")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {CLIENT_CORE})
    with (
        keytrust(options.folder / "keytrust") as ours,
        mit(options.folder / "mit") as theirs,
    ):
        for tgts in map(int, options.tgts.split(",")):
            rates: dict[str, list[float]] = {ours.name: [], theirs.name: []}
            for _ in range(options.rounds):
                for rival in (theirs, ours):
                    rates[rival.name].append(measure(rival, number=options.number, tgts=tgts))
            pairs = zip(rates[ours.name], rates[theirs.name], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{tgts} TGTs: ratio {ratio:.2f} (median of {options.rounds} rounds)")
            for name, found in rates.items():
                print(f"  {name:9} " + ", ".join(f"{rate:.0f}" for rate in found))
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
