"""The paths of the key registration and who answers them."""

from typing import Final

from tenant.http.message import Route
from tenant.keys.listing import delete_key, list_keys
from tenant.keys.registration import register_key

ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", "/EnrollmentServer/key/", register_key),
    Route("GET", "/EnrollmentServer/key/", list_keys),
    Route("DELETE", "/EnrollmentServer/key/{kid}", delete_key),
)
