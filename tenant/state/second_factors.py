"""Second factors: one-time codes of an authenticator (RFC 6238), and approvals by command.

An approval stands for the tap on a telephone that a lab has not: `tenant login approve-mfa` gives
one, the user's next sign-in uses it up.
"""

import base64
import hmac
import sqlite3
import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode
from uuid import UUID

from directory.sealing import MasterKey
from tenant.state.moments import to_micros

STEP_S: Final = 30
DIGITS: Final = 6
SECRET_OCTETS: Final = 20
"""RFC 4226 4: 160 bits are recommended."""
_STEPS_AROUND: Final = 1
"""A code of the step before or after is accepted: clocks differ (RFC 6238 5.2)."""

SCHEMA: Final = """
CREATE TABLE authenticators (
    user BLOB PRIMARY KEY REFERENCES users (object_id) ON DELETE CASCADE,
    sealed BLOB NOT NULL,
    last_step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE approvals (
    user BLOB PRIMARY KEY REFERENCES users (object_id) ON DELETE CASCADE,
    ends INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


def new_authenticator(
    connection: sqlite3.Connection,
    user_id: UUID,
    master_key: MasterKey,
    entropy: Callable[[int], bytes],
) -> bytes:
    """Give a user a new authenticator secret, in place of an older one; returns the secret."""
    secret = entropy(SECRET_OCTETS)
    connection.execute(
        "INSERT OR REPLACE INTO authenticators VALUES (?, ?, 0)",
        (user_id.bytes, master_key.seal(_aad(user_id), secret)),
    )
    return secret


def authenticator_uri(secret: bytes, upn: str, issuer: str) -> str:
    """Write a secret as authenticator apps take it (otpauth://, Base32)."""
    values = {"secret": base64.b32encode(secret).decode(), "issuer": issuer}
    return f"otpauth://totp/{quote(issuer)}:{quote(upn)}?{urlencode(values, quote_via=quote)}"


def use_code(
    connection: sqlite3.Connection,
    user_id: UUID,
    code: str,
    now: datetime,
    master_key: MasterKey,
) -> bool:
    """Tell whether a one-time code is right, and use it up: no code counts twice (RFC 6238 5.2)."""
    row = connection.execute(
        "SELECT sealed, last_step FROM authenticators WHERE user = ?", (user_id.bytes,)
    ).fetchone()
    if row is None:
        return False
    secret = master_key.open(_aad(user_id), row[0])
    current = int(now.timestamp()) // STEP_S
    typed = code.replace(" ", "").encode("utf-8", "replace")
    found = 0
    for step in range(current - _STEPS_AROUND, current + _STEPS_AROUND + 1):
        if hmac.compare_digest(typed, one_time_code(secret, step).encode()):
            found = step
    if found <= row[1]:
        return False
    connection.execute(
        "UPDATE authenticators SET last_step = ? WHERE user = ?", (found, user_id.bytes)
    )
    return True


def one_time_code(secret: bytes, step: int) -> str:
    """Compute the code of a time step (RFC 4226 5.3, with HMAC-SHA-1 as every app has it)."""
    mac = hmac.digest(secret, struct.pack(">Q", step), "sha1")
    offset = mac[-1] & 0xF
    number = struct.unpack_from(">I", mac, offset)[0] & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def approve(connection: sqlite3.Connection, user_id: UUID, now: datetime, life_s: int) -> None:
    """Let the user's next sign-in count as one with a second factor, for so many seconds."""
    connection.execute(
        "INSERT OR REPLACE INTO approvals VALUES (?, ?)",
        (user_id.bytes, to_micros(now + timedelta(seconds=life_s))),
    )


def use_approval(connection: sqlite3.Connection, user_id: UUID, now: datetime) -> bool:
    """Tell whether an approval waits, and use it up."""
    row = connection.execute(
        "DELETE FROM approvals WHERE user = ? RETURNING ends", (user_id.bytes,)
    ).fetchone()
    return row is not None and to_micros(now) < int(row[0])


def _aad(user_id: UUID) -> bytes:
    return b"keytrust tenant authenticator " + user_id.bytes
