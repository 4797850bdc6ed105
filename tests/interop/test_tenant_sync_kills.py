"""SIGKILL at any moment of a sync run: nothing acknowledged is lost, nothing is half-written.

A run is a child of this process that has everything imported, so that the kill falls into its work
and not into its start. Every other one is killed at a random time, which may be in the middle of a
write; the others just before or after a random step, of which there are few. KEYTRUST_KILLS sets
how many runs are killed (else a few).
"""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.keycredential import (
    NewKeyCredential,
    decode_key_credential,
    encode_key_credential,
)
from directory.sealing import MasterKey
from directory.store import Store
from pki.keys import public_key_from_cryptography
from tenant.cli.main import run as tenant_command
from tenant.state.sync import read_journal
from tenant.sync.database import TenantDatabase
from tenant.sync.ldap_port import LdapPort
from tenant.sync.mapping import blobs_of
from tenant.sync.store_port import StorePort
from tests.rig import certificates
from tests.rig.realm import LiveRealm, make_realm
from tests.rig.samba_dc import BASE, USER_PASSWORD, SambaDc
from tests.rig.samba_realm import make_samba_realm
from tests.rig.tenant import make_tenant
from tests.rig.tenant_sync import (
    SYNC_ACCOUNT,
    TenantSides,
    binds_as,
    let_write_devices,
    make_sync_account,
)

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("KEYTRUST_KILLS", "12"))
USERS = 6

Values = Callable[[], dict[str, list[str]]]
"""Reads every account's msDS-KeyCredentialLink from the directory."""


@dataclass(slots=True, kw_only=True)
class Chaos:
    """A tenant that changes, and what has been acknowledged about it."""

    sides: TenantSides
    values: Values
    domain: str
    dice: random.Random
    folder: Path
    pool: list[rsa.RSAPrivateKey] = field(
        default_factory=lambda: [certificates.new_key() for _ in range(16)], repr=False
    )
    theirs: set[bytes] = field(default_factory=set)
    """Blobs that an administrator registered."""
    registered: dict[UUID, int] = field(default_factory=dict)
    """Acknowledged keys: kid -> place in the pool."""
    devices: dict[str, UUID] = field(default_factory=dict)

    def start(self) -> None:
        """Give each user a device."""
        for number in range(USERS):
            name = f"chaos{number}"
            self.devices[name] = self.sides.join(name, f"{name}@{self.domain}", self.folder)

    def change(self) -> None:
        """Register and remove a few keys, switch a device: each is on disk on return."""
        free = [n for n in range(len(self.pool)) if n not in self.registered.values()]
        self.dice.shuffle(free)
        for number in free[: self.dice.randrange(2, 7)]:
            name = f"chaos{self.dice.randrange(USERS)}"
            upn, key = f"{name}@{self.domain}", self.pool[number]
            self.registered[self.sides.register(upn, self.devices[name], key)] = number
        for kid in self.dice.sample(sorted(self.registered), min(4, len(self.registered) // 2)):
            self.sides.remove_key(kid)
            del self.registered[kid]
        name = self.dice.choice(sorted(self.devices))
        self.sides.set_enabled(self.devices[name], enabled=bool(self.dice.randrange(2)))

    def check(self, *, whole: bool) -> str:
        """Check what has to be so after any kill; whole: after a run that ended, all of it.

        Returns how far the run had come: how often each is printed at the end.
        """
        path = self.sides.tenant.state / "tenant.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kids = {
                UUID(bytes=row[0]) for row in connection.execute("SELECT kid FROM registered_keys")
            }
            assert kids == set(self.registered), "an acknowledged key is lost, or came back"
            journal = read_journal(connection)
        ours = {row.blob for row in journal.keys}
        found: list[bytes] = []
        for texts in self.values().values():
            for text in texts:
                credential = decode_key_credential(text)
                assert credential.usable and not credential.warnings, "a value is half-written"
            blobs = blobs_of(texts)
            assert len(blobs) == len(texts), "a value is there twice"
            found += blobs
        assert set(found) <= ours | self.theirs, "a value was written before the journal had it"
        assert self.theirs <= set(found), "somebody else's value is gone"
        if whole:
            assert set(found) - self.theirs == ours
            assert {row.kid for row in journal.keys} == kids
            assert all(row.done for row in journal.keys)
        open_rows = [row for row in journal.keys if not row.done]
        written = sum(row.blob in found for row in open_rows)
        if not open_rows:
            return "before the journal, or at its end"
        return "all written, not marked" if written == len(open_rows) else "while writing"


_STEPS = (
    *((port, name) for port in (StorePort, LdapPort) for name in ("add_key", "remove_key")),
    *((port, name) for port in (StorePort, LdapPort) for name in ("put_device", "remove_device")),
    *((TenantDatabase, name) for name in ("intend", "settle")),
)


def _die_at(last: int) -> None:
    """Let this process kill itself before or after a step: at the last of that many such places."""
    places = 0

    def die() -> None:
        nonlocal places
        places += 1
        if places == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            die()
            result = step(*arguments)
            die()
            return result

        return run

    for owner, name in _STEPS:
        setattr(owner, name, watched(getattr(owner, name)))


def _child(sides: TenantSides, at: int = 0) -> int:
    """Start a run in a child process; return its number. at: where it kills itself; 0: nowhere."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        _die_at(at)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        code = tenant_command(["--state", str(sides.tenant.state), "sync", "--once"])
    finally:
        os._exit(code)


def _end(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return status


def _kill_runs(chaos: Chaos, kills: int) -> tuple[int, int]:
    """Kill runs at random moments; return how many were hit, and how many ended before."""
    chaos.change()
    start = time.monotonic()
    assert _end(_child(chaos.sides)) == 0
    lasts = time.monotonic() - start
    chaos.check(whole=True)
    hit = missed = 0
    came: Counter[str] = Counter()
    while hit < kills:
        chaos.change()
        if chaos.dice.randrange(2):
            status = _end(_child(chaos.sides, at=chaos.dice.randrange(1, 20)))
        else:
            pid = _child(chaos.sides)
            time.sleep(chaos.dice.uniform(0.3, 1.2) * lasts)
            os.kill(pid, signal.SIGKILL)
            status = _end(pid)
        if os.WIFSIGNALED(status):
            hit += 1
        else:
            missed += 1
            assert status == 0
        came[chaos.check(whole=False)] += os.WIFSIGNALED(status)
        assert missed < 5 * kills + 20, "runs end before they are killed"
        if hit % 10 == 0:
            assert _end(_child(chaos.sides)) == 0
            chaos.check(whole=True)
    assert _end(_child(chaos.sides)) == 0
    chaos.check(whole=True)
    assert chaos.sides.sync()["done"] == []
    print(f"killed {hit} runs of about {lasts:.2f} s; {missed} had ended; {dict(came)}")
    return hit, missed


def test_killed_runs_on_the_embedded_store(tmp_path: Path) -> None:
    """Issue 9: between any two steps, and within them."""
    live = make_realm(tmp_path / "realm")
    for number in range(USERS):
        live.kdc("user", "add", f"chaos{number}")
    live.kdc("key", "enroll", "chaos0", "--out", str(tmp_path / "theirs.pem"))
    sides = TenantSides(tenant=make_tenant(tmp_path / "tenant", live.state))
    sides.sync()

    def values() -> dict[str, list[str]]:
        return _store_values(live)

    chaos = Chaos(
        sides=sides,
        values=values,
        domain="lab.test",
        dice=random.Random(9),  # noqa: S311  # the same kills each time
        folder=tmp_path,
        theirs=set(blobs_of(values()["chaos0"])),
    )
    chaos.start()
    hit, _ = _kill_runs(chaos, KILLS)
    assert hit == KILLS


def _store_values(live: LiveRealm) -> dict[str, list[str]]:
    path = live.state / "store.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = Store.open(path, MasterKey.load(live.state / "master.key"), read_only=True)
    try:
        accounts = [store.account_by_name(f"chaos{number}") for number in range(USERS)]
        return {
            account.sam_account_name: [c.text for c in account.key_credentials]
            for account in accounts
            if account is not None
        }
    finally:
        store.close()


def test_killed_runs_on_samba(samba_dc: SambaDc, tmp_path: Path) -> None:
    """The same over LDAP: each value is one change, made or not made."""
    live = make_samba_realm(samba_dc, tmp_path / "realm")
    make_sync_account(samba_dc)
    let_write_devices(samba_dc)
    for number in range(USERS):
        samba_dc.tool("user", "create", f"chaos{number}", USER_PASSWORD)
    tenant = make_tenant(tmp_path / "tenant", live.state, "--domain", "lab.example")
    sides = TenantSides(tenant=tenant)
    binds_as(sides, f"CN={SYNC_ACCOUNT},CN=Users,{BASE}", USER_PASSWORD)
    sides.configure('sync_users = ["chaos*"]\n')
    sides.sync()

    def values() -> dict[str, list[str]]:
        name = "msDS-KeyCredentialLink"
        done = samba_dc.ldap(
            *("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", f"CN=Users,{BASE}"),
            *("(sAMAccountName=chaos*)", "sAMAccountName", name),
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, list[str]] = {}
        for record in done.stdout.split("\n\n"):
            lines = [line.partition(": ") for line in record.splitlines()]
            names = [value for key, _, value in lines if key == "sAMAccountName"]
            if names:
                found[names[0]] = [value for key, _, value in lines if key == name]
        return found

    dn = f"CN=chaos0,CN=Users,{BASE}"
    public = public_key_from_cryptography(certificates.new_key().public_key())
    theirs = encode_key_credential(
        NewKeyCredential(public_key=public, created=datetime.now(UTC)), dn
    )
    name = "msDS-KeyCredentialLink"
    samba_dc.modify(f"dn: {dn}\nchangetype: modify\nadd: {name}\n{name}: {theirs}\n")
    chaos = Chaos(
        sides=sides,
        values=values,
        domain="lab.example",
        dice=random.Random(10),  # noqa: S311  # as above
        folder=tmp_path,
        theirs=set(blobs_of([theirs])),
    )
    chaos.start()
    kills = max(3, KILLS // 4)
    hit, _ = _kill_runs(chaos, kills)
    assert hit == kills
