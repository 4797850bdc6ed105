"""Drive roadtx, unmodified, against a served tenant."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig import peers
from tests.rig.tenant import LiveTenant

_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Roadtx:
    """roadtx in a folder of its own; its files keep the names that it gives them."""

    tenant: LiveTenant
    folder: Path

    def __call__(self, *arguments: str, ok: bool = True) -> str:
        """Run one command; return what it printed. roadtx ends with 0 whatever happens."""
        program = peers.roadtx_program()
        done = subprocess.run(
            [program.path, *arguments],
            cwd=self.folder,
            env=peers.clean_environment(self.tenant.client_environment()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stdout
        return done.stdout

    def python(self, script: str, *arguments: str) -> Any:
        """Run a script in roadtx' environment, where roadlib is; return the JSON it prints."""
        program = peers.roadtx_program("python")
        done = subprocess.run(
            [program.path, "-c", script, *arguments],
            cwd=self.folder,
            env=peers.clean_environment(self.tenant.client_environment()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def json(self, name: str) -> Any:
        """Read one of its files."""
        return json.loads((self.folder / name).read_text())
