"""Nonces of this tenant, given out and used up by requests (`state.nonces` holds the rules)."""

from datetime import datetime

from tenant.http.message import Request
from tenant.login import faults
from tenant.services import Services
from tenant.state import nonces
from tenant.state.nonces import NonceError, NoncePurpose


def issue_nonce(
    services: Services,
    request: Request,
    now: datetime,
    *,
    purpose: NoncePurpose = NoncePurpose.LOGIN,
    client_id: str | None = None,
) -> str:
    """Make a nonce for whoever sent this request. client_id: when it named one."""
    random = services.entropy(nonces.RANDOM_OCTETS)
    return nonces.issue(_key(services), purpose, now, random, peer=request.peer, client=client_id)


def use_nonce(
    services: Services,
    request: Request,
    nonce: str | None,
    now: datetime,
    *,
    purpose: NoncePurpose = NoncePurpose.LOGIN,
    client_id: str | None = None,
) -> None:
    """Use up a nonce that a request shows; it is on disk as used when this returns.

    Raises NonceError: absent, not ours, another's, expired, used (row R04). `use_login_nonce` makes
    the sign-in's refusal of it.
    """
    if nonce is None:
        raise NonceError("the request has no nonce")
    key = _key(services)
    with services.database.write() as connection:
        nonces.consume(
            connection,
            key,
            nonce,
            purpose,
            now,
            services.config.nonce_life_s,
            peer=request.peer,
            client=client_id,
        )


def use_login_nonce(
    services: Services,
    request: Request,
    nonce: str | None,
    now: datetime,
    *,
    client_id: str | None = None,
) -> None:
    """Use up the request nonce of a sign-in. Raises LoginError(invalid_grant)."""
    try:
        use_nonce(services, request, nonce, now, client_id=client_id)
    except NonceError as error:
        raise faults.bad_nonce(error.why) from None


def use_jti(services: Services, issuer: str, jti: str, ends: datetime, now: datetime) -> None:
    """Use up the `jti` of an assertion. Raises LoginError(invalid_grant) when it came before."""
    try:
        with services.database.write() as connection:
            nonces.consume_jti(connection, issuer, jti, ends, now)
    except NonceError as error:
        raise faults.bad_nonce(error.why) from None


def _key(services: Services) -> bytes:
    with services.database.read() as connection:
        key = nonces.find_key(connection, services.master_key)
    if key is None:
        with services.database.write() as connection:
            key = nonces.make_key(connection, services.master_key, services.entropy)
    return key
