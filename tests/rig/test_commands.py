"""Commands that are forks of one process are like commands that start by themselves."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.rig import commands, peers
from tests.rig.realm import free_port

pytestmark = pytest.mark.e2e

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _started(
    program: str,
    arguments: tuple[str, ...],
    *,
    environment: dict[str, str],
    folder: Path,
    stdin: str = "",
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        env=environment,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("run", [_started, partial(commands.run, timeout_s=60)])
def test_command_has_its_own_everything(run: Run, tmp_path: Path) -> None:
    """Standard streams, environment, folder and exit code; nothing of the command before it."""
    plain = peers.clean_environment({"PYTHONPATH": str(peers.ROOT)})
    here = partial(run, environment=plain, folder=tmp_path)
    coloured = partial(run, environment=plain | {"KDC_STATE": str(tmp_path / "b")}, folder=tmp_path)
    assert here("kdc", ("init", "--realm", "A.TEST")).returncode == 0
    assert coloured("kdc", ("init", "--realm", "B.TEST")).returncode == 0
    assert (tmp_path / ".kdc/kdc.toml").exists()
    assert (tmp_path / "b/kdc.toml").exists()
    added = here("kdc", ("user", "add", "zoë", "--password-stdin"), stdin="Größe-wählt-9\n")
    assert (added.returncode, added.stderr) == (0, "")
    assert "zoë" in added.stdout
    absent = coloured("kdc", ("user", "show", "zoë"))
    assert (absent.returncode, absent.stdout) == (3, "")
    assert absent.stderr.startswith("error: no account named zoë\n")
    assert here("tenant", ("--version",)).stdout.startswith("tenant, version ")
    assert here("kdc", ("user", "--nonsense")).returncode == 2


def test_commands_run_beside_each_other(tmp_path: Path) -> None:
    """Each gets its own answer."""

    def make(number: int) -> str:
        environment = peers.clean_environment({"KDC_STATE": str(tmp_path / str(number))})
        arguments = ("init", "--realm", f"R{number}.TEST")
        done = commands.run("kdc", arguments, environment=environment, timeout_s=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ThreadPoolExecutor(4) as pool:
        for number, said in enumerate(pool.map(make, range(4))):
            assert f"R{number}.TEST" in said


def test_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """As by subprocess.run: TimeoutExpired."""
    environment = peers.clean_environment({"KDC_STATE": str(tmp_path / "state")})
    run = partial(commands.run, "kdc", environment=environment)
    listen = f"127.0.0.1:{free_port()}"
    made = run(("init", "--realm", "A.TEST", "--listen", listen), timeout_s=60)
    assert made.returncode == 0, made.stderr
    with pytest.raises(subprocess.TimeoutExpired):
        run(("serve", "--workers", "1"), timeout_s=0.3)


def test_commands_are_of_the_form_of_the_tests() -> None:
    """What tests/rig starts is compiled where the tests run in the compiled form."""
    from kdc.form import FORM

    environment = peers.clean_environment({})
    for run in (_started, partial(commands.run, timeout_s=60)):
        done = run("kdc", ("--version",), environment=environment, folder=peers.ROOT)
        assert done.stdout.endswith(f"({FORM})\n")
