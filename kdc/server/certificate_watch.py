"""Notices changed CA, CRL and OCSP files, and keeps a worker's certificate trust in step with them.

Rules
  1. One look a second at the files' names and times: at the beat of the worker, and before a
     request is answered, so that a revocation counts also at the first request after a long pause.
  2. A large list is read in a thread. Until it is there, requests are answered from what there was.
  3. Fetched OCSP responses are exchanged without forgetting the chains that were found valid.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal

from kdc.config import ConfigError, KdcConfig
from kdc.server.certificates import (
    CERTIFICATE_SUFFIXES,
    keep_newer_crls,
    serve_cert_trust,
    tell_problems,
)
from kdc.server.revocation_files import (
    RevocationFiles,
    Stamp,
    list_files,
    revocation_paths,
    stamp_of,
)
from kdc.state_folder import StateFolder
from kdc.trust.cert_trust import CertTrust

log = logging.getLogger(__name__)

WATCH_S: Final = 1.0
"""How often the files are looked at: a revocation counts within a second or so."""
REMINDER_S: Final = 3600.0
"""How often the log says again that a CRL is about to end."""
LARGE_BYTES: Final = 512 * 1024
"""Changed lists of more octets are read in a thread; so many take some 15 ms."""

Fingerprint = tuple[tuple[str, Stamp], ...]
Change = Literal["nothing", "files", "responses"]


def fingerprint(folder: StateFolder, config: KdcConfig) -> Fingerprint:
    """Return names, times and sizes of every file that certificate trust rests on.

    But not of the fetched responses. Raises ConfigError, OSError.
    """
    paths = [
        *list_files(folder.logon_cas, CERTIFICATE_SUFFIXES),
        *list_files(folder.trusted_roots, CERTIFICATE_SUFFIXES),
        *revocation_paths(folder),
        *(folder.root / name for name in config.logon_cas),
    ]
    stamps = ((str(path), stamp_of(path)) for path in paths)
    return tuple((name, stamp) for name, stamp in stamps if stamp is not None)


class CertificateWatch:
    """Notices changed files between reloads. Owner: the worker."""

    def __init__(self, folder: StateFolder, config: KdcConfig) -> None:
        self._folder = folder
        self._config = config
        self._seen = fingerprint(folder, config)
        self._responses = stamp_of(folder.fetched_responses)
        self._next_look = time.monotonic() + WATCH_S
        self._next_reminder = time.monotonic() + REMINDER_S

    def look(self, trust: CertTrust | None, now: datetime) -> Change:
        """Tell what changed since the last look; at most one look a second."""
        moment = time.monotonic()
        if moment < self._next_look:
            return "nothing"
        self._next_look = moment + WATCH_S
        if trust is not None and moment >= self._next_reminder:
            self._next_reminder = moment + REMINDER_S
            tell_problems(trust, now)
        try:
            found = fingerprint(self._folder, self._config)
        except (ConfigError, OSError):
            return "nothing"
        responses = stamp_of(self._folder.fetched_responses)
        changed: Change = "nothing"
        if found != self._seen:
            changed = "files"
        elif responses != self._responses:
            changed = "responses"
        self._seen, self._responses = found, responses
        return changed


class CertificateKeeper:
    """A worker's certificate trust: loaded, watched and renewed. Owner: the worker's handler."""

    def __init__(self, folder: StateFolder) -> None:
        self.seen: Callable[[bytes], None] | None = None
        """Told of validated leaves: see `CertTrust.seen`."""
        self._folder = folder
        self._files = RevocationFiles(folder)
        self._watch: CertificateWatch | None = None
        self._reading: threading.Thread | None = None

    def load(self, config: KdcConfig) -> CertTrust | None:
        """Load certificate trust now. Raises ConfigError."""
        self._finish_reading()
        trust = serve_cert_trust(self._folder, config, self._files)
        if trust is not None:
            trust.seen = self.seen
        return trust

    def begin(self, config: KdcConfig) -> None:
        """Watch the files from now on. Raises ConfigError, OSError."""
        self._watch = CertificateWatch(self._folder, config)

    def tell(self, seen: Callable[[bytes], None], trust: CertTrust | None) -> None:
        """Tell someone of validated leaves, from now on."""
        self.seen = seen
        if trust is not None:
            trust.seen = seen

    def renewed(
        self, trust: CertTrust | None, config: KdcConfig, now: datetime
    ) -> CertTrust | None:
        """Return the same trust while nothing has changed, or a new one."""
        if self._reading is not None:
            if self._reading.is_alive():
                return trust
            return self._reload(trust, config)
        change = "nothing" if self._watch is None else self._watch.look(trust, now)
        if change == "responses" and trust is not None:
            fetched = trust.revocation.with_fetched(self._files.fetched())
            return replace(trust, revocation=fetched)
        if change == "nothing":
            return trust
        if trust is not None and self._is_large():
            self._reading = threading.Thread(
                target=self._read_ahead, name="read revocation lists", daemon=True
            )
            self._reading.start()
            return trust
        return self._reload(trust, config)

    def _is_large(self) -> bool:
        try:
            return self._files.unread_bytes() > LARGE_BYTES
        except (ConfigError, OSError):
            return False

    def _read_ahead(self) -> None:
        try:
            self._files.read_ahead()
        except (ConfigError, OSError) as error:
            log.error("revocation lists cannot be read: %s", error)

    def _finish_reading(self) -> None:
        if self._reading is not None:
            self._reading.join()
            self._reading = None

    def _reload(self, trust: CertTrust | None, config: KdcConfig) -> CertTrust | None:
        try:
            new = self.load(config)
        except (ConfigError, OSError) as error:
            log.error("certificate trust stays as it was: %s", error)
            return trust
        keep_newer_crls(new, trust)
        return new
