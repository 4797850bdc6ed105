"""MD4 (RFC 1320), and the NT hash made with it.

Broken as a hash for thirty years. It exists here because an NT hash is MD4 by definition (MS-NLMP
3.3.1), and OpenSSL 3 no longer offers it. Nothing but `nt_hash` may use it.
"""

import struct

_MASK = 0xFFFFFFFF
_BLOCK = struct.Struct("<16I")
_STATE = struct.Struct("<4I")
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)

# Each round: its constant, the order of the 16 words, and the four shifts (RFC 1320 section 3.4).
_ROUNDS = (
    (0x00000000, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)


def _mix(number: int, x: int, y: int, z: int) -> int:
    """Apply the function F, G or H of a round."""
    if number == 0:
        return (x & y) | (~x & z)
    if number == 1:
        return (x & y) | (x & z) | (y & z)
    return x ^ y ^ z


def md4(data: bytes) -> bytes:
    """Return the MD4 digest, 16 octets."""
    padding = b"\x80" + bytes((55 - len(data)) % 64) + (8 * len(data)).to_bytes(8, "little")
    state = _START
    for words in _BLOCK.iter_unpack(data + padding):
        a, b, c, d = state
        for number, (constant, order, shifts) in enumerate(_ROUNDS):
            for step, word in enumerate(order):
                mixed = (a + _mix(number, b, c, d) + words[word] + constant) & _MASK
                shift = shifts[step % 4]
                turned = (mixed << shift | mixed >> (32 - shift)) & _MASK
                a, b, c, d = d, turned, b, c
        state = (
            (state[0] + a) & _MASK,
            (state[1] + b) & _MASK,
            (state[2] + c) & _MASK,
            (state[3] + d) & _MASK,
        )
    return _STATE.pack(*state)


def nt_hash(password: str) -> bytes:
    """Return the NT hash of a password (MS-NLMP 3.3.1): MD4 of its UTF-16LE."""
    return md4(password.encode("utf-16-le", "surrogatepass"))
