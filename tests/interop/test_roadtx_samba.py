"""roadtx, unmodified, through the tenant into a Samba Active Directory domain."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.ca import certificates_from_pem
from tests.rig import certificates, clients
from tests.rig.hello_story import Story, hybrid_join
from tests.rig.realm import LiveRealm
from tests.rig.roadtx import Roadtx
from tests.rig.samba_dc import BASE, HOST, USER_PASSWORD, SambaDc
from tests.rig.samba_realm import as_administrator, eventually, make_samba_realm, with_ticket
from tests.rig.services import mit_kvno
from tests.rig.tenant import LiveTenant, make_tenant, password
from tests.rig.tenant_sync import (
    SYNC_ACCOUNT,
    TenantSides,
    binds_as,
    let_write_devices,
    make_sync_account,
)

pytestmark = [pytest.mark.interop, pytest.mark.slow]

KDC_ERR_CLIENT_NOT_TRUSTED = 62
USER = "kim"


@pytest.fixture(scope="module")
def site(
    samba_dc: SambaDc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveRealm, LiveTenant, Path]]:
    """Serve the domain's realm with a cloud trust, and a tenant of it."""
    folder = tmp_path_factory.mktemp("roadtx-samba")
    live = make_samba_realm(samba_dc, folder / "kdc")
    (live.state / "pki/logon-cas/realm-ca.pem").unlink()  # an unknown key is then 62 (row K01)
    with live.served():
        admin = as_administrator(folder)
        live.kdc("cloud-trust", "create", *admin)
        key = folder / "cloud.key"
        live.kdc("cloud-trust", "export-key", "-o", str(key))
        tenant = make_tenant(
            folder / "tenant", live.state, "--cloud-key", str(key), domain="lab.example"
        )
        make_sync_account(samba_dc)
        let_write_devices(samba_dc)  # other tests may have made the place for them
        sides = TenantSides(tenant=tenant)
        binds_as(sides, f"CN={SYNC_ACCOUNT},CN=Users,{BASE}", USER_PASSWORD)
        sides.sync()
        with tenant.served():
            yield live, tenant, folder
        live.kdc("cloud-trust", "delete", *admin)


@pytest.fixture(scope="module")
def story(site: tuple[LiveRealm, LiveTenant, Path]) -> Story:
    """Let kim go the whole way once."""
    live, tenant, folder = site
    place = folder / USER
    place.mkdir()
    users = json.loads(tenant.tenant("user", "list", "--json"))
    (upn,) = (user["upn"] for user in users if user["onprem_sam"] == USER)
    secret = password()
    tenant.tenant("user", "password", upn, "--password-stdin", stdin=secret)
    tenant.tenant("user", "mfa", upn, "assumed")
    told = Story(live=live, tenant=tenant, folder=place, user=USER, upn=upn, password=secret)
    told.join_and_register()
    told.log_on_around_the_sync()
    return told


def test_the_key_logs_on_after_the_sync_and_not_before(story: Story) -> None:
    """P4 A to D on Active Directory: 62, sync into msDS-KeyCredentialLink, MIT's and Heimdal's."""
    assert story.before_sync.kdc_errors[-1] == KDC_ERR_CLIENT_NOT_TRUSTED, (
        story.before_sync.explain()
    )
    assert story.after_sync.status == 0, story.after_sync.explain()
    assert story.heimdal.status == 0, story.heimdal.explain()


def test_samba_takes_the_ticket_that_began_as_a_prt(samba_dc: SambaDc, story: Story) -> None:
    """A5 C to E: tgt_ad of the Hello key's PRT, redeemed; the domain's LDAP takes the ticket."""
    cache = story.redeem(f"ldap/{HOST}")
    owner, tickets = clients.klist(cache)
    assert (owner, len(tickets)) == (f"{USER}@LAB.EXAMPLE", 2)
    done = with_ticket(
        samba_dc,
        story.live.client(story.folder),
        cache,
        *("ldapsearch", "-LLL", "-Y", "GSSAPI", "-H", f"ldap://{HOST}"),
        *("-s", "base", "-b", "", "(objectClass=*)", "tokenGroups"),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_samba_takes_the_ticket_of_the_hello_key(story: Story) -> None:
    """A6: a service ticket of the domain by the TGT that the synced key got."""
    run = mit_kvno(story.live.client(story.folder), story.after_sync.cache, f"ldap/{HOST}")
    assert run.status == 0, run.explain()


def test_a_domain_computer_joins_by_its_certificate(
    samba_dc: SambaDc, site: tuple[LiveRealm, LiveTenant, Path], tmp_path: Path
) -> None:
    """R3 B to H: userCertificate in Active Directory, sync up, the computer's signed SID."""
    live, tenant, _ = site
    samba_dc.tool("computer", "create", "PC8")
    samba_dc.tool("user", "setpassword", "PC8$", f"--newpassword={USER_PASSWORD}")
    samba_dc.tool("user", "enable", "PC8$")  # Samba makes computers disabled
    show = ("user", "show", "PC8$", "--json")
    eventually(lambda: '"disabled": false' in live.kdc(*show, ok=(0, 3)), "PC8$ has not come")
    account = json.loads(live.kdc(*show))
    own = certificates.self_signed(tmp_path, account["object_guid"], certificates.new_key())
    (der,) = certificates_from_pem(own.certificate.read_bytes())
    samba_dc.modify(
        f"dn: {samba_dc.dn('PC8$')}\nchangetype: modify\nadd: userCertificate\n"
        f"userCertificate:: {base64.b64encode(der).decode()}\n"
    )
    tenant.tenant("sync", "--once")
    said = Roadtx(folder=tmp_path, tenant=tenant).run(
        *hybrid_join(own, account["sid"], tenant, "pc8")
    )
    found = json.loads(tenant.tenant("device", "show", account["object_guid"], "--json"))
    assert (found["joined"], found["join_type"]) == (True, "hybrid"), said
