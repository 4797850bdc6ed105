"""The request for a PRT: a JWT that the device signs, with a proof of the user in it.

Theory of operation. The outer JWT names the device by its certificate (`x5c`) and is proven with
the device's key; the proof inside is a password, a refresh token, or a JWT (assertion) that the
user's Hello key signs. `open_request` reads who the outer JWT claims to come from; the caller finds
that device's key; `prove_request` verifies and gives the typed request. An assertion in it goes the
same way: its key is found by the id in its header, and `prove_assertion` verifies.

Outer and inner nonce differ for Entra: its clients fetch two (MS-OAPXBC 3.2.5.1.2.3 demands one
of AD FS). Here both must have been given out, be fresh and be unused; the inner must be there
(CVE-2023-35348).
Source: MS-OAPXBC 3.2.5.1.2.1.
"""

import base64
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tenant.jose.jws import JwsError, UnverifiedJws, open_jws, verify
from tenant.jose.strict_json import JsonObject, JsonValue
from tenant.prt import refusals
from tenant.prt.claims import (
    Once,
    check_one_of,
    check_times,
    claims_of,
    once_only,
    optional_text,
    scopes,
    text,
)
from tenant.prt.kdf import KdfVersion

BROKERS: Final = frozenset(
    {"38aa3b87-a06d-4817-b275-7a316988d93b", "29d9ed98-a469-4536-ade2-f981bc1d605e"}
)
"""Client ids that may ask for PRTs: Windows' sign-in, and the Authentication Broker."""

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_CERTIFICATE_CHARS: Final = 8 * 1024
KEY_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordProof:
    """A user's name and password (MS-OAPXBC 3.2.5.1.2.1.1)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTokenProof:
    """A refresh token got before (3.2.5.1.2.1.3)."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionProof:
    """A JWT signed with the user's Hello key (3.2.5.1.2.1.2); nothing in it is proven."""

    key_id: bytes
    """SHA-256 of the key's material, as its header says."""
    jws: UnverifiedJws = field(repr=False)


Proof = PasswordProof | RefreshTokenProof | AssertionProof


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A request for a PRT, and the certificate of the device that it claims to come from."""

    certificate: bytes = field(repr=False)
    """DER."""
    jws: UnverifiedJws = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrtRequest:
    """A request that the device's key has signed."""

    client_id: str
    nonce: str = field(repr=False)
    kdf_version: KdfVersion
    """What the client says it can: it decides on the form of what is sealed for it."""
    proof: Proof
    once: Once | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """An assertion that the user's key has signed."""

    issuer: str
    """UPN."""
    nonce: str = field(repr=False)
    once: Once | None


def open_request(jws: UnverifiedJws) -> OpenRequest:
    """Read the header of a request for a PRT. Raises LoginError (401, 400)."""
    _check_type(jws.header)
    return OpenRequest(certificate=_certificate(jws.header.get("x5c")), jws=jws)


def prove_request(
    opened: OpenRequest, key: RSAPublicKey, audiences: frozenset[str], now: datetime
) -> PrtRequest:
    """Verify a request with the key of the device whose certificate is in it.

    audiences: what `aud` may say, if it is there.
    Raises LoginError: 401 signature and claims of another time, 400 what is no such request.
    """
    try:
        proven = verify(opened.jws, key, {"RS256"})
    except JwsError as error:
        raise refusals.not_proven(refusals.INVALID_ASSERTION, error.why) from None
    claims = claims_of(proven)
    check_times(claims, now, required=False)
    check_one_of(claims, "aud", audiences, required=False)
    client_id = text(claims, "client_id").lower()
    if client_id not in BROKERS:
        raise refusals.malformed(
            "the client is no broker",
            error="unauthorized_client",
            number=refusals.UNKNOWN_CLIENT,
        )
    if "aza" not in scopes(claims):
        raise refusals.malformed(
            "the scope aza is missing", error="invalid_scope", number=refusals.INVALID_SCOPE
        )
    return PrtRequest(
        client_id=client_id,
        nonce=nonce_of(claims),
        kdf_version=kdf_version(proven.header),
        proof=_proof(claims),
        once=once_only(claims, now),
    )


def prove_assertion(
    proof: AssertionProof, key: RSAPublicKey, audiences: frozenset[str], now: datetime
) -> Assertion:
    """Verify an assertion with the key that is registered under its key id.

    audiences: what `aud` may say. Raises LoginError: 401 for signature, times and audience, 400
    for a missing claim, the nonce among them.
    """
    try:
        proven = verify(proof.jws, key, {"RS256"})
    except JwsError as error:
        raise refusals.not_proven(refusals.NGC_INVALID_SIGNATURE, error.why) from None
    claims = claims_of(proven)
    check_times(claims, now, required=True)
    check_one_of(claims, "aud", audiences, required=True)
    return Assertion(
        issuer=text(claims, "iss"), nonce=nonce_of(claims), once=once_only(claims, now)
    )


def nonce_of(claims: JsonObject) -> str:
    """Return `request_nonce`. Raises LoginError (400) without one (CVE-2023-35348)."""
    found = optional_text(claims, "request_nonce")
    if found is None:
        raise refusals.refused(refusals.INVALID_NONCE, "the JWT has no request_nonce")
    return found


def kdf_version(header: JsonObject) -> KdfVersion:
    """Return `kdf_ver`; none means version 1. Raises LoginError (400)."""
    found = header.get("kdf_ver", 1)
    if isinstance(found, bool) or found not in (1, 2):
        raise refusals.malformed("kdf_ver is neither 1 nor 2")
    return KdfVersion(int(found))


def _check_type(header: JsonObject) -> None:
    found = header.get("typ")
    if found is not None and found != "JWT":
        raise refusals.not_proven(refusals.INVALID_ASSERTION, "typ of the JWT is another's")


def _certificate(value: JsonValue) -> bytes:
    """Decode x5c: an array as in RFC 7515 4.1.6, or the bare text that roadtx sends."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, str) or not 0 < len(first) <= MAX_CERTIFICATE_CHARS:
        raise refusals.not_proven(
            refusals.DEVICE_AUTHENTICATION_FAILED, "the JWT names no device certificate"
        )
    try:
        return base64.b64decode(first, validate=True)
    except ValueError:
        raise refusals.not_proven(
            refusals.DEVICE_AUTHENTICATION_FAILED, "x5c of the JWT is not Base64"
        ) from None


def _proof(claims: JsonObject) -> Proof:
    match text(claims, "grant_type"):
        case "password":
            return PasswordProof(
                username=text(claims, "username"), password=text(claims, "password")
            )
        case "refresh_token":
            return RefreshTokenProof(token=text(claims, "refresh_token"))
        case grant if grant == JWT_BEARER:
            return _assertion(claims)
    raise refusals.malformed(
        "this proof of the user is not supported",
        error="unsupported_grant_type",
        number=refusals.UNSUPPORTED_GRANT,
    )


def _assertion(claims: JsonObject) -> AssertionProof:
    found = claims.get("assertion")
    if not isinstance(found, str):
        raise refusals.malformed("the JWT has no assertion")
    try:
        jws = open_jws(found)
    except JwsError as error:
        raise refusals.not_proven(refusals.INVALID_ASSERTION, error.why) from None
    _check_type(jws.header)
    if jws.header.get("use") != "ngc":
        raise refusals.not_proven(
            refusals.INVALID_ASSERTION, "use of the assertion's header is not ngc"
        )
    return AssertionProof(key_id=_key_id(jws.kid), jws=jws)


def _key_id(kid: str | None) -> bytes:
    try:
        found = base64.b64decode(kid or "", validate=True)
    except ValueError:
        found = b""
    if len(found) != KEY_ID_BYTES:
        raise refusals.not_proven(
            refusals.NGC_KEY_NOT_FOUND, "kid of the assertion is no SHA-256 in Base64"
        )
    return found
