"""The discovery document: where each service of the tenant is (seed R1, phase E)."""

import re
from typing import Final
from uuid import UUID

from tenant.config import TenantConfig
from tenant.errors import DrsError
from tenant.http.message import Reply, Request
from tenant.login.resources import DRS_AUDIENCE
from tenant.services import Services

LOGIN: Final = "https://login.microsoftonline.com"
_VERSION: Final = re.compile(r"1\.[0-9]")


def check_tenant(config: TenantConfig, text: str) -> None:
    """Check that a tenant id or domain in a path is this tenant's. Raises DrsError."""
    if text.lower() == config.domain:
        return
    try:
        if UUID(text) == config.tenant_id:
            return
    except ValueError:
        pass
    raise DrsError(400, "DirectoryError", "The tenant is not found.", "another tenant")


def check_version(request: Request, known: frozenset[str]) -> None:
    """Check the parameter api-version, which every request has (MS-DVRJ 2.2.2.1).

    Raises DrsError; MalformedError when it comes twice.
    """
    version = request.query.single("api-version")
    if version not in known:
        raise DrsError(
            400, "BadRequest", "The api-version is missing or unknown.", "unknown api-version"
        )


async def discover(services: Services, request: Request) -> Reply:
    """Answer GET /{tenant}/Discover. Who asks makes no difference: nothing in it is secret.

    Source: aad-join-spec 3.1; what libhimmelblau reads. The services of the second half are those
    that clients look for and the tenant does not have: their addresses answer 404.
    """
    check_tenant(services.config, request.match["tenant"])
    version = request.query.single("api-version")
    if version is None or not _VERSION.fullmatch(version):
        raise DrsError(
            400, "BadRequest", "The api-version is missing or unknown.", "unknown api-version"
        )
    return Reply.json(200, discovery_document(services.config, request.host))


def discovery_document(config: TenantConfig, host: str) -> dict[str, object]:
    """Make the document; host: the one that was asked, which clients go on asking."""
    here = f"https://{host}"
    tenant = config.tenant_id
    login = f"{LOGIN}/{tenant}"

    def service(name: str, resource: str, path: str, version: str) -> dict[str, str]:
        return {name: here + path, resource: DRS_AUDIENCE, "ServiceVersion": version}

    return {
        "DiscoveryService": {
            "DiscoveryEndpoint": f"{here}/{tenant}/Discover",
            "ServiceVersion": "1.9",
        },
        "ServicesService": {
            "ServicesEndpoint": f"{here}/{tenant}/Discover",
            "ServiceVersion": "1.9",
        },
        "AuthenticationService": {
            "OAuth2": {
                "AuthCodeEndpoint": f"{login}/oauth2/authorize",
                "TokenEndpoint": f"{login}/oauth2/token",
            }
        },
        "IdentityProviderService": {
            "Federated": False,
            "PassiveAuthEndpoint": f"{login}/wsfed",
        },
        "DeviceJoinService": service(
            "JoinEndpoint", "JoinResourceId", "/EnrollmentServer/device/", "2.0"
        ),
        "KeyProvisioningService": service(
            "KeyProvisionEndpoint", "KeyProvisionResourceId", "/EnrollmentServer/key/", "1.0"
        ),
        "NonceService": service(
            "Endpoint", "ResourceId", f"/EnrollmentServer/nonce/{tenant}/", "1.0"
        ),
        "TenantInfo": {
            "DisplayName": config.domain,
            "TenantId": str(tenant),
            "TenantName": config.domain,
        },
        # Not served, from here on.
        "DeviceRegistrationService": service(
            "RegistrationEndpoint",
            "RegistrationResourceId",
            "/EnrollmentServer/DeviceEnrollmentWebService.svc",
            "1.0",
        ),
        "WebAuthNService": service(
            "WebAuthNEndpoint", "WebAuthNResourceId", f"/webauthn/{tenant}/", "1.0"
        ),
        "DeviceManagementService": service(
            "DeviceManagementEndpoint", "DeviceManagementResourceId", f"/manage/{tenant}/", "1.0"
        ),
        "MsaProviderData": {"SiteId": "0", "SiteUrl": host},
        "PrecreateService": service(
            "PrecreateEndpoint",
            "PrecreateResourceId",
            f"/EnrollmentServer/device/precreate/{tenant}/",
            "2.0",
        ),
        "AzureRbacService": {"RbacPolicyEndpoint": here},
        "BPLService": {
            **service(
                "BPLServiceEndpoint", "BPLResourceId", f"/aadpasswordpolicy/{tenant}/", "1.0"
            ),
            "BPLProxyServicePrincipalId": str(UUID(int=0)),
        },
        "DeviceJoinResourceService": service(
            "Endpoint", "ResourceId", f"/EnrollmentServer/device/resource/{tenant}/", "2.0"
        ),
    }
