"""What `aud` and `iss` of clients' JWTs may say."""

from typing import Final

from tenant.login.discovery import HOSTS
from tenant.login.tokens import issuer_v1, issuer_v2
from tenant.prt.request import BROKERS
from tenant.services import Services

_PATHS: Final = ("/oauth2/token", "/oauth2/v2.0/token")

SESSION_ISSUERS: Final = BROKERS | {"aad:brokerplugin"}
"""Of JWTs under a session key: Windows' broker, or the broker's client id (macOS)."""


def audiences(services: Services) -> frozenset[str]:
    """Return the audiences that mean this tenant.

    MS-OAPXBC wants the issuer; the open clients write `common` (the assertion) and the bare host,
    macOS' broker the token endpoint.
    """
    tenant = str(services.config.tenant_id)
    names = ("common", "organizations", tenant, services.config.domain)
    endpoints = (
        f"https://{host}/{name}{path}" for host in HOSTS for name in names for path in _PATHS
    )
    return frozenset(
        {
            "common",
            tenant,
            issuer_v1(services),
            issuer_v2(services),
            f"https://login.microsoftonline.com/{tenant}/",
            *HOSTS,
            *endpoints,
        }
    )
