"""The token endpoint's grants that rest on a password, a code or a refresh token; and the nonce."""

import hashlib
import hmac
from typing import Final

from tenant.errors import NO_STORE
from tenant.http.message import Note, Reply
from tenant.jose.jws import encode_base64url
from tenant.login import faults
from tenant.login.nonce import issue_nonce
from tenant.login.password import check_second_factor, prove_password
from tenant.login.resources import Target, target_of
from tenant.login.token_request import TokenRequest, application_id
from tenant.login.tokens import new_refresh_token, token_reply, usable_user
from tenant.services import Services
from tenant.state import tokens, users
from tenant.state.sign_in import SignIn
from tenant.state.tokens import GrantError, GrantFault
from tenant.state.users import User

MIN_VERIFIER_CHARS: Final = 43
MAX_VERIFIER_CHARS: Final = 128


async def srv_challenge(services: Services, asked: TokenRequest) -> Reply:
    """Give out a nonce (MS-OAPXBC 3.2.5.1.1); nothing else has to be in the request."""
    client = asked.optional("client_id")
    client_id = None if client is None else application_id(client)
    nonce = issue_nonce(services, asked.http, asked.now, client_id=client_id)
    return Reply.json(200, {"Nonce": nonce}, headers=NO_STORE, note=Note(reason="nonce"))


async def password(services: Services, asked: TokenRequest) -> Reply:
    """Sign in with name and password (RFC 6749 4.3)."""
    client_id, target = asked.client_id, asked.target
    proof = await prove_password(
        services,
        asked.required("username"),
        asked.required("password"),
        asked.now,
        demands_mfa=asked.demands_mfa,
    )
    return _new_tokens(services, asked, proof.user, proof.sign_in(client_id), target)


async def device_code(services: Services, asked: TokenRequest) -> Reply:
    """Change a device code for tokens, once its user signed in elsewhere (RFC 8628 3.4)."""
    client_id = asked.client_id
    code = asked.optional("device_code") or asked.required("code")  # `code`: the v1 form
    try:
        with services.database.write() as connection:
            grant = tokens.use_device_code(connection, code, client_id, asked.now)
            user = usable_user(connection, grant.sign_in)
    except GrantError as error:
        raise faults.device_code_refused(error.fault, v2=asked.v2) from None
    target = target_of(grant.resource or None, grant.scope or None, v2=asked.v2)
    return _new_tokens(services, asked, user, grant.sign_in, target)


async def authorization_code(services: Services, asked: TokenRequest) -> Reply:
    """Change an authorization code for tokens (RFC 6749 4.1.3, RFC 7636 4.5)."""
    client_id, code = asked.client_id, asked.required("code")
    redirect_uri, verifier = asked.required("redirect_uri"), asked.optional("code_verifier")
    try:
        with services.database.write() as connection:
            grant, sent_to, challenge = tokens.use_code(connection, code, client_id, asked.now)
            user = usable_user(connection, grant.sign_in)
            # Not raised in here: the code stays used up.
            fault = _code_fault(redirect_uri, sent_to, verifier, challenge)
    except GrantError as error:
        if error.fault is GrantFault.USED:
            with services.database.write() as connection:
                tokens.end_tokens_of_code(connection, code)
        raise faults.code_refused(error.fault, _owner(services, error)) from None
    if fault is not None:
        raise faults.code_refused(fault, user)
    target = target_of(
        asked.optional("resource") or grant.resource or None,
        asked.optional("scope") or grant.scope or None,
        v2=asked.v2,
    )
    family = tokens.digest_of(code)
    return _new_tokens(
        services, asked, user, grant.sign_in, target, family=family, nonce=grant.nonce
    )


def _code_fault(
    redirect_uri: str, sent_to: str, verifier: str | None, challenge: str | None
) -> GrantFault | None:
    if redirect_uri != sent_to:
        return GrantFault.OTHER_REDIRECT
    if verifier is None and challenge is None:
        return None
    if verifier is None or challenge is None:  # RFC 9700 2.1.1: one without the other
        return GrantFault.WRONG_VERIFIER
    octets = verifier.encode("utf-8", "replace")
    made = encode_base64url(hashlib.sha256(octets).digest())
    fits = MIN_VERIFIER_CHARS <= len(verifier) <= MAX_VERIFIER_CHARS
    if not fits or not hmac.compare_digest(made, challenge.encode("utf-8", "replace")):
        return GrantFault.WRONG_VERIFIER
    return None


async def refresh_token(services: Services, asked: TokenRequest) -> Reply:
    """Change a refresh token for new tokens (RFC 6749 6); it is replaced (RFC 9700 4.14.2).

    Without a replacement, which v2 gives for the scope offline_access alone, it stays as it is.
    """
    client_id, target, token = asked.client_id, asked.target, asked.required("refresh_token")
    rotates = target.wants_refresh_token and services.config.refresh_token_rotation
    replacement: str | None = None
    try:
        with services.database.write() as connection:
            judge = tokens.use_refresh_token if rotates else tokens.find_refresh_token
            sign_in, family = judge(connection, token, client_id, asked.now)
            user = usable_user(connection, sign_in)
            check_second_factor(services, user, sign_in, asked.now, demands_mfa=asked.demands_mfa)
            if target.wants_refresh_token:
                replacement = new_refresh_token(
                    services, connection, sign_in, asked.now, family=family
                )
    except GrantError as error:
        if error.fault is GrantFault.USED:
            with services.database.write() as connection:
                tokens.end_family(connection, token, asked.now)
        raise faults.refresh_refused(error.fault, _owner(services, error)) from None
    return token_reply(services, asked, user, sign_in, target, refresh_token=replacement)


def _owner(services: Services, error: GrantError) -> User | None:
    """Find whose token or code was refused: somebody else may hold it."""
    if error.user_id is None:
        return None
    with services.database.read() as connection:
        return users.by_id(connection, error.user_id)


def _new_tokens(
    services: Services,
    asked: TokenRequest,
    user: User,
    sign_in: SignIn,
    target: Target,
    *,
    family: bytes | None = None,
    nonce: str | None = None,
) -> Reply:
    refresh: str | None = None
    if target.wants_refresh_token:
        with services.database.write() as connection:
            refresh = new_refresh_token(services, connection, sign_in, asked.now, family=family)
    return token_reply(services, asked, user, sign_in, target, refresh_token=refresh, nonce=nonce)
