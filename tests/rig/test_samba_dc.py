"""The private domain controller has what the tests of LDAP realms stand on."""

import socket
from pathlib import Path

import pytest

from tests.rig import peers
from tests.rig.samba_dc import BASE, USER_PASSWORD, SambaDc

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def test_it_has_the_schema_for_registered_keys(samba_dc: SambaDc) -> None:
    """Windows Server 2016's schema is version 87."""
    schema = f"CN=Schema,CN=Configuration,{BASE}"
    done = samba_dc.ldap("ldapsearch", "-LLL", "-s", "base", "-b", schema, "objectVersion")
    assert "objectVersion: 87" in done.stdout, done.stderr


def test_a_key_credential_can_be_written_and_read_back(samba_dc: SambaDc) -> None:
    """DN-Binary: `B:<hex digits>:<hex>:<DN>`; the administrator may write it."""
    dn = samba_dc.dn("svc-web")
    value = f"B:8:DEADBEEF:{dn}"
    name = "msDS-KeyCredentialLink"
    samba_dc.modify(f"dn: {dn}\nchangetype: modify\nadd: {name}\n{name}: {value}\n")
    done = samba_dc.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", dn, name)
    assert value in done.stdout
    samba_dc.modify(f"dn: {dn}\nchangetype: modify\ndelete: {name}\n{name}: {value}\n")


def test_a_user_cannot_write_the_keys_of_another(samba_dc: SambaDc) -> None:
    """Row K17: shadow credentials; Samba says insufficientAccessRights (50)."""
    dn = samba_dc.dn("kim")
    change = f"dn: {dn}\nchangetype: modify\nadd: msDS-KeyCredentialLink\n"
    done = samba_dc.ldap(
        "ldapmodify", ldif=f"{change}msDS-KeyCredentialLink: B:8:DEADBEEF:{dn}\n", who="pat"
    )
    assert done.returncode == 50, done.stderr


def test_keys_are_read_on_the_socket_of_root_only(samba_dc: SambaDc) -> None:
    """The network never sees supplementalCredentials; the private socket does."""
    words = ("-LLL", "-b", BASE, "(sAMAccountName=pat)", "supplementalCredentials")
    assert "supplementalCredentials" not in samba_dc.ldap("ldapsearch", *words).stdout
    assert samba_dc.private_socket.is_socket()


def test_its_own_kdc_leaves_port_88_free(samba_dc: SambaDc) -> None:
    """Ours takes it; Samba's answers on 1088 for comparison."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        assert probe.connect_ex((samba_dc.address, 1088)) == 0
    peers.need_port(samba_dc.address, 88)


def test_a_share_lets_in_by_nested_groups(samba_dc: SambaDc, tmp_path: Path) -> None:
    """Pat is in Crew, which is in Staff; svc-web is in neither."""
    for user, allowed in (("pat", True), ("svc-web", False)):
        done = samba_dc.smbclient("get hello.txt -", "-U", rf"LAB\{user}%{USER_PASSWORD}")
        assert ("a file for Staff" in done.stdout) is allowed, done.stdout + done.stderr
