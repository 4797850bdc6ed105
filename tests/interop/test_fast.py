"""FAST with real clients: MIT's, and the Heimdal that Samba carries (RFC 6113).

Heimdal 7.8, the last release, has a FAST client that does not read the answers inside the tunnel:
it proves a password by an encrypted timestamp, which is no proof there, and does not strengthen
its reply key. Inside FAST it does not log on to MIT's KDC either.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.rig import clients, peers, samba_heimdal, services
from tests.rig.clients import ClientRealm, Run, Transport

pytestmark = pytest.mark.interop

WEB = "host/fast.lab.test"
WRONG = "wrong"
KDC_ERR_KEY_EXPIRED = 23
KDC_ERR_PREAUTH_FAILED = 24
KDC_ERR_PREAUTH_REQUIRED = 25

_TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The lab with a host, whose keytab logs on, and whose TGT is the armor."""

    lab: Lab
    keytab: Path


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Add host/fast.lab.test for this module."""
    keytab = lab.folder / "fast.keytab"
    lab.live.kdc("service", "add", WEB, "--keytab", str(keytab))
    yield Site(lab=lab, keytab=keytab)
    lab.live.kdc("service", "delete", WEB)


def _realm(site: Site, folder: Path, transport: Transport = "udp") -> ClientRealm:
    return site.lab.live.client(folder, site.lab.throwaway.certificate, transport=transport)


def _armor(site: Site, realm: ClientRealm) -> Path:
    """Log the host on with its keytab."""
    run = clients.mit_kinit(realm, f"{WEB}@LAB.TEST", options=("-k", "-t", str(site.keytab)))
    assert run.status == 0, run.explain()
    return run.cache


def _last(site: Site) -> dict[str, object]:
    return site.lab.live.audit()[-1]


@_TRANSPORTS
def test_mit_logs_on_by_password(site: Site, tmp_path: Path, transport: Transport) -> None:
    """`kinit` -T with the host's TGT: the encrypted challenge, both ways."""
    realm = _realm(site, tmp_path, transport)
    run = clients.mit_kinit(
        realm,
        "pat@LAB.TEST",
        password=site.lab.password,
        options=("-T", f"FILE:{_armor(site, realm)}"),
    )
    assert run.status == 0, run.explain()
    assert run.kdc_errors == (KDC_ERR_PREAUTH_REQUIRED,)
    assert "Preauth module encrypted_challenge (138) (real) returned: 0/Success" in run.trace
    assert "FAST reply key" in run.trace
    assert "FAST negotiation: available" in run.trace
    record = _last(site)
    assert (record["PreAuthType"], record["fast_armor"]) == ("138", "host/fast.lab.test")
    assert record["TargetUserName"] == "pat"


@_TRANSPORTS
def test_mit_logs_on_by_key_inside_the_tunnel(
    site: Site, tmp_path: Path, transport: Transport
) -> None:
    """PKINIT with a freshness token and RFC 8636's KDF, all inside."""
    realm = _realm(site, tmp_path, transport)
    run = clients.mit_kinit(
        realm,
        "alice@LAB.TEST",
        identity=site.lab.alice_leaf,
        options=("-T", f"FILE:{_armor(site, realm)}"),
    )
    assert run.status == 0, run.explain()
    assert "Encoding request body and padata into FAST request" in run.trace
    record = _last(site)
    assert (record["PreAuthType"], record["trust"], record["fresh"]) == ("16", "key", True)
    assert record["fast_armor"] == "host/fast.lab.test"


def test_mit_is_told_that_the_password_is_wrong(site: Site, tmp_path: Path) -> None:
    """The code comes through the tunnel: the client believes it and says so."""
    realm = _realm(site, tmp_path)
    run = clients.mit_kinit(
        realm, "pat@LAB.TEST", password=WRONG, options=("-T", f"FILE:{_armor(site, realm)}")
    )
    assert run.status != 0
    assert run.kdc_errors == (KDC_ERR_PREAUTH_REQUIRED, KDC_ERR_PREAUTH_FAILED), run.explain()
    assert "Password incorrect" in run.output
    assert run.trace.count("Decoding FAST response") == 2


def test_mit_is_told_that_the_password_has_expired(site: Site, tmp_path: Path) -> None:
    """KDC_ERR_KEY_EXPIRED inside the tunnel: the client offers to change the password."""
    live, password = site.lab.live, site.lab.password
    new = ("user", "add", "fay", "--must-change-password", "--password-stdin")
    live.kdc(*new, stdin=f"{password}\n")
    try:
        realm = _realm(site, tmp_path)
        options = ("-T", f"FILE:{_armor(site, realm)}")
        run = clients.mit_kinit(realm, "fay@LAB.TEST", password=password, options=options)
    finally:
        live.kdc("user", "delete", "fay")
    assert run.status != 0
    assert KDC_ERR_KEY_EXPIRED in run.kdc_errors, run.explain()
    assert "Password expired" in run.output


def test_mit_asks_for_service_tickets_inside_fast(site: Site, tmp_path: Path) -> None:
    """`kvno`: MIT's client armors a TGS-REQ once the KDC has said that it knows FAST."""
    realm = _realm(site, tmp_path)
    tgt = clients.mit_kinit(realm, "pat@LAB.TEST", password=site.lab.password)
    assert tgt.status == 0, tgt.explain()
    run = services.mit_kvno(realm, tgt.cache, "-k", str(site.keytab), WEB)
    assert run.status == 0, run.explain()
    assert "keytab entry valid" in run.output
    assert "Encoding request body and padata into FAST request" in run.trace
    assert "FAST reply key" in run.trace


def test_mit_renews_inside_fast(site: Site, tmp_path: Path) -> None:
    """`kinit` -R goes through the tunnel as well."""
    realm = _realm(site, tmp_path)
    options = ("-r", "7d")
    tgt = clients.mit_kinit(realm, "pat@LAB.TEST", password=site.lab.password, options=options)
    assert tgt.status == 0, tgt.explain()
    run = services.mit_renew(realm, tgt.cache)
    assert run.status == 0, run.explain()
    assert "FAST reply key" in run.trace


def _samba(site: Site, folder: Path, password: str) -> Run:
    """Log pat on with Samba's Heimdal, inside the armor of the host."""
    if not samba_heimdal.LIBRARY.exists():
        pytest.fail(f"{samba_heimdal.LIBRARY} is missing: install samba-libs")
    realm = _realm(site, folder)
    cache = folder / "samba-cache"
    command = [sys.executable, "-m", "tests.rig.samba_heimdal"]
    command += ["pat@LAB.TEST", str(cache), str(_armor(site, realm))]
    done = subprocess.run(
        command,
        cwd=peers.ROOT,
        env=peers.clean_environment({"KRB5_CONFIG": str(clients.write_heimdal_config(realm))}),
        input=f"{password}\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    return Run(
        status=done.returncode, output=done.stdout, trace="", cache=cache, command=tuple(command)
    )


def test_heimdal_logs_on_with_its_name_hidden(site: Site, tmp_path: Path) -> None:
    """It always asks for hide-client-names; the cache has its real name all the same."""
    run = _samba(site, tmp_path, site.lab.password)
    assert run.status == 0, run.explain()
    owner, tickets = clients.klist(run.cache)
    assert owner == "pat@LAB.TEST"
    assert [ticket.service for ticket in tickets] == ["krbtgt/LAB.TEST@LAB.TEST"]
    record = _last(site)
    assert (record["PreAuthType"], record["TargetUserName"]) == ("138", "pat")


def test_heimdal_is_told_that_the_password_is_wrong(site: Site, tmp_path: Path) -> None:
    """KDC_ERR_PREAUTH_FAILED inside the tunnel."""
    run = _samba(site, tmp_path, WRONG)
    assert run.status != 0
    assert "KDC_ERR_PREAUTH_FAILED" in run.output
    assert _last(site)["why"] == "the encrypted challenge does not open: wrong password"


def test_our_own_client_logs_on(site: Site, tmp_path: Path) -> None:
    """`kdc logon --armor`, with a cache of MIT's as the armor, by password and by key."""
    live = site.lab.live
    armor = ("--armor", str(_armor(site, _realm(site, tmp_path))), "--hide-name", "--json")
    where = ("--kdc", f"{live.address}:{live.port}")
    shown = json.loads(
        live.kdc(
            *("logon", "pat", *where, *armor, "--password-stdin"), stdin=f"{site.lab.password}\n"
        )
    )
    assert (shown["mechanism"], shown["rounds"]) == ("password", 2)
    assert shown["armor"] == "host/fast.lab.test@LAB.TEST"
    identity = ("--identity", str(site.lab.alice.both))
    shown = json.loads(live.kdc("logon", "alice", *where, *armor, *identity))
    assert (shown["mechanism"], shown["client"]) == ("pkinit", "alice@LAB.TEST")
    assert _last(site)["fast_armor"] == "host/fast.lab.test"
