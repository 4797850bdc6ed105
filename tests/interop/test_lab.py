"""The README's first command, as a stranger runs it."""

import socket
import subprocess
from pathlib import Path

import pytest

from tests.rig import peers
from tests.rig.realm import free_port

pytestmark = pytest.mark.e2e

_LAB_S = 110


def _lab(state: Path, port: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(str(peers.ROOT / "scripts/lab"), "--check"),
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


def test_lab_check_fails_when_the_port_is_taken(tmp_path: Path) -> None:
    """`./scripts/lab --check` exits 1 when there is no proof."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _lab(tmp_path / "state", int(taken.getsockname()[1]))
    assert done.returncode == 1, done.stdout + done.stderr
