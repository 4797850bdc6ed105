"""`tenant user`: who may sign in."""

import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from kdc.cli.errors import CliError, ExitCode, unless_there
from kdc.cli.options import (
    check_new_name,
    json_option,
    password_options,
    read_password,
    usage_if_invalid,
)
from kdc.cli.output import print_fields, print_json, print_table
from tenant.cli.options import state_option
from tenant.cli.tenant import open_tenant
from tenant.state import prts, tokens, users
from tenant.state.passwords import SALT_OCTETS, PasswordHash, hash_password
from tenant.state.users import MfaMode, User


@click.group("user")
def command() -> None:
    """Users of the tenant.

    NAME is the user principal name; without "@" the tenant's domain is added. `tenant sync` brings
    the users of the lab's realm here, without their passwords.
    """


def _hash(password: str | None) -> PasswordHash | None:
    if password is None:
        return None
    try:
        return hash_password(password, os.urandom(SALT_OCTETS))
    except ValueError as error:
        raise CliError(
            "the password cannot be used", str(error), "choose another one", ExitCode.USAGE
        ) from None


_mfa_option = click.option(
    "--mfa",
    type=click.Choice([mode.value for mode in MfaMode]),
    default=MfaMode.NONE.value,
    show_default=True,
    help="What a second factor is for this user: see tenant user mfa.",
)


@command.command("add")
@click.argument("name")
@click.option("--display-name", help="Else the part before @.")
@_mfa_option
@password_options
@state_option
@click.pass_context
def add(
    ctx: click.Context,
    name: str,
    display_name: str | None,
    mfa: str,
    password_file: Path | None,
    password_stdin: bool,
    password_prompt: bool,
) -> None:
    """Add a user. Without a password nobody signs in as one."""
    check_new_name(name)
    password = _hash(read_password(password_file, password_stdin, password_prompt))
    with open_tenant(ctx) as tenant:
        upn = tenant.upn(name)
        user = User(
            object_id=uuid.uuid4(),
            upn=upn,
            display_name=display_name or upn.partition("@")[0],
            mfa=MfaMode(mfa),
            password=password,
        )
        with usage_if_invalid(), unless_there(upn), tenant.database.write() as connection:
            users.add(connection, user)
    click.echo(f"added {upn}" + ("" if password else " (no password)"))


def _json(user: User) -> dict[str, object]:
    return {
        "upn": user.upn,
        "object_id": str(user.object_id),
        "display_name": user.display_name,
        "enabled": user.enabled,
        "mfa": user.mfa.value,
        "password": user.password is not None,
        "onprem_sam": user.onprem_sam,
        "onprem_sid": user.onprem_sid,
        "onprem_guid": None if user.onprem_guid is None else str(user.onprem_guid),
    }


@command.command("list")
@json_option
@state_option
@click.pass_context
def list_users(ctx: click.Context, as_json: bool) -> None:
    """List the users.

    JSON: a list of upn, object_id, display_name, enabled, mfa, password (whether there is one),
    onprem_sam, onprem_sid, onprem_guid (of the account in the lab's realm, once synced).
    """
    with open_tenant(ctx) as tenant, tenant.database.read() as connection:
        found = users.all_users(connection)
    if as_json:
        print_json([_json(user) for user in found])
        return
    rows = [
        (
            user.upn,
            "enabled" if user.enabled else "disabled",
            "yes" if user.password else "no",
            user.mfa.value,
            user.onprem_sam or "",
        )
        for user in found
    ]
    print_table(("UPN", "STATE", "PASSWORD", "MFA", "ACCOUNT"), rows)


@command.command("show")
@click.argument("name")
@json_option
@state_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one user. JSON: as one element of `list`."""
    with open_tenant(ctx) as tenant, tenant.database.read() as connection:
        user = tenant.find_user(connection, name)
    if as_json:
        print_json(_json(user))
        return
    print_fields(
        [
            ("user", user.upn),
            ("object id", str(user.object_id)),
            ("name", user.display_name),
            ("state", "enabled" if user.enabled else "disabled"),
            ("password", "yes" if user.password else "no"),
            ("second factor", user.mfa.value),
            ("account", user.onprem_sam or "not synced"),
            ("SID", user.onprem_sid or ""),
        ]
    )


@command.command("password")
@click.argument("name")
@password_options
@state_option
@click.pass_context
def set_password(
    ctx: click.Context,
    name: str,
    password_file: Path | None,
    password_stdin: bool,
    password_prompt: bool,
) -> None:
    """Set a user's password in the tenant; the realm's is another one."""
    password = read_password(password_file, password_stdin, password_prompt)
    if password is None:
        raise click.UsageError("give one of --password-file, --password-stdin, --password-prompt")
    hashed = _hash(password)
    user = _change(ctx, name, lambda user: replace(user, password=hashed))
    click.echo(f"{user.upn} has a new password")


@command.command("mfa")
@click.argument("name")
@click.argument("mode", type=click.Choice([mode.value for mode in MfaMode]))
@state_option
@click.pass_context
def set_mfa(ctx: click.Context, name: str, mode: str) -> None:
    """Set what a second factor is for a user.

    none: there is none, and what demands one is refused. on-demand: it is asked for when a client
    demands it. required: every sign-in needs it. assumed: each sign-in passes as one with a second
    factor, without any; for clients that cannot be asked, such as roadtx with a password.
    """
    user = _change(ctx, name, lambda user: replace(user, mfa=MfaMode(mode)))
    click.echo(f"{user.upn}: second factor {user.mfa.value}")


@command.command("disable")
@click.argument("name")
@state_option
@click.pass_context
def disable(ctx: click.Context, name: str) -> None:
    """Refuse every sign-in of a user.

    Access tokens that were issued end by themselves.
    """
    click.echo(f"disabled {_change(ctx, name, lambda user: replace(user, enabled=False)).upn}")


@command.command("enable")
@click.argument("name")
@state_option
@click.pass_context
def enable(ctx: click.Context, name: str) -> None:
    """Let a user sign in again."""
    click.echo(f"enabled {_change(ctx, name, lambda user: replace(user, enabled=True)).upn}")


@command.command("sign-out")
@click.argument("name")
@state_option
@click.pass_context
def sign_out(ctx: click.Context, name: str) -> None:
    """End a user's PRTs, refresh tokens and codes on every device.

    Access tokens end by themselves, within `access_token_life_s`.
    """
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        user = tenant.find_user(connection, name)
        tokens.end_all(connection, user.object_id)
        ended = prts.delete_prts_of_user(connection, user.object_id)
    click.echo(f"signed {user.upn} out everywhere; primary refresh tokens ended: {ended}")


@command.command("delete")
@click.argument("name")
@state_option
@click.pass_context
def delete(ctx: click.Context, name: str) -> None:
    """Delete a user with the keys it registered; its devices stay."""
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        user = tenant.find_user(connection, name)
        users.delete(connection, user.object_id)
    click.echo(f"deleted {user.upn}")


def _change(ctx: click.Context, name: str, change: Callable[[User], User]) -> User:
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        user = change(tenant.find_user(connection, name))
        users.update(connection, user)
    return user
