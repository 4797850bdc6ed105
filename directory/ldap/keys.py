"""Long-term keys for the accounts of a replica, from the source that a realm has chosen."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from directory.backend import DirectoryError
from directory.keysources import KRBTGT, Keys, KeySource, keys_of_account
from directory.model import MAX_OWN_KVNO, PrincipalKey, match_key

log = logging.getLogger(__name__)

POLL_EVERY_S = 1.0


class KeyFeed:
    """Gives the keys of an account, for the threads of the follower.

    Without a source, or while it cannot be read, accounts keep the keys they have. The realm's own
    krbtgt keeps its keys as well when the source has none for it.
    """

    def __init__(
        self, source: KeySource | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: Keys | None = None
        self._polled_at = 0.0
        self._told = False

    def load(self) -> bool:
        """Read all keys, before accounts are loaded; tell whether there are any to give."""
        if self._source is None:
            return False
        with self._lock:
            try:
                self._loaded = self._source.load()
            except DirectoryError as error:
                self._complain(error)
                return False
            self._told = False
        return True

    def changed(self) -> bool:
        """Tell, at most once a second, whether all keys have to be read again."""
        if self._source is None or self._clock() - self._polled_at < POLL_EVERY_S:
            return False
        self._polled_at = self._clock()
        with self._lock:
            return self._source.poll()

    def follow(self) -> None:
        """Ask a live source about single accounts from now on."""
        with self._lock:
            if self._source is not None and self._source.live:
                self._loaded = None

    def keys_of(self, name: str, spns: tuple[str, ...]) -> tuple[PrincipalKey, ...] | None:
        """Return the keys of an account; None: those that it has stay."""
        if self._source is None:
            return None
        with self._lock:
            try:
                if self._loaded is not None:
                    found = keys_of_account(self._loaded, name, spns)
                elif self._source.live:
                    found = self._source.keys_of(name)
                else:
                    return None
            except DirectoryError as error:
                self._complain(error)
                return None
        if match_key(name) != KRBTGT:
            return found
        # In the directory the number may have more bits; in tickets those name a read-only DC.
        return tuple(replace(key, kvno=key.kvno & MAX_OWN_KVNO) for key in found) or None

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            with self._lock:
                self._source.close()

    def _complain(self, error: DirectoryError) -> None:
        if not self._told:
            self._told = True
            log.error("alarm: keys cannot be read, accounts keep those they have: %s", error)
