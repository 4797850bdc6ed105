"""Rows S05 and S06 on a real realm and server: loose secrets, and bad files on reload."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pki import ca
from tests.e2e.server_process import wait_until
from tests.rig import peers
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.e2e

DENIED = 5
PASSWORD = "Correct-Horse-7"  # noqa: S105  # the test user's own


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LiveRealm:
    """Make a realm with pat, once."""
    live = make_realm(tmp_path_factory.mktemp("secret-files") / "state")
    live.kdc("user", "add", "pat", "--password-stdin", stdin=PASSWORD)
    return live


def run(
    live: LiveRealm, *arguments: str, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a `kdc` command to its end, whatever that is; a server that starts is stopped."""
    with subprocess.Popen(
        [sys.executable, "-m", "kdc", *arguments],
        cwd=peers.ROOT,
        env=peers.clean_environment(
            {"KDC_STATE": str(live.state), "NO_COLOR": "1", **(environment or {})}
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out = process.stdout.readline()
        if out.startswith("keytrust: "):
            process.terminate()
        rest, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(arguments, process.returncode, out + rest, err)


@pytest.fixture
def restored(made: LiveRealm) -> Iterator[LiveRealm]:
    """Give the realm; afterwards its secrets are as they were."""
    names = ("master.key", "pki/kdc.key", "pki/ca.key", "pki/kdc.pem", "kdc.toml")
    before = {name: (made.state / name).read_bytes() for name in names}
    yield made
    for name, data in before.items():
        path = made.state / name
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        path.chmod(0o644 if name.endswith(".pem") else 0o600)


SECRETS = [
    ("master.key", ("serve",)),
    ("pki/kdc.key", ("serve",)),
    ("pki/ca.key", ("cert", "issue-kdc")),
]


@pytest.mark.parametrize("mode", [0o640, 0o601], ids=oct)
@pytest.mark.parametrize(("name", "command"), SECRETS)
def test_loose_secret_is_refused(
    restored: LiveRealm, name: str, command: tuple[str, ...], mode: int
) -> None:
    """Row S06: refuses to start, in three lines with code 5; nothing of the secret is shown."""
    path = restored.state / name
    path.chmod(mode)
    done = run(restored, *command)
    assert (done.returncode, done.stdout) == (DENIED, "")
    what, why, remedy = done.stderr.splitlines()[-3:]
    assert what.startswith("error: ")
    assert f"{path} can be used by group or others (mode {mode:04o})" in what + why
    assert remedy.startswith("   do: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("name", "command"), SECRETS)
def test_secret_of_another_user_is_refused(
    restored: LiveRealm, name: str, command: tuple[str, ...]
) -> None:
    """Row S06: its owner could change it."""
    path = restored.state / name
    os.chown(path, 65534, -1)
    done = run(restored, *command)
    assert (done.returncode, done.stdout) == (DENIED, "")
    assert f"{path} belongs to neither the service user nor root" in done.stderr


def test_serve_does_not_look_at_the_ca_key(restored: LiveRealm) -> None:
    """Requirement 13: loose or gone, it is no affair of the server's."""
    path = restored.state / "pki/ca.key"
    path.chmod(0o644)
    assert run(restored, "serve").returncode == 0
    path.unlink()
    assert run(restored, "serve").returncode == 0


def move_away(live: LiveRealm, name: str, folder: Path) -> None:
    """Move a secret to where others may read it, and leave a link in its place."""
    folder.mkdir(exist_ok=True)
    path = live.state / name
    target = folder / path.name
    target.write_bytes(path.read_bytes())
    target.chmod(0o440)
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(("name", "command"), SECRETS)
def test_systemd_credential_is_exempt(
    restored: LiveRealm, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    """Row S06: LoadCredential= and a link; without the variable the same file is refused."""
    move_away(restored, name, tmp_path / "credentials")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert run(restored, *command).returncode == DENIED
    assert run(restored, *command, environment=environment).returncode == 0


@pytest.mark.parametrize("folder", ["", "credentials", "."])
def test_relative_credentials_folder_exempts_nothing(
    restored: LiveRealm, tmp_path: Path, folder: str
) -> None:
    """A variable that systemd did not set."""
    move_away(restored, "master.key", tmp_path / "credentials")
    done = run(restored, "user", "list", environment={"CREDENTIALS_DIRECTORY": folder})
    assert done.returncode == DENIED


@pytest.mark.parametrize(("name", "command"), SECRETS)
def test_trusted_path_is_exempt(
    restored: LiveRealm, tmp_path: Path, name: str, command: tuple[str, ...]
) -> None:
    """Row S06: trusted_secret_paths names the folder."""
    move_away(restored, name, tmp_path / "trusted")
    assert run(restored, *command).returncode == DENIED
    with (restored.state / "kdc.toml").open("a") as file:
        file.write(f'trusted_secret_paths = ["{tmp_path}/trusted"]\n')
    assert run(restored, *command).returncode == 0


# -- reload ----------------------------------------------------------------------------------


def loose_key(live: LiveRealm) -> str:
    """Let others read the KDC's key."""
    (live.state / "pki/kdc.key").chmod(0o644)
    return "can be used by group or others"


def other_key(live: LiveRealm) -> str:
    """Put another certificate's key in its place."""
    key = ca.generate_key(ca.KeyType.RSA_2048)
    (live.state / "pki/kdc.key").write_bytes(ca.private_key_to_pem(key))
    return "private key is not the certificate's"


def broken_key(live: LiveRealm) -> str:
    """Cut the key file off."""
    path = live.state / "pki/kdc.key"
    path.write_bytes(path.read_bytes()[:100])
    return "private key PEM"


def missing_key(live: LiveRealm) -> str:
    """Remove the key."""
    (live.state / "pki/kdc.key").unlink()
    return "kdc.key"


def broken_certificate(live: LiveRealm) -> str:
    """Cut the certificate off."""
    path = live.state / "pki/kdc.pem"
    path.write_bytes(path.read_bytes()[:100])
    return "certificate PEM"


def unknown_setting(live: LiveRealm) -> str:
    """Misspell a key of kdc.toml."""
    with (live.state / "kdc.toml").open("a") as file:
        file.write("max_lif = 1\n")
    return "unknown key 'max_lif'"


def broken_configuration(live: LiveRealm) -> str:
    """Leave a string open."""
    with (live.state / "kdc.toml").open("a") as file:
        file.write('domain = "lab\n')
    return "not TOML"


def missing_configuration(live: LiveRealm) -> str:
    """Remove kdc.toml."""
    (live.state / "kdc.toml").unlink()
    return "there is no configuration"


def logs_on(live: LiveRealm) -> bool:
    """Whether pat gets a ticket from the running server; it needs no kdc.toml."""
    done = run_logon(live)
    return done.returncode == 0


def run_logon(live: LiveRealm) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "kdc", "logon", "pat", "--password-stdin"),
            *("--realm", live.realm, "--kdc", f"{live.address}:{live.port}"),
        ],
        cwd=peers.ROOT,
        env=peers.clean_environment({"KDC_STATE": str(live.state)}),
        input=PASSWORD,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "spoil",
    [
        *(loose_key, other_key, broken_key, missing_key, broken_certificate),
        *(unknown_setting, broken_configuration, missing_configuration),
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_bad_file_on_reload_changes_nothing(
    restored: LiveRealm, spoil: Callable[[LiveRealm], str]
) -> None:
    """Row S05: the old configuration and key stay, the error is logged by each worker."""
    with restored.served(workers=2):
        assert restored.process is not None
        words = spoil(restored)
        restored.process.send_signal(signal.SIGHUP)
        log = restored.log
        assert wait_until(lambda: log.read_text().count("reload refused, the old config") == 2)
        assert log.read_text().count(words) == 2
        assert "Traceback" not in log.read_text()
        assert logs_on(restored)
        assert restored.process.poll() is None


def test_good_file_after_a_bad_one_is_taken(restored: LiveRealm) -> None:
    """Row S05: a refused reload does not stand in the way of the next."""
    path = restored.state / "kdc.toml"
    good = path.read_text()
    with restored.served(workers=1):
        assert restored.process is not None
        unknown_setting(restored)
        restored.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: "reload refused" in restored.log.read_text())
        path.write_text(f'{good}\nsupported_enctypes = ["aes128-cts"]\n')
        restored.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while "aes128-cts-hmac-sha1-96" not in run_logon(restored).stdout:
            assert time.monotonic() < end
            time.sleep(0.05)
