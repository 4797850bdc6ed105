"""What the exchanges tell about the time they take: which stage of a request begins now.

The core reads no clock. It names the stages as it enters them, and who times them is given from
outside (`kdc.server.row.StageClock`).
"""

from typing import Protocol


class Stages(Protocol):
    """Who is told about the stages of a request."""

    def enter(self, stage: str) -> None:
        """End the stage that runs and start another, one of `kdc.server.row.STAGES`."""
        ...


class Untimed:
    """Nobody wants to know."""

    __slots__ = ()

    def enter(self, stage: str) -> None:
        """Do nothing."""
