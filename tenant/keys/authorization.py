"""Who may register a Hello key, and on which device (MS-KPP 3.1.5.1.1.3; seed P1, phase C)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from tenant.errors import KppError, LoginError
from tenant.http.message import Note, Request
from tenant.login.bearer import Bearer, device_fault, verify_bearer
from tenant.login.resources import DRS_AUDIENCE
from tenant.services import Services
from tenant.state import devices, users
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.users import User

MFA_METHODS: Final = frozenset(
    ("ngcmfa", "mfa", "http://schemas.microsoft.com/claims/multipleauthn")
)
"""One of them in `amr` says that a second factor was given (MS-KPP 3.1.5.1.1.3)."""
FRESH_MFA: Final = "ngcmfa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrant:
    """A user on a device, both as they are in the database now."""

    user: User
    device: DeviceRecord

    @property
    def note(self) -> Note:
        """Who it is, for the audit record."""
        return Note(user=self.user.upn, device=str(self.device.device_id))


def unauthorized(message: str, why: str, note: Note | None = None) -> KppError:
    """Make the refusal of a token that lacks something (401)."""
    return KppError(401, "authentication_error", message, why, note=note)


def forbidden(message: str, why: str, note: Note | None = None) -> KppError:
    """Make the refusal of what this user may not do (403)."""
    return KppError(403, "authorization_error", message, why, note=note)


@contextmanager
def key_transaction(services: Services) -> Iterator[sqlite3.Connection]:
    """Give the one transaction of a change: on disk when the block ends, or not at all.

    Raises KppError when the database is not available (400, MS-KPP 3.1.5.1.1.3 step 4).
    """
    try:
        with services.database.write() as connection:
            yield connection
    except DirectoryError as error:
        if error.kind is not DirectoryFault.UNAVAILABLE:
            raise
        raise KppError(
            400, "directory_error", "The directory is not available.", "database unavailable"
        ) from None


def bearer_of(services: Services, request: Request) -> Bearer:
    """Verify the token of a request. Raises KppError."""
    try:
        return verify_bearer(services, request, DRS_AUDIENCE)
    except LoginError as error:
        raise unauthorized(
            "The access token is missing or not valid.", error.why, error.note
        ) from None


def check_mfa(bearer: Bearer, now: datetime, freshness_s: int) -> None:
    """Check that a second factor was given, and recently. Raises KppError.

    `ngcmfa` says that it was recent when the token was made, `auth_time` how long ago that is by
    now. `mfa` alone says that there was one at some time.
    """
    note = Note(user=bearer.user.upn)
    if not MFA_METHODS & bearer.amr:
        raise unauthorized("The access token has no MFA claim.", "no MFA in the token", note)
    age = now - bearer.auth_time
    # A time ahead of the clock is nobody's: the tenant itself writes it.
    recent = timedelta() <= age < timedelta(seconds=freshness_s)
    if FRESH_MFA not in bearer.amr or not recent:
        raise unauthorized("The MFA claim is not current.", "MFA too old", note)


def check_device(connection: sqlite3.Connection, bearer: Bearer) -> None:
    """Check that the device of a token is there and enabled, if it names one. Raises KppError."""
    fault = device_fault(connection, bearer)
    if fault is not None:
        message = "The device of the access token is not found or is disabled."
        raise unauthorized(message, fault, bearer.note)


def find_registrant(connection: sqlite3.Connection, bearer: Bearer) -> Registrant:
    """Find the user and the device that a token names. Raises KppError."""
    note = Note(user=bearer.user.upn)
    if bearer.device_id is None:
        raise unauthorized("The access token names no device.", "no deviceid in the token", note)
    device = devices.device_by_id(connection, bearer.device_id)
    if device is None:
        raise unauthorized("The device of the access token is not found.", "unknown device", note)
    found = Registrant(user=find_user(connection, bearer.user.object_id, note), device=device)
    if not device.enabled:
        raise forbidden("The device is disabled.", "device disabled", found.note)
    # A computer of the domain has no owner, a shared device has said so when it joined.
    anyone = device.shared or device.join_type is JoinType.HYBRID
    if not anyone and device.owner != found.user.object_id:
        raise forbidden("The device is another user's.", "another user's device", found.note)
    return found


def find_user(connection: sqlite3.Connection, object_id: UUID, note: Note) -> User:
    """Find a user who may still do something. Raises KppError (400, MS-KPP 3.1.5.1.1.3 step 3)."""
    user = users.by_id(connection, object_id)
    if user is None or not user.enabled:
        raise KppError(
            400, "directory_error", "The user is not found.", "user deleted or disabled", note=note
        )
    return user
