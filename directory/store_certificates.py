"""The local store: userCertificate of accounts, and the objectGUID of one that has none.

No logon reads certificates of accounts: a domain-joined computer writes its own here so that it is
registered in the cloud (flow R3 C), and the sync job reads them. They are rows beside the values of
`store_values`, which an account is read without.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final, NoReturn, cast
from uuid import UUID, uuid5

from directory.backend import DirectoryError, DirectoryFault
from directory.model import Sid
from directory.store_groups import Query

ATTRIBUTE: Final = "userCertificate"
MAX_CERTIFICATES: Final = 64
"""Of one account: a computer adds one each time it registers anew."""
MAX_CERTIFICATE_BYTES: Final = 64 * 1024

_EMBEDDED: Final = UUID("0d9f5c43-6f0e-4d57-9c3b-6d8a4f1e2b75")
"""The name space of objectGUIDs of embedded realms (RFC 9562, version 5). A number of our own."""


def embedded_guid(sid: Sid) -> UUID:
    """Return the objectGUID of an account of an embedded realm.

    Made from its SID, which is never given out again: it is the same for the account's life, as in
    a directory, and nobody else's.
    """
    return uuid5(_EMBEDDED, str(sid))


def read_certificates(query: Query, account_id: int) -> tuple[bytes, ...]:
    """Return the certificates of an account in the order they were added."""
    rows = query(
        "SELECT value FROM account_values WHERE account_id = ? AND attribute = ? ORDER BY position",
        account_id,
        ATTRIBUTE,
    )
    return tuple(cast(bytes, row[0]) for row in rows)


# -- writing, inside a transaction that someone else opened ----------------------------------


def _fail(kind: DirectoryFault, detail: str) -> NoReturn:
    raise DirectoryError(kind, detail)


def add_certificate(connection: sqlite3.Connection, account_id: int, certificate: bytes) -> None:
    """Add a value. Raises DirectoryError: EXISTS, INVALID (too long, or too many)."""
    if len(certificate) > MAX_CERTIFICATE_BYTES:
        _fail(DirectoryFault.INVALID, "the certificate is too long")
    rows = connection.execute(
        "SELECT position, value FROM account_values WHERE account_id = ? AND attribute = ?",
        (account_id, ATTRIBUTE),
    ).fetchall()
    if any(value == certificate for _, value in rows):
        _fail(DirectoryFault.EXISTS, "the account has this certificate")
    if len(rows) >= MAX_CERTIFICATES:
        _fail(DirectoryFault.INVALID, f"an account has at most {MAX_CERTIFICATES} certificates")
    last = max((position for position, _ in rows), default=-1)
    connection.execute(
        "INSERT INTO account_values VALUES (?, ?, ?, ?)",
        (account_id, ATTRIBUTE, last + 1, certificate),
    )


def remove_certificates(
    connection: sqlite3.Connection, account_id: int, certificates: Iterable[bytes]
) -> int:
    """Remove these values; return how many were there."""
    return sum(
        connection.execute(
            "DELETE FROM account_values WHERE account_id = ? AND attribute = ? AND value = ?",
            (account_id, ATTRIBUTE, certificate),
        ).rowcount
        for certificate in certificates
    )
