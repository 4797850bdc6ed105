"""The names that the tenant answers to, and what is served under each.

A client that is pointed here asks for Microsoft's fixed host names. Any other host is refused: by
the CONNECT listener with 403, by HTTPS with 421.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from tenant.drs.routes import ROUTES as DRS_ROUTES
from tenant.http.message import Route
from tenant.keys.routes import ROUTES as KEY_ROUTES
from tenant.login.discovery import HOSTS
from tenant.login.routes import ROUTES as LOGIN_ROUTES


class HostKind(StrEnum):
    """What a host serves."""

    LOGIN = "login"
    REGISTRATION = "registration"


LOGIN_HOSTS: Final = (*HOSTS, "device.login.microsoftonline.com")

REGISTRATION_HOSTS: Final = ("enterpriseregistration.windows.net",)

ROUTES: Final[Mapping[HostKind, tuple[Route, ...]]] = {
    HostKind.LOGIN: LOGIN_ROUTES,
    HostKind.REGISTRATION: (*DRS_ROUTES, *KEY_ROUTES),
}


def hosts(domain: str) -> Mapping[str, HostKind]:
    """Return host name -> what it serves, for a tenant of this domain."""
    return {
        **dict.fromkeys(LOGIN_HOSTS, HostKind.LOGIN),
        **dict.fromkeys(REGISTRATION_HOSTS, HostKind.REGISTRATION),
        # The name in a customer's own domain, where Windows looks first (MS-DVRD 3.1.5.1).
        f"enterpriseregistration.{domain}": HostKind.REGISTRATION,
    }


def certificate_names(domain: str) -> tuple[str, ...]:
    """Return the DNS names in the certificate of HTTPS."""
    return (*hosts(domain), "localhost")
