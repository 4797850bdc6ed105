"""The local store, reading: the path every logon of every realm takes.

Rules
  1. `refresh` is called once per request. When any process has committed a change since, all
     decoded accounts are dropped; so a committed change is seen by the next request everywhere.
     How a commit is noticed without a query is `store_commits.py`.
  2. Any error of the database is UNAVAILABLE, never "unknown": nothing is concluded from a read
     that failed. The connection is then opened anew at the next read.
  3. A store object belongs to one process and one thread: open it after the fork.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import cast
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountSummary
from directory.lockout import LockoutBook
from directory.model import (
    NOBODY,
    Account,
    AccountKind,
    Device,
    Domain,
    Group,
    LockoutPolicy,
    PrincipalKey,
    ReadOnlyDc,
    Sid,
    match_key,
)
from directory.sealing import MasterKey, wrong_master_key
from directory.store_certificates import embedded_guid, read_certificates
from directory.store_commits import CommitWatch
from directory.store_devices import (
    Devices,
    read_device_owners,
    read_devices,
    read_devices_named,
)
from directory.store_groups import (
    GroupGraph,
    count_members,
    read_group,
    read_groups,
    read_members,
)
from directory.store_lists import read_account_id_by_dn, read_key_id_owners, read_summaries
from directory.store_read_only_dc import ReadOnlyDcs
from directory.store_rows import COLUMNS, AccountDecoder, Row
from directory.store_schema import (
    SCHEMA_VERSION,
    connect,
    embedded_dn,
    nt_hash_aad,
    secret_aad,
    unavailable,
)
from directory.store_upgrade import upgrade_store
from directory.store_values import read_history, read_mapped

MAX_NAME_CHARS = 1024  # longer names are in no store; not worth a query or a place in a cache
CACHED_ACCOUNTS = 4096
CACHED_NAMES = 4 * CACHED_ACCOUNTS  # known and unknown names
CACHED_KEY_OWNERS = CACHED_ACCOUNTS
MAX_CACHE_WEIGHT = 48 * 1024 * 1024  # octets, roughly: a worker stays under 100 MiB
MAX_KEY_OWNERS = 64
MAX_CACHED_MEMBERSHIPS = 256 * 1024  # of all accounts together: 2 MiB of references
_ACCOUNT_WEIGHT = 3000  # an account with its keys, and a decoded key credential beside its text

_BY = {
    "id": f"SELECT {COLUMNS} FROM accounts WHERE id = ?",  # noqa: S608  # constants only
    "name": f"SELECT {COLUMNS} FROM accounts WHERE name_key = ?",  # noqa: S608
    "upn": f"SELECT {COLUMNS} FROM accounts WHERE upn_key = ?",  # noqa: S608
    "spn": f"SELECT {COLUMNS} FROM accounts WHERE id ="  # noqa: S608
    " (SELECT account_id FROM spns WHERE spn_key = ?)",
    # The realm's own krbtgt is the store's first account; those of read-only DCs come later.
    "kind": f"SELECT {COLUMNS} FROM accounts WHERE kind = ? ORDER BY id LIMIT 1",  # noqa: S608
}

_KEY_OWNERS = (
    "SELECT DISTINCT account_id FROM key_credentials WHERE digest = ? AND lenient {0}"
    " ORDER BY account_id LIMIT ?"
)
# With one value of `lenient` the index gives the accounts in order; with two they are sorted.
_OWNERS_STRICT = _KEY_OWNERS.format("= 0")
_OWNERS_LENIENT = _KEY_OWNERS.format("<= 1")


class StoreReader:
    """A store opened for reading; implements `directory.backend.Directory`."""

    def __init__(
        self,
        path: Path,
        master_key: MasterKey,
        *,
        check_keyid: bool = True,
        cached_accounts: int = CACHED_ACCOUNTS,
    ) -> None:
        self.path = path
        self._master_key = master_key
        self._check_keyid = check_keyid
        self._cached_accounts = cached_accounts
        self._lockout = LockoutBook(path.with_name(f"{path.stem}-lockout.sqlite"))
        self._connection: sqlite3.Connection | None = None
        self._commits = CommitWatch()
        self._version = 0
        self._data_version = -1
        self._mark = b""
        """Of the database when `_data_version` was asked for last."""
        self._accounts: OrderedDict[int, tuple[Account, int]] = OrderedDict()
        self._names: OrderedDict[tuple[str, str], int | None] = OrderedDict()
        self._key_owners: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()
        """Keys that are registered. A stranger's are not remembered: they would drive out these."""
        self._weight = 0
        self._krbtgt: Account | None = None
        self._krbtgt_row: Row | None = None
        self._groups: dict[int, tuple[Sid, ...]] = {}
        self._graph = GroupGraph(self._all)
        self._decoder = AccountDecoder(self._all, master_key, check_keyid=check_keyid)
        self._read_only_dcs = ReadOnlyDcs(self._all)
        self._devices = Devices(self._all)
        self._memberships = 0
        self._check_store()

    def _check_store(self) -> None:
        found = self._schema()
        if found != SCHEMA_VERSION:
            raise DirectoryError(
                DirectoryFault.UNAVAILABLE, f"store has schema {found}, not {SCHEMA_VERSION}"
            )
        try:
            self.secret("key check")
        except DirectoryError as error:
            if error.kind is not DirectoryFault.CORRUPT:
                raise
            raise wrong_master_key(self.path) from None
        self.realm = self._decoder.realm = str(self.setting("realm"))
        self.netbios = str(self.setting("netbios"))
        self.domain_sid = Sid.parse(str(self.setting("domain_sid")))
        self._domain = Domain(
            sid=self.domain_sid, netbios=self.netbios, dns_name=self.realm.lower()
        )

    def _schema(self) -> object:
        """Return the schema version, after bringing an older store up to date."""
        found = self.setting("schema_version")
        if isinstance(found, int) and 1 <= found < SCHEMA_VERSION:
            upgrade_store(self.path)
            found = self.setting("schema_version")
        return found

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        if self._connection is not None:
            self._commits.detach()
            self._connection.close()
            self._connection = None
        self._lockout.close()
        self.forget()

    # -- queries -----------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = connect(self.path, write=False)
            try:
                self._commits.attach(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
            self._data_version = -1  # it counts from the start again, whatever happened meanwhile
            self._mark = b""
        return self._connection

    def _failed(self, error: sqlite3.Error) -> DirectoryError:
        self.close()
        return unavailable(error)

    def _one(self, sql: str, *values: object) -> Row | None:
        try:
            row = self._open().execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return cast("Row | None", row)

    def _all(self, sql: str, *values: object) -> list[Row]:
        try:
            return self._open().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Run a query of another module of this package. Raises DirectoryError(UNAVAILABLE)."""
        return self._all(sql, *values)

    def setting(self, name: str) -> object:
        """Return a setting of the realm (`realm`, `netbios`, `domain_sid` ...), None if unset."""
        row = self._one("SELECT value FROM settings WHERE name = ?", name)
        return row[0] if row is not None else None

    def secret(self, name: str) -> bytes | None:
        """Return a secret of the realm, None if unset. Raises DirectoryError(CORRUPT)."""
        row = self._one("SELECT sealed FROM secrets WHERE name = ?", name)
        return self._master_key.open(secret_aad(name), cast(bytes, row[0])) if row else None

    # -- Directory ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """See every change committed until now (0.3 us, and 10 after a commit)."""
        mark = self._commits.mark()
        if mark and mark == self._mark:
            return
        row = self._one("PRAGMA data_version")
        if row is None or row[0] != self._data_version:
            self.forget()
            self._data_version = cast(int, row[0]) if row is not None else -1
            self._version += 1
        elif self._mark:
            # A commit, and SQLite knows of none: a query that was left unfinished holds the
            # connection to its snapshot. To be asked again until it is gone.
            return
        self._mark = mark

    @property
    def version(self) -> int:
        """How often `refresh` dropped what was known: another number, and something may be new."""
        return self._version

    def forget(self) -> None:
        """Drop every decoded account and every remembered name."""
        self._accounts.clear()
        self._names.clear()
        self._key_owners.clear()
        self._weight = 0
        self._krbtgt = None
        self._krbtgt_row = None
        self._forget_groups()
        self._graph.forget()
        self._read_only_dcs.forget()
        self._devices.forget()

    def _forget_groups(self) -> None:
        self._groups.clear()
        self._memberships = 0

    def account_by_id(self, account_id: int) -> Account | None:
        """Find an account by its number."""
        cached = self._accounts.get(account_id)
        if cached is not None:
            self._accounts.move_to_end(account_id)
            return self._with_lock(cached[0])
        row = self._one(_BY["id"], account_id)
        return self._with_lock(self._remember(row)) if row is not None else None

    def account_by_name(self, name: str) -> Account | None:
        """Find an account by sAMAccountName as given; no "$" is added."""
        return self._find("name", name)

    def account_by_upn(self, upn: str) -> Account | None:
        """Find an account by its whole userPrincipalName."""
        return self._find("upn", upn)

    def account_by_spn(self, spn: str) -> Account | None:
        """Find an account by servicePrincipalName, without a realm."""
        return self._find("spn", spn)

    def _find(self, column: str, name: str) -> Account | None:
        if len(name) > MAX_NAME_CHARS:
            return None
        place = (column, match_key(name))
        try:
            account_id = self._names[place]
        except KeyError:
            pass
        else:
            self._names.move_to_end(place)
            return None if account_id is None else self.account_by_id(account_id)
        try:
            row = self._one(_BY[column], place[1])
        except UnicodeEncodeError:
            return None  # octets that are not UTF-8 came as lone surrogates: in no store
        account = None if row is None else self._remember(row)
        self._keep_name(place, None if account is None else account.account_id)
        return None if account is None else self._with_lock(account)

    def _keep_name(self, place: tuple[str, str], account_id: int | None) -> None:
        self._names[place] = account_id
        if len(self._names) > CACHED_NAMES:
            self._names.popitem(last=False)

    def accounts_by_key(self, key_digest: bytes) -> tuple[int, ...]:
        """List, in order, the users and computers on which a key is registered and usable.

        At most MAX_KEY_OWNERS: two are already one too many for a logon.
        """
        known = self._key_owners.get(key_digest)
        if known is not None:
            self._key_owners.move_to_end(key_digest)
            return known
        query = _OWNERS_STRICT if self._check_keyid else _OWNERS_LENIENT
        rows = self._all(query, key_digest, MAX_KEY_OWNERS)
        owners = tuple(cast(int, row[0]) for row in rows)
        if owners:
            self._key_owners[key_digest] = owners
            if len(self._key_owners) > CACHED_KEY_OWNERS:
                self._key_owners.popitem(last=False)
        return owners

    def accounts_by_alt_security_identity(self, keys: Sequence[bytes]) -> tuple[int, ...]:
        """List, in order, the accounts with an altSecurityIdentities of one of these keys."""
        return read_mapped(self._all, keys)

    def krbtgt(self) -> Account:
        """Return the realm's own ticket-granting account. Raises DirectoryError(CORRUPT)."""
        if self._krbtgt is None:
            row = self._one(_BY["kind"], AccountKind.KRBTGT.value)
            if row is None:
                raise DirectoryError(DirectoryFault.CORRUPT, "store without a krbtgt account")
            self._krbtgt = self._decoder.decode(row)
            self._krbtgt_row = row
        return self._krbtgt

    def read_only_dc(self, number: int) -> ReadOnlyDc | None:
        """Find a read-only domain controller by its number.

        Raises DirectoryError(CORRUPT) when two krbtgt accounts have it.
        """
        return self._read_only_dcs.find(number, self.account_by_id, self.realm)

    def read_only_dc_numbers(self) -> tuple[int, ...]:
        """List the numbers of all read-only domain controllers."""
        return self._read_only_dcs.numbers()

    def device(self, device_id: UUID) -> Device | None:
        """Find a device object by its msDS-DeviceID."""
        return self._devices.find(device_id)

    def has_devices(self) -> bool:
        """Tell whether there is any device object."""
        return self._devices.any()

    def domain(self) -> Domain:
        """Return the domain that the realm's accounts belong to."""
        return self._domain

    def groups_of(self, account_id: int) -> tuple[Sid, ...]:
        """List an account's groups: the primary one, then all others, nested ones too.

        Raises DirectoryError(CORRUPT) past `store_groups.MAX_GROUPS` or MAX_NESTING.
        """
        found = self._groups.get(account_id)
        if found is not None:
            return found
        account = self.account_by_id(account_id)
        if account is None:
            return ()
        primary = self.domain_sid.with_rid(account.primary_group_id)
        groups = self._graph.flatten(account_id, primary)
        self._memberships += len(groups)
        if self._memberships > MAX_CACHED_MEMBERSHIPS or len(self._groups) >= CACHED_ACCOUNTS:
            self._forget_groups()
            self._memberships = len(groups)
        self._groups[account_id] = groups
        return groups

    def nt_hash(self, account_id: int) -> bytes | None:
        """Return the NT hash of an account's password, None when none is kept.

        Raises DirectoryError(CORRUPT).
        """
        row = self._one("SELECT sealed FROM nt_hashes WHERE account_id = ?", account_id)
        if row is None:
            return None
        return self._master_key.open(nt_hash_aad(account_id), cast(bytes, row[0]))

    def spend_as_found(self, name: str) -> None:
        """Do the work of finding an account: decoding one at first, then reading its lock."""
        place = ("nobody", match_key(name[:MAX_NAME_CHARS]))
        if place in self._names:
            self._names.move_to_end(place)
        else:
            # The realm's own account has as many keys as one with a password.
            self.krbtgt()
            if self._krbtgt_row is not None:
                self._decoder.decode(self._krbtgt_row)
            self._keep_name(place, None)
        # Under a number of this name's own that no account has: as an account's, its lock is asked
        # for at first and known then, whatever else is dropped.
        self._lockout.locked_until(NOBODY - 1 - (hash(place) & 0xFFFFFFFF))

    def record_password_failure(
        self, account_id: int, now: datetime, policy: LockoutPolicy, packet: bytes = b""
    ) -> datetime | None:
        """Count one wrong password; return until when the account is now locked."""
        return self._lockout.record_failure(account_id, now, policy, packet)

    def record_password_success(self, account_id: int, now: datetime) -> None:
        """Forget the wrong passwords of an account that is not locked."""
        self._lockout.record_success(account_id, now)

    def password_failures(self, account_id: int) -> int:
        """Return how many wrong passwords in a row are on record."""
        return self._lockout.failures(account_id)

    def locked_until(self, account_id: int) -> datetime | None:
        """Return until when an account was locked last; None when it never was."""
        return self._lockout.locked_until(account_id)

    def lock_until(self, account_id: int, until: datetime) -> None:
        """Lock an account as another directory says; wrong passwords are counted anew."""
        self._lockout.lock(account_id, until)

    def unlock(self, account_id: int) -> bool:
        """End an account's lock; return whether any wrong password was on record."""
        return self._lockout.unlock(account_id)

    # -- rows to accounts --------------------------------------------------------------------

    def _with_lock(self, account: Account) -> Account:
        """Put the lock of this moment on an account; services have no passwords to guess."""
        if account.kind in (AccountKind.SERVICE, AccountKind.KRBTGT):
            return account
        until = self._lockout.locked_until(account.account_id)
        return account if until is None else replace(account, locked_until=until)

    def _remember(self, row: Row) -> Account:
        account = self._decoder.decode(row)
        weight = _ACCOUNT_WEIGHT + sum(
            _ACCOUNT_WEIGHT + len(c.text) * 2 for c in account.key_credentials
        )
        old = self._accounts.pop(account.account_id, None)
        self._accounts[account.account_id] = (account, weight)
        self._weight += weight - (old[1] if old else 0)
        while len(self._accounts) > self._cached_accounts or self._weight > MAX_CACHE_WEIGHT:
            self._weight -= self._accounts.popitem(last=False)[1][1]
        return account

    # -- administration ----------------------------------------------------------------------

    def new_dn(self, name: str, kind: AccountKind) -> str:
        """Return the DN that a new account of an embedded realm will have."""
        return embedded_dn(name, kind, self.realm)

    def owner_dn(self, account_id: int) -> str:
        """Return an account's DN: the DN part of its key credentials.

        Raises DirectoryError(NOT_FOUND).
        """
        row = self._one("SELECT name, kind, dn FROM accounts WHERE id = ?", account_id)
        if row is None:
            raise DirectoryError(DirectoryFault.NOT_FOUND, "no such account")
        name, kind, dn = cast(tuple[str, str, str | None], row)
        return dn or embedded_dn(name, AccountKind(kind), self.realm)

    def object_guid(self, account_id: int) -> UUID:
        """Return an account's objectGUID. Raises DirectoryError(NOT_FOUND)."""
        row = self._one("SELECT guid, sid FROM accounts WHERE id = ?", account_id)
        if row is None:
            raise DirectoryError(DirectoryFault.NOT_FOUND, "no such account")
        guid, sid = cast("tuple[bytes | None, bytes]", row)
        return UUID(bytes=guid) if guid else embedded_guid(Sid.from_bytes(sid))

    def user_certificates(self, account_id: int) -> tuple[bytes, ...]:
        """Return an account's userCertificate values (DER) in the order they were added.

        Empty in a realm that follows a directory: no logon reads them, and they are not copied.
        """
        return read_certificates(self._all, account_id)

    def account_id_by_dn(self, dn: str) -> int | None:
        """Find an account by its DN, compared by `match_key`; None when there is none.

        Raises DirectoryError(CORRUPT) when two have it.
        """
        return read_account_id_by_dn(self._all, dn, self.realm)

    def password_history(self, account_id: int) -> tuple[PrincipalKey, ...]:
        """Return one key of each earlier password, the latest first; kvno is its place only.

        Raises DirectoryError(CORRUPT).
        """
        return read_history(self._all, self._master_key, account_id)

    def group_by_name(self, name: str) -> Group | None:
        """Find a group by its name."""
        return read_group(self._all, name)

    def list_groups(self, *, after: str = "", limit: int = 500) -> tuple[Group, ...]:
        """List groups in order of their names, after `after`."""
        return read_groups(self._all, after, limit)

    def group_members(self, group_id: int, limit: int = 500) -> tuple[str, ...]:
        """List the names of a group's direct members; not those it is the primary group of."""
        return read_members(self._all, group_id, limit)

    def count_group_members(self, group_id: int) -> int:
        """Count a group's direct members; not those it is the primary group of."""
        return count_members(self._all, group_id)

    def list_devices(self, *, after: UUID | None = None, limit: int = 500) -> tuple[Device, ...]:
        """List device objects in order of their GUIDs, after `after`."""
        return read_devices(self._all, after, limit)

    def device_owners(self) -> dict[Sid, str]:
        """Name the accounts that registered devices. Reads the whole table of accounts."""
        return read_device_owners(self._all)

    def devices_named(self, name: str, limit: int = 100) -> tuple[Device, ...]:
        """List device objects with this name. Reads the whole table."""
        return read_devices_named(self._all, name, limit)

    def list_accounts(
        self,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 500,
        kind: AccountKind | None = None,
    ) -> tuple[AccountSummary, ...]:
        """List accounts in order of their names: those that start with `prefix`, after `after`."""
        return read_summaries(self._all, prefix, after, limit, kind)

    def count_accounts(self, kind: AccountKind | None = None) -> int:
        """Count the accounts, all or of one kind."""
        row = self._one(
            "SELECT count(*) FROM accounts WHERE kind = coalesce(?, kind)",
            kind.value if kind else None,
        )
        return cast(int, row[0]) if row is not None else 0

    def accounts_by_key_id(self, prefix: bytes, limit: int = 100) -> tuple[int, ...]:
        """List the accounts with a key credential whose KeyID starts so. Reads the whole table."""
        return read_key_id_owners(self._all, prefix, limit)

    def shared_keys(self, limit: int = 100) -> tuple[tuple[bytes, tuple[int, ...]], ...]:
        """List keys registered on more than one account: nobody logs on with those."""
        rows = self._all(
            "SELECT digest FROM key_credentials WHERE digest IS NOT NULL AND lenient <= ?"
            " GROUP BY digest HAVING min(account_id) < max(account_id) ORDER BY digest LIMIT ?",
            0 if self._check_keyid else 1,
            limit,
        )
        digests = [cast(bytes, row[0]) for row in rows]
        return tuple((digest, self.accounts_by_key(digest)) for digest in digests)
