"""What the commands `kdc` and `tenant` share: nouns found by name, errors turned into exit codes.

Nouns are imported when they are used, so that `--help` and `serve` stay light.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from kdc.cli.errors import CliError, ExitCode
from kdc.cli.output import show_error

Explain = Callable[[Exception], CliError | None]
"""Turns an error of the lower layers into three lines; None: it is a bug."""

_UNKNOWN_COMMAND = re.compile(r"No such command '([^']*)'")


class NounGroup(click.Group):
    """The list of nouns; each is imported when it is asked for."""

    def __init__(self, *, nouns: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        """nouns: command -> (module with a `command`, its one line in the list)."""
        super().__init__(**attributes)
        self._nouns = nouns

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the nouns, in their order."""
        return list(self._nouns)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a noun's module and return its command; None when there is no such noun."""
        if cmd_name not in self._nouns:
            return None
        command = import_module(self._nouns[cmd_name][0]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of nouns without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._nouns.items()])


def _usage(error: click.UsageError, program: str) -> CliError:
    command = error.ctx.command_path if error.ctx is not None else program
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


def run_root(
    root: click.Command, program: str, arguments: Sequence[str] | None, explain: Explain
) -> int:
    """Run one command and return its exit code; click exits by itself when a pipe is closed.

    arguments: None for those of this process.
    """
    try:
        returned = root.main(
            args=None if arguments is None else list(arguments),
            prog_name=program,
            standalone_mode=False,
        )
        return returned if isinstance(returned, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        show_error(_usage(error, program))
        return ExitCode.USAGE
    except click.ClickException as error:
        show_error(CliError(error.format_message(), "see above", f"{program} --help"))
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
