"""What fifty hostile requests a second do to an honest client's logons.

python -m tests.bench.hostile --folder F [--kinds PART ...] [--rounds 9] [--seconds 2] [--json]

One worker on core 0, all else on core 1. Two figures for each kind:

1. The CPU time that the worker spends on one such request, from --count of them alone; what other
   programs do hardly moves it. A logon by key (P-256) is measured the same way, to compare.
2. p99 of honest logons by key, --rate a second. Windows with and without fifty hostile requests a
   second take turns, in both orders, so that a slow machine is slow for both; printed is the median
   over the rounds of p99 beside / p99 alone. It must stay under 2.
"""

import argparse
import json
import math
import os
import secrets
import statistics
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

import tests.negative.cases  # noqa: F401  registers the cases
from pki.ca import private_key_from_pem
from tests.bench.load import Outcome, offer
from tests.bench.realm import REALM, Server, cpu_s, make_realm, serving
from tests.bench.requests import KeyUsers, plain_requests
from tests.negative.engine import CASES, exchange
from tests.negative.wire.certificate import Certificate
from tests.negative.wire.groups import Modp, modp_prime
from tests.negative.wire.keys import RsaKey, new_rsa, rsa_of
from tests.negative.wire.logon import AuthPack, Identity
from tests.negative.world import Person, World

HOSTILE_RATE = 50.0

ROWS = (
    "P13.rsa_16384",
    "P13.exponent_huge",
    "D01.modp_8192",
    "D06.p_16384_bits",
    "D06.p_and_y_16384_bits",
    "D08.60_KB",
    "E04.nested_20000",
    "E04.nested_in_padata",
    "E04.padata_5000",
    "E04.etypes_3000",
    "E04.nonce_60_KB",
    "N06.60_KB",
)
"""Cases of the negative rows that ask for much work."""


def _identity(key: RsaKey, name: str) -> Identity:
    return Identity(key=key, certificate=Certificate(key=key, subject=name).encode())


def _world(folder: Path, server: Server) -> World:
    path = min((folder / "keys").glob("*.key"))
    key = private_key_from_pem(path.read_bytes())
    if not isinstance(key, RSAPrivateKey):
        raise TypeError(f"{path} is no RSA key")
    numbers = key.private_numbers()
    registered = RsaKey(n=numbers.public_numbers.n, e=numbers.public_numbers.e, d=numbers.d)
    alice = Person(name=path.stem, identity=_identity(registered, path.stem))
    return World(
        realm=REALM,
        netbios=None,
        address=server.address,
        people={"alice": alice, "pat": Person(name="pat", password="wrong")},  # noqa: S106
        spare=lambda name: _identity(new_rsa(), name),
    )


def _of_row(case_id: str, world: World) -> bytes:
    made = exchange(CASES[case_id].build(world))
    return made.message(made.logon.message())


def _kinds(world: World, folder: Path) -> dict[str, Callable[[], bytes]]:
    kinds: dict[str, Callable[[], bytes]] = {
        name: lambda name=name: _of_row(name, world)  # type: ignore[misc]  # bound now, not later
        for name in ROWS
    }
    largest = _identity(rsa_of(4096, 65537), "stranger")
    group16 = Modp(p=modp_prime(4096))
    group16.y = pow(2, group16.x, group16.p)
    kinds["unregistered RSA-4096 key, signature right"] = lambda: world.pkinit(by=largest).message()

    def insider() -> bytes:
        logon = world.pkinit()
        logon.auth = AuthPack(agreement=group16)
        return logon.message()

    kinds["registered key, group 16: an honest logon"] = insider
    for group, text in (("modp14", "group 14"), ("p384", "P-384"), ("p521", "P-521")):
        users = KeyUsers(folder, group=group)
        kinds[f"registered key, {text}: an honest logon"] = (
            lambda users=users: users.requests(1)[0]  # type: ignore[misc]  # bound now, not later
        )
    kinds["wrong password"] = lambda: world.password(wrong=True).message()
    kinds["60 KB of junk"] = lambda: secrets.token_bytes(60_000)
    kinds["60 KB of junk with an AS-REQ's tag"] = lambda: b"\x6a" + secrets.token_bytes(60_000)
    kinds["no proof"] = lambda: plain_requests(1)[0]
    return kinds


def _cost_ms(server: Server, messages: list[bytes]) -> float:
    """Return the worker's CPU time for one of these messages in milliseconds."""
    began = cpu_s(server.workers())
    offer(server.address, messages, window=4, timeout_s=0.5)
    return 1000 * (cpu_s(server.workers()) - began) / len(messages)


def _window(server: Server, honest: list[bytes], hostile: list[bytes], rate: float) -> Outcome:
    """Offer honest logons, and hostile requests beside them."""
    beside = threading.Thread(
        target=offer,
        args=(server.address, hostile),
        kwargs={"rate": HOSTILE_RATE, "timeout_s": 0.5},
    )
    beside.start()
    outcome = offer(server.address, honest, rate=rate)
    beside.join()
    return outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a kind of request does."""

    kind: str
    octets: int
    cpu_ms: float
    """Of the worker, for one."""
    p99_alone_ms: float
    p99_beside_ms: float
    ratio: float
    """The median of the rounds' ratios, not the ratio of the medians above."""
    answered: float
    """The share of the honest logons beside it that got a ticket."""


def _figures(
    server: Server,
    users: KeyUsers,
    kind: str,
    make: Callable[[], bytes],
    arguments: argparse.Namespace,
) -> Figures:
    cost = _cost_ms(server, [make() for _ in range(arguments.count)])
    alone: list[float] = []
    beside: list[float] = []
    tickets = 0
    for number in range(arguments.rounds):
        for hostile in (False, True) if number % 2 else (True, False):
            honest = users.requests(int(arguments.rate * arguments.seconds))
            many = int(HOSTILE_RATE * arguments.seconds) if hostile else 0
            outcome = _window(server, honest, [make() for _ in range(many)], arguments.rate)
            (beside if hostile else alone).append(outcome.latency_ms(0.99))
            tickets += len(outcome.tickets()) if hostile else 0
    ratios = [one / other for one, other in zip(beside, alone, strict=True)]
    offered = arguments.rounds * int(arguments.rate * arguments.seconds)
    return Figures(
        kind=kind,
        octets=len(make()),
        cpu_ms=cost,
        p99_alone_ms=_median(alone),
        p99_beside_ms=_median(beside),
        ratio=_median(ratios),
        answered=tickets / offered if offered else math.nan,
    )


def _median(figures: list[float]) -> float:
    return statistics.median(figures) if figures else math.nan


def main() -> None:
    """Measure and print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", default=[], help="parts of their names")
    parser.add_argument("--rounds", type=int, default=9, help="0: CPU times only")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each window")
    parser.add_argument("--rate", type=float, default=50.0, help="honest logons a second")
    parser.add_argument("--count", type=int, default=200, help="requests whose CPU time is taken")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    arguments = parser.parse_args()
    make_realm(arguments.folder, settings="lockout_threshold = 0\n")
    users = KeyUsers(arguments.folder)
    with serving(arguments.folder, workers=1, cores={0}) as server:
        os.sched_setaffinity(0, {1})
        offer(server.address, users.requests(200))
        kinds: dict[str, Callable[[], bytes]] = {
            "an honest logon by key, P-256": lambda: users.requests(1)[0]
        }
        kinds |= _kinds(_world(arguments.folder, server), arguments.folder)
        for name, make in kinds.items():
            if arguments.kinds and not any(part in name for part in arguments.kinds):
                continue
            found = _figures(server, users, name, make, arguments)
            if arguments.json:
                print(json.dumps(asdict(found)), flush=True)
                continue
            print(
                f"{name}: {found.cpu_ms:.2f} ms of CPU, {found.octets} octets; honest p99 "
                f"{found.p99_alone_ms:.1f} -> {found.p99_beside_ms:.1f} ms, ratio "
                f"{found.ratio:.2f}, {found.answered:.1%} answered",
                flush=True,
            )
        print({name: count for name, count in server.counters().items() if count})


if __name__ == "__main__":
    main()
