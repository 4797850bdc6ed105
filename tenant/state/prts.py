"""The table of primary refresh tokens: each one user's, on one device, with a session key.

Rules
  1. A token is kept as its SHA-256: who reads the database signs in as nobody.
  2. The session key is sealed with the master key and bound to its row; it is needed again for each
     use, and nobody but the device has it.
  3. A token is bound to the device's key as well as to its id: a device that joins anew under an
     old id does not take over what the old one had.
  4. A renewal leaves the former token alone until it expires: the answer may have been lost. Of one
     user on one device the newest few are kept.
  5. A new password ends the tokens that rest on the old one (the trigger); those that a Hello key
     got stay.
"""

import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from directory.sealing import MasterKey
from tenant.state.moments import from_micros, to_micros
from tenant.state.sign_in import SignIn, decode_sign_in, encode_sign_in
from tenant.state.tokens import digest_of

MAX_OF_A_PAIR: Final = 4
"""Tokens of one user on one device: the one in use, the newest, and two more."""

SCHEMA: Final = """
CREATE TABLE prts (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    user BLOB NOT NULL REFERENCES users (object_id) ON DELETE CASCADE,
    device_id BLOB NOT NULL REFERENCES devices ON DELETE CASCADE,
    device_key BLOB NOT NULL CHECK (length(device_key) = 32),
    session_key BLOB NOT NULL,
    hello_key BLOB CHECK (length(hello_key) = 32),
    sign_in TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX prts_by_pair ON prts (user, device_id, issued);
CREATE INDEX prts_by_device ON prts (device_id);
CREATE INDEX prts_by_end ON prts (expires);
CREATE TRIGGER prts_new_password AFTER UPDATE OF password ON users
WHEN OLD.password IS NOT NEW.password
BEGIN
    DELETE FROM prts WHERE user = NEW.object_id AND hello_key IS NULL;
END;
"""

_AAD: Final = b"keytrust tenant PRT session key\0"

_Row = tuple[bytes, bytes, bytes | None, str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prt:
    """A primary refresh token, without its text. Times are aware and in UTC."""

    sign_in: SignIn
    """Who it is for, proven how and when, on which device; carried on unchanged."""
    device_key: bytes
    """Digest of the device's key (`PublicKey.digest`) when it was issued."""
    session_key: bytes = field(repr=False)
    hello_key: bytes | None = None
    """SHA-256 of the Hello key's material that proved the user; None: another proof."""
    issued: datetime
    expires: datetime


def insert_prt(
    connection: sqlite3.Connection,
    token: str,
    prt: Prt,
    master_key: MasterKey,
    *,
    former: str | None = None,
) -> None:
    """Keep a new token, and drop expired ones and the oldest of this user on this device.

    former: the token that it renews; that one is not dropped, however many answers were lost.
    Raises ValueError for a sign-in without a device.
    """
    if prt.sign_in.device_id is None:
        raise ValueError("a PRT is a device's")
    pair = (prt.sign_in.user_id.bytes, prt.sign_in.device_id.bytes)
    connection.execute("DELETE FROM prts WHERE expires <= ?", (to_micros(prt.issued),))
    digest = digest_of(token)
    connection.execute(
        "INSERT INTO prts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            digest,
            *pair,
            prt.device_key,
            master_key.seal(_AAD + digest, prt.session_key),
            prt.hello_key,
            encode_sign_in(prt.sign_in),
            to_micros(prt.issued),
            to_micros(prt.expires),
        ),
    )
    connection.execute(
        "DELETE FROM prts WHERE user = ? AND device_id = ? AND digest NOT IN"
        " (SELECT digest FROM prts WHERE user = ? AND device_id = ?"
        " ORDER BY digest = ? DESC, digest = ? DESC, issued DESC LIMIT ?)",
        (*pair, *pair, digest, None if former is None else digest_of(former), MAX_OF_A_PAIR),
    )


def prt_by_token(connection: sqlite3.Connection, token: str, master_key: MasterKey) -> Prt | None:
    """Find a token, also an expired one. Raises DirectoryError(CORRUPT)."""
    digest = digest_of(token)
    found = connection.execute(
        "SELECT device_key, session_key, hello_key, sign_in, issued, expires"
        " FROM prts WHERE digest = ?",
        (digest,),
    ).fetchone()
    if found is None:
        return None
    device_key, sealed, hello_key, sign_in, issued, expires = cast(_Row, found)
    return Prt(
        sign_in=decode_sign_in(sign_in),
        device_key=device_key,
        session_key=master_key.open(_AAD + digest, sealed),
        hello_key=hello_key,
        issued=from_micros(issued),
        expires=from_micros(expires),
    )


def delete_prts_of_user(connection: sqlite3.Connection, user: UUID) -> int:
    """Revoke all tokens of a user and count them."""
    return connection.execute("DELETE FROM prts WHERE user = ?", (user.bytes,)).rowcount
