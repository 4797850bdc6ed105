"""What is fetched, from where, and how that went: one file, for people and across restarts.

The file is `pki/fetched.json`. The companion writes it whole; `kdc doctor`, `kdc cert fetched` and
/metrics read it. Nothing in it is secret or believed: what is fetched is judged by signatures.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from kdc.server.revocation.addresses import Kind, Origin

MAX_STATUS_BYTES: Final = 16 << 20

Condition = Literal["current", "failing", "stale", "missing"]
"""failing: asked in vain, but what there is is current. stale: it has ended. missing: never got."""
Result = Literal["new", "unchanged", "refused", "failed"]
"""refused: something came and was of no use. failed: nothing came."""

RESULTS: Final[tuple[Result, ...]] = ("new", "unchanged", "refused", "failed")
KINDS: Final[tuple[Kind, ...]] = ("crl", "ocsp")
CONDITIONS: Final[tuple[Condition, ...]] = ("current", "failing", "stale", "missing")


class Source(msgspec.Struct, kw_only=True):
    """One thing that is fetched. Owner: the companion; others have copies."""

    key: str
    kind: Kind
    urls: tuple[str, ...]
    origin: Origin
    issuer: str = ""
    """`issuer_id` of the CA; "": any that is held, and then that of the CA that made the list."""
    issuer_name: str = ""
    serial_number: str = ""
    """OCSP: of the certificate, in hexadecimal."""
    certificate: str = ""
    """OCSP: its SHA-256."""
    seen_at: datetime | None = None
    """When it was last wanted by a logon certificate; None: by something that stays."""
    tried_at: datetime | None = None
    fetched_at: datetime | None = None
    """When an answer was last of use."""
    next_at: datetime | None = None
    url: str = ""
    """Which address gave what there is."""
    this_update: datetime | None = None
    next_update: datetime | None = None
    number: str = ""
    delta: bool = False
    revoked: bool = False
    """OCSP: what the response says."""
    etag: str = ""
    last_modified: str = ""
    failures: int = 0
    """In a row, up to now."""
    problem: str = ""
    """Why the last attempt was in vain."""

    def condition(self, now: datetime) -> Condition:
        """Tell how it stands."""
        if self.next_update is None:
            return "missing"
        if self.next_update < now:
            return "stale"
        return "failing" if self.failures else "current"


class FetchStatus(msgspec.Struct, kw_only=True):
    """The content of the file."""

    written_at: datetime | None = None
    sources: tuple[Source, ...] = ()
    results: dict[str, int] = {}
    """`crl new` and so on -> how many answers were so, since the file was made."""

    def count(self, kind: Kind, result: Result) -> int:
        """Return how many answers were so."""
        return self.results.get(f"{kind} {result}", 0)

    def conditions(self, now: datetime) -> dict[tuple[str, ...], float]:
        """Count the sources of each (kind, condition), those that are 0 included."""
        found: dict[tuple[str, ...], float] = {(k, c): 0 for k in KINDS for c in CONDITIONS}
        for source in self.sources:
            found[source.kind, source.condition(now)] += 1
        return found


_DECODER = msgspec.json.Decoder(FetchStatus)


def read_status(path: Path) -> FetchStatus | None:
    """Read the file; None: it is not there, or is none of ours."""
    try:
        with path.open("rb") as file:
            return _DECODER.decode(file.read(MAX_STATUS_BYTES))
    except (OSError, msgspec.MsgspecError):
        return None


def encode_status(sources: Iterable[Source], results: dict[str, int], now: datetime) -> bytes:
    """Encode the file's content."""
    found = tuple(sorted(sources, key=lambda source: (source.kind, source.key)))
    status = FetchStatus(written_at=now, sources=found, results=results)
    return msgspec.json.format(msgspec.json.encode(status), indent=1) + b"\n"
