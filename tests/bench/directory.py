"""What the size of a directory costs, and how long a change there takes to count at the KDC.

python -m tests.bench.directory --folder F [--accounts 100000] [--rounds 7] [--changes 100]

Two realms, each on a slapd of its own, one with 100 accounts and one with many; every account has a
registered key and is in a group. Printed are the first full load, a comparison of everything, the
memory of each process, logons a second of the worker's CPU time (the realms take turns), reads of
accounts that no worker has in memory, and for changes in the directory the time from the moment it
has answered the change until no worker decides by what was before.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

from directory.ldap.messages import Change, ModifyOp
from directory.ldap.write import KEY_CREDENTIALS, WritingConnection
from directory.sealing import MasterKey
from directory.store_read import StoreReader
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from tests.bench import directory_realm
from tests.bench.directory_realm import ACTIVE, Place, dn_of, key_text, name_of, public_key_of
from tests.bench.load import AS_REP_TAG
from tests.bench.realm import Server, resident_kib, serving
from tests.bench.requests import KeyUsers, plain_requests

SOCKETS: Final = 16
"""Each has a port of its own, and the kernel chooses a worker by it."""
SETTLED: Final = 2 * SOCKETS
"""So many answers in a row that know the change: every worker does."""
PREAUTH_REQUIRED: Final = 25
REVOKED: Final = 18
NOT_TRUSTED: Final = 62
TICKET: Final = 0


def _workers(server: Server, place: Place) -> list[int]:
    follower = place.follower()
    return [pid for pid in server.workers() if pid != follower]


# -- load and memory ---------------------------------------------------------------------------


def show_load(place: Place, accounts: int) -> None:
    """Print what the first load and a comparison of everything cost."""
    again = directory_realm.run("directory", "load", "--state", str(place.state))
    store = sum(path.stat().st_size for path in place.state.glob("store.sqlite*"))
    print(f"{accounts} accounts: slapadd of the LDIF {place.ldif_s:.0f} s, store {store >> 20} MiB")
    for what, cost in (("first load", place.first_load), ("everything compared", again)):
        print(
            f"  {what}: {cost.seconds:.1f} s, {cost.cpu_s:.1f} s of CPU time,"
            f" {cost.peak_mib:.0f} MiB at its peak"
        )


def show_memory(server: Server, place: Place, when: str) -> None:
    """Print the private memory of each process."""
    follower = place.follower()
    workers = ", ".join(f"{resident_kib(pid) / 1024:.1f}" for pid in _workers(server, place))
    print(f"  {when}: follower {resident_kib(follower) / 1024:.1f} MiB, workers {workers} MiB")


# -- rates -------------------------------------------------------------------------------------


def logons(place: Place, server: Server, count: int) -> float:
    """Return logons a second of the worker's CPU time."""
    (worker,) = _workers(server, place)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "kdc", "load", "as", "--state", str(place.state)),
            *("--kdc", f"{server.address[0]}:{server.address[1]}"),
            *("--keys", str(place.state / "keys"), "--closed", "8", "--count", str(count)),
            *("--kdc-pid", str(worker), "--sample", "10", "--json"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    if result["total"]["tickets"] != count:
        raise RuntimeError(f"not all got a ticket: {result['total']}")
    return float(result["kdc"]["tickets_per_cpu_s"])


def cold_reads_us(place: Place, accounts: int, number: int = 2000) -> float:
    """Return the median time to read an account that is not in memory."""
    master_key = MasterKey.load(place.state / "master.key")
    reader = StoreReader(place.state / "store.sqlite", master_key)
    chance = Random(7)  # noqa: S311  # which are read, hides nothing
    names = [name_of(chance.randrange(accounts)) for _ in range(number)]
    spans = []
    for name in names:
        reader.forget()
        began = time.perf_counter()
        found = reader.account_by_name(name)
        spans.append(time.perf_counter() - began)
        if found is None:
            raise RuntimeError(f"{name} is not in the store")
    reader.close()
    return 1e6 * statistics.median(spans)


# -- changes -----------------------------------------------------------------------------------


class Asker:
    """Sends requests from many ports in turn, so that each worker gets its share."""

    def __init__(self, server: Server) -> None:
        self._sockets: list[socket.socket] = []
        for _ in range(SOCKETS):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(server.address)
            sock.settimeout(5)
            self._sockets.append(sock)
        self._turns = cycle(self._sockets)

    def code(self, message: bytes) -> int:
        """Send a request; return the code of its answer, 0 for a ticket."""
        sock = next(self._turns)
        sock.send(message)
        reply = sock.recv(65535)
        if reply[0] == AS_REP_TAG:
            return TICKET
        return int(asn1.decode(KrbError, reply).error_code)

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()


def seconds_until(asker: Asker, requests: Iterable[bytes], code: int) -> float:
    """Ask until every worker answers with this code; return when the last other answer came."""
    began = last = time.monotonic()
    row = 0
    for message in requests:
        if asker.code(message) == code:
            row += 1
            if row == SETTLED:
                return last - began
        else:
            row, last = 0, time.monotonic()
    raise RuntimeError(f"not everybody answered {code} in {last - began:.1f} s")


def _replace(connection: WritingConnection, dn: str, attribute: str, value: str) -> None:
    connection.modify(dn, (Change(ModifyOp.REPLACE, attribute, (value.encode(),)),))


def disabled(place: Place, server: Server, changes: int) -> list[float]:
    """Disable and enable an account; return how long it took to count, in seconds."""
    name = next(iter(place.active))
    spans = []
    asker, connection = Asker(server), place.connect()
    for number in range(changes):
        value, code = ("512", PREAUTH_REQUIRED) if number % 2 else ("514", REVOKED)
        messages = plain_requests(5000, name)
        _replace(connection, dn_of(name), "userAccountControl", value)
        spans.append(seconds_until(asker, messages, code))
    _replace(connection, dn_of(name), "userAccountControl", "512")
    asker.close()
    connection.close()
    return spans


def removed(place: Place, server: Server, changes: int) -> tuple[list[float], int]:
    """Remove and add a key; return how long removals took, and how many first logons failed."""
    name, key = list(place.active.items())[1]
    value = key_text(public_key_of(key), name)
    only = Change(ModifyOp.DELETE, KEY_CREDENTIALS, ())
    back = Change(ModifyOp.ADD, KEY_CREDENTIALS, (value.encode(),))
    spans, failed = [], 0
    asker, connection = Asker(server), place.connect()
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.mkdir()
        (keys / f"{name}.key").write_bytes((place.state / "keys" / f"{name}.key").read_bytes())
        user = KeyUsers(Path(folder))
        for _ in range(changes):
            messages = user.requests(6 * SETTLED)
            connection.modify(dn_of(name), (only,))
            spans.append(seconds_until(asker, messages, NOT_TRUSTED))
            messages = user.requests(6 * SETTLED)
            # "Not registered" is kept for a second, so that nobody makes us ask all the time.
            time.sleep(1.1)
            connection.modify(dn_of(name), (back,))
            failed += asker.code(messages[0]) != TICKET
            seconds_until(asker, messages[1:], TICKET)
    asker.close()
    connection.close()
    return spans, failed


def _show(what: str, spans: list[float]) -> None:
    ms = sorted(1000 * span for span in spans)
    print(
        f"  {what}: median {statistics.median(ms):.1f} ms, p90 {ms[int(0.9 * len(ms))]:.1f} ms,"
        f" longest {ms[-1]:.1f} ms ({len(ms)} changes)"
    )


# -- all of it ---------------------------------------------------------------------------------


def _compare(places: dict[int, Place], rounds: int, count: int) -> None:
    """Print load, memory and rates of both sizes."""
    rates: dict[int, list[float]] = {size: [] for size in places}
    with ExitStack() as running:
        servers = {}
        for size, place in places.items():
            show_load(place, size)
            servers[size] = running.enter_context(serving(place.state, workers=1, cores={1}))
            time.sleep(3)
            show_memory(servers[size], place, "memory after start")
        for _ in range(rounds):
            for size, place in places.items():
                rates[size].append(logons(place, servers[size], count))
        for size, place in places.items():
            print(f"{size} accounts: " + ", ".join(f"{rate:.0f}" for rate in rates[size]))
            show_memory(servers[size], place, "memory after the logons")
            print(f"  account not in memory: {cold_reads_us(place, size):.0f} us")
    small, large = sorted(places)
    pairs = zip(rates[large], rates[small], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"logons with {large} accounts against {small}: {ratio:.3f} (median of pairs)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=1500, help="logons a round")
    parser.add_argument("--changes", type=int, default=100)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a text stream
    keys = directory_realm.private_keys(options.folder / "private")
    with ExitStack() as stack:
        places = {}
        for size in (ACTIVE, options.accounts):
            places[size] = directory_realm.make(options.folder / str(size), size, keys)
            stack.callback(places[size].server.stop)
        _compare(places, options.rounds, options.count)
        place = places[options.accounts]
        with serving(place.state, workers=2) as server:
            time.sleep(3)
            print(f"changes among {options.accounts} accounts, two workers:")
            _show("an account disabled or enabled", disabled(place, server, options.changes))
            spans, failed = removed(place, server, options.changes)
            _show("a key removed", spans)
            print(f"  a key added: {failed} of {len(spans)} first logons failed")


if __name__ == "__main__":
    main()
