"""The command `tenant`: its nouns, and its run in a process of its own."""

import sys
from collections.abc import Sequence

import click

from kdc.cli.root import NounGroup, run_root
from kdc.server.core_dumps import forbid_core_dumps
from tenant.cli.errors import explain

NOUNS: dict[str, tuple[str, str]] = {
    "init": ("tenant.cli.init", "Make a tenant for a lab domain."),
    "serve": ("tenant.cli.serve", "Run the tenant."),
    "logon": ("tenant.cli.logon", "Join a device and sign in with our own client."),
    "show": ("tenant.cli.show", "Show the tenant."),
    "sync": ("tenant.cli.sync", "Bring the tenant and its directory in step."),
    "scp": ("tenant.cli.scp", "The object by which computers find their tenant."),
    "login": ("tenant.cli.login", "Sign-ins that wait: device codes, second factors, locks."),
    "user": ("tenant.cli.user", "Users of the tenant."),
    "device": ("tenant.cli.device", "Devices of the tenant."),
    "key": ("tenant.cli.key", "Hello keys that users registered."),
}
"""Command -> (module with a `command`, its one line in the list)."""


@click.command(cls=NounGroup, nouns=NOUNS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", metavar="DIR", help="The tenant's folder; else TENANT_STATE, ./.tenant.")
@click.version_option(package_name="keytrust-kdc", prog_name="tenant")
@click.pass_context
def root(ctx: click.Context, state: str | None) -> None:
    """Run the cloud side of Windows Hello for a lab domain, without any cloud.

    For labs: it listens on this machine alone, under names that belong to Microsoft.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 already there, 5 denied, 6 unreachable,
    78 bad configuration.
    """
    ctx.obj = state


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_root(root, "tenant", arguments, explain)


def main() -> None:
    """Run the command line of this process and exit."""
    # Any command may open the master key.
    forbid_core_dumps()
    sys.exit(run())
