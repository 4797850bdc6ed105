"""The command `kdc`: its nouns, and its run in a process of its own."""

import sys
from collections.abc import Sequence

import click

from kdc.cli.errors import explain
from kdc.cli.root import NounGroup, run_root
from kdc.form import FORM
from kdc.server.core_dumps import forbid_core_dumps

NOUNS: dict[str, tuple[str, str]] = {
    "init": ("kdc.cli.init", "Make a realm."),
    "serve": ("kdc.cli.serve", "Run the KDC."),
    "user": ("kdc.cli.user", "Accounts of users."),
    "key": ("kdc.cli.key", "Keys registered on accounts: what key trust trusts."),
    "cert": ("kdc.cli.cert", "Certificates of the realm's own CA."),
    "service": ("kdc.cli.service", "Service principals."),
    "device": ("kdc.cli.device", "Devices that registered keys are on."),
    "group": ("kdc.cli.group", "Groups of the domain."),
    "delegation": ("kdc.cli.delegation", "Which services may act for users, and where."),
    "cloud-trust": ("kdc.cli.cloud_trust", "Trust in tickets of the cloud or a read-only DC."),
    "directory": ("kdc.cli.directory", "The LDAP directory that accounts live in."),
    "dns": ("kdc.cli.dns", "DNS records by which clients find the realm."),
    "keytab": ("kdc.cli.keytab", "Keytabs: export, rotate, show."),
    "realm": ("kdc.cli.realm", "The realm itself: new keys for krbtgt."),
    "logon": ("kdc.cli.logon", "Log on with our own client."),
    "ccache": ("kdc.cli.ccache", "Credential caches: the tickets in them."),
    "explain": ("kdc.cli.explain", "Say why a request was refused."),
    "config": ("kdc.cli.config", "Check and show the configuration."),
    "doctor": ("kdc.cli.doctor", "Check everything that a logon needs."),
    "load": ("kdc.cli.load", "Put a load on a KDC and measure it."),
    "probe": ("kdc.cli.probe", "Ask a KDC whether it is alive."),
}
"""Command -> (module with a `command`, its one line in the list)."""


@click.command(cls=NounGroup, nouns=NOUNS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", metavar="DIR", help="State folder; else KDC_STATE, else ./.kdc.")
@click.version_option(
    package_name="keytrust-kdc", prog_name="kdc", message=f"%(prog)s, version %(version)s ({FORM})"
)
@click.pass_context
def root(ctx: click.Context, state: str | None) -> None:
    """Run a Kerberos KDC whose users sign in with keys and certificates.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 already there, 5 denied, 6 unreachable,
    78 bad configuration.
    """
    ctx.obj = state


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run_root(root, "kdc", arguments, explain)


def main() -> None:
    """Run the command line of this process and exit."""
    # Any command may open the master key; `serve` passes this on to its workers.
    forbid_core_dumps()
    sys.exit(run())
