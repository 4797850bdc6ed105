"""PAC signatures (MS-PAC 2.8): server, KDC, ticket and full.

Rules
  1. A signature's type is the one its key has; what the PAC says is compared with that, never
     obeyed. So a PAC "signed" with an unkeyed checksum or another key's type does not verify
     (MS14-068; row T06).
  2. All four use key usage 17 (KERB_NON_KERB_CKSUM_SALT).
  3. What each covers. Ticket: EncTicketPart with one zero octet in place of the PAC. Full: the
     whole PAC with the values of server, KDC and full signature zeroed. Server: the whole PAC with
     the values of server and KDC signature zeroed, so it covers the other two. KDC: the value of
     the server signature.
"""

import struct

from kdc.crypto.etypes import (
    CHECKSUM_BYTES,
    CHECKSUM_TYPES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    make_checksum,
    verify_checksum,
)
from kdc.pac.faults import PacError, PacFault, malformed

USAGE = KeyUsage.KERB_NON_KERB_CKSUM_SALT
TYPE_BYTES = 4
RODC_IDENTIFIER_BYTES = 2  # an optional RODCIdentifier follows the value

_TYPE = struct.Struct("<I")


def empty_signature(enctype: EncType) -> bytes:
    """Return PAC_SIGNATURE_DATA of a key of this type, with a value of zeros."""
    return _TYPE.pack(CHECKSUM_TYPES[enctype]) + bytes(CHECKSUM_BYTES[enctype])


def make_signature(key: ProtocolKey, data: bytes) -> bytes:
    """Return the value of a PAC signature over `data`."""
    return make_checksum(key, USAGE, data)


def signature_value(buffer: bytes, key: ProtocolKey) -> bytes:
    """Return the value in a PAC_SIGNATURE_DATA that claims to be made with a key of this type.

    Raises PacError: CHECKSUM_TYPE, MALFORMED.
    """
    if len(buffer) < TYPE_BYTES:
        raise malformed("signature cut off")
    if _TYPE.unpack_from(buffer)[0] != CHECKSUM_TYPES[key.enctype]:
        raise PacError(PacFault.CHECKSUM_TYPE)
    size = CHECKSUM_BYTES[key.enctype]
    if len(buffer) - TYPE_BYTES not in (size, size + RODC_IDENTIFIER_BYTES):
        raise malformed("signature of the wrong length")
    return buffer[TYPE_BYTES : TYPE_BYTES + size]


def rodc_identifier(buffer: bytes, value: bytes) -> int | None:
    """Return the RODCIdentifier after a signature's value; None: there is none (MS-PAC 2.8)."""
    rest = buffer[TYPE_BYTES + len(value) :]
    return int.from_bytes(rest, "little") if rest else None


def verify_signature(key: ProtocolKey, data: bytes, value: bytes, fault: PacFault) -> None:
    """Verify a signature's value over `data`. Raises PacError(fault)."""
    try:
        verify_checksum(key, USAGE, data, value)
    except CryptoError:
        raise PacError(fault) from None
