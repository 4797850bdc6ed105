"""Access tokens that come back: what the device and key registration believe of a request.

Rules
  1. RS256 with the tenant's one key; a `kid` may only agree with it. No header leads anywhere.
  2. Issuer, tenant, audience and times are compared exactly; the user is looked up as it is today.
  3. Everything wrong with a token is 401 (RFC 6750 3.1), and says only to the audit what it was.
"""

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from tenant.errors import LoginError
from tenant.http.message import Note, Request
from tenant.jose.jws import JwsError, open_jws, verify
from tenant.jose.strict_json import (
    JsonError,
    JsonObject,
    integer_member,
    optional_text,
    text_member,
)
from tenant.login import faults
from tenant.login.tokens import issuer_v1, key_id, public_key
from tenant.services import Services
from tenant.state import devices, users
from tenant.state.users import User

MAX_TOKEN_OCTETS: Final = 8 * 1024
"""Tokens of ours have some 2 KiB."""

_ALLOWED: Final = frozenset({"RS256"})
_INVALID, _OUT_OF_TIME, _OTHER_AUDIENCE, _MISSING = 50013, 500133, 500131, 900144


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who a request speaks for, proven by an access token of this tenant."""

    user: User
    device_id: UUID | None
    """The device that was signed in with, too. Whether it is there still, the caller asks."""
    amr: frozenset[str]
    auth_time: datetime
    """When the user proved something last."""
    claims: JsonObject = field(repr=False)

    @property
    def note(self) -> Note:
        """What an audit record says of it."""
        device = None if self.device_id is None else str(self.device_id)
        return Note(user=self.user.upn, device=device)


def verify_bearer(services: Services, request: Request, audience: str) -> Bearer:
    """Prove the access token of a request.

    audience: whom it has to be for. Raises LoginError, status 401; its `why` is one fixed phrase
    for the audit record, its note names the user once that is proven.
    """
    claims = _claims(services, _token(request))
    if _text(claims, "iss") != issuer_v1(services):
        raise faults.bearer(_INVALID, "the token is of another issuer")
    if _text(claims, "tid") != str(services.config.tenant_id):
        raise faults.bearer(_INVALID, "the token is of another tenant")
    if claims.get("aud") != audience:
        raise faults.bearer(_OTHER_AUDIENCE, "the token is for another audience")
    now = services.now()
    try:
        if integer_member(claims, "nbf") > now.timestamp():
            raise faults.bearer(_OUT_OF_TIME, "the token is not valid yet")
        if now.timestamp() >= integer_member(claims, "exp"):
            raise faults.bearer(_OUT_OF_TIME, "the token has expired")
        auth_time = datetime.fromtimestamp(integer_member(claims, "auth_time"), UTC)
        device = optional_text(claims, "deviceid")
        user_id, device_id = UUID(text_member(claims, "oid")), UUID(device) if device else None
    except (JsonError, ValueError, OverflowError, OSError):
        raise faults.bearer(_INVALID, "a claim of the token is missing or malformed") from None
    amr = claims.get("amr")
    methods = amr if isinstance(amr, list) else []
    with services.database.read() as connection:
        user = users.by_id(connection, user_id)
    if user is None:
        raise faults.bearer(_INVALID, "the token's user was deleted")
    bearer = Bearer(
        user=user,
        device_id=device_id,
        amr=frozenset(method for method in methods if isinstance(method, str)),
        auth_time=auth_time,
        claims=claims,
    )
    if not user.enabled:
        raise _for(bearer, faults.bearer(_INVALID, "the token's user is disabled"))
    return bearer


def device_fault(connection: sqlite3.Connection, bearer: Bearer) -> str | None:
    """Return why the device that a token names may do nothing more; None: it may, or it names none.

    A token outlives what was taken from its device: who has a stolen one has its tokens, too.
    """
    if bearer.device_id is None:
        return None
    device = devices.device_by_id(connection, bearer.device_id)
    if device is None:
        return "the token's device is gone"
    return None if device.enabled else "the token's device is disabled"


def _token(request: Request) -> str:
    values = request.headers.all("authorization")
    if not values:
        raise faults.bearer(_MISSING, "the request has no access token")
    scheme, _, token = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token:
        raise faults.bearer(_INVALID, "the Authorization header is no bearer token")
    return token


def _claims(services: Services, token: str) -> JsonObject:
    key = services.signing_key
    try:
        jws = open_jws(token, max_octets=MAX_TOKEN_OCTETS)
        if jws.kid is not None and jws.kid != key_id(key):
            raise faults.bearer(_INVALID, "the token names a key that is not ours")
        return verify(jws, public_key(key), _ALLOWED).claims()
    except JwsError as error:
        raise faults.bearer(_INVALID, error.why) from None


def _text(claims: JsonObject, name: str) -> str:
    """Return a claim that is a text. Raises LoginError."""
    try:
        return text_member(claims, name)
    except JsonError:
        raise faults.bearer(_INVALID, "a claim of the token is missing or malformed") from None


def _for(bearer: Bearer, error: LoginError) -> LoginError:
    error.note = bearer.note
    return error
