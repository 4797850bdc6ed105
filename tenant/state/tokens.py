"""Refresh tokens, authorization codes and device codes. Only their SHA-256 is stored.

Rules
  1. Each is 256 random bits, so a plain hash of it says nothing and needs no salt.
  2. What may be used once is marked or deleted by the statement that finds it, in the caller's
     IMMEDIATE transaction: of two at once, one wins.
  3. A refresh token that comes back after it was replaced ends its whole family (RFC 9700 4.14.2),
     unless it comes within LEEWAY: that is a client asking again.
  4. A new password ends what rests on the old one (the triggers below).
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from tenant.state.moments import from_micros, to_micros
from tenant.state.sign_in import SignIn, decode_sign_in, encode_sign_in

MAX_REFRESH_TOKENS: Final = 200
"""Of one user; a further one ends the oldest."""
MAX_CODES: Final = 20
"""Authorization codes of one user, likewise."""
MAX_DEVICE_CODES: Final = 1000
"""Device codes that wait, in all. Anyone may ask for one, so a further one is refused."""
LEEWAY: Final = timedelta(seconds=10)

SCHEMA: Final = """
CREATE TABLE refresh_tokens (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    family BLOB NOT NULL,
    user BLOB NOT NULL REFERENCES users (object_id) ON DELETE CASCADE,
    sign_in TEXT NOT NULL,
    issued INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    used INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_user ON refresh_tokens (user, issued);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_ends ON refresh_tokens (ends);
CREATE TABLE authorization_codes (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    user BLOB NOT NULL REFERENCES users (object_id) ON DELETE CASCADE,
    sign_in TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    resource TEXT NOT NULL,
    scope TEXT NOT NULL,
    nonce TEXT,
    challenge TEXT,
    ends INTEGER NOT NULL,
    used INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE device_codes (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    user_code TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    resource TEXT NOT NULL,
    scope TEXT NOT NULL,
    demands_mfa INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    declined INTEGER NOT NULL DEFAULT 0,
    user BLOB REFERENCES users (object_id) ON DELETE CASCADE,
    sign_in TEXT
) STRICT, WITHOUT ROWID;
CREATE TRIGGER users_new_password AFTER UPDATE OF password ON users
WHEN OLD.password IS NOT NEW.password
BEGIN
    DELETE FROM refresh_tokens WHERE user = NEW.object_id;
    DELETE FROM authorization_codes WHERE user = NEW.object_id;
    DELETE FROM device_codes WHERE user = NEW.object_id;
END;
"""


class GrantFault(StrEnum):
    """Why a token or code is not honoured; the text is the audit record's."""

    UNKNOWN = "the token or code is unknown or revoked"
    EXPIRED = "the token or code has expired"
    USED = "the token or code was used already"
    OTHER_CLIENT = "the token or code belongs to another client"
    OTHER_REDIRECT = "the code was sent to another redirect URI"
    WRONG_VERIFIER = "the code verifier does not fit the code challenge"
    PENDING = "the user has not signed in yet"
    DECLINED = "the user declined"
    FULL = "too many device codes wait"


class GrantError(Exception):
    """A token or code is not honoured."""

    def __init__(self, fault: GrantFault, user_id: UUID | None = None) -> None:
        """user_id: whose it is, where that is known: for the audit record."""
        super().__init__(fault.value)
        self.fault = fault
        self.user_id = user_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a code stands for."""

    sign_in: SignIn
    resource: str
    scope: str
    nonce: str | None = None
    """What the id token has to hold (OpenID Connect Core 3.1.2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """A device code that waits for its user."""

    client_id: str
    resource: str
    scope: str
    demands_mfa: bool
    """The client asked for a fresh second factor."""


def digest_of(token: str) -> bytes:
    """Return what is stored of a token or code."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


# -- refresh tokens ---------------------------------------------------------------------------


def keep_refresh_token(
    connection: sqlite3.Connection,
    token: str,
    sign_in: SignIn,
    now: datetime,
    life_s: int,
    *,
    family: bytes | None = None,
) -> None:
    """Store a new refresh token. family: of the token that it replaces; None: it starts one."""
    digest, user = digest_of(token), sign_in.user_id.bytes
    connection.execute("DELETE FROM refresh_tokens WHERE ends <= ?", (to_micros(now),))
    connection.execute(
        "INSERT INTO refresh_tokens VALUES (?, ?, ?, ?, ?, ?, NULL)",
        (
            digest,
            family or digest,
            user,
            encode_sign_in(sign_in),
            to_micros(now),
            to_micros(now + timedelta(seconds=life_s)),
        ),
    )
    connection.execute(
        "DELETE FROM refresh_tokens WHERE digest IN (SELECT digest FROM refresh_tokens"
        " WHERE user = ? ORDER BY issued DESC, digest LIMIT -1 OFFSET ?)",
        (user, MAX_REFRESH_TOKENS),
    )


def _usable(text: str, client_id: str, ends: int, used: int | None, now: datetime) -> SignIn:
    """Return the sign-in that a refresh token or an authorization code stands for.

    Raises GrantError: OTHER_CLIENT, USED, EXPIRED.
    """
    sign_in = decode_sign_in(text)
    if sign_in.client_id != client_id:
        raise GrantError(GrantFault.OTHER_CLIENT, sign_in.user_id)
    if used is not None:
        raise GrantError(GrantFault.USED, sign_in.user_id)
    if to_micros(now) >= ends:
        raise GrantError(GrantFault.EXPIRED, sign_in.user_id)
    return sign_in


def find_refresh_token(
    connection: sqlite3.Connection, token: str, client_id: str, now: datetime
) -> tuple[SignIn, bytes]:
    """Judge a refresh token without using it up.

    client_id: whose it must be. Returns its sign-in, and the family for a token that is got with
    it. Raises GrantError: UNKNOWN, OTHER_CLIENT, USED, EXPIRED.
    """
    row = connection.execute(
        "SELECT sign_in, family, ends, used FROM refresh_tokens WHERE digest = ?",
        (digest_of(token),),
    ).fetchone()
    if row is None:
        raise GrantError(GrantFault.UNKNOWN)
    text, family, ends, used = row
    return _usable(text, client_id, ends, used, now), family


def use_refresh_token(
    connection: sqlite3.Connection, token: str, client_id: str, now: datetime
) -> tuple[SignIn, bytes]:
    """Use a refresh token, once; returns as `find_refresh_token`, and raises as that.

    To raise undoes the caller's transaction: after USED call `end_family`, which a later
    transaction has to do.
    """
    sign_in, family = find_refresh_token(connection, token, client_id, now)
    connection.execute(
        "UPDATE refresh_tokens SET used = ? WHERE digest = ?", (to_micros(now), digest_of(token))
    )
    return sign_in, family


def end_family(connection: sqlite3.Connection, token: str, now: datetime) -> bool:
    """End all tokens of the family of one that was shown again; True when something ended.

    Nothing ends within LEEWAY of its use.
    """
    row = connection.execute(
        "SELECT family, used FROM refresh_tokens WHERE digest = ?", (digest_of(token),)
    ).fetchone()
    if row is None or row[1] is None or now < from_micros(row[1]) + LEEWAY:
        return False
    connection.execute("DELETE FROM refresh_tokens WHERE family = ?", (row[0],))
    return True


# -- authorization codes ----------------------------------------------------------------------


def keep_code(
    connection: sqlite3.Connection,
    code: str,
    grant: Grant,
    redirect_uri: str,
    challenge: str | None,
    now: datetime,
    life_s: int,
) -> None:
    """Store an authorization code. challenge: base64url SHA-256 of PKCE's verifier (RFC 7636)."""
    user = grant.sign_in.user_id.bytes
    connection.execute("DELETE FROM authorization_codes WHERE ends <= ?", (to_micros(now),))
    connection.execute(
        "INSERT INTO authorization_codes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            digest_of(code),
            user,
            encode_sign_in(grant.sign_in),
            redirect_uri,
            grant.resource,
            grant.scope,
            grant.nonce,
            challenge,
            to_micros(now + timedelta(seconds=life_s)),
        ),
    )
    connection.execute(
        "DELETE FROM authorization_codes WHERE digest IN (SELECT digest FROM authorization_codes"
        " WHERE user = ? ORDER BY ends DESC, digest LIMIT -1 OFFSET ?)",
        (user, MAX_CODES),
    )


def use_code(
    connection: sqlite3.Connection, code: str, client_id: str, now: datetime
) -> tuple[Grant, str, str | None]:
    """Use an authorization code, once. Returns what it stands for, redirect URI and challenge.

    It is used up even if the caller then finds that the redirect URI or verifier is wrong.
    Raises GrantError: UNKNOWN, OTHER_CLIENT, USED, EXPIRED.
    """
    row = connection.execute(
        "SELECT sign_in, resource, scope, nonce, redirect_uri, challenge, ends, used"
        " FROM authorization_codes WHERE digest = ?",
        (digest_of(code),),
    ).fetchone()
    if row is None:
        raise GrantError(GrantFault.UNKNOWN)
    text, resource, scope, nonce, redirect_uri, challenge, ends, used = row
    sign_in = _usable(text, client_id, ends, used, now)
    connection.execute(
        "UPDATE authorization_codes SET used = ? WHERE digest = ?",
        (to_micros(now), digest_of(code)),
    )
    grant = Grant(sign_in=sign_in, resource=resource, scope=scope, nonce=nonce)
    return grant, redirect_uri, challenge


def end_tokens_of_code(connection: sqlite3.Connection, code: str) -> None:
    """End the refresh tokens that a code was changed for: it came again (RFC 6749 4.1.2)."""
    connection.execute("DELETE FROM refresh_tokens WHERE family = ?", (digest_of(code),))


# -- device codes -----------------------------------------------------------------------------


def keep_device_code(
    connection: sqlite3.Connection,
    device_code: str,
    user_code: str,
    waiting: DeviceCode,
    now: datetime,
    life_s: int,
) -> None:
    """Store a device code (RFC 8628). Raises GrantError(FULL)."""
    connection.execute("DELETE FROM device_codes WHERE ends <= ?", (to_micros(now),))
    (count,) = connection.execute("SELECT count(*) FROM device_codes").fetchone()
    if count >= MAX_DEVICE_CODES:
        raise GrantError(GrantFault.FULL)
    connection.execute(
        "INSERT INTO device_codes (digest, user_code, client, resource, scope, demands_mfa, ends)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            digest_of(device_code),
            user_code,
            waiting.client_id,
            waiting.resource,
            waiting.scope,
            int(waiting.demands_mfa),
            to_micros(now + timedelta(seconds=life_s)),
        ),
    )


def find_user_code(connection: sqlite3.Connection, user_code: str, now: datetime) -> DeviceCode:
    """Find a device code that waits, by what its user types; the case of letters does not matter.

    Raises GrantError: UNKNOWN, EXPIRED, USED (somebody signed in or declined).
    """
    row = connection.execute(
        "SELECT client, resource, scope, demands_mfa, ends, declined, user FROM device_codes"
        " WHERE user_code = ?",
        (_user_code(user_code),),
    ).fetchone()
    if row is None:
        raise GrantError(GrantFault.UNKNOWN)
    client, resource, scope, demands_mfa, ends, declined, user = row
    if to_micros(now) >= ends:
        raise GrantError(GrantFault.EXPIRED)
    if declined or user is not None:
        raise GrantError(GrantFault.USED)
    return DeviceCode(
        client_id=client, resource=resource, scope=scope, demands_mfa=bool(demands_mfa)
    )


def settle_device_code(
    connection: sqlite3.Connection, user_code: str, sign_in: SignIn | None, now: datetime
) -> None:
    """Give a waiting device code its sign-in; None: the user declines.

    Raises GrantError as `find_user_code`.
    """
    find_user_code(connection, user_code, now)
    connection.execute(
        "UPDATE device_codes SET declined = ?, user = ?, sign_in = ? WHERE user_code = ?",
        (
            int(sign_in is None),
            None if sign_in is None else sign_in.user_id.bytes,
            None if sign_in is None else encode_sign_in(sign_in),
            _user_code(user_code),
        ),
    )


def use_device_code(
    connection: sqlite3.Connection, device_code: str, client_id: str, now: datetime
) -> Grant:
    """Change a device code for what it stands for, once its user signed in.

    Raises GrantError: UNKNOWN (or used), OTHER_CLIENT, EXPIRED, DECLINED, PENDING.
    """
    digest = digest_of(device_code)
    row = connection.execute(
        "SELECT client, resource, scope, ends, declined, sign_in FROM device_codes"
        " WHERE digest = ?",
        (digest,),
    ).fetchone()
    if row is None:
        raise GrantError(GrantFault.UNKNOWN)
    client, resource, scope, ends, declined, text = row
    if client != client_id:
        raise GrantError(GrantFault.OTHER_CLIENT)
    if to_micros(now) >= ends:
        raise GrantError(GrantFault.EXPIRED)
    if declined:
        raise GrantError(GrantFault.DECLINED)
    if text is None:
        raise GrantError(GrantFault.PENDING)
    connection.execute("DELETE FROM device_codes WHERE digest = ?", (digest,))
    return Grant(sign_in=decode_sign_in(text), resource=resource, scope=scope)


def _user_code(text: str) -> str:
    return text.strip().replace("-", "").upper().encode("utf-8", "replace").decode()


def end_all(connection: sqlite3.Connection, user_id: UUID) -> None:
    """End everything that a user's sign-ins left: refresh tokens and codes."""
    for table in ("refresh_tokens", "authorization_codes", "device_codes"):
        connection.execute(f"DELETE FROM {table} WHERE user = ?", (user_id.bytes,))  # noqa: S608  constant names
