"""roadtx, unmodified: pointed to the tenant by HTTPS_PROXY, with TLS verified by the lab's CA."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.rig import peers
from tests.rig.tenant import LiveTenant

_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Roadtx:
    """A folder in which roadtx runs: its tokens, keys and certificates are there."""

    folder: Path
    tenant: LiveTenant

    def run(self, *arguments: str) -> str:
        """Run one command; a Python traceback or another exit code than 0 is a failure."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, f"roadtx {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one command that may fail."""
        return self._program("roadtx", *arguments)

    def refused(self, *arguments: str) -> str:
        """Run one command that fails, or says why it failed; return all that it printed."""
        done = self.attempt(*arguments)
        return done.stdout + done.stderr

    def python(self, script: str, *arguments: str) -> Any:
        """Run a script where roadlib can be imported; return the JSON that it prints."""
        done = self._program("python", "-c", script, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _program(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        program = peers.roadtx_program(name)
        environment = {**program.environment, **self.tenant.client_environment()}
        return subprocess.run(
            [program.path, *arguments],
            cwd=self.folder,
            env=peers.clean_environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def tokens(self) -> dict[str, Any]:
        """What it keeps of the last token answer."""
        found = json.loads((self.folder / ".roadtools_auth").read_text())
        assert isinstance(found, dict)
        return found

    def prt(self) -> dict[str, Any]:
        """What it keeps of the last PRT."""
        found = json.loads((self.folder / "roadtx.prt").read_text())
        assert isinstance(found, dict)
        return found

    def key(self, name: str) -> rsa.RSAPrivateKey:
        """Read a key that it made."""
        found = serialization.load_pem_private_key((self.folder / name).read_bytes(), None)
        assert isinstance(found, rsa.RSAPrivateKey)
        return found
