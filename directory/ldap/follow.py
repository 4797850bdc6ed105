"""Following a directory: a full load, then its changes as they come, until told to stop.

OpenLDAP pushes changes (`follow_stream.py`). A domain controller is asked for what has a higher
number than the last one seen, woken by its notification (`follow_numbers.py`). A server that can
do neither is asked for its newest entries (`follow_times.py`). Where to go on after a restart is
kept in the store, together with the changes themselves.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.apply import Applied, ReplicaWriter
from directory.ldap.board import StatusBoard
from directory.ldap.load import Loaded, Progress, load, quiet, read_again
from directory.ldap.records import Record
from directory.ldap.session import Servers, Session
from directory.ldap.status import FollowerState

log = logging.getLogger(__name__)

TICK_S = 0.25
"""How long a quiet directory keeps the follower from looking at anything else."""
TELL_EVERY_S = 60.0
"""How often the log is told the same trouble."""
KEEP_EVERY_S = 60.0
"""A mark without changes is written this often: each write makes workers drop their accounts."""

Marks = Mapping[str, bytes | int]
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Between:
    """What the follower does between two looks at the directory."""

    stop: Callable[[], bool]
    tick: Callable[[], None]
    """Called a few times a second: keys from elsewhere, and whatever else there is."""
    poll_interval_s: float = 1.0
    compare_interval_s: float = 0.0
    """How often everything is compared where nothing else tells of deletions; 0: by size, or
    `follow_times.COMPARE_EVERY_S` where changes are polled."""
    loaded: Callable[[], None] = lambda: None
    """Called when every account is there, and single changes come from now on."""


COMPARE_EVERY_S = 300.0
COMPARE_LARGE_EVERY_S = 3600.0
LARGE_ENTRIES = 20_000
"""A comparison reads GUIDs and versions alone: some 2 s of a server's time for so many."""


def compare_interval_s(entries: int) -> float:
    """Return how often a directory of this size is compared, unless it is configured."""
    return COMPARE_EVERY_S if entries <= LARGE_ENTRIES else COMPARE_LARGE_EVERY_S


class Work:
    """Following one server as long as the connection to it lasts."""

    def __init__(
        self,
        session: Session,
        servers: Servers,
        writer: ReplicaWriter,
        board: StatusBoard,
        between: Between,
    ) -> None:
        self.session = session
        self.writer = writer
        self.board = board
        self.between = between
        self.servers = servers
        self._kept_at = time.monotonic()
        self._entries = writer.count()
        board.wrote(0, self._entries, writer.count_problems())

    def load(self, mark: Callable[[Session], _T], *, progress: Progress = quiet) -> _T:
        """Load everything; return where changes go on from, which is read before."""
        self.board.state(FollowerState.LOADING)
        found = mark(self.session)
        began = time.monotonic()
        done = load(self.session, self.writer, progress=progress, stop=self.between.stop)
        self._entries = done.entries
        self.report(done.applied)
        log.info(
            "directory: %d entries compared in %.1f s: %d added, %d changed, %d removed",
            done.entries,
            time.monotonic() - began,
            done.applied.added,
            done.applied.changed,
            done.applied.removed,
        )
        self.between.loaded()
        return found

    def write(self, records: Sequence[Record], marks: Marks) -> None:
        """Write changes, and with them where to go on from."""
        done = self.writer.apply(records, marks=marks)
        if done.retry:
            # A stream keeps its connection to itself: asking again takes one of its own.
            other = self.servers.open()
            try:
                read_again(other, self.writer, done)
            finally:
                other.connection.close()
        if done.written:
            self._kept_at = time.monotonic()
        self._entries += done.added - done.removed
        self.report(done)

    def report(self, done: Applied) -> None:
        """Count changes and name the entries that cannot be used."""
        for dn, why in done.problems:
            log.error("alarm: the directory's entry %s: %s", ascii(dn), why)
        if done.written:
            self.board.wrote(done.written, self._entries, self.writer.count_problems())

    def keep(self, marks: Marks, *, now: bool = False) -> None:
        """Write where to go on from, once in a while or at once."""
        if now or time.monotonic() - self._kept_at >= KEEP_EVERY_S:
            self._kept_at = time.monotonic()
            for name, value in marks.items():
                if self.writer.store.setting(name) != value:
                    self.writer.store.set_setting(name, value)

    @property
    def compare_every_s(self) -> float:
        """How often everything is compared with a domain controller."""
        return self.between.compare_interval_s or compare_interval_s(self._entries)

    def wait(self, seconds: float) -> None:
        """Let time pass, ticking."""
        pause(seconds, self.between)


def pause(seconds: float, between: Between) -> None:
    """Let time pass, ticking, unless told to stop."""
    end = time.monotonic() + seconds
    while not between.stop():
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(TICK_S, left))
        between.tick()


Way = Callable[[Work], None]
"""How changes are followed; returns when told to stop, raises DirectoryError when it is over."""


def choose_way(session: Session) -> Way:
    """Choose how the changes of a server are followed."""
    # Here, because each of them needs what this module defines.
    from directory.ldap.follow_numbers import follow_numbers
    from directory.ldap.follow_stream import follow_stream, pushes
    from directory.ldap.follow_times import follow_times

    if session.facts.flavour != "openldap":
        return follow_numbers
    return follow_stream if pushes(session) else follow_times


def check_domain(session: Session, writer: ReplicaWriter) -> None:
    """Refuse a directory of another domain than the store's. Raises DirectoryError(INVALID)."""
    if session.facts.sid != writer.store.domain_sid:
        raise DirectoryError(
            DirectoryFault.INVALID,
            f"{session.url}: its domain is {session.facts.sid}, not {writer.store.domain_sid}",
        )


class Follower:
    """Follows the directory of a realm into its store. Owner: one thread."""

    def __init__(
        self, servers: Servers, writer: ReplicaWriter, board: StatusBoard, between: Between
    ) -> None:
        self._servers = servers
        self._writer = writer
        self._board = board
        self._between = between
        self._told = ""
        self._told_at = 0.0

    def run(self) -> None:
        """Follow until told to stop; whatever the directory does, this goes on."""
        while not self._between.stop():
            session: Session | None = None
            began = time.monotonic()
            try:
                session = self._servers.open()
                check_domain(session, self._writer)
                log.info("directory: following %s", session.url)
                self._board.reached(str(session.url))
                work = Work(session, self._servers, self._writer, self._board, self._between)
                choose_way(session)(work)
            except DirectoryError as error:
                if self._between.stop():
                    return
                self._lost(error)
                if session is not None:
                    self._servers.move_on(lasted_s=time.monotonic() - began)
            finally:
                if session is not None:
                    session.connection.close()
            pause(self._servers.wait_s(), self._between)

    def _lost(self, error: DirectoryError) -> None:
        """Say that the directory is lost, the first time and then once in a while."""
        self._board.lost()
        told = str(error)
        if told != self._told or time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told, self._told_at = told, time.monotonic()
            log.error("alarm: the directory is not followed: %s", error)


def load_once(
    servers: Servers, writer: ReplicaWriter, *, progress: Progress = quiet, believe: bool = False
) -> Loaded:
    """Load everything once, as `kdc init` and `kdc directory load` do. Raises DirectoryError."""
    from directory.ldap.follow_numbers import usn_mark
    from directory.ldap.follow_stream import cookie_mark

    session = servers.open()
    try:
        check_domain(session, writer)
        mark = cookie_mark if session.facts.flavour == "openldap" else usn_mark
        marks = mark(session)
        done = load(session, writer, progress=progress, believe=believe)
        for name, value in marks.items():
            writer.store.set_setting(name, value)
        return done
    finally:
        session.connection.close()
