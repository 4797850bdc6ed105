"""What a command says when it fails: three short lines, and an exit code that scripts rely on."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.sealing import SecretFileError
from kdc.config import ConfigError
from pki.errors import PkiError


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    EXISTS = 4
    DENIED = 5
    UNREACHABLE = 6
    CONFIGURATION = 78


class CliError(Exception):
    """A command failed. The three texts are one line each and hold no secret."""

    def __init__(self, what: str, why: str, remedy: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.code = code


_DIRECTORY = {
    DirectoryFault.NOT_FOUND: (ExitCode.NOT_FOUND, "check the name; `kdc user list` shows all"),
    DirectoryFault.EXISTS: (ExitCode.EXISTS, "choose another name, or change what is there"),
    DirectoryFault.INVALID: (ExitCode.FAILED, "correct the value and try again"),
    DirectoryFault.DENIED: (ExitCode.DENIED, "check who you are and the modes of the files"),
    DirectoryFault.UNAVAILABLE: (
        ExitCode.UNREACHABLE,
        "check that the state folder is the right one and that its disk works",
    ),
    DirectoryFault.CORRUPT: (ExitCode.FAILED, "restore the state folder from a backup"),
}


def explain(error: Exception) -> CliError | None:
    """Turn an error of the lower layers into three lines; None: it is a bug."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, ConfigError):
        what = f"{error.place}: {error.what}"
        return CliError(what, error.why, error.remedy, ExitCode.CONFIGURATION)
    if isinstance(error, SecretFileError):
        return CliError(error.detail, error.why, error.remedy, _DIRECTORY[error.kind][0])
    if isinstance(error, DirectoryError):
        code, remedy = _DIRECTORY[error.kind]
        return CliError(error.detail or error.kind.value, error.kind.value, remedy, code)
    if isinstance(error, PkiError):
        return CliError(
            error.detail or "a key or certificate cannot be used",
            error.fault.value,
            "check that the file is what you think it is",
        )
    if isinstance(error, OSError):
        return from_os_error(error)
    return None


@contextmanager
def unless_there(name: str) -> Iterator[None]:
    """Name what was to be added when its name is in use already."""
    try:
        yield
    except DirectoryError as error:
        if error.kind is not DirectoryFault.EXISTS:
            raise
        code, remedy = _DIRECTORY[error.kind]
        raise CliError(f"{name} is not added", error.detail, remedy, code) from error


def cannot_write(path: Path, error: OSError) -> CliError:
    """Say that a file could not be written, by the name that the user gave it."""
    what, why = f"{path} cannot be written", (error.strerror or "input/output error").lower()
    if isinstance(error, FileNotFoundError):
        return CliError(
            what,
            f"there is no folder {path.parent}",
            "make the folder, or choose another path",
            ExitCode.NOT_FOUND,
        )
    if isinstance(error, FileExistsError):
        return CliError(what, why, "choose another path", ExitCode.EXISTS)
    if isinstance(error, PermissionError):
        remedy = "choose another path, or check the folder's owner and mode"
        return CliError(what, why, remedy, ExitCode.DENIED)
    return CliError(what, why, "choose another path, or check the disk")


def from_os_error(error: OSError) -> CliError:
    """Say which file could not be used, and why."""
    name = error.filename if isinstance(error.filename, str) else "a file"
    why = error.strerror or "input/output error"
    if isinstance(error, FileNotFoundError):
        return CliError(f"{name} cannot be read", why, "check the path", ExitCode.NOT_FOUND)
    if isinstance(error, FileExistsError):
        return CliError(f"{name} cannot be written", why, "choose another path", ExitCode.EXISTS)
    if isinstance(error, PermissionError):
        return CliError(f"{name} cannot be used", why, "check its owner and mode", ExitCode.DENIED)
    return CliError(f"{name} cannot be used", why, "check the path and the disk")
