"""Public keys in a body: BCRYPT blobs and JWKs, and those that are refused (R10, K10, K12)."""

import base64
import json
import struct
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.keymaterial import MaterialForm, encode_key_material
from pki.errors import PkiError
from pki.keys import PublicKey, public_key_from_cryptography, rsa_key
from tenant.keys.public_key import Base64Error, decode_base64, key_reason, read_public_key
from tests.pki.test_keys import roca_like_modulus


@cache
def key() -> PublicKey:
    return public_key_from_cryptography(rsa.generate_private_key(65537, 2048).public_key())


def blob(of: PublicKey) -> bytes:
    return encode_key_material(of, MaterialForm.BCRYPT)


def octets(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def jwk(of: PublicKey, **members: object) -> bytes:
    encoded = {name: base64.b64encode(octets(getattr(of, name))).decode() for name in ("n", "e")}
    return json.dumps({"kty": "RSA", **encoded, "alg": "RS256", **members}).encode()


def refused(data: bytes) -> str:
    with pytest.raises(PkiError) as caught:
        read_public_key(data)
    return key_reason(caught.value)


def test_a_bcrypt_blob_is_read() -> None:
    """The form of Windows and Linux clients (MS-KPP, aad-join-spec)."""
    assert read_public_key(blob(key())) == key()


def test_a_jwk_in_plain_base64_is_read() -> None:
    """The form of macOS and Android clients: Base64, not the Base64url of RFC 7518."""
    assert read_public_key(jwk(key())) == key()


def test_a_jwk_in_base64url_is_read() -> None:
    """RFC 7518 6.3.1."""
    n = base64.urlsafe_b64encode(octets(key().n)).decode().rstrip("=")
    assert read_public_key(jwk(key(), n=n, e="AQAB")) == key()


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ((lambda: rsa_key((1 << 1023) + 1, 65537)), "the key is too small"),
        (
            (lambda: rsa_key(key().n, 1)),
            "the key's public exponent is not accepted",
        ),
        (
            (lambda: rsa_key(key().n, 3)),
            "the key's public exponent is not accepted",
        ),
        ((lambda: rsa_key(roca_like_modulus(), 65537)), "the key has the ROCA fingerprint"),
        ((lambda: rsa_key((1 << 8191) + 1, 65537)), "the key is too large"),
        ((lambda: rsa_key(key().n * 2, 65537)), "the key is malformed"),
    ],
    ids=["1024 bits", "e=1", "e=3", "ROCA", "8192 bits", "an even modulus"],
)
def test_a_weak_key_is_refused_in_both_forms(numbers: object, why: str) -> None:
    """Rows R10 and K10."""
    made = numbers()  # type: ignore[operator]  # each is a function
    weak = made if isinstance(made, PublicKey) else public_key_from_cryptography(made)
    assert refused(blob(weak)) == why
    assert refused(jwk(weak)) == why


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RSA1",
        b"RSA2" + bytes(300),
        struct.pack("<4s5I", b"RSA1", 2048, 0, 256, 0, 0) + bytes(256),
        struct.pack("<4s5I", b"RSA1", 2048, 3, 255, 0, 0) + bytes(258),
        b"{",
        b"[]",
        b'{"kty":"RSA"}',
        b'{"kty":"RSA","n":"!!!!","e":"AQAB"}',
        b'{"kty":"RSA","n":5,"e":"AQAB"}',
        b'{"kty":"RSA","n":"AQAB","n":"AQAB","e":"AQAB"}',
    ],
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    """Row K12."""
    assert refused(data) == "the key is malformed"


def test_another_kind_of_key_is_refused() -> None:
    """RSA alone: the KDC's key trust knows no other in a Hello key."""
    assert refused(b'{"kty":"EC","crv":"P-256"}') == "the key is of a kind that is not accepted"


def test_a_key_in_another_encoding_is_refused() -> None:
    """Kngc is a BCRYPT_RSAKEY_BLOB: the KeyID of the directory is a digest of these octets."""
    assert refused(key().spki_der()) == "the key is malformed"
    assert refused(key().rsa_public_key_der()) == "the key is malformed"


def test_a_private_key_is_refused() -> None:
    """It would be kept, and shown, where public keys are."""
    assert refused(jwk(key(), d="AQAB")) == "the key is malformed"


@pytest.mark.parametrize("text", ["A", "AA=", "AAA A", "AAAA\n", "AA-_", "A" * 20, "é"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    """RFC 4648 3.3: nothing but the alphabet, with padding, within the bound."""
    with pytest.raises(Base64Error):
        decode_base64(text, 9)
