"""Compact JWS: rows R01 and R02 at the layer that refuses them."""

import json

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant.jose.jws import (
    JwsError,
    VerificationKey,
    decode_base64url,
    encode_base64url,
    open_jws,
    sign,
    verify,
)

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
TOKEN = sign({"sub": "änne"}, KEY, "key-1")


def _compact(header: object, payload: bytes, signature: bytes) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b".".join(encode_base64url(part) for part in (head, payload, signature))


def _signed(header: object, payload: bytes = b"{}") -> bytes:
    """A token whose RS256 signature is right, whatever its header says."""
    unsigned = _compact(header, payload, b"").rpartition(b".")[0]
    return (
        unsigned + b"." + encode_base64url(KEY.sign(unsigned, padding.PKCS1v15(), hashes.SHA256()))
    )


def test_a_token_of_ours_is_proven() -> None:
    """The control: header, payload and claims come back."""
    proven = verify(open_jws(TOKEN), KEY.public_key(), {"RS256"})
    assert proven.claims() == {"sub": "änne"}
    assert proven.header == {"typ": "JWT", "alg": "RS256", "x5t": "key-1", "kid": "key-1"}


def _hs256_with_the_public_key() -> bytes:
    """Row R01: the verifier's public key as an HMAC key, in PEM as a library would take it."""
    pem = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = _compact({"alg": "HS256"}, b"{}", b"").rpartition(b".")[0]
    mac = hmac.HMAC(pem, hashes.SHA256())
    mac.update(unsigned)
    return unsigned + b"." + encode_base64url(mac.finalize())


NOT_HERE = "the token's algorithm is not accepted here"
NO_FIT = "the token's algorithm and its key do not fit"
WRONG = "the token's signature is wrong"
UNPROVEN: dict[str, tuple[bytes, VerificationKey, set[str], str]] = {
    "alg none": (_compact({"alg": "none"}, b"{}", b""), KEY.public_key(), {"RS256"}, NOT_HERE),
    "alg None": (_compact({"alg": "None"}, b"{}", b""), KEY.public_key(), {"RS256"}, NOT_HERE),
    "alg none where a caller allows it": (
        _compact({"alg": "none"}, b"{}", b""),
        KEY.public_key(),
        {"none"},
        NOT_HERE,
    ),
    "HS256 with the public key": (
        _hs256_with_the_public_key(),
        KEY.public_key(),
        {"RS256"},
        NOT_HERE,
    ),
    "HS256 with the public key, both allowed": (
        _hs256_with_the_public_key(),
        KEY.public_key(),
        {"RS256", "HS256"},
        NO_FIT,
    ),
    "ES256 with r=s=0": (
        _compact({"alg": "ES256"}, b"{}", bytes(64)),
        EC.public_key(),
        {"ES256"},
        WRONG,
    ),
    "ES256 where the key is RSA": (
        _compact({"alg": "ES256"}, b"{}", bytes(64)),
        KEY.public_key(),
        {"RS256", "ES256"},
        NO_FIT,
    ),
    "ES256 with a P-384 key": (
        _compact({"alg": "ES256"}, b"{}", bytes(64)),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        {"ES256"},
        NO_FIT,
    ),
    "RS512": (_compact({"alg": "RS512"}, b"{}", bytes(256)), KEY.public_key(), {"RS512"}, NOT_HERE),
    "an HMAC key of 31 octets": (
        _compact({"alg": "HS256"}, b"{}", bytes(32)),
        bytes(31),
        {"HS256"},
        NO_FIT,
    ),
    "another's key": (TOKEN.encode(), OTHER.public_key(), {"RS256"}, WRONG),
    "an empty signature": (
        _compact({"alg": "RS256"}, b"{}", b""),
        KEY.public_key(),
        {"RS256"},
        WRONG,
    ),
}


@pytest.mark.parametrize("case", UNPROVEN)
def test_a_token_that_is_not_proven_is_refused(case: str) -> None:
    """Row R01; RFC 8725 3.1, 3.2: the endpoint's algorithm, and the key's own type."""
    token, key, allowed, why = UNPROVEN[case]
    with pytest.raises(JwsError) as refusal:
        verify(open_jws(token), key, allowed)
    assert refusal.value.why == why


NEVER = "the token's header has a parameter that is never accepted"
MALFORMED: dict[str, tuple[bytes, str]] = {
    "jku": (_signed({"alg": "RS256", "jku": "https://127.0.0.1/keys"}), NEVER),
    "x5u": (_signed({"alg": "RS256", "x5u": "https://127.0.0.1/cert"}), NEVER),
    "jwk": (_signed({"alg": "RS256", "jwk": {"kty": "RSA"}}), NEVER),
    "crit": (_signed({"alg": "RS256", "crit": ["exp"]}), NEVER),
    "b64": (_signed({"alg": "RS256", "b64": False}), NEVER),
    "zip": (_signed({"alg": "RS256", "zip": "DEF"}), NEVER),
    "x5c": (
        _signed({"alg": "RS256", "x5c": ["AA=="]}),
        "the token's header names a key source that is not accepted",
    ),
    "alg twice": (
        _signed(b'{"alg":"RS256","alg":"none"}'),
        "the token's header: a member occurs twice in one object",
    ),
    "no alg": (_signed({"typ": "JWT"}), "the token's header names no algorithm"),
    "alg a list": (_signed({"alg": ["RS256"]}), "the token's header names no algorithm"),
    "kid a number": (_signed({"alg": "RS256", "kid": 7}), "the token's kid is no short string"),
    "kid of 257 characters": (
        _signed({"alg": "RS256", "kid": "k" * 257}),
        "the token's kid is no short string",
    ),
    "header an array": (_signed(b"[]"), "the token's header: the JSON text is no object"),
    "header of 9 KiB": (
        _signed({"alg": "RS256", "a": "x" * 9000}),
        "the token's header: the JSON text is too large",
    ),
    "two parts": (b"e30.e30", "the token has not three parts"),
    "five parts": (b"e30.e30.e30.e30.e30", "the token has not three parts"),
    "padding": (TOKEN.encode() + b"==", "a part of the token is not base64url"),
    "a line feed": (TOKEN.encode() + b"\n", "a part of the token is not base64url"),
    "the other alphabet": (
        TOKEN.rpartition(".")[0].encode() + b".+/+/",
        "a part of the token is not base64url",
    ),
    "spare bits": (
        TOKEN.rpartition(".")[0].encode() + b".e31",
        "a part of the token is not canonical base64url",
    ),
    "65 KiB": (b"a" * 65_537, "the token is too large"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_token_is_refused_before_any_key(case: str) -> None:
    """Row R02; RFC 7515 4.1, RFC 8725 3.10: nothing in a header ever leads to a key."""
    token, why = MALFORMED[case]
    with pytest.raises(JwsError) as refusal:
        open_jws(token)
    assert refusal.value.why == why


def test_a_text_with_an_umlaut_is_refused() -> None:
    """A header of HTTP may hold anything."""
    with pytest.raises(JwsError, match="the token is not ASCII"):
        open_jws("ä.b.c")


def test_x5c_is_there_for_who_asks() -> None:
    """One bare string (roadtx) or a list (libhimmelblau): both reach the caller."""
    assert open_jws(_signed({"alg": "RS256", "x5c": "AA=="}), x5c=True).header["x5c"] == "AA=="


def test_claims_are_read_strictly() -> None:
    """A payload that is signed is still read by the same rules."""
    for payload, why in (
        (b'{"a":1,"a":1}', "the token's claims: a member occurs twice in one object"),
        (b"[" * 9 + b"]" * 9, "the token's claims: the JSON text is nested too deeply"),
        (b'"text"', "the token's claims: the JSON text is no object"),
    ):
        proven = verify(open_jws(_signed({"alg": "RS256"}, payload)), KEY.public_key(), {"RS256"})
        with pytest.raises(JwsError) as refusal:
            proven.claims()
        assert refusal.value.why == why


def test_no_token_shows_in_a_repr() -> None:
    """Payloads hold passwords, and a whole token is a credential."""
    shown = repr(open_jws(TOKEN)) + repr(verify(open_jws(TOKEN), KEY.public_key(), {"RS256"}))
    assert shown == "UnverifiedJws()VerifiedJws()"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 127))
def test_no_changed_octet_is_proven(at: int, flip: int) -> None:
    """Header, payload, dots and signature: every octet counts."""
    octets = bytearray(TOKEN.encode())
    octets[at] ^= flip
    with pytest.raises(JwsError):
        verify(open_jws(bytes(octets)), KEY.public_key(), {"RS256"})


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_any_octets_are_a_token_or_an_error(octets: bytes) -> None:
    """Nothing else escapes; base64url is its own inverse."""
    assert decode_base64url(encode_base64url(octets)) == octets
    with pytest.raises(JwsError):
        open_jws(octets)
