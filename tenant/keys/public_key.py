"""Public keys as clients send them in a body: a BCRYPT_RSAKEY_BLOB, or a JWK; both in Base64.

Windows and Linux clients send the blob, those of macOS and Android the JWK.
"""

import base64
import binascii
from typing import Final

from directory.keymaterial import MaterialForm, decode_key_material
from pki.errors import KeyFault, PkiError
from pki.keys import KeyKind, KeyPolicy, PublicKey, check_key, rsa_key
from tenant.jose.strict_json import JsonError, JsonObject, parse_object

MAX_KEY_OCTETS: Final = 8192  # a 4096-bit key as JWK has 800

KEY_POLICY: Final = KeyPolicy()
"""RSA of 2048 to 4096 bits, exponent 65537 or larger, no ROCA (rows R10 and K10)."""

_KEY_REASONS: Final = {
    KeyFault.TOO_SMALL: "the key is too small",
    KeyFault.TOO_LARGE: "the key is too large",
    KeyFault.BAD_EXPONENT: "the key's public exponent is not accepted",
    KeyFault.ROCA: "the key has the ROCA fingerprint",
    KeyFault.UNSUPPORTED: "the key is of a kind that is not accepted",
}


def key_reason(error: PkiError) -> str:
    """Say in one fixed phrase why a public key is not accepted."""
    if isinstance(error.fault, KeyFault):
        return _KEY_REASONS.get(error.fault, "the key is malformed")
    return "the key is malformed"


def accept_key(key: PublicKey) -> PublicKey:
    """Judge the numbers of a key that is to be registered. Raises PkiError(KeyFault)."""
    if key.kind is not KeyKind.RSA:
        raise PkiError(KeyFault.UNSUPPORTED, "key type")
    check_key(key, KEY_POLICY)
    return key


class Base64Error(Exception):
    """A text is not Base64 (RFC 4648 4), or it is too long."""


def decode_base64(text: str, max_octets: int) -> bytes:
    """Decode Base64 with its padding and nothing else in it. Raises Base64Error."""
    if len(text) > (max_octets + 2) // 3 * 4:
        raise Base64Error
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Base64Error from None


def read_public_key(data: bytes) -> PublicKey:
    """Read a public key that a client sent and judge its numbers.

    data: octets of the blob, or of the JWK's JSON text. Raises PkiError(KeyFault).
    """
    return accept_key(_jwk(data) if data[:1] == b"{" else _blob(data))


def _blob(data: bytes) -> PublicKey:
    form, key = decode_key_material(data)
    if form is not MaterialForm.BCRYPT:
        raise PkiError(KeyFault.MALFORMED, "no BCRYPT_RSAKEY_BLOB")
    return key


def _jwk(data: bytes) -> PublicKey:
    try:
        jwk = parse_object(data, max_octets=MAX_KEY_OCTETS, max_depth=2)
    except JsonError:
        raise PkiError(KeyFault.MALFORMED, "JWK") from None
    if jwk.get("kty") != "RSA":
        raise PkiError(KeyFault.UNSUPPORTED, "key type")
    # A private key has no business here, and would be kept where public ones are.
    if "d" in jwk:
        raise PkiError(KeyFault.MALFORMED, "a private key")
    return rsa_key(_number(jwk, "n"), _number(jwk, "e"))


def _number(jwk: JsonObject, name: str) -> int:
    """Read a Base64urlUInt (RFC 7518 6.3.1), or the plain Base64 that these clients write."""
    text = jwk.get(name)
    if not isinstance(text, str) or not text or len(text) > 1400:
        raise PkiError(KeyFault.MALFORMED, "JWK number")
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        octets = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PkiError(KeyFault.MALFORMED, "JWK number") from None
    return int.from_bytes(octets, "big")
