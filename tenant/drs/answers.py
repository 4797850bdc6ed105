"""What the device registration answers, and the transaction in which it writes."""

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from directory.backend import DirectoryError, DirectoryFault
from tenant.errors import DrsError
from tenant.http.message import Note, Reply
from tenant.services import Services
from tenant.state.devices import DeviceRecord


@contextmanager
def registration(services: Services, *, status: int = 503) -> Iterator[sqlite3.Connection]:
    """Give the one transaction of a registration: on disk when the block ends, or not at all.

    status: of the refusal when the database is not available.
    """
    try:
        with services.database.write() as connection:
            yield connection
    except DirectoryError as error:
        if error.kind is not DirectoryFault.UNAVAILABLE:
            raise
        raise DrsError(
            status, "DirectoryError", "The directory is not available.", "database unavailable"
        ) from None


def key_taken(note: Note) -> DrsError:
    """Make the refusal of a device key that another device has (409)."""
    message = "The device key belongs to another device."
    why = "the device key is another device's"
    return DrsError(409, "DirectoryError", message, why, note=note)


def device_disabled(note: Note) -> DrsError:
    """Make the refusal of a device that somebody disabled (403)."""
    message = "The device is disabled."
    return DrsError(403, "AuthorizationError", message, "device disabled", note=note)


def joined_reply(device: DeviceRecord, upn: str) -> Reply:
    """Answer a join with the device's certificate (MS-DVRJ 3.1.5.1.1.2, 4.1).

    upn: of who authenticated. MembershipChanges is the example's: clients ignore it.
    """
    certificate = device.certificate or b""
    body = {
        "Certificate": {
            "Thumbprint": device.thumbprint,
            "RawBody": base64.b64encode(certificate).decode(),
        },
        "User": {"Upn": upn},
        "MembershipChanges": [{"LocalSID": "S-1-5-32-544", "AddSIDs": []}],
    }
    return Reply.json(200, body, note=Note(user=upn, device=str(device.device_id)))
