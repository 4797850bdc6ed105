"""Using a PRT: a JWT under its session key gets tokens, or renews it (MS-OAPXBC 3.2.5.1.3).

The answer is a bare JWE under the session key, whose key is derived with version 1 even when the
request's was not.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from tenant.errors import NO_STORE, LoginError
from tenant.http.message import Reply
from tenant.jose.jws import UnverifiedJws
from tenant.jose.strict_json import JsonObject
from tenant.login.nonce import use_login_nonce
from tenant.login.password import check_second_factor
from tenant.login.resources import OPENID_SCOPES, Target, target_of
from tenant.login.token_request import TokenRequest, application_id
from tenant.login.tokens import access_token, client_info, id_token, new_refresh_token
from tenant.prt import refusals
from tenant.prt.answer import new_token, prt_members
from tenant.prt.audiences import SESSION_ISSUERS
from tenant.prt.binding import bound_to, device_of, noted, use_jti_of
from tenant.prt.claims import (
    Once,
    check_one_of,
    once_only,
    optional_text,
    scopes,
    text,
)
from tenant.prt.jwe import seal_answer
from tenant.prt.kdf import KdfVersion
from tenant.prt.request import kdf_version, nonce_of
from tenant.prt.session import session_claims, shown_prt
from tenant.services import Services
from tenant.state.prts import Prt, insert_prt
from tenant.state.sign_in import SignIn
from tenant.state.tokens import digest_of
from tenant.state.users import User

JOSE_TYPE: Final = "application/jose; charset=utf-8"
_OF_THE_BROKER: Final = frozenset({"aza", "ugs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """What a client asks for with a PRT, proven by its session key."""

    client_id: str
    """For whom the tokens are; the broker acts for it."""
    scopes: frozenset[str]
    resource: str | None
    nonce: str = field(repr=False)
    version: KdfVersion
    once: Once | None

    @property
    def renews(self) -> bool:
        """Whether a new PRT is asked for."""
        return "aza" in self.scopes


def use(services: Services, asked: TokenRequest, jws: UnverifiedJws) -> Reply:
    """Answer a JWT under a session key. Raises LoginError."""
    now = asked.now
    token, prt = shown_prt(services, jws)
    try:
        request = _prove(services, asked, jws, prt.session_key)
        use_login_nonce(services, asked.http, request.nonce, now, client_id=request.client_id)
        use_jti_of(services, f"prt {digest_of(token).hex()}", request.once, now)
        if now >= prt.expires:
            raise refusals.refused(refusals.EXPIRED_OR_REVOKED, "the PRT has expired")
        body, user = _granted(services, asked, prt, token, request)
    except LoginError as error:
        raise noted(error, device_of(prt.sign_in)) from None
    sealed = seal_answer(
        Reply.json(200, body).body, prt.session_key, request.version, services.entropy
    )
    return Reply(
        status=200,
        body=sealed.encode(),
        content_type=JOSE_TYPE,
        headers=NO_STORE,
        note=replace(
            device_of(prt.sign_in),
            user=user.upn,
            reason="PRT renewed" if request.renews else "token got with a PRT",
        ),
    )


def _prove(
    services: Services, asked: TokenRequest, jws: UnverifiedJws, session_key: bytes
) -> SessionRequest:
    """Verify a JWT with a session key, and read what it asks for.

    DEVIATION: MS-OAPXBC 3.2.5.1.3.1 demands the scope openid; roadtx' `prtauth -v3` sends the
    resource's alone to the v2.0 endpoint, and gets no id token then.
    Raises LoginError: 401 signature, times, audience, issuer; 400 what is no such request.
    """
    claims = session_claims(services, jws, session_key, asked.now)
    check_one_of(claims, "iss", SESSION_ISSUERS, required=False)
    if text(claims, "grant_type") != "refresh_token":
        raise refusals.malformed(
            "a PRT is used with grant_type refresh_token",
            error="unsupported_grant_type",
            number=refusals.UNSUPPORTED_GRANT,
        )
    return SessionRequest(
        client_id=application_id(text(claims, "client_id")),
        scopes=scopes(claims, openid=not asked.v2),
        resource=optional_text(claims, "resource"),
        nonce=nonce_of(claims),
        version=kdf_version(jws.header),
        once=once_only(claims, asked.now),
    )


def _granted(
    services: Services, asked: TokenRequest, prt: Prt, shown: str, request: SessionRequest
) -> tuple[JsonObject, User]:
    """Make what was asked for, and keep what has to be kept. shown: the PRT. Raises LoginError."""
    now = asked.now
    target = _target(request, v2=asked.v2)
    sign_in = replace(prt.sign_in, client_id=request.client_id)
    renewed = replace(prt, issued=now, expires=now + timedelta(seconds=services.config.prt_life_s))
    with services.database.write() as connection:
        user, _ = bound_to(connection, prt)
        check_second_factor(services, user, sign_in, now, demands_mfa=asked.demands_mfa)
        if request.renews:
            token = new_token(services)
            insert_prt(connection, token, renewed, services.master_key, former=shown)
        else:
            token = new_refresh_token(services, connection, sign_in, now)
    body: JsonObject = {}
    if request.renews:
        body = prt_members(services, asked, user, renewed, token, request.version)
    if target is not None or not request.renews:
        body |= _token_members(services, user, sign_in, target, now, v2=asked.v2)
        if "openid" in request.scopes:
            body["id_token"] = id_token(services, user, sign_in, now, v2=asked.v2)
        body["refresh_token"] = token
        if asked.wants_client_info:
            body["client_info"] = client_info(services, user)
    return body, user


def _token_members(
    services: Services,
    user: User,
    sign_in: SignIn,
    target: Target | None,
    now: datetime,
    *,
    v2: bool,
) -> JsonObject:
    """Return the members about an access token: numbers are texts in version 1."""
    life_s = services.config.access_token_life_s
    ends = int(now.timestamp()) + life_s
    body: JsonObject = {
        "token_type": "Bearer",
        "expires_in": life_s if v2 else str(life_s),
        "ext_expires_in": life_s if v2 else str(life_s),
        "expires_on": ends if v2 else str(ends),
    }
    if target is not None:
        body["scope"] = target.scope or "user_impersonation"
        body["access_token"] = access_token(services, user, sign_in, target.audience, now)
        if not v2:
            body["resource"] = target.audience
    return body


def _target(request: SessionRequest, *, v2: bool) -> Target | None:
    """Find whom an access token is for; None: none is asked for. Raises LoginError."""
    scope = sorted(request.scopes - _OF_THE_BROKER)
    named = [name for name in scope if name not in OPENID_SCOPES]
    if not (named if v2 else request.resource):
        return None
    return target_of(request.resource, " ".join(scope), v2=v2)
