"""The nonce service of the device registration, and how a registration uses a nonce up."""

import sqlite3
from datetime import datetime
from typing import Final

from tenant.drs.discovery import check_tenant, check_version
from tenant.http.message import Reply, Request
from tenant.login.nonce import issue_nonce
from tenant.services import Services
from tenant.state import nonces
from tenant.state.nonces import NonceError, NoncePurpose

VERSIONS: Final = frozenset(("1.0",))


async def give_nonce(services: Services, request: Request) -> Reply:
    """Answer GET /EnrollmentServer/nonce/{tenant}/ (aad-join-spec 3.2). A token is not needed."""
    check_tenant(services.config, request.match["tenant"])
    check_version(request, VERSIONS)
    value = issue_nonce(services, request, services.now(), purpose=NoncePurpose.REGISTRATION)
    return Reply.json(200, {"Value": value})


def use_nonce(
    connection: sqlite3.Connection,
    services: Services,
    request: Request,
    nonce: str | None,
    now: datetime,
) -> None:
    """Use a nonce up in the registration's own transaction, if the request names one.

    So a registration that is refused leaves it unused. Raises NonceError.
    """
    if nonce is None:
        return
    key = nonces.find_key(connection, services.master_key)
    if key is None:
        raise NonceError("the nonce is none of ours")
    nonces.consume(
        connection,
        key,
        nonce,
        NoncePurpose.REGISTRATION,
        now,
        services.config.nonce_life_s,
        peer=request.peer,
    )
