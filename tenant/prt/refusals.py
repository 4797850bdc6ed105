"""The refusals of PRT requests (MS-OAPXBC 3.2.5.1.2.3), with the numbers that Entra uses for them.

401: a signature that proves nothing, so nobody is authenticated. 400: who asks is known, and what
is shown is not good. Both are `invalid_grant`, as MS-OAPXBC demands.
"""

from typing import Final

from tenant.errors import LoginError
from tenant.http.message import Note

INVALID_ASSERTION: Final = 50013
OUT_OF_TIME: Final = 500133
DEVICE_AUTHENTICATION_FAILED: Final = 50155
DEVICE_DISABLED: Final = 135011
INVALID_NONCE: Final = 140000
INVALID_SESSION_KEY: Final = 140001
NGC_KEY_NOT_FOUND: Final = 130004
NGC_INVALID_SIGNATURE: Final = 130005
NO_TRANSPORT_KEY: Final = 130006
EXPIRED_OR_REVOKED: Final = 70008
MALFORMED: Final = 9002313
UNKNOWN_CLIENT: Final = 700016
UNSUPPORTED_GRANT: Final = 70003
INVALID_SCOPE: Final = 70011

_TEXT: Final = {
    INVALID_ASSERTION: "The assertion or its signature is not valid.",
    OUT_OF_TIME: "The assertion is not within its valid time range.",
    DEVICE_AUTHENTICATION_FAILED: "Device authentication failed.",
    DEVICE_DISABLED: "The device used during the authentication is disabled.",
    INVALID_NONCE: "The request nonce is missing, was not given out, has expired or was used.",
    INVALID_SESSION_KEY: "The session key isn't valid.",
    NGC_KEY_NOT_FOUND: "The user principal doesn't have the NGC ID key configured.",
    NGC_INVALID_SIGNATURE: "NGC key signature verification failed.",
    NO_TRANSPORT_KEY: "The transport key isn't configured on the device.",
    EXPIRED_OR_REVOKED: "The refresh token has expired or was revoked.",
    MALFORMED: "The request is malformed or invalid.",
    UNKNOWN_CLIENT: "The application was not found in the tenant, or is no broker.",
    UNSUPPORTED_GRANT: "The grant type is not supported.",
    INVALID_SCOPE: "The scopes of the request are not valid.",
}


def not_proven(number: int, why: str, note: Note | None = None) -> LoginError:
    """Refuse with 401 what proves nothing."""
    return LoginError("invalid_grant", number, _TEXT[number], why, status=401, note=note)


def refused(number: int, why: str, note: Note | None = None) -> LoginError:
    """Refuse with 400 what is proven and not good."""
    return LoginError("invalid_grant", number, _TEXT[number], why, note=note)


def malformed(why: str, *, error: str = "invalid_request", number: int = MALFORMED) -> LoginError:
    """Refuse with 400 what is not a request of this protocol."""
    return LoginError(error, number, _TEXT[number], why)
