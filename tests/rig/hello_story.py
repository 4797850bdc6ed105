"""One user's way from a password to tickets by a Hello key, driven by roadtx and kinit.

Steps P1/P4 A to D, A1, A5 and A6 of the flows, each with what the real client got. The realm may
live in its own store or in a directory; a test asserts on what is recorded here.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rig import certificates, clients
from tests.rig.certificates import Identity
from tests.rig.clients import Run
from tests.rig.realm import LiveRealm
from tests.rig.roadtx import Roadtx
from tests.rig.tenant import LiveTenant

SYNC_S = 20.0
"""In which a change in a directory reaches the KDC: Samba notifies every five seconds."""


@dataclass(slots=True, kw_only=True)
class Story:
    """Where it happens, and what happened."""

    live: LiveRealm
    tenant: LiveTenant
    folder: Path
    user: str
    """sAMAccountName."""
    upn: str
    password: str
    throwaway: Identity = field(init=False)
    leaf: Identity = field(init=False)
    own: Identity = field(init=False)
    password_prt: dict[str, Any] = field(init=False)
    hello_prt: dict[str, Any] = field(init=False)
    renewed_prt: dict[str, Any] = field(init=False)
    before_sync: Run = field(init=False)
    after_sync: Run = field(init=False)
    heimdal: Run = field(init=False)

    @property
    def roadtx(self) -> Roadtx:
        """Its client."""
        return Roadtx(folder=self.folder, tenant=self.tenant)

    def sync(self) -> str:
        """Run Entra Connect's stand-in once."""
        return self.tenant.tenant("sync", "--once")

    def join_and_register(self, device: str = "pc1") -> None:
        """Sign in, join a device, get a PRT and register a Hello key with it (R1, P4 A to C)."""
        roadtx, sign_in = self.roadtx, ("-u", self.upn, "-p", self.password)
        machine = ("-c", f"{device}.pem", "-k", f"{device}.key")
        roadtx.run("gettokens", *sign_in, "-c", "broker", "-r", "drs")
        roadtx.run("device", "-a", "join", "-n", device, "-d", self.upn.partition("@")[2])
        roadtx.run("prt", *sign_in, *machine)
        self.password_prt = roadtx.prt()
        roadtx.run("prtauth", "-c", "broker", "-r", "drs")
        said = roadtx.run("winhello", "-k", "hello.key")
        assert "'kid'" in said, said
        roadtx.run("prt", "-u", self.upn, "-hk", "hello.key", *machine)
        self.hello_prt = roadtx.prt()
        # Its own file: a renewal overwrites it, and has no tgt_ad_sessionkey.
        (self.folder / "hello.prt").write_text(json.dumps(self.hello_prt))
        roadtx.run("prt", "-a", "renew")
        self.renewed_prt = roadtx.prt()
        key = roadtx.key("hello.key")
        self.throwaway = certificates.throwaway_issuer(self.folder)
        self.leaf = certificates.leaf(self.folder, "hello-leaf", key, self.throwaway)
        self.own = certificates.self_signed(self.folder, "hello-own", key)

    def kinit(self) -> Run:
        """Log on at the KDC with the Hello key by MIT's kinit."""
        realm = self.live.client(self.folder, self.throwaway.certificate)
        return clients.mit_kinit(realm, f"{self.user}@{self.live.realm}", identity=self.leaf)

    def log_on_around_the_sync(self) -> None:
        """Try the key before the sync and after it (P4 D)."""
        self.before_sync = self.kinit()
        self.sync()
        self.after_sync = eventually(self.kinit, lambda run: run.status == 0)
        realm = self.live.client(self.folder)
        principal = f"{self.user}@{self.live.realm}"
        self.heimdal = clients.heimdal_kinit(realm, principal, identity=self.own)

    def redeem(self, service: str, *, prt: str = "hello.prt") -> Path:
        """Redeem the partial TGT and return the cache with the full one and a service ticket."""
        cache = self.folder / f"{prt}.ccache"
        self.live.kdc(
            *("cloud-trust", "redeem", "--prt", str(self.folder / prt)),
            *("--ccache", str(cache), "--service", service),
        )
        return cache

    def devices(self) -> list[dict[str, Any]]:
        """The devices that the tenant knows."""
        found = json.loads(self.tenant.tenant("device", "list", "--json"))
        assert isinstance(found, list)
        return found

    def keys(self) -> list[dict[str, Any]]:
        """The keys that the user registered."""
        found = json.loads(self.tenant.tenant("key", "list", self.upn, "--json"))
        assert isinstance(found, list)
        return found


def eventually(attempt: Callable[[], Run], good: Callable[[Run], bool]) -> Run:
    """Repeat a logon until it is as it should be, or the time is up; return the last."""
    end = time.monotonic() + SYNC_S
    run = attempt()
    while not good(run) and time.monotonic() < end:
        time.sleep(0.5)
        run = attempt()
    return run


def hybrid_join(own: Identity, sid: str, tenant: LiveTenant, name: str) -> tuple[str, ...]:
    """Return roadtx' command by which a domain computer joins with its self-signed certificate."""
    found = json.loads(tenant.tenant("show", "--json"))
    return (
        *("hybriddevice", "-c", str(own.certificate), "-k", str(own.key), "--sid", sid),
        *("-t", found["tenant_id"], "-n", name),
    )
