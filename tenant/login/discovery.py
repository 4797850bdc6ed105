"""What a client finds out before it signs in: endpoints, keys, clouds, realms (seed R1, A-C)."""

from typing import Final

from tenant.http.message import Reply, Request
from tenant.login import faults
from tenant.login.resources import OPENID_SCOPES
from tenant.login.token_request import check_tenant
from tenant.login.tokens import issuer_v1, issuer_v2, key_set
from tenant.services import Services

HOSTS: Final = ("login.microsoftonline.com", "login.windows.net", "login.microsoft.com")
"""Names of one sign-in service; the first is the one that clients are told."""
HOST: Final = f"https://{HOSTS[0]}"

CAPABILITIES: Final = ("kdf_ver2",)
"""MS-OIDCE 2.2.3.2: version 2 of the session keys' derivation (MS-OAPXBC 3.1.5.1.3.4)."""

CLAIMS: Final = (
    *("sub", "iss", "aud", "exp", "iat", "auth_time", "amr", "nonce"),
    *("preferred_username", "name", "tid", "oid", "upn", "ver"),
)

CLOUD: Final = "microsoftonline.com"
AUDIENCE_URN: Final = "urn:federation:MicrosoftOnline"


async def openid_configuration_v1(services: Services, request: Request) -> Reply:
    """Answer GET /{tenant}/.well-known/openid-configuration (MS-OIDCE 3.2.5.3)."""
    check_tenant(services, request)
    return _configuration(services, issuer_v1(services), "oauth2", "discovery/keys")


async def openid_configuration_v2(services: Services, request: Request) -> Reply:
    """Answer GET /{tenant}/v2.0/.well-known/openid-configuration."""
    check_tenant(services, request)
    return _configuration(services, issuer_v2(services), "oauth2/v2.0", "discovery/v2.0/keys")


def _configuration(services: Services, issuer: str, endpoints: str, keys: str) -> Reply:
    base = f"{HOST}/{services.config.tenant_id}"
    return Reply.json(
        200,
        {
            "issuer": issuer,
            "authorization_endpoint": f"{base}/{endpoints}/authorize",
            "token_endpoint": f"{base}/{endpoints}/token",
            "device_authorization_endpoint": f"{base}/{endpoints}/devicecode",
            "jwks_uri": f"{base}/{keys}",
            "token_endpoint_auth_methods_supported": ["none"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "scopes_supported": list(OPENID_SCOPES),
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "claims_supported": list(CLAIMS),
            "cloud_instance_name": CLOUD,
            "capabilities": list(CAPABILITIES),
        },
    )


async def keys(services: Services, request: Request) -> Reply:
    """Answer the key set of both versions: one key signs everything."""
    check_tenant(services, request)
    return Reply.json(200, key_set(services.signing_key, issuer_v2(services)))


async def instances(services: Services, _request: Request) -> Reply:
    """Answer GET /common/discovery/instance: which host names are one cloud (MSAL asks)."""
    metadata = {
        "preferred_network": HOSTS[0],
        "preferred_cache": HOSTS[1],
        "aliases": list(HOSTS),
    }
    tenant = services.config.tenant_id
    return Reply.json(
        200,
        {
            "tenant_discovery_endpoint": f"{HOST}/{tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [metadata],
        },
    )


async def user_realm(services: Services, request: Request) -> Reply:
    """Answer GET /common/UserRealm/{upn}?api-version=1.0 or 2.x: is the domain managed?

    Only the domain is looked at: it says nothing about who exists. Raises LoginError.
    """
    name = request.match.get("upn") or request.query.single("user") or ""
    user, _, domain = name.rpartition("@")
    managed = bool(user) and domain.lower() == services.config.domain
    version = request.query.single("api-version")
    if version == "1.0":
        body = {"ver": "1.0", "account_type": "Managed" if managed else "Unknown"}
        if managed:
            body |= {"domain_name": services.config.domain, "cloud_audience_urn": AUDIENCE_URN}
        body["cloud_instance_name"] = CLOUD
        return Reply.json(200, body)
    if version in ("2.0", "2.1"):
        body = {"Login": name, "NameSpaceType": "Managed" if managed else "Unknown"}
        if managed:
            brand = services.config.domain
            body |= {"DomainName": services.config.domain, "FederationBrandName": brand}
        body["cloud_instance_name"] = CLOUD
        return Reply.json(200, body)
    raise faults.malformed("the api-version of UserRealm is unknown")
