"""Kill the tenant with SIGKILL while clients register devices and keys; look at what is left.

The long run: python -m tests.rig.tenant_kills --rounds 200
"""

import argparse
import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from tenant.client import windows
from tenant.client.https import LogonError, Place
from tenant.client.windows import Device
from tenant.services import utc_now
from tenant.state import devices, keys
from tenant.state.database import Database
from tests.rig.realm import make_realm
from tests.rig.tenant import LiveTenant, make_tenant

PASSWORD = "Immer-wieder-neu-7"  # noqa: S105  of a tenant that lives as long as the test
POOL = 12
"""Keys of each kind a round; a round registers fewer."""
MAX_LIFE_S = 0.4
"""Of a server under load: in it some ten registrations are made."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run did and found."""

    rounds: int = 0
    acknowledged_devices: int = 0
    acknowledged_keys: int = 0
    unacknowledged: int = 0
    """Written whole, but killed before the answer: allowed, and shows that kills hit the middle."""
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Site:
    """A tenant with one user, a device of the user's, and a token to register keys on it."""

    tenant: LiveTenant
    place: Place
    join_token: str = field(repr=False)
    key_token: str = field(repr=False)
    base: Device
    device_keys: Sequence[rsa.RSAPrivateKey] = field(repr=False)
    hello_keys: Sequence[rsa.RSAPrivateKey] = field(repr=False)


def make_site(folder: Path) -> Site:
    """Make the tenant; its server is left running."""
    live = make_realm(folder / "kdc")
    tenant = make_tenant(folder / "tenant", live.state)
    toml = tenant.state / "tenant.toml"
    toml.write_text(toml.read_text() + "mfa_freshness_s = 86400\naccess_token_life_s = 86400\n")
    tenant.tenant("user", "add", "kim", "--password-stdin", "--mfa", "assumed", stdin=PASSWORD)
    tenant.start()
    place = Place(address="127.0.0.1", port=tenant.https_port, ca_bundle=tenant.ca)
    token = windows.password_token(place, "kim@lab.test", PASSWORD)
    base = windows.join(place, token, "base", "lab.test", windows.new_key())
    prt = windows.prt_by_password(place, base, "kim@lab.test", PASSWORD)
    return Site(
        tenant=tenant,
        place=place,
        join_token=token,
        key_token=windows.use_prt(place, prt, windows.DRS, utc_now()),
        base=base,
        device_keys=[windows.new_key() for _ in range(POOL)],
        hello_keys=[windows.new_key() for _ in range(POOL)],
    )


def _until_killed(acts: Iterator[Callable[[], str]], acknowledged: list[str]) -> None:
    """Do one thing after the other until the server is gone."""
    for act in acts:
        try:
            acknowledged.append(act())
        except LogonError as error:
            if "does not answer" not in error.what:
                raise
            return


def one_round(site: Site, tally: Tally, random_: random.Random) -> None:
    """Register until the kill, then look, then clean up for the next one."""
    joined: list[str] = []
    registered: list[str] = []
    joins = (
        lambda key=key, n=n: (
            windows.join(site.place, site.join_token, f"pc{n}", "lab.test", key).device_id
        )
        for n, key in enumerate(site.device_keys)
    )
    registrations = (
        lambda key=key: windows.register_key(site.place, site.key_token, key)
        for key in site.hello_keys
    )
    with ThreadPoolExecutor() as pool:
        clients = (
            pool.submit(_until_killed, joins, joined),
            pool.submit(_until_killed, registrations, registered),
        )
        time.sleep(random_.uniform(0.02, MAX_LIFE_S))
        site.tenant.kill()
    for client in clients:
        client.result()  # a refusal is an error
    tally.rounds += 1
    tally.acknowledged_devices += len(joined)
    tally.acknowledged_keys += len(registered)
    _look(site, tally, set(joined), set(registered))
    site.tenant.start()


def _look(site: Site, tally: Tally, joined: set[str], registered: set[str]) -> None:
    """Compare what was acknowledged with what is there, and that with itself."""
    path = site.tenant.state / "tenant.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as plain:
        for pragma in ("integrity_check", "foreign_key_check"):
            found = plain.execute(f"PRAGMA {pragma}").fetchall()
            if found not in ([("ok",)], []):
                tally.problems.append(f"{pragma}: {found}")
    database = Database.open(path)
    with contextlib.closing(database), database.write() as connection:
        there = {
            str(device.device_id): device
            for device in devices.all_devices(connection)
            if str(device.device_id) != site.base.device_id
        }
        kids = {str(key.kid): key for key in keys.all_keys(connection)}
        tally.problems += [f"lost device {lost}" for lost in joined - set(there)]
        tally.problems += [f"lost key {lost}" for lost in registered - set(kids)]
        extra = set(there) - joined, set(kids) - registered
        tally.unacknowledged += sum(map(len, extra))
        # Each thread has at most one request under way.
        tally.problems += [
            f"more than one unacknowledged: {some}" for some in extra if len(some) > 1
        ]
        for device in there.values():
            if None in (device.certificate, device.device_key, device.transport_key, device.owner):
                tally.problems.append(f"half a device: {device.device_id}")
            devices.delete_device(connection, device.device_id)
        for key in kids.values():
            key.public_key()
            keys.delete_key(connection, key.kid)
    _look_at_audit(site.tenant.state / "audit.jsonl", tally, joined, registered)


def _look_at_audit(path: Path, tally: Tally, joined: set[str], registered: set[str]) -> None:
    """Each line is whole, and what was acknowledged has its record."""
    lines = path.read_text().splitlines()
    try:
        records = [json.loads(line) for line in lines]
    except ValueError:
        tally.problems.append("a line of the audit log is no JSON")
        return
    for name, wanted in (("device", joined), ("key", registered)):
        said = {record.get(name) for record in records if record["status"] == 200}
        tally.problems += [f"no record of {name} {lost}" for lost in wanted - said]
    path.unlink()  # of the next round alone


def run(folder: Path, rounds: int, seed: int) -> Tally:
    """Kill so many servers."""
    tally, random_ = Tally(), random.Random(seed)  # noqa: S311  reproducible
    site = make_site(folder)
    (site.tenant.state / "audit.jsonl").unlink()
    try:
        site.tenant.stop()
        site.tenant.start()
        for _ in range(rounds):
            one_round(site, tally, random_)
    finally:
        site.tenant.stop()
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        result = run(Path(made), options.rounds, options.seed)
    print(result)
    sys.exit(bool(result.problems))
