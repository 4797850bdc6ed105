"""Inserting rows of the local store, inside a transaction that someone else opened."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, cast

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import UNCHANGED, AccountChanges, NewAccount
from directory.keycredential import MAX_VALUES, decode_key_credential
from directory.model import AccountKind, PrincipalKey, Sid, match_key
from directory.sealing import MasterKey
from directory.store_names import check_name, check_spn, check_upn, implicit_owner
from directory.store_schema import (
    AccountFlag,
    embedded_dn,
    key_aad,
    nt_hash_aad,
    pack_credential,
    to_micros,
)
from directory.store_values import RARE_FLAGS, new_values, write_values

MAX_RID = (1 << 30) - 1  # Active Directory's own bound
NT_HASH_BYTES = 16
KEY_OWNERS = (AccountKind.USER, AccountKind.COMPUTER)  # who may log on with a registered key


def _fail(kind: DirectoryFault, detail: str) -> NoReturn:
    raise DirectoryError(kind, detail)


@contextmanager
def unique(what: str) -> Iterator[None]:
    """Turn a broken UNIQUE rule of a table into EXISTS."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        if "guid" in str(error):  # SQLite names the column
            what = "objectGUID"
        raise DirectoryError(DirectoryFault.EXISTS, f"{what} in use") from error


def checked_hours(hours: bytes | None) -> bytes | None:
    """Check that logon hours are a bit for each hour of the week."""
    if hours is not None and len(hours) != 21:
        _fail(DirectoryFault.INVALID, "logon hours are 21 octets")
    return hours


def checked_enctypes(mask: int | None) -> int | None:
    """Check that a mask of encryption types has 32 bits; a directory's may be negative."""
    if mask is None:
        return None
    if not -(1 << 31) <= mask < 1 << 32:
        _fail(DirectoryFault.INVALID, "supported encryption types are a mask of 32 bits")
    return mask & 0xFFFFFFFF


def changed_columns(changes: AccountChanges) -> dict[str, object]:
    """Return the columns of the table of accounts that a change sets, but for the flags."""
    sets: dict[str, object] = {}
    for column, value in (
        ("name", changes.name),
        ("upn", changes.upn),
        ("dn", changes.dn),
        ("primary_group", changes.primary_group_id),
    ):
        if value is not UNCHANGED:
            sets[column] = value
    for column, text in (
        ("name_key", changes.name),
        ("upn_key", changes.upn),
        ("dn_key", changes.dn),
    ):
        if text is not UNCHANGED:
            sets[column] = None if text is None else match_key(text)
    if changes.guid is not UNCHANGED:
        sets["guid"] = None if changes.guid is None else changes.guid.bytes
    if changes.expires_at is not UNCHANGED:
        sets["expires_at"] = to_micros(changes.expires_at)
    if changes.password_expires_at is not UNCHANGED:
        sets["password_expires_at"] = to_micros(changes.password_expires_at)
    if changes.logon_hours is not UNCHANGED:
        sets["logon_hours"] = checked_hours(changes.logon_hours)
    if changes.supported_enctypes is not UNCHANGED:
        sets["supported_enctypes"] = checked_enctypes(changes.supported_enctypes)
    return sets


class Inserter:
    """Writes rows of new accounts; the caller commits or undoes."""

    def __init__(
        self, connection: sqlite3.Connection, master_key: MasterKey, realm: str, domain: Sid
    ) -> None:
        self.connection = connection
        self.master_key = master_key
        self.realm = realm
        self.domain = domain

    def insert(self, new: NewAccount) -> int:
        """Insert an account and everything it holds; return its number."""
        check_name(new.name, new.kind)
        if new.upn is not None:
            check_upn(new.upn)
        implicit_owner(self.connection, self.realm, new.name, new.upn)
        flags = AccountFlag(0)
        for flag, value in (
            (AccountFlag.DISABLED, new.disabled),
            (AccountFlag.MUST_CHANGE_PASSWORD, new.must_change_password),
            (AccountFlag.SMARTCARD_REQUIRED, new.smartcard_required),
            (AccountFlag.PREAUTH_NOT_REQUIRED, new.preauth_not_required),
            (AccountFlag.HAS_SPNS, new.spns),
            (AccountFlag.HAS_KEYS, new.keys),
            (AccountFlag.HAS_KEY_CREDENTIALS, new.key_credentials),
            *((AccountFlag(bit), getattr(new, field)) for field, bit in RARE_FLAGS.items()),
        ):
            if value:
                flags |= flag
        sid = new.sid or self.domain.with_rid(self.next_rid())
        password_set_at = new.password_set_at or (new.created_at if new.keys else None)
        self.check_no_group(new.name)
        with unique("name or userPrincipalName"):
            account_id = self.connection.execute(
                "INSERT INTO accounts (name, name_key, upn, upn_key, kind, flags, sid, dn, guid,"
                " created_at, expires_at, password_expires_at, logon_hours, primary_group,"
                " password_set_at, dn_key, supported_enctypes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    new.name,
                    match_key(new.name),
                    new.upn,
                    None if new.upn is None else match_key(new.upn),
                    new.kind.value,
                    flags.value,
                    sid.to_bytes(),
                    new.dn,
                    new.guid.bytes if new.guid else None,
                    to_micros(new.created_at),
                    to_micros(new.expires_at),
                    to_micros(new.password_expires_at),
                    checked_hours(new.logon_hours),
                    new.primary_group_id,
                    to_micros(password_set_at),
                    new.dn and match_key(new.dn),
                    checked_enctypes(new.supported_enctypes),
                ),
            ).lastrowid
        if account_id is None:
            _fail(DirectoryFault.UNAVAILABLE, "store gave no number")
        self.insert_spns(account_id, new.spns)
        self.insert_keys(account_id, new.keys)
        if new.nt_hash is not None:
            self.put_nt_hash(account_id, new.nt_hash)
        if new.key_credentials:
            dn = new.dn or embedded_dn(new.name, new.kind, self.realm)
            self.insert_credentials(account_id, new.kind, dn, new.key_credentials)
        write_values(self.connection, account_id, new_values(new))
        return account_id

    def check_no_group(self, name: str) -> None:
        """Check that no group has an account's name: both share one list of names in a domain."""
        row = self.connection.execute(
            "SELECT 1 FROM groups WHERE name_key = ?", (match_key(name),)
        ).fetchone()
        if row is not None:
            _fail(DirectoryFault.EXISTS, "name in use by a group")

    def next_rid(self) -> int:
        """Take the next RID; one that was given out is never given out again."""
        row = self.connection.execute(
            "UPDATE settings SET value = value + 1 WHERE name = 'next_rid' RETURNING value - 1"
        ).fetchone()
        if row is None or row[0] > MAX_RID:
            _fail(DirectoryFault.UNAVAILABLE, "no RID left")
        return cast(int, row[0])

    def insert_spns(self, account_id: int, spns: Iterable[str]) -> None:
        """Insert the service names of an account."""
        for spn in spns:
            check_spn(spn)
            with unique(f"servicePrincipalName {spn}"):
                self.connection.execute(
                    "INSERT INTO spns VALUES (?, ?, ?)", (match_key(spn), spn, account_id)
                )

    def insert_keys(self, account_id: int, keys: Iterable[PrincipalKey]) -> None:
        """Seal and insert long-term keys."""
        for key in keys:
            aad = key_aad(account_id, key.kvno, key.etype)
            try:
                self.connection.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?, ?)",
                    (account_id, key.kvno, key.etype, key.salt, self.master_key.seal(aad, key.key)),
                )
            except sqlite3.IntegrityError as error:
                raise DirectoryError(DirectoryFault.INVALID, "two keys of one etype") from error

    def put_nt_hash(self, account_id: int, nt_hash: bytes | None) -> None:
        """Seal and keep an account's NT hash; None: it has none any more."""
        if nt_hash is None:
            self.connection.execute("DELETE FROM nt_hashes WHERE account_id = ?", (account_id,))
            return
        if len(nt_hash) != NT_HASH_BYTES:
            _fail(DirectoryFault.INVALID, "an NT hash has 16 octets")
        self.connection.execute(
            "INSERT OR REPLACE INTO nt_hashes VALUES (?, ?)",
            (account_id, self.master_key.seal(nt_hash_aad(account_id), nt_hash)),
        )

    def insert_credentials(
        self, account_id: int, kind: AccountKind, dn: str, texts: Iterable[str]
    ) -> None:
        """Insert the values of an account in their order, good or bad, up to MAX_VALUES."""
        for position, text in enumerate(texts, 1):
            if position > MAX_VALUES:
                return
            self.insert_credential(account_id, kind, dn, position, text)

    def insert_credential(
        self, account_id: int, kind: AccountKind, dn: str, position: int, text: str
    ) -> None:
        """Insert one value, with its key's digest when the key may log on."""
        strict = decode_key_credential(text, owner_dn=dn)
        loose = strict
        if not strict.usable:
            loose = decode_key_credential(text, owner_dn=dn, check_keyid=False)
        digest = None
        if loose.usable and loose.public_key is not None and kind in KEY_OWNERS:
            digest = loose.public_key.digest
        self.connection.execute(
            "INSERT INTO key_credentials VALUES (?, ?, ?, ?, ?, ?)",
            (
                account_id,
                position,
                strict.key_id,
                digest,
                0 if strict.usable else 1,
                pack_credential(text, dn),
            ),
        )
