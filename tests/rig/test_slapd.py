"""The private OpenLDAP server answers each way in, keeps secrets from users, and replicates."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import slapd
from tests.rig.slapd import Slapd

pytestmark = pytest.mark.interop

_INSUFFICIENT_ACCESS = 50
_CONFIDENTIALITY_REQUIRED = 13
_CONSTRAINT_VIOLATION = 19
_PAT = "Pat-Secret-1"
_KIM = "Kim-Secret-1"
_KEY = "B:4:CAFE:uid=user0000,ou=people,dc=lab,dc=test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    made = Slapd.make(
        tmp_path_factory.mktemp("ldap") / "slapd",
        users=3,
        more=slapd.person("pat", 1200, userPassword=_PAT)
        + slapd.person("kim", 1201, userPassword=_KIM),
    )
    with made.running():
        yield made


def test_an_account_is_found_by_its_name_in_any_case(server: Slapd) -> None:
    """The schema has equality rules, which OpenLDAP's own msuser.ldif lacks."""
    done = server.command("ldapsearch", "-LLL", "-b", slapd.BASE, "(sAMAccountName=USER0001)", "dn")
    assert "uid=user0001,ou=people" in done.stdout, done.stderr


def test_the_local_socket_knows_the_follower(server: Slapd) -> None:
    """SASL EXTERNAL on ldapi: the kernel says who it is (conf/ldap/slapd.ldif)."""
    said = server.command("ldapwhoami", who=None)
    assert said.stdout.strip() == f"dn:{slapd.FOLLOWER}", said.stderr


def test_a_password_in_clear_is_refused(server: Slapd) -> None:
    """No plain bind without TLS: confidentialityRequired, RFC 4513 6.3.3."""
    said = server.command("ldapwhoami", url=server.url)
    assert said.returncode == _CONFIDENTIALITY_REQUIRED, said.stderr


def test_starttls_lets_the_password_through(server: Slapd) -> None:
    """RFC 4511 4.14."""
    said = server.command("ldapwhoami", "-ZZ", url=server.url)
    assert said.stdout.strip() == f"dn:{slapd.ADMIN}", said.stderr


def test_a_user_cannot_write_the_keys_of_another(server: Slapd) -> None:
    """Row K17: shadow credentials; the directory says insufficientAccessRights (50)."""
    done = server.command(
        "ldapmodify",
        ldif=f"dn: uid=user0000,{slapd.PEOPLE}\nchangetype: modify\n"
        f"add: msDS-KeyCredentialLink\nmsDS-KeyCredentialLink: {_KEY}\n",
        who=f"uid=pat,{slapd.PEOPLE}",
        password=_PAT,
    )
    assert done.returncode == _INSUFFICIENT_ACCESS, done.stderr


def test_a_key_admin_writes_keys_and_nothing_else(server: Slapd) -> None:
    """The members of Key Admins register keys, as in Active Directory."""
    kim = f"uid=kim,{slapd.PEOPLE}"
    server.change(f"cn=Key Admins,ou=groups,{slapd.BASE}", "add", "member", kim)
    user = f"uid=user0000,{slapd.PEOPLE}"
    for change, code in (
        (f"add: msDS-KeyCredentialLink\nmsDS-KeyCredentialLink: {_KEY}\n", 0),
        ("replace: userAccountControl\nuserAccountControl: 66048\n", _INSUFFICIENT_ACCESS),
    ):
        done = server.command(
            "ldapmodify",
            ldif=f"dn: {user}\nchangetype: modify\n{change}",
            who=kim,
            password=_KIM,
        )
        assert done.returncode == code, done.stderr
    assert server.values(user, "msDS-KeyCredentialLink") == (_KEY,)


def test_sealed_keys_are_read_by_the_follower_alone(server: Slapd) -> None:
    """Not even sealed does a key leave for who has no business with it."""
    krbtgt = f"cn=krbtgt,ou=services,{slapd.BASE}"
    server.change(krbtgt, "add", "keytrustSealedKeys", b"\1\2\3")
    for who, password, seen in (
        (slapd.FOLLOWER, server.password, True),
        (f"uid=pat,{slapd.PEOPLE}", _PAT, False),
    ):
        done = server.command(
            *("ldapsearch", "-LLL", "-s", "base", "-b", krbtgt, "(objectClass=*)"),
            who=who,
            password=password,
        )
        assert ("keytrustSealedKeys" in done.stdout) is seen, done.stdout + done.stderr


def test_a_second_account_of_a_name_is_refused(server: Slapd) -> None:
    """Two accounts of one name would log on as each other (slapo-unique)."""
    other = slapd.record(
        f"cn=other,ou=services,{slapd.BASE}",
        {
            "objectClass": ("user", "securityPrincipal"),
            "cn": "other",
            "sAMAccountName": "User0002",
            "objectSid": slapd.sid(1301),
        },
    )
    assert server.command("ldapadd", ldif=other).returncode == _CONSTRAINT_VIOLATION


def test_two_servers_replicate_both_ways(tmp_path: Path) -> None:
    """conf/ldap/replication.ldif: whatever one takes, the other has a moment later."""
    with slapd.replicated(tmp_path, users=2) as (one, two):
        user = f"uid=user0000,{slapd.PEOPLE}"
        _wait_for(two, user, "sAMAccountName", ("user0000",))
        two.change(user, "add", "msDS-KeyCredentialLink", _KEY)
        _wait_for(one, user, "msDS-KeyCredentialLink", (_KEY,))


def _wait_for(server: Slapd, dn: str, attribute: str, wanted: tuple[str, ...]) -> None:
    end = time.monotonic() + 20
    found: tuple[str, ...] = ()
    while time.monotonic() < end:
        done = server.command("ldapsearch", "-s", "base", "-b", dn, "(objectClass=*)", "dn")
        if done.returncode == 0:
            found = server.values(dn, attribute)
            if found == wanted:
                return
        time.sleep(0.1)
    raise AssertionError(f"{dn} has {found}, not {wanted}\n{server.log.read_text()}")
