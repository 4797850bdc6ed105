"""RFC 4533, refreshAndPersist: OpenLDAP sends what changed since a cookie, then each change. Pure.

Theory of operation. The server begins with a refresh. Either it knows what was deleted since the
cookie and says so (refreshDelete), or it names everything that is still there (present phase) and
what it did not name is gone. After that each change comes as it is made.
"""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from directory.ldap import ber
from directory.ldap.ber import BerError
from directory.ldap.messages import (
    SYNC_DONE,
    SYNC_INFO,
    SYNC_REQUEST,
    SYNC_STATE,
    Answer,
    Control,
    Entry,
    Intermediate,
    Result,
)

REFRESH_AND_PERSIST = 3
MAX_COOKIE_BYTES = 4096
MAX_PRESENT = 2_000_000

_NEW_COOKIE = 0x80
_REFRESH_DELETE = 0xA1
_REFRESH_PRESENT = 0xA2
_ID_SET = 0xA3


class SyncStateKind(IntEnum):
    """What an entry's Sync State Control says."""

    PRESENT = 0
    ADD = 1
    MODIFY = 2
    DELETE = 3


@dataclass(slots=True, kw_only=True)
class Step:
    """What one answer says."""

    entry: Entry | None = None
    """An entry as it is now."""
    deleted: tuple[UUID, ...] = ()
    refreshed: bool = False
    """The refresh has ended: from now on changes come as they are made."""
    only: frozenset[UUID] | None = None
    """With `refreshed`: nothing but these, and entries sent since the start, is there any more."""


def request_control(cookie: bytes | None) -> Control:
    """Make the Sync Request Control."""
    value = ber.tlv(
        ber.SEQUENCE,
        ber.integer(REFRESH_AND_PERSIST, ber.ENUMERATED),
        b"" if cookie is None else ber.octets(cookie),
    )
    return Control(SYNC_REQUEST, value, critical=True)


class SyncStream:
    """Follows the answers of one refreshAndPersist search."""

    def __init__(self, cookie: bytes | None) -> None:
        self.cookie = cookie
        """The latest: a new search with it goes on where this one is."""
        self.is_live = False
        self._present: set[UUID] = set()
        self._present_phase = False

    def take(self, answer: Answer) -> Step:
        """Read an answer. Raises BerError."""
        if isinstance(answer, Entry):
            return self._entry(answer)
        if isinstance(answer, Intermediate):
            return self._info(answer) if answer.oid == SYNC_INFO else Step()
        if isinstance(answer, Result):
            value = answer.controls.get(SYNC_DONE)
            if value is not None:
                start, end = ber.expect(value, 0, len(value), ber.SEQUENCE)
                self._cookie_of(value, start, end)
        return Step()

    def _entry(self, entry: Entry) -> Step:
        value = entry.controls.get(SYNC_STATE)
        if value is None:
            raise BerError("an entry of a change stream does not say what it is")
        start, end = ber.expect(value, 0, len(value), ber.SEQUENCE)
        begin, stop = ber.expect(value, start, end, ber.ENUMERATED)
        kind = ber.to_int(value, begin, stop)
        begin, stop = ber.expect(value, stop, end, ber.OCTET_STRING)
        number = _uuid(value[begin:stop])
        self._cookie_of(value, stop, end)
        if kind == SyncStateKind.DELETE:
            return Step(deleted=(number,))
        self._remember(number)
        if kind == SyncStateKind.PRESENT:
            self._present_phase = True
            return Step()
        return Step(entry=entry)

    def _info(self, answer: Intermediate) -> Step:
        value = answer.value
        tag, start, end = ber.read(value, 0, len(value))
        if tag == _NEW_COOKIE:
            self._set_cookie(value[start:end])
            return Step()
        start = self._cookie_of(value, start, end)
        flag: bool | None = None
        if start < end:
            inner, begin, stop = ber.read(value, start, end)
            if inner == ber.BOOLEAN:
                flag = value[begin:stop] != b"\0"
                start = stop
        if tag == _ID_SET:
            begin, stop = ber.expect(value, start, end, ber.SET)
            numbers = tuple(
                _uuid(value[first:last]) for _, first, last in ber.children(value, begin, stop)
            )
            if flag:
                return Step(deleted=numbers)
            self._present_phase = True
            for number in numbers:
                self._remember(number)
            return Step()
        if tag == _REFRESH_PRESENT:
            self._present_phase = True
        elif tag != _REFRESH_DELETE:
            return Step()
        if flag is False:
            return Step()  # refreshDone is TRUE unless it is said
        return self._refreshed()

    def _refreshed(self) -> Step:
        if self.is_live:
            return Step()
        self.is_live = True
        only = frozenset(self._present) if self._present_phase else None
        self._present.clear()
        return Step(refreshed=True, only=only)

    def _remember(self, number: UUID) -> None:
        if self.is_live:
            return
        if len(self._present) >= MAX_PRESENT:
            raise BerError("a refresh names too many entries")
        self._present.add(number)

    def _cookie_of(self, value: bytes, start: int, end: int) -> int:
        """Take the cookie that may stand here; return the place after it."""
        if start < end:
            tag, begin, stop = ber.read(value, start, end)
            if tag == ber.OCTET_STRING:
                self._set_cookie(value[begin:stop])
                return stop
        return start

    def _set_cookie(self, cookie: bytes) -> None:
        if len(cookie) > MAX_COOKIE_BYTES:
            raise BerError("a cookie is too long")
        if cookie:
            self.cookie = cookie


def cookie_from_csns(csns: tuple[bytes, ...]) -> bytes | None:
    """Make OpenLDAP's cookie for the state that a suffix's contextCSN names, None without one.

    Taken before a full load, it makes the stream begin with what changed since.
    """
    if not csns:
        return None
    return b"rid=000,csn=" + b";".join(sorted(csns))


def _uuid(value: bytes) -> UUID:
    if len(value) != 16:
        raise BerError("an entry's number has not 16 octets")
    return UUID(bytes=value)
