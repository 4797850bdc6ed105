"""Options that many commands share."""

import ipaddress
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from directory.backend import DirectoryError, DirectoryFault
from kdc.cli.errors import CliError, ExitCode
from kdc.config_values import parse_address, parse_duration

MAX_PASSWORD_BYTES = 4096


def _keep_state(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj = value


def state_option_of(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make the option that names the folder to work on, taken behind a noun as well as before it.

    text: its help. What was given is the root context's `obj`.
    """
    return click.option(
        "--state",
        metavar="DIR",
        callback=_keep_state,
        expose_value=False,
        is_eager=True,
        help=text,
    )


state_option = state_option_of("State folder; else KDC_STATE, else ./.kdc.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

timeout_option = click.option(
    "--timeout", type=click.FloatRange(0.1, 60), default=2.0, show_default=True
)


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


def _can_ask() -> bool:
    """Tell whether there is a terminal: the controlling one, or standard input."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return sys.stdin.isatty()
    return True


def read_password(
    file: Path | None, from_stdin: bool, prompt: bool, *, confirm: bool = True
) -> str | None:
    """Read the password from where the options say; None when none of them was given."""
    if (file is not None) + from_stdin + prompt > 1:
        raise click.UsageError("give one of --password-file, --password-stdin, --password-prompt")
    if prompt:
        if not _can_ask():
            raise CliError(
                "the password cannot be asked for",
                "there is no terminal to ask on",
                "use --password-stdin or --password-file",
                ExitCode.USAGE,
            )
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


# RFC 1123 2.1; a name that ends in a number would be taken for an address.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
MAX_HOST_NAME = 253


def is_host_name(text: str) -> bool:
    """Tell whether a text is a host name: letters, digits and hyphens between dots."""
    labels = text.split(".")
    return (
        len(text) <= MAX_HOST_NAME
        and all(_LABEL.fullmatch(label) for label in labels)
        and not labels[-1].isdecimal()
    )


class HostName(click.ParamType[str]):
    """A host name, such as kdc.lab.test."""

    name = "host"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the name as it was given."""
        text = str(value)
        if not is_host_name(text):
            self.fail(f"{text!r} is no host name, such as kdc.lab.test", param, ctx)
        return text


class IpAddress(click.ParamType[str]):
    """An IP address in text form."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the address in its usual form."""
        try:
            return str(ipaddress.ip_address(str(value)))
        except ValueError:
            self.fail(f"{value!r} is no IP address, such as 192.0.2.1", param, ctx)


class ListenAddress(click.ParamType[str]):
    """Where a KDC listens: a numeric address and a port."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the address as it was given."""
        text = str(value)
        try:
            parse_address(text)
        except ValueError:
            self.fail(f"write {text!r} as 127.0.0.1:88, [::1]:88 or *:88", param, ctx)
        return text


def kdc_place(text: str) -> tuple[str, int]:
    """Read what --kdc says: a numeric address and a port, or localhost. Raises click.UsageError."""
    host, _, port = text.rpartition(":")
    try:
        return parse_address(f"127.0.0.1:{port}" if host.lower() == "localhost" else text)
    except ValueError:
        raise click.UsageError(
            f"--kdc {text!r} is not a numeric address and a port, such as 127.0.0.1:88"
        ) from None


@contextmanager
def usage_if_invalid() -> Iterator[None]:
    """Take a value that the store will not accept for wrong usage: it was an argument."""
    try:
        yield
    except DirectoryError as error:
        if error.kind is not DirectoryFault.INVALID:
            raise
        raise click.UsageError(error.detail) from None


def check_new_name(name: str) -> str:
    """Refuse a name that every later command would take for an option."""
    if name.startswith("-"):
        raise click.UsageError(f"{name!r} would be taken for an option: choose another name")
    return name


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
