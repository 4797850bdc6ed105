"""Reading a PAC that came back in a ticket: structure, then signatures, then contents.

Rules
  1. `Pac` means that the structure is sound, `VerifiedPac` that every signature is right. Only
     the second has contents.
  2. Nothing is read past its end, nothing allocated for a count that the octets do not bear out
     (CVE-2022-42898, row T18), and no octet of the envelope has two meanings: a type occurs once,
     buffers do not overlap.
  3. What a new ticket may take from it is `Carried`. Groups, names and account fields are read
     from the directory again.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from directory.model import Sid
from kdc.crypto.etypes import CHECKSUM_TYPES, ProtocolKey
from kdc.pac.buffers import (
    ClientInfo,
    DelegationInfo,
    LogonInfo,
    PacType,
    decode_attributes_info,
    decode_client_info,
    decode_delegation_info,
    decode_logon_info,
    decode_requestor,
)
from kdc.pac.faults import PacError, PacFault, malformed
from kdc.pac.signatures import TYPE_BYTES, signature_value, verify_signature

MAX_PAC_BYTES = 64 * 1024  # 1,000 groups and as many extra SIDs take 44 KiB
MAX_BUFFERS = 32  # nineteen types are known
ASSERTED_AUTHORITY = 18  # S-1-18-x (MS-DTYP 2.4.2.4)
MAX_ASSERTED_SIDS = 8  # six are known

_HEADER = struct.Struct("<II")
_INFO = struct.Struct("<IIQ")


@dataclass(slots=True, kw_only=True)
class Pac:
    """A PAC of sound structure; nothing in it is proven."""

    raw: bytes = field(repr=False)
    buffers: dict[int, tuple[int, int]]
    """ulType -> (offset, size), in the order of the PAC."""

    def buffer(self, kind: PacType) -> bytes | None:
        """Return a buffer's octets; None when the PAC has none of this type."""
        place = self.buffers.get(kind)
        return None if place is None else self.raw[place[0] : place[0] + place[1]]


def parse_pac(data: bytes) -> Pac:
    """Parse PACTYPE (MS-PAC 2.3) and its table of buffers. Raises PacError(MALFORMED)."""
    size = len(data)
    if not _HEADER.size <= size <= MAX_PAC_BYTES:
        raise malformed("PAC too short or too long")
    count, version = _HEADER.unpack_from(data)
    if version or not 1 <= count <= MAX_BUFFERS:
        raise malformed("version or number of buffers")
    table_end = _HEADER.size + _INFO.size * count
    if table_end > size:
        raise malformed("table of buffers cut off")
    buffers: dict[int, tuple[int, int]] = {}
    for kind, length, offset in _INFO.iter_unpack(data[_HEADER.size : table_end]):
        if offset % 8 or offset < table_end or offset + length > size:
            raise malformed("buffer outside the PAC or not aligned")
        if kind in buffers:
            raise malformed("two buffers of one type")
        buffers[kind] = (offset, length)
    end = table_end
    for offset, length in sorted(buffers.values()):
        if offset < end:
            raise malformed("buffers overlap")
        end = offset + length
    return Pac(raw=data, buffers=buffers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a new ticket may take over from the PAC it is asked for with (design requirement 9)."""

    asserted_sids: tuple[Sid, ...]
    """S-1-18-x: how the client proved itself in the AS exchange."""
    logon_time: datetime | None
    pac_attributes: int | None
    """None: not a TGT's PAC."""
    delegation: DelegationInfo | None


@dataclass(slots=True, kw_only=True)
class VerifiedPac:
    """A PAC whose signatures are ours. Made by `verify_pac` only."""

    logon_info: LogonInfo
    client_info: ClientInfo
    attributes: int | None
    """ATTRIBUTES_INFO; None when there is none (service tickets)."""
    requestor: Sid | None
    """REQUESTOR; None when there is none (service tickets). A TGT without is refused (T02)."""
    delegation: DelegationInfo | None

    @property
    def carried(self) -> Carried:
        """What may be carried over."""
        asserted = tuple(
            sid
            for sid in self.logon_info.extra_sids
            if sid.authority == ASSERTED_AUTHORITY and len(sid.sub_authorities) == 1
        )
        return Carried(
            asserted_sids=tuple(dict.fromkeys(asserted))[:MAX_ASSERTED_SIDS],
            logon_time=self.logon_info.logon_time,
            pac_attributes=self.attributes,
            delegation=self.delegation,
        )


def verify_pac(
    pac: Pac,
    *,
    server_key: ProtocolKey,
    krbtgt_keys: Sequence[ProtocolKey],
    ticket: bytes | None,
) -> VerifiedPac:
    """Verify every signature that the PAC must have, then read it.

    server_key: the key that decrypted the ticket. krbtgt_keys: those that may have made the KDC's
    signatures, most likely first; a PAC does not say of which kvno it is. For a TGT both are the
    krbtgt key of its kvno.
    ticket: None for a TGT. Otherwise `split_ticket(...).signed`: then the ticket and the full
    signature must be there as well, made by the same krbtgt key.
    Raises PacError: MISSING_SIGNATURE, CHECKSUM_TYPE, BAD_SERVER_SIGNATURE, BAD_KDC_SIGNATURE,
    BAD_TICKET_SIGNATURE, BAD_FULL_SIGNATURE, MISSING_BUFFER, MALFORMED.
    Not checked: that the client is the ticket's, and that its account is still the same.
    """
    check_signatures(pac, server_key=server_key, krbtgt_keys=krbtgt_keys, ticket=ticket)
    return _contents(pac)


def check_signatures(
    pac: Pac,
    *,
    server_key: ProtocolKey,
    krbtgt_keys: Sequence[ProtocolKey],
    ticket: bytes | None,
) -> None:
    """Verify every signature that a PAC must have, and read nothing: see `verify_pac`."""
    server = signature_value(_signature(pac, PacType.SERVER_CHECKSUM), server_key)
    zeroed = bytearray(pac.raw)
    _zero(zeroed, pac, PacType.SERVER_CHECKSUM, server)
    kdc_buffer = _signature(pac, PacType.KDC_CHECKSUM)
    krbtgt_key, kdc = _kdc_signer(kdc_buffer, server, krbtgt_keys)
    _zero(zeroed, pac, PacType.KDC_CHECKSUM, kdc)
    verify_signature(server_key, bytes(zeroed), server, PacFault.BAD_SERVER_SIGNATURE)
    if ticket is not None:
        value = signature_value(_signature(pac, PacType.TICKET_CHECKSUM), krbtgt_key)
        verify_signature(krbtgt_key, ticket, value, PacFault.BAD_TICKET_SIGNATURE)
        value = signature_value(_signature(pac, PacType.FULL_CHECKSUM), krbtgt_key)
        _zero(zeroed, pac, PacType.FULL_CHECKSUM, value)
        verify_signature(krbtgt_key, bytes(zeroed), value, PacFault.BAD_FULL_SIGNATURE)


def _signature(pac: Pac, kind: PacType) -> bytes:
    found = pac.buffer(kind)
    if found is None:
        raise PacError(PacFault.MISSING_SIGNATURE, kind.name)
    return found


def _kdc_signer(
    buffer: bytes, server: bytes, keys: Sequence[ProtocolKey]
) -> tuple[ProtocolKey, bytes]:
    """Find the krbtgt key that made the KDC signature; return it and the signature's value."""
    fault = PacFault.CHECKSUM_TYPE
    claimed = int.from_bytes(buffer[:TYPE_BYTES], "little")
    for key in keys:
        if CHECKSUM_TYPES[key.enctype] != claimed:
            continue
        value = signature_value(buffer, key)
        try:
            verify_signature(key, server, value, PacFault.BAD_KDC_SIGNATURE)
        except PacError as error:
            fault = error.fault
        else:
            return key, value
    raise PacError(fault)


def _zero(raw: bytearray, pac: Pac, kind: PacType, value: bytes) -> None:
    start = pac.buffers[kind][0] + TYPE_BYTES
    raw[start : start + len(value)] = bytes(len(value))


def _contents(pac: Pac) -> VerifiedPac:
    logon_info = pac.buffer(PacType.LOGON_INFO)
    client_info = pac.buffer(PacType.CLIENT_INFO)
    if logon_info is None or client_info is None:
        raise PacError(PacFault.MISSING_BUFFER, "LOGON_INFO or CLIENT_INFO")
    attributes = pac.buffer(PacType.ATTRIBUTES_INFO)
    requestor = pac.buffer(PacType.REQUESTOR)
    delegation = pac.buffer(PacType.DELEGATION_INFO)
    return VerifiedPac(
        logon_info=decode_logon_info(logon_info),
        client_info=decode_client_info(client_info),
        attributes=None if attributes is None else decode_attributes_info(attributes),
        requestor=None if requestor is None else decode_requestor(requestor),
        delegation=None if delegation is None else decode_delegation_info(delegation),
    )
