"""The local store, writing: accounts, keys and key credentials (reading is `store_read.py`).

Rules
  1. A change is one transaction on a connection of its own: all of it or nothing. When a call
     returns, the change is on disk and every reader's next `refresh` sees it.
  2. Names are unique by `match_key`, each kind among its own: sAMAccountName, userPrincipalName,
     servicePrincipalName. A UPN may not be the implicit one (name@realm) of another account
     (CVE-2021-42282), or it would take that account's logons.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NoReturn, cast
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import UNCHANGED, AccountChanges, NewAccount
from directory.keycredential import MAX_VALUES, decode_key_credential
from directory.model import (
    MAX_OWN_KVNO,
    AccountKind,
    Device,
    KeyCredential,
    PrincipalKey,
    Sid,
)
from directory.sealing import MasterKey
from directory.store_certificates import add_certificate, remove_certificates
from directory.store_create import create_store
from directory.store_devices import (
    delete_device_rows,
    enable_device,
    insert_device,
    update_device_row,
)
from directory.store_groups import (
    delete_group_row,
    delete_member,
    insert_group,
    insert_member,
)
from directory.store_insert import KEY_OWNERS, Inserter, changed_columns, unique
from directory.store_names import check_name, check_upn, implicit_owner
from directory.store_read import StoreReader
from directory.store_schema import (
    WRITE_WAIT_S,
    AccountFlag,
    connect,
    embedded_dn,
    pack_credential,
    secret_aad,
    to_micros,
    unavailable,
)
from directory.store_values import (
    RARE_FLAGS,
    changed_values,
    push_history,
    write_values,
)

BULK_CACHE_KIB = 64 * 1024  # a million random index entries do not fit the usual page cache
PROGRESS_EVERY = 1000


def _fail(kind: DirectoryFault, detail: str) -> NoReturn:
    raise DirectoryError(kind, detail)


class Store(StoreReader):
    """The local store of a realm. `Store.open(path, key)`; `Store.create(...)` for a new realm."""

    def __init__(
        self,
        path: Path,
        master_key: MasterKey,
        *,
        read_only: bool = False,
        check_keyid: bool = True,
        write_wait_s: float = WRITE_WAIT_S,
    ) -> None:
        self._write_wait_s = write_wait_s
        self._writer: sqlite3.Connection | None = None
        self._read_only = read_only
        super().__init__(path, master_key, check_keyid=check_keyid)

    @classmethod
    def open(
        cls,
        path: Path,
        master_key: MasterKey,
        *,
        read_only: bool = False,
        check_keyid: bool = True,
        write_wait_s: float = WRITE_WAIT_S,
    ) -> "Store":
        """Open an existing store; read_only: refuse every write but lockout counters.

        write_wait_s: how long a change waits for another process's before it is UNAVAILABLE.
        Raises DirectoryError: UNAVAILABLE (no store, not a store), DENIED (wrong master key).
        """
        return cls(
            path,
            master_key,
            read_only=read_only,
            check_keyid=check_keyid,
            write_wait_s=write_wait_s,
        )

    @classmethod
    def create(
        cls,
        path: Path,
        master_key: MasterKey,
        *,
        realm: str,
        netbios: str,
        krbtgt_keys: Sequence[PrincipalKey],
        now: datetime,
        domain_sid: Sid | None = None,
    ) -> "Store":
        """Make the store of a new realm with its krbtgt account, and open it.

        The file appears under its name only when it is complete.
        Raises DirectoryError: EXISTS, DENIED, INVALID.
        """
        create_store(
            path,
            master_key,
            realm=realm,
            netbios=netbios,
            krbtgt_keys=krbtgt_keys,
            now=now,
            domain_sid=domain_sid,
        )
        store = cls(path, master_key)
        store.unlock(0)  # makes the counters' file, so that no two workers race for it
        return store

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        super().close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: committed and on disk at its end, or undone."""
        if self._read_only:
            _fail(DirectoryFault.DENIED, "store opened for reading only")
        if self._writer is None:
            self._writer = connect(self.path, write=True, write_wait_s=self._write_wait_s)
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise unavailable(error) from error
        finally:
            self.forget()

    @contextmanager
    def replicating(self) -> Iterator[Inserter]:
        """Write what another directory holds, rows of our own choice, as one transaction.

        For `directory.ldap`, which keeps this store in step with a directory.
        """
        with self._transaction() as connection:
            yield self._inserter(connection)

    def _inserter(self, connection: sqlite3.Connection) -> "Inserter":
        return Inserter(connection, self._master_key, self.realm, self.domain_sid)

    # -- realm -------------------------------------------------------------------------------

    def set_setting(self, name: str, value: str | int | bytes) -> None:
        """Set a setting of the realm."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def set_secret(self, name: str, value: bytes) -> None:
        """Seal and keep a secret of the realm."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO secrets VALUES (?, ?)",
                (name, self._master_key.seal(secret_aad(name), value)),
            )

    # -- accounts ----------------------------------------------------------------------------

    def add_account(self, new: NewAccount) -> int:
        """Add an account; return its number. Raises DirectoryError: EXISTS, INVALID."""
        with self._transaction() as connection:
            return self._inserter(connection).insert(new)

    def add_accounts(
        self, accounts: Iterable[NewAccount], progress: Callable[[int], None] | None = None
    ) -> int:
        """Add many accounts, all or none; return how many.

        progress: called with the number done so far, every PROGRESS_EVERY accounts.
        Raises DirectoryError: EXISTS, INVALID.
        """
        done = 0
        with self._transaction() as connection:
            connection.execute(f"PRAGMA cache_size = -{BULK_CACHE_KIB}")
            inserter = self._inserter(connection)
            for new in accounts:
                inserter.insert(new)
                done += 1
                if progress is not None and done % PROGRESS_EVERY == 0:
                    progress(done)
        if self._writer is not None:
            self._writer.close()  # and with it the large page cache
            self._writer = None
        if progress is not None:
            progress(done)
        return done

    def update_account(self, account_id: int, changes: AccountChanges) -> None:
        """Set fields of an account. Raises DirectoryError: NOT_FOUND, EXISTS, INVALID."""
        with self._transaction() as connection:
            self._update(connection, account_id, changes)

    def _update(
        self, connection: sqlite3.Connection, account_id: int, changes: AccountChanges
    ) -> None:
        """Set fields of an account inside a transaction."""
        row = self._row(connection, account_id)
        sets: dict[str, object] = {"flags": _changed_flags(row.flags, changes)}
        self._check_names(connection, row, changes)
        sets |= changed_columns(changes)
        columns = ", ".join(f"{column} = ?" for column in sets)
        with unique("name or userPrincipalName"):
            connection.execute(
                f"UPDATE accounts SET {columns} WHERE id = ?",  # noqa: S608  # names of ours
                (*sets.values(), account_id),
            )
        if changes.spns is not UNCHANGED:
            connection.execute("DELETE FROM spns WHERE account_id = ?", (account_id,))
            self._inserter(connection).insert_spns(account_id, changes.spns)
            _set_flag(connection, account_id, AccountFlag.HAS_SPNS)
        write_values(connection, account_id, changed_values(changes))

    def _check_names(
        self, connection: sqlite3.Connection, row: "_AccountRow", changes: AccountChanges
    ) -> None:
        """Check that a new name or UPN may be had and is nobody else's."""
        name = row.name
        if changes.name is not UNCHANGED and changes.name != name:
            name = changes.name
            check_name(name, row.kind)
            self._inserter(connection).check_no_group(name)
        upn = row.upn if changes.upn is UNCHANGED else changes.upn
        if changes.upn is not UNCHANGED and upn is not None:
            check_upn(upn)
        if name != row.name or (changes.upn is not UNCHANGED and upn is not None):
            implicit_owner(connection, self.realm, name, upn)

    def delete_account(self, account_id: int) -> None:
        """Delete an account with its keys. Raises DirectoryError: NOT_FOUND, DENIED (krbtgt)."""
        self.delete_accounts((account_id,))

    def delete_accounts(self, account_ids: Sequence[int], *, read_only_dc: bool = False) -> None:
        """Delete accounts with their keys, all or none.

        read_only_dc: the krbtgt account of a read-only domain controller may be among them.
        Raises DirectoryError: NOT_FOUND, DENIED (krbtgt).
        """
        with self._transaction() as connection:
            own = connection.execute(
                "SELECT min(id) FROM accounts WHERE kind = ?", (AccountKind.KRBTGT.value,)
            ).fetchone()[0]
            for account_id in account_ids:
                kind = self._row(connection, account_id).kind
                if kind is AccountKind.KRBTGT and not (read_only_dc and account_id != own):
                    _fail(DirectoryFault.DENIED, "the krbtgt account stays")
                connection.execute("DELETE FROM accounts WHERE id = ?", (account_id,))
        for account_id in account_ids:
            self.unlock(account_id)

    def set_keys(
        self,
        account_id: int,
        keys: Sequence[PrincipalKey],
        *,
        keep_generations: int = 0,
        now: datetime | None = None,
        nt_hash: bytes | None = None,
        history: int | None = None,
        changes: AccountChanges | None = None,
    ) -> None:
        """Give an account a new generation of keys, all of one kvno higher than any it has.

        keep_generations: how many older generations stay valid for what was issued under them.
        now: when the password was set, if that is known. nt_hash: of the same password, for a
        realm with legacy_ntlm; that of an earlier password is removed always. history: how many
        earlier passwords are remembered from now on, the one that is replaced among them; None
        leaves the history alone. changes: what the same transaction sets on the account.
        No keys: all are removed. Raises DirectoryError: NOT_FOUND, INVALID.
        """
        with self._transaction() as connection:
            self._row(connection, account_id)
            if history is not None:
                push_history(connection, self._master_key, account_id, history)
            rows = connection.execute(
                "SELECT DISTINCT kvno FROM keys WHERE account_id = ? ORDER BY kvno DESC",
                (account_id,),
            ).fetchall()
            old = [cast(int, row[0]) for row in rows]
            if keys:
                kvno = keys[0].kvno
                if any(key.kvno != kvno for key in keys):
                    _fail(DirectoryFault.INVALID, "keys of one generation have one kvno")
                if kvno > MAX_OWN_KVNO and self._row(connection, account_id).kind is (
                    AccountKind.KRBTGT
                ):
                    # The upper half of the number names a read-only DC (MS-KILE 3.1.5.8).
                    _fail(DirectoryFault.INVALID, f"krbtgt's kvno is not above {MAX_OWN_KVNO}")
                if old and kvno <= old[0]:
                    _fail(DirectoryFault.INVALID, f"kvno is not higher than {old[0]}")
            else:
                keep_generations = 0
            for gone in old[keep_generations:]:
                connection.execute(
                    "DELETE FROM keys WHERE account_id = ? AND kvno = ?", (account_id, gone)
                )
            inserter = self._inserter(connection)
            inserter.insert_keys(account_id, keys)
            inserter.put_nt_hash(account_id, nt_hash)
            _set_flag(connection, account_id, AccountFlag.HAS_KEYS)
            connection.execute(
                "UPDATE accounts SET password_set_at = ? WHERE id = ?",
                (to_micros(now), account_id),
            )
            if changes is not None:
                self._update(connection, account_id, changes)

    # -- key credentials ---------------------------------------------------------------------

    def add_key_credential(
        self, account_id: int, text: str, *, unshared: bool = False
    ) -> KeyCredential:
        """Register a key on a user or computer: a DN-Binary value whose DN is the account's.

        unshared: refuse a key that another account has, in the transaction that writes; without
        it the key is written, and logs on to neither.
        Raises DirectoryError: NOT_FOUND, DENIED (not a user or computer), INVALID (not usable, or
        MAX_VALUES reached), EXISTS (this account has the key, or with unshared another one).
        """
        with self._transaction() as connection:
            row = self._row(connection, account_id)
            if row.kind not in KEY_OWNERS:
                _fail(DirectoryFault.DENIED, f"a {row.kind} account has no key credentials")
            credential = decode_key_credential(text, owner_dn=row.dn, check_keyid=self._check_keyid)
            if not credential.usable or credential.public_key is None:
                _fail(DirectoryFault.INVALID, f"key credential: {credential.reason}")
            digest = credential.public_key.digest
            count, last, same = connection.execute(
                "SELECT count(*), coalesce(max(position), 0), coalesce(sum(digest = ?), 0)"
                " FROM key_credentials WHERE account_id = ?",
                (digest, account_id),
            ).fetchone()
            if same:
                _fail(DirectoryFault.EXISTS, "the account has this key")
            # Read by the writer: what others committed before this transaction began is seen.
            owners = "SELECT 1 FROM key_credentials WHERE digest = ? LIMIT 1"
            if unshared and connection.execute(owners, (digest,)).fetchone():
                _fail(DirectoryFault.EXISTS, "another account has this key")
            if count >= MAX_VALUES:
                _fail(DirectoryFault.INVALID, f"an account has at most {MAX_VALUES} values")
            self._inserter(connection).insert_credential(
                account_id, row.kind, row.dn, last + 1, text
            )
            _set_flag(connection, account_id, AccountFlag.HAS_KEY_CREDENTIALS)
            return credential

    def replace_key_credentials(self, account_id: int, texts: Iterable[str]) -> None:
        """Set all values of an account as a directory holds them, good or bad.

        Those past MAX_VALUES are left out. Raises DirectoryError(NOT_FOUND).
        """
        with self._transaction() as connection:
            row = self._row(connection, account_id)
            connection.execute("DELETE FROM key_credentials WHERE account_id = ?", (account_id,))
            self._inserter(connection).insert_credentials(account_id, row.kind, row.dn, texts)
            _set_flag(connection, account_id, AccountFlag.HAS_KEY_CREDENTIALS)

    def remove_key_credential(self, account_id: int, key_id: bytes | None = None) -> int:
        """Remove the values with this KeyID, or all (None); return how many.

        Raises DirectoryError(NOT_FOUND) when there is no such account.
        """
        with self._transaction() as connection:
            self._row(connection, account_id)
            return connection.execute(
                "DELETE FROM key_credentials WHERE account_id = ? AND key_id = coalesce(?, key_id)",
                (account_id, key_id),
            ).rowcount

    def remove_key_value(self, account_id: int, text: str) -> None:
        """Remove exactly one value; one that registers the same key otherwise stays.

        Raises DirectoryError(NOT_FOUND).
        """
        with self._transaction() as connection:
            row = self._row(connection, account_id)
            done = connection.execute(
                "DELETE FROM key_credentials WHERE account_id = ? AND value = ?",
                (account_id, pack_credential(text, row.dn)),
            )
            if not done.rowcount:
                _fail(DirectoryFault.NOT_FOUND, "the account has no such value")

    # -- certificates ------------------------------------------------------------------------

    def add_user_certificate(self, account_id: int, certificate: bytes) -> None:
        """Add a userCertificate (DER). Raises DirectoryError: NOT_FOUND, EXISTS, INVALID."""
        with self._transaction() as connection:
            self._row(connection, account_id)
            add_certificate(connection, account_id, certificate)

    def remove_user_certificates(self, account_id: int, certificates: Iterable[bytes]) -> int:
        """Remove these userCertificate values; return how many were there.

        Raises DirectoryError(NOT_FOUND) when there is no such account.
        """
        with self._transaction() as connection:
            self._row(connection, account_id)
            return remove_certificates(connection, account_id, certificates)

    # -- groups ------------------------------------------------------------------------------

    def add_group(
        self,
        name: str,
        sid: Sid | None = None,
        *,
        dn: str | None = None,
        guid: UUID | None = None,
    ) -> int:
        """Add a group; return its number. sid: None for the next RID of the domain.

        Raises DirectoryError: EXISTS (also an account of that name), INVALID.
        """
        with self._transaction() as connection:
            own = sid or self.domain_sid.with_rid(self._inserter(connection).next_rid())
            return insert_group(connection, name, own, dn, guid)

    def delete_group(self, group_id: int) -> None:
        """Delete a group. Raises DirectoryError: NOT_FOUND, DENIED (a well-known one)."""
        with self._transaction() as connection:
            delete_group_row(connection, group_id, self.domain_sid)

    def add_member(
        self, group_id: int, *, account_id: int | None = None, member_group: int | None = None
    ) -> None:
        """Put an account or a group into a group.

        Raises DirectoryError: NOT_FOUND, EXISTS, INVALID (a group into itself).
        """
        with self._transaction() as connection:
            insert_member(connection, group_id, account_id, member_group)

    def remove_member(
        self, group_id: int, *, account_id: int | None = None, member_group: int | None = None
    ) -> None:
        """Take a direct member out of a group. Raises DirectoryError(NOT_FOUND)."""
        with self._transaction() as connection:
            delete_member(connection, group_id, account_id, member_group)

    # -- devices -----------------------------------------------------------------------------

    def add_device(self, device: Device) -> None:
        """Add a device object. Raises DirectoryError: EXISTS (its DeviceId or GUID), INVALID."""
        with self._transaction() as connection:
            insert_device(connection, device)

    def update_device(self, device: Device) -> None:
        """Set name, state and owner of a device object. Raises DirectoryError: NOT_FOUND, INVALID.

        Its DeviceId says which it is; its GUID and time of creation stay.
        """
        with self._transaction() as connection:
            update_device_row(connection, device)

    def set_device_enabled(self, device_id: UUID, *, enabled: bool) -> None:
        """Enable or disable a device. Raises DirectoryError(NOT_FOUND)."""
        with self._transaction() as connection:
            enable_device(connection, device_id, enabled=enabled)

    def delete_device(self, device_id: UUID) -> None:
        """Delete a device object. Raises DirectoryError(NOT_FOUND)."""
        with self._transaction() as connection:
            delete_device_rows(connection, device_id)

    def _row(self, connection: sqlite3.Connection, account_id: int) -> "_AccountRow":
        row = connection.execute(
            "SELECT name, kind, flags, dn, upn FROM accounts WHERE id = ?", (account_id,)
        ).fetchone()
        if row is None:
            _fail(DirectoryFault.NOT_FOUND, "no such account")
        return _AccountRow(*row, realm=self.realm)


class _AccountRow:
    """What a change looks at in the account it changes."""

    __slots__ = ("dn", "flags", "kind", "name", "upn")

    def __init__(
        self, name: str, kind: str, flags: int, dn: str | None, upn: str | None, *, realm: str
    ) -> None:
        self.name = name
        self.kind = AccountKind(kind)
        self.flags = AccountFlag(flags)
        self.dn = dn or embedded_dn(name, self.kind, realm)
        self.upn = upn


def _set_flag(connection: sqlite3.Connection, account_id: int, flag: AccountFlag) -> None:
    connection.execute(
        "UPDATE accounts SET flags = flags | ? WHERE id = ?", (flag.value, account_id)
    )


def _changed_flags(flags: AccountFlag, changes: AccountChanges) -> int:
    for flag, value in (
        (AccountFlag.DISABLED, changes.disabled),
        (AccountFlag.MUST_CHANGE_PASSWORD, changes.must_change_password),
        (AccountFlag.SMARTCARD_REQUIRED, changes.smartcard_required),
        (AccountFlag.PREAUTH_NOT_REQUIRED, changes.preauth_not_required),
        *((AccountFlag(bit), getattr(changes, field)) for field, bit in RARE_FLAGS.items()),
    ):
        if value is not UNCHANGED:
            flags = flags | flag if value else flags & ~flag
    return flags.value
