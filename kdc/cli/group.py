"""`kdc group`: groups of the domain, which the PAC lists."""

import click

from directory.model import Group
from directory.store import Store
from kdc.cli.options import json_option, not_found, state_option
from kdc.cli.output import print_fields, print_json, print_table
from kdc.cli.state import find_account, open_realm

PAGE = 500


@click.group("group")
def command() -> None:
    """Groups of the domain, nested as you like."""


def find_group(store: Store, name: str) -> Group:
    """Find a group by its name."""
    group = store.group_by_name(name)
    if group is None:
        raise not_found(f"no group named {name}", "kdc group list")
    return group


def _members(store: Store, group: Group) -> list[str]:
    return list(store.group_members(group.group_id, store.count_group_members(group.group_id)))


@command.command("add")
@click.argument("name")
@state_option
@click.pass_context
def add(ctx: click.Context, name: str) -> None:
    """Add a group; it gets the next RID of the domain."""
    with open_realm(ctx).store(write=True) as store:
        store.add_group(name)
        group = find_group(store, name)
    click.echo(f"added {name} ({group.sid})")


@command.command("list")
@json_option
@state_option
@click.pass_context
def list_groups(ctx: click.Context, as_json: bool) -> None:
    """List the groups.

    JSON: a list of name, sid, members (how many direct ones).
    """
    found: list[tuple[Group, int]] = []
    with open_realm(ctx).store() as store:
        after = ""
        while page := store.list_groups(after=after, limit=PAGE):
            after = page[-1].name
            found += [(group, store.count_group_members(group.group_id)) for group in page]
    if as_json:
        print_json(
            [{"name": g.name, "sid": str(g.sid), "members": members} for g, members in found]
        )
        return
    print_table(
        ("NAME", "MEMBERS", "SID"),
        [(group.name, str(members), str(group.sid)) for group, members in found],
    )


@command.command("show")
@click.argument("name")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show a group and its direct members.

    Those whose primary group it is are not listed: all users are in Domain Users, all computers in
    Domain Computers. JSON: name, sid, members (names).
    """
    with open_realm(ctx).store() as store:
        group = find_group(store, name)
        members = _members(store, group)
    if as_json:
        print_json({"name": group.name, "sid": str(group.sid), "members": members})
        return
    print_fields(
        [("name", group.name), ("SID", str(group.sid)), *(("member", name) for name in members)]
    )


@command.command("delete")
@click.argument("name")
@state_option
@click.pass_context
def delete(ctx: click.Context, name: str) -> None:
    """Delete a group; the well-known ones stay."""
    with open_realm(ctx).store(write=True) as store:
        group = find_group(store, name)
        store.delete_group(group.group_id)
    click.echo(f"deleted {group.name}")


def _find_member(store: Store, name: str) -> tuple[int | None, int | None]:
    """Return (account's number, None) or (None, group's number)."""
    account = store.account_by_name(name)
    group = store.group_by_name(name) if account is None else None
    if group is not None:
        return None, group.group_id
    return find_account(store, name).account_id, None


@command.command("member-add")
@click.argument("group")
@click.argument("member")
@state_option
@click.pass_context
def member_add(ctx: click.Context, group: str, member: str) -> None:
    """Put a user, computer, service or group into a group."""
    with open_realm(ctx).store(write=True) as store:
        found = find_group(store, group)
        account_id, member_group = _find_member(store, member)
        store.add_member(found.group_id, account_id=account_id, member_group=member_group)
    click.echo(f"{member} is in {found.name}")


@command.command("member-remove")
@click.argument("group")
@click.argument("member")
@state_option
@click.pass_context
def member_remove(ctx: click.Context, group: str, member: str) -> None:
    """Take a direct member out of a group."""
    with open_realm(ctx).store(write=True) as store:
        found = find_group(store, group)
        account_id, member_group = _find_member(store, member)
        store.remove_member(found.group_id, account_id=account_id, member_group=member_group)
    click.echo(f"{member} is no longer in {found.name}")
