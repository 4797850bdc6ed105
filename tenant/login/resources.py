"""Who a token is for: resources of the v1 endpoint, scopes of v2, and the audience they become."""

import re
from dataclasses import dataclass
from typing import Final

from tenant.errors import LoginError
from tenant.login import faults

DRS_AUDIENCE: Final = "urn:ms-drs:enterpriseregistration.windows.net"
"""Audience of the device and key registration: what roadtx and MS-KPP compare with."""
DRS_APPLICATION: Final = "01cb2876-7ebd-4aa4-9cc9-d28bd4d359a9"
"""Application id of the same service, by which libhimmelblau asks for it."""
DEFAULT_RESOURCE: Final = "00000003-0000-0000-c000-000000000000"
"""Microsoft Graph: what a request means that names no resource."""

MAX_RESOURCE_CHARS: Final = 256
MAX_SCOPE_CHARS: Final = 1024

OPENID_SCOPES: Final = ("openid", "profile", "email", "offline_access")
"""They name no resource (OpenID Connect Core 5.4, 11)."""

_RESOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/?@!$&'()*+,;=%-]*")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 3.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a client asked for."""

    audience: str
    scope: str
    """As it was asked for."""
    wants_refresh_token: bool
    wants_id_token: bool


def target_of(resource: str | None, scope: str | None, *, v2: bool) -> Target:
    """Judge the resource (v1) or scope (v2) of a request.

    v1 always gives a refresh token and an id token; v2 by offline_access and openid, as the service
    does. Raises LoginError: invalid_scope, invalid_resource.
    """
    scopes = _scopes(scope)
    if v2:
        asked = {_resource_of(name) for name in scopes if name not in OPENID_SCOPES}
        if len(asked) > 1:
            text = "The scope of the request contains more than one resource."
            raise faults.refusal("invalid_scope", 700022, text, "the scopes are of two resources")
        resource = asked.pop() if asked else None
    return Target(
        audience=audience(resource or DEFAULT_RESOURCE),
        scope=" ".join(scopes),
        wants_refresh_token=not v2 or "offline_access" in scopes,
        wants_id_token=not v2 or "openid" in scopes,
    )


def audience(resource: str) -> str:
    """Return the audience of a resource's tokens. Raises LoginError(invalid_resource)."""
    if len(resource) > MAX_RESOURCE_CHARS or _RESOURCE.fullmatch(resource) is None:
        raise faults.bad_resource("the resource is no URI or application id")
    if resource.rstrip("/").lower() in (DRS_AUDIENCE, DRS_APPLICATION):
        return DRS_AUDIENCE
    return resource


def _scopes(scope: str | None) -> list[str]:
    names = (scope or "").split()
    if len(scope or "") > MAX_SCOPE_CHARS or not all(map(_SCOPE.fullmatch, names)):
        raise _bad_scope("the scope has a character that none may have, or is too long")
    return names


def _resource_of(scope: str) -> str:
    # A scope of a resource is its identifier, a slash, and a permission; without one it is Graph's.
    resource, slash, permission = scope.rpartition("/")
    if not slash:
        return DEFAULT_RESOURCE
    if not resource or not permission:
        raise _bad_scope("a scope names no permission")
    return resource


def _bad_scope(why: str) -> LoginError:
    text = "The provided value for the input parameter 'scope' is not valid."
    return faults.refusal("invalid_scope", 70011, text, why)
