"""POST /{tenant}/oauth2/token and its v2.0 twin: the table of grants."""

from collections.abc import Mapping
from typing import Final

from tenant.http.message import Reply, Request
from tenant.login import faults, grants
from tenant.login.token_request import Grant, open_form
from tenant.prt.grant import jwt_bearer
from tenant.prt.request import JWT_BEARER
from tenant.services import Services

GRANTS: Final[Mapping[str, Grant]] = {
    "srv_challenge": grants.srv_challenge,
    "password": grants.password,
    "refresh_token": grants.refresh_token,
    "authorization_code": grants.authorization_code,
    "urn:ietf:params:oauth:grant-type:device_code": grants.device_code,
    "device_code": grants.device_code,
    JWT_BEARER: jwt_bearer,
}
"""grant_type -> who answers it."""


async def token_v1(services: Services, request: Request) -> Reply:
    """Answer the v1 token endpoint."""
    return await _token(services, request, v2=False)


async def token_v2(services: Services, request: Request) -> Reply:
    """Answer the v2.0 token endpoint."""
    return await _token(services, request, v2=True)


async def _token(services: Services, request: Request, *, v2: bool) -> Reply:
    asked = open_form(services, request, v2=v2)
    grant = GRANTS.get(asked.required("grant_type"))
    if grant is None:
        raise faults.unsupported_grant()
    return await grant(services, asked)
