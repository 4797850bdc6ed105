"""Options that many commands share, and the folder that they work on."""

import os

import click

from kdc.cli.options import state_option_of
from tenant.state_folder import TenantFolder

state_option = state_option_of("The tenant's folder; else TENANT_STATE, else ./.tenant.")


def tenant_folder(ctx: click.Context) -> TenantFolder:
    """Find the tenant's folder: --state, else TENANT_STATE, else ./.tenant."""
    option = ctx.find_root().obj
    return TenantFolder.find(option if isinstance(option, str) else None, os.environ)
