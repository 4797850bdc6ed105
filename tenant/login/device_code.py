"""The device code flow's first half (RFC 8628 3.1): a code for the client, another for its user."""

from typing import Final

from tenant.errors import NO_STORE
from tenant.http.message import Note, Reply, Request
from tenant.jose.jws import encode_base64url
from tenant.login import faults
from tenant.login.token_request import TokenRequest, open_form
from tenant.services import Services
from tenant.state import tokens
from tenant.state.tokens import DeviceCode, GrantError

VERIFICATION_URI: Final = "https://login.microsoftonline.com/common/oauth2/deviceauth"
INTERVAL_S: Final = 5
"""How often a client asks whether the user has come; it is not enforced."""

CODE_OCTETS: Final = 32
USER_CODE_CHARS: Final = 9
_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ23456789AEUY"
"""32 letters and digits that are not taken for one another: no 0, O, 1, I."""


async def device_code_v1(services: Services, request: Request) -> Reply:
    """Answer POST /{tenant}/oauth2/devicecode: numbers as text."""
    return _answer(services, open_form(services, request, v2=False))


async def device_code_v2(services: Services, request: Request) -> Reply:
    """Answer POST /{tenant}/oauth2/v2.0/devicecode."""
    return _answer(services, open_form(services, request, v2=True))


def _answer(services: Services, asked: TokenRequest) -> Reply:
    target = asked.target  # judged now, so that nobody signs in for what gets no token
    resource = asked.optional("resource") or ""
    device_code = encode_base64url(services.entropy(CODE_OCTETS)).decode()
    user_code = "".join(_ALPHABET[octet % 32] for octet in services.entropy(USER_CODE_CHARS))
    waiting = DeviceCode(
        client_id=asked.client_id,
        resource=resource,
        scope=target.scope,
        demands_mfa=asked.demands_mfa,
    )
    life_s = services.config.device_code_life_s
    try:
        with services.database.write() as connection:
            tokens.keep_device_code(connection, device_code, user_code, waiting, asked.now, life_s)
    except GrantError as error:
        raise faults.busy(error.fault.value) from None
    body: dict[str, object] = {
        "user_code": user_code,
        "device_code": device_code,
        "message": (
            f"To sign in, use a web browser to open the page {VERIFICATION_URI} and enter the code "
            f"{user_code} to authenticate. In this lab: tenant login approve {user_code} USER."
        ),
    }
    if asked.v2:
        body |= {
            "verification_uri": VERIFICATION_URI,
            "expires_in": life_s,
            "interval": INTERVAL_S,
        }
    else:
        body |= {
            "verification_url": VERIFICATION_URI,
            "expires_in": str(life_s),
            "interval": str(INTERVAL_S),
        }
    return Reply.json(200, body, headers=NO_STORE, note=Note(reason="device code"))
