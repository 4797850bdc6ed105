"""A device deletes itself: DELETE /EnrollmentServer/device/{id}, proven by its certificate in TLS.

A device that the sync made comes back with the next sync, without key and certificate.
"""

from tenant.drs.answers import registration
from tenant.drs.hybrid import device_id_in_path
from tenant.errors import DrsError
from tenant.http.message import Note, Reply, Request
from tenant.services import Services
from tenant.state import devices


async def leave(services: Services, request: Request) -> Reply:
    """Delete the device whose certificate the connection was made with (MS-DVRJ 3.1.5.1.2).

    The parameter api-version is not asked for: roadtx sends none here. A device that is disabled
    may go.
    """
    if request.client_certificate is None:
        raise _unauthorized("no client certificate")
    with registration(services, status=400) as connection:
        device = devices.device_by_certificate(connection, request.client_certificate)
        if device is None:
            raise _unauthorized("the client certificate is no device's")
        note = Note(device=str(device.device_id))
        if device_id_in_path(request) != device.device_id:
            raise DrsError(
                403,
                "AuthorizationError",
                "A device can delete itself only.",
                "another device in the path",
                note=note,
            )
        devices.delete_device(connection, device.device_id)
    return Reply(status=200, note=note)


def _unauthorized(why: str) -> DrsError:
    return DrsError(
        401, "AuthenticationError", "The client certificate is missing or not a device's.", why
    )
