"""`kdc delegation`: who may act for users, and where."""

import pytest

from directory.changes import AccountChanges
from directory.model import Sid
from directory.sealing import MasterKey
from directory.security_descriptor import encode_allowed_to_act, parse_security_descriptor
from directory.store import Store
from kdc.cli.errors import ExitCode
from kdc.state_folder import StateFolder
from tests.kdc.cli.conftest import Shell

APP, FILES = "HTTP/app.lab.test", "cifs/files.lab.test"


@pytest.fixture
def services(realm: Shell) -> Shell:
    """Add two services."""
    realm.ok("service", "add", APP)
    realm.ok("service", "add", FILES)
    return realm


def store_of(shell: Shell) -> Store:
    folder = StateFolder(shell.state)
    return Store.open(folder.store, MasterKey.load(folder.master_key))


def test_nothing_is_set_on_a_new_service(services: Shell) -> None:
    """Neither in the list nor on the account."""
    assert services.ok("delegation", "list", "--json").json == []
    assert services.ok("delegation", "show", APP, "--json").json == {
        "name": APP,
        "trusted_for_delegation": False,
        "trusted_to_authenticate_for_delegation": False,
        "not_delegated": False,
        "allowed_to_delegate_to": [],
        "allowed_to_act": [],
    }
    assert "delegation: none" in services.ok("delegation", "show", APP).out


def test_service_that_delegates(services: Shell) -> None:
    """samba-tool's add-service, del-service and for-any-protocol."""
    services.ok("delegation", "add-service", APP, FILES)
    services.ok("delegation", "add-service", APP, "ldap/dc.lab.test")
    services.ok("delegation", "for-any-protocol", APP, "on")
    shown = services.ok("service", "show", APP, "--json").json
    assert shown["allowed_to_delegate_to"] == [FILES, "ldap/dc.lab.test"]
    assert shown["trusted_to_authenticate_for_delegation"] is True
    text = services.ok("delegation", "show", APP).out
    assert f"delegates to: {FILES}" in text
    assert "any protocol" in text
    services.ok("delegation", "del-service", APP, FILES.upper())
    services.ok("delegation", "for-any-protocol", APP, "off")
    (left,) = services.ok("delegation", "list", "--json").json
    assert (left["name"], left["allowed_to_delegate_to"]) == (APP, ["ldap/dc.lab.test"])
    assert "ldap/dc.lab.test" in services.ok("delegation", "list").out


def test_service_that_lets_others_act(services: Shell) -> None:
    """samba-tool's add-principal and del-principal, with an account and a group."""
    services.ok("group", "add", "Front Ends")
    services.ok("delegation", "add-principal", FILES, APP)
    services.ok("delegation", "add-principal", FILES, "Front Ends")
    shown = services.ok("delegation", "show", FILES, "--json").json
    assert shown["allowed_to_act"] == [APP, "Front Ends"]
    assert f"may act here: {APP}" in services.ok("service", "show", FILES).out
    services.ok("delegation", "del-principal", FILES, APP)
    services.ok("delegation", "del-principal", FILES, "Front Ends")
    store = store_of(services)
    account = store.account_by_spn(FILES)
    assert account is not None
    assert account.allowed_to_act is None
    store.close()


def test_unconstrained_delegation(services: Shell) -> None:
    """samba-tool's for-any-service."""
    services.ok("delegation", "for-any-service", APP, "on")
    assert services.ok("delegation", "show", APP, "--json").json["trusted_for_delegation"] is True
    assert "any-service" in services.ok("delegation", "list").out
    services.ok("delegation", "for-any-service", APP, "off")
    assert services.ok("delegation", "list", "--json").json == []


def test_user_whom_nobody_may_act_for(services: Shell) -> None:
    """`kdc user set --not-delegated`, and the mask of encryption types."""
    services.ok("user", "set", "alice", "--not-delegated", "--supported-enctypes", "24")
    shown = services.ok("user", "show", "alice", "--json").json
    assert (shown["not_delegated"], shown["supported_enctypes"]) == (True, 24)
    assert "nobody may act for it" in services.ok("user", "show", "alice").out
    services.ok("user", "set", "alice", "--no-not-delegated", "--supported-enctypes", "0")
    shown = services.ok("user", "show", "alice", "--json").json
    assert (shown["not_delegated"], shown["supported_enctypes"]) == (False, None)


def test_list_that_these_commands_do_not_write(services: Shell) -> None:
    """A descriptor with entries of another kind is shown, and not written over."""
    store = store_of(services)
    account = store.account_by_spn(FILES)
    assert account is not None
    descriptor = bytearray(encode_allowed_to_act([Sid.parse("S-1-5-21-1-2-3-1000")] * 2))
    # The second entry becomes one that denies.
    size = len(descriptor)
    descriptor[size - 36] = 1
    assert parse_security_descriptor(bytes(descriptor)).entries[1].denies
    for value in (bytes(descriptor), b"\x01\x00"):
        store.update_account(account.account_id, AccountChanges(allowed_to_act=value))
        failed = services("delegation", "add-principal", FILES, APP)
        assert failed.code == ExitCode.DENIED
    shown = services.ok("delegation", "show", FILES, "--json").json
    assert shown["allowed_to_act"] is None
    assert "not readable" in services.ok("delegation", "list").out
    assert "not readable" in services.ok("delegation", "show", FILES).out
    store.close()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "nobody"), ExitCode.NOT_FOUND),
        (("show", "krbtgt"), ExitCode.DENIED),
        (("add-service", "nobody", FILES), ExitCode.NOT_FOUND),
        (("add-service", APP, "no-service"), ExitCode.USAGE),
        (("del-service", APP, FILES), ExitCode.NOT_FOUND),
        (("add-principal", FILES, "nobody"), ExitCode.NOT_FOUND),
        (("del-principal", FILES, APP), ExitCode.NOT_FOUND),
        (("for-any-protocol", APP, "perhaps"), ExitCode.USAGE),
    ],
)
def test_mistakes(services: Shell, arguments: tuple[str, ...], code: ExitCode) -> None:
    """Exit codes of design/cli.md."""
    assert services("delegation", *arguments).code == code


def test_what_is_there_already(services: Shell) -> None:
    """Exit code 4."""
    services.ok("delegation", "add-service", APP, FILES)
    assert services("delegation", "add-service", APP, FILES.upper()).code == ExitCode.EXISTS
    services.ok("delegation", "add-principal", FILES, APP)
    assert services("delegation", "add-principal", FILES, APP).code == ExitCode.EXISTS
