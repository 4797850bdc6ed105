"""A TGT that was opened, and a worker's memory of those it opened lately."""

from dataclasses import dataclass

from directory.model import ReadOnlyDc, Sid
from kdc.crypto.etypes import ProtocolKey
from kdc.pac import Carried, PacFacts
from kdc.wire.rfc4120 import AuthorizationDataElement, EncTicketPart

MAX_OPEN_TGTS = 1024  # about 7 KiB each


@dataclass(slots=True, kw_only=True)
class OpenTgt:
    """A TGT that a living krbtgt key sealed: ours, or a read-only DC's (a partial TGT).

    Only `kdc.exchange.tgt` makes one.
    """

    part: EncTicketPart
    session_key: ProtocolKey
    sealing_key: ProtocolKey
    """The key of krbtgt it is sealed with; its PAC is signed with the same one."""
    read_only_dc: ReadOnlyDc | None = None
    """Whose krbtgt sealed it; None: our own."""
    others: tuple[AuthorizationDataElement, ...] | None = None
    """Its authorization data without the PAC; None: neither was looked at yet."""
    requestor: Sid | None = None
    carried: Carried | None = None
    """What a new ticket takes over from its PAC, whose signatures are right; None: it has none."""
    facts: PacFacts | None = None
    """What the last ticket's PAC said; good as long as account and groups are the same objects.
    Several requests share it: what says something else is made with `dataclasses.replace`."""
    delegable: bool = False
    """Whether the account of `facts` may be delegated."""


class OpenTgts:
    """What is in the TGTs that were shown lately, for a client asks for many tickets with one.

    All that is kept is a function of the ticket's octets and the krbtgt key. What depends on the
    time, the configuration or the account is judged for each request.
    Owner: the worker. Bound: MAX_OPEN_TGTS; a full memory starts anew.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, OpenTgt] = {}

    def get(self, cipher: bytes, sealing_key: ProtocolKey) -> OpenTgt | None:
        """Return the TGT with this ciphertext, if this very key opened it."""
        tgt = self._kept.get(cipher)
        return tgt if tgt is not None and tgt.sealing_key is sealing_key else None

    def keep(self, cipher: bytes, tgt: OpenTgt) -> None:
        """Keep a TGT."""
        if len(self._kept) >= MAX_OPEN_TGTS:
            self._kept.clear()
        self._kept[cipher] = tgt
