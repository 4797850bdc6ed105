"""`kdc service`: service principals."""

from pathlib import Path

import click

from directory.changes import AccountChanges, NewAccount
from directory.model import Account, AccountKind, match_key
from directory.store import Store
from directory.store_names import check_name, check_spn
from kdc.cli.accounts import random_keys, refuse_krbtgt, state_of
from kdc.cli.errors import unless_there
from kdc.cli.keytab import check_keytab, entries, write_keytab
from kdc.cli.options import (
    check_new_name,
    json_option,
    not_found,
    state_option,
    usage_if_invalid,
)
from kdc.cli.output import print_json, print_table
from kdc.cli.state import RealmState, find_account, now, open_realm
from kdc.cli.user import show_account

PAGE = 500


@click.group("service")
def command() -> None:
    """Service principals."""


def _without_realm(principal: str, realm: str) -> str:
    name, at, suffix = principal.rpartition("@")
    return name if at and suffix.upper() == realm.upper() else principal


def _check_name(name: str, realm: str) -> None:
    """Refuse what is no service of this realm, as wrong usage. Raises click.UsageError."""
    if "@" in name:
        raise click.UsageError(f"{name!r} is not of this realm: leave @REALM out, or say @{realm}")
    if "/" not in name or any(c.isspace() for c in name):
        raise click.UsageError(f"{name!r} is no service: write class/host, host/web.lab.test")
    with usage_if_invalid():
        check_name(check_new_name(name), AccountKind.SERVICE)
        check_spn(name)


@command.command("add")
@click.argument("principal")
@click.option(
    "--keytab",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Add the keys to this keytab (mode 0600).",
)
@click.option("--account", metavar="NAME", help="Give the name to an account that is there.")
@state_option
@click.pass_context
def add(ctx: click.Context, principal: str, keytab: Path | None, account: str | None) -> None:
    """Add a service such as host/web.lab.test with random keys.

    With --account it is one more name of a computer, user or service, which keeps its keys.
    """
    realm = open_realm(ctx)
    name = _without_realm(principal, realm.config.realm)
    _check_name(name, realm.config.realm)
    if account is not None:
        if keytab is not None:
            raise click.UsageError("an account's keys are exported with kdc keytab export")
        owner = _add_name(realm, account, name)
        click.echo(f"{owner} is now {name} too")
        return
    if keytab is not None:
        check_keytab(keytab)
    keys = random_keys(realm.config)
    with unless_there(name), realm.store(write=True) as store:
        store.add_account(
            NewAccount(
                kind=AccountKind.SERVICE, name=name, spns=(name,), created_at=now(), keys=keys
            )
        )
    if keytab is not None:
        new = entries(realm.config.realm, tuple(name.split("/")), keys)
        write_keytab(keytab, new, append=True)
    click.echo(f"added {name}" + (f", keys in {keytab}" if keytab else ""))


def _add_name(realm: RealmState, account: str, name: str) -> str:
    """Give a service name to an account; return the account's own."""
    with realm.store(write=True) as store:
        owner = store.account_by_spn(account) or find_account(store, account)
        refuse_krbtgt(owner)
        store.update_account(owner.account_id, AccountChanges(spns=(*owner.spns, name)))
    return owner.sam_account_name


def _services(store: Store) -> list[Account]:
    found, after = [], ""
    while page := store.list_accounts(after=after, limit=PAGE, kind=AccountKind.SERVICE):
        after = page[-1].sam_account_name
        for summary in page:
            account = store.account_by_id(summary.account_id)
            if account is not None:
                found.append(account)
    return found


@command.command("list")
@json_option
@state_option
@click.pass_context
def list_services(ctx: click.Context, as_json: bool) -> None:
    """List the services of the realm.

    JSON: a list of name, service_principal_names, kvno, disabled.
    """
    moment = now()
    with open_realm(ctx).store() as store:
        found = _services(store)
    if as_json:
        print_json(
            [
                {
                    "name": a.sam_account_name,
                    "service_principal_names": list(a.spns),
                    "kvno": a.keys[0].kvno if a.keys else None,
                    "disabled": a.disabled,
                }
                for a in found
            ]
        )
        return
    print_table(
        ("NAME", "KVNO", "STATE"),
        [
            (
                a.sam_account_name,
                str(a.keys[0].kvno) if a.keys else "",
                state_of(a, None, moment),
            )
            for a in found
        ],
    )


@command.command("show")
@click.argument("principal")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, principal: str, as_json: bool) -> None:
    """Show a service by any of its names.

    As `kdc user show`. JSON: name, kind, upn, sid, object_guid, service_principal_names, disabled,
    locked_until, expires_at, password_expires_at, must_change_password, smartcard_required,
    created_at, kvno, enctypes, supported_enctypes, keys, trusted_for_delegation,
    trusted_to_authenticate_for_delegation, not_delegated, allowed_to_delegate_to, allowed_to_act.
    """
    realm = open_realm(ctx)
    name = _without_realm(principal, realm.config.realm)
    with realm.store() as store:
        account = store.account_by_spn(name)
        if account is None:
            raise not_found(f"no service {name}", "kdc service list")
        show_account(store, account, as_json)


@command.command("delete")
@click.argument("principal")
@state_option
@click.pass_context
def delete(ctx: click.Context, principal: str) -> None:
    """Delete a service, or one name of an account that has others.

    Tickets for it that are out cannot be opened with keys exported later.
    """
    realm = open_realm(ctx)
    name = _without_realm(principal, realm.config.realm)
    with realm.store(write=True) as store:
        account = store.account_by_spn(name)
        if account is not None:
            refuse_krbtgt(account)
        if account is None:
            raise not_found(f"no service {name}", "kdc service list")
        own = match_key(account.sam_account_name) == match_key(name)
        if own and account.kind is AccountKind.SERVICE:
            store.delete_account(account.account_id)
            done = f"deleted {name}"
        else:
            rest = tuple(spn for spn in account.spns if match_key(spn) != match_key(name))
            store.update_account(account.account_id, AccountChanges(spns=rest))
            done = f"{account.sam_account_name} is no longer {name}"
    click.echo(done)
