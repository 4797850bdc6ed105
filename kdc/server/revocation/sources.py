"""Everything that is to be fetched: what stays, and what logon certificates have named.

Rules
  1. What configuration and CA certificates name is wanted as long as they are there. What a logon
     certificate names is wanted for `KEEP_SEEN` after it was last seen.
  2. The table has a bound for each kind. Past it what was seen longest ago makes room; what stays
     is never displaced.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from kdc.server.revocation.addresses import Kind, Wanted
from kdc.server.revocation.status import Source

KEEP_SEEN: Final = timedelta(days=30)
"""A holiday: whoever logs on after it finds the status of the certificate known."""
BOUNDS: Final[Mapping[Kind, int]] = {"crl": 256, "ocsp": 4096}
"""As many certificates as chains are remembered (`trust.cert_trust.MAX_REMEMBERED`)."""


class SourceTable:
    """The sources by their keys. Owner: the companion."""

    def __init__(self, kept: Iterable[Source] = ()) -> None:
        """kept: those of the last run; only what is wanted again stays."""
        self._sources: dict[str, Source] = {}
        self._kept = {source.key: source for source in kept}
        for source in self._kept.values():
            if source.seen_at is not None:
                self._add(source)

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[Source]:
        return iter(tuple(self._sources.values()))

    def get(self, key: str) -> Source | None:
        """Return a source that is still wanted."""
        return self._sources.get(key)

    def want(self, wanted: Iterable[Wanted], issuers: Mapping[str, str], now: datetime) -> None:
        """Make what stays wanted exactly this; drop what no CA held could have made.

        issuers: `issuer_id` -> name of each CA held.
        """
        fixed = {one.key: one for one in wanted}
        for key, source in list(self._sources.items()):
            gone = source.seen_at is None or now - source.seen_at > KEEP_SEEN
            if (gone and key not in fixed) or (source.issuer and source.issuer not in issuers):
                del self._sources[key]
        for key, one in fixed.items():
            known = self._sources.get(key)
            source = known or self._kept.get(key) or _new(one, issuers)
            source.seen_at = None
            if known is None:
                self._add(source)

    def see(self, wanted: Wanted, issuers: Mapping[str, str], now: datetime) -> Source | None:
        """Take note of what a logon certificate or a list has named; return it when it is new."""
        known = self._sources.get(wanted.key)
        if known is not None:
            if known.seen_at is not None:
                known.seen_at = now
            return None
        source = self._kept.get(wanted.key) or _new(wanted, issuers)
        source.seen_at = now
        self._add(source)
        return source

    def _add(self, source: Source) -> None:
        same = [one for one in self._sources.values() if one.kind == source.kind]
        if len(same) >= BOUNDS[source.kind]:
            seen = [(one.seen_at, one.key) for one in same if one.seen_at is not None]
            if not seen:
                return
            del self._sources[min(seen)[1]]
        self._sources[source.key] = source


def _new(wanted: Wanted, issuers: Mapping[str, str]) -> Source:
    return Source(
        key=wanted.key,
        kind=wanted.kind,
        urls=wanted.urls,
        origin=wanted.origin,
        issuer=wanted.issuer,
        issuer_name=issuers.get(wanted.issuer, ""),
        serial_number=f"{wanted.serial_number:x}" if wanted.serial_number else "",
        certificate=wanted.certificate,
    )
