"""Where a realm's long-term keys are set: its store, or sealed in its directory (ldap-sealed)."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Literal

import click

from directory.backend import DirectoryError
from directory.keysources import NT_HASH_ETYPE
from directory.keysources.sealed import open_keys, seal_keys
from directory.keysources.settings import KeySourceSetting
from directory.ldap import write
from directory.model import PrincipalKey
from directory.store import Store
from kdc.cli.directory_access import Caller, directory_errors, open_directory
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.state import RealmState
from kdc.config import KdcConfig

_WAIT_S = 5.0
_POLL_S = 0.02

NewKeys = Callable[[str, int], tuple[PrincipalKey, ...]]
"""(sAMAccountName, kvno) -> the keys of a new generation."""


def where_keys_are_set(config: KdcConfig, caller: Caller) -> Literal["store", "directory"]:
    """Tell where the realm's keys are set; refuse when it is elsewhere. Raises CliError."""
    setting = KeySourceSetting.parse(config.directory_key_source)
    if not config.directory_url or setting.kind == "local":
        if caller.given:
            raise click.UsageError(
                "keys of this realm live in its own store: no directory is asked"
            )
        return "store"
    if setting.kind == "ldap-sealed":
        return "directory"
    remedy = "set it where the keytab is made, and export that anew"
    if setting.kind == "samba":
        remedy = "samba-tool user setpassword, or samba-tool domain passwordsettings; we follow"
    raise CliError(
        "keys of this realm are not set here", f"they come from {setting}", remedy, ExitCode.DENIED
    )


def set_sealed_keys(
    realm: RealmState, caller: Caller, name: str, new_keys: NewKeys, *, keep: int, password: bool
) -> tuple[str, tuple[PrincipalKey, ...]]:
    """Give an account of the directory new keys, sealed; wait until this KDC knows them.

    keep: older generations that stay valid. password: whether they are of a password, whose time
    is then set, too. Returns the account's name and the new keys. Raises CliError.
    """
    master_key = realm.master_key()
    with open_directory(realm, caller) as access:
        with directory_errors(f"no account {name} was found"):
            account = write.find_account(access.connection, access.base, access.flavour, name)
        sid = account.sid.to_bytes()
        with directory_errors(f"the keys of {account.name} are not changed"):
            if account.sealed_keys is not None:
                old = open_keys(master_key, sid, account.sealed_keys)
            else:
                # What this KDC has used until now: krbtgt's own keys, before they were sealed.
                old = _keys_here(realm, account.name)
            kvno = max((key.kvno for key in old), default=0) + 1
            new = new_keys(account.name, kvno)
            kept = sorted({key.kvno for key in old}, reverse=True)[:keep]
            stay = [key for key in old if key.kvno in kept and key.etype != NT_HASH_ETYPE]
            sealed = seal_keys(master_key, sid, (*new, *stay))
            write.write_sealed_keys(access.connection, account, sealed, password=password)

    def is_there(store: Store) -> bool:
        found = store.account_by_name(account.name)
        return found is not None and any(key.kvno >= kvno for key in found.keys)

    settle(realm, is_there, _WAIT_S)
    return account.name, new


def _keys_here(realm: RealmState, name: str) -> tuple[PrincipalKey, ...]:
    with realm.store() as store:
        account = store.account_by_name(name)
        return account.keys if account is not None else ()


def settle(realm: RealmState, followed: Callable[[Store], bool], wait_s: float) -> None:
    """Wait, bounded, until this KDC's store has followed the directory; say whether it has."""
    try:
        store = Store.open(realm.folder.store, realm.master_key(), read_only=True)
    except DirectoryError:
        return
    with closing(store):
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            store.refresh()
            if followed(store):
                click.echo("  this KDC knows it")
                return
            time.sleep(_POLL_S)
    click.echo(
        "  note: the directory has it, this KDC's store does not yet: does kdc serve run here?",
        err=True,
    )
