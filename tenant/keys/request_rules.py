"""What every request to the key service has: version, Accept, request ids (MS-KPP 2.2.1, 2.2.2)."""

from typing import Final
from uuid import UUID

from tenant.errors import KppError
from tenant.http.message import Request

VERSION: Final = "1.0"
JSON_MEDIA_TYPE: Final = "application/json"


def bad_request(message: str, why: str) -> KppError:
    """Make the refusal of a request that is not as MS-KPP says (400)."""
    return KppError(400, "invalid_request", message, why)


def check_request(request: Request) -> None:
    """Check version, Accept and request ids of a request.

    Raises KppError. Source: MS-KPP 2.2.1.1-2.2.1.6, 2.2.2.1, 3.1.5.1.1.3 step 1.
    """
    versions = (*request.query.all("api-version"), *request.headers.all("api-version"))
    if len(versions) != 1 or versions[0] != VERSION:
        # The header and the parameter are mutually exclusive (2.2.1.4).
        raise bad_request(
            "The api-version is missing, given twice or not 1.0.", "unknown api-version"
        )
    accepted = (
        part.partition(";")[0].strip().lower()
        for value in request.headers.all("accept")
        for part in value.split(",")
    )
    if JSON_MEDIA_TYPE not in accepted:
        raise bad_request("The Accept header must be application/json.", "Accept is not JSON")
    wanted = request.headers.all("return-client-request-id")
    if wanted not in ((), ("true",)):
        raise bad_request(
            "The header return-client-request-id must be true.", "return-client-request-id"
        )
    ids = request.headers.all("client-request-id")
    if len(ids) > 1 or (ids and not _is_guid(ids[0])):
        raise bad_request("The header client-request-id must be a GUID.", "client-request-id")


def reply_headers(request: Request, request_id: UUID) -> tuple[tuple[str, str], ...]:
    """Return the headers of an answer: its id, and the client's own when it asked for that."""
    own = ("request-id", str(request_id))
    asked = request.headers.get("client-request-id")
    if request.headers.get("return-client-request-id") != "true" or asked is None:
        return (own,)
    return (own, ("client-request-id", asked))


def _is_guid(text: str) -> bool:
    try:
        return len(text) == 36 and str(UUID(text)) == text.lower()
    except ValueError:
        return False
