"""What a PRT is bound to, asked anew each time: its user, its device, and a Hello key."""

import sqlite3
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pki.errors import PkiError
from pki.keys import PublicKey
from tenant.errors import LoginError
from tenant.http.message import Note
from tenant.login.nonce import use_jti
from tenant.login.tokens import usable_user
from tenant.prt import refusals
from tenant.prt.claims import Once
from tenant.services import Services
from tenant.state import devices, keys
from tenant.state.devices import DeviceRecord
from tenant.state.prts import Prt
from tenant.state.sign_in import SignIn
from tenant.state.users import User


def bound_to(connection: sqlite3.Connection, prt: Prt) -> tuple[User, DeviceRecord]:
    """Return the user and device of a PRT as they are now.

    Raises LoginError (400): the user is gone or disabled, the device is gone, disabled or has
    another key, the Hello key was removed or belongs elsewhere.
    """
    user = usable_user(connection, prt.sign_in)  # and its device
    device_id = prt.sign_in.device_id
    device = None if device_id is None else devices.device_by_id(connection, device_id)
    key = None if device is None else device.public_key()
    if device is None or key is None or key.digest != prt.device_key:
        raise refusals.refused(
            refusals.DEVICE_AUTHENTICATION_FAILED, "the device has joined anew with another key"
        )
    if prt.hello_key is not None:
        hello_key = keys.key_by_key_id(connection, prt.hello_key)
        if hello_key is None or (hello_key.user, hello_key.device_id) != (
            user.object_id,
            device.device_id,
        ):
            raise refusals.refused(
                refusals.EXPIRED_OR_REVOKED, "the Hello key that got the PRT was removed"
            )
    return user, device


def check_enabled(device: DeviceRecord) -> None:
    """Check that a device may be used. Raises LoginError (400)."""
    if not device.enabled:
        raise refusals.refused(refusals.DEVICE_DISABLED, "the device is disabled")


def use_jti_of(services: Services, signer: str, once: Once | None, now: datetime) -> None:
    """Use up the name of a JWT that has one. signer: whose names these are.

    Raises LoginError (400) when it came before.
    """
    if once is not None:
        use_jti(services, signer, once.jti, once.ends, now)


def rsa_key(key: PublicKey | None) -> RSAPublicKey | None:
    """Return a key for RS256; None when it is none, or the library refuses it."""
    if key is None:
        return None
    try:
        found = key.verifier()
    except PkiError:
        return None
    return found if isinstance(found, RSAPublicKey) else None


def note_of(device: DeviceRecord, user: User | None = None) -> Note:
    """Make the audit record's words on who asks."""
    return Note(user=None if user is None else user.upn, device=str(device.device_id))


def noted(error: LoginError, note: Note) -> LoginError:
    """Say in a refusal whom it is about, as far as it does not say it itself."""
    own = error.note
    error.note = Note(
        reason=own.reason,
        user=own.user or note.user,
        device=own.device or note.device,
        key=own.key or note.key,
    )
    return error


def device_of(sign_in: SignIn) -> Note:
    """Make the audit record's words on a PRT that was shown."""
    return Note(device=str(sign_in.device_id))
