"""Nonces that the tenant gives out, and what has been used once.

Theory of operation. A nonce carries its own proof: when it was made, for what and for whom, under a
MAC. So giving one out writes nothing, and nobody can push another's nonce out of a table by asking
for many. Only the first use of one is written down, until it would have expired anyhow. Identifiers
of tokens (jti) that may be used once share that table.
"""

import base64
import hashlib
import hmac
import sqlite3
import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from directory.sealing import MasterKey
from tenant.state.moments import from_micros, to_micros

MAX_USED: Final = 100_000
"""Used nonces and jtis that are remembered; a further one is refused until some expire."""
MAX_JTI_CHARS: Final = 256

SCHEMA: Final = """
CREATE TABLE nonce_keys (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE used_once (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    ends INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_once_ends ON used_once (ends);
"""

_KEY_OCTETS = 32
_KEY_AAD = b"keytrust tenant nonce key"
_HEAD = struct.Struct(">BQ16s")  # is a client bound, microseconds since 1970, random
_MAC_OCTETS = 16
_NONCE_CHARS = 55  # 41 octets in base64url
RANDOM_OCTETS: Final = 16


class NonceError(Exception):
    """A nonce or jti is not accepted; `why` is one fixed phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NoncePurpose(StrEnum):
    """Which service gave a nonce out: one of another's is not accepted."""

    LOGIN = "login"
    """srv_challenge (MS-OAPXBC 3.2.5.1.1)."""
    REGISTRATION = "registration"
    """Of the device registration service, for a CSR."""


def find_key(connection: sqlite3.Connection, master_key: MasterKey) -> bytes | None:
    """Return the tenant's key for nonces; None when none was made yet."""
    row = connection.execute("SELECT sealed FROM nonce_keys").fetchone()
    return None if row is None else master_key.open(_KEY_AAD, row[0])


def make_key(
    connection: sqlite3.Connection, master_key: MasterKey, entropy: Callable[[int], bytes]
) -> bytes:
    """Make the tenant's key for nonces, sealed; or return the one that somebody just made."""
    sealed = master_key.seal(_KEY_AAD, entropy(_KEY_OCTETS))
    connection.execute("INSERT OR IGNORE INTO nonce_keys VALUES (1, ?)", (sealed,))
    (kept,) = connection.execute("SELECT sealed FROM nonce_keys").fetchone()
    return master_key.open(_KEY_AAD, kept)


def issue(
    key: bytes,
    purpose: NoncePurpose,
    now: datetime,
    random: bytes,
    *,
    peer: str,
    client: str | None = None,
) -> str:
    """Make a nonce for a peer (its address) and, when it names itself, a client id.

    random: RANDOM_OCTETS octets. Returns base64url text.
    """
    head = _HEAD.pack(client is not None, to_micros(now), random)
    return base64.urlsafe_b64encode(head + _mac(key, purpose, head, peer, client)).decode()[:-1]


def consume(
    connection: sqlite3.Connection,
    key: bytes,
    nonce: str,
    purpose: NoncePurpose,
    now: datetime,
    life_s: int,
    *,
    peer: str,
    client: str | None = None,
) -> None:
    """Use a nonce, once, inside the caller's write transaction.

    peer, client: who uses it: the one it was given to. Raises NonceError: not ours, another
    purpose, peer or client, expired, used.
    """
    octets = _decoded(nonce)
    head, mac = octets[: _HEAD.size], octets[_HEAD.size :]
    bound, micros, _ = _HEAD.unpack(head)
    expected = _mac(key, purpose, head, peer, client if bound else None)
    if not hmac.compare_digest(mac, expected):
        raise NonceError("the nonce was not given to this client")
    made = from_micros(micros)
    ends = made + timedelta(seconds=life_s)
    # Also when the clock was set back: a nonce of the future would outlive its record.
    if not made <= now < ends:
        raise NonceError("the nonce has expired")
    _use(connection, hashlib.sha256(b"nonce\0" + octets).digest(), ends, now, "the nonce was used")


def consume_jti(
    connection: sqlite3.Connection, issuer: str, jti: str, ends: datetime, now: datetime
) -> None:
    """Use the identifier of a token that may be shown once (RFC 7519 4.1.7, RFC 7523 3).

    issuer: whose identifiers these are. ends: when the token expires. Raises NonceError: used, too
    long.
    """
    if not 0 < len(jti) <= MAX_JTI_CHARS:
        raise NonceError("the jti is empty or too long")
    name = b"jti\0" + issuer.encode("utf-8", "replace") + b"\0" + jti.encode("utf-8", "replace")
    _use(connection, hashlib.sha256(name).digest(), ends, now, "the jti was used")


def _use(
    connection: sqlite3.Connection, digest: bytes, ends: datetime, now: datetime, why: str
) -> None:
    connection.execute("DELETE FROM used_once WHERE ends <= ?", (to_micros(now),))
    (count,) = connection.execute("SELECT count(*) FROM used_once").fetchone()
    if count >= MAX_USED:
        raise NonceError("too many nonces are in use")
    added = connection.execute(
        "INSERT OR IGNORE INTO used_once VALUES (?, ?)", (digest, to_micros(ends))
    ).rowcount
    if not added:
        raise NonceError(why)


def _decoded(nonce: str) -> bytes:
    why = "the nonce is none of ours"
    if len(nonce) != _NONCE_CHARS or not nonce.isascii():
        raise NonceError(why)
    try:
        octets = base64.b64decode(nonce + "=", altchars=b"-_", validate=True)
    except ValueError:
        raise NonceError(why) from None
    # Spare bits would give one nonce several spellings, and each spelling a use.
    if base64.urlsafe_b64encode(octets).decode()[:-1] != nonce:
        raise NonceError(why)
    return octets


def _mac(key: bytes, purpose: NoncePurpose, head: bytes, peer: str, client: str | None) -> bytes:
    names = [purpose.value, peer, client or ""]
    text = b"".join(
        struct.pack(">I", len(name)) + name
        for name in (name.encode("utf-8", "replace") for name in names)
    )
    return hmac.digest(key, head + text, "sha256")[:_MAC_OCTETS]
