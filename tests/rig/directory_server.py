"""What the rigs of directory servers share: where files lie, and starting until it answers."""

import contextlib
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from tests.rig import peers
from tests.rig.certificates import Identity

_LOG_TAIL = 4000


@dataclass(slots=True, kw_only=True)
class DirectoryServer(ABC):
    """One private directory server: its files, its address, and its process while it runs."""

    READY_S: ClassVar[float]
    """How long it may take until it answers."""

    folder: Path
    address: str
    issuer: Identity
    """Of its TLS certificate."""
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def ca(self) -> Path:
        """The issuer of its TLS certificate."""
        return self.issuer.certificate

    @property
    @abstractmethod
    def log(self) -> Path:
        """What it printed."""

    @abstractmethod
    def start(self) -> None:
        """Start the server and wait until all ways in answer."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server, if it runs."""

    @abstractmethod
    def _answers(self) -> bool:
        """Tell whether all ways in answer."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Run the server while the block runs."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def _launch(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run its program in a session of its own and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                # Dies with the tests, however they end.
                ["setpriv", "--pdeathsig", "TERM", "--", *command],
                env=peers.clean_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + self.READY_S
        while time.monotonic() < end:
            assert self.process.poll() is None, f"{type(self).__name__} ended:\n{self._tail()}"
            if self._answers():
                return
            time.sleep(0.02)
        self.stop()
        raise AssertionError(
            f"{type(self).__name__} was not ready in {self.READY_S} s:\n{self._tail()}"
        )

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-_LOG_TAIL:]
