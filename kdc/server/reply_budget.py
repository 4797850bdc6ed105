"""How much may be sent by UDP to a network that may never have asked: W05, reflection floods.

Rules, for every source but loopback and exempt_sources.
1. A KRB-ERROR has at most three times the octets of its request. A longer one becomes
   KRB_ERR_RESPONSE_TOO_BIG, which sends an honest client to TCP; when even that is longer, nothing
   is sent. Real requests are far from the limit: MIT's 176 octets are answered with 319. A ticket
   may be longer: it costs the sender a proof, and a captured proof is worth one minute.
2. Each /24 and each /56 has a budget of octets per second, over all workers. While its last part
   remains, requests are not even read but answered with the short RESPONSE_TOO_BIG; when that is
   spent too, with silence.
So nothing passes the budget, and honest clients behind a busy address are told to use TCP while
there are octets to tell them. In silence they turn to TCP by themselves: measured, MIT 1.20 after a
second, Heimdal 7.8 after twenty; Windows uses TCP from the start.

Theory of operation. One 64-bit word for each slot of networks: the time at which its bucket will be
full again. A bucket then needs no timer and no sweeping. Workers read and write the word without a
lock; two that do so in the same microsecond lose one reply from the account, one in some hundred
during a flood.
"""

import mmap
import os
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from kdc.server.sources import SLOTS, SourceSlots

MAX_AMPLIFICATION: Final = 3
"""Octets of a KRB-ERROR for each octet of an unproven request (row W05)."""

BURST_S: Final = 4
"""The bucket holds so many seconds of the budget: a shift that begins work, or a cluster's job."""

RESERVED_SHARE: Final = 8
"""The last eighth of the bucket is kept for RESPONSE_TOO_BIG."""

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
"""No packet from the network has such a source."""

_IPV4_BITS: Final = 24
_IPV6_BITS: Final = 56
_WORD_BYTES: Final = 8


class Allowance(Enum):
    """What a network may be sent now."""

    ANY = "any reply"
    SHORT = "only that it must use TCP"
    NOTHING = "nothing"


class ReplyBudgetTable:
    """The shared words of all networks. Made before the workers, in anonymous shared memory."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, SLOTS * _WORD_BYTES)
        self._key = os.urandom(16)

    def for_worker(
        self,
        octets_per_second: int,
        *,
        exempt: tuple[str, ...] = (),
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> "ReplyBudget":
        """Return one worker's view.

        octets_per_second: 0 for no budget. exempt: networks beside loopback. Raises ValueError.
        """
        words = memoryview(self._map).cast("q")
        slots = SourceSlots(self._key, ipv4_bits=_IPV4_BITS, ipv6_bits=_IPV6_BITS, exempt=exempt)
        return ReplyBudget(words, slots, octets_per_second, clock)


class ReplyBudget:
    """One worker's way to ask for octets and to account for them."""

    __slots__ = ("_clock", "_full_ns", "_ns_per_octet", "_reserve_ns", "_words", "slot")

    def __init__(
        self,
        words: memoryview,
        slots: SourceSlots,
        octets_per_second: int,
        clock: Callable[[], int],
    ) -> None:
        self._words = words
        self._clock = clock
        self._ns_per_octet = 1_000_000_000 / octets_per_second if octets_per_second else 0.0
        self._full_ns = BURST_S * 1_000_000_000
        self._reserve_ns = self._full_ns - self._full_ns // RESERVED_SHARE
        self.slot = slots.find
        """Address in text form -> slot of its network, or None when no rule applies to it."""

    def allowance(self, slot: int) -> Allowance:
        """Return what the network in a slot may be sent now."""
        missing_ns = self._words[slot] - self._clock()
        if missing_ns < self._reserve_ns:
            return Allowance.ANY
        return Allowance.SHORT if missing_ns < self._full_ns else Allowance.NOTHING

    def charge(self, slot: int, octets: int) -> None:
        """Account for octets sent; one reply may overdraw the bucket, which the next ones repay."""
        if self._ns_per_octet:
            start = max(self._words[slot], self._clock())
            self._words[slot] = start + int(octets * self._ns_per_octet)
