"""NIST SP 800-108r1 section 4.1: key derivation in counter mode, with HMAC-SHA-256."""

import hashlib
import hmac

_HASH_BYTES = 32
MAX_BLOCKS = 255  # far more than any key needs


def counter_mode(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """Return `size` octets: HMAC(key, [i] || label || 0 || context || [size in bits]) for i = 1...

    Counter and length are 32 bits long, big-endian, the counter before the fixed data.
    Raises ValueError for a size out of bounds.
    """
    blocks = -(-size // _HASH_BYTES)
    if not 0 < blocks <= MAX_BLOCKS:
        raise ValueError("size of a derived key")
    fixed = label + b"\0" + context + (8 * size).to_bytes(4, "big")
    out = b"".join(
        hmac.digest(key, i.to_bytes(4, "big") + fixed, hashlib.sha256) for i in range(1, blocks + 1)
    )
    return out[:size]
