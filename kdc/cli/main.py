"""The root of the command line: finds the noun's module, and turns errors into exit codes.

Nouns are imported when they are used, so that `kdc --help` and `kdc serve` stay light.
"""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from kdc.cli.errors import CliError, ExitCode, explain
from kdc.cli.output import show_error
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


_UNKNOWN_COMMAND = re.compile(r"No such command '([^']*)'")


class _Nouns(click.Group):
    """The list of nouns; each is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NOUNS:
            return None
        command = import_module(NOUNS[cmd_name][0]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in NOUNS.items()])


@click.command(cls=_Nouns, context_settings={"help_option_names": ["-h", "--help"]})
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


def _usage(error: click.UsageError) -> CliError:
    command = error.ctx.command_path if error.ctx is not None else "kdc"
    # "Missing parameter: name" and the like end in a full stop that three lines do without.
    why = error.format_message().replace("\n", " ").rstrip(".")
    remedy = f"{command} --help"
    unknown = _UNKNOWN_COMMAND.match(why)
    if unknown is not None and error.ctx is not None and isinstance(error.ctx.command, click.Group):
        near = get_close_matches(unknown[1], error.ctx.command.list_commands(error.ctx), n=1)
        why = f"there is no command {unknown[1]!r}"
        if near:
            remedy = f"did you mean {command} {near[0]}? Else: {command} --help"
    return CliError(f"{command} was not used as it is meant", why, remedy, ExitCode.USAGE)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; click exits by itself when a pipe is closed."""
    try:
        returned = root.main(
            args=None if arguments is None else list(arguments),
            prog_name="kdc",
            standalone_mode=False,
        )
        return returned if isinstance(returned, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        show_error(_usage(error))
        return ExitCode.USAGE
    except click.ClickException as error:
        show_error(CliError(error.format_message(), "see above", "kdc --help"))
        return ExitCode.FAILED
    except click.Abort:
        show_error(CliError("stopped", "it was interrupted", "run it again"))
        return ExitCode.FAILED
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        show_error(told)
        return told.code


def main() -> None:
    """Run the command line of this process and exit."""
    # Any command may open the master key; `serve` passes this on to its workers.
    forbid_core_dumps()
    sys.exit(run())
