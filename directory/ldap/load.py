"""The full load: every account and group of a directory into the store, and what is gone out of it.

Resumable: entries are compared by their version, so that a load that was broken off reads again
only what it had not reached. A transaction is one page, so that others may write in between.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap import filters
from directory.ldap.apply import Applied, ReplicaWriter
from directory.ldap.attributes import (
    attributes_of,
    entries_filter,
    guid_filter,
    guid_of,
    version_attributes,
    version_of,
)
from directory.ldap.messages import Entry, Scope
from directory.ldap.records import DomainFacts, Gone, Record
from directory.ldap.schema import read_entry
from directory.ldap.session import Session
from directory.model import match_key

AT_ONCE = 50
"""Entries that are asked for by number in one search."""
WHOLE_SHARE = 0.2
"""When more of the entries than this have changed, all are read again: asking is dearer."""
FEW = 50
"""Deletions that are believed always."""

_T = TypeVar("_T")

Progress = Callable[[int, str], None]
"""(entries done, what is being done)."""


@dataclass(slots=True, kw_only=True)
class Loaded:
    """What a load did."""

    entries: int
    applied: Applied


def quiet(done: int, what: str) -> None:
    """Show no progress."""
    del done, what


def records_of(entries: Iterable[Entry], facts: DomainFacts) -> list[Record]:
    """Read entries; those without a number are passed over."""
    found = (read_entry(entry, facts) for entry in entries)
    return [record for record in found if record is not None]


def load(
    session: Session,
    writer: ReplicaWriter,
    *,
    progress: Progress = quiet,
    believe: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Loaded:
    """Bring the whole store in step with the directory.

    believe: also when more than half of the accounts are gone at once. stop: asked between pages.
    Raises DirectoryError: UNAVAILABLE (what was done stays done), INVALID (not believed).
    """
    known = writer.versions()
    total = Applied()
    seen = _read_all(session, writer, total, progress, stop) if not known else None
    if seen is None:
        listed = _list(session, progress, stop)
        changed = [guid for guid, found in listed.items() if known.get(guid) != found]
        seen = set(listed)
        _check_gone(known, seen, believe)
        if len(changed) > max(WHOLE_SHARE * len(listed), AT_ONCE):
            seen |= _read_all(session, writer, total, progress, stop)
        else:
            for numbers in _chunks(changed, AT_ONCE):
                _stop_if(stop)
                total.add(writer.apply(fetch(session, numbers)))
                progress(total.written, "reading what changed")
    gone = [Gone(guid=guid) for guid in known if guid not in seen]
    for chunk in _chunks(gone, 1000):
        total.add(writer.apply(chunk))
    read_again(session, writer, total)
    progress(len(seen), "done")
    return Loaded(entries=len(seen), applied=total)


def _read_all(
    session: Session,
    writer: ReplicaWriter,
    total: Applied,
    progress: Progress,
    stop: Callable[[], bool],
) -> set[UUID]:
    flavour = session.facts.flavour
    seen: set[UUID] = set()
    pages = session.connection.pages(session.base, entries_filter(flavour), attributes_of(flavour))
    for page in pages:
        _stop_if(stop)
        records = records_of(page, session.facts)
        total.add(writer.apply(records))
        seen.update(record.guid for record in records)
        progress(len(seen), "reading accounts and groups")
    return seen


def _list(
    session: Session, progress: Progress, stop: Callable[[], bool]
) -> dict[UUID, tuple[str, str]]:
    """List every entry: its version and the key of its DN."""
    flavour = session.facts.flavour
    listed: dict[UUID, tuple[str, str]] = {}
    pages = session.connection.pages(
        session.base, entries_filter(flavour), version_attributes(flavour)
    )
    for page in pages:
        _stop_if(stop)
        for entry in page:
            guid = guid_of(entry, flavour)
            if guid is not None:
                listed[guid] = (version_of(entry, flavour), match_key(entry.dn))
        progress(len(listed), "comparing")
    return listed


def _check_gone(known: Mapping[UUID, object], seen: set[UUID], believe: bool) -> None:
    """Refuse to delete most accounts at once: a wrong base or a lost right looks the same."""
    gone = sum(guid not in seen for guid in known)
    if not believe and gone > max(FEW, len(known) // 2):
        raise DirectoryError(
            DirectoryFault.INVALID,
            f"the directory shows {len(seen)} entries where {len(known)} were: not believed",
        )


def fetch(session: Session, guids: Iterable[UUID], timeout_s: float | None = None) -> list[Record]:
    """Read entries by their numbers; one that is not there is Gone. Raises LdapError."""
    wanted = list(guids)
    if not wanted:
        return []
    flavour = session.facts.flavour
    found = session.connection.entries(
        session.base,
        Scope.SUBTREE,
        filters.all_of(
            entries_filter(flavour), filters.any_of(*(guid_filter(flavour, g) for g in wanted))
        ),
        attributes_of(flavour),
        timeout_s=timeout_s,
    )
    records = records_of(found, session.facts)
    there = {record.guid for record in records}
    return records + [Gone(guid=guid) for guid in wanted if guid not in there]


def read_again(session: Session, writer: ReplicaWriter, done: Applied) -> None:
    """Read the entries again whose problem may have gone, once. Raises LdapError."""
    again, done.retry = done.retry, set()
    for numbers in _chunks(sorted(again), AT_ONCE):
        done.add(writer.apply(fetch(session, numbers), force=True))
    done.retry.clear()


def _stop_if(stop: Callable[[], bool]) -> None:
    if stop():
        raise DirectoryError(DirectoryFault.UNAVAILABLE, "the load was stopped")


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
