"""`tenant login`: what stands for browsers and telephones, and leaves a record each time."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from directory.sealing import MasterKey
from tenant.cli import login, main
from tenant.state import lockouts, second_factors, tokens, users
from tenant.state.database import Database
from tenant.state.sign_in import SignIn
from tenant.state.tokens import DeviceCode, GrantError
from tenant.state.users import MfaMode, User
from tenant.state_folder import TenantFolder
from tests.rig import tenant as rig

CLIENT = str(UUID(int=5))
PAT = User(object_id=UUID(int=1), upn="pat@lab.test", display_name="Pat")
NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Runs `tenant login` on a tenant whose clock stands still."""

    folder: TenantFolder
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str, ok: int = 0) -> str:
        """Run one command; return what it printed on both streams."""
        self.capture.readouterr()
        code = main.run(["--state", str(self.folder.root), "login", *arguments])
        said = self.capture.readouterr()
        assert code == ok, said
        return said.out + said.err

    def database(self) -> Database:
        """Open the tenant's database."""
        return Database.open(self.folder.database)

    def reasons(self) -> list[str]:
        """The reasons in the audit log."""
        if not self.folder.audit_log.exists():
            return []
        return [record["reason"] for record in rig.audit_records(self.folder.root)]

    def switch(self, mfa: MfaMode, *, enabled: bool = True) -> None:
        """Set pat's second factor."""
        database = self.database()
        with database.write() as connection:
            users.update(connection, replace(PAT, mfa=mfa, enabled=enabled))
        database.close()


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """A tenant with user pat and a device code that waits."""
    folder = TenantFolder(tmp_path)
    folder.tenant_toml.write_text(f'tenant_id = "{UUID(int=9)}"\ndomain = "lab.test"\n')
    MasterKey.create(folder.master_key)
    database = Database.create(folder.database)
    waiting = DeviceCode(client_id=CLIENT, resource="urn:r", scope="", demands_mfa=False)
    demanding = replace(waiting, demands_mfa=True)
    with database.write() as connection:
        users.add(connection, PAT)
        tokens.keep_device_code(connection, "dc", "ABCD23456", waiting, NOW, 60)
        tokens.keep_device_code(connection, "dm", "MFAMFA234", demanding, NOW, 60)
    database.close()
    monkeypatch.setattr(login, "now", lambda: NOW)
    return Shell(folder=folder, capture=capsys)


def _redeem(shell: Shell, code: str) -> SignIn:
    database = shell.database()
    try:
        with database.write() as connection:
            return tokens.use_device_code(connection, code, CLIENT, NOW).sign_in
    finally:
        database.close()


def test_a_device_is_signed_in_by_its_code(shell: Shell) -> None:
    """The short name, any case; without a second factor unless it is said."""
    assert "is signed in as pat@lab.test" in shell.run("approve", "abcd-23456", "pat")
    sign_in = _redeem(shell, "dc")
    assert (sign_in.user_id, sign_in.client_id, sign_in.mfa_time) == (PAT.object_id, CLIENT, None)
    shell.run("approve", "MFAMFA234", "pat", "--mfa")
    assert _redeem(shell, "dm").mfa_time == NOW
    assert shell.reasons() == ["device code approved"] * 2
    assert "ABCD23456" not in shell.folder.audit_log.read_text()


@pytest.mark.parametrize("mfa", [MfaMode.REQUIRED, MfaMode.ON_DEMAND, MfaMode.NONE])
def test_a_second_factor_that_is_needed_has_to_be_said(shell: Shell, mfa: MfaMode) -> None:
    """By the user's switch or the client's demand; nothing is settled without it."""
    shell.switch(mfa)
    code = "ABCD23456" if mfa is MfaMode.REQUIRED else "MFAMFA234"
    said = shell.run("approve", code, "pat", ok=5)
    assert "a second factor is needed" in said
    assert shell.reasons() == []
    with pytest.raises(GrantError, match="the user has not signed in yet"):
        _redeem(shell, "dc" if mfa is MfaMode.REQUIRED else "dm")


def test_an_assumed_second_factor_needs_no_word(shell: Shell) -> None:
    """The switch says it already."""
    shell.switch(MfaMode.ASSUMED)
    shell.run("approve", "MFAMFA234", "pat")
    assert _redeem(shell, "dm").mfa_time == NOW


def test_who_may_not_sign_in_is_not_signed_in(shell: Shell) -> None:
    """Disabled: 5; unknown user or code: 3; a settled code: 1."""
    shell.switch(MfaMode.NONE, enabled=False)
    assert "the user is disabled" in shell.run("approve", "ABCD23456", "pat", ok=5)
    assert "no user named nobody" in shell.run("approve", "ABCD23456", "nobody", ok=3)
    shell.switch(MfaMode.NONE)
    assert "no device shows this code" in shell.run("approve", "XXXXXXXXX", "pat", ok=3)
    shell.run("decline", "ABCD23456")
    for command in (("approve", "ABCD23456", "pat"), ("decline", "ABCD23456")):
        assert "approved or declined already" in shell.run(*command, ok=1)
    with pytest.raises(GrantError, match="the user declined"):
        _redeem(shell, "dc")
    assert shell.reasons() == ["device code declined"]


def test_an_expired_code_is_not_approved(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is over."""
    monkeypatch.setattr(login, "now", lambda: NOW + timedelta(seconds=60))
    assert "the code has expired" in shell.run("approve", "ABCD23456", "pat", ok=1)


def test_an_approval_waits_for_the_next_sign_in(shell: Shell) -> None:
    """For who has a second factor; for so long."""
    assert "has no second factor" in shell.run("approve-mfa", "pat", ok=5)
    shell.switch(MfaMode.REQUIRED)
    shell.run("approve-mfa", "pat", "--for", "30")
    database = shell.database()
    with database.write() as connection:
        late = NOW + timedelta(seconds=30)
        assert not second_factors.use_approval(connection, PAT.object_id, late)
    database.close()
    assert shell.reasons() == ["second factor approved"]


def test_an_authenticators_secret_goes_into_a_new_file_of_its_owner(shell: Shell) -> None:
    """0600, never over another file; not in what is printed, nor in the audit log."""
    out = shell.folder.root / "authenticator"
    assert "has no second factor" in shell.run("authenticator", "pat", "--out", str(out), ok=5)
    shell.switch(MfaMode.ON_DEMAND)
    said = shell.run("authenticator", "pat", "--out", str(out))
    uri = out.read_text()
    assert (out.stat().st_mode & 0o777, uri[:44]) == (
        0o600,
        "otpauth://totp/lab.test%20lab:pat%40lab.test",
    )
    secret = uri.split("secret=")[1][:32]
    assert secret not in said + shell.folder.audit_log.read_text()
    shell.run("authenticator", "pat", "--out", str(out), ok=4)
    assert out.read_text() == uri
    assert shell.reasons() == ["authenticator given"]


def test_a_lock_is_taken_off(shell: Shell) -> None:
    """Ten wrong passwords, forgiven."""
    database = shell.database()
    with database.write() as connection:
        for _ in range(10):
            lockouts.record_failure(connection, PAT.upn, NOW, known=True)
    shell.run("unlock", "pat")
    with database.read() as connection:
        assert lockouts.locked_until(connection, PAT.upn, NOW) is None
    database.close()
    assert shell.reasons() == ["unlocked"]
