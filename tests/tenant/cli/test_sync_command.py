"""`tenant sync`: what it refuses, what it prints, what it leaves in the audit log."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kdc.cli.main import run as kdc
from tenant.cli.main import run as tenant
from tenant.cli.sync import show_report
from tenant.sync.plan import Problem
from tenant.sync.report import Act, Done, SyncReport
from tests.rig.secret_files import write_secret


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a realm and a tenant beside it, by their commands."""
    monkeypatch.setenv("KDC_STATE", str(tmp_path / "realm"))
    monkeypatch.setenv("TENANT_STATE", str(tmp_path / "tenant"))
    assert kdc(["init", "--realm", "LAB.TEST"]) == 0
    realm = str(tmp_path / "realm")
    assert tenant(["init", "--domain", "lab.test", "--kdc-state", realm]) == 0
    return tmp_path


def _set(folder: Path, text: str) -> None:
    file = folder / "tenant/tenant.toml"
    file.write_text(file.read_text() + text)


def test_a_sync_that_goes_on_tells_its_first_run_and_ends_when_told(folder: Path) -> None:
    """Also when there is nothing to do; Ctrl-C is exit 0."""
    command = [sys.executable, "-m", "tenant", "sync", "--interval", "3600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert said == "in step: the tenant and the store of LAB.TEST; no key in the directory\n"
    assert not (folder / "tenant/audit.jsonl").exists()


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--once", "--interval", "5"],
        ["--dry-run", "--interval", "5"],
        ["--allow-disabling", "--interval", "5"],
    ],
)
def test_it_has_to_be_said_how_often(options: list[str], folder: Path) -> None:
    """Exit 2, before anything is opened."""
    del folder
    assert tenant(["sync", *options]) == 2


def test_a_run_says_what_it_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each thing, and a record in the audit log; a dry run leaves neither."""
    assert kdc(["user", "add", "wendy"]) == 0
    capsys.readouterr()
    assert tenant(["sync", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "would be: user added: wendy@lab.test" in said
    assert "not changed: the tenant and the store of LAB.TEST" in said
    log = folder / "tenant/audit.jsonl"
    assert not log.exists() or not log.read_text()
    assert tenant(["sync", "--once"]) == 0
    assert "user added: wendy@lab.test" in capsys.readouterr().out
    (record,) = map(json.loads, log.read_text().splitlines())
    assert (record["event"], record["user_added"]) == ("sync", 1)
    assert tenant(["sync", "--once", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"directory", "where", "dry_run", "keys", "done", "problems"}
    assert (shown["done"], shown["keys"], shown["dry_run"]) == ([], 0, False)
    assert len(log.read_text().splitlines()) == 1


def test_another_realm_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 5: all users of the tenant would be disabled."""
    assert kdc(["user", "add", "wendy"]) == 0
    assert tenant(["sync", "--once"]) == 0
    other = folder / "other"
    assert kdc(["--state", str(other), "init", "--realm", "LAB.TEST"]) == 0
    file = folder / "tenant/tenant.toml"
    file.write_text(file.read_text().replace(str(folder / "realm"), str(other)))
    capsys.readouterr()
    assert tenant(["sync", "--once"]) == 5
    assert "it was in step with the domain S-1-5-21-" in capsys.readouterr().err


def test_many_users_that_are_gone_have_to_be_allowed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 5, and what to do is said; a dry run lists them."""
    for name in ("wendy", "max"):
        assert kdc(["user", "add", name]) == 0
    assert tenant(["sync", "--once"]) == 0
    _set(folder, 'sync_users = ["nobody"]\n')
    capsys.readouterr()
    assert tenant(["sync", "--once"]) == 5
    said = capsys.readouterr().err
    assert "the directory does not show 2 of 2 synced users" in said
    assert "tenant sync --once --allow-disabling" in said
    assert tenant(["sync", "--dry-run"]) == 0
    assert "would be: user disabled: wendy@lab.test" in capsys.readouterr().out
    assert tenant(["sync", "--once", "--allow-disabling"]) == 0
    assert "user disabled: wendy@lab.test" in capsys.readouterr().out


def test_a_store_that_is_not_there_is_unreachable(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 6 and three lines."""
    (folder / "realm/store.sqlite").rename(folder / "realm/away")
    capsys.readouterr()
    assert tenant(["sync", "--once"]) == 6
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_settings_that_cannot_be_used_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 78, with the key."""
    _set(folder, 'sync_users_base = "nonsense"\n')
    assert tenant(["sync", "--once"]) == 78
    assert "sync_users_base cannot be used" in capsys.readouterr().err


def test_an_ldap_directory_has_to_know_who_asks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a bind there is exit 78; a password that others can read is exit 5."""
    toml = folder / "realm/kdc.toml"
    lines = '[directory]\nurl = "ldaps://127.0.0.1:9"\n'
    toml.write_text(f"{toml.read_text()}\n{lines}")
    assert tenant(["sync", "--once"]) == 78
    assert "sync_bind_dn cannot be used" in capsys.readouterr().err
    _set(folder, 'sync_bind_dn = "cn=sync"\n')
    assert tenant(["sync", "--once"]) == 78
    assert "sync_bind_password_file cannot be used" in capsys.readouterr().err
    _set(folder, 'sync_bind_password_file = "sync-password"\n')
    path = write_secret(folder / "tenant/sync-password", "not used\n")
    path.chmod(0o644)
    assert tenant(["sync", "--once"]) == 5
    path.chmod(0o600)
    capsys.readouterr()
    assert tenant(["sync", "--once"]) == 6
    assert "not used" not in capsys.readouterr().err


def test_names_from_the_directory_do_not_speak_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A directory of others may hold anything as a name."""
    name = "e\u202eve\x1b[2J"
    report = SyncReport(
        directory="S-1-5-21-1-2-3",
        where="ldaps://dc1.lab.test:636",
        dry_run=False,
        keys=0,
        done=(Done(act=Act.USER_ADDED, name=name),),
        problems=(Problem(what="key", name=name, why="refused"),),
    )
    show_report(report)
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "\u202e" not in text and "\x1b" not in text
        assert "e\\x202eve\\x1b[2J" in text
