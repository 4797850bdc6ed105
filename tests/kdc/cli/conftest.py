"""A realm made by `kdc init`, copied for each test, and `kdc` run inside this process."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from directory.keycredential import NewKeyCredential, encode_key_credential
from kdc.cli.key import read_public_key
from kdc.cli.main import run
from kdc.cli.state import RealmState, find_account, now
from kdc.state_folder import StateFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What one command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The standard output, read as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> tuple[str, str, str]:
        """What, why and what to do: exactly three lines, or the test fails."""
        lines = self.err.splitlines()
        assert len(lines) == 3, self.err
        for line, head in zip(lines, ("error: ", "  why: ", "   do: "), strict=True):
            assert line.startswith(head), self.err
            assert len(line) <= 200, line
        return lines[0][7:], lines[1][7:], lines[2][7:]


Command = Callable[..., Done]


@dataclass(slots=True, kw_only=True)
class Shell:
    """Runs `kdc` on one state folder."""

    state: Path
    monkeypatch: pytest.MonkeyPatch = field(repr=False)
    capsys: pytest.CaptureFixture[str] = field(repr=False)

    def __call__(self, *arguments: str | Path, stdin: str = "") -> Done:
        """Run one command with this input."""
        self.monkeypatch.setenv("KDC_STATE", str(self.state))
        self.monkeypatch.delenv("KRB5CCNAME", raising=False)
        self.monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        )
        self.capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = self.capsys.readouterr()
        return Done(code=code, out=printed.out, err=printed.err)

    def ok(self, *arguments: str | Path, stdin: str = "") -> Done:
        """Run one command that must succeed."""
        done = self(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Give a shell on a state folder that does not exist yet."""
    return Shell(state=tmp_path / "state", monkeypatch=monkeypatch, capsys=capsys)


@pytest.fixture(scope="session")
def made_realm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make LAB.TEST once, with pat (password) and alice (a registered key, in alice.pem)."""
    folder = tmp_path_factory.mktemp("cli")
    state = folder / "state"
    password = folder / "pat.password"
    password.write_text("correct horse\n")
    for arguments in (
        ("init", "--realm", "LAB.TEST", "--listen", "127.0.0.1:18888"),
        ("user", "add", "pat", "--upn", "pat@corp.example", "--password-file", str(password)),
        ("user", "add", "alice"),
        ("key", "enroll", "alice", "--out", str(folder / "alice.pem")),
    ):
        assert run(["--state", str(state), *arguments]) == 0
    return folder


@pytest.fixture
def realm(made_realm: Path, shell: Shell) -> Shell:
    """Give a shell on a copy of the realm; alice.pem lies beside the state folder."""
    shutil.copytree(made_realm / "state", shell.state)
    shutil.copy(made_realm / "alice.pem", shell.state.parent / "alice.pem")
    return shell


def register_anyway(shell: Shell, name: str, file: Path) -> None:
    """Register a key that another account has already, as a directory may hold it."""
    folder = StateFolder(shell.state)
    with RealmState(folder=folder, loaded=folder.load_config()).store(write=True) as store:
        account = find_account(store, name)
        new = NewKeyCredential(public_key=read_public_key(file.read_bytes(), file), created=now())
        text = encode_key_credential(new, store.owner_dn(account.account_id))
        store.add_key_credential(account.account_id, text)


@pytest.fixture
def alice_pem(realm: Shell) -> Path:
    """Give alice's certificate and private key."""
    return realm.state.parent / "alice.pem"
