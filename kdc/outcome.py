"""What goes into the core and what comes out of it."""

from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["udp", "tcp", "kkdcp"]
Service = Literal["kdc", "kpasswd"]


@dataclass(slots=True, kw_only=True)
class Peer:
    """Where a request came from."""

    address: str
    """IP address in text form, without a port or a zone."""
    port: int
    transport: Transport
    service: Service = "kdc"
    """Which of our ports it came to: what a message is cannot be told from its octets."""
    local: str = ""
    """The address it was sent to, where a reply names that (kpasswd); "" when unknown."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Everything one request led to: the reply, and what the audit record says about it."""

    reply: bytes | None
    """The whole reply message without framing; None: send nothing."""
    exchange: str
    """"AS", "TGS", "kpasswd" or "" when the message was not understood that far."""
    code: int
    """KRB-ERROR code; 0 when a ticket was issued."""
    why: str
    """One fixed phrase: the first cause of a refusal; "" when a ticket was issued."""
    reference: str
    """The short reference of a refusal, also in the e-text (`7K3M`); "" otherwise."""
    facts: dict[str, object] = field(default_factory=dict)
    """Values for the audit record. Client-controlled ones are escaped by the writer."""
