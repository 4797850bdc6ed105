"""The contract of every command: exit codes, three-line errors, nothing loaded in vain."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdc.cli.errors import CliError, ExitCode, explain
from kdc.cli.main import NOUNS, run
from tests.kdc.cli.conftest import Shell


def test_help_lists_every_noun(shell: Shell) -> None:
    """`kdc --help`."""
    listed = shell.ok("--help").out
    for noun in NOUNS:
        assert f"  {noun}" in listed


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_has_help(shell: Shell, noun: str) -> None:
    """The list names modules that exist."""
    assert shell.ok(noun, "--help").out.startswith(f"Usage: kdc {noun}")


def test_version(shell: Shell) -> None:
    """`kdc --version`, which also tells the compiled form from the source."""
    assert re.fullmatch(r"kdc, version \S+ \((compiled|interpreted)\)\n", shell.ok("--version").out)


def test_help_loads_no_noun() -> None:
    """A command line answers at once: no store, no network, no rich."""
    code = (
        "import sys; from kdc.cli.main import run; run(['--help']);"
        "print(sorted(m for m in ('kdc.cli.user', 'sqlite3', 'rich', 'asyncio') "
        "if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_serve_loads_no_rich() -> None:
    """What the supervisor imports stays in every worker."""
    code = (
        "import sys, kdc.cli.serve, kdc.server.build;"
        "print([m for m in ('rich', 'kdc.client', 'aiohttp', 'prometheus_client') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_python_m_kdc_is_the_command() -> None:
    """`python -m kdc`."""
    done = subprocess.run(
        [sys.executable, "-m", "kdc", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout[:4]) == (0, "kdc,")


def test_wrong_usage_is_2(shell: Shell) -> None:
    """An unknown command, option or missing argument."""
    for arguments in (("frob",), ("user", "frob"), ("user", "add"), ("serve", "--frob")):
        done = shell(*arguments)
        assert done.code == ExitCode.USAGE
        assert done.error[2].endswith("--help")


def test_noun_alone_shows_its_help(shell: Shell) -> None:
    """And is wrong usage, for scripts."""
    for arguments in ((), ("user",)):
        done = shell(*arguments)
        assert (done.code, done.out) == (ExitCode.USAGE, "")
        assert "Commands:" in done.err


def test_missing_realm_is_78(shell: Shell) -> None:
    """Exit code 78 is EX_CONFIG of sysexits.h."""
    done = shell("user", "list")
    assert done.code == ExitCode.CONFIGURATION
    assert done.error == (
        f"{shell.state}/kdc.toml: there is no realm here",
        f"there is no folder {shell.state}",
        "name the realm's folder with --state DIR or KDC_STATE, or make one: kdc init",
    )


def test_bad_configuration_is_78_with_file_and_line(realm: Shell) -> None:
    """Every command judges the whole file."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("max_lfe = 1\n")
    line = len((realm.state / "kdc.toml").read_text().splitlines())
    done = realm("user", "list")
    assert done.code == ExitCode.CONFIGURATION
    assert done.error[0] == f"{realm.state}/kdc.toml:{line}: unknown key 'max_lfe'"


def test_unknown_name_is_3(realm: Shell) -> None:
    """Not found: accounts, keys, services, files."""
    for arguments in (
        ("user", "show", "nobody"),
        ("user", "delete", "nobody"),
        ("key", "list", "nobody"),
        ("key", "show", "00ff"),
        ("key", "remove", "alice", "00ff"),
        ("service", "delete", "host/none.lab.test"),
        ("keytab", "export", "nobody", "-o", "x"),
        ("keytab", "show", "no-such-file"),
        ("key", "add", "alice", "no-such-file"),
    ):
        done = realm(*arguments)
        assert done.code == ExitCode.NOT_FOUND, arguments
        assert done.error


def test_name_in_use_is_4(realm: Shell, alice_pem: Path) -> None:
    """Already there: accounts in any case of their name, keys, key files."""
    for arguments in (
        ("user", "add", "ALICE"),
        ("key", "add", "alice", alice_pem),
        ("key", "enroll", "pat", "--out", alice_pem),
        ("service", "add", "krbtgt/LAB.TEST"),
        ("init", "--realm", "OTHER.TEST"),
    ):
        done = realm(*arguments)
        assert done.code == ExitCode.EXISTS, arguments
        assert done.error


def test_loose_master_key_is_5(realm: Shell) -> None:
    """Row S06: a key file that others may read is not used."""
    (realm.state / "master.key").chmod(0o644)
    done = realm("user", "list")
    assert done.code == ExitCode.DENIED
    assert "0644" in done.error[0]


def test_krbtgt_keys_are_not_rotated_like_a_service(realm: Shell) -> None:
    """Denied: it has a command of its own."""
    assert realm("keytab", "rotate", "krbtgt/LAB.TEST").code == ExitCode.DENIED
    assert realm("keytab", "rotate", "pat").code == ExitCode.DENIED


def test_damaged_store_is_6(realm: Shell) -> None:
    """Unreachable: nothing is concluded from a store that cannot be read."""
    (realm.state / "store.sqlite").write_bytes(b"not a database" * 1000)
    done = realm("user", "list")
    assert done.code == ExitCode.UNREACHABLE
    assert done.error


def test_state_option_wins_over_the_environment(realm: Shell, tmp_path: Path) -> None:
    """--state, before or after the noun; else KDC_STATE."""
    other = tmp_path / "other"
    assert realm("user", "list", "--state", other).code == ExitCode.CONFIGURATION
    assert realm("--state", other, "user", "list").code == ExitCode.CONFIGURATION
    assert realm("--state", other, "user", "list", "--state", realm.state).code == 0


def test_bug_is_not_hidden(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only errors we know become three lines."""
    assert explain(ValueError("bug")) is None
    monkeypatch.setattr("kdc.cli.state.StateFolder.find", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["user", "list"])


def test_error_text_cannot_speak_to_the_terminal(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came from outside is escaped, and stays on its line."""
    from kdc.cli.output import show_error

    show_error(CliError("a\x1b[31mb\nc", "d", "e"))
    assert capsys.readouterr().err.splitlines() == [
        "error: a\\x1b[31mb\\x0ac",
        "  why: d",
        "   do: e",
    ]
