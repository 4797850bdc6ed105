"""Options that many commands share."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from kdc.cli.errors import CliError, ExitCode
from kdc.config import parse_duration

MAX_PASSWORD_BYTES = 4096


def _keep_state(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj = value


state_option = click.option(
    "--state",
    metavar="DIR",
    callback=_keep_state,
    expose_value=False,
    is_eager=True,
    help="State folder; else KDC_STATE, else ./.kdc.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


_PASSWORD_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option("--password-prompt", is_flag=True, help="Ask for the password."),
    click.option("--password-stdin", is_flag=True, help="Read it from stdin."),
    click.option(
        "--password-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="F",
        help="Read it from a file; one newline at the end is dropped.",
    ),
)


def password_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the three ways of giving a password; none of them is an argument."""
    for add_option in _PASSWORD_OPTIONS:
        function = add_option(function)
    return function


def read_password(
    file: Path | None, from_stdin: bool, prompt: bool, *, confirm: bool = True
) -> str | None:
    """Read the password from where the options say; None when none of them was given."""
    if (file is not None) + from_stdin + prompt > 1:
        raise click.UsageError("give one of --password-file, --password-stdin, --password-prompt")
    if prompt:
        text: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
        return text
    if from_stdin:
        data = sys.stdin.buffer.read(MAX_PASSWORD_BYTES + 1)
    elif file is not None:
        data = read_input_file(file, MAX_PASSWORD_BYTES)
    else:
        return None
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    try:
        password = data.decode()
    except UnicodeDecodeError:
        password = ""
    if not password or len(data) > MAX_PASSWORD_BYTES or "\0" in password:
        raise CliError(
            "the password cannot be used",
            "it is empty, too long, or not UTF-8 text",
            "give one line of text",
        )
    return password


class Moment(click.ParamType[datetime | str]):
    """A point in time: ISO 8601, or a duration from now such as 30d; `never` is None."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | str:
        """Return an aware datetime, or `never`."""
        text = str(value)
        if isinstance(value, datetime) or text == "never":
            return value if isinstance(value, datetime) else text
        try:
            return datetime.now(UTC).replace(microsecond=0) + timedelta(
                seconds=parse_duration(text)
            )
        except (ValueError, OverflowError):
            pass
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            self.fail("write it as 2027-01-31, 2027-01-31T12:00:00Z, 30d or never", param, ctx)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def read_input_file(path: Path, limit: int) -> bytes:
    """Read a file that a user named; refuse one that is too large to be what it should be."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CliError(
            f"{path} cannot be used", f"it has more than {limit} bytes", "check the path"
        )
    return data


def not_found(what: str, remedy: str) -> CliError:
    """Make the error for something that is not there."""
    return CliError(what, "there is no such thing in this realm", remedy, ExitCode.NOT_FOUND)
