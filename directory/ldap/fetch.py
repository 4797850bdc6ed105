"""Answering a miss: one bounded search for what a request names, written to the store at once.

Rules
  1. One question, one search, FETCH_TIMEOUT_S in all. What the store has under the same names is
     looked at as well: an entry that has another name now, or is gone, is written so.
  2. An answer "the same" holds for NEGATIVE_S, and at most `rate` questions a second reach the
     directory, so that nobody can make us a hammer.
  3. After a failure the directory is away for AWAY_S: all who ask meanwhile are told so at once,
     and do not wait for the same silence one after the other.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from directory.backend import DirectoryError
from directory.ldap import filters
from directory.ldap.apply import Applied, ReplicaWriter
from directory.ldap.attributes import attributes_of, entries_filter, guid_of, version_attributes
from directory.ldap.follow import check_domain
from directory.ldap.load import AT_ONCE, fetch, read_again, records_of
from directory.ldap.messages import Scope
from directory.ldap.questions import FETCH_TIMEOUT_S, MAX_NAME_CHARS, Ask, Question, Told
from directory.ldap.records import AccountEntry, Record
from directory.ldap.session import Servers, Session
from directory.model import match_key

log = logging.getLogger(__name__)

NEGATIVE_S = 1.0
MAX_NEGATIVE = 10_000
AWAY_S = 1.0
MAX_ENTRIES = 64
"""That may match one question."""

_ATTRIBUTES = {
    Ask.NAME: "sAMAccountName",
    Ask.UPN: "userPrincipalName",
    Ask.SPN: "servicePrincipalName",
}
_DEVICE_ID = re.compile(r"[0-9a-f]{32}")
_Names = list[tuple[str, str | bytes]]
"""(attribute, value); octets for a device's number."""


class Fetcher:
    """Asks the directory what requests need to know. Owner: one thread."""

    def __init__(
        self,
        servers: Servers,
        writer: ReplicaWriter,
        *,
        rate: int,
        always: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """rate: questions a second; always: ask each time, whatever was answered before."""
        self._servers = servers
        self._always = always
        self._writer = writer
        self._rate = rate
        self._clock = clock
        self._session: Session | None = None
        self._negative: dict[tuple[Question, ...], float] = {}
        self._tokens = float(rate)
        self._filled_at = clock()
        self._away_until = 0.0
        self.fetches = 0
        """How many questions reached the directory."""

    def close(self) -> None:
        """Close the connection."""
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    def cached(self, questions: tuple[Question, ...]) -> Told | None:
        """Answer without asking, or None when the directory has to be asked."""
        now = self._clock()
        if now < self._away_until:
            return Told.AWAY
        if self._always:
            return None
        known = self._negative.get(questions)
        if known is not None and now - known < NEGATIVE_S:
            return Told.SAME
        self._tokens = min(float(self._rate), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1.0:
            return Told.BUSY
        self._tokens -= 1.0
        return None

    def answer(self, questions: tuple[Question, ...]) -> Told:
        """Ask the directory. Raises nothing."""
        end = self._clock() + FETCH_TIMEOUT_S
        self.fetches += 1
        try:
            try:
                told = self._fetch(questions, end)
            except DirectoryError:
                # The server may have closed a connection that was idle: once more on a new one.
                had_one = self._session is not None
                self.close()
                if not had_one or end - self._clock() < FETCH_TIMEOUT_S / 2:
                    raise
                told = self._fetch(questions, end)
        except DirectoryError as error:
            self.close()
            log.warning("directory: a request's question cannot be answered: %s", error)
            self._away_until = self._clock() + AWAY_S
            return Told.AWAY
        if told is Told.SAME and not self._always:
            if len(self._negative) >= MAX_NEGATIVE:
                self._negative.clear()
            self._negative[questions] = self._clock()
        return told

    def _fetch(self, questions: tuple[Question, ...], end: float) -> Told:
        session = self._session
        if session is None or not session.connection.is_open:
            session = self._servers.open(self._left(end) / len(self._servers.settings.urls))
            self._session = session
            check_domain(session, self._writer)
        names, guids = self._wanted(questions)
        records = self._by_names(session, names, end)
        there = {record.guid for record in records}
        # What the store has under these names, or these numbers, and the directory did not show.
        for _, name in names:
            if isinstance(name, bytes):
                guids.update(self._writer.guids_of_device(UUID(bytes_le=name)))
            else:
                guids.update(self._writer.guids_of_name(match_key(name)))
        records += fetch(session, sorted(guids - there), self._left(end))
        changed = self._write(session, records)
        changed |= self._groups(session, records, end)
        return Told.CHANGED if changed else Told.SAME

    def _wanted(self, questions: Iterable[Question]) -> tuple[_Names, set[UUID]]:
        names: _Names = []
        guids: set[UUID] = set()
        for kind, value in questions:
            if kind in (Ask.ACCOUNT, Ask.KEY):
                number = value.partition(":")[0]
                guid = self._writer.guid_of_account(int(number)) if number.isdecimal() else None
                if guid is not None:
                    guids.add(guid)
            elif kind in (Ask.NAME, Ask.UPN, Ask.SPN) and 0 < len(value) <= MAX_NAME_CHARS:
                names.append((_ATTRIBUTES[Ask(kind)], value))
            elif kind == Ask.DEVICE and _DEVICE_ID.fullmatch(value):
                names.append(("msDS-DeviceID", UUID(value).bytes_le))
        return names, guids

    def _by_names(self, session: Session, names: _Names, end: float) -> list[Record]:
        if not names:
            return []
        flavour = session.facts.flavour
        found = session.connection.entries(
            session.base,
            Scope.SUBTREE,
            filters.all_of(
                entries_filter(flavour),
                filters.any_of(*(filters.equal(attribute, name) for attribute, name in names)),
            ),
            attributes_of(flavour),
            timeout_s=self._left(end),
            size_limit=MAX_ENTRIES,
        )
        return records_of(found, session.facts)

    def _groups(self, session: Session, records: list[Record], end: float) -> bool:
        """Bring the groups in step that these accounts are direct members of."""
        flavour = session.facts.flavour
        changed = False
        for record in records:
            dn = record.account.dn if isinstance(record, AccountEntry) else None
            if dn is None:
                continue
            found = session.connection.entries(
                session.base,
                Scope.SUBTREE,
                filters.all_of(entries_filter(flavour), filters.equal("member", dn)),
                version_attributes(flavour)[:1],
                timeout_s=self._left(end),
            )
            now = {guid for entry in found if (guid := guid_of(entry, flavour)) is not None}
            differ = sorted(now ^ self._writer.groups_of_dn(dn))[:AT_ONCE]
            if differ:
                changed |= self._write(session, fetch(session, differ, self._left(end)))
        return changed

    def _write(self, session: Session, records: list[Record]) -> bool:
        done: Applied = self._writer.apply(records)
        if done.retry:
            read_again(session, self._writer, done)
        for dn, why in done.problems:
            log.error("alarm: the directory's entry %s: %s", ascii(dn), why)
        return bool(done.written)

    def _left(self, end: float) -> float:
        return max(0.05, end - self._clock())
