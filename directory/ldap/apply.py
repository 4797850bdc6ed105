"""Writing what a directory holds into the local store, entry by entry.

Rules
  1. An entry keeps its row by its GUID, whatever it is renamed to, so that an account keeps its
     number. A batch of entries is one transaction.
  2. Two entries with one name: neither is found by that name (row L04). The name is kept as a
     problem and answered with 29, until one of the entries is gone or renamed; everything else of
     both accounts works. An entry that cannot be read has no account, and all its names are such.
  3. Who is in a group is what the group's `member` says. A member that is not there yet, or cannot
     be read, is kept as pending by its DN and joins when its entry comes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.records import AccountEntry, DeviceEntry, Gone, GroupEntry, Record, Unusable
from directory.ldap.rows import (
    account_names,
    join_groups,
    leave_groups,
    names_of,
    own_krbtgt,
    put_group,
    put_keys,
    replace_account,
    set_members,
    taken_names,
)
from directory.model import AccountKind, PrincipalKey, match_key
from directory.store import Store
from directory.store_devices import delete_device_object, put_device
from directory.store_insert import Inserter
from directory.store_schema import to_micros

# replica_entries: every entry that was looked at, in which version. account_id and group_id are
# NULL when it is a device, or unusable; problem says why. locked_until: what lockoutTime says.
# replica_names: names that several entries have, or an unusable one, as `kind:key`.
# replica_pending: members that are no entry of ours, yet or ever.
TABLES = """
CREATE TABLE IF NOT EXISTS replica_entries (
    guid BLOB PRIMARY KEY,
    dn_key TEXT NOT NULL,
    version TEXT NOT NULL,
    account_id INTEGER,
    group_id INTEGER,
    locked_until INTEGER,
    problem TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replica_problems ON replica_entries (guid) WHERE problem IS NOT NULL;
CREATE INDEX IF NOT EXISTS replica_accounts_by_sid ON accounts (sid);
CREATE TABLE IF NOT EXISTS replica_names (
    name TEXT NOT NULL,
    guid BLOB NOT NULL,
    PRIMARY KEY (name, guid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replica_names_of ON replica_names (guid);
CREATE TABLE IF NOT EXISTS replica_pending (
    member_key TEXT NOT NULL,
    group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (member_key, group_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replica_pending_of ON replica_pending (group_id)
"""

MAX_SHOWN_DN = 256
KEYS_AT_ONCE = 1000
"""Accounts whose keys are compared in one transaction."""

KeysOf = Callable[[str, "tuple[str, ...]"], "tuple[PrincipalKey, ...] | None"]
"""(sAMAccountName, SPNs) -> the long-term keys; None: whatever keys the account has stay."""


def no_keys(name: str, spns: tuple[str, ...]) -> tuple[PrincipalKey, ...] | None:
    """Leave every account's keys as they are."""
    del name, spns
    return None


@dataclass(slots=True, kw_only=True)
class Applied:
    """What a batch changed."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(DN, why) of entries that are unusable, or not wholly usable, since now."""
    retry: set[UUID] = field(default_factory=set)
    """Entries with a problem that may have gone: read them again."""
    locks: dict[int, datetime | None] = field(default_factory=dict)
    """Accounts whose lock the directory changed."""

    @property
    def written(self) -> int:
        """How many entries are in the store otherwise than before."""
        return self.added + self.changed + self.removed

    def add(self, other: "Applied") -> None:
        """Count another batch as well."""
        self.added += other.added
        self.changed += other.changed
        self.removed += other.removed
        self.unchanged += other.unchanged
        self.problems += other.problems
        self.retry |= other.retry


class ReplicaWriter:
    """Keeps a store in step with a directory. Owner: a thread of the process that follows it."""

    def __init__(
        self, store: Store, *, links_follow_names: bool, keys_of: KeysOf = no_keys
    ) -> None:
        """links_follow_names: whether a group's `member` follows a renamed entry by itself (AD)."""
        self.store = store
        self.links_follow_names = links_follow_names
        self.keys_of = keys_of
        with store.replicating() as inserter:
            for statement in TABLES.split(";"):
                inserter.connection.execute(statement)

    def apply(
        self,
        records: Iterable[Record],
        *,
        force: bool = False,
        marks: Mapping[str, bytes | int] | None = None,
    ) -> Applied:
        """Write a batch as one transaction; entries in the version that is there are left alone.

        force: write those as well. marks: settings that go with it, written when anything is.
        Raises DirectoryError(UNAVAILABLE): nothing was written.
        """
        done = Applied()
        with self.store.replicating() as inserter:
            batch = _Batch(inserter, self, done)
            for record in records:
                batch.take(record, force=force)
            if marks and done.written:
                inserter.connection.executemany(
                    "INSERT OR REPLACE INTO settings VALUES (?, ?)", list(marks.items())
                )
        # The counters are a database of their own, so this is no part of the transaction.
        for account_id, until in done.locks.items():
            if until is None:
                self.store.unlock(account_id)
            else:
                self.store.lock_until(account_id, until)
        return done

    def set_keys(self) -> int:
        """Give every account the keys that their source has now; return how many changed."""
        changed = 0
        last = 0
        while True:
            with self.store.replicating() as inserter:
                connection = inserter.connection
                accounts = connection.execute(
                    "SELECT id, name FROM accounts WHERE id > ? ORDER BY id LIMIT ?",
                    (last, KEYS_AT_ONCE),
                ).fetchall()
                for number, name in cast("list[tuple[int, str]]", accounts):
                    last = number
                    rows = connection.execute(
                        "SELECT spn FROM spns WHERE account_id = ?", (number,)
                    )
                    spns = tuple(row[0] for row in rows.fetchall())
                    changed += put_keys(inserter, number, self.keys_of(name, spns))
            if len(accounts) < KEYS_AT_ONCE:
                return changed

    def versions(self) -> dict[UUID, tuple[str, str]]:
        """Return every entry that is known: its version and the key of its DN.

        The version of one with a problem is "", so that it is read again.
        """
        rows = self.store.rows("SELECT guid, version, dn_key, problem FROM replica_entries")
        return {
            UUID(bytes=guid): ("" if problem else version, dn_key)
            for guid, version, dn_key, problem in cast(
                "list[tuple[bytes, str, str, str | None]]", rows
            )
        }

    def problems(self, limit: int = 100) -> list[tuple[str, str]]:
        """List entries that are not wholly usable: DN in lower case and why."""
        rows = self.store.rows(
            "SELECT dn_key, problem FROM replica_entries WHERE problem IS NOT NULL"
            " ORDER BY dn_key LIMIT ?",
            limit,
        )
        return cast("list[tuple[str, str]]", rows)

    def count_problems(self) -> int:
        """Count the entries that are not wholly usable."""
        rows = self.store.rows("SELECT count(*) FROM replica_entries WHERE problem IS NOT NULL")
        return cast(int, rows[0][0])

    def count(self) -> int:
        """Count the entries that are known."""
        return cast(int, self.store.rows("SELECT count(*) FROM replica_entries")[0][0])

    def guid_of_account(self, account_id: int) -> UUID | None:
        """Return an account's GUID, None when it did not come from the directory."""
        rows = self.store.rows("SELECT guid FROM accounts WHERE id = ?", account_id)
        return UUID(bytes=cast(bytes, rows[0][0])) if rows and rows[0][0] else None

    def guids_of_name(self, name_key: str) -> list[UUID]:
        """List the accounts that have a name as sAMAccountName, UPN or SPN."""
        rows = self.store.rows(
            "SELECT guid FROM accounts WHERE guid IS NOT NULL AND id IN ("
            "SELECT id FROM accounts WHERE name_key = ?1 UNION"
            " SELECT id FROM accounts WHERE upn_key = ?1 UNION"
            " SELECT account_id FROM spns WHERE spn_key = ?1)",
            name_key,
        )
        return [UUID(bytes=cast(bytes, row[0])) for row in rows]

    def guids_of_device(self, device_id: UUID) -> list[UUID]:
        """List the device objects that have an msDS-DeviceID."""
        rows = self.store.rows("SELECT guid FROM devices WHERE device_id = ?", device_id.bytes)
        return [UUID(bytes=cast(bytes, row[0])) for row in rows]

    def groups_of_dn(self, dn: str) -> set[UUID]:
        """List the groups that an account is a direct member of, by its DN."""
        rows = self.store.rows(
            "SELECT g.guid FROM accounts a JOIN account_members m ON m.account_id = a.id"
            " JOIN groups g ON g.id = m.group_id WHERE a.dn_key = ? AND g.guid IS NOT NULL",
            match_key(dn),
        )
        return {UUID(bytes=cast(bytes, row[0])) for row in rows}


def problem_names(rows: Callable[..., Sequence[tuple[object, ...]]]) -> frozenset[str]:
    """List the names that are answered with 29, as `kind:key`; none in an embedded realm."""
    there = rows("SELECT 1 FROM sqlite_master WHERE name = 'replica_names'")
    if not there:
        return frozenset()
    return frozenset(cast(str, row[0]) for row in rows("SELECT name FROM replica_names"))


@dataclass(slots=True)
class _Known:
    """What replica_entries has of an entry."""

    version: str
    dn_key: str
    account_id: int | None
    group_id: int | None
    locked_until: int | None
    problem: str | None


class _Batch:
    """One transaction."""

    def __init__(self, inserter: Inserter, writer: ReplicaWriter, done: Applied) -> None:
        self._inserter = inserter
        self._connection = inserter.connection
        self._sql = inserter.connection.execute
        self._writer = writer
        self._done = done

    def take(self, record: Record, *, force: bool) -> None:
        """Write one entry."""
        guid = record.guid.bytes
        row = self._sql(
            "SELECT version, dn_key, account_id, group_id, locked_until, problem"
            " FROM replica_entries WHERE guid = ?",
            (guid,),
        ).fetchone()
        known = _Known(*row) if row is not None else None
        if isinstance(record, Gone):
            if known is not None:
                self._remove(known, guid, wait=not self._writer.links_follow_names)
                self._sql("DELETE FROM replica_entries WHERE guid = ?", (guid,))
                self._done.removed += 1
            return
        dn = record.account.dn or "" if isinstance(record, AccountEntry) else record.dn
        dn_key = match_key(dn)
        if known is None:
            self._done.added += 1
        elif (
            not force
            and known.problem is None
            and record.version
            and (known.version, known.dn_key) == (record.version, dn_key)
        ):
            self._done.unchanged += 1
            return
        else:
            self._done.changed += 1
        account_id, group_id, problem, names = self._write(record, known, dn_key)
        until = to_micros(record.locked_until) if isinstance(record, AccountEntry) else None
        self._sql(
            "INSERT OR REPLACE INTO replica_entries VALUES (?, ?, ?, ?, ?, ?, ?)",
            (guid, dn_key, record.version, account_id, group_id, until, problem),
        )
        self._sql("DELETE FROM replica_names WHERE guid = ?", (guid,))
        for name in names:
            self._sql("INSERT OR IGNORE INTO replica_names VALUES (?, ?)", (name, guid))
        if account_id is not None or group_id is not None:
            join_groups(self._connection, dn_key, account_id, group_id)
        if account_id is not None and until != (known.locked_until if known is not None else None):
            self._done.locks[account_id] = cast(AccountEntry, record).locked_until
        if problem is not None and (known is None or known.problem != problem):
            self._done.problems.append((dn[:MAX_SHOWN_DN], problem))

    def _write(
        self,
        record: AccountEntry | GroupEntry | DeviceEntry | Unusable,
        known: _Known | None,
        dn_key: str,
    ) -> tuple[int | None, int | None, str | None, Sequence[str]]:
        """Write the rows of an entry: (account, group, problem, the names with it)."""
        if isinstance(record, Unusable):
            self._unusable(record.guid.bytes, known)
            return None, None, record.why, record.names
        if isinstance(record, DeviceEntry):
            put_device(self._connection, record.device)
            return None, None, None, ()
        if known is not None and known.dn_key != dn_key and not self._writer.links_follow_names:
            leave_groups(
                self._connection, known.dn_key, known.account_id, known.group_id, wait=True
            )
        try:
            with self._savepoint():
                if isinstance(record, AccountEntry):
                    if known is not None and known.group_id is not None:
                        self._remove(known, record.guid.bytes, wait=True)
                        known = None
                    account_id, problem, names = self._put_account(record, known)
                    return account_id, None, problem, names
                if known is not None and known.account_id is not None:
                    self._remove(known, record.guid.bytes, wait=True)
                    known = None
                group_id = put_group(
                    self._inserter, record, known.group_id if known is not None else None
                )
                set_members(self._connection, group_id, record.members)
                return None, group_id, None, ()
        except DirectoryError as error:
            if error.kind is DirectoryFault.UNAVAILABLE:
                raise
            self._unusable(record.guid.bytes, known)
            return None, None, error.detail, names_of(record)

    def _put_account(
        self, record: AccountEntry, known: _Known | None
    ) -> tuple[int, str | None, Sequence[str]]:
        account_id = known.account_id if known is not None else None
        new = record.account
        if (
            account_id is None
            and new.kind is AccountKind.KRBTGT
            and new.secondary_krbtgt_number is None
        ):
            account_id = own_krbtgt(self._connection)
        before: set[str] = set()
        if account_id is not None:
            before = account_names(account_id, self._connection, self._inserter.realm)
        new, shared, losers = taken_names(self._inserter, new, account_id)
        for loser in losers:
            self._take_upn(loser)
        if account_id is None:
            account_id = self._inserter.insert(new)
        else:
            replace_account(self._inserter, account_id, new)
            freed = before - account_names(account_id, self._connection, self._inserter.realm)
            self._retry(freed, record.guid.bytes)
        put_keys(self._inserter, account_id, self._writer.keys_of(new.name, new.spns))
        problem = None
        if shared:
            problem = f"another account has its name {shared[0].partition(':')[2]}"[:200]
        return account_id, problem, shared

    def _take_upn(self, account_id: int) -> None:
        """Take the userPrincipalName off an account that shares it, and keep it as a problem."""
        row = self._sql(
            "SELECT upn_key, guid, dn FROM accounts WHERE id = ?", (account_id,)
        ).fetchone()
        self._sql("UPDATE accounts SET upn = NULL, upn_key = NULL WHERE id = ?", (account_id,))
        if row is not None and row[1] is not None:
            problem = f"another account has its name {row[0]}"[:200]
            self._sql(
                "INSERT OR IGNORE INTO replica_names VALUES (?, ?)", (f"upn:{row[0]}", row[1])
            )
            self._sql("UPDATE replica_entries SET problem = ? WHERE guid = ?", (problem, row[1]))
            self._done.problems.append(((row[2] or "")[:MAX_SHOWN_DN], problem))

    def _unusable(self, guid: bytes, known: _Known | None) -> None:
        if known is not None:
            self._remove(known, guid, wait=True)

    def _remove(self, known: _Known, guid: bytes, *, wait: bool) -> None:
        """Remove the account or group of an entry; wait: its groups wait for its DN."""
        leave_groups(self._connection, known.dn_key, known.account_id, known.group_id, wait=wait)
        if not wait:
            self._sql("DELETE FROM replica_pending WHERE member_key = ?", (known.dn_key,))
        rows = self._sql("SELECT name FROM replica_names WHERE guid = ?", (guid,)).fetchall()
        freed = {cast(str, row[0]) for row in rows}
        self._sql("DELETE FROM replica_names WHERE guid = ?", (guid,))
        if known.account_id is not None:
            freed |= account_names(known.account_id, self._connection, self._inserter.realm)
            row = self._sql(
                "SELECT kind, id = (SELECT min(id) FROM accounts WHERE kind = ?) FROM accounts"
                " WHERE id = ?",
                (AccountKind.KRBTGT.value, known.account_id),
            ).fetchone()
            if row is not None and row[0] == AccountKind.KRBTGT.value and row[1]:
                # Without its krbtgt a realm answers nobody; it waits for its entry.
                self._sql(
                    "UPDATE accounts SET guid = NULL, dn = NULL, dn_key = NULL WHERE id = ?",
                    (known.account_id,),
                )
            else:
                self._sql("DELETE FROM accounts WHERE id = ?", (known.account_id,))
                self._done.locks[known.account_id] = None
        if known.account_id is None and known.group_id is None:
            delete_device_object(self._connection, UUID(bytes=guid))
        if known.group_id is not None:
            self._sql("DELETE FROM groups WHERE id = ?", (known.group_id,))
        self._retry(freed, guid)

    def _retry(self, freed: set[str], but: bytes) -> None:
        """Ask for the entries whose problem was a name that is free now."""
        for name in freed:
            rows = self._sql("SELECT guid FROM replica_names WHERE name = ?", (name,)).fetchall()
            self._done.retry.update(UUID(bytes=row[0]) for row in rows if row[0] != but)

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        self._sql("SAVEPOINT entry")
        try:
            yield
        except BaseException:
            self._sql("ROLLBACK TO entry")
            self._sql("RELEASE entry")
            raise
        self._sql("RELEASE entry")
