"""The envelope of a PAC (MS-PAC 2.3), to be broken and signed again."""

import hashlib
import struct
import zlib

from tests.negative.wire import crypto

LOGON_INFO, SERVER, KDC, TICKET, REQUESTOR, FULL = 1, 6, 7, 16, 18, 19
_INFO = struct.Struct("<IIQ")


def table(pac: bytes) -> dict[int, tuple[int, int]]:
    """Return type -> (offset, size)."""
    count = struct.unpack_from("<I", pac)[0]
    rows = (_INFO.unpack_from(pac, 8 + 16 * number) for number in range(count))
    return {kind: (offset, size) for kind, size, offset in rows}


def buffer(pac: bytes, kind: int) -> bytes:
    """Return one buffer."""
    offset, size = table(pac)[kind]
    return pac[offset : offset + size]


def put(pac: bytes, kind: int, value: bytes, *, at: int = 0) -> bytes:
    """Write octets over a part of a buffer."""
    start = table(pac)[kind][0] + at
    return pac[:start] + value + pac[start + len(value) :]


def renamed(pac: bytes, kind: int, other: int = 9999) -> bytes:
    """Give a buffer another type: nobody reads it any more."""
    at = 8 + 16 * list(table(pac)).index(kind)
    return pac[:at] + struct.pack("<I", other) + pac[at + 4 :]


def unkeyed(cksumtype: int, data: bytes) -> bytes:
    """Make a checksum that needs no key: CRC-32 (1), MD5 (7) or SHA-1 (others)."""
    if cksumtype == 1:
        return zlib.crc32(data).to_bytes(4, "little")
    name = "md5" if cksumtype in (2, 3, 7, 8) else "sha1"
    return hashlib.new(name, data, usedforsecurity=False).digest()


def signed(
    pac: bytes,
    etype: int,
    server_key: bytes,
    kdc_key: tuple[int, bytes] | None = None,
) -> bytes:
    """Make the server's signature anew and, with the key of krbtgt, the KDC's."""
    zeroed = pac
    for kind in (SERVER, KDC):
        if kind in table(pac):
            zeroed = put(zeroed, kind, bytes(table(pac)[kind][1] - 4), at=4)
    if SERVER not in table(pac):
        return pac
    server = crypto.checksum(etype, server_key, crypto.USAGE_PAC, zeroed)
    pac = put(pac, SERVER, server, at=4)
    if kdc_key is not None and KDC in table(pac):
        made = crypto.checksum(kdc_key[0], kdc_key[1], crypto.USAGE_PAC, server)
        pac = put(pac, KDC, made, at=4)
    return pac


def signed_without_a_key(pac: bytes, cksumtype: int) -> bytes:
    """Sign as MS14-068 did: both signatures of a type that needs no key."""
    for kind in (SERVER, KDC):
        size = table(pac)[kind][1]
        pac = put(pac, kind, struct.pack("<i", cksumtype) + bytes(size - 4))
    server = unkeyed(cksumtype, pac)[: table(pac)[SERVER][1] - 4]
    pac = put(pac, SERVER, server, at=4)
    return put(pac, KDC, unkeyed(cksumtype, server)[: table(pac)[KDC][1] - 4], at=4)
