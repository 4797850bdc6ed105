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
from kdc.crypto.etypes import CHECKSUM_BYTES, EncType, ProtocolKey
from kdc.pac.buffers import (
    AUTHENTICATION_AUTHORITY_ASSERTED,
    FILETIME_BYTES,
    LOGON_TIME_AT,
    PAC_WAS_GIVEN_IMPLICITLY,
    DelegationInfo,
    PacType,
    encode_attributes_info,
    encode_client_info,
    encode_delegation_info,
    encode_filetime,
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
class ServiceFrame:
    """The PAC of a service ticket, cut where its four signatures belong."""

    service_etype: int
    krbtgt_etype: int
    pieces: list[bytes]


@dataclass(slots=True, kw_only=True)
class PacFacts:
    """Everything that is said about a client in a PAC. Treated as frozen.

    A new field is one more thing for `TgtFrame.says` to compare.
    """

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
    service_frame: ServiceFrame | None = field(default=None, init=False, repr=False, compare=False)
    """What `service_pac` made of it, kept for the next ticket got with the same TGT."""


@dataclass(slots=True, kw_only=True)
class TgtFrame:
    """The PAC of a TGT, and all it was made of but time and credential.

    It is cut where these belong: logon time, credential, logon time again, two signatures.
    """

    account: Account
    domain: Domain
    groups: tuple[Sid, ...]
    name: str
    extra_sids: tuple[Sid, ...]
    pac_attributes: int
    logon_server: str
    krbtgt_etype: int
    credential_bytes: int
    """0: without a credential."""
    pieces: list[bytes]
    weight: int
    """Octets, roughly, with the account that it holds."""

    def says(self, facts: PacFacts, krbtgt_etype: int) -> bool:
        """Tell whether these facts give the same PAC, but for time and credential.

        Account, groups and domain must be the very objects: the store gives the same ones until a
        change is committed.
        """
        return (
            self.account is facts.account
            and self.groups is facts.groups
            and self.domain is facts.domain
            and self.name == facts.name
            and self.extra_sids == facts.extra_sids
            and self.pac_attributes == facts.pac_attributes
            and self.logon_server == facts.logon_server
            and self.krbtgt_etype == krbtgt_etype
            and self.credential_bytes == len(facts.credential_info or b"")
        )


MAX_TGT_FRAMES = 4096  # one costs about 1.5 KiB
MAX_TGT_FRAMES_WEIGHT = 32 * 1024 * 1024  # octets; an account may hold megabytes of key credentials
_HELD_BYTES = 3000  # of an account, and of each of its key credentials beside its text


class TgtFrames:
    """PACs of accounts that logged on lately: two logons differ in time, credential and signatures.

    A frame holds its account after the store has dropped it, so its weight counts as well.
    Owner: the worker. Bound: MAX_TGT_FRAMES, one for each account, and MAX_TGT_FRAMES_WEIGHT of
    them together; a full memory starts anew.
    """

    def __init__(self) -> None:
        self._kept: dict[int, TgtFrame] = {}
        self._weight = 0

    def get(self, facts: PacFacts, krbtgt_etype: EncType) -> TgtFrame:
        """Return the frame of these facts: the kept one, if it says the same."""
        if facts.delegation is not None:  # rare, and `says` does not compare it
            return _tgt_frame(facts, krbtgt_etype)
        account_id = facts.account.account_id
        frame = self._kept.get(account_id)
        if frame is None or not frame.says(facts, krbtgt_etype):
            frame = _tgt_frame(facts, krbtgt_etype)
            self._keep(account_id, frame)
        return frame

    def _keep(self, account_id: int, frame: TgtFrame) -> None:
        before = self._kept.pop(account_id, None)
        if before is not None:
            self._weight -= before.weight
        weight = self._weight + frame.weight
        if len(self._kept) >= MAX_TGT_FRAMES or weight > MAX_TGT_FRAMES_WEIGHT:
            self._kept.clear()
            weight = frame.weight
        self._kept[account_id] = frame
        self._weight = weight


def tgt_pac(facts: PacFacts, krbtgt_key: ProtocolKey, frames: TgtFrames | None = None) -> bytes:
    """Build the PAC of a TGT: server and KDC signature by the krbtgt key.

    krbtgt_key: the one that encrypts the TGT. frames: what is remembered from logon to logon.
    """
    etype = krbtgt_key.enctype
    frame = _tgt_frame(facts, etype) if frames is None else frames.get(facts, etype)
    head, to_credential, to_time, to_server, to_kdc, end = frame.pieces
    time, credential = encode_filetime(facts.logon_time), facts.credential_info or b""
    body = b"".join((head, time, to_credential, credential, to_time, time, to_server))
    zeros = bytes(CHECKSUM_BYTES[etype])
    server = make_signature(krbtgt_key, b"".join((body, zeros, to_kdc, zeros, end)))
    return b"".join((body, server, to_kdc, make_signature(krbtgt_key, server), end))


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
    service_etype, krbtgt_etype = service_key.enctype, krbtgt_key.enctype
    frame = facts.service_frame
    if frame is None or frame.service_etype != service_etype or frame.krbtgt_etype != krbtgt_etype:
        frame = facts.service_frame = _service_frame(facts, service_etype, krbtgt_etype)
    body, to_kdc, to_ticket, to_full, end = frame.pieces
    zeros, kdc_zeros = bytes(CHECKSUM_BYTES[service_etype]), bytes(CHECKSUM_BYTES[krbtgt_etype])
    ticket = make_signature(krbtgt_key, enc_ticket_part_with_placeholder)
    unsigned = b"".join((body, zeros, to_kdc, kdc_zeros, to_ticket, ticket, to_full))
    full = make_signature(krbtgt_key, unsigned + kdc_zeros + end)
    server = make_signature(service_key, unsigned + full + end)
    kdc = make_signature(krbtgt_key, server)
    return b"".join((body, server, to_kdc, kdc, to_ticket, ticket, to_full, full, end))


def _tgt_frame(facts: PacFacts, krbtgt_etype: EncType) -> TgtFrame:
    account, sid = facts.account, facts.account.sid
    credential = facts.credential_info or b""
    buffers = [(PacType.LOGON_INFO, _logon_info(facts))]
    if credential:
        buffers.append((PacType.CREDENTIAL_INFO, credential))
    client_info = len(buffers)
    buffers += _names(facts)
    buffers += (
        (PacType.ATTRIBUTES_INFO, encode_attributes_info(facts.pac_attributes)),
        (PacType.REQUESTOR, b"" if sid is None else sid.to_bytes()),
        (PacType.SERVER_CHECKSUM, empty_signature(krbtgt_etype)),
        (PacType.KDC_CHECKSUM, empty_signature(krbtgt_etype)),
    )
    pac, places = assemble(buffers)
    size = CHECKSUM_BYTES[krbtgt_etype]
    pieces = _cut(
        bytes(pac),
        (places[0] + LOGON_TIME_AT, FILETIME_BYTES),
        (places[1], len(credential)),
        (places[client_info], FILETIME_BYTES),
        (places[-2] + TYPE_BYTES, size),
        (places[-1] + TYPE_BYTES, size),
    )
    return TgtFrame(
        account=account,
        domain=facts.domain,
        groups=facts.groups,
        name=facts.name,
        extra_sids=facts.extra_sids,
        pac_attributes=facts.pac_attributes,
        logon_server=facts.logon_server,
        krbtgt_etype=krbtgt_etype,
        credential_bytes=len(credential),
        pieces=pieces,
        weight=_weight(account, facts.groups, len(pac)),
    )


def _weight(account: Account, groups: tuple[Sid, ...], pac_bytes: int) -> int:
    weight = _HELD_BYTES + 8 * len(groups) + pac_bytes
    for credential in account.key_credentials:
        weight += _HELD_BYTES + 2 * len(credential.text)
    return weight


def _service_frame(facts: PacFacts, service_etype: EncType, krbtgt_etype: EncType) -> ServiceFrame:
    krbtgt_signature = empty_signature(krbtgt_etype)
    pac, places = assemble(
        [
            (PacType.LOGON_INFO, _logon_info(facts)),
            *_names(facts),
            (PacType.SERVER_CHECKSUM, empty_signature(service_etype)),
            (PacType.KDC_CHECKSUM, krbtgt_signature),
            (PacType.TICKET_CHECKSUM, krbtgt_signature),
            (PacType.FULL_CHECKSUM, krbtgt_signature),
        ]
    )
    sizes = (CHECKSUM_BYTES[service_etype], *(3 * (CHECKSUM_BYTES[krbtgt_etype],)))
    values = [(at + TYPE_BYTES, size) for at, size in zip(places[-4:], sizes, strict=True)]
    return ServiceFrame(
        service_etype=service_etype, krbtgt_etype=krbtgt_etype, pieces=_cut(bytes(pac), *values)
    )


def _cut(octets: bytes, *holes: tuple[int, int]) -> list[bytes]:
    """Return what lies before, between and after some ranges, each given by start and size."""
    pieces = []
    done = 0
    for start, size in holes:
        pieces.append(octets[done:start])
        done = start + size
    return [*pieces, octets[done:]]


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
