"""Registered keys are written to real directories one value at a time; who may not is told so."""

from collections.abc import Iterator

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.settings import Flavour
from directory.ldap.write import (
    WritingConnection,
    add_key,
    find_account,
    is_caller,
    remove_key,
)
from directory.model import AccountKind
from tests.directory.builders import hello_key, link
from tests.rig import directories, samba_dc, slapd
from tests.rig.samba_dc import SambaDc
from tests.rig.slapd import Slapd

pytestmark = pytest.mark.interop

BASE = samba_dc.BASE
_PAT = "Pat-Secret-1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    more = slapd.person("pat", 1200, userPassword=_PAT)
    made = Slapd.make(tmp_path_factory.mktemp("ldap") / "slapd", more=more)
    with made.running():
        yield made


Admin = tuple[WritingConnection, str, Flavour, str]


@pytest.fixture(params=["openldap", "samba"])
def admin(request: pytest.FixtureRequest) -> Iterator[Admin]:
    """A connection as an administrator, base, flavour and a user's name, on both directories."""
    if request.param == "samba":
        connection = directories.on_samba(request.getfixturevalue("samba_dc"))
        yield connection, BASE, "samba", "kim"
    else:
        connection = directories.on_slapd(request.getfixturevalue("server"))
        yield connection, slapd.BASE, "openldap", "user0000"
    connection.close()


def test_neighbours_values_stay(admin: Admin) -> None:
    """MOD_ADD and MOD_DELETE of one value: what somebody else wrote meanwhile is untouched."""
    connection, base, flavour, name = admin
    stale = find_account(connection, base, flavour, name)
    values = [link(hello_key(number), stale.dn) for number in (1, 2, 3)]
    for value in values:
        add_key(connection, stale, value)  # read once, before the others were there
    remove_key(connection, stale, values[1])
    found = find_account(connection, base, flavour, name)
    assert sorted(c.text for c in found.credentials) == sorted((values[0], values[2]))
    assert all(credential.usable for credential in found.credentials)
    for fault, act, value in (
        (DirectoryFault.EXISTS, add_key, values[0]),
        (DirectoryFault.NOT_FOUND, remove_key, values[1]),
    ):
        with pytest.raises(DirectoryError) as error:
            act(connection, stale, value)
        assert error.value.kind is fault
    for value in (values[0], values[2]):
        remove_key(connection, stale, value)


def test_an_account_is_found_by_its_upn_and_a_computer_without_its_sign(
    samba_dc: SambaDc,
) -> None:
    """As every command of ours finds accounts; a group is none."""
    connection = directories.on_samba(samba_dc)
    assert find_account(connection, BASE, "samba", "pat@lab.example").name == "pat"
    computer = find_account(connection, BASE, "samba", "pc1")
    assert (computer.name, computer.kind) == ("PC1$", AccountKind.COMPUTER)
    for name, fault in (("Staff", DirectoryFault.INVALID), ("*", DirectoryFault.NOT_FOUND)):
        with pytest.raises(DirectoryError) as error:
            find_account(connection, BASE, "samba", name)
        assert error.value.kind is fault
    connection.close()


def test_the_caller_is_known_from_the_server(samba_dc: SambaDc, server: Slapd) -> None:
    """By his SID on Samba, by RFC 4532 on OpenLDAP."""
    on_slapd = directories.on_slapd(server, f"uid=pat,{slapd.PEOPLE}", _PAT)
    places: tuple[tuple[WritingConnection, str, Flavour], ...] = (
        (directories.on_samba(samba_dc, "pat"), BASE, "samba"),
        (on_slapd, slapd.BASE, "openldap"),
    )
    for connection, base, kind in places:
        own = find_account(connection, base, kind, "pat")
        assert is_caller(connection, own, kind)
        other = "kim" if kind == "samba" else "user0000"
        assert not is_caller(connection, find_account(connection, base, kind, other), kind)
        connection.close()


@pytest.mark.parametrize("flavour", ["openldap", "samba"])
def test_a_user_writes_no_keys(flavour: Flavour, request: pytest.FixtureRequest) -> None:
    """Row K17: neither another's nor his own; LDAP 50, which the commands turn into exit 5."""
    if flavour == "samba":
        connection = directories.on_samba(request.getfixturevalue("samba_dc"), "pat")
        names, base = ("kim", "pat"), BASE
    else:
        server = request.getfixturevalue("server")
        connection = directories.on_slapd(server, f"uid=pat,{slapd.PEOPLE}", _PAT)
        names, base = ("user0001", "pat"), slapd.BASE
    for name in names:
        account = find_account(connection, base, flavour, name)
        with pytest.raises(DirectoryError) as error:
            add_key(connection, account, link(hello_key(), account.dn))
        assert error.value.kind is DirectoryFault.DENIED
    connection.close()
