"""The JWTs that a Windows client signs (RFC 7515, compact)."""

import base64
import hmac
import json
from collections.abc import Mapping
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kdc.formats.session_jwe import derive_key


def encoded(octets: bytes) -> str:
    """Encode base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _input(header: Mapping[str, object], claims: Mapping[str, object]) -> tuple[str, bytes]:
    payload = json.dumps(claims, separators=(",", ":")).encode()
    head = json.dumps(header, separators=(",", ":")).encode()
    return f"{encoded(head)}.{encoded(payload)}", payload


def sign_rs256(
    header: Mapping[str, object], claims: Mapping[str, object], key: rsa.RSAPrivateKey
) -> str:
    """Sign claims with an RSA key; alg and typ are added to the header."""
    text, _ = _input({"alg": "RS256", "typ": "JWT", **header}, claims)
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{encoded(signature)}"


def sign_with_session_key(claims: Mapping[str, object], session_key: bytes, ctx: bytes) -> str:
    """Sign claims with a PRT's session key, derived with version 2 (MS-OAPXBC 3.1.5.1.3.3)."""
    header = {"alg": "HS256", "typ": "JWT", "ctx": base64.b64encode(ctx).decode(), "kdf_ver": 2}
    text, payload = _input(header, claims)
    key = derive_key(session_key, sha256(ctx + payload).digest())
    return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"
