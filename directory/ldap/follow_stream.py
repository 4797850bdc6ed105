"""Following OpenLDAP by its stream of changes (RFC 4533); `syncrepl.py` reads the messages."""

import logging
import time
from uuid import UUID

from directory.ldap.attributes import attributes_of, entries_filter
from directory.ldap.ber import BerError
from directory.ldap.connection import OPEN
from directory.ldap.follow import TICK_S, Marks, Work
from directory.ldap.follow_times import follow_times
from directory.ldap.load import records_of
from directory.ldap.messages import SYNC_REQUEST, Result, ResultCode, Scope
from directory.ldap.reach import LdapError
from directory.ldap.records import Gone, Record
from directory.ldap.session import Session
from directory.ldap.syncrepl import SyncStream, cookie_from_csns, request_control

log = logging.getLogger(__name__)

COOKIE = "directory cookie"
PING_EVERY_S = 2.0
BATCH = 500
"""Changes that are written as one transaction when they come together."""


def pushes(session: Session) -> bool:
    """Tell whether a server has a stream of changes."""
    return SYNC_REQUEST in session.controls


def cookie_mark(session: Session) -> Marks:
    """Read where the stream goes on from after a load that begins now."""
    found = session.connection.entries(session.base, Scope.BASE, OPEN, ("contextCSN",))
    cookie = cookie_from_csns(found[0].values("contextcsn")) if found else None
    return {} if cookie is None else {COOKIE: cookie}


def follow_stream(work: Work) -> None:
    """Follow the stream. Raises DirectoryError when it breaks off."""
    kept = work.writer.store.setting(COOKIE)
    cookie = kept if isinstance(kept, bytes) and work.writer.count() else None
    if cookie is None:
        cookie = _load(work)
    try:
        _Stream(work, cookie).run()
    except LdapError as error:
        if error.code == ResultCode.UNAVAILABLE_CRITICAL_EXTENSION:
            # The server knows the control, but this database has no syncprov.
            follow_times(work)
            return
        if error.code != ResultCode.SYNC_REFRESH_REQUIRED:
            raise
        log.warning("directory: the server does not know what changed since: loading everything")
        _load(work)
        raise


def _load(work: Work) -> bytes | None:
    marks = work.load(cookie_mark)
    work.keep(marks, now=True)
    cookie = marks.get(COOKIE)
    return cookie if isinstance(cookie, bytes) else None


class _Stream:
    """One refreshAndPersist search."""

    def __init__(self, work: Work, cookie: bytes | None) -> None:
        self._work = work
        self._session = work.session
        self._connection = work.session.connection
        self._stream = SyncStream(cookie)
        self._sent: set[UUID] = set()
        flavour = self._session.facts.flavour
        self._number = self._connection.start_stream(
            self._session.base,
            Scope.SUBTREE,
            entries_filter(flavour),
            attributes_of(flavour),
            (request_control(cookie),),
        )

    def run(self) -> None:
        """Write what comes. Raises DirectoryError when it ends."""
        work, connection = self._work, self._connection
        pinged_at = 0.0
        while not work.between.stop():
            records, ended = self._gather()
            if records:
                work.write(records, self._marks())
            if ended:
                raise LdapError(self._session.url, "has ended the stream of changes")
            if self._stream.is_live:
                work.keep(self._marks())
                if connection.answered_at > pinged_at:
                    work.board.confirm()
                if time.monotonic() - pinged_at >= PING_EVERY_S:
                    pinged_at = time.monotonic()
                    connection.ping()
            work.between.tick()
        work.keep(self._marks(), now=True)

    def _marks(self) -> Marks:
        # A cookie that comes in the middle of a refresh does not say what is gone.
        cookie = self._stream.cookie if self._stream.is_live else None
        return {} if cookie is None else {COOKIE: cookie}

    def _gather(self) -> tuple[list[Record], bool]:
        """Take what has come, up to a batch; True when the stream has ended."""
        records: list[Record] = []
        wait_s = TICK_S
        while len(records) < BATCH:
            answer = self._connection.next_in_stream(self._number, wait_s)
            if answer is None:
                break
            wait_s = 0.0
            was_live = self._stream.is_live
            try:
                step = self._stream.take(answer)
            except BerError as error:
                raise LdapError(self._session.url, f"answers wrongly: {error}") from None
            if isinstance(answer, Result):
                return records, True
            if step.entry is not None:
                found = records_of((step.entry,), self._session.facts)
                records += found
                if not was_live:
                    self._sent.update(record.guid for record in found)
            records += [Gone(guid=guid) for guid in step.deleted]
            if step.only is not None:
                there = step.only | self._sent
                known = self._work.writer.versions()
                records += [Gone(guid=guid) for guid in known if guid not in there]
            if step.refreshed:
                self._sent.clear()
                log.info("directory: changes of %s come as they are made", self._session.url)
        return records, False
