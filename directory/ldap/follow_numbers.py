"""Following a domain controller by the numbers of its changes (uSNChanged, MS-ADTS 3.1.1.1.9).

Its notification (MS-ADTS 3.1.1.3.4.1.9) only wakes us: which entries it tells of, and when, differs
between servers, while the numbers tell all. They belong to one database: after a failover to
another controller, or a restore, everything is compared once.
"""

import contextlib
import logging
import time

from directory.backend import DirectoryError
from directory.ldap import filters
from directory.ldap.attributes import attributes_of, entries_filter
from directory.ldap.connection import NO_ATTRIBUTES, OPEN
from directory.ldap.follow import TICK_S, Between, Marks, Work
from directory.ldap.load import records_of
from directory.ldap.messages import NOTIFICATION, SHOW_DELETED, Control, Entry, Scope
from directory.ldap.session import Session, highest_usn, open_session

log = logging.getLogger(__name__)

USN = "directory usn "
_FOLDERS = ("organizationalUnit", "container")


def usn_mark(session: Session) -> Marks:
    """Read where changes go on from after a load that begins now."""
    return {USN + session.server: highest_usn(session.connection)}


def follow_numbers(work: Work) -> None:
    """Follow the numbers. Raises DirectoryError when the server is lost."""
    session = work.session
    name = USN + session.server
    kept = work.writer.store.setting(name)
    if isinstance(kept, int) and work.writer.count():
        seen = kept
    else:
        marks = work.load(usn_mark)
        work.keep(marks, now=True)
        seen = int(marks[name])
    bell = _Bell(work)
    compared_at = time.monotonic()
    try:
        while not work.between.stop():
            highest = highest_usn(session.connection)
            if highest > seen:
                _read_since(work, seen, {name: highest})
                if _folders_changed(session, seen):
                    work.load(lambda _: None)
                seen = highest
            work.board.confirm()
            work.keep({name: seen})
            # An ordinary account is told of no deletion, and anything may be missed.
            if time.monotonic() - compared_at > work.compare_every_s:
                work.load(lambda _: None)
                compared_at = time.monotonic()
            bell.wait(work.between.poll_interval_s, work.between)
        work.keep({name: seen}, now=True)
    finally:
        bell.close()


def _read_since(work: Work, seen: int, marks: Marks) -> None:
    session = work.session
    flavour = session.facts.flavour
    wanted = filters.all_of(filters.at_least("uSNChanged", str(seen + 1)), entries_filter(flavour))
    # A deleted entry keeps its GUID and says isDeleted (MS-ADTS 3.1.1.5.5).
    shown = (Control(SHOW_DELETED, critical=True),)
    pages = list(
        session.connection.pages(session.base, wanted, attributes_of(flavour), controls=shown)
    )
    for place, page in enumerate(pages, 1):
        work.write(records_of(page, session.facts), marks if place == len(pages) else {})


def _folders_changed(session: Session, seen: int) -> bool:
    """Tell whether a folder was renamed, or made: what is in it moved without a word."""
    wanted = filters.all_of(
        filters.at_least("uSNChanged", str(seen + 1)),
        filters.any_of(*(filters.equal("objectClass", name) for name in _FOLDERS)),
    )
    found = session.connection.search(session.base, Scope.SUBTREE, wanted, (NO_ATTRIBUTES,))
    return any(isinstance(answer, Entry) for answer in list(found))


class _Bell:
    """Wakes the follower when anything changes; without notification, time alone does."""

    def __init__(self, work: Work) -> None:
        self._session: Session | None = None
        self._number = 0
        if NOTIFICATION not in work.session.controls:
            return
        servers = work.servers
        try:
            self._session = open_session(work.session.url, servers.settings, servers.sasl)
            self._number = self._session.connection.start_stream(
                work.session.base,
                Scope.SUBTREE,
                OPEN,
                (NO_ATTRIBUTES,),
                (Control(NOTIFICATION, critical=True),),
            )
        except DirectoryError as error:
            self._give_up(error)

    def wait(self, seconds: float, between: Between) -> None:
        """Wait until something has changed, or this long."""
        end = time.monotonic() + seconds
        while not between.stop():
            left = min(TICK_S, end - time.monotonic())
            if left <= 0:
                return
            if self._session is None:
                time.sleep(left)
            elif self._rang(left):
                return
            between.tick()

    def _rang(self, seconds: float) -> bool:
        """Tell whether the server told of a change; all that came at once count as one."""
        if self._session is None:
            return False
        connection = self._session.connection
        try:
            if connection.next_in_stream(self._number, seconds) is None:
                return False
            while connection.next_in_stream(self._number, 0.0) is not None:
                pass
        except DirectoryError as error:
            self._give_up(error)
            return False
        return True

    def _give_up(self, error: DirectoryError) -> None:
        log.warning("directory: no notification, polling instead: %s", error)
        self.close()

    def close(self) -> None:
        """Close the connection."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(DirectoryError):
                session.connection.close()
