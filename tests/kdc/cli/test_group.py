"""`kdc group`, and what of a password is kept for NTLM."""

from contextlib import closing

import pytest

from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.errors import ExitCode
from kdc.crypto.md4 import nt_hash
from kdc.state_folder import StateFolder
from tests.kdc.cli.conftest import Shell

WELL_KNOWN = [
    "Domain Admins",
    "Domain Computers",
    "Domain Controllers",
    "Domain Users",
    "Protected Users",
]


def store_of(shell: Shell) -> Store:
    folder = StateFolder(shell.state)
    return Store.open(folder.store, MasterKey.load(folder.master_key), read_only=True)


def test_a_new_realm_has_the_well_known_groups(realm: Shell) -> None:
    """MS-DTYP 2.4.2.4: their RIDs are fixed."""
    found = realm.ok("group", "list", "--json").json
    assert [group["name"] for group in found] == WELL_KNOWN
    assert [group["sid"].rpartition("-")[2] for group in found] == [
        *("512", "515", "516", "513", "525")
    ]
    assert {group["members"] for group in found} == {0}


def test_group_with_a_user_and_a_nested_group(realm: Shell) -> None:
    """Members are accounts and groups, by name."""
    realm.ok("group", "add", "Staff")
    realm.ok("group", "add", "Printers")
    realm.ok("group", "member-add", "staff", "ALICE")
    realm.ok("group", "member-add", "Printers", "Staff")
    shown = realm.ok("group", "show", "Printers", "--json").json
    assert (shown["name"], shown["members"]) == ("Printers", ["Staff"])
    assert int(shown["sid"].rpartition("-")[2]) >= 1000
    assert realm.ok("group", "show", "Staff", "--json").json["members"] == ["alice"]
    assert "member: alice" in realm.ok("group", "show", "Staff").out
    assert "Staff" in realm.ok("group", "list").out
    realm.ok("group", "member-remove", "Staff", "alice")
    assert realm.ok("group", "show", "Staff", "--json").json["members"] == []
    realm.ok("group", "delete", "Staff")
    assert realm.ok("group", "show", "Printers", "--json").json["members"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("add", "Domain Users"), ExitCode.EXISTS),
        (("add", "alice"), ExitCode.EXISTS),
        (("add", "a/b"), ExitCode.FAILED),
        (("show", "Nobody"), ExitCode.NOT_FOUND),
        (("delete", "Nobody"), ExitCode.NOT_FOUND),
        (("delete", "Domain Admins"), ExitCode.DENIED),
        (("member-add", "Domain Admins", "nobody"), ExitCode.NOT_FOUND),
        (("member-add", "Nobody", "alice"), ExitCode.NOT_FOUND),
        (("member-add", "Domain Admins", "Domain Admins"), ExitCode.FAILED),
        (("member-remove", "Domain Admins", "alice"), ExitCode.NOT_FOUND),
    ],
)
def test_refusals_have_three_lines_and_a_code(
    realm: Shell, arguments: tuple[str, ...], code: int
) -> None:
    """The contract of exit codes: 3 not found, 4 already there, 5 denied."""
    done = realm("group", *arguments)
    assert done.code == code
    assert len(done.error) == 3


def test_member_twice_is_already_there(realm: Shell) -> None:
    """Exit code 4."""
    realm.ok("group", "member-add", "Domain Admins", "pat")
    assert realm("group", "member-add", "Domain Admins", "pat").code == ExitCode.EXISTS


def test_user_with_the_name_of_a_group_is_refused(realm: Shell) -> None:
    """A domain has one list of names: services tell users and groups apart by nothing else."""
    assert realm("user", "add", "Domain Users").code == ExitCode.EXISTS


def test_strict_realm_keeps_no_nt_hash(realm: Shell) -> None:
    """legacy_ntlm is off: what is not kept cannot be stolen."""
    with closing(store_of(realm)) as store:
        pat = store.account_by_name("pat")
        assert pat is not None
        assert store.nt_hash(pat.account_id) is None


def test_realm_for_tools_keeps_the_nt_hash_of_each_new_password(shell: Shell) -> None:
    """MS-PKCA 3.1.5.2: the KDC hands it out after PKINIT; `legacy_ntlm` is part of `tools`."""
    shell.ok("init", "--realm", "LAB.TEST", "--listen", "127.0.0.1:18888", "--compat", "tools")
    shell.ok("user", "add", "pat", "--password-stdin", stdin="first\n")
    shell.ok("user", "add", "alice")
    with closing(store_of(shell)) as store:
        pat, alice = store.account_by_name("pat"), store.account_by_name("alice")
        assert pat is not None
        assert alice is not None
        assert store.nt_hash(pat.account_id) == nt_hash("first")
        assert store.nt_hash(alice.account_id) is None
        shell.ok("user", "password", "pat", "--password-stdin", stdin="Second-Passw0rd\n")
        store.refresh()
        assert store.nt_hash(pat.account_id) == nt_hash("Second-Passw0rd")
        changed = store.account_by_id(pat.account_id)
        assert changed is not None
        assert changed.password_set_at is not None
        assert pat.password_set_at is not None
        assert changed.password_set_at > pat.password_set_at
