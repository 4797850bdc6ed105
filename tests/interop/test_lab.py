"""The README's first command, as a stranger runs it."""

import socket
import subprocess
from pathlib import Path

import pytest

from tests.rig import peers
from tests.rig.realm import free_port

pytestmark = pytest.mark.e2e

_LAB_S = 110


def _lab(state: Path, port: int, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(str(peers.ROOT / "scripts/lab"), "--check", *options),
            *("--state", str(state), "--port", str(port)),
        ],
        env=peers.clean_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LAB_S,
        check=False,
    )


def test_lab_check_proves_a_logon_and_can_be_repeated(tmp_path: Path) -> None:
    """`./scripts/lab --check` exits 0 on a new folder and again on the one it left."""
    port = free_port()
    for _ in range(2):
        done = _lab(tmp_path / "state", port)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "kinit" in done.stdout
        assert "kinit.heimdal" in done.stdout
        assert "carol with a certificate" in done.stdout


def test_lab_with_the_tenant_proves_the_whole_way(tmp_path: Path) -> None:
    """`./scripts/lab --tenant --check`: join, key, refused, sync, logon, PRT, TGT; and again."""
    port = free_port()
    for words in (
        "refused (62) before the sync, and logged on",
        "registered a Hello key and logged on",
    ):
        done = _lab(tmp_path / "state", port, "--tenant")
        assert done.returncode == 0, done.stdout + done.stderr
        assert words in done.stdout
        assert "became a full TGT and a ticket for host/web.lab.test" in done.stdout
        assert f"HTTPS_PROXY=http://127.0.0.1:{port + 3}" in done.stdout
        assert "error" not in done.stderr
    assert not (tmp_path / "state/lab/cloud.key").exists()


def test_lab_is_itself_again_after_a_change_of_password(tmp_path: Path) -> None:
    """The lab prints a kpasswd line: whoever follows it has a lab that starts afterwards."""
    state, port = tmp_path / "state", free_port()
    assert _lab(state, port).returncode == 0
    changed = subprocess.run(
        [
            *(str(peers.ROOT / ".venv/bin/kdc"), "--state", str(state)),
            *("user", "password", "pat", "--password-stdin"),
        ],
        input=b"Another-Word-5",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert changed.returncode == 0, changed.stderr
    done = _lab(state, port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pat's password was changed" in done.stderr


def test_lab_check_fails_when_the_port_is_taken(tmp_path: Path) -> None:
    """`./scripts/lab --check` exits 1 when there is no proof."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _lab(tmp_path / "state", int(taken.getsockname()[1]))
    assert done.returncode == 1, done.stdout + done.stderr


def test_a_lab_keeps_its_hands_off_a_realm_of_ones_own(tmp_path: Path) -> None:
    """KDC_STATE or --state names another realm: exit 1, and no user is added to it."""
    state = tmp_path / "mine"
    made = subprocess.run(
        [
            *(str(peers.ROOT / ".venv/bin/kdc"), "--state", str(state)),
            *("init", "--realm", "MINE.TEST"),
        ],
        env=peers.clean_environment({}),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    done = _lab(state, free_port())
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not the folder of a lab" in done.stderr
    assert not (state / "lab").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Two lines that say which, and what to do."""
    (tmp_path / "file").touch()
    done = _lab(tmp_path / "file", free_port())
    assert done.returncode == 1
    assert f"the folder {tmp_path}/file cannot be made or written" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("lab", "--port"),
        ("lab", "--port", "x"),
        ("lab", "--port", "0"),
        ("lab", "--port", "65536"),
        ("lab", "--state"),
        ("lab", "--frob"),
        ("test", "--quik"),
        ("test", "-quick"),
    ],
)
def test_mistyped_option_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    """Exit code 2 at once, before anything is set up."""
    done = subprocess.run(
        [str(peers.ROOT / "scripts" / arguments[0]), *arguments[1:]],
        env=peers.clean_environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_lab_keeps_the_servers_log_in_a_file(tmp_path: Path) -> None:
    """What the server says when it stops is not the lab's last line."""
    done = _lab(tmp_path / "state", free_port())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "counters:" not in done.stderr
    assert f"its log: {tmp_path}/state/serve.log" in done.stderr
    assert (tmp_path / "state/serve.log").stat().st_mode & 0o077 == 0


def test_keys_that_users_write_are_ignored_by_git() -> None:
    """A private key must not be committed by accident; fixtures of the tests may be."""
    for name, ignored in (("alice.pem", 0), ("web.keytab", 0), ("tests/vectors/ca.pem", 1)):
        done = subprocess.run(
            ["git", "check-ignore", "-q", name],
            cwd=peers.ROOT,
            check=False,
        )
        if done.returncode == 128:
            pytest.skip("not a clone")
        assert done.returncode == ignored, name
