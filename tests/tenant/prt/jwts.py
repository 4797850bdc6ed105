"""JWTs as devices and users sign them: right by default, and anything in them can be changed."""

import base64
import hashlib
import json
import struct
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pki.ca import create_root
from tests.kdc.cloud_keys import derived_key
from tests.rig.tenant import NOW

BROKER = "38aa3b87-a06d-4817-b275-7a316988d93b"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CTX = bytes(range(24))
Json = dict[str, Any]


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Make a key of this name, once a run."""
    assert name
    return rsa.generate_private_key(65537, bits)


def key_blob(key: rsa.RSAPrivateKey) -> bytes:
    """Write the public key as BCRYPT_RSAKEY_BLOB, with struct alone."""
    numbers = key.public_key().public_numbers()
    n = numbers.n.to_bytes(key.key_size // 8, "big")
    e = numbers.e.to_bytes(3, "big")
    return b"RSA1" + struct.pack("<5I", key.key_size, len(e), len(n), 0, 0) + e + n


def kid_of(key: rsa.RSAPrivateKey) -> str:
    """Return the `kid` of a Hello key's assertions."""
    return base64.b64encode(hashlib.sha256(key_blob(key)).digest()).decode()


@cache
def device_certificate(device_id: UUID) -> bytes:
    """Make a device's certificate, DER; the table compares it as a whole."""
    return create_root("lab.test", NOW, common_name=str(device_id)).certificate_der


def spki(key: rsa.RSAPrivateKey) -> bytes:
    """Write the public key as SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def part(value: bytes | Json) -> str:
    """Encode a part of a JWT."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def sign_rs256(header: Json, claims: bytes | Json, key: rsa.RSAPrivateKey) -> str:
    """Make a JWT signed with RS256, whatever its header says."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def sign_hs256(header: Json, claims: bytes | Json, key: bytes) -> str:
    """Make a JWT signed with HS256, whatever its header says."""
    text = f"{part(header)}.{part(claims)}"
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(text.encode())
    return f"{text}.{part(mac.finalize())}"


def changed(claims: Json, changes: Json) -> Json:
    """Change members; ... takes one away."""
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def assertion(
    user_key: rsa.RSAPrivateKey,
    issuer: str,
    nonce: str,
    *,
    header: Json | None = None,
    now: datetime = NOW,
    signer: rsa.RSAPrivateKey | None = None,
    **claims: Any,
) -> str:
    """Make an assertion as roadtx does; ... leaves a claim out."""
    moment = int(now.timestamp())
    said = {
        "iss": issuer,
        "aud": "common",
        "iat": moment - 3600,
        "exp": moment + 3600,
        "request_nonce": nonce,
        "scope": "openid aza ugs",
    }
    head = {"typ": "JWT", "alg": "RS256", "kid": kid_of(user_key), "use": "ngc"}
    return sign_rs256(changed(head, header or {}), changed(said, claims), signer or user_key)


def device_request(
    device_key: rsa.RSAPrivateKey,
    certificate: bytes,
    nonce: str,
    *,
    header: Json | None = None,
    **claims: Any,
) -> str:
    """Make the outer JWT as roadtx does: x5c as a bare text, kdf_ver 2; ... leaves one out."""
    head = {
        "typ": "JWT",
        "alg": "RS256",
        "x5c": base64.b64encode(certificate).decode(),
        "kdf_ver": 2,
    }
    said = {
        "client_id": BROKER,
        "request_nonce": nonce,
        "scope": "openid aza ugs",
        "group_sids": [],
        "win_ver": "10.0.19041.868",
    }
    return sign_rs256(changed(head, header or {}), changed(said, claims), device_key)


def session_request(
    session_key: bytes,
    prt: str,
    nonce: str,
    *,
    version: int = 2,
    header: Json | None = None,
    key: bytes | None = None,
    **claims: Any,
) -> str:
    """Make the JWT of a PRT's use. key: sign with this one; ... leaves a member out."""
    said = changed(
        {
            "client_id": BROKER,
            "request_nonce": nonce,
            "scope": "openid",
            "iss": "aad:brokerplugin",
            "grant_type": "refresh_token",
            "refresh_token": prt,
        },
        claims,
    )
    head: Json = {"alg": "HS256", "typ": "JWT", "ctx": base64.b64encode(CTX).decode()}
    if version == 2:
        head["kdf_ver"] = 2
    payload = json.dumps(said).encode()
    context = hashlib.sha256(CTX + payload).digest() if version == 2 else CTX
    return sign_hs256(
        changed(head, header or {}), payload, key or derived_key(session_key, context)
    )
