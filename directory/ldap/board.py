"""The follower's own view of itself, which it writes to its status file."""

from dataclasses import replace
from datetime import UTC, datetime

from directory.ldap.status import FollowerState, FollowerStatus, StatusFile


class StatusBoard:
    """What the status file says next. Owner: the thread that follows the directory."""

    def __init__(self, file: StatusFile | None = None, pid: int = 0) -> None:
        """file: None when nobody reads it, as in `kdc init`."""
        self._file = file
        before = file.read() if file is not None else None
        self.status = FollowerStatus(
            state=FollowerState.STARTING,
            pid=pid,
            # How old the store is does not change because the follower was started again.
            confirmed_at=before.confirmed_at if before is not None else None,
            entries=0,
            changes=0,
            fetches=0,
            problems=0,
            failures=0,
            server="",
        )
        self._write()

    def reached(self, server: str) -> None:
        """Take note of the server that is followed."""
        self.status = replace(self.status, server=server)
        self._write()

    def state(self, state: FollowerState) -> None:
        """Take note of what is done now."""
        if self.status.state is not state:
            self.status = replace(self.status, state=state)
            self._write()

    def lost(self) -> None:
        """Take note that no server can be followed."""
        self.status = replace(
            self.status, state=FollowerState.AWAY, failures=self.status.failures + 1
        )
        self._write()

    def confirm(self) -> None:
        """Take note that the store is what the directory is at this moment."""
        self.status = replace(
            self.status, state=FollowerState.FOLLOWING, confirmed_at=datetime.now(UTC)
        )
        self._write()

    def wrote(self, changes: int, entries: int, problems: int) -> None:
        """Count what was written; entries, problems: how many there are now."""
        self.status = replace(
            self.status,
            changes=self.status.changes + changes,
            entries=entries,
            problems=problems,
        )
        self._write()

    def fetched(self, fetches: int) -> None:
        """Take note of how often requests made the follower ask."""
        if self.status.fetches != fetches:
            self.status = replace(self.status, fetches=fetches)
            self._write()

    def _write(self) -> None:
        if self._file is not None:
            self._file.write(self.status)
