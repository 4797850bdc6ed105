"""Terminals, pipes and interruptions."""

import os
import subprocess
import sys

import click
import pytest

from directory.backend import DirectoryError, DirectoryFault
from kdc.cli import output
from kdc.cli.errors import CliError, ExitCode, explain
from kdc.cli.main import run
from kdc.config import ConfigError
from pki.errors import KeyFault, PkiError
from tests.kdc.cli.conftest import Shell


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pretend that stderr is a terminal."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def test_colour_is_for_terminals_only(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No colour into pipes; NO_COLOR respected (no-color.org)."""
    terminal.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert output.colour_wanted()
    terminal.setenv("NO_COLOR", "1")
    assert not output.colour_wanted()
    output.show_error(CliError("a", "b", "c"))
    assert "\x1b" not in capsys.readouterr().err


def test_progress_bar_appears_after_a_second_on_a_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Short work shows nothing; a pipe never sees a bar."""
    with output.progress("users", 2) as done:
        done(1)
    assert capsys.readouterr().err == ""
    terminal.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    terminal.setattr(output, "_PROGRESS_AFTER_S", 0.0)
    with output.progress("users", 2) as done:
        done(1)
        done(2)
    assert "users" in capsys.readouterr().err


@pytest.mark.parametrize("fault", DirectoryFault)
def test_every_fault_of_the_directory_has_a_code_and_advice(fault: DirectoryFault) -> None:
    """None of them is a traceback."""
    told = explain(DirectoryError(fault, "detail"))
    assert told is not None
    assert told.code in (ExitCode.FAILED, *range(3, 7))
    assert told.what == "detail"
    assert told.remedy


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(2, "No such file", "f"), ExitCode.NOT_FOUND),
        (FileExistsError(17, "File exists", "f"), ExitCode.EXISTS),
        (PermissionError(13, "Permission denied", "f"), ExitCode.DENIED),
        (OSError(28, "No space left on device", "f"), ExitCode.FAILED),
        (OSError("odd"), ExitCode.FAILED),
        (PkiError(KeyFault.TOO_SMALL), ExitCode.FAILED),
        (ConfigError("f", None, "what", "why", "remedy"), ExitCode.CONFIGURATION),
    ],
)
def test_other_errors_have_their_codes(error: Exception, code: ExitCode) -> None:
    """The exit codes of the command contract."""
    told = explain(error)
    assert told is not None
    assert told.code == code


def test_interruption_is_1(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at a prompt."""

    def interrupted(*_: object) -> None:
        raise click.Abort

    monkeypatch.setattr("kdc.cli.state.StateFolder.find", interrupted)
    done = shell("user", "list")
    assert (done.code, done.error[0]) == (ExitCode.FAILED, "stopped")


def test_reader_that_has_enough_gets_no_complaint(realm: Shell) -> None:
    """`kdc user list | head -1`."""
    code = (
        "import os, sys; from kdc.cli.main import run; "
        "r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w); sys.exit(run(['--help']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        env={**os.environ, "KDC_STATE": str(realm.state)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")


def test_unexpected_errors_keep_their_traceback(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug should be reported with where it is."""
    monkeypatch.setattr("kdc.cli.state.StateFolder.find", lambda *_: None.missing)  # type: ignore[attr-defined]  # on purpose
    with pytest.raises(AttributeError):
        run(["user", "list"])
