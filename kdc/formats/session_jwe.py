"""JWEs under the session key of a primary refresh token (MS-OAPXBC 3.1.5.1.3, RFC 7516).

Compact form with an empty key part: header {"alg": "dir", "enc": "A256GCM", "ctx": Base64, ...}.
The content key is derived from the session key: SP 800-108 in counter mode with HMAC-SHA-256, a
fixed label, and `ctx` as it is for the context. That is version 1 of the derivation, whichever
version the request was signed with.

DEVIATION: RFC 7518 5.3: a client that signs with version 1 gets AES-256-CBC under the same header,
with an initial vector of 16 octets and an empty tag; only one that says `kdf_ver` 2 gets GCM. So
Entra does (seen in test data of compact_jwt), and each sort of client opens its own form.
"""

import base64
import json
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kdc.crypto.sp800_108 import counter_mode

LABEL = b"AzureAD-SecureConversation"
DERIVED_KEY_BYTES = 32
MAX_JWE_CHARS = 256 * 1024
MAX_CONTEXT_BYTES = 64  # 24 in practice
SESSION_KEY_BYTES = 32
_IV_BYTES = 12  # RFC 7518 5.3
_TAG_BYTES = 16
_CBC_IV_BYTES = 16


class SessionJweError(Exception):
    """The text is no JWE under this session key; the message is fixed and holds nothing of it."""


def derive_key(session_key: bytes, context: bytes) -> bytes:
    """Return the key for a signature or a JWE (MS-OAPXBC 3.1.5.1.3.3).

    context: `ctx` itself (version 1), or SHA-256 of `ctx` and the JWT's payload (version 2).
    """
    return counter_mode(session_key, LABEL, context, DERIVED_KEY_BYTES)


def open_session_jwe(text: str, session_key: bytes) -> bytes:
    """Open a JWE and return its content. Raises SessionJweError."""
    if len(text) > MAX_JWE_CHARS:
        _fail("it is too long")
    parts = text.split(".")
    if len(parts) != 5:
        _fail("it does not have five parts")
    header, wrapped, iv, sealed, tag = map(_decode, parts)
    try:
        found = json.loads(header)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or (found.get("alg"), found.get("enc")) != ("dir", "A256GCM"):
        _fail("its header does not say dir and A256GCM")
    context = decode_context(found.get("ctx"))
    if context is None:
        _fail("its header has no ctx")
    key = derive_key(session_key, context)
    if not wrapped and (len(iv), len(tag)) == (_CBC_IV_BYTES, 0):
        return _open_cbc(key, iv, sealed)
    if wrapped or (len(iv), len(tag)) != (_IV_BYTES, _TAG_BYTES):
        _fail("its parts have the wrong sizes")
    try:
        # RFC 7516 5.1: the header as it arrived, in Base64, is authenticated too.
        return AESGCM(key).decrypt(iv, sealed + tag, parts[0].encode())
    except InvalidTag:
        _fail("the session key does not open it")


def _open_cbc(key: bytes, iv: bytes, sealed: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(8 * _CBC_IV_BYTES).unpadder()
    try:
        padded = decryptor.update(sealed) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        _fail("the session key does not open it")


def decode_context(value: object) -> bytes | None:
    """Decode `ctx` of a header: plain Base64, unlike the rest; None when there is none."""
    try:
        found = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        found = b""
    return found if 0 < len(found) <= MAX_CONTEXT_BYTES else None


def _decode(part: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2)."""
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        _fail("a part is not base64url")


def _fail(detail: str) -> NoReturn:
    raise SessionJweError(detail)
