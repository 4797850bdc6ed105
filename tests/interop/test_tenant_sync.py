"""Keys that are registered in the tenant log on after a sync, and not before: MIT's kinit judges.

On a realm with a store of its own and on Samba AD. Nothing here uses our own client.
"""

import base64
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from pki.ca import certificates_from_pem
from tenant.sync.scp import scp_dn
from tests.rig import certificates, clients, peers, slapd
from tests.rig.certificates import Identity
from tests.rig.clients import Run
from tests.rig.ldap_realm import network_options
from tests.rig.realm import LiveRealm, make_realm
from tests.rig.samba_dc import BASE, HOST, USER_PASSWORD, SambaDc
from tests.rig.samba_realm import as_administrator, eventually, make_samba_realm, with_ticket
from tests.rig.slapd import Slapd
from tests.rig.tenant import make_tenant
from tests.rig.tenant_sync import (
    SYNC_ACCOUNT,
    TenantSides,
    binds_as,
    decoded_by_bloodyad,
    let_write_devices,
    make_sync_account,
    protect,
)

pytestmark = [pytest.mark.interop, pytest.mark.slow]

KDC_ERR_CLIENT_NOT_TRUSTED = 62
NO_SUCH_OBJECT = 32
ATTRIBUTE = "msDS-KeyCredentialLink"


class Hello:
    """A Hello key under an issuer that MIT's client knows, and logons with it."""

    def __init__(self, live: LiveRealm, folder: Path) -> None:
        self.issuer = certificates.throwaway_issuer(folder)
        self.key = certificates.new_key()
        self.leaf: Identity = certificates.leaf(folder, "hello", self.key, self.issuer)
        self.realm = live.client(folder, self.issuer.certificate)

    def kinit(self, name: str) -> Run:
        """Log on by MIT's client."""
        return clients.mit_kinit(self.realm, name, identity=self.leaf)

    def works(self, name: str) -> bool:
        """Tell whether a logon works."""
        return self.kinit(name).status == 0


def _key_trust_alone(live: LiveRealm) -> LiveRealm:
    """Take the logon CA away: an unknown key is then 62 whoever signed its certificate (K01).

    MIT's client sends no certificate but one with an issuer.
    """
    (live.state / "pki/logon-cas/realm-ca.pem").unlink()
    return live


# -- a realm with a store of its own ---------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve a realm for the tests of this file."""
    live = _key_trust_alone(make_realm(tmp_path_factory.mktemp("sync-realm") / "state"))
    with live.served():
        yield live


@pytest.fixture
def sides(embedded: LiveRealm, tmp_path: Path) -> TenantSides:
    return TenantSides(tenant=make_tenant(tmp_path / "tenant", embedded.state))


def test_a_registered_key_logs_on_after_the_sync_and_not_before(
    embedded: LiveRealm, sides: TenantSides, tmp_path: Path
) -> None:
    """Flow P4 D on the embedded store: 62, sync, ticket; removed in the tenant: 62 again."""
    embedded.kdc("user", "add", "hana")
    hello = Hello(embedded, tmp_path)
    assert [done["act"] for done in sides.sync()["done"]] == ["user added"]
    device_id = sides.join("laptop", "hana@lab.test", tmp_path)
    kid = sides.register("hana@lab.test", device_id, hello.key)
    refused = hello.kinit("hana")
    assert KDC_ERR_CLIENT_NOT_TRUSTED in refused.kdc_errors, refused.explain()
    report = sides.sync()
    assert [done["act"] for done in report["done"]] == ["key written", "device object written"]
    run = hello.kinit("hana")
    assert run.status == 0, run.explain()
    (row,) = json.loads(embedded.kdc("key", "list", "hana", "--json"))
    assert (row["source"], row["device_id"], row["warnings"]) == ("AzureAD", str(device_id), [])
    told = embedded.kdc("key", "show", row["key_id"][:16])
    assert str(device_id) in told and "usable" in told
    (shown,) = json.loads(embedded.kdc("device", "list", "--json"))
    assert (shown["device_id"], shown["owner"]) == (str(device_id), "hana")
    sides.set_enabled(device_id, enabled=False)  # row K11
    sides.sync()
    assert KDC_ERR_CLIENT_NOT_TRUSTED in hello.kinit("hana").kdc_errors
    sides.set_enabled(device_id, enabled=True)
    sides.sync()
    assert hello.works("hana")
    sides.remove_key(kid)
    sides.sync()
    assert KDC_ERR_CLIENT_NOT_TRUSTED in hello.kinit("hana").kdc_errors


def test_an_embedded_realm_has_no_service_connection_point(
    embedded: LiveRealm, sides: TenantSides
) -> None:
    """It says so, where it would be, and what it would say."""
    done = _tenant(sides, "scp", "check")
    assert done.returncode == 1
    assert "there is no place for a service connection point" in done.stderr
    assert "CN=62a0ff2e-97b9-4513-943f-0d221bd30080,CN=Device Registration" in done.stderr


def test_two_runs_keep_each_other_out(sides: TenantSides) -> None:
    """The second one says so and does nothing."""
    with (sides.tenant.state / "sync.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = _tenant(sides, "sync", "--once")
    assert done.returncode == 4
    assert "another sync of this tenant is running" in done.stderr
    assert sides.sync()["problems"] == []


def test_an_interval_goes_on_until_it_is_stopped(embedded: LiveRealm, sides: TenantSides) -> None:
    """One line of JSON a run; SIGTERM ends it in order."""
    embedded.kdc("user", "add", "ivan")
    process = subprocess.Popen(
        [*_COMMAND, "sync", "--interval", "1", "--json"],
        cwd=peers.ROOT,
        env=sides.tenant.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    process.terminate()
    assert process.wait(30) == 0
    assert "ivan@lab.test" in {done["name"] for done in first["done"]}
    assert second["done"] == []


_COMMAND = (sys.executable, "-m", "tenant")


def _tenant(sides: TenantSides, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*_COMMAND, *arguments],
        cwd=peers.ROOT,
        env=sides.tenant.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- OpenLDAP --------------------------------------------------------------------------------


def test_openldap_gets_keys_and_devices_and_gives_certificates(tmp_path: Path) -> None:
    """With the schema and access rules of conf/ldap: the sync job is a member of Key Admins."""
    job = f"uid=job,{slapd.PEOPLE}"
    server = Slapd.make(tmp_path / "slapd", users=1, more=_people())
    with server.running():
        server.change(f"cn=Key Admins,ou=groups,{slapd.BASE}", "add", "member", job)
        live = make_realm(tmp_path / "realm", *network_options(server, tmp_path, server.ldaps_url))
        sides = TenantSides(tenant=make_tenant(tmp_path / "tenant", live.state))
        binds_as(sides, job, _JOB_PASSWORD)
        with _key_trust_alone(live).served():
            _openldap_flow(server, live, sides, tmp_path)


_JOB_PASSWORD = "Job-Secret-1"  # noqa: S105  # of this private server


def _people() -> str:
    """Write the records of a user, of the sync job's account and of a computer."""
    computer = slapd.record(
        f"cn=pc1,{slapd.PEOPLE}",
        {
            "objectClass": ("computer", "securityPrincipal"),
            "cn": "pc1",
            "sAMAccountName": "PC1$",
            "objectSid": slapd.sid(1210),
            "userAccountControl": "4096",
        },
    )
    job = slapd.person("job", 1201, userPassword=_JOB_PASSWORD)
    return slapd.person("olga", 1200) + job + computer


def _openldap_flow(server: Slapd, live: LiveRealm, sides: TenantSides, folder: Path) -> None:
    names = {done["name"] for done in sides.sync()["done"]}
    assert {"olga@lab.test", "user0000@lab.test"} <= names
    hello = Hello(live, folder)
    device_id = sides.join("laptop", "olga@lab.test", folder)
    kid = sides.register("olga@lab.test", device_id, hello.key)
    assert KDC_ERR_CLIENT_NOT_TRUSTED in hello.kinit("olga").kdc_errors
    report = sides.sync()
    assert report["problems"] == []
    assert [done["act"] for done in report["done"]] == ["key written", "device object written"]
    eventually(lambda: hello.works("olga"), "the key came to slapd and not to the KDC")
    found = server.values(f"cn={device_id},ou=devices,{slapd.BASE}", "displayName")
    assert found == ("laptop",)
    sides.set_enabled(device_id, enabled=False)
    sides.sync()
    eventually(lambda: not hello.works("olga"), "the device is disabled and its key logs on")
    sides.remove_key(kid)
    sides.sync()
    assert server.values(f"uid=olga,{slapd.PEOPLE}", ATTRIBUTE) == ()
    # A computer's certificate: entryUUID stands for the objectGUID.
    pc = f"cn=pc1,{slapd.PEOPLE}"
    guid = UUID(server.values(pc, "entryUUID")[0])
    own = _der(certificates.self_signed(folder, str(guid), certificates.new_key()))
    server.change(pc, "add", "userCertificate;binary", own)
    assert [done["act"] for done in sides.sync()["done"]] == ["device added"]
    record = sides.device(guid)
    assert record is not None and record.user_certificate == own
    done = _tenant(sides, "scp", "check")
    assert (done.returncode, "no configuration partition" in done.stderr) == (1, True)


# -- Samba -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(samba_dc: SambaDc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve the domain's realm for the tests of this file."""
    made = make_samba_realm(samba_dc, tmp_path_factory.mktemp("samba-sync") / "state")
    make_sync_account(samba_dc)
    _key_trust_alone(made)
    with made.served():
        yield made


@pytest.fixture
def above(live: LiveRealm, tmp_path: Path) -> TenantSides:
    """Make a tenant whose sync job is an account of its own in the domain."""
    tenant = make_tenant(tmp_path / "tenant", live.state, "--domain", "lab.example")
    made = TenantSides(tenant=tenant)
    binds_as(made, f"CN={SYNC_ACCOUNT},CN=Users,{BASE}", USER_PASSWORD)
    return made


def _values(dc: SambaDc, name: str, attribute: str = ATTRIBUTE) -> list[str]:
    done = dc.ldap(
        *("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", BASE),
        *(f"(sAMAccountName={name})", attribute),
    )
    start = f"{attribute}: "
    return [line.removeprefix(start) for line in done.stdout.splitlines() if line.startswith(start)]


def test_samba_gets_the_key_and_a_protected_account_does_not(
    samba_dc: SambaDc, live: LiveRealm, above: TenantSides, tmp_path: Path
) -> None:
    """Flow P4 D on Samba AD; what stands there, octet by octet, as bloodyAD reads it."""
    # Other tests leave CN=RegisteredDevices in this domain, and keys are what this one is about.
    above.configure("sync_device_writeback = false\n")
    for name in ("sora", "root2"):
        samba_dc.tool("user", "create", name, USER_PASSWORD)
    samba_dc.tool("group", "addmembers", "Domain Admins", "root2")
    protect(samba_dc, "root2")
    above.sync()
    hello, other = Hello(live, tmp_path), certificates.new_key()
    device_id = above.join("laptop", "sora@lab.example", tmp_path)
    kid = above.register("sora@lab.example", device_id, hello.key)
    above.register("root2@lab.example", device_id, other)
    refused = hello.kinit("sora")
    assert KDC_ERR_CLIENT_NOT_TRUSTED in refused.kdc_errors, refused.explain()
    report = above.sync()
    assert [done["name"] for done in report["done"]] == ["sora"]
    grades = {(problem["name"], problem["grade"]) for problem in report["problems"]}
    assert ("root2", "protected") in grades
    assert _values(samba_dc, "root2") == []
    (value,) = _values(samba_dc, "sora")
    assert value.endswith(f":{samba_dc.dn('sora')}")
    entries = decoded_by_bloodyad(value)
    assert list(entries) == [
        *("Version", "KeyID", "KeyHash", "KeyMaterial", "KeyUsage", "KeySource", "DeviceId"),
        *("CustomKeyInformation", "KeyApproximateLastLogonTimeStamp", "KeyCreationTime"),
    ]
    assert (entries["Version"], entries["KeyUsage"], entries["KeySource"]) == (0x200, "01", "01")
    assert UUID(bytes_le=bytes.fromhex(entries["DeviceId"])) == device_id
    assert entries["CustomKeyInformation"] == "0100"
    eventually(lambda: hello.works("sora"), "the key came to Samba and not to the KDC")
    above.remove_key(kid)
    above.sync()
    assert _values(samba_dc, "sora") == []
    eventually(lambda: not hello.works("sora"), "the key was removed and still logs on")


def test_samba_keeps_a_key_that_somebody_else_registered(
    samba_dc: SambaDc, live: LiveRealm, above: TenantSides, tmp_path: Path
) -> None:
    """Kdc key add by an administrator: not ours before, not ours after."""
    # Other tests leave CN=RegisteredDevices in this domain, and keys are what this one is about.
    above.configure("sync_device_writeback = false\n")
    samba_dc.tool("user", "create", "theo", USER_PASSWORD)
    file = certificates.self_signed(tmp_path, "theirs", certificates.new_key()).certificate
    live.kdc("key", "add", "theo", str(file), *as_administrator(tmp_path))
    theirs = _values(samba_dc, "theo")
    above.sync()
    device_id = above.join("desk", "theo@lab.example", tmp_path)
    kid = above.register("theo@lab.example", device_id, certificates.new_key())
    above.sync()
    assert len(_values(samba_dc, "theo")) == 2
    above.remove_key(kid)
    above.sync()
    assert _values(samba_dc, "theo") == theirs


def test_a_computer_of_samba_finds_the_tenant_and_registers_its_certificate(
    samba_dc: SambaDc, live: LiveRealm, above: TenantSides, tmp_path: Path
) -> None:
    """Flows R3 B, C and D: ldapsearch and ldapmodify with the computer's own ticket."""
    for dn in (scp_dn(f"CN=Configuration,{BASE}"), f"CN=RegisteredDevices,{BASE}"):
        gone = samba_dc.ldap("ldapdelete", "-r", dn)  # another test may have made it
        assert gone.returncode in (0, NO_SUCH_OBJECT), gone.stderr
    none = _tenant(above, "scp", "check")
    assert none.returncode == 3, none.stderr
    create = ("scp", "create", "--device-container", *as_administrator(tmp_path))
    assert {line.split()[0] for line in above.tenant.tenant(*create).splitlines()} == {
        "wrote",
        "made",
    }
    again = above.tenant.tenant(*create).splitlines()
    assert [line.split()[0] for line in again] == ["unchanged:", "unchanged:"]
    above.tenant.tenant("scp", "check")
    shown = json.loads(above.tenant.tenant("scp", "show", "--json"))
    assert shown["problems"] == []
    # The computer's own ticket, from its keys in Samba's export.
    samba_dc.tool("computer", "create", "PC7")
    samba_dc.tool("user", "setpassword", "PC7$", f"--newpassword={USER_PASSWORD}")
    samba_dc.tool("user", "enable", "PC7$")
    keytab = samba_dc.exported_keytab(tmp_path / "all.keytab")
    cache = tmp_path / "pc7.cc"
    realm = live.client(tmp_path)
    kinit = peers.mit_program("kinit")
    logon = with_ticket(
        samba_dc, realm, cache, kinit.path, "-k", "-t", str(keytab), "PC7$@LAB.EXAMPLE"
    )
    assert logon.returncode == 0, logon.stderr
    search = peers.system_program("ldapsearch", "ldap-utils").path
    as_pc = ("-Y", "GSSAPI", "-Q", "-H", f"ldap://{HOST}")
    found = with_ticket(
        *(samba_dc, realm, cache, search, "-LLL", *as_pc, "-s", "base", "-b", shown["dn"]),
        *("(objectClass=serviceConnectionPoint)", "keywords"),
    )
    assert {line for line in found.stdout.splitlines() if line.startswith("keywords")} == {
        f"keywords: {word}" for word in shown["keywords"]
    }
    guid = _guid(samba_dc, "PC7$")
    own = certificates.self_signed(tmp_path, str(guid), certificates.new_key())
    der = tmp_path / "pc7.der"
    der.write_bytes(_der(own))
    modify = peers.system_program("ldapmodify", "ldap-utils").path
    # Its own entry, and nobody else's.
    for name, code in (("PC1$", 50), ("PC7$", 0)):
        change = tmp_path / "change.ldif"
        change.write_text(
            f"dn: {samba_dc.dn(name)}\nchangetype: modify\nadd: userCertificate\n"
            f"userCertificate:< file://{der}\n"
        )
        done = with_ticket(samba_dc, realm, cache, modify, *as_pc, "-f", str(change))
        assert done.returncode == code, done.stderr
    above.sync()
    record = above.device(guid)
    assert record is not None
    assert (record.onprem_guid, record.user_certificate, record.certificate) == (
        guid,
        der.read_bytes(),
        None,
    )
    assert record.sid is not None and record.sid.startswith("S-1-5-21-")


def _der(identity: Identity) -> bytes:
    return certificates_from_pem(identity.certificate.read_bytes())[0]


def _guid(dc: SambaDc, name: str) -> UUID:
    done = dc.ldap("ldapsearch", "-LLL", "-b", BASE, f"(sAMAccountName={name})", "objectGUID")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("objectGUID:: "))
    return UUID(bytes_le=base64.b64decode(line.partition(":: ")[2]))


def test_device_objects_come_back_to_samba(
    samba_dc: SambaDc, live: LiveRealm, above: TenantSides, tmp_path: Path
) -> None:
    """Flow R4 G: msDS-Device below CN=RegisteredDevices; disabled above, its key is refused."""
    above.tenant.tenant("scp", "create", "--device-container", *as_administrator(tmp_path))
    place = let_write_devices(samba_dc)
    samba_dc.tool("user", "create", "uma", USER_PASSWORD)
    above.sync()
    hello = Hello(live, tmp_path)
    device_id = above.join("uma's laptop", "uma@lab.example", tmp_path)
    above.register("uma@lab.example", device_id, hello.key)
    report = above.sync()
    assert report["problems"] == []
    found = samba_dc.ldap(
        *("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", place, f"(cn={device_id})"),
    ).stdout
    assert "displayName: uma's laptop" in found
    assert "msDS-IsEnabled: TRUE" in found
    assert "altSecurityIdentities: X509:<SHA1-TP-PUBKEY>" in found
    assert "msDS-DeviceOSType: Windows" in found
    assert above.sync()["done"] == []
    eventually(lambda: hello.works("uma"), "the key came to Samba and not to the KDC")
    above.set_enabled(device_id, enabled=False)
    assert [done["act"] for done in above.sync()["done"]] == ["device object written"]
    eventually(lambda: not hello.works("uma"), "the device is disabled and its key logs on")
    assert KDC_ERR_CLIENT_NOT_TRUSTED in hello.kinit("uma").kdc_errors


def test_a_directory_that_cannot_be_reached_changes_nothing(
    live: LiveRealm, above: TenantSides
) -> None:
    """Exit 6, three lines, and a tenant as it was; a wrong password is 5."""
    above.sync()
    before = above.dump()
    text = (above.tenant.state / "tenant.toml").read_text()
    above.configure('sync_server = "ldaps://127.0.0.1:9"\n')
    done = _tenant(above, "sync", "--once")
    assert done.returncode == 6, done.stderr
    assert len(done.stderr.splitlines()) == 3
    (above.tenant.state / "tenant.toml").write_text(text)
    (above.tenant.state / "sync-password").write_text("wrong\n")
    done = _tenant(above, "sync", "--once")
    assert done.returncode == 5, done.stderr
    assert above.dump() == before
