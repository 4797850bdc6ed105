"""Sources: where requests come from, and how many TCP connections each holds over all workers.

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

_REMEMBERED_ADDRESSES: Final = 4096
"""Parsing and hashing an address takes 5 us; most requests come from one that was seen before."""


class SourceSlots:
    """Finds the slot of a source: its network of so many bits, hashed under a random key."""

    __slots__ = ("_exempt", "_ipv4_bits", "_ipv6_bits", "_key", "find")

    def __init__(
        self, key: bytes, *, ipv4_bits: int, ipv6_bits: int, exempt: tuple[str, ...] = ()
    ) -> None:
        """exempt: addresses or networks in text form. Raises ValueError for what is neither."""
        self._key = key
        self._ipv4_bits = ipv4_bits
        self._ipv6_bits = ipv6_bits
        self._exempt = tuple(ipaddress.ip_network(text, strict=False) for text in exempt)
        self.find = lru_cache(maxsize=_REMEMBERED_ADDRESSES)(self._find)
        """Address in text form -> slot, or None when it is exempt."""

    def _find(self, address: str) -> int | None:
        source = ipaddress.ip_address(address)
        if any(source in network for network in self._exempt):
            return None
        bits = self._ipv4_bits if source.version == 4 else self._ipv6_bits
        network = int(source) >> (source.max_prefixlen - bits)
        # The version goes in too: 1.2.3.0/24 and a small IPv6 number are different networks.
        octets = network.to_bytes(16, "big") + bytes((source.version,))
        digest = hashlib.blake2b(octets, digest_size=4, key=self._key).digest()
        return int.from_bytes(digest, "little") % SLOTS


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
        slots = SourceSlots(self._key, ipv4_bits=32, ipv6_bits=_IPV6_SOURCE_BITS, exempt=exempt)
        return SourceCounts(counts, self._workers, worker, slots, limit)


class SourceCounts:
    """One worker's way to take and give back places."""

    def __init__(
        self, counts: memoryview, workers: int, worker: int, slots: SourceSlots, limit: int
    ) -> None:
        self._counts = counts
        self._workers = workers
        self._own = worker * SLOTS
        self._slots = slots
        self._limit = limit

    def take(self, address: str) -> bool:
        """Count one more connection of a source; return False when it has its share already."""
        slot = self._slots.find(address)
        if slot is None:
            return True
        own = self._own + slot
        before = self._counts[own]
        # Counted first and then judged: of two workers at the limit one may refuse too much, but
        # never both allow too much.
        self._counts[own] = min(before + 1, _MAX_COUNT)
        if sum(self._counts[slot::SLOTS][: self._workers]) > self._limit:
            self._counts[own] = before
            return False
        return True

    def give_back(self, address: str) -> None:
        """Count one connection less."""
        slot = self._slots.find(address)
        if slot is not None and self._counts[self._own + slot]:
            self._counts[self._own + slot] -= 1
