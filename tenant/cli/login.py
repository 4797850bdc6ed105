"""`tenant login`: what a lab has in the place of a telephone and a browser."""

import os
from pathlib import Path

import click

from directory.sealing import MasterKey
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.state import now, write_private
from tenant.audit import Audit
from tenant.cli.options import state_option
from tenant.cli.tenant import OpenTenant, open_tenant
from tenant.state import lockouts, second_factors, tokens
from tenant.state.second_factors import authenticator_uri
from tenant.state.sign_in import SignIn
from tenant.state.tokens import GrantError, GrantFault
from tenant.state.users import MfaMode, User

APPROVAL_LIFE_S = 60


@click.group("login")
def command() -> None:
    """Sign-ins that wait for somebody: device codes, second factors, locks.

    Each of these stands for something that a user does elsewhere, with a browser or a telephone.
    Who may run them may sign in as anybody: they write into the tenant's own folder.
    """


@command.command("approve")
@click.argument("code")
@click.argument("user")
@click.option("--mfa", is_flag=True, help="With a second factor, as if the user had shown one.")
@state_option
@click.pass_context
def approve(ctx: click.Context, code: str, user: str, mfa: bool) -> None:
    """Sign a device in whose client shows CODE, as USER.

    It stands for the user typing code and password on the page of device codes.
    """
    with open_tenant(ctx) as tenant:
        moment = now()
        try:
            with tenant.database.write() as connection:
                found = tenant.find_user(connection, user)
                waiting = tokens.find_user_code(connection, code, moment)
                _check(found, mfa=mfa, demanded=waiting.demands_mfa)
                sign_in = SignIn(
                    user_id=found.object_id,
                    client_id=waiting.client_id,
                    methods=frozenset({"pwd"}),
                    auth_time=moment,
                    mfa_time=moment if mfa or found.mfa is MfaMode.ASSUMED else None,
                )
                tokens.settle_device_code(connection, code, sign_in, moment)
                _record(tenant, "device code approved", found, client=waiting.client_id, mfa=mfa)
        except GrantError as error:
            raise _bad_code(error.fault) from None
    click.echo(f"the device with code {code} is signed in as {found.upn}")


def _record(tenant: OpenTenant, reason: str, user: User | None, **facts: object) -> None:
    """Write an audit record; inside the transaction, so that nothing is done without one."""
    audit = Audit(tenant.folder.audit_log)
    try:
        upn = None if user is None else user.upn
        audit.record(now(), {"event": "login", "reason": reason, "user": upn, **facts})
    finally:
        audit.close()


def _check(user: User, *, mfa: bool, demanded: bool) -> None:
    if not user.enabled:
        raise CliError(
            f"{user.upn} is not signed in",
            "the user is disabled",
            f"tenant user enable {user.upn}",
            ExitCode.DENIED,
        )
    if (demanded or user.mfa is MfaMode.REQUIRED) and not mfa and user.mfa is not MfaMode.ASSUMED:
        raise CliError(
            f"{user.upn} is not signed in",
            "a second factor is needed",
            "add --mfa, if it is to count as shown",
            ExitCode.DENIED,
        )


@command.command("decline")
@click.argument("code")
@state_option
@click.pass_context
def decline(ctx: click.Context, code: str) -> None:
    """Decline the sign-in of a device whose client shows CODE."""
    with open_tenant(ctx) as tenant:
        try:
            with tenant.database.write() as connection:
                tokens.settle_device_code(connection, code, None, now())
                _record(tenant, "device code declined", None)
        except GrantError as error:
            raise _bad_code(error.fault) from None
    click.echo(f"the device with code {code} is declined")


def _bad_code(fault: GrantFault) -> CliError:
    why = {
        GrantFault.UNKNOWN: "no device shows this code",
        GrantFault.EXPIRED: "the code has expired",
        GrantFault.USED: "the code was approved or declined already",
    }[fault]
    code = ExitCode.NOT_FOUND if fault is GrantFault.UNKNOWN else ExitCode.FAILED
    return CliError("the code cannot be used", why, "start the client again for a new code", code)


@command.command("approve-mfa")
@click.argument("user")
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(1, 3600),
    default=APPROVAL_LIFE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long it waits for the sign-in.",
)
@state_option
@click.pass_context
def approve_mfa(ctx: click.Context, user: str, seconds: int) -> None:
    """Let the next sign-in of USER pass with a second factor.

    It needs the right password all the same. This stands for the tap on a telephone, given
    beforehand; one sign-in uses it up.
    """
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        found = tenant.find_user(connection, user)
        _check_registered(found)
        second_factors.approve(connection, found.object_id, now(), seconds)
        _record(tenant, "second factor approved", found)
    click.echo(f"the next sign-in of {found.upn} within {seconds} s has its second factor")


def _check_registered(user: User) -> None:
    if not user.mfa_registered:
        raise CliError(
            f"{user.upn} has no second factor",
            "it is switched off for this user",
            f"tenant user mfa {user.upn} on-demand",
            ExitCode.DENIED,
        )


@command.command("authenticator")
@click.argument("user")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F",
    help="Where the secret is written, as an otpauth:// address; mode 0600.",
)
@state_option
@click.pass_context
def authenticator(ctx: click.Context, user: str, out: Path) -> None:
    """Give USER an authenticator for one-time codes.

    Codes are those of RFC 6238, for the pages of the sign-in. It replaces an older one.
    """
    with open_tenant(ctx) as tenant:
        master_key = MasterKey.load(tenant.folder.master_key)
        with tenant.database.write() as connection:
            found = tenant.find_user(connection, user)
            _check_registered(found)
            secret = second_factors.new_authenticator(
                connection, found.object_id, master_key, os.urandom
            )
            uri = authenticator_uri(secret, found.upn, f"{tenant.config.domain} lab")
            # Inside: without the file nobody would know the secret that is asked for from now on.
            write_private(out, f"{uri}\n".encode(), replace=False)
            _record(tenant, "authenticator given", found)
    click.echo(f"{found.upn} has an authenticator; its secret is in {out}")


@command.command("unlock")
@click.argument("user")
@state_option
@click.pass_context
def unlock(ctx: click.Context, user: str) -> None:
    """Forget the wrong passwords of USER.

    Ten in a row lock a name for a while.
    """
    with open_tenant(ctx) as tenant, tenant.database.write() as connection:
        found = tenant.find_user(connection, user)
        lockouts.clear(connection, found.upn)
        _record(tenant, "unlocked", found)
    click.echo(f"unlocked {found.upn}")
