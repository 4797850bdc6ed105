"""The refusals of the sign-in, each with OAuth's code and the AADSTS number of the real service.

Numbers and codes are facts of the service's documentation; the texts are ours. `why` is the audit
record's, and says more than a client hears.
"""

from typing import Final

from tenant.errors import LoginError
from tenant.http.message import Note
from tenant.state.tokens import GrantFault
from tenant.state.users import User

_ERROR_PAGE: Final = "https://login.microsoftonline.com/error?code="


def refusal(
    error: str,
    number: int,
    text: str,
    why: str,
    *,
    status: int = 400,
    user: User | None = None,
    suberror: str | None = None,
) -> LoginError:
    """Make a refusal with the members that every one has."""
    extra = [("error_uri", f"{_ERROR_PAGE}{number}")]
    if suberror is not None:
        extra.append(("suberror", suberror))
    return LoginError(
        error,
        number,
        text,
        why,
        status=status,
        note=Note(user=None if user is None else user.upn),
        extra=tuple(extra),
    )


def missing_parameter(name: str) -> LoginError:
    """Refuse a request without a parameter that it needs; name: a constant of ours."""
    text = f"The request body must contain the following parameter: '{name}'."
    return refusal("invalid_request", 900144, text, f"the parameter {name} is missing")


def malformed(why: str) -> LoginError:
    """Refuse a request that cannot be read."""
    return refusal("invalid_request", 9002313, "Invalid request. Request is malformed.", why)


def unknown_tenant() -> LoginError:
    """Refuse a tenant's name that is not ours."""
    text = "The tenant of the request's path was not found."
    return refusal("invalid_request", 90002, text, "the path names another tenant")


def bad_client(why: str) -> LoginError:
    """Refuse a client id that is no application id."""
    text = "The application of the request was not found in the directory."
    return refusal("unauthorized_client", 700016, text, why)


def public_client_with_secret() -> LoginError:
    """Refuse client credentials: all clients here are public."""
    text = "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."
    return refusal("invalid_client", 700025, text, "a public client shows a secret", status=401)


def unsupported_grant() -> LoginError:
    """Refuse a grant type that is not in the table."""
    text = "The app requested an unsupported grant type."
    return refusal("unsupported_grant_type", 70003, text, "the grant type is not supported")


def bad_resource(why: str) -> LoginError:
    """Refuse a resource or scope that names none."""
    text = "The resource principal of the request was not found in the tenant."
    return refusal("invalid_resource", 500011, text, why)


def wrong_credentials(why: str, user: User | None = None) -> LoginError:
    """Refuse a name and password: one answer for an unknown name and for a wrong password.

    DEVIATION: the service tells an unknown name apart (AADSTS50034); a name is no secret there.
    """
    text = "Error validating credentials due to invalid username or password."
    return refusal("invalid_grant", 50126, text, why, user=user)


def locked_out() -> LoginError:
    """Refuse a name at which too many passwords were tried."""
    text = (
        "The account is locked, you've tried to sign in too many times with an incorrect user ID "
        "or password."
    )
    return refusal("invalid_grant", 50053, text, "too many failures: the name is locked")


def disabled(user: User) -> LoginError:
    """Refuse a user whose proof is right."""
    text = "The user account is disabled."
    return refusal("invalid_grant", 50057, text, "the user is disabled", user=user)


def user_gone() -> LoginError:
    """Refuse a token whose user was deleted."""
    text = "The user account does not exist in the directory."
    return refusal("invalid_grant", 50034, text, "the user was deleted")


def device_unusable(user: User, *, known: bool) -> LoginError:
    """Refuse a sign-in whose device was deleted or disabled."""
    if known:
        text = "The device used during the authentication is disabled."
        return refusal("invalid_grant", 135011, text, "the device is disabled", user=user)
    text = "Device authentication failed."
    return refusal("invalid_grant", 50155, text, "the device was deleted", user=user)


def second_factor_needed(user: User) -> LoginError:
    """Refuse until a second factor is shown: the client has to let the user interact."""
    text = (
        "Due to a configuration change made by your administrator, or because you moved to a new "
        "location, you must use multi-factor authentication to access the resource."
    )
    why = "a second factor is needed"
    return refusal("interaction_required", 50076, text, why, user=user, suberror="basic_action")


def second_factor_not_registered(user: User) -> LoginError:
    """Refuse a demand for a second factor of a user who has none."""
    text = "You must enroll in multi-factor authentication to access the resource."
    why = "a second factor is demanded, and the user has none"
    return refusal("interaction_required", 50079, text, why, user=user, suberror="basic_action")


def second_factor_wrong(user: User) -> LoginError:
    """Refuse a wrong one-time code."""
    text = "Authentication failed during strong authentication request."
    return refusal("invalid_grant", 500121, text, "the one-time code is wrong", user=user)


def bad_nonce(why: str) -> LoginError:
    """Refuse a request nonce (row R04; MS-OAPXBC 3.2.5.1.2.3)."""
    return refusal("invalid_grant", 140000, "The request nonce is not valid.", why)


def bad_redirect(why: str) -> LoginError:
    """Refuse a redirect URI."""
    text = "The redirect URI of the request does not match those configured for the application."
    return refusal("invalid_request", 50011, text, why)


def busy(why: str = "too many sign-ins wait") -> LoginError:
    """Refuse for now: too much is waiting."""
    text = "A transient error has occurred. Please try again."
    return refusal("temporarily_unavailable", 90033, text, why, status=503)


def bearer(number: int, why: str) -> LoginError:
    """Refuse an access token (RFC 6750 3.1): 401 whatever is wrong with it."""
    return refusal("invalid_token", number, "The access token is not valid.", why, status=401)


_REFRESH: Final = {
    GrantFault.EXPIRED: (700082, "The refresh token has expired due to inactivity."),
}
_CODE: Final = {
    GrantFault.EXPIRED: (70008, "The provided authorization code has expired."),
    GrantFault.USED: (54005, "OAuth2 Authorization code was already redeemed."),
    GrantFault.OTHER_REDIRECT: (50011, "The redirect URI does not match the code's."),
    GrantFault.WRONG_VERIFIER: (
        501481,
        "The Code_Verifier does not match the code_challenge of the authorization request.",
    ),
}
_INVALID_GRANT: Final = (70000, "Provided grant is invalid or malformed.")


def refresh_refused(fault: GrantFault, user: User | None = None) -> LoginError:
    """Refuse a refresh token."""
    number, text = _REFRESH.get(fault, _INVALID_GRANT)
    return refusal("invalid_grant", number, text, fault.value, user=user)


def code_refused(fault: GrantFault, user: User | None = None) -> LoginError:
    """Refuse an authorization code."""
    number, text = _CODE.get(fault, _INVALID_GRANT)
    return refusal("invalid_grant", number, text, fault.value, user=user)


def device_code_refused(fault: GrantFault, *, v2: bool) -> LoginError:
    """Refuse a device code, or say that its user has still to come (RFC 8628 3.5)."""
    if fault is GrantFault.PENDING:
        text = "OAuth 2.0 device flow error. Authorization is pending. Continue polling."
        return refusal("authorization_pending", 70016, text, fault.value)
    if fault is GrantFault.EXPIRED:
        error = "expired_token" if v2 else "code_expired"
        return refusal(
            error, 70020, "The provided value for the device code has expired.", fault.value
        )
    if fault is GrantFault.DECLINED:
        text = "The end user declined the authorization request."
        return refusal("authorization_declined", 70021, text, fault.value)
    number, text = _INVALID_GRANT
    return refusal("invalid_grant", number, text, fault.value)
