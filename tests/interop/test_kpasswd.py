"""MIT's and Heimdal's kpasswd change passwords here, and their kinit follows."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from impacket.krb5 import kpasswd as impacket  # type: ignore[import-untyped]  # it has no types

from tests.rig import clients, kpasswd, peers, services
from tests.rig.clients import ClientRealm, Kinit, Transport
from tests.rig.kpasswd import Kpasswd
from tests.rig.realm import REALM, LiveRealm, free_port, make_realm

pytestmark = pytest.mark.interop

OLD, NEW, NEXT = "Correct-Horse-7", "Battery-Staple-8", "Paper-Clip-9"
PREAUTH_FAILED = 24

_numbers = itertools.count(1)
_CLIENTS = pytest.mark.parametrize(
    ("change", "kinit"),
    [
        pytest.param(kpasswd.mit_kpasswd, clients.mit_kinit, id="mit"),
        pytest.param(kpasswd.heimdal_kpasswd, clients.heimdal_kinit, id="heimdal"),
    ],
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve a realm that changes passwords, with a history of three."""
    made = make_realm(
        tmp_path_factory.mktemp("kpasswd") / "state",
        "--kpasswd-listen",
        f"127.0.0.1:{free_port()}",
    )
    with (made.state / "kdc.toml").open("a") as file:
        file.write("password_history = 3\n")
    with made.served():
        yield made


@pytest.fixture
def user(live: LiveRealm) -> str:
    """Add a user of this test's own, with the password OLD."""
    name = f"user{next(_numbers)}"
    live.kdc("user", "add", name, "--password-stdin", stdin=OLD)
    return name


def last_change(live: LiveRealm, user: str) -> dict[str, object]:
    """Return the last record of a change of this user's password."""
    return [r for r in live.audit() if r["EventID"] == 4723 and r["TargetUserName"] == user][-1]


def logs_on(realm: ClientRealm, kinit: Kinit, user: str, password: str) -> bool:
    return kinit(realm, f"{user}@LAB.TEST", password=password).status == 0


@_CLIENTS
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_password_is_changed_and_the_old_one_refused(
    live: LiveRealm,
    user: str,
    tmp_path: Path,
    change: Kpasswd,
    kinit: Kinit,
    transport: Transport,
) -> None:
    """RFC 3244 and the older protocol; MIT asks by TCP whatever is configured."""
    realm = kpasswd.realm_for(live, tmp_path, transport)
    if change is kpasswd.mit_kpasswd:
        realm, transport = kpasswd.realm_for(live, tmp_path, "udp"), "tcp"
    told = change(realm, f"{user}@LAB.TEST", OLD, NEW, NEW)
    assert "Password changed" in told.output, told.output
    record = last_change(live, user)
    assert (record["Status"], record["transport"], record["kpasswd_result"]) == (
        "0x0",
        transport,
        0,
    )
    assert record["kpasswd_version"] == (1 if change is kpasswd.mit_kpasswd else 0xFF80)
    plain = kpasswd.realm_for(live, tmp_path, "udp")
    assert logs_on(plain, kinit, user, NEW)
    assert not logs_on(plain, kinit, user, OLD)


@_CLIENTS
def test_wrong_old_password_changes_nothing(
    live: LiveRealm, user: str, tmp_path: Path, change: Kpasswd, kinit: Kinit
) -> None:
    """The logon for kadmin/changepw proves it."""
    realm = kpasswd.realm_for(live, tmp_path, "udp")
    told = change(realm, f"{user}@LAB.TEST", "Wrong-Passw0rd", NEW, NEW)
    assert "changed" not in told.output
    assert logs_on(realm, kinit, user, OLD)
    refused = [r for r in live.audit() if r["TargetUserName"] == user and r["ref"]]
    assert {(r["Status"], r["ServiceName"]) for r in refused[:1]} == {("0x18", "kadmin/changepw")}


@_CLIENTS
@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("Sh0rt!!", "needs at least 8 characters"),
        ("only lower case letters", "needs 3 of these"),
        (OLD, "may not be one of the last 3"),
    ],
)
def test_weak_or_old_password_is_refused_in_words_that_help(
    live: LiveRealm,
    user: str,
    tmp_path: Path,
    change: Kpasswd,
    kinit: Kinit,
    password: str,
    says: str,
) -> None:
    """KRB5_KPASSWD_SOFTERROR with a text that clients show, and the reference for explain."""
    realm = kpasswd.realm_for(live, tmp_path, "udp")
    told = change(realm, f"{user}@LAB.TEST", OLD, password, password)
    assert says in told.output
    record = last_change(live, user)
    assert record["kpasswd_result"] == 4
    assert f"[ref {record['ref']}]" in told.output
    assert logs_on(realm, kinit, user, OLD)
    explained = live.kdc("explain", str(record["ref"]))
    assert "What to do" in explained
    assert "kadmin/changepw" in explained
    recorded = json.loads(live.kdc("explain", str(record["ref"]), "--json"))
    assert recorded["redacted"] is True
    assert recorded["steps"] == []


def test_mit_kinit_changes_a_password_that_must_be_and_goes_on(
    live: LiveRealm, tmp_path: Path
) -> None:
    """KDC_ERR_KEY_EXPIRED, then a ticket for kadmin/changepw, then a TGT with the new password."""
    name = f"user{next(_numbers)}"
    live.kdc("user", "add", name, "--password-stdin", "--must-change-password", stdin=OLD)
    realm = kpasswd.realm_for(live, tmp_path, "udp")
    told = kpasswd.mit_kinit_typed(realm, f"{name}@LAB.TEST", OLD, NEW, NEW)
    assert told.status == 0, told.output
    assert "Password expired" in told.output
    _, tickets = clients.klist(tmp_path / "cc-typed")
    assert [ticket.service for ticket in tickets] == ["krbtgt/LAB.TEST@LAB.TEST"]
    codes = [r["Status"] for r in live.audit() if r["TargetUserName"] == name]
    assert "0x17" in codes
    assert last_change(live, name)["Status"] == "0x0"
    assert logs_on(realm, clients.mit_kinit, name, NEW)


def test_heimdal_kinit_changes_a_password_that_must_be(live: LiveRealm, tmp_path: Path) -> None:
    """The same with Heimdal, at a terminal."""
    name = f"user{next(_numbers)}"
    live.kdc("user", "add", name, "--password-stdin", "--must-change-password", stdin=OLD)
    realm = kpasswd.realm_for(live, tmp_path, "udp")
    told = kpasswd.heimdal_kinit_typed(realm, f"{name}@LAB.TEST", OLD, NEW, NEW)
    assert told.status == 0, told.output
    assert last_change(live, name)["Status"] == "0x0"
    assert logs_on(realm, clients.heimdal_kinit, name, NEW)


def test_ticket_for_the_service_is_short_and_from_a_logon_only(
    live: LiveRealm, user: str, tmp_path: Path
) -> None:
    """Kinit -S gives five minutes, INITIAL, not forwardable; kvno with a TGT is refused."""
    realm = kpasswd.realm_for(live, tmp_path, "udp")
    principal = f"{user}@LAB.TEST"
    run = clients.mit_kinit(
        realm, principal, password=OLD, options=("-f", "-r", "7d", "-S", "kadmin/changepw")
    )
    assert run.status == 0, run.explain()
    _, (ticket,) = clients.klist(run.cache)
    assert (ticket.expires - ticket.starts).total_seconds() == 300
    assert set(ticket.flags) == {"I", "A"}
    tgt = clients.mit_kinit(realm, principal, password=OLD)
    asked = services.mit_kvno(realm, tgt.cache, "kadmin/changepw")
    assert asked.status != 0
    assert "KDC policy rejects request" in asked.output


def test_smart_card_user_and_user_without_password_are_told_so(
    live: LiveRealm, user: str, tmp_path: Path
) -> None:
    """An account that must log on with a key does not get as far as kpasswd by password."""
    live.kdc("user", "set", user, "--smartcard-required")
    realm = kpasswd.realm_for(live, tmp_path, "udp")
    told = kpasswd.mit_kpasswd(realm, f"{user}@LAB.TEST", OLD, NEW, NEW)
    assert told.status != 0
    assert "changed" not in told.output


def test_history_lets_an_old_password_back_after_enough_others(
    live: LiveRealm, user: str, tmp_path: Path
) -> None:
    """password_history = 3: the one in force and two before it."""
    realm = kpasswd.realm_for(live, tmp_path, "udp")
    principal = f"{user}@LAB.TEST"
    for old, new in itertools.pairwise((OLD, NEW, NEXT)):
        assert "Password changed" in kpasswd.heimdal_kpasswd(realm, principal, old, new, new).output
    assert "last 3" in kpasswd.heimdal_kpasswd(realm, principal, NEXT, OLD, OLD).output
    fourth = "Rubber-Band-10"
    kpasswd.heimdal_kpasswd(realm, principal, NEXT, fourth, fourth)
    assert "Password changed" in kpasswd.heimdal_kpasswd(realm, principal, fourth, OLD, OLD).output


def test_impacket_changes_and_resets_passwords_on_the_usual_ports(tmp_path: Path) -> None:
    """A third client: set-password by TCP on 464; an administrator's reset where it is allowed."""
    address = "127.0.0.98"
    for port in (88, 464):
        peers.need_port(address, port)
    made = make_realm(tmp_path / "state", address=address, port=88)
    for name in ("pat", "dora"):
        made.kdc("user", "add", name, "--password-stdin", stdin=OLD)
    made.kdc("group", "member-add", "Domain Admins", "pat")
    hosts = {"kdcHost": address, "kpasswdHost": address}
    with made.served():
        impacket.changePassword("pat", REALM, NEW, oldPasswd=OLD, **hosts)
        with pytest.raises(impacket.KPasswdError, match="needs 3 of these"):
            impacket.changePassword("pat", REALM, "lower case", oldPasswd=NEW, **hosts)
        with pytest.raises(impacket.KPasswdError, match="your own password only"):
            impacket.setPassword("pat", REALM, "dora", REALM, NEXT, oldPasswd=NEW, **hosts)
    with (made.state / "kdc.toml").open("a") as file:
        file.write("kpasswd_admin_reset = true\n")
    with made.served():
        impacket.setPassword("pat", REALM, "dora", REALM, NEXT, oldPasswd=NEW, **hosts)
        realm = kpasswd.realm_for(made, tmp_path, "udp")
        assert logs_on(realm, clients.mit_kinit, "dora", NEXT)
    resets = [r for r in made.audit() if r["EventID"] == 4724]
    assert [(r["account"], r.get("target"), r["kpasswd_result"]) for r in resets] == [
        ("pat", None, 5),
        ("pat", "dora", 0),
    ]
