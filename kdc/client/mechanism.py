"""What the AS exchange asks of a way of proving who the client is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from kdc.crypto.etypes import ProtocolKey
from kdc.wire.rfc4120 import AsRep, EtypeInfo2Entry, KdcReqBody, KrbError, PaData

Entropy = Callable[[int], bytes]
"""count -> that many random octets."""


@dataclass(slots=True, kw_only=True)
class Hints:
    """What the KDC said in PREAUTH_REQUIRED; not authenticated, so checked where it is used."""

    offered: frozenset[int] = frozenset()
    """padata-types it listed."""
    etype_info2: tuple[EtypeInfo2Entry, ...] = ()
    freshness_token: bytes | None = None
    cookie: bytes | None = None
    """To be sent back as it is (RFC 6113 5.2)."""
    armor_key: ProtocolKey | None = field(default=None, repr=False)
    """Set inside a FAST tunnel; our own, not the KDC's."""


@dataclass(slots=True, kw_only=True)
class SentRequest:
    """The AS-REQ that an answer belongs to."""

    body: KdcReqBody
    message: bytes = field(repr=False)
    """The whole AS-REQ: an input of the RFC 8636 KDF."""


class Mechanism(Protocol):
    """A pre-authentication mechanism, with the state of one exchange."""

    @property
    def name(self) -> str:
        """`pkinit` or `password`, for people."""

    @property
    def pa_type(self) -> int:
        """The padata-type it sends."""

    @property
    def asks_first(self) -> bool:
        """Whether it needs the KDC's hints before it can prove anything."""

    def first_padata(self) -> tuple[PaData, ...]:
        """Return what the request without a proof carries."""

    def proof(
        self, body: KdcReqBody, hints: Hints, now: datetime, entropy: Entropy
    ) -> tuple[PaData, ...]:
        """Return the padata that prove the client's identity for this request body."""

    def retry(self, error: KrbError) -> bool:
        """Adapt to a refusal; False when there is nothing to adapt."""

    def reply_key(
        self, sent: SentRequest, reply: AsRep, hints: Hints, now: datetime
    ) -> ProtocolKey:
        """Return the key that opens the reply, after checking all that the KDC must prove."""

    def facts(self) -> Mapping[str, object]:
        """Say how the exchange went, for people and --json."""
