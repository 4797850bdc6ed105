"""Options that many commands share, and the folder that they work on."""

import os

import click

from tenant.state_folder import TenantFolder


def _keep_state(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj = value


state_option = click.option(
    "--state",
    metavar="DIR",
    callback=_keep_state,
    expose_value=False,
    is_eager=True,
    help="The tenant's folder; else TENANT_STATE, else ./.tenant.",
)


def tenant_folder(ctx: click.Context) -> TenantFolder:
    """Find the tenant's folder: --state, else TENANT_STATE, else ./.tenant."""
    option = ctx.find_root().obj
    return TenantFolder.find(option if isinstance(option, str) else None, os.environ)
