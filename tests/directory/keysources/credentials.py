"""Write supplementalCredentials as MS-SAMR 2.2.10 describes it, with none of our own reader."""

import struct
from collections.abc import Sequence

Key = tuple[int, bytes]
"""Etype and key."""

NEWER_KEYS = "Primary:Kerberos-Newer-Keys"


def stored(salt: str, *generations: Sequence[Key], iterations: int = 4096) -> bytes:
    """Write KERB_STORED_CREDENTIAL_NEW (2.2.10.6): current, old and older keys."""
    current, old, older = (*generations, (), (), ())[:3]
    keys = (*current, *old, *older)
    octets = salt.encode("utf-16-le")
    at = 24 + 24 * len(keys)
    out = struct.pack(
        "<8H2I",
        *(4, 0, len(current), 0, len(old), len(older)),
        *(len(octets), len(octets), at, iterations),
    )
    start = at + len(octets)
    for etype, key in keys:
        out += struct.pack("<HHIIIII", 0, 0, 0, iterations, etype, len(key), start)
        start += len(key)
    return out + octets + b"".join(key for _, key in keys)


def properties(*named: tuple[str, bytes], signature: int = 0x50) -> bytes:
    """Write USER_PROPERTIES (2.2.10.1)."""
    body = b""
    for name, value in named:
        text, digits = name.encode("utf-16-le"), value.hex().encode()
        body += struct.pack("<HHH", len(text), len(digits), 1) + text + digits
    inner = bytes(96) + struct.pack("<H", signature)
    if named:
        inner += struct.pack("<H", len(named)) + body
    return struct.pack("<IIHH", 0, len(inner), 0, 0) + inner + b"\0"
