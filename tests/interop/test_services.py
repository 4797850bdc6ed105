"""What real clients do with our TGTs: service tickets, renewal, delegation, user to user."""

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdc.pac.buffers import decode_logon_info
from tests.conftest import Lab
from tests.rig import clients, services
from tests.rig.clients import ClientRealm, Run, Transport

pytestmark = pytest.mark.interop

WEB, NEXT = "host/web.lab.test", "host/next.lab.test"
TGT = "krbtgt/LAB.TEST@LAB.TEST"
KEY_TRUST = "S-1-18-4"
KDC_ERR_S_PRINCIPAL_UNKNOWN = 7
KDC_ERR_TGT_REVOKED = 20

_TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])
_OPTIONS = ("-l", "10h", "-r", "7d", "-f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The lab with two services in one keytab."""

    lab: Lab
    keytab: Path


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Add host/web.lab.test and host/next.lab.test for this module."""
    keytab = lab.folder / "services.keytab"
    for service in (WEB, NEXT):
        lab.live.kdc("service", "add", service, "--keytab", str(keytab))
    yield Site(lab=lab, keytab=keytab)
    for service in (WEB, NEXT):
        lab.live.kdc("service", "delete", service)


def _mit_logon(site: Site, folder: Path, transport: Transport = "udp") -> tuple[ClientRealm, Run]:
    realm = site.lab.live.client(folder, site.lab.throwaway.certificate, transport=transport)
    run = clients.mit_kinit(realm, "alice@LAB.TEST", identity=site.lab.alice_leaf, options=_OPTIONS)
    assert run.status == 0, run.explain()
    return realm, run


def _heimdal_logon(site: Site, folder: Path, transport: Transport) -> tuple[ClientRealm, Run]:
    realm = site.lab.live.client(folder, transport=transport)
    run = clients.heimdal_kinit(realm, "alice@LAB.TEST", identity=site.lab.alice, options=_OPTIONS)
    assert run.status == 0, run.explain()
    return realm, run


@_TRANSPORTS
def test_mit_gets_a_service_ticket(site: Site, tmp_path: Path, transport: Transport) -> None:
    """`kinit` by key trust, then kvno; the exported keytab opens the ticket."""
    realm, tgt = _mit_logon(site, tmp_path, transport)
    run = services.mit_kvno(realm, tgt.cache, "-k", str(site.keytab), WEB)
    assert run.status == 0, run.explain()
    assert "kvno = 1, keytab entry valid" in run.output
    assert set(run.answered_by) == {transport}
    _, tickets = clients.klist(tgt.cache)
    ticket = next(t for t in tickets if t.service == f"{WEB}@LAB.TEST")
    assert set(ticket.flags) == set("FA")
    assert ticket.renew_until is None
    assert ticket.session_etype.startswith("aes256-")


@_TRANSPORTS
def test_heimdal_gets_a_service_ticket(site: Site, tmp_path: Path, transport: Transport) -> None:
    """`kinit` by key trust, then kgetcred."""
    realm, tgt = _heimdal_logon(site, tmp_path, transport)
    run = services.heimdal_kgetcred(realm, tgt.cache, WEB)
    assert run.status == 0, run.explain()
    assert f"Server: {WEB}@LAB.TEST" in clients.heimdal_klist(tgt.cache)


def test_our_own_client_gets_a_service_ticket(site: Site, tmp_path: Path) -> None:
    """`kdc logon --service` writes a cache that MIT's klist reads; `kdc ccache show` opens it."""
    live, cache = site.lab.live, tmp_path / "cc"
    live.kdc(
        *("logon", "alice", "--identity", str(site.lab.alice.both), "--ccache", str(cache)),
        *("--kdc", f"{live.address}:{live.port}", "--service", WEB, "--service", NEXT),
    )
    owner, tickets = clients.klist(cache)
    assert owner == "alice@LAB.TEST"
    assert [t.service for t in tickets] == [TGT, f"{WEB}@LAB.TEST", f"{NEXT}@LAB.TEST"]
    keytab = tmp_path / "both.keytab"
    for principal in (WEB, "krbtgt/LAB.TEST"):
        live.kdc("keytab", "export", principal, "-o", str(keytab), "--append")
    shown = json.loads(live.kdc("ccache", "show", str(cache), "--keytab", str(keytab), "--json"))
    pacs = [ticket["opened"] and ticket["opened"]["pac"] for ticket in shown["tickets"]]
    assert [pac and pac["signatures"] for pac in pacs] == ["all right", "all right", None]
    assert [KEY_TRUST in pac["logon_info"]["extra_sids"] for pac in pacs[:2]] == [True, True]
    assert pacs[0]["requestor"] == pacs[1]["logon_info"]["sid"]


@pytest.mark.parametrize("service", ["host/WEB.lab.test", "host/web", "cifs/web.lab.test"])
def test_mit_gets_a_ticket_by_another_name(site: Site, tmp_path: Path, service: str) -> None:
    """Any case, short host names, and classes that stand for the host, in one request."""
    realm, tgt = _mit_logon(site, tmp_path)
    run = services.mit_kvno(realm, tgt.cache, "--no-store", service)
    assert run.status == 0, run.explain()
    assert services.tgs_errors(run) == (), run.explain()


def test_an_unknown_service_is_7(site: Site, tmp_path: Path) -> None:
    """MIT asks with and without canonicalization; both times there is no such service."""
    realm, tgt = _mit_logon(site, tmp_path)
    run = services.mit_kvno(realm, tgt.cache, "host/nowhere.lab.test")
    assert run.status != 0
    assert set(services.tgs_errors(run)) == {KDC_ERR_S_PRINCIPAL_UNKNOWN}, run.explain()


def _check_renewed(tgt: Run, run: Run, before: clients.Ticket) -> None:
    assert run.status == 0, run.explain()
    _, (after,) = clients.klist(tgt.cache)
    assert after.service == TGT
    assert after.renew_until == before.renew_until
    assert after.starts >= before.starts
    assert after.expires - after.starts == before.expires - before.starts
    assert "I" not in after.flags


def test_mit_renews_its_tgt(site: Site, tmp_path: Path) -> None:
    """`kinit` -R; the renewed TGT gets service tickets, and says that it is not the first."""
    realm, tgt = _mit_logon(site, tmp_path)
    _, (before,) = clients.klist(tgt.cache)
    _check_renewed(tgt, services.mit_renew(realm, tgt.cache), before)
    run = services.mit_kvno(realm, tgt.cache, WEB)
    assert run.status == 0, run.explain()


def test_heimdal_renews_its_tgt(site: Site, tmp_path: Path) -> None:
    """`kinit` -R of the other family."""
    realm, tgt = _heimdal_logon(site, tmp_path, "udp")
    _, (before,) = clients.klist(tgt.cache)
    run = services.heimdal_renew(realm, tgt.cache)
    assert run.status == 0, run.explain()
    _, tickets = clients.klist(tgt.cache)
    after = next(t for t in tickets if t.service == TGT)
    assert after.renew_until is not None
    assert before.renew_until is not None
    assert after.renew_until <= before.renew_until
    assert "I" not in after.flags


def test_gssapi_acceptor_takes_the_ticket(site: Site, tmp_path: Path) -> None:
    """AP-REQ, mutual authentication and a sealed message; MIT verifies the PAC with the keytab."""
    realm, tgt = _mit_logon(site, tmp_path)
    saw = services.gss_loop(realm, tgt.cache, site.keytab, f"{WEB}@LAB.TEST")
    assert saw["client"] == "alice@LAB.TEST"
    assert (saw["message"], saw["sealed"]) == ("one sealed message", True)
    assert saw["pac_verified"] is True
    info = decode_logon_info(bytes.fromhex(saw["logon_info"]))
    assert info.effective_name == "alice"
    assert KEY_TRUST in [str(sid) for sid in info.extra_sids]


def test_gssapi_delegates_the_tgt(site: Site, tmp_path: Path) -> None:
    """A forwarded TGT goes to the first service, which then speaks to the next as alice."""
    realm, tgt = _mit_logon(site, tmp_path)
    targets = (f"{WEB}@LAB.TEST", f"{NEXT}@LAB.TEST")
    saw = services.gss_loop(realm, tgt.cache, site.keytab, *targets)
    assert saw["delegated"] is True
    assert saw["next"]["client"] == "alice@LAB.TEST"
    assert saw["next"]["pac_verified"] is True


def test_mit_user_to_user(site: Site, tmp_path: Path) -> None:
    """`kvno` --u2u: pat has no key that a ticket could be sealed with, but a TGT."""
    realm, alice = _mit_logon(site, tmp_path)
    pat = clients.mit_kinit(realm, "pat@LAB.TEST", password=site.lab.password)
    assert pat.status == 0, pat.explain()
    run = services.mit_kvno(realm, alice.cache, "--u2u", f"FILE:{pat.cache}", "pat")
    assert run.status == 0, run.explain()
    refused = services.mit_kvno(realm, alice.cache, "--u2u", f"FILE:{pat.cache}", "bob")
    assert refused.status != 0


def test_rotation_of_krbtgt(site: Site, tmp_path: Path) -> None:
    """`kdc realm rotate-krbtgt`: an old TGT lives on for one rotation, and ends with the second."""
    live = site.lab.live
    realm, old = _mit_logon(site, tmp_path)
    live.kdc("realm", "rotate-krbtgt")
    run = services.mit_kvno(realm, old.cache, WEB)
    assert run.status == 0, run.explain()
    _, new = _mit_logon(site, tmp_path)
    live.kdc("realm", "rotate-krbtgt")
    run = services.mit_kvno(realm, new.cache, WEB)
    assert run.status == 0, run.explain()
    run = services.mit_kvno(realm, old.cache, NEXT)
    assert run.status != 0
    assert 44 in services.tgs_errors(run), run.explain()


def test_a_user_deleted_after_the_logon_gets_nothing(site: Site, tmp_path: Path) -> None:
    """Row T20, on every worker from the next request on."""
    live = site.lab.live
    live.kdc("user", "add", "leaver", "--password-stdin", stdin="Correct-Horse-9\n")
    realm = live.client(tmp_path)
    tgt = clients.mit_kinit(realm, "leaver@LAB.TEST", password="Correct-Horse-9")  # noqa: S106
    assert tgt.status == 0, tgt.explain()
    assert services.mit_kvno(realm, tgt.cache, "--no-store", WEB).status == 0
    live.kdc("user", "delete", "leaver")
    for _ in range(6):
        run = services.mit_kvno(realm, tgt.cache, "--no-store", WEB)
        assert run.status != 0
        assert KDC_ERR_TGT_REVOKED in services.tgs_errors(run), run.explain()


def test_audit_record_of_a_service_ticket(site: Site, tmp_path: Path) -> None:
    """Event 4769 with Windows' field names."""
    realm, tgt = _mit_logon(site, tmp_path)
    before = datetime.datetime.now(datetime.UTC)
    assert services.mit_kvno(realm, tgt.cache, WEB).status == 0
    (record,) = [
        r
        for r in site.lab.live.audit()
        if r["EventID"] == 4769
        and r["ServiceName"] == WEB
        and datetime.datetime.fromisoformat(str(r["time"])) >= before
    ]
    assert (record["Status"], record["TargetUserName"]) == ("0x0", "alice")
    assert record["TicketEncryptionType"] == "0x12"
