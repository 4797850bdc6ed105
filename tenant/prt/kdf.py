"""Keys derived from a PRT's session key, for the signatures of clients (MS-OAPXBC 3.1.5.1.3.3)."""

from enum import IntEnum
from hashlib import sha256

from kdc.formats.session_jwe import derive_key


class KdfVersion(IntEnum):
    """`kdf_ver` in the header of a client's JWT."""

    V1 = 1
    """The context is `ctx`; what a header without kdf_ver means."""
    V2 = 2
    """The context is SHA-256 of `ctx` and the payload: the key is good for this payload alone."""


def signing_key(session_key: bytes, ctx: bytes, payload: bytes, version: KdfVersion) -> bytes:
    """Return the HS256 key of a JWT. payload: its second part, decoded, as it arrived."""
    context = ctx if version is KdfVersion.V1 else sha256(ctx + payload).digest()
    return derive_key(session_key, context)
