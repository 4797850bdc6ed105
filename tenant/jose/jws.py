"""Compact JWS (RFC 7515) in two steps: read what it claims, then prove it with a key of ours.

Rules
  1. The algorithm is the endpoint's choice; the header may only agree with it (RFC 8725 3.1). The
     type of the key has to fit as well, so no public key ever becomes an HMAC key.
  2. The key is ours, found by us. jku, x5u and jwk are refused whatever they say, nothing is ever
     fetched (RFC 8725 3.10); x5c is read only where a caller asks for it.
  3. crit, b64 and zip are refused: we implement no extension of the header.
  4. The signature is checked over the octets that arrived. Base64url is canonical and unpadded, so
     one signed content has one spelling.
"""

import base64
import json
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from tenant.jose.strict_json import JsonError, JsonObject, parse_object

VerificationKey = RSAPublicKey | EllipticCurvePublicKey | bytes

MAX_TOKEN_OCTETS = 64 * 1024  # a PRT request holds a certificate and another JWT
MAX_HEADER_OCTETS = 8 * 1024
MAX_HEADER_DEPTH = 4
MAX_PAYLOAD_DEPTH = 8
_MAX_KID_CHARACTERS = 256
_MIN_HMAC_OCTETS = 32  # RFC 7518 3.2: at least the size of the hash

_IMPLEMENTED = frozenset({"RS256", "ES256", "HS256"})
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")
_NEVER = frozenset({"jku", "x5u", "jwk", "crit", "b64", "zip"})


class JwsError(Exception):
    """A token is malformed, or not proven; `why` is one fixed phrase without the token."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedJws:
    """A compact JWS whose form is right. Nobody has vouched for a word of it yet."""

    header: JsonObject = field(repr=False)
    """The protected header, to find the key by (kid, x5c, ctx)."""
    payload: bytes = field(repr=False)
    """Decoded, unproven: for what a key has to be found by. Everything else asks `verify`."""
    signing_input: bytes = field(repr=False)
    """The first two parts and their dot, as received."""
    signature: bytes = field(repr=False)

    @property
    def kid(self) -> str | None:
        """The key id the sender claims."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedJws:
    """What `verify` returns: this header and payload were signed with the key it was given."""

    header: JsonObject = field(repr=False)
    payload: bytes = field(repr=False)

    def claims(self) -> JsonObject:
        """Read the payload as a JWT's claims, strictly. Raises JwsError."""
        try:
            return parse_object(
                self.payload, max_octets=MAX_TOKEN_OCTETS, max_depth=MAX_PAYLOAD_DEPTH
            )
        except JsonError as fault:
            raise JwsError(f"the token's claims: {fault.why}") from None


def decode_base64url(text: bytes) -> bytes:
    """Decode canonical, unpadded base64url (RFC 7515 2). Raises JwsError."""
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        raise JwsError("a part of the token is not base64url")
    octets = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if encode_base64url(octets) != text:
        raise JwsError("a part of the token is not canonical base64url")
    return octets


def encode_base64url(octets: bytes) -> bytes:
    """Encode as unpadded base64url (RFC 7515 2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def open_jws(
    token: str | bytes, *, x5c: bool = False, max_octets: int = MAX_TOKEN_OCTETS
) -> UnverifiedJws:
    """Read a compact JWS without proving anything.

    x5c: the header may carry a certificate (the caller reads it from `header`).
    Raises JwsError: size, parts, base64url, header JSON, forbidden header parameters, odd kid.
    """
    octets = _ascii(token)
    if len(octets) > max_octets:
        raise JwsError("the token is too large")
    parts = octets.split(b".")
    if len(parts) != 3:
        raise JwsError("the token has not three parts")
    header = _read_header(decode_base64url(parts[0]))
    if "x5c" in header and not x5c:
        raise JwsError("the token's header names a key source that is not accepted")
    return UnverifiedJws(
        header=header,
        payload=decode_base64url(parts[1]),
        signing_input=parts[0] + b"." + parts[1],
        signature=decode_base64url(parts[2]),
    )


def verify(jws: UnverifiedJws, key: VerificationKey, allowed: AbstractSet[str]) -> VerifiedJws:
    """Prove a JWS with the key that the caller chose.

    allowed: the algorithms of this endpoint, of RS256, ES256 (P-256) and HS256; the key's type has
    to fit. Raises JwsError: algorithm, key, signature.
    """
    name = jws.header["alg"]
    if not isinstance(name, str) or name not in allowed or name not in _IMPLEMENTED:
        raise JwsError("the token's algorithm is not accepted here")
    try:
        algorithm = JWSRegistry(algorithms=[name]).get_alg(name)
        jwk = _jwk(name, key)
        algorithm.check_key(jwk)
        good = algorithm.verify(jws.signing_input, jws.signature, jwk)
    except (JoseError, ValueError):
        raise JwsError("the token's algorithm and its key do not fit") from None
    if not good:
        raise JwsError("the token's signature is wrong")
    return VerifiedJws(header=jws.header, payload=jws.payload)


def sign(claims: JsonObject, key: RSAPrivateKey, kid: str) -> str:
    """Make a JWT signed with RS256, its header as the service writes it (typ, alg, kid, x5t).

    kid: names the key in the published key set.
    """
    return serialize_compact(
        {"typ": "JWT", "alg": "RS256", "x5t": kid, "kid": kid},
        json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode(),
        RSAKey.import_key(key),
        algorithms=["RS256"],
    )


def _ascii(token: str | bytes) -> bytes:
    if isinstance(token, bytes):
        return token
    try:
        return token.encode("ascii")
    except UnicodeEncodeError:
        raise JwsError("the token is not ASCII") from None


def _read_header(octets: bytes) -> JsonObject:
    try:
        header = parse_object(octets, max_octets=MAX_HEADER_OCTETS, max_depth=MAX_HEADER_DEPTH)
    except JsonError as fault:
        raise JwsError(f"the token's header: {fault.why}") from None
    if not _NEVER.isdisjoint(header):
        raise JwsError("the token's header has a parameter that is never accepted")
    if not isinstance(header.get("alg"), str):
        raise JwsError("the token's header names no algorithm")
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID_CHARACTERS):
        raise JwsError("the token's kid is no short string")
    return header


def _jwk(algorithm: str, key: VerificationKey) -> RSAKey | ECKey | OctKey:
    if algorithm == "RS256" and isinstance(key, RSAPublicKey):
        return RSAKey.import_key(key)
    if algorithm == "ES256" and isinstance(key, EllipticCurvePublicKey):
        return ECKey.import_key(key)
    if algorithm == "HS256" and isinstance(key, bytes) and len(key) >= _MIN_HMAC_OCTETS:
        return OctKey.import_key(key)
    raise ValueError
