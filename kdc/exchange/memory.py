"""What the exchanges ask of the replay memory and the retransmit memory.

Theory of operation. A request passes three questions, cheapest first:

1. `RetransmitMemory.lookup(SHA-256 of the whole packet)`: seen less than a minute ago? Then the
   same reply goes out again, whatever the port, the transport or the worker (RFC 4120 3.1.2).
2. `ctime < ReplayMemory.oldest_acceptable(now)`? Then the memory cannot tell whether it has seen
   the request (it overflowed, or was lost): KRB_AP_ERR_SKEW.
3. `ReplayMemory.seen(...)` before the dear checks; `ReplayMemory.remember(...)` when the request is
   proven genuine, then `RetransmitMemory.store(...)` at once.

Only `remember` decides. A worker can die between remembering a request and storing its reply, and
two workers can hold the same packet at the same moment; in both cases the identical packet still
deserves a reply, never KRB_AP_ERR_REPEAT. That is why `remember` also takes the digest of the
packet: the same proof in the same packet, within the retransmit window, counts as new.
"""

from datetime import datetime
from typing import Protocol


class ReplayMemory(Protocol):
    """Which AuthPacks and authenticators were used already, over all workers and restarts."""

    def seen(self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b"") -> bool:
        """Tell whether `remember` would refuse, without remembering anything."""
        ...

    def remember(
        self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b""
    ) -> bool:
        """Remember a proof and return True, or return False when it is a replay.

        digest: SHA-256 of the signed eContent and the signer's key, or of the authenticator.
        ctime: the time inside the proof; it tells how long the proof must be remembered.
        packet: SHA-256 of the whole packet; the same packet within a minute is no replay.
        Returns False as well for a ctime before `oldest_acceptable`: it cannot be proven new.
        """
        ...

    def oldest_acceptable(self, now: datetime) -> datetime:
        """Return the ctime before which a request must be refused with KRB_AP_ERR_SKEW."""
        ...


class RetransmitMemory(Protocol):
    """The replies of the last minute, by the digest of the packet they answered."""

    def lookup(self, digest: bytes, now: datetime) -> bytes | None:
        """Return the reply already given to this packet, or None.

        digest: SHA-256 of the whole packet as received, without framing.
        """
        ...

    def store(self, digest: bytes, reply: bytes, now: datetime) -> None:
        """Keep a reply for the retransmit window; a reply too large to keep is not kept."""
        ...
