"""A realm on Samba AD: keys, passwords, groups and changes of Samba; our tickets in its services.

Samba is the directory and a server of files and LDAP; our KDC has port 88 of its address. What is
done to accounts is done with Samba's and OpenLDAP's own tools.
"""

import base64
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.keymaterial import MaterialForm
from pki.keys import public_key_from_cryptography
from tests.rig import certificates, clients, peers
from tests.rig.certificates import Identity
from tests.rig.clients import ClientRealm, Run
from tests.rig.realm import LiveRealm
from tests.rig.samba_dc import BASE, HOST, REALM, USER_PASSWORD, SambaDc
from tests.rig.samba_realm import (
    as_administrator,
    eventually,
    make_device_container,
    make_samba_realm,
    with_ticket,
)
from tests.rig.secret_files import write_secret

pytestmark = [pytest.mark.interop, pytest.mark.slow]

KDC_ERR_C_PRINCIPAL_UNKNOWN = 6
KDC_ERR_CLIENT_REVOKED = 18
KDC_ERR_PREAUTH_FAILED = 24
KDC_ERR_CLIENT_NOT_TRUSTED = 62
KDC_ERR_CANT_VERIFY_CERTIFICATE = 70
NEGATIVE_S = 1.1  # a "no" of the directory is kept for a second


@pytest.fixture(scope="module")
def live(samba_dc: SambaDc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """Serve the domain's realm for the tests of this file."""
    made = make_samba_realm(samba_dc, tmp_path_factory.mktemp("samba-realm") / "state")
    with made.served():
        yield made


@pytest.fixture
def throwaway(tmp_path: Path) -> Identity:
    """Make an issuer that only MIT's client knows."""
    return certificates.throwaway_issuer(tmp_path)


@pytest.fixture
def realm(live: LiveRealm, tmp_path: Path, throwaway: Identity) -> ClientRealm:
    return live.client(tmp_path, throwaway.certificate)


def _new_user(dc: SambaDc, name: str) -> str:
    """Make a user with the usual password; return the DN."""
    dc.tool("user", "create", name, USER_PASSWORD)
    return f"CN={name},CN=Users,{BASE}"


def _value(identity: Identity, dn: str, device_id: UUID | None = None) -> str:
    """Write the value of msDS-KeyCredentialLink for a key, as Windows does for a user."""
    new = NewKeyCredential(
        public_key=public_key_from_cryptography(identity.private_key.public_key()),
        material=MaterialForm.BCRYPT,
        created=datetime.now(UTC),
        device_id=device_id,
    )
    return encode_key_credential(new, dn)


def _register(dc: SambaDc, dn: str, value: str, how: str = "add") -> None:
    name = "msDS-KeyCredentialLink"
    dc.modify(f"dn: {dn}\nchangetype: modify\n{how}: {name}\n{name}: {value}\n")


def _password(realm: ClientRealm, user: str, password: str = USER_PASSWORD) -> Run:
    return clients.mit_kinit(realm, f"{user}@{REALM}", password=password)


def _refused(run: Run, code: int) -> bool:
    return run.status != 0 and code in run.kdc_errors


# -- keys ----------------------------------------------------------------------------------------


def test_a_key_written_by_ldapmodify_logs_on_at_the_next_attempt(
    samba_dc: SambaDc, realm: ClientRealm, throwaway: Identity, tmp_path: Path
) -> None:
    """Whatever the directory's delay in pushing: the miss asks it (architecture, section 4)."""
    dn = _new_user(samba_dc, "helen")
    identity = certificates.leaf(tmp_path, "helen", certificates.new_key(), throwaway)
    value = _value(identity, dn)
    _register(samba_dc, dn, value)
    run = clients.mit_kinit(realm, "helen@LAB.EXAMPLE", identity=identity)
    assert run.status == 0, run.explain()
    second = certificates.leaf(tmp_path, "second", certificates.new_key(), throwaway)
    run = clients.mit_kinit(realm, "helen@LAB.EXAMPLE", identity=second)
    assert _refused(run, KDC_ERR_CANT_VERIFY_CERTIFICATE), run.explain()
    _register(samba_dc, dn, _value(second, dn))
    time.sleep(NEGATIVE_S)  # the directory has just said no about this very key
    run = clients.mit_kinit(realm, "helen@LAB.EXAMPLE", identity=second)
    assert run.status == 0, run.explain()
    _register(samba_dc, dn, value, "delete")
    eventually(
        lambda: clients.mit_kinit(realm, "helen@LAB.EXAMPLE", identity=identity).status != 0,
        "a key removed in Samba still logs on",
    )


def test_a_device_disabled_in_samba_ends_its_keys(
    samba_dc: SambaDc, realm: ClientRealm, throwaway: Identity, tmp_path: Path
) -> None:
    """Row K11: device objects where Active Directory keeps those that are written back."""
    number = UUID("8d2f0a52-5a8c-4f0e-9a53-0d1f2b3c4d5e")
    device = f"CN={number},{make_device_container(samba_dc)}"
    octets = base64.b64encode(number.bytes_le).decode()
    samba_dc.modify(
        f"dn: {device}\nchangetype: add\nobjectClass: msDS-Device\ndisplayName: laptop\n"
        f"altSecurityIdentities: X509:<SHA1-TP-PUBKEY>00\nmsDS-DeviceID:: {octets}\n"
        "msDS-IsEnabled: TRUE\n"
    )
    dn = _new_user(samba_dc, "dina")
    identity = certificates.leaf(tmp_path, "dina", certificates.new_key(), throwaway)
    _register(samba_dc, dn, _value(identity, dn, number))

    def log_on() -> Run:
        return clients.mit_kinit(realm, "dina@LAB.EXAMPLE", identity=identity)

    run = log_on()
    assert run.status == 0, run.explain()
    switch = f"dn: {device}\nchangetype: modify\nreplace: msDS-IsEnabled\nmsDS-IsEnabled: "
    samba_dc.modify(switch + "FALSE\n")
    eventually(
        lambda: _refused(log_on(), KDC_ERR_CLIENT_NOT_TRUSTED),
        "a key of a disabled device still logs on",
    )
    samba_dc.modify(f"dn: {device}\nchangetype: delete\n")
    eventually(lambda: log_on().status == 0, "a device that is gone still counts")


def test_heimdals_client_logs_on_with_a_self_signed_certificate(
    samba_dc: SambaDc, live: LiveRealm, tmp_path: Path
) -> None:
    """As Windows' own certificates for Hello keys are."""
    dn = _new_user(samba_dc, "henry")
    identity = certificates.self_signed(tmp_path, "henry", certificates.new_key())
    _register(samba_dc, dn, _value(identity, dn))
    run = clients.heimdal_kinit(live.client(tmp_path), "henry@LAB.EXAMPLE", identity=identity)
    assert run.status == 0, run.explain()


def test_our_commands_write_to_samba_with_the_callers_credentials(
    samba_dc: SambaDc, live: LiveRealm, realm: ClientRealm, tmp_path: Path
) -> None:
    """`kdc key enroll`, `list` and `remove`; one value at a time, effective when they return."""
    dn = _new_user(samba_dc, "ines")
    admin = as_administrator(tmp_path)
    both, issuer = tmp_path / "ines.pem", tmp_path / "issuer.pem"
    said = live.kdc(
        *("key", "enroll", "ines", "--out", str(both), "--throwaway-issuer", str(issuer)), *admin
    )
    assert "this KDC knows it" in said
    # A neighbour's value, written between our commands, stays.
    other = certificates.self_signed(tmp_path, "other", certificates.new_key())
    _register(samba_dc, dn, _value(other, dn))
    identity = certificates.Identity(
        certificate=both, key=both, both=both, private_key=other.private_key
    )
    client = live.client(tmp_path, issuer)
    run = clients.mit_kinit(client, "ines@LAB.EXAMPLE", identity=identity)
    assert run.status == 0, run.explain()
    key_id = said.split()[2]
    assert "this KDC knows it" in live.kdc("key", "remove", "ines", key_id, *admin)
    run = clients.mit_kinit(client, "ines@LAB.EXAMPLE", identity=identity)
    assert run.status != 0
    eventually(
        lambda: live.kdc("key", "list", "ines").count("usable") == 1, "the neighbour's key is gone"
    )


def test_a_user_may_not_write_anybodys_keys(live: LiveRealm, tmp_path: Path) -> None:
    """Row K17: Samba says insufficientAccessRights, our command exits 5 and says who may."""
    password = write_secret(tmp_path / "kim", USER_PASSWORD)
    live.kdc(
        *("key", "enroll", "pat", "--out", str(tmp_path / "pat.pem")),
        *("--bind-dn", "kim@lab.example", "--bind-password-file", str(password)),
        ok=(5,),
    )
    assert not (tmp_path / "pat.pem").exists()


# -- passwords -----------------------------------------------------------------------------------


def test_users_log_on_with_sambas_keys(samba_dc: SambaDc, realm: ClientRealm) -> None:
    """From supplementalCredentials on the private socket; a new password counts when it comes."""
    _new_user(samba_dc, "paula")
    run = _password(realm, "paula")
    assert run.status == 0, run.explain()
    assert _refused(_password(realm, "paula", "Wrong-Secret-1"), KDC_ERR_PREAUTH_FAILED)
    samba_dc.tool("user", "setpassword", "paula", "--newpassword=Second-Secret-2")
    eventually(
        lambda: _password(realm, "paula", "Second-Secret-2").status == 0,
        "a new password of Samba is not taken",
    )
    assert _refused(_password(realm, "paula"), KDC_ERR_PREAUTH_FAILED)


def test_store_directory_and_source_agree(live: LiveRealm) -> None:
    """`kdc key check` compares kvno and keys of every account."""
    eventually(
        lambda: ", 0 that differ" in live.kdc("key", "check", ok=(0, 1)),
        live.kdc("key", "check", ok=(0, 1)),
    )


def test_the_directory_lacks_nothing(samba_dc: SambaDc, live: LiveRealm) -> None:
    """`kdc directory check` as the follower sees it."""
    _new_user(samba_dc, "gone")
    samba_dc.tool("user", "delete", "gone")
    said = live.kdc("directory", "check")
    assert " 0 warn, 0 fail" in said, said


# -- our tickets in Samba's services -------------------------------------------------------------


def test_a_ticket_by_key_opens_ldap(
    samba_dc: SambaDc, realm: ClientRealm, throwaway: Identity, tmp_path: Path
) -> None:
    """`ldapsearch -Y GSSAPI`: Samba reads our PAC and takes the SIDs in it for its token."""
    dn = _new_user(samba_dc, "lea")
    samba_dc.tool("group", "addmembers", "Crew", "lea")
    identity = certificates.leaf(tmp_path, "lea", certificates.new_key(), throwaway)
    _register(samba_dc, dn, _value(identity, dn))
    program = peers.system_program("ldapsearch", "ldap-utils")

    def token() -> str:
        run = clients.mit_kinit(realm, "lea@LAB.EXAMPLE", identity=identity)
        assert run.status == 0, run.explain()
        done = with_ticket(
            samba_dc,
            realm,
            run.cache,
            *(program.path, "-LLL", "-Y", "GSSAPI", "-H", f"ldap://{HOST}"),
            *("-s", "base", "-b", "", "(objectClass=*)", "tokenGroups"),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    crew, staff = _sid(samba_dc, "Crew"), _sid(samba_dc, "Staff")
    eventually(lambda: crew in token() and staff in token(), "Samba does not see the groups")


def _sid(dc: SambaDc, name: str) -> str:
    done = dc.ldap("ldapsearch", "-LLL", "-b", BASE, f"(sAMAccountName={name})", "objectSid")
    return next(
        line.split()[1] for line in done.stdout.splitlines() if line.startswith("objectSid")
    )


def _read_share(dc: SambaDc, realm: ClientRealm, run: Run) -> bool:
    assert run.status == 0, run.explain()
    program = peers.system_program("smbclient", "smbclient")
    done = with_ticket(
        dc,
        realm,
        run.cache,
        *(program.path, f"//{HOST}/files", "-I", dc.address, "-c", "get hello.txt -"),
        *("--use-kerberos=required", f"--use-krb5-ccache=FILE:{run.cache}"),
    )
    assert "ACCESS_DENIED" in done.stdout or done.returncode == 0, done.stdout + done.stderr
    return "a file for Staff" in done.stdout


def test_groups_open_files_and_their_changes_are_seen(
    samba_dc: SambaDc, realm: ClientRealm
) -> None:
    """`smbclient` with our ticket: members only, nested ones too; who leaves is out again."""
    assert _read_share(samba_dc, realm, _password(realm, "kim"))
    assert _read_share(samba_dc, realm, _password(realm, "pat"))
    _new_user(samba_dc, "gus")
    assert not _read_share(samba_dc, realm, _password(realm, "gus"))
    samba_dc.tool("group", "addmembers", "Crew", "gus")
    eventually(
        lambda: _read_share(samba_dc, realm, _password(realm, "gus")), "a new member is not let in"
    )
    samba_dc.tool("group", "removemembers", "Crew", "gus")
    eventually(
        lambda: not _read_share(samba_dc, realm, _password(realm, "gus")),
        "who left the group is still let in",
    )


# -- changes of accounts -------------------------------------------------------------------------


def test_a_disabled_account_is_refused_until_it_is_enabled(
    samba_dc: SambaDc, realm: ClientRealm
) -> None:
    """KDC_ERR_CLIENT_REVOKED (18)."""
    _new_user(samba_dc, "dora")
    assert _password(realm, "dora").status == 0
    samba_dc.tool("user", "disable", "dora")
    eventually(
        lambda: _refused(_password(realm, "dora"), KDC_ERR_CLIENT_REVOKED),
        "a disabled account still logs on",
    )
    samba_dc.tool("user", "enable", "dora")
    eventually(lambda: _password(realm, "dora").status == 0, "an enabled account stays refused")


def test_a_deleted_account_is_unknown(samba_dc: SambaDc, realm: ClientRealm) -> None:
    """KDC_ERR_C_PRINCIPAL_UNKNOWN (6)."""
    _new_user(samba_dc, "della")
    assert _password(realm, "della").status == 0
    samba_dc.tool("user", "delete", "della")
    eventually(
        lambda: _refused(_password(realm, "della"), KDC_ERR_C_PRINCIPAL_UNKNOWN),
        "a deleted account is still known",
    )


def test_a_renamed_account_keeps_its_key_and_loses_its_name(
    samba_dc: SambaDc, realm: ClientRealm, throwaway: Identity, tmp_path: Path
) -> None:
    """Entry and sAMAccountName: Samba keeps the DN part of the key in step."""
    dn = _new_user(samba_dc, "rosa")
    identity = certificates.leaf(tmp_path, "rosa", certificates.new_key(), throwaway)
    _register(samba_dc, dn, _value(identity, dn))
    assert clients.mit_kinit(realm, "rosa@LAB.EXAMPLE", identity=identity).status == 0
    samba_dc.modify(f"dn: {dn}\nchangetype: modrdn\nnewrdn: CN=rosalind\ndeleteoldrdn: 1\n")
    samba_dc.modify(
        f"dn: CN=rosalind,CN=Users,{BASE}\nchangetype: modify\n"
        "replace: sAMAccountName\nsAMAccountName: rosalind\n-\n"
        "replace: userPrincipalName\nuserPrincipalName: rosalind@lab.example\n"
    )
    eventually(
        lambda: clients.mit_kinit(realm, "rosalind@LAB.EXAMPLE", identity=identity).status == 0,
        "a renamed account cannot log on",
    )
    eventually(
        lambda: _refused(_password(realm, "rosa"), KDC_ERR_C_PRINCIPAL_UNKNOWN),
        "the old name is still known",
    )
