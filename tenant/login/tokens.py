"""Access tokens and id tokens (JWTs signed with RS256), and the answer that carries them.

The times of all are those of the sign-in they rest on: `auth_time` is when the user proved
something last, however often a refresh token was used since (seed P1, phase A: "MFA less than ten
minutes old" is about the user, not about the token).
"""

import base64
import hashlib
import json
import sqlite3
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tenant.errors import NO_STORE
from tenant.http.message import Note, Reply
from tenant.jose.jws import encode_base64url, sign
from tenant.jose.strict_json import JsonObject
from tenant.login import faults
from tenant.login.resources import Target
from tenant.login.token_request import TokenRequest
from tenant.services import Services, SigningKey
from tenant.state import devices, tokens, users
from tenant.state.sign_in import SignIn
from tenant.state.users import User

REFRESH_TOKEN_OCTETS: Final = 32


def key_id(key: SigningKey) -> str:
    """Return the `kid` (and x5t) of the signing key: the SHA-1 of its certificate, as Entra's."""
    digest = hashlib.sha1(key.certificate, usedforsecurity=False).digest()
    return encode_base64url(digest).decode()


def public_key(key: SigningKey) -> RSAPublicKey:
    """Return what tokens of the tenant are verified with."""
    return key.private_key.public_key()


def key_set(key: SigningKey, issuer: str) -> JsonObject:
    """Make the published key set (RFC 7517)."""
    numbers = public_key(key).public_numbers()
    kid = key_id(key)
    return {
        "keys": [
            {
                "kty": "RSA",
                "use": "sig",
                "alg": "RS256",
                "kid": kid,
                "x5t": kid,
                "n": _base64url_integer(numbers.n),
                "e": _base64url_integer(numbers.e),
                "x5c": [base64.b64encode(key.certificate).decode()],
                "issuer": issuer,
            }
        ]
    }


def _base64url_integer(value: int) -> str:
    return encode_base64url(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def issuer_v1(services: Services) -> str:
    """Return the issuer of access tokens, and of the id tokens of /oauth2/token."""
    return f"https://sts.windows.net/{services.config.tenant_id}/"


def issuer_v2(services: Services) -> str:
    """Return the issuer of the id tokens of /oauth2/v2.0/token."""
    return f"https://login.microsoftonline.com/{services.config.tenant_id}/v2.0"


def access_token(
    services: Services, user: User, sign_in: SignIn, audience: str, now: datetime
) -> str:
    """Make an access token (v1 form, whichever endpoint gives it) for an audience."""
    claims: JsonObject = {
        "aud": audience,
        "iss": issuer_v1(services),
        **_times(now, services.config.access_token_life_s),
        "acr": "1",
        "amr": list(sign_in.amr(now, services.config.mfa_freshness_s)),
        "appid": sign_in.client_id,
        "appidacr": "0",
        "auth_time": int(sign_in.last_proof.timestamp()),
        "scp": "user_impersonation",
        "sub": _subject(user, sign_in.client_id),
        "uti": encode_base64url(services.entropy(16)).decode(),
        "ver": "1.0",
        **_user_claims(services, user),
    }
    if sign_in.device_id is not None:
        claims["deviceid"] = str(sign_in.device_id)
    return sign(claims, services.signing_key.private_key, key_id(services.signing_key))


def id_token(
    services: Services,
    user: User,
    sign_in: SignIn,
    now: datetime,
    *,
    v2: bool,
    nonce: str | None = None,
) -> str:
    """Make an id token for the client of a sign-in, in the form of the endpoint."""
    claims: JsonObject = {
        "aud": sign_in.client_id,
        "iss": issuer_v2(services) if v2 else issuer_v1(services),
        **_times(now, services.config.access_token_life_s),
        "amr": list(sign_in.amr(now, services.config.mfa_freshness_s)),
        "auth_time": int(sign_in.last_proof.timestamp()),
        "preferred_username": user.upn,
        "sub": _subject(user, sign_in.client_id),
        "ver": "2.0" if v2 else "1.0",
        **_user_claims(services, user),
    }
    if user.onprem_sam is not None:
        # By these Windows finds the user's domain and its controllers (seed A2 and A3, phase A).
        claims["domain_dns_name"] = services.config.domain
        claims["onprem_sam_account_name"] = user.onprem_sam
    if nonce is not None:
        claims["nonce"] = nonce
    return sign(claims, services.signing_key.private_key, key_id(services.signing_key))


def _times(now: datetime, life_s: int) -> JsonObject:
    start = int(now.timestamp())
    return {"iat": start, "nbf": start, "exp": start + life_s}


def _user_claims(services: Services, user: User) -> JsonObject:
    claims: JsonObject = {
        "name": user.display_name,
        "oid": str(user.object_id),
        "tid": str(services.config.tenant_id),
        "unique_name": user.upn,
        "upn": user.upn,
    }
    if user.onprem_sid is not None:
        claims["onprem_sid"] = user.onprem_sid
    return claims


def _subject(user: User, client_id: str) -> str:
    """Make the pairwise `sub` (OpenID Connect Core 8.1): another one for each client."""
    text = f"{user.object_id} {client_id}".encode()
    return encode_base64url(hashlib.sha256(text).digest()).decode()


def client_info(services: Services, user: User) -> str:
    """Make the `client_info` that MSAL's family asks for: base64url JSON of uid and utid."""
    value = {"uid": str(user.object_id), "utid": str(services.config.tenant_id)}
    return encode_base64url(json.dumps(value, separators=(",", ":")).encode()).decode()


def usable_user(connection: sqlite3.Connection, sign_in: SignIn) -> User:
    """Return the user of a stored sign-in, as it is today.

    Raises LoginError: the user or the device of the sign-in is gone or disabled.
    """
    user = users.by_id(connection, sign_in.user_id)
    if user is None:
        raise faults.user_gone()
    if not user.enabled:
        raise faults.disabled(user)
    if sign_in.device_id is not None:
        device = devices.device_by_id(connection, sign_in.device_id)
        if device is None or not device.enabled:
            raise faults.device_unusable(user, known=device is not None)
    return user


def new_refresh_token(
    services: Services,
    connection: sqlite3.Connection,
    sign_in: SignIn,
    now: datetime,
    *,
    family: bytes | None = None,
) -> str:
    """Make a refresh token and store its hash in the caller's transaction."""
    token = "0." + encode_base64url(services.entropy(REFRESH_TOKEN_OCTETS)).decode()
    life_s = services.config.refresh_token_life_s
    tokens.keep_refresh_token(connection, token, sign_in, now, life_s, family=family)
    return token


def token_reply(
    services: Services,
    asked: TokenRequest,
    user: User,
    sign_in: SignIn,
    target: Target,
    *,
    refresh_token: str | None,
    nonce: str | None = None,
) -> Reply:
    """Make the answer of the token endpoint: numbers as text in v1, as numbers in v2."""
    now, life_s = asked.now, services.config.access_token_life_s
    body: JsonObject = {"token_type": "Bearer", "scope": target.scope or "user_impersonation"}
    if asked.v2:
        body |= {"expires_in": life_s, "ext_expires_in": life_s}
    else:
        start = int(now.timestamp())
        body |= {
            "expires_in": str(life_s),
            "ext_expires_in": str(life_s),
            "expires_on": str(start + life_s),
            "not_before": str(start),
            "resource": target.audience,
        }
    body["access_token"] = access_token(services, user, sign_in, target.audience, now)
    if refresh_token is not None:
        body["refresh_token"] = refresh_token
    if target.wants_id_token:
        body["id_token"] = id_token(services, user, sign_in, now, v2=asked.v2, nonce=nonce)
    if asked.wants_client_info:
        body["client_info"] = client_info(services, user)
    device = None if sign_in.device_id is None else str(sign_in.device_id)
    return Reply.json(200, body, headers=NO_STORE, note=Note(user=user.upn, device=device))
