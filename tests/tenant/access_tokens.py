"""Access tokens for the registration services, made by the tenant's own function."""

from datetime import datetime
from uuid import UUID

from tenant.login.resources import DRS_AUDIENCE
from tenant.login.tokens import access_token
from tenant.services import Services
from tenant.state.sign_in import SignIn
from tenant.state.users import User
from tests.tenant.login.builders import CLIENT, resigned


def registration_token(
    services: Services,
    user: User,
    *,
    at: datetime | None = None,
    mfa: bool = True,
    device_id: UUID | None = None,
    **claims: object,
) -> str:
    """Make a token of a sign-in at a moment. claims: put in the place of the token's own."""
    moment = at or services.now()
    sign_in = SignIn(
        user_id=user.object_id,
        client_id=CLIENT,
        methods=frozenset({"pwd"}),
        auth_time=moment,
        mfa_time=moment if mfa else None,
        device_id=device_id,
    )
    token = access_token(services, user, sign_in, DRS_AUDIENCE, services.now())
    return resigned(services, token, claims) if claims else token
