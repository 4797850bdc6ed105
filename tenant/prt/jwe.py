"""What the tenant seals for a device: the session key, and answers under it (RFC 7516, compact)."""

import base64
import json
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kdc.formats.session_jwe import derive_key
from tenant.jose.jws import encode_base64url
from tenant.prt.kdf import KdfVersion

Entropy = Callable[[int], bytes]

CTX_BYTES = 24  # as Entra's
_GCM_IV_BYTES = 12
_CBC_IV_BYTES = 16
_TAG_BYTES = 16


def wrap_session_key(session_key: bytes, transport_key: RSAPublicKey, entropy: Entropy) -> str:
    """Return `session_key_jwe`: the session key is the JWE's content key; its content is empty.

    Clients take the second part alone. RSA-OAEP with SHA-1 is what RFC 7518 4.3 calls RSA-OAEP,
    and all that clients open.
    """
    header = _part(_json({"enc": "A256GCM", "alg": "RSA-OAEP"}))
    oaep = rsa_padding.OAEP(
        mgf=rsa_padding.MGF1(hashes.SHA1()),  # noqa: S303  SHA-1 is safe in OAEP, and the wire's
        algorithm=hashes.SHA1(),  # noqa: S303
        label=None,
    )
    iv = entropy(_GCM_IV_BYTES)
    tag = AESGCM(session_key).encrypt(iv, b"", header.encode())
    return _compact(header, transport_key.encrypt(session_key, oaep), iv, b"", tag)


def seal_answer(plain: bytes, session_key: bytes, version: KdfVersion, entropy: Entropy) -> str:
    """Return an answer as a JWE under the session key; its key is derived with version 1 always.

    version: of the client's request. DEVIATION: RFC 7518 5.3: version 1 gets AES-256-CBC and an
    empty tag under the same header, as from Entra; libhimmelblau opens nothing else (see
    `kdc.formats.session_jwe`).
    """
    ctx = entropy(CTX_BYTES)
    key = derive_key(session_key, ctx)
    names = {
        "alg": "dir",
        "enc": "A256GCM",
        "ctx": base64.b64encode(ctx).decode(),
        "kid": "session",
    }
    header = _part(_json(names))
    if version is KdfVersion.V1:
        iv = entropy(_CBC_IV_BYTES)
        padder = padding.PKCS7(8 * _CBC_IV_BYTES).padder()
        encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
        padded = padder.update(plain) + padder.finalize()
        return _compact(header, b"", iv, encryptor.update(padded) + encryptor.finalize(), b"")
    iv = entropy(_GCM_IV_BYTES)
    sealed = AESGCM(key).encrypt(iv, plain, header.encode())
    return _compact(header, b"", iv, sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:])


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _compact(header: str, *parts: bytes) -> str:
    return ".".join((header, *map(_part, parts)))


def _part(octets: bytes) -> str:
    return encode_base64url(octets).decode()
