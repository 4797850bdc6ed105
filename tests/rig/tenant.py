"""The lab tenant for tests: its services without a server, and a server made by its commands."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import rsa

from directory.sealing import MasterKey
from kdc.formats.cloud_key import CloudKey
from pki import ca
from pki.chain import TrustPool
from tenant.audit import Audit
from tenant.config import TenantConfig
from tenant.http.message import Headers, Reply, Request, parse_pairs
from tenant.server.dispatch import Dispatcher
from tenant.services import Services, SigningKey
from tenant.state.database import Database
from tenant.state_folder import TenantFolder
from tests.rig import commands, peers
from tests.rig.realm import free_port

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
TENANT_ID = UUID("6b9a3f0e-4c55-4f0a-9d0e-0a4f2d1c7e11")
LOGIN = "login.microsoftonline.com"
REGISTRATION = "enterpriseregistration.windows.net"

_TENANT = (sys.executable, "-m", "tenant")


@cache
def _root(name: str) -> ca.IssuedCertificate:
    return ca.create_root("lab.test", NOW, common_name=name)


def services(
    folder: Path,
    *,
    now: datetime = NOW,
    cloud_key: CloudKey | None = None,
    config: TenantConfig | None = None,
    attestation_roots: TrustPool | None = None,
) -> Services:
    """Make a tenant's services in an empty folder; the keys are the same for all of a run."""
    place = TenantFolder(folder)
    signing = _root("token signing")
    assert isinstance(signing.private_key, rsa.RSAPrivateKey)
    return Services(
        config=config or TenantConfig(tenant_id=TENANT_ID, domain="lab.test"),
        folder=place,
        database=Database.create(place.database),
        now=lambda: now,
        entropy=os.urandom,
        master_key=MasterKey(bytes(range(32))),
        signing_key=SigningKey(
            private_key=signing.private_key, certificate=signing.certificate_der
        ),
        device_ca=_root("MS-Organization-Access"),
        attestation_roots=attestation_roots or TrustPool(()),
        cloud_key=cloud_key,
        audit=Audit(place.audit_log),
    )


def ask(
    tenant: Services,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    host: str = LOGIN,
    headers: Sequence[tuple[str, str]] = (),
    client_certificate: bytes | None = None,
) -> Reply:
    """Send one request through routing, handler, error body and audit. target: path and query."""
    path, _, query = target.partition("?")
    request = Request(
        method=method,
        host=host,
        path=path,
        query=parse_pairs(query.encode()),
        headers=Headers.of(headers),
        body=body,
        client_certificate=client_certificate,
    )
    return asyncio.run(Dispatcher(tenant).answer(request))


def audit_records(folder: Path) -> list[dict[str, Any]]:
    """Read the audit records written so far, oldest first."""
    path = TenantFolder(folder).audit_log
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass(slots=True, kw_only=True)
class LiveTenant:
    """A tenant's folder, its two ports and, while it is served, its process."""

    state: Path
    https_port: int
    proxy_port: int
    process: "subprocess.Popen[bytes] | None" = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        """Name the server's log; it lies beside the folder, not in it."""
        self.log = self.state.with_name(f"{self.state.name}-serve.log")

    @property
    def ca(self) -> Path:
        """What clients trust."""
        return self.state / "pki/ca.pem"

    def tenant(self, *arguments: str, stdin: str = "", ok: Sequence[int] = (0,)) -> str:
        """Run one `tenant` command on this tenant and return what it printed."""
        done = commands.run(
            "tenant", arguments, environment=self.environment(), stdin=stdin, timeout_s=60
        )
        assert done.returncode in ok, (
            f"tenant {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        return peers.clean_environment({"TENANT_STATE": str(self.state), "NO_COLOR": "1"})

    def client_environment(self) -> dict[str, str]:
        """What points an unmodified client here: a proxy, and whom to trust."""
        proxy = f"http://127.0.0.1:{self.proxy_port}"
        return {"HTTPS_PROXY": proxy, "REQUESTS_CA_BUNDLE": str(self.ca)}

    def start(self) -> None:
        """Start the server and wait for its one line."""
        with self.log.open("ab") as log:
            begun = log.tell()
            self.process = subprocess.Popen(
                [*_TENANT, "serve"],
                cwd=peers.ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + 30
        while b": https " not in self.log.read_bytes()[begun:]:
            said = self.log.read_text(errors="replace")
            assert self.process.poll() is None, f"tenant serve ended:\n{said}"
            assert time.monotonic() < end, f"tenant serve was not ready:\n{said}"
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server by SIGKILL, wherever it is."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End the server as an operator does."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(25)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    @contextlib.contextmanager
    def served(self) -> Iterator["LiveTenant"]:
        """Serve while the block runs."""
        self.start()
        try:
            yield self
        finally:
            self.stop()


def make_tenant(
    state: Path, kdc_state: Path, *options: str, domain: str = "lab.test"
) -> LiveTenant:
    """Make a tenant with `tenant init` for a realm that is there; options are added."""
    live = LiveTenant(state=state, https_port=free_port(), proxy_port=free_port())
    places = (
        *("--listen", f"127.0.0.1:{live.https_port}"),
        *("--proxy", f"127.0.0.1:{live.proxy_port}"),
    )
    live.tenant("init", "--domain", domain, "--kdc-state", str(kdc_state), *places, *options)
    return live


def password() -> str:
    """Make a password for a user of a test; roadtx would take "-" in front for an option."""
    return f"k{secrets.token_urlsafe(12)}"
