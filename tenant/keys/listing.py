"""A user's registered keys: GET and DELETE under /EnrollmentServer/key/.

MS-KPP has neither. Users see and delete their own keys, and delete with the same fresh second
factor that a registration needs: a stolen password must not take somebody's credential away.
"""

from uuid import UUID

from tenant.errors import KppError
from tenant.http.message import Note, Reply, Request
from tenant.keys.authorization import (
    bearer_of,
    check_device,
    check_mfa,
    find_user,
    forbidden,
    key_transaction,
)
from tenant.keys.request_rules import bad_request, check_request, reply_headers
from tenant.services import Services
from tenant.state import keys
from tenant.state.keys import RegisteredKey


async def list_keys(services: Services, request: Request) -> Reply:
    """List the keys of the token's user, the oldest first."""
    check_request(request)
    bearer = bearer_of(services, request)
    note = Note(user=bearer.user.upn)
    with services.database.read() as connection:
        check_device(connection, bearer)
        user = find_user(connection, bearer.user.object_id, note)
        found = keys.keys_of_user(connection, user.object_id)
    body = {"upn": user.upn, "keys": [_shown(key) for key in found]}
    return Reply.json(200, body, headers=_headers(services, request), note=note)


async def delete_key(services: Services, request: Request) -> Reply:
    """Delete one key of the token's user."""
    check_request(request)
    kid = _kid(request)
    bearer = bearer_of(services, request)
    check_mfa(bearer, services.now(), services.config.mfa_freshness_s)
    note = Note(user=bearer.user.upn, key=str(kid))
    with key_transaction(services) as connection:
        check_device(connection, bearer)
        user = find_user(connection, bearer.user.object_id, note)
        key = keys.key_by_kid(connection, kid)
        if key is None:
            raise KppError(
                404, "directory_error", "The key is not found.", "unknown key", note=note
            )
        if key.user != user.object_id:
            raise forbidden("The key is another user's.", "another user's key", note)
        keys.delete_key(connection, kid)
    return Reply(status=200, headers=_headers(services, request), note=note)


def _headers(services: Services, request: Request) -> tuple[tuple[str, str], ...]:
    return reply_headers(request, UUID(bytes=services.entropy(16), version=4))


def _kid(request: Request) -> UUID:
    text = request.match["kid"]
    try:
        if len(text) == 36:
            return UUID(text)
    except ValueError:
        pass
    raise bad_request("The key id is not a GUID.", "key id is no GUID")


def _shown(key: RegisteredKey) -> dict[str, object]:
    return {
        "kid": str(key.kid),
        "deviceid": str(key.device_id),
        "keyid": key.key_id.hex(),
        "created": key.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "attested": key.attested,
    }
