"""A user's name and password, and the second factor that goes with them.

Rules
  1. An unknown name and a wrong password cost the same time and get the same answer.
  2. Guesses at one name are judged one after another; ten failures lock it (`state.lockouts`).
     A wrong one-time code is a failure, too, and no password alone makes up for it.
  3. The second factor is asked for only after the password was right.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from tenant.errors import LoginError
from tenant.login import faults
from tenant.services import Services
from tenant.state import lockouts, second_factors, users
from tenant.state.password_work import BusyError
from tenant.state.sign_in import SignIn
from tenant.state.users import MAX_UPN_CHARS, MfaMode, User

PASSWORD_METHOD: Final = "pwd"  # noqa: S105  RFC 8176's name of the method


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A user who proved a password just now, and perhaps a second factor."""

    user: User
    auth_time: datetime
    mfa_time: datetime | None

    def sign_in(self, client_id: str, device_id: UUID | None = None) -> SignIn:
        """Make the sign-in of it for a client, and a device that signed the request."""
        return SignIn(
            user_id=self.user.object_id,
            client_id=client_id,
            methods=frozenset({PASSWORD_METHOD}),
            auth_time=self.auth_time,
            mfa_time=self.mfa_time,
            device_id=device_id,
        )


async def prove_password(
    services: Services,
    name: str,
    password: str,
    now: datetime,
    *,
    demands_mfa: bool = False,
    code: str | None = None,
) -> Proof:
    """Prove a user by name and password, and by a second factor where one is needed.

    demands_mfa: the client wants one. code: a one-time code, where the user could type one.
    Raises LoginError: wrong credentials, locked, disabled, second factor needed, not registered or
    wrong, busy.
    """
    if len(name) > MAX_UPN_CHARS:
        raise faults.wrong_credentials("the name is too long")
    try:
        async with services.password_work.turn(name):
            user = await _right_password(services, name, password, now)
            mfa_time = _second_factor(services, user, name, now, demands_mfa, code)
            if mfa_time is not None or not user.mfa_registered:
                with services.database.write() as connection:
                    lockouts.clear(connection, name)
    except BusyError:
        raise faults.busy() from None
    return Proof(user=user, auth_time=now, mfa_time=mfa_time)


async def _right_password(services: Services, name: str, password: str, now: datetime) -> User:
    with services.database.read() as connection:
        locked = lockouts.locked_until(connection, name, now)
        user = users.by_upn(connection, name)
    if locked is not None:
        raise faults.locked_out()
    stored = None if user is None else user.password
    right = await services.password_work.is_password(password, stored)
    if user is None or not right:
        _failed(services, name, now, known=user is not None)
        why = "no such user" if user is None else "wrong password"
        raise faults.wrong_credentials("no password" if user and not stored else why, user)
    with services.database.read() as connection:
        today = users.by_id(connection, user.object_id)
    if today is None or today.password != stored:
        raise faults.wrong_credentials("the user changed meanwhile", user)
    if not today.enabled:
        raise faults.disabled(today)
    return today


def _second_factor(
    services: Services,
    user: User,
    name: str,
    now: datetime,
    demands_mfa: bool,
    code: str | None,
) -> datetime | None:
    if user.mfa is MfaMode.ASSUMED:
        return now
    if user.mfa is MfaMode.NONE:
        if demands_mfa:
            raise faults.second_factor_not_registered(user)
        return None
    with services.database.write() as connection:
        shown = _shown(services, connection, user, now, code)
    if shown:
        return now
    if code is not None:
        _failed(services, name, now, known=True)
        raise faults.second_factor_wrong(user)
    if demands_mfa or user.mfa is MfaMode.REQUIRED:
        raise faults.second_factor_needed(user)
    return None


def _shown(
    services: Services,
    connection: sqlite3.Connection,
    user: User,
    now: datetime,
    code: str | None,
) -> bool:
    if code is None:
        return second_factors.use_approval(connection, user.object_id, now)
    return second_factors.use_code(connection, user.object_id, code, now, services.master_key)


def _failed(services: Services, name: str, now: datetime, *, known: bool) -> None:
    with services.database.write() as connection:
        lockouts.record_failure(connection, name, now, known=known)


def check_second_factor(
    services: Services, user: User, sign_in: SignIn, now: datetime, *, demands_mfa: bool
) -> None:
    """Judge a stored sign-in by what its user and client want of a second factor today.

    Raises LoginError: needed (none was shown, or not lately, where a client demands a fresh one).
    """
    fresh = "ngcmfa" in sign_in.amr(now, services.config.mfa_freshness_s)
    if demands_mfa and not fresh:
        raise _unmet(user)
    if user.mfa is MfaMode.REQUIRED and sign_in.mfa_time is None:
        raise faults.second_factor_needed(user)


def _unmet(user: User) -> LoginError:
    if user.mfa_registered:
        return faults.second_factor_needed(user)
    return faults.second_factor_not_registered(user)
