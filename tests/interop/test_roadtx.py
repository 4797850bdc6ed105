"""roadtx, unmodified and with TLS verified, through the tenant into a realm with its own store."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.rig import certificates, clients
from tests.rig.hello_story import Story, hybrid_join
from tests.rig.realm import LiveRealm, make_realm
from tests.rig.roadtx import Roadtx
from tests.rig.tenant import LiveTenant, make_tenant, password

pytestmark = [pytest.mark.interop, pytest.mark.slow]

KDC_ERR_CLIENT_NOT_TRUSTED = 62
WEB = "host/web.lab.test"
COMPUTER = "PC7$"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveRealm, LiveTenant, Path]]:
    """Serve a realm with a cloud trust and a tenant of it; users wendy and max are synced."""
    folder = tmp_path_factory.mktemp("roadtx")
    live = make_realm(folder / "kdc")
    # An unknown key is 62 whoever certified it, where no CA may certify logons (row K01): MIT's
    # client sends no certificate but one with an issuer.
    (live.state / "pki/logon-cas/realm-ca.pem").unlink()
    for user in ("wendy", "max"):
        live.kdc("user", "add", user, "--upn", f"{user}@lab.test")
    live.kdc("user", "add", COMPUTER)
    live.kdc("service", "add", WEB)
    live.kdc("cloud-trust", "create")
    key = folder / "cloud.key"
    live.kdc("cloud-trust", "export-key", "-o", str(key))
    tenant = make_tenant(folder / "tenant", live.state, "--cloud-key", str(key))
    tenant.tenant("sync", "--once")
    with live.served(), tenant.served():
        yield live, tenant, folder


def _user(tenant: LiveTenant, name: str, mfa: str = "assumed") -> str:
    secret = password()
    tenant.tenant("user", "password", name, "--password-stdin", stdin=secret)
    tenant.tenant("user", "mfa", name, mfa)
    return secret


@pytest.fixture(scope="module")
def story(site: tuple[LiveRealm, LiveTenant, Path]) -> Story:
    """Let wendy go the whole way once."""
    live, tenant, folder = site
    place = folder / "wendy"
    place.mkdir()
    told = Story(
        live=live,
        tenant=tenant,
        folder=place,
        user="wendy",
        upn="wendy@lab.test",
        password=_user(tenant, "wendy"),
    )
    told.join_and_register()
    told.log_on_around_the_sync()
    return told


def test_roadtx_joins_a_device(story: Story) -> None:
    """R1 A to H: the certificate that came back names the device that the tenant wrote down."""
    pem = (story.folder / "pc1.pem").read_bytes()
    (name,) = x509.load_pem_x509_certificate(pem).subject.get_attributes_for_oid(
        NameOID.COMMON_NAME
    )
    (device,) = (found for found in story.devices() if found["name"] == "pc1")
    assert (device["device_id"], device["join_type"]) == (name.value, "joined")
    assert device["owner"] == story.upn


def test_roadtx_registers_a_hello_key(story: Story) -> None:
    """P1/P3/P4 A to C: on the device, by a token of the PRT that carries a fresh second factor."""
    (key,) = story.keys()
    assert (key["device"], key["bits"]) == ("pc1", 2048)


def test_the_hello_key_gets_a_prt_and_renews_it(story: Story) -> None:
    """A1 A to E: nonce, assertion, PRT with a session key; the renewal is another token."""
    tokens = {
        prt["refresh_token"] for prt in (story.password_prt, story.hello_prt, story.renewed_prt)
    }
    assert len(tokens) == 3
    assert len(bytes.fromhex(story.hello_prt["session_key"])) == 32
    assert story.renewed_prt["session_key"] == story.hello_prt["session_key"]


def test_an_access_token_of_the_prt_names_user_and_device(story: Story) -> None:
    """PRT use: roadtx decrypts the answer and keeps a token for the audience it asked for."""
    story.roadtx.run("prtauth", "-c", "broker", "-r", "drs")
    said = story.roadtx.run("describe")
    assert '"aud": "urn:ms-drs:enterpriseregistration.windows.net"' in said
    assert f'"upn": "{story.upn}"' in said
    assert f'"deviceid": "{story.keys()[0]["device_id"]}"' in said


def test_before_the_sync_the_key_is_not_trusted(story: Story) -> None:
    """P4 D: the user cannot sign in before the key is in the directory (62)."""
    assert story.before_sync.kdc_errors[-1] == KDC_ERR_CLIENT_NOT_TRUSTED, (
        story.before_sync.explain()
    )
    assert story.before_sync.status != 0


def test_after_the_sync_kinit_has_a_tgt(story: Story) -> None:
    """P4 D, A6: the same key, the same certificate, MIT's and Heimdal's kinit."""
    assert story.after_sync.status == 0, story.after_sync.explain()
    owner, tickets = clients.klist(story.after_sync.cache)
    assert owner == "wendy@LAB.TEST"
    assert [ticket.service for ticket in tickets] == ["krbtgt/LAB.TEST@LAB.TEST"]
    assert story.heimdal.status == 0, story.heimdal.explain()


@pytest.mark.parametrize("prt", ["hello.prt", "roadtx.prt"])
def test_the_partial_tgt_becomes_a_full_one_and_a_service_ticket(story: Story, prt: str) -> None:
    """A2 B, A5 C to E: tgt_ad of the PRT, and of its renewal, redeemed at the KDC."""
    owner, tickets = clients.klist(story.redeem(WEB, prt=prt))
    assert owner == "wendy@LAB.TEST"
    assert {ticket.service for ticket in tickets} == {
        "krbtgt/LAB.TEST@LAB.TEST",
        f"{WEB}@LAB.TEST",
    }


def test_cloud_trust_needs_no_sync(site: tuple[LiveRealm, LiveTenant, Path]) -> None:
    """P3: sign-in works at once; max' key never reaches the realm."""
    live, tenant, folder = site
    place = folder / "max"
    place.mkdir()
    story = Story(
        live=live,
        tenant=tenant,
        folder=place,
        user="max",
        upn="max@lab.test",
        password=_user(tenant, "max"),
    )
    story.join_and_register("pc9")
    assert story.kinit().kdc_errors[-1] == KDC_ERR_CLIENT_NOT_TRUSTED
    owner, tickets = clients.klist(story.redeem(WEB))
    assert (owner, len(tickets)) == ("max@LAB.TEST", 2)


def test_without_a_second_factor_no_key_is_registered(
    site: tuple[LiveRealm, LiveTenant, Path], tmp_path: Path
) -> None:
    """P1 A, row R07: a user without one signs in, and is refused by the key registration."""
    _, tenant, _ = site
    tenant.tenant("user", "add", "nora", "--password-stdin", stdin="Weit-und-breit-9")
    roadtx = Roadtx(folder=tmp_path, tenant=tenant)
    sign_in = ("-u", "nora@lab.test", "-p", "Weit-und-breit-9")
    roadtx.run("gettokens", *sign_in, "-c", "broker", "-r", "drs")
    roadtx.run("device", "-a", "join", "-n", "pc3", "-d", "lab.test")
    roadtx.run("prt", *sign_in, "-c", "pc3.pem", "-k", "pc3.key")
    roadtx.run("prtauth", "-c", "broker", "-r", "drs")
    said = roadtx.attempt("winhello", "-k", "hello.key")
    assert "'kid'" not in said.stdout
    assert json.loads(tenant.tenant("key", "list", "nora", "--json")) == []


def test_a_device_deletes_itself_with_its_certificate(
    site: tuple[LiveRealm, LiveTenant, Path], tmp_path: Path
) -> None:
    """MS-DVRJ 3.1.5.1.2: TLS with the device certificate; afterwards it is no device any more."""
    _, tenant, _ = site
    tenant.tenant("user", "add", "dora", "--password-stdin", "--mfa=assumed", stdin="Hin-und-weg-4")
    roadtx = Roadtx(folder=tmp_path, tenant=tenant)
    sign_in = ("-u", "dora@lab.test", "-p", "Hin-und-weg-4")
    roadtx.run("gettokens", *sign_in, "-c", "broker", "-r", "drs")
    roadtx.run("device", "-a", "join", "-n", "pc4", "-d", "lab.test")
    machine = ("-c", "pc4.pem", "-k", "pc4.key")
    assert "was deleted" in roadtx.run("device", "-a", "delete", *machine)
    names = [d["name"] for d in json.loads(tenant.tenant("device", "list", "--json"))]
    assert "pc4" not in names
    assert roadtx.attempt("prt", *sign_in, *machine).returncode != 0


def test_a_domain_computer_joins_by_its_certificate(
    site: tuple[LiveRealm, LiveTenant, Path], tmp_path: Path
) -> None:
    """R3 C to H: userCertificate, sync up, signed SID; before the sync the computer is unknown."""
    live, tenant, _ = site
    account = json.loads(live.kdc("user", "show", COMPUTER, "--json"))
    key = certificates.new_key()
    own = certificates.self_signed(tmp_path, account["object_guid"], key)
    roadtx = Roadtx(folder=tmp_path, tenant=tenant)
    join = hybrid_join(own, account["sid"], tenant, "pc7")
    assert "Error registering device" in roadtx.attempt(*join).stdout
    live.kdc("user", "certificate", COMPUTER, "--add", str(own.certificate))
    tenant.tenant("sync", "--once")
    roadtx.run(*join)
    (device,) = (
        found
        for found in json.loads(tenant.tenant("device", "list", "--json"))
        if found["device_id"] == account["object_guid"]
    )
    assert (device["join_type"], device["joined"], device["sid"]) == (
        "hybrid",
        True,
        account["sid"],
    )
    # The device that joined so asks for PRTs of its users.
    machine = ("-c", "pc7_aad.pem", "-k", "pc7_aad.key")
    tenant.tenant("user", "add", "hugo", "--password-stdin", stdin="Weit-und-breit-9")
    roadtx.run("prt", "-u", "hugo@lab.test", "-p", "Weit-und-breit-9", *machine)
    assert roadtx.prt()["session_key"]


def test_a_host_beside_the_lab_is_not_reached(story: Story) -> None:
    """The proxy is no way out: roadtx' call of another service ends at the proxy's 403."""
    roadtx = story.roadtx
    sign_in = ("-u", story.upn, "-p", story.password, "-c", "broker")
    roadtx.run("gettokens", *sign_in, "-r", "https://graph.microsoft.com")
    done = roadtx.attempt("graphrequest", "https://graph.microsoft.com/v1.0/me")
    assert done.returncode != 0
    assert "403" in done.stdout + done.stderr
    log = (story.tenant.state / "audit.jsonl").read_text().splitlines()
    record = json.loads(log[-1])
    assert (record["method"], record["host"]) == ("CONNECT", "graph.microsoft.com")
