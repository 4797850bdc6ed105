"""`kdc delegation`: which services may act for users, and where (MS-SFU).

The verbs are those of samba-tool: `add-service` writes msDS-AllowedToDelegateTo of the service that
acts, `add-principal` msDS-AllowedToActOnBehalfOfOtherIdentity of the service that it reaches.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import click

from directory.changes import AccountChanges
from directory.model import Account, AccountKind, Sid, match_key
from directory.security_descriptor import (
    SecurityDescriptorError,
    encode_allowed_to_act,
    parse_security_descriptor,
)
from directory.store import Store
from directory.store_names import check_spn
from kdc.cli.accounts import refuse_krbtgt
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.options import json_option, not_found, state_option, usage_if_invalid
from kdc.cli.output import print_fields, print_json, print_table
from kdc.cli.state import find_account, open_realm

PAGE = 500


@click.group("delegation")
def command() -> None:
    """Which services may act for users, and at which others."""


def find_delegating(store: Store, name: str) -> Account:
    """Find an account by its own name, by UPN or by a service name."""
    account = store.account_by_spn(name) if "/" in name else None
    account = account or find_account(store, name)
    refuse_krbtgt(account)
    return account


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """What an account may do for others, and who may do what with it."""

    account: Account
    may_act: tuple[str, ...] | None
    """Names, else SIDs, of those who may act here for others; None: the list is not readable."""
    rewritable: bool
    """Whether that list says nothing that these commands do not write."""

    @property
    def says_anything(self) -> bool:
        """Whether anything is not as on a new account."""
        account = self.account
        return (
            account.trusted_for_delegation
            or account.trusted_to_authenticate_for_delegation
            or account.not_delegated
            or bool(account.allowed_to_delegate_to)
            or account.allowed_to_act is not None
        )


def delegation_of(store: Store, account: Account) -> Delegation:
    """Read what is set on an account."""
    may_act: tuple[str, ...] | None = ()
    rewritable = True
    if account.allowed_to_act is not None:
        try:
            descriptor = parse_security_descriptor(account.allowed_to_act)
        except SecurityDescriptorError:
            may_act, rewritable = None, False
        else:
            granted = descriptor.granted_to()
            may_act = tuple(_name_of(store, sid) for sid in granted)
            rewritable = len(granted) == len(descriptor.entries)
    return Delegation(account=account, may_act=may_act, rewritable=rewritable)


def _accounts(store: Store) -> Iterable[Account]:
    after = ""
    while page := store.list_accounts(after=after, limit=PAGE):
        after = page[-1].sam_account_name
        for summary in page:
            account = store.account_by_id(summary.account_id)
            if account is not None and account.kind is not AccountKind.KRBTGT:
                yield account


def _name_of(store: Store, sid: Sid) -> str:
    for account in _accounts(store):
        if account.sid == sid:
            return account.sam_account_name
    after = ""
    while page := store.list_groups(after=after, limit=PAGE):
        after = page[-1].name
        for group in page:
            if group.sid == sid:
                return group.name
    return str(sid)


def delegation_json(found: Delegation) -> dict[str, object]:
    """Show what is set on an account, with stable keys."""
    account = found.account
    return {
        "trusted_for_delegation": account.trusted_for_delegation,
        "trusted_to_authenticate_for_delegation": account.trusted_to_authenticate_for_delegation,
        "not_delegated": account.not_delegated,
        "allowed_to_delegate_to": list(account.allowed_to_delegate_to),
        "allowed_to_act": None if found.may_act is None else list(found.may_act),
    }


def delegation_rows(found: Delegation) -> list[tuple[str, str]]:
    """Show what is set on an account, for people; nothing of what is as on a new one."""
    account = found.account
    rows = [("delegates to", spn) for spn in account.allowed_to_delegate_to]
    for value, text in (
        (account.trusted_for_delegation, "for any service (is given users' TGTs)"),
        (account.trusted_to_authenticate_for_delegation, "for any protocol (S4U2Self)"),
        (account.not_delegated, "nobody may act for it"),
    ):
        if value:
            rows.append(("delegation", text))
    if found.may_act is None:
        rows.append(("may act here", "a list that is not readable: nobody"))
    rows += [("may act here", name) for name in found.may_act or ()]
    return rows


@command.command("list")
@json_option
@state_option
@click.pass_context
def list_delegations(ctx: click.Context, as_json: bool) -> None:
    """List the accounts that anything is set on.

    JSON: a list of name and the keys of `kdc delegation show`.
    """
    with open_realm(ctx).store() as store:
        found = [delegation_of(store, account) for account in _accounts(store)]
    found = [one for one in found if one.says_anything]
    if as_json:
        print_json([{"name": d.account.sam_account_name, **delegation_json(d)} for d in found])
        return
    print_table(
        ("NAME", "DELEGATES TO", "MAY ACT HERE", "FLAGS"),
        [
            (
                d.account.sam_account_name,
                " ".join(d.account.allowed_to_delegate_to),
                "not readable" if d.may_act is None else " ".join(d.may_act),
                " ".join(_flags(d.account)),
            )
            for d in found
        ],
    )


def _flags(account: Account) -> list[str]:
    words = []
    if account.trusted_for_delegation:
        words.append("any-service")
    if account.trusted_to_authenticate_for_delegation:
        words.append("any-protocol")
    if account.not_delegated:
        words.append("not-delegated")
    return words


@command.command("show")
@click.argument("account")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, account: str, as_json: bool) -> None:
    """Show what an account may do for users, and who may act for users at it.

    JSON: name, trusted_for_delegation, trusted_to_authenticate_for_delegation, not_delegated,
    allowed_to_delegate_to, allowed_to_act (names; null: not readable).
    """
    with open_realm(ctx).store() as store:
        found = delegation_of(store, find_delegating(store, account))
    name = found.account.sam_account_name
    if as_json:
        print_json({"name": name, **delegation_json(found)})
        return
    print_fields([("name", name), *(delegation_rows(found) or [("delegation", "none")])])


def _set(ctx: click.Context, name: str, changes: AccountChanges, done: str) -> None:
    with open_realm(ctx).store(write=True) as store:
        account = find_delegating(store, name)
        store.update_account(account.account_id, changes)
    click.echo(f"{account.sam_account_name} {done}")


_ON_OFF = click.argument("switch", type=click.Choice(("on", "off")))


@command.command("for-any-service")
@click.argument("account")
@_ON_OFF
@state_option
@click.pass_context
def for_any_service(ctx: click.Context, account: str, switch: str) -> None:
    """Let users' clients hand their TGTs to a service: it can then do all they can.

    This is unconstrained delegation (the flag OK-AS-DELEGATE in its tickets).
    """
    changes = AccountChanges(trusted_for_delegation=switch == "on")
    done = "is given users' TGTs" if switch == "on" else "is not given users' TGTs any more"
    _set(ctx, account, changes, done)


@command.command("for-any-protocol")
@click.argument("account")
@_ON_OFF
@state_option
@click.pass_context
def for_any_protocol(ctx: click.Context, account: str, switch: str) -> None:
    """Let a service act for users who have not shown it a ticket (protocol transition).

    What it gets by S4U2Self is then good for S4U2Proxy.
    """
    changes = AccountChanges(trusted_to_authenticate_for_delegation=switch == "on")
    done = "may act" if switch == "on" else "may not act any more"
    _set(ctx, account, changes, f"{done} for users who have not shown it a ticket")


@command.command("add-service")
@click.argument("account")
@click.argument("principal")
@state_option
@click.pass_context
def add_service(ctx: click.Context, account: str, principal: str) -> None:
    """Let ACCOUNT act for users at the service PRINCIPAL, such as cifs/files.lab.test.

    The name must be the one that is asked for, in any case.
    """
    if "/" not in principal:
        raise click.UsageError(
            f"{principal!r} is no service: write class/host, cifs/files.lab.test"
        )
    with usage_if_invalid():
        check_spn(principal)
    with open_realm(ctx).store(write=True) as store:
        found = find_delegating(store, account)
        listed = found.allowed_to_delegate_to
        if any(match_key(spn) == match_key(principal) for spn in listed):
            raise CliError(
                f"{found.sam_account_name} already delegates to {principal}",
                "the name is in its list",
                f"kdc delegation show {found.sam_account_name}",
                ExitCode.EXISTS,
            )
        known = store.account_by_spn(principal) is not None
        changes = AccountChanges(allowed_to_delegate_to=(*listed, principal))
        store.update_account(found.account_id, changes)
    note = "" if known else " (no account has that name yet)"
    click.echo(f"{found.sam_account_name} may act for users at {principal}{note}")


@command.command("del-service")
@click.argument("account")
@click.argument("principal")
@state_option
@click.pass_context
def del_service(ctx: click.Context, account: str, principal: str) -> None:
    """Take a service out of the list that ACCOUNT may act for users at."""
    with open_realm(ctx).store(write=True) as store:
        found = find_delegating(store, account)
        rest = tuple(
            spn for spn in found.allowed_to_delegate_to if match_key(spn) != match_key(principal)
        )
        if rest == found.allowed_to_delegate_to:
            raise not_found(
                f"{found.sam_account_name} does not delegate to {principal}",
                f"kdc delegation show {found.sam_account_name}",
            )
        store.update_account(found.account_id, AccountChanges(allowed_to_delegate_to=rest))
    click.echo(f"{found.sam_account_name} may no longer act for users at {principal}")


def _principal_sid(store: Store, name: str) -> Sid:
    """Find who is to act: an account by any of its names, or a group."""
    group = store.group_by_name(name)
    sid = group.sid if group is not None else find_delegating(store, name).sid
    if sid is None:
        raise CliError(
            f"{name} cannot be listed", "it has no SID in this domain", "name another account"
        )
    return sid


def _listed(store: Store, account: Account) -> tuple[Sid, ...]:
    """Return who may act at a service; refuse a list that these commands cannot keep."""
    if account.allowed_to_act is None:
        return ()
    if not delegation_of(store, account).rewritable:
        raise CliError(
            f"the list of {account.sam_account_name} is not changed",
            "it is not readable, or denies or grants in a way that this command does not write",
            "change it where it was made",
            ExitCode.DENIED,
        )
    return parse_security_descriptor(account.allowed_to_act).granted_to()


@command.command("add-principal")
@click.argument("account")
@click.argument("principal")
@state_option
@click.pass_context
def add_principal(ctx: click.Context, account: str, principal: str) -> None:
    """Let PRINCIPAL, a service or a group of services, act for users at ACCOUNT.

    This is resource-based constrained delegation.
    """
    with open_realm(ctx).store(write=True) as store:
        found = find_delegating(store, account)
        sid, listed = _principal_sid(store, principal), _listed(store, found)
        if sid in listed:
            raise CliError(
                f"{principal} may already act for users at {found.sam_account_name}",
                "it is in the list",
                f"kdc delegation show {found.sam_account_name}",
                ExitCode.EXISTS,
            )
        descriptor = encode_allowed_to_act((*listed, sid))
        store.update_account(found.account_id, AccountChanges(allowed_to_act=descriptor))
    click.echo(f"{principal} may act for users at {found.sam_account_name}")


@command.command("del-principal")
@click.argument("account")
@click.argument("principal")
@state_option
@click.pass_context
def del_principal(ctx: click.Context, account: str, principal: str) -> None:
    """Take PRINCIPAL out of the list of those who may act for users at ACCOUNT."""
    with open_realm(ctx).store(write=True) as store:
        found = find_delegating(store, account)
        sid, listed = _principal_sid(store, principal), _listed(store, found)
        rest = tuple(one for one in listed if one != sid)
        if rest == listed:
            raise not_found(
                f"{principal} may not act for users at {found.sam_account_name}",
                f"kdc delegation show {found.sam_account_name}",
            )
        descriptor = encode_allowed_to_act(rest) if rest else None
        store.update_account(found.account_id, AccountChanges(allowed_to_act=descriptor))
    click.echo(f"{principal} may no longer act for users at {found.sam_account_name}")
