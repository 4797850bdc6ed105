"""Building a PAC from what the directory says now (MS-PAC 2.3, MS-KILE 3.3.5.6.4).

Rules
  1. The account, its groups and the domain are read for every ticket. What may come from an
     earlier PAC is in `read.Carried`, and nothing else.
  2. A TGT holds what its next use needs (ATTRIBUTES, REQUESTOR) and the credential of a PKINIT
     logon; a service ticket holds none of these, but the ticket and the full signature.
  3. Order: facts first, signatures last, as Windows does. Each buffer starts at a multiple of 8.
     None is empty, so a PAC never ends in an empty buffer, which Windows refuses.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from directory.model import Account, Domain, Sid
from kdc.crypto.etypes import ProtocolKey
from kdc.pac.buffers import (
    AUTHENTICATION_AUTHORITY_ASSERTED,
    PAC_WAS_GIVEN_IMPLICITLY,
    DelegationInfo,
    PacType,
    encode_attributes_info,
    encode_client_info,
    encode_delegation_info,
    encode_logon_info,
    encode_upn_dns_info,
)
from kdc.pac.signatures import TYPE_BYTES, empty_signature, make_signature

_PADDING = tuple(map(bytes, range(8)))


@lru_cache(maxsize=32)
def _pac_type(count: int) -> struct.Struct:
    """Return PACTYPE's head: cBuffers, Version; of each buffer ulType, cbBufferSize, Offset."""
    return struct.Struct("<II" + "IIQ" * count)


@dataclass(slots=True, kw_only=True)
class PacFacts:
    """Everything that is said about a client in a PAC. Treated as frozen."""

    account: Account
    """The client; its SID must be in `domain`."""
    domain: Domain
    groups: tuple[Sid, ...]
    """Flattened, the primary group among them: `Directory.groups_of`."""
    logon_time: datetime
    """When the client proved itself: the authtime of ticket and TGT."""
    name: str
    """The client's name in the ticket, without a realm."""
    extra_sids: tuple[Sid, ...] = (AUTHENTICATION_AUTHORITY_ASSERTED,)
    """S-1-18-x: how the client proved itself."""
    pac_attributes: int = PAC_WAS_GIVEN_IMPLICITLY
    credential_info: bytes | None = None
    """From `seal_credential_info`; for the TGT of a PKINIT logon."""
    delegation: DelegationInfo | None = None
    logon_server: str = "KDC"
    """NetBIOS name of a server of the domain."""
    service_buffers: list[tuple[PacType, bytes]] | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """What `service_pac` made of it, kept for the next ticket got with the same TGT."""


def tgt_pac(facts: PacFacts, krbtgt_key: ProtocolKey) -> bytes:
    """Build the PAC of a TGT: server and KDC signature by the krbtgt key.

    krbtgt_key: the one that encrypts the TGT.
    """
    sid = facts.account.sid
    buffers = [(PacType.LOGON_INFO, _logon_info(facts))]
    if facts.credential_info is not None:
        buffers.append((PacType.CREDENTIAL_INFO, facts.credential_info))
    buffers += _names(facts)
    buffers += (
        (PacType.ATTRIBUTES_INFO, encode_attributes_info(facts.pac_attributes)),
        (PacType.REQUESTOR, b"" if sid is None else sid.to_bytes()),
        (PacType.SERVER_CHECKSUM, empty_signature(krbtgt_key)),
        (PacType.KDC_CHECKSUM, empty_signature(krbtgt_key)),
    )
    pac, places = assemble(buffers)
    server = make_signature(krbtgt_key, bytes(pac))
    put_signature(pac, places[-2], server)
    put_signature(pac, places[-1], make_signature(krbtgt_key, server))
    return bytes(pac)


def service_pac(
    facts: PacFacts,
    service_key: ProtocolKey,
    krbtgt_key: ProtocolKey,
    enc_ticket_part_with_placeholder: bytes,
) -> bytes:
    """Build the PAC of a service ticket: four signatures, the server's by the service's key.

    enc_ticket_part_with_placeholder: DER of the EncTicketPart, final in every field, with
    `wrap_if_relevant(PLACEHOLDER)` where the PAC will be: the ticket signature covers it.
    ATTRIBUTES, REQUESTOR and CREDENTIAL_INFO are left out. Whether a PAC belongs into the ticket
    at all is the caller's to decide: not when the TGT's attributes are 0.
    """
    facts_buffers = facts.service_buffers
    if facts_buffers is None:
        facts_buffers = [(PacType.LOGON_INFO, _logon_info(facts)), *_names(facts)]
        facts.service_buffers = facts_buffers
    krbtgt_signature = empty_signature(krbtgt_key)
    pac, places = assemble(
        [
            *facts_buffers,
            (PacType.SERVER_CHECKSUM, empty_signature(service_key)),
            (PacType.KDC_CHECKSUM, krbtgt_signature),
            (PacType.TICKET_CHECKSUM, krbtgt_signature),
            (PacType.FULL_CHECKSUM, krbtgt_signature),
        ]
    )
    server_at, kdc_at, ticket_at, full_at = places[-4:]
    put_signature(pac, ticket_at, make_signature(krbtgt_key, enc_ticket_part_with_placeholder))
    put_signature(pac, full_at, make_signature(krbtgt_key, bytes(pac)))
    server = make_signature(service_key, bytes(pac))
    put_signature(pac, server_at, server)
    put_signature(pac, kdc_at, make_signature(krbtgt_key, server))
    return bytes(pac)


def _logon_info(facts: PacFacts) -> bytes:
    return encode_logon_info(
        facts.account,
        facts.domain,
        facts.groups,
        facts.extra_sids,
        facts.logon_time,
        facts.logon_server,
    )


def _names(facts: PacFacts) -> list[tuple[PacType, bytes]]:
    buffers = [
        (PacType.CLIENT_INFO, encode_client_info(facts.logon_time, facts.name)),
        (PacType.UPN_DNS_INFO, encode_upn_dns_info(facts.account, facts.domain)),
    ]
    if facts.delegation is not None:
        buffers.insert(1, (PacType.DELEGATION_INFO, encode_delegation_info(facts.delegation)))
    return buffers


def assemble(buffers: Sequence[tuple[PacType, bytes]]) -> tuple[bytearray, list[int]]:
    """Lay out PACTYPE; also return where each buffer starts."""
    count = len(buffers)
    pac_type = _pac_type(count)
    offset = pac_type.size
    fields: list[int] = []
    body = b""
    places = []
    for kind, data in buffers:
        size = len(data)
        fields += (kind, size, offset)
        places.append(offset)
        body += data + _PADDING[-size % 8]
        offset += size + -size % 8
    return bytearray(pac_type.pack(count, 0, *fields) + body), places


def put_signature(pac: bytearray, place: int, signature: bytes) -> None:
    """Write a signature's value into its buffer."""
    start = place + TYPE_BYTES
    pac[start : start + len(signature)] = signature
