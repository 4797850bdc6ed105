"""The local store: rows of accounts to accounts."""

from collections.abc import Iterator
from typing import cast
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.keycredential import (
    MAX_TOTAL_CHARS,
    MAX_VALUES,
    decode_blob,
    decode_key_credential,
    format_dn_binary,
)
from directory.model import (
    DOMAIN_COMPUTERS_RID,
    DOMAIN_USERS_RID,
    Account,
    AccountKind,
    KeyCredential,
    PrincipalKey,
    Sid,
)
from directory.sealing import MasterKey
from directory.store_groups import Query
from directory.store_schema import AccountFlag, embedded_dn, from_micros, key_aad
from directory.store_values import RARE, read_rare

COLUMNS = (
    "id, name, upn, kind, flags, sid, dn, guid, created_at, expires_at,"
    " password_expires_at, logon_hours, primary_group, password_set_at, supported_enctypes"
)
Row = tuple[object, ...]

# Plain integers: an IntFlag's "&" takes 2 us, seven times an account.
DISABLED = AccountFlag.DISABLED.value
MUST_CHANGE_PASSWORD = AccountFlag.MUST_CHANGE_PASSWORD.value
SMARTCARD_REQUIRED = AccountFlag.SMARTCARD_REQUIRED.value
_PREAUTH_NOT_REQUIRED = AccountFlag.PREAUTH_NOT_REQUIRED.value
_PRIMARY_GROUPS = {AccountKind.COMPUTER.value: DOMAIN_COMPUTERS_RID}  # all others: 513
_HAS_SPNS = AccountFlag.HAS_SPNS.value
_HAS_KEYS = AccountFlag.HAS_KEYS.value
_HAS_KEY_CREDENTIALS = AccountFlag.HAS_KEY_CREDENTIALS.value


class AccountDecoder:
    """Makes accounts of rows, with what other tables hold of them; raises what `query` raises."""

    __slots__ = ("_all", "_check_keyid", "_master_key", "realm")

    def __init__(self, query: Query, master_key: MasterKey, *, check_keyid: bool) -> None:
        self._all = query
        self._master_key = master_key
        self._check_keyid = check_keyid
        self.realm = ""
        """Set when the store has been opened."""

    def decode(self, row: Row) -> Account:
        """Make an account of a row of COLUMNS. Raises DirectoryError: UNAVAILABLE, CORRUPT."""
        (account_id, name, upn, kind, flags, sid, dn, guid) = cast(
            "tuple[int, str, str | None, str, int, bytes | None, str | None, bytes | None]", row[:8]
        )
        created, expires, password_expires, hours, primary_group, password_set, enctypes = cast(
            "tuple[int, int | None, int | None, bytes | None, int | None, int | None, int | None]",
            row[8:],
        )
        account_kind = AccountKind(kind)
        created_at = from_micros(created)
        if created_at is None:
            raise DirectoryError(DirectoryFault.CORRUPT, "account without creation time")
        credentials: tuple[KeyCredential, ...] = ()
        if flags & _HAS_KEY_CREDENTIALS:
            credentials = tuple(
                self._credentials(
                    account_id,
                    dn or embedded_dn(name, account_kind, self.realm),
                    UUID(bytes=guid) if guid else None,
                )
            )
        account = Account(
            account_id=account_id,
            sam_account_name=name,
            kind=account_kind,
            upn=upn,
            sid=Sid.from_bytes(sid) if sid else None,
            spns=self._spns(account_id) if flags & _HAS_SPNS else (),
            created_at=created_at,
            disabled=bool(flags & DISABLED),
            expires_at=from_micros(expires),
            password_expires_at=from_micros(password_expires),
            password_set_at=from_micros(password_set),
            must_change_password=bool(flags & MUST_CHANGE_PASSWORD),
            smartcard_required=bool(flags & SMARTCARD_REQUIRED),
            preauth_not_required=bool(flags & _PREAUTH_NOT_REQUIRED),
            logon_hours=hours,
            keys=self._keys(account_id) if flags & _HAS_KEYS else (),
            key_credentials=credentials,
            primary_group_id=primary_group or _PRIMARY_GROUPS.get(kind, DOMAIN_USERS_RID),
            supported_enctypes=enctypes,
        )
        if flags & RARE:
            read_rare(self._all, account, flags)
        return account

    def _spns(self, account_id: int) -> tuple[str, ...]:
        rows = self._all("SELECT spn FROM spns WHERE account_id = ? ORDER BY spn_key", account_id)
        return tuple(cast(str, row[0]) for row in rows)

    def _keys(self, account_id: int) -> tuple[PrincipalKey, ...]:
        rows = self._all(
            "SELECT kvno, etype, salt, sealed FROM keys"
            " WHERE account_id = ? ORDER BY kvno DESC, etype DESC",
            account_id,
        )
        return tuple(
            PrincipalKey(
                kvno=kvno,
                etype=etype,
                salt=salt,
                key=self._master_key.open(key_aad(account_id, kvno, etype), sealed),
            )
            for kvno, etype, salt, sealed in cast("list[tuple[int, int, str, bytes]]", rows)
        )

    def _credentials(
        self, account_id: int, owner_dn: str, owner_guid: UUID | None
    ) -> Iterator[KeyCredential]:
        """Decode an account's values in the order they came, within the limits for one account."""
        rows = self._all(
            "SELECT value FROM key_credentials WHERE account_id = ? ORDER BY position LIMIT ?",
            account_id,
            MAX_VALUES,
        )
        left = MAX_TOTAL_CHARS
        for (value,) in cast("list[tuple[bytes | str]]", rows):
            text = value if isinstance(value, str) else format_dn_binary(value, owner_dn)
            left -= len(text)
            if left < 0:
                return
            if isinstance(value, str):
                yield decode_key_credential(
                    text,
                    owner_dn=owner_dn,
                    owner_guid=owner_guid,
                    check_keyid=self._check_keyid,
                )
            else:
                yield decode_blob(value, text=text, check_keyid=self._check_keyid)
