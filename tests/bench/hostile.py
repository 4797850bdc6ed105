"""What fifty hostile requests a second do to an honest client's logons.

python -m tests.bench.hostile --folder F [--kinds KIND ...] [--seconds 10]

One worker on core 0, all else on core 1. Twenty logons by key a second, alone and then beside
fifty requests a second of each kind; p99 must not double. The CPU time of the worker per hostile
request says the same with less noise.
"""

import argparse
import os
import secrets
import threading
from collections.abc import Callable
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

HONEST_RATE = 20.0
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


def _kinds(world: World) -> dict[str, Callable[[], bytes]]:
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
    kinds["wrong password"] = lambda: world.password(wrong=True).message()
    kinds["60 KB of junk"] = lambda: secrets.token_bytes(60_000)
    kinds["60 KB of junk with an AS-REQ's tag"] = lambda: b"\x6a" + secrets.token_bytes(60_000)
    kinds["no proof"] = lambda: plain_requests(1)[0]
    return kinds


def _measure(server: Server, users: KeyUsers, hostile: list[bytes], seconds: float) -> Outcome:
    """Offer honest logons, and hostile requests beside them."""
    honest = users.requests(int(seconds * HONEST_RATE))
    beside = threading.Thread(
        target=offer,
        args=(server.address, hostile),
        kwargs={"rate": HOSTILE_RATE, "timeout_s": 0.5},
    )
    beside.start()
    outcome = offer(server.address, honest, rate=HONEST_RATE)
    beside.join()
    return outcome


def main() -> None:
    """Measure and print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", default=[], help="parts of their names")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    make_realm(arguments.folder, settings="lockout_threshold = 0\n")
    users = KeyUsers(arguments.folder)
    with serving(arguments.folder, workers=1, cores={0}) as server:
        os.sched_setaffinity(0, {1})
        (worker,) = server.workers()
        offer(server.address, users.requests(100))
        began = cpu_s([worker])
        alone = _measure(server, users, [], arguments.seconds)
        base_s = cpu_s([worker]) - began
        print(f"alone: p50 {alone.latency_ms(0.5):.1f} p99 {alone.latency_ms(0.99):.1f} ms")
        for name, make in _kinds(_world(arguments.folder, server)).items():
            if arguments.kinds and not any(part in name for part in arguments.kinds):
                continue
            hostile = [make() for _ in range(int(arguments.seconds * HOSTILE_RATE))]
            began = cpu_s([worker])
            beside = _measure(server, users, hostile, arguments.seconds)
            cost_s = (cpu_s([worker]) - began - base_s) / len(hostile)
            print(
                f"{name}: {cost_s * 1000:.2f} ms of CPU each, {len(hostile[0])} octets; honest "
                f"{len(beside.tickets())}/{len(beside.requests)}, p50 {beside.latency_ms(0.5):.1f} "
                f"p99 {beside.latency_ms(0.99):.1f} ms",
                flush=True,
            )
        print({name: count for name, count in server.counters().items() if count})


if __name__ == "__main__":
    main()
