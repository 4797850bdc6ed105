"""Cloud trust in realms that live in LDAP: objects written to Samba and OpenLDAP as the caller."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import peers, slapd
from tests.rig.clients import Run
from tests.rig.ldap_realm import local_options, served
from tests.rig.realm import LiveRealm
from tests.rig.samba_dc import BASE, HOST, SambaDc
from tests.rig.samba_realm import as_administrator, make_samba_realm, with_ticket
from tests.rig.secret_files import write_secret
from tests.rig.services import mit_kvno, tgs_errors
from tests.rig.slapd import Slapd

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def _mint(live: LiveRealm, folder: Path, user: str, key_file: Path) -> Path:
    """Make a partial TGT for a user with the exported key alone."""
    sid = json.loads(live.kdc("user", "show", user, "--json"))["sid"]
    cache = folder / f"{user}-{key_file.name}.cc"
    live.kdc(
        *("cloud-trust", "mint", user, "--key-file", str(key_file), "--sid", sid),
        *("--ccache", str(cache)),
    )
    return cache


def _export(live: LiveRealm, folder: Path, name: str) -> Path:
    file = folder / name
    live.kdc("cloud-trust", "export-key", "-o", str(file))
    return file


def _ask(live: LiveRealm, folder: Path, cache: Path, service: str) -> Run:
    return mit_kvno(live.client(folder), cache, service)


# -- Samba -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(samba_dc: SambaDc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve the domain's realm for the tests of this file."""
    made = make_samba_realm(samba_dc, tmp_path_factory.mktemp("samba-cloud") / "state")
    with made.served():
        yield made


def test_samba_takes_tickets_that_began_in_the_cloud(
    samba_dc: SambaDc, live: LiveRealm, tmp_path: Path
) -> None:
    """create, mint, MIT's kvno; ldapsearch -Y GSSAPI shows the groups that Samba knows."""
    admin = as_administrator(tmp_path)
    said = live.kdc("cloud-trust", "create", *admin)
    assert "this KDC knows it" in said
    (shown,) = json.loads(live.kdc("cloud-trust", "show", "--json"))
    assert shown["problems"] == []
    assert shown["allow"] == ["Domain Users"]
    assert {"Domain Admins", "Administrators", "Denied RODC Password Replication Group"} <= set(
        shown["deny"]
    )
    attributes = ("userAccountControl", "msDS-KrbTgtLink", "primaryGroupID")
    found = samba_dc.ldap(
        "ldapsearch", "-LLL", "-b", BASE, "(sAMAccountName=AzureADKerberos$)", *attributes
    ).stdout
    assert "userAccountControl: 67112960" in found
    assert f"msDS-KrbTgtLink: CN=krbtgt_AzureAD,CN=Users,{BASE}" in found
    first = _export(live, tmp_path, "first.key")
    cache = _mint(live, tmp_path, "kim", first)
    run = _ask(live, tmp_path, cache, f"ldap/{HOST}")
    assert run.status == 0, run.explain()
    program = peers.system_program("ldapsearch", "ldap-utils")
    done = with_ticket(
        samba_dc,
        live.client(tmp_path),
        cache,
        *(program.path, "-LLL", "-Y", "GSSAPI", "-H", f"ldap://{HOST}"),
        *("-s", "base", "-b", "", "(objectClass=*)", "tokenGroups"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    staff = samba_dc.ldap("ldapsearch", "-LLL", "-b", BASE, "(sAMAccountName=Staff)", "objectSid")
    sid = next(
        line.split()[1] for line in staff.stdout.splitlines() if line.startswith("objectSid")
    )
    assert sid in done.stdout
    # An administrator is denied, by Samba's own group of those who are.
    run = _ask(live, tmp_path, _mint(live, tmp_path, "Administrator", first), f"ldap/{HOST}")
    assert tgs_errors(run)[-1] == 20, run.explain()
    # Rotated once the old key is alive, twice it is not.
    for name, code in (("second.key", 0), ("third.key", 31)):
        assert "this KDC knows it" in live.kdc("cloud-trust", "rotate", *admin)
        newest = _mint(live, tmp_path, "kim", _export(live, tmp_path, name))
        assert _ask(live, tmp_path, newest, f"ldap/{HOST}").status == 0
        cache.unlink()
        run = _ask(live, tmp_path, _mint(live, tmp_path, "kim", first), f"ldap/{HOST}")
        assert (run.status == 0) == (code == 0), run.explain()
        if code:
            assert tgs_errors(run)[-1] == code, run.explain()
    assert "this KDC knows it" in live.kdc("cloud-trust", "delete", *admin)
    assert json.loads(live.kdc("cloud-trust", "show", "--json")) == []
    run = _ask(live, tmp_path, _mint(live, tmp_path, "kim", first), f"ldap/{HOST}")
    assert tgs_errors(run)[-1] == 7, run.explain()


# -- OpenLDAP --------------------------------------------------------------------------------


def test_openldap_holds_a_cloud_trust_with_sealed_keys(tmp_path: Path) -> None:
    """Number, SIDs and keys are ours to choose there; the keys are sealed with master.key."""
    more = slapd.person("pat", 1200) + slapd.person("eve", 1201) + _group() + _computer()
    directory = Slapd.make(tmp_path / "slapd", more=more)
    secret = write_secret(tmp_path / "admin", directory.password)
    admin = (
        *("--server", directory.ldaps_url),
        *("--bind-dn", slapd.ADMIN, "--bind-password-file", str(secret)),
    )
    sealed = ("--directory-key-source", "ldap-sealed")
    with (
        directory.running(),
        served(
            tmp_path,
            *local_options(directory),
            *sealed,
            more=f'directory.ca_file = "{directory.ca}"\n',
        ) as live,
    ):
        arguments = ("--number", "40000", "--allow", "Cloud Users")
        assert "this KDC knows it" in live.kdc("cloud-trust", "create", *arguments, *admin)
        live.kdc("cloud-trust", "create", *arguments, *admin, ok=(4,))
        (shown,) = json.loads(live.kdc("cloud-trust", "show", "--json"))
        assert (shown["number"], shown["problems"]) == (40000, [])
        assert (shown["allow"], shown["computer"]) == (["Cloud Users"], "AzureADKerberos$")
        live.kdc("keytab", "rotate", "PC1$", *admin)
        first = _export(live, tmp_path, "first.key")
        run = _ask(live, tmp_path, _mint(live, tmp_path, "pat", first), "host/pc1.lab.test")
        assert run.status == 0, run.explain()
        run = _ask(live, tmp_path, _mint(live, tmp_path, "eve", first), "host/pc1.lab.test")
        assert tgs_errors(run)[-1] == 20, run.explain()
        assert "this KDC knows it" in live.kdc("cloud-trust", "rotate", *admin)
        for name in (_export(live, tmp_path, "second.key"), first):
            run = _ask(live, tmp_path, _mint(live, tmp_path, "pat", name), "host/pc1.lab.test")
            assert run.status == 0, run.explain()
        assert "this KDC knows it" in live.kdc("cloud-trust", "delete", *admin)
        run = _ask(live, tmp_path, _mint(live, tmp_path, "pat", first), "host/pc1.lab.test")
        assert tgs_errors(run)[-1] == 7, run.explain()


def _group() -> str:
    return slapd.record(
        f"cn=Cloud Users,ou=groups,{slapd.BASE}",
        {
            "objectClass": ("group", "securityPrincipal"),
            "cn": "Cloud Users",
            "sAMAccountName": "Cloud Users",
            "objectSid": slapd.sid(1300),
            "groupType": "-2147483646",
            "member": f"uid=pat,{slapd.PEOPLE}",
        },
    )


def _computer() -> str:
    return slapd.record(
        f"cn=pc1,ou=services,{slapd.BASE}",
        {
            "objectClass": ("computer", "securityPrincipal", "keytrustPrincipal"),
            "cn": "pc1",
            "sAMAccountName": "PC1$",
            "objectSid": slapd.sid(1210),
            "userAccountControl": "4096",
            "primaryGroupID": "515",
            "servicePrincipalName": "host/pc1.lab.test",
        },
    )
