"""`kdc keytab`: long-term keys in files that services read."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click

from directory.backend import DirectoryError
from directory.keytab import KeytabEntry, decode_keytab, encode_keytab
from directory.model import Account, AccountKind, PrincipalKey
from directory.store import Store
from kdc.cli.accounts import random_keys, refuse_krbtgt
from kdc.cli.directory_access import Caller, caller_options
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, not_found, read_input_file, state_option
from kdc.cli.output import iso, print_json, print_table
from kdc.cli.sealed_keys import set_sealed_keys, where_keys_are_set
from kdc.cli.state import check_writable, find_account, now, open_realm, write_private
from kdc.config_values import enctype_name
from kdc.exchange.passwords import next_kvno
from kdc.wire.constants import NameType

MAX_KEYTAB_BYTES = 16 * 1024 * 1024
_KEPT_GENERATIONS = 1  # tickets issued under the last keys live on until they expire

_out_option = click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The keytab (mode 0600).",
)


@click.group("keytab")
def command() -> None:
    """Keytabs: export, rotate, show."""


def find_principal(store: Store, text: str) -> tuple[Account, tuple[str, ...]]:
    """Find the account of a principal, `host/web.lab.test` or `alice`; the realm may be named.

    Returns the account and the parts of the principal's name as it should stand in a keytab.
    """
    name, at, realm = text.rpartition("@")
    if not at or realm.upper() != store.realm.upper():
        name = text
    account = store.account_by_spn(name)
    if account is not None:
        # The name as it is registered: a keytab is searched by exact name.
        spn = next((s for s in account.spns if s.lower() == name.lower()), name)
        return account, tuple(spn.split("/"))
    try:
        account = find_account(store, name)
    except CliError as error:
        if error.code is not ExitCode.NOT_FOUND:
            raise
        raise not_found(
            f"no principal {text}", "kdc service list and kdc user list show them"
        ) from None
    return account, (account.sam_account_name,)


def entries(
    realm: str, components: tuple[str, ...], keys: Iterable[PrincipalKey]
) -> tuple[KeytabEntry, ...]:
    """Make the keytab entries of some keys of one principal."""
    kind = NameType.SRV_INST if len(components) > 1 else NameType.PRINCIPAL
    stamp = int(now().timestamp())
    return tuple(
        KeytabEntry(
            realm=realm,
            components=components,
            name_type=kind,
            timestamp=stamp,
            kvno=key.kvno,
            etype=key.etype,
            key=key.key,
        )
        for key in keys
    )


def read_keytab(path: Path) -> tuple[KeytabEntry, ...]:
    """Read a keytab that a user named. Raises CliError, OSError."""
    data = read_input_file(path, MAX_KEYTAB_BYTES)
    try:
        return decode_keytab(data)
    except DirectoryError as error:
        why = error.detail.removeprefix("keytab: ")
        raise CliError(
            f"{path} is no keytab", f"it does not read as one: {why}", "check the path"
        ) from None


def check_keytab(path: Path) -> None:
    """Refuse a keytab that keys could not be added to, before any key changes."""
    check_writable(path)
    if path.exists():
        read_keytab(path)


def write_keytab(path: Path, new: tuple[KeytabEntry, ...], *, append: bool) -> None:
    """Write entries into a keytab; append: keep what is there, but for the same keys."""
    kept: tuple[KeytabEntry, ...] = ()
    if append and path.exists():
        fresh = {(e.principal, e.kvno, e.etype) for e in new}
        kept = tuple(e for e in read_keytab(path) if (e.principal, e.kvno, e.etype) not in fresh)
    write_private(path, encode_keytab((*kept, *new)), replace=append)


@command.command("export")
@click.argument("principal")
@_out_option
@click.option("--append", is_flag=True, help="Add to the keytab that is there.")
@state_option
@click.pass_context
def export(ctx: click.Context, principal: str, out: Path, append: bool) -> None:
    """Write the keys of a principal to a keytab, all generations. Never changes a key."""
    with open_realm(ctx).store() as store:
        account, components = find_principal(store, principal)
        if not account.keys:
            raise not_found(
                f"{account.sam_account_name} has no keys", "a keytab needs a password or random key"
            )
        new = entries(store.realm, components, account.keys)
    write_keytab(out, new, append=append)
    click.echo(f"wrote {len(new)} keys of {new[0].principal} to {out}")


@command.command("rotate")
@click.argument("principal")
@click.option(
    "--keytab",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Add the new keys to this keytab.",
)
@caller_options
@state_option
@click.pass_context
def rotate(ctx: click.Context, principal: str, keytab: Path | None, caller: Caller) -> None:
    """Give a service or computer new keys.

    They are random; the last ones stay valid for tickets that are out. In an LDAP realm with
    key_source "ldap-sealed" they are written to the directory, as whoever the options say.
    """
    realm = open_realm(ctx)
    in_store = where_keys_are_set(realm.config, caller) == "store"
    if keytab is not None:
        check_keytab(keytab)
    with realm.store(write=in_store, local=True) as store:
        account, components = find_principal(store, principal)
        refuse_krbtgt(account)
        if account.kind not in (AccountKind.SERVICE, AccountKind.COMPUTER):
            raise CliError(
                f"the keys of {account.sam_account_name} are not rotated here",
                f"it is a {account.kind} account",
                f"kdc user password {account.sam_account_name}",
                ExitCode.DENIED,
            )
        if in_store:
            keys = random_keys(realm.config, next_kvno(account))
            store.set_keys(account.account_id, keys, keep_generations=_KEPT_GENERATIONS, now=now())
    if not in_store:
        _, keys = set_sealed_keys(
            realm,
            caller,
            account.sam_account_name,
            lambda _, kvno: random_keys(realm.config, kvno),
            keep=_KEPT_GENERATIONS,
            password=False,
        )
    kvno = keys[0].kvno
    if keytab is not None:
        write_keytab(keytab, entries(realm.config.realm, components, keys), append=True)
    click.echo(f"{'/'.join(components)} has new keys, kvno {kvno}")
    if keytab is None:
        click.echo("  its keytab is out of date now: kdc keytab export", err=True)


@command.command("show")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def show(file: Path, as_json: bool) -> None:
    """List what is in a keytab; never the keys themselves.

    JSON: a list of principal, kvno, enctype, timestamp.
    """
    found = read_keytab(file)
    rows = [(e.principal, e.kvno, enctype_name(e.etype), _stamp(e.timestamp)) for e in found]
    if as_json:
        heads = ("principal", "kvno", "enctype", "timestamp")
        print_json([dict(zip(heads, row, strict=True)) for row in rows])
        return
    print_table(
        ("PRINCIPAL", "KVNO", "ENCTYPE", "WRITTEN"),
        [(name, str(kvno), enctype, stamp or "") for name, kvno, enctype, stamp in rows],
    )


def _stamp(seconds: int) -> str | None:
    return iso(datetime.fromtimestamp(seconds, UTC)) if seconds else None
