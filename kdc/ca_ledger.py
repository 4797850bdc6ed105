"""What the realm's CA has issued and revoked: `pki/ca.sqlite`.

Rules
  1. A certificate is in here, on disk, before anybody gets it; a revocation before it is told. What
     a command has acknowledged survives a killed process and a lost power supply.
  2. Nothing here is secret, and nothing is removed: a certificate that was issued stays known.
  3. The number of a CRL is taken here and only rises, also against the list that is published: a
     ledger restored from a backup goes on after it (row Q04).

A database of its own beside the account store: the workers never read it, and what is written here
does not drop their memories of accounts. The OCSP responder reads it.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pki.certificate import Certificate
from pki.crl import CERTIFICATE_HOLD, REASONS

SCHEMA_VERSION = 1
BUSY_S = 10.0  # another `kdc cert` finishes in a moment

_SCHEMA = """
CREATE TABLE certificates (
    issuer TEXT NOT NULL,
    serial TEXT NOT NULL,
    template TEXT NOT NULL,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    certificate BLOB NOT NULL,
    revoked_at INTEGER,
    reason INTEGER,
    PRIMARY KEY (issuer, serial)
) WITHOUT ROWID;
CREATE INDEX revoked ON certificates (issuer, revoked_at) WHERE revoked_at IS NOT NULL;
CREATE TABLE lists (issuer TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = (
    "issuer, serial, template, account, subject, not_before, not_after, issued_at, certificate,"
    " revoked_at, reason"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One certificate that was issued."""

    issuer: str
    """`issuer_id` of the CA."""
    serial_number: int
    template: str
    account: str
    """Name of the account it was issued for; empty for the realm's own."""
    subject: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    certificate: bytes
    revoked_at: datetime | None = None
    reason: int | None = None
    """CRLReason (RFC 5280 5.3.1) of a revoked certificate."""

    @property
    def reason_name(self) -> str | None:
        """The reason by its name in RFC 5280; None: not revoked."""
        return None if self.reason is None else REASONS[self.reason]

    def status(self, now: datetime) -> str:
        """Say in one word how it stands."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now > self.not_after else "valid"


def ledger_id(issuer: Certificate) -> str:
    """Return what the ledger knows a CA by: its key, which a renewed certificate keeps."""
    return hashlib.sha256(issuer.subject_public_key_info).hexdigest()[:32]


class Ledger:
    """The open ledger."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open or make it. read_only: it must be there. Raises sqlite3.Error."""
        mode = "ro" if read_only else "rwc"
        fresh = not read_only and not path.exists()
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None
        )
        if read_only:
            return
        if fresh:
            path.chmod(0o600)
        # A rollback journal, synced with its folder: a commit that returned is on disk.
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = EXTRA")
        with self._writing():
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """Close it."""
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def record(self, entry: LedgerEntry) -> None:
        """Write down a certificate. Raises sqlite3.IntegrityError for a serial number used."""
        with self._writing():
            self._db.execute(
                f"INSERT INTO certificates ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608  constants
                (
                    entry.issuer,
                    f"{entry.serial_number:x}",
                    entry.template,
                    entry.account,
                    entry.subject,
                    _seconds(entry.not_before),
                    _seconds(entry.not_after),
                    _seconds(entry.issued_at),
                    entry.certificate,
                    None if entry.revoked_at is None else _seconds(entry.revoked_at),
                    entry.reason,
                ),
            )

    def find(self, serial_number: int, issuer: str | None = None) -> LedgerEntry | None:
        """Find a certificate by its serial number, of this CA or of any that the realm has had."""
        where = "" if issuer is None else " AND issuer = ?"
        found = self._db.execute(
            f"SELECT {_COLUMNS} FROM certificates WHERE serial = ?{where}"  # noqa: S608  constants
            " ORDER BY issued_at DESC LIMIT 1",
            (f"{serial_number:x}", *(() if issuer is None else (issuer,))),
        ).fetchone()
        return None if found is None else _entry(found)

    def entries(self, account: str | None = None) -> Iterator[LedgerEntry]:
        """List certificates, newest first, of one account (its name in any case) or all."""
        where = "" if account is None else "WHERE account = ? COLLATE NOCASE"
        yield from map(
            _entry,
            self._db.execute(
                f"SELECT {_COLUMNS} FROM certificates {where} ORDER BY issued_at DESC, serial",  # noqa: S608  constants
                () if account is None else (account,),
            ),
        )

    def revoke(self, issuer: str, serial_number: int, reason: int, now: datetime) -> bool:
        """Revoke a certificate; one on hold may get its final reason.

        Returns False when it was revoked already.
        """
        if reason not in REASONS:
            raise ValueError(f"no CRLReason: {reason}")
        with self._writing():
            done = self._db.execute(
                "UPDATE certificates SET revoked_at = coalesce(revoked_at, ?), reason = ?"
                " WHERE issuer = ? AND serial = ?"
                " AND (revoked_at IS NULL OR (reason = ? AND reason != ?))",
                (
                    _seconds(now),
                    reason,
                    issuer,
                    f"{serial_number:x}",
                    CERTIFICATE_HOLD,
                    reason,
                ),
            )
        return done.rowcount == 1

    def revoked(self, issuer: str, since: datetime) -> tuple[LedgerEntry, ...]:
        """List what is revoked and had not expired at a time, in the order of revocation."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM certificates"  # noqa: S608  constants
            " WHERE issuer = ? AND revoked_at IS NOT NULL AND not_after > ?"
            " ORDER BY revoked_at, serial",
            (issuer, _seconds(since)),
        )
        return tuple(map(_entry, rows))

    def next_crl_number(self, issuer: str, published: int) -> int:
        """Take the number of a CA's next CRL: above every one taken and the published one."""
        with self._writing():
            row = self._db.execute(
                "SELECT number FROM lists WHERE issuer = ?", (issuer,)
            ).fetchone()
            number = max(row[0] if row else 0, published) + 1
            self._db.execute("INSERT OR REPLACE INTO lists VALUES (?, ?)", (issuer, number))
        return int(number)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _entry(row: tuple[str, str, str, str, str, int, int, int, bytes, int, int]) -> LedgerEntry:
    return LedgerEntry(
        issuer=row[0],
        serial_number=int(row[1], 16),
        template=row[2],
        account=row[3],
        subject=row[4],
        not_before=datetime.fromtimestamp(row[5], UTC),
        not_after=datetime.fromtimestamp(row[6], UTC),
        issued_at=datetime.fromtimestamp(row[7], UTC),
        certificate=row[8],
        revoked_at=_moment(row[9]),
        reason=row[10],
    )
