"""Users, sign-ins and tokens of a tenant without a server."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from tenant.http.message import Reply
from tenant.jose.jws import decode_base64url, encode_base64url, sign
from tenant.jose.strict_json import JsonObject
from tenant.login.resources import DRS_AUDIENCE
from tenant.login.tokens import access_token, key_id
from tenant.services import Services
from tenant.state import users
from tenant.state.passwords import hash_password
from tenant.state.sign_in import SignIn
from tenant.state.users import MfaMode, User
from tests.rig import tenant as rig

PASSWORD = "Fjord-und-Tal-61"  # noqa: S105  a test user's
CLIENT = "29d9ed98-a469-4536-ade2-f981bc1d605e"
OTHER_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
ALICE = User(
    object_id=UUID(int=1),
    upn="alice@lab.test",
    display_name="Alice Änne",
    # A small cost, so that tests are quick; the hash says its cost itself.
    password=hash_password(PASSWORD, bytes(16), cost=16),
)


def add_user(tenant: Services, user: User = ALICE, *, mfa: MfaMode = MfaMode.NONE) -> User:
    """Add a user to a tenant."""
    added = replace(user, mfa=mfa)
    with tenant.database.write() as connection:
        users.add(connection, added)
    return added


def sign_in(now: datetime, *, mfa: bool = True, device_id: UUID | None = None) -> SignIn:
    """Make a sign-in of alice's, with or without a second factor, at a moment."""
    return SignIn(
        user_id=ALICE.object_id,
        client_id=CLIENT,
        methods=frozenset({"pwd"}),
        auth_time=now,
        mfa_time=now if mfa else None,
        device_id=device_id,
    )


def drs_token(
    tenant: Services,
    *,
    user: User = ALICE,
    mfa: bool = True,
    at: datetime | None = None,
    device_id: UUID | None = None,
    **claims: object,
) -> str:
    """Make an access token for the registration services; at: when the user signed in.

    claims: put in the place of the token's own.
    """
    moment = at or tenant.now()
    made = replace(sign_in(moment, mfa=mfa, device_id=device_id), user_id=user.object_id)
    token = access_token(tenant, user, made, DRS_AUDIENCE, tenant.now())
    return resigned(tenant, token, claims) if claims else token


def claims_of(token: str) -> dict[str, Any]:
    """Read the claims of a token without proving them, as its client does."""
    claims: dict[str, Any] = json.loads(decode_base64url(token.split(".")[1].encode()))
    return claims


def resigned(tenant: Services, token: str, changes: Mapping[str, object]) -> str:
    """Sign a token's claims anew with the tenant's key, some changed; None takes one out."""
    claims: JsonObject = {**claims_of(token), **changes}  # type: ignore[dict-item]  # JSON values
    kept: JsonObject = {name: value for name, value in claims.items() if value is not None}
    return sign(kept, tenant.signing_key.private_key, key_id(tenant.signing_key))


def with_header(token: str, header: Mapping[str, object], signature: bytes) -> str:
    """Give a token another header and signature."""
    payload = token.split(".")[1].encode()
    parts = (
        encode_base64url(json.dumps(header).encode()),
        payload,
        encode_base64url(signature),
    )
    return b".".join(parts).decode()


def post(tenant: Services, target: str, **form: str) -> Reply:
    """Post a form to the host of the sign-in."""
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    return rig.ask(tenant, "POST", target, urlencode(form).encode(), headers=(kind,))


def body(reply: Reply) -> dict[str, Any]:
    """Read a reply's JSON object."""
    found: dict[str, Any] = json.loads(reply.body)
    return found


def later(tenant: Services, **time: float) -> Services:
    """Return the same tenant so much later."""
    moment = tenant.now() + timedelta(**time)
    return replace(tenant, now=lambda: moment)
