"""The root of the command line: finds the noun's module, and turns errors into exit codes."""

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from kdc.cli.errors import CliError, ExitCode
from kdc.cli.output import show_error
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


def _usage(error: click.UsageError) -> CliError:
    command = error.ctx.command_path if error.ctx is not None else "tenant"
    why = error.format_message().replace("\n", " ").rstrip(".")
    return CliError(
        f"{command} was not used as it is meant", why, f"{command} --help", ExitCode.USAGE
    )


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        returned = root.main(
            args=None if arguments is None else list(arguments),
            prog_name="tenant",
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
        show_error(CliError(error.format_message(), "see above", "tenant --help"))
        return ExitCode.FAILED
    except click.Abort:
        show_error(CliError("stopped", "it was interrupted", "run it again"))
        return ExitCode.FAILED
    except ModuleNotFoundError as error:
        if error.name != "joserfc":
            raise
        show_error(
            CliError(
                "the tenant cannot run here",
                "the package joserfc is not installed",
                "install the project with its extra: keytrust-kdc[tenant]",
            )
        )
        return ExitCode.FAILED
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        show_error(told)
        return told.code


def main() -> None:
    """Run the command line of this process and exit."""
    # Any command may open the master key.
    forbid_core_dumps()
    sys.exit(run())
