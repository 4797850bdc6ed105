"""A tool of the impacket family logs on where its weak forms are allowed, and only there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.rig import certificates, clients, peers
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.interop

# The family's default; each realm has a loopback address of its own, as a lab of several would.
_PORT = 88
_PFX_PASSWORD = "throwaway"  # noqa: S105  # of a file that lives as long as the test
_REFUSALS = ("0x50", "0x41")  # 80: the digest of the CMS, 65: the group


def _realm(folder: Path, identity: certificates.Identity, compat: str, address: str) -> LiveRealm:
    peers.need_port(address, _PORT)
    live = make_realm(folder / "state", "--compat", compat, address=address, port=_PORT)
    live.kdc("user", "add", "alice")
    live.kdc("key", "add", "alice", str(identity.certificate))
    return live


@pytest.fixture(scope="module")
def pfx(lab: Lab) -> Path:
    """Alice's key and self-signed certificate as PKCS #12."""
    return certificates.write_pkcs12(lab.alice, _PFX_PASSWORD)


@pytest.fixture
def tools_realm(lab: Lab, tmp_path: Path) -> Iterator[LiveRealm]:
    """Serve a realm with `--compat tools` on 127.0.0.88:88."""
    with _realm(tmp_path, lab.alice, "tools", "127.0.0.88").served() as live:
        yield live


@pytest.fixture
def strict_realm(lab: Lab, tmp_path: Path) -> Iterator[LiveRealm]:
    """Serve a realm with `--compat strict` on 127.0.0.89:88."""
    with _realm(tmp_path, lab.alice, "strict", "127.0.0.89").served() as live:
        yield live


def test_bloodyads_client_logs_on_under_compat_tools(
    tools_realm: LiveRealm, pfx: Path, tmp_path: Path
) -> None:
    """SHA-1 in the CMS and MODP group 2 behind their switches; a reply with serverDHNonce."""
    realm = tools_realm.client(tmp_path)
    for _ in range(3):
        # It cuts the DH value out of the reply at a fixed offset and fails for one in 256.
        run = clients.kerbad_kinit(realm, "alice", pfx, _PFX_PASSWORD)
        if run.status == 0:
            break
    assert run.status == 0, run.explain()
    owner, tickets = clients.klist(run.cache)
    assert owner == "alice@LAB.TEST"
    assert [ticket.service for ticket in tickets] == ["krbtgt/LAB.TEST@LAB.TEST"]


def test_bloodyads_client_is_refused_under_compat_strict(
    strict_realm: LiveRealm, pfx: Path, tmp_path: Path
) -> None:
    """80 or 65, and the audit record names the switch that would have let it in."""
    run = clients.kerbad_kinit(strict_realm.client(tmp_path), "alice", pfx, _PFX_PASSWORD)
    assert not run.cache.exists(), run.explain()
    # The record is written before the reply leaves.
    refusals = [record for record in strict_realm.audit() if record["Status"] in _REFUSALS]
    assert refusals, f"{strict_realm.audit()}\n{run.explain()}"
    named = json.dumps(refusals)
    assert "legacy_sha1_cms" in named or "legacy_dh_group2" in named, named
