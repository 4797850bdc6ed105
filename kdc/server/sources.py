"""How many TCP connections each source holds, counted over all workers.

SO_REUSEPORT spreads the connections of one source over the workers, so a count per worker would be
wrong by a factor. The counts live in anonymous shared memory made before the workers: one table per
worker, written by it alone and summed by all. A worker that is killed leaves its table behind; its
successor starts by clearing it.
"""

import hashlib
import ipaddress
import mmap
import os
from functools import lru_cache
from typing import Final

SLOTS: Final = 65536
"""Sources are hashed into slots under a random key. Two sources in one slot share one limit, which
matters only when both are near it."""

_SLOT_BYTES: Final = 2
_MAX_COUNT: Final = 0xFFFF
_IPV6_SOURCE_BITS: Final = 64
"""Who has one IPv6 address usually has the whole /64 to choose from."""


class SourceTable:
    """The shared tables of all workers."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._map = mmap.mmap(-1, workers * SLOTS * _SLOT_BYTES)
        self._key = os.urandom(16)

    def for_worker(
        self, worker: int, *, limit: int, exempt: tuple[str, ...] = ()
    ) -> "SourceCounts":
        """Return the counting object of one worker, its own table cleared.

        exempt: addresses or networks in text form. Raises ValueError for what is neither.
        """
        start = worker * SLOTS * _SLOT_BYTES
        self._map[start : start + SLOTS * _SLOT_BYTES] = bytes(SLOTS * _SLOT_BYTES)
        counts = memoryview(self._map).cast("H")
        networks = tuple(ipaddress.ip_network(text, strict=False) for text in exempt)
        return SourceCounts(counts, self._workers, worker, self._key, limit, networks)


class SourceCounts:
    """One worker's way to take and give back places."""

    def __init__(
        self,
        counts: memoryview,
        workers: int,
        worker: int,
        key: bytes,
        limit: int,
        exempt: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...],
    ) -> None:
        self._counts = counts
        self._workers = workers
        self._own = worker * SLOTS
        self._key = key
        self._limit = limit
        self._exempt = exempt
        # Parsing an address takes 3 us; most connections come from a source seen before.
        self._slot = lru_cache(maxsize=4096)(self._find_slot)

    def take(self, address: str) -> bool:
        """Count one more connection of a source; return False when it has its share already."""
        slot = self._slot(address)
        if slot is None:
            return True
        if sum(self._counts[slot::SLOTS][: self._workers]) >= self._limit:
            return False
        own = self._own + slot
        self._counts[own] = min(self._counts[own] + 1, _MAX_COUNT)
        return True

    def give_back(self, address: str) -> None:
        """Count one connection less."""
        slot = self._slot(address)
        if slot is not None and self._counts[self._own + slot]:
            self._counts[self._own + slot] -= 1

    def _find_slot(self, address: str) -> int | None:
        """Return the slot of a source; None when it is exempt."""
        source = ipaddress.ip_address(address)
        if any(source in network for network in self._exempt):
            return None
        octets = source.packed
        if source.version == 6:
            octets = octets[: _IPV6_SOURCE_BITS // 8]
        digest = hashlib.blake2b(octets, digest_size=4, key=self._key).digest()
        return int.from_bytes(digest, "little") % SLOTS
