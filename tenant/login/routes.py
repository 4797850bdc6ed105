"""The paths of this part and who answers them."""

from typing import Final

from tenant.http.message import Route
from tenant.login import authorize, device_code, discovery, token

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/common/discovery/instance", discovery.instances),
    Route("GET", "/common/UserRealm", discovery.user_realm),
    Route("GET", "/common/UserRealm/{upn}", discovery.user_realm),
    Route("GET", authorize.NATIVE_PATH, authorize.native_client),
    Route("GET", "/{tenant}/.well-known/openid-configuration", discovery.openid_configuration_v1),
    Route(
        "GET", "/{tenant}/v2.0/.well-known/openid-configuration", discovery.openid_configuration_v2
    ),
    Route("GET", "/{tenant}/discovery/keys", discovery.keys),
    Route("GET", "/{tenant}/discovery/v2.0/keys", discovery.keys),
    Route("GET", "/{tenant}/oauth2/authorize", authorize.authorize_v1),
    Route("GET", "/{tenant}/oauth2/v2.0/authorize", authorize.authorize_v2),
    Route("POST", "/{tenant}/login", authorize.login),
    Route("GET", "/{tenant}/oauth2/deviceauth", authorize.device_page),
    Route("POST", "/{tenant}/oauth2/deviceauth", authorize.device_login),
    Route("POST", "/{tenant}/oauth2/devicecode", device_code.device_code_v1),
    Route("POST", "/{tenant}/oauth2/v2.0/devicecode", device_code.device_code_v2),
    Route("POST", "/{tenant}/oauth2/token", token.token_v1),
    Route("POST", "/{tenant}/oauth2/v2.0/token", token.token_v2),
)
