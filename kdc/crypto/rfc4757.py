"""HMAC-MD5 of RFC 4757 section 4, for PA-FOR-USER and nothing else (MS-SFU 2.2.1).

MS-SFU wants this checksum with a session key of any type. RC4 itself is not here.
"""

import hashlib
import hmac
from hmac import compare_digest

from kdc.crypto.faults import CryptoError, CryptoFault

HMAC_MD5 = -138
"""Its checksum type, KERB_CHECKSUM_HMAC_MD5."""


def hmac_md5(key: bytes, usage: int, data: bytes) -> bytes:
    """Return the 16 octets of the checksum. key: the protocol key's octets, whatever its type."""
    signing = hmac.digest(key, b"signaturekey\0", "md5")
    inner = hashlib.md5(usage.to_bytes(4, "little") + data, usedforsecurity=False).digest()
    return hmac.digest(signing, inner, "md5")


def verify_hmac_md5(key: bytes, usage: int, data: bytes, checksum: bytes) -> bytes:
    """Return `data` when this is its checksum; CryptoError INTEGRITY otherwise."""
    if not compare_digest(hmac_md5(key, usage, data), checksum):
        raise CryptoError(CryptoFault.INTEGRITY)
    return data
