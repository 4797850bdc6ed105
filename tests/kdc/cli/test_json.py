"""Every read takes --json; its keys are stable and stand in the command's help."""

from importlib import import_module
from pathlib import Path

import click
import pytest

from kdc.cli.main import NOUNS
from tests.kdc.cli.conftest import Shell

USER = {
    "name", "kind", "upn", "disabled", "locked_until", "expires_at", "smartcard_required",
    "must_change_password", "keys",
}  # fmt: skip
DELEGATION = {
    "trusted_for_delegation", "trusted_to_authenticate_for_delegation", "not_delegated",
    "allowed_to_delegate_to", "allowed_to_act",
}  # fmt: skip
ACCOUNT = USER | {
    "sid", "object_guid", "service_principal_names", "password_expires_at", "created_at", "kvno",
    "enctypes", "supported_enctypes",
} | DELEGATION  # fmt: skip
KEY = {
    "account", "key_id", "usable", "accounts", "reason", "warnings", "key", "material", "created",
    "last_logon", "source", "device_id",
}  # fmt: skip
CERTIFICATE = {
    "subject", "issuer", "serial_number", "not_before", "not_after", "key", "sha256", "sha1",
    "purposes", "upns", "dns_names", "principals", "sid", "kind", "accepted", "account", "code",
    "reasons",
}  # fmt: skip

DEVICE = {"device_id", "name", "enabled", "owner", "owner_sid", "dn", "created"}


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("user", "list"), USER),
        (("user", "show", "alice"), ACCOUNT),
        (("key", "list"), KEY),
        (("cert", "show", "alice.pem"), CERTIFICATE),
        (("service", "list"), {"name", "service_principal_names", "kvno", "disabled"}),
        (("service", "show", "host/web.lab.test"), ACCOUNT),
        (("delegation", "show", "alice"), DELEGATION | {"name"}),
        (("device", "list"), DEVICE),
        (("group", "list"), {"name", "sid", "members"}),
        (("group", "show", "Domain Admins"), {"name", "sid", "members"}),
        (("keytab", "show", "kt"), {"principal", "kvno", "enctype", "timestamp"}),
    ],
)
def test_json_keys_are_stable_and_documented(
    realm: Shell, tmp_path: Path, arguments: tuple[str, ...], keys: set[str]
) -> None:
    """Scripts rely on them: adding one changes this test, removing one breaks somebody."""
    realm.ok("service", "add", "host/web.lab.test", "--keytab", tmp_path / "kt")
    realm.ok("device", "add", "laptop")
    realm.monkeypatch.chdir(realm.state.parent)
    value = realm.ok(*arguments, "--json").json
    row = value[0] if isinstance(value, list) else value
    assert set(row) == keys
    told = " ".join(realm.ok(*arguments[:2], "--help").out.split())
    described = told.partition("JSON: ")[2].partition("Options:")[0]
    for key in keys:
        assert key in described, key


def test_every_read_takes_json() -> None:
    """The contract: lists, shows, and the logon."""
    checked = 0
    for noun in NOUNS:
        command = import_module(NOUNS[noun][0]).command
        subs = command.commands if isinstance(command, click.Group) else {noun: command}
        for name, sub in subs.items():
            if name in ("list", "show", "logon"):
                assert any(p.name == "as_json" for p in sub.params), f"{noun} {name}"
                checked += 1
    assert checked == 19
