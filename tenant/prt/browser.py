"""Single sign-on in browsers: the header or cookie x-ms-RefreshTokenCredential (MS-OAPXBC 2.2.1).

It is a JWT under the session key of a PRT, like a request at the token endpoint, and stands in the
place of the form's name and password. It says `is_primary`, so that no request that was signed for
the token endpoint is one.
"""

from dataclasses import replace
from typing import Final

from tenant.errors import LoginError
from tenant.http.message import Request
from tenant.jose.jws import JwsError, open_jws
from tenant.login.nonce import use_login_nonce
from tenant.login.password import check_second_factor
from tenant.login.token_request import TokenRequest
from tenant.prt import refusals
from tenant.prt.binding import bound_to, device_of, noted, use_jti_of
from tenant.prt.claims import once_only
from tenant.prt.request import nonce_of
from tenant.prt.session import session_claims, shown_prt
from tenant.services import Services
from tenant.state.prts import Prt
from tenant.state.sign_in import SignIn
from tenant.state.tokens import digest_of
from tenant.state.users import User

NAME: Final = "x-ms-refreshtokencredential"
"""Of the header, and of the cookie; in lower case."""


def credential(request: Request) -> str | None:
    """Return the credential that a request shows, in its header or cookie; None: none."""
    found = request.headers.get(NAME)
    if found is not None:
        return found
    for line in request.headers.all("cookie"):
        for pair in line.split(";"):
            name, _, value = pair.strip().partition("=")
            if name.lower() == NAME:
                return value
    return None


def prove_credential(services: Services, asked: TokenRequest, text: str) -> tuple[User, SignIn]:
    """Prove a credential. Returns the user, and the sign-in of the PRT for the asking client.

    The nonce is one of srv_challenge and used up. Raises LoginError: 401 a signature or a time, 400
    all that is proven and not good.
    """
    try:
        jws = open_jws(text)
    except JwsError as error:
        raise refusals.not_proven(refusals.INVALID_ASSERTION, error.why) from None
    token, prt = shown_prt(services, jws)
    try:
        claims = session_claims(services, jws, prt.session_key, asked.now)
        if str(claims.get("is_primary")).lower() not in ("true", "1"):
            raise refusals.malformed("the credential does not say is_primary")
        use_login_nonce(services, asked.http, nonce_of(claims), asked.now)
        once = once_only(claims, asked.now)
        use_jti_of(services, f"prt {digest_of(token).hex()}", once, asked.now)
        return _sign_in(services, asked, prt)
    except LoginError as error:
        raise noted(error, device_of(prt.sign_in)) from None


def _sign_in(services: Services, asked: TokenRequest, prt: Prt) -> tuple[User, SignIn]:
    if asked.now >= prt.expires:
        raise refusals.refused(refusals.EXPIRED_OR_REVOKED, "the PRT has expired")
    with services.database.read() as connection:
        user, _ = bound_to(connection, prt)
    sign_in = replace(prt.sign_in, client_id=asked.client_id)
    check_second_factor(services, user, sign_in, asked.now, demands_mfa=asked.demands_mfa)
    return user, sign_in
