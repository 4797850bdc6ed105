"""The processes under the supervisor, as it sees them: places that somebody fills at the moment."""

import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from kdc.server.listen import Address

log = logging.getLogger(__name__)

QUICK_DEATH_S: Final = 3.0
"""A process that lived longer than this starts with a clean record: its end had another cause than
its start, and a replacement at once loses nothing, since the sockets stay open."""

FIRST_BACK_OFF_S: Final = 0.5
"""The wait after the second quick death; it doubles with each further one."""

ChildMain = Callable[[Sequence[socket.socket], socket.socket], int]
"""What runs in the process: its listening sockets and its control socket -> the exit code."""


@dataclass(slots=True, kw_only=True, eq=False)
class Child:
    """A place for a worker or a companion."""

    name: str
    """For people: `worker 0`, `http`."""
    main: ChildMain
    bind: Callable[[Sequence[Address]], list[socket.socket]]
    """Binds its sockets anew. Raises OSError, leaving none bound."""
    addresses: Sequence[Address] = ()
    """What is bound; empty for a process that listens nowhere or on inherited sockets."""
    must_be_ready: bool = True
    """The server says that it is ready when this process is."""
    sockets: list[socket.socket] = field(default_factory=list)
    pid: int = 0
    """0: empty."""
    control: socket.socket | None = None
    ready: bool = False
    started_at: float = 0.0
    quick_deaths: int = 0
    start_at: float = 0.0
    """When an empty place is filled again; monotonic."""

    def close_control(self) -> None:
        """Close our end of the control socket."""
        if self.control is not None:
            self.control.close()
            self.control = None

    def close_sockets(self) -> None:
        """Close our copies of the listening sockets."""
        for sock in self.sockets:
            sock.close()
        self.sockets = []

    def back_off(self, max_back_off_s: float) -> None:
        """Set when this empty place is filled again."""
        wait_s = 0.0
        if self.quick_deaths:
            doubled = FIRST_BACK_OFF_S * 2.0 ** min(self.quick_deaths - 1, 16)
            wait_s = min(doubled, max_back_off_s)
            log.error("%s is started again in %.1f s", self.name, wait_s)
            # Who connects meanwhile goes to another process, or to another KDC of the realm.
            self.close_sockets()
        self.quick_deaths += 1
        self.start_at = time.monotonic() + wait_s

    def note_death(self, max_back_off_s: float) -> None:
        """Take note that the process is dead, and set when it is replaced."""
        if time.monotonic() - self.started_at > QUICK_DEATH_S:
            self.quick_deaths = 0
        self.back_off(max_back_off_s)
