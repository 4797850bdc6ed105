"""Is this KDC ready for logons? The checks behind /readyz.

Rules.
1. Not ready means that a client should be sent elsewhere. What only needs attention soon (a
   certificate that ends next week) is a metric, not a failed check.
2. No check sends a request to the network, and the answer is kept for a second: probes cannot be
   used to keep the KDC busy.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from directory.backend import DirectoryError
from directory.store_status import count_accounts
from kdc.server.http.tls import validity
from kdc.server.shared import SharedTables
from kdc.state_folder import StateFolder

STUCK_S: Final = 5.0
"""A worker that has not shown itself for so long is stuck; it does so every second."""

KEPT_S: Final = 1.0

MIN_FREE_BYTES: Final = 1024 * 1024
"""Room for some thousand audit records; with less, logons fail within seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The outcome of one check."""

    name: str
    ok: bool
    detail: str


class Health:
    """Everything that /readyz looks at."""

    def __init__(
        self,
        folder: StateFolder,
        audit_path: Path,
        shared: SharedTables,
        *,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._folder = folder
        self._audit_path = audit_path
        self._shared = shared
        self._wall_clock = wall_clock
        self._clock_ns = clock_ns
        self._kept: tuple[Check, ...] = ()
        self._kept_at_ns = 0

    def checks(self) -> tuple[Check, ...]:
        """Return all checks, at most a second old. Blocks for as long as the disk does."""
        now_ns = self._clock_ns()
        if not self._kept or now_ns - self._kept_at_ns >= KEPT_S * 1e9:
            self._kept = (self.workers(), self.store(), self.certificate(), self.disk())
            self._kept_at_ns = now_ns
        return self._kept

    def workers(self) -> Check:
        """See whether at least one worker takes requests: it gets those of the others as well."""
        counters = self._shared.counters
        limit_ns = self._clock_ns() - int(STUCK_S * 1e9)
        alive = sum(
            counters.for_worker(index).heartbeat >= limit_ns for index in range(counters.workers)
        )
        ready = min(alive, counters.for_supervisor().workers_ready)
        return Check(
            name="workers", ok=ready > 0, detail=f"{ready} of {counters.workers} workers ready"
        )

    def store(self) -> Check:
        """See whether the accounts can be read."""
        try:
            found = sum(count_accounts(self._folder.store).values())
        except DirectoryError:
            return Check(name="store", ok=False, detail="the account store cannot be read")
        return Check(name="store", ok=True, detail=f"{found} accounts")

    def certificate(self) -> Check:
        """See whether the KDC's certificates are valid now; none at all is a choice."""
        now = self._wall_clock()
        found = self._folder.kdc_certificates()
        for path, _ in found:
            try:
                begin, end = validity(path)
            except (OSError, ValueError):
                return Check(name="certificate", ok=False, detail=f"{path.name} cannot be read")
            if not begin <= now <= end:
                return Check(name="certificate", ok=False, detail=f"{path.name} is not valid now")
        detail = "valid" if found else "none: PKINIT is off"
        return Check(name="certificate", ok=True, detail=detail)

    def disk(self) -> Check:
        """See whether audit records can be written."""
        path = self._audit_path
        place = path if path.exists() else path.parent
        try:
            free = os.statvfs(place)
            # access(2) also tells of a file system that has become read-only.
            writable = os.access(place, os.W_OK)
        except OSError:
            return Check(name="disk", ok=False, detail="the audit log's disk cannot be read")
        if not writable:
            return Check(name="disk", ok=False, detail="the audit log cannot be written")
        if free.f_bavail * free.f_frsize < MIN_FREE_BYTES:
            return Check(name="disk", ok=False, detail="the audit log's disk is full")
        return Check(name="disk", ok=True, detail="the audit log can be written")
