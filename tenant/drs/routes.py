"""The paths of the device registration and who answers them."""

from typing import Final

from tenant.drs.discovery import discover
from tenant.drs.hybrid import hybrid_join
from tenant.drs.join import join
from tenant.drs.leave import leave
from tenant.drs.nonce import give_nonce
from tenant.http.message import Route

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/{tenant}/Discover", discover),
    Route("GET", "/EnrollmentServer/nonce/{tenant}/", give_nonce),
    Route("POST", "/EnrollmentServer/device/", join),
    Route("PUT", "/EnrollmentServer/device/{device_id}", hybrid_join),
    Route("DELETE", "/EnrollmentServer/device/{device_id}", leave),
)
