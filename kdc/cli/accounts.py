"""Long-term keys of accounts, and how accounts are shown."""

import os
from collections.abc import Iterable, Mapping
from datetime import datetime

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountSummary, NewAccount
from directory.model import Account, AccountKind, KeyCredential, PrincipalKey
from directory.store import Store
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.output import iso, read_time
from kdc.config import KdcConfig
from kdc.config_values import enctype_name
from kdc.crypto.etypes import KEY_BYTES, EncType
from kdc.exchange.principals import PASSWORD_SERVICE


def random_keys(config: KdcConfig, kvno: int = 1) -> tuple[PrincipalKey, ...]:
    """Make random keys, one of each encryption type."""
    return tuple(
        PrincipalKey(etype=etype, kvno=kvno, key=os.urandom(KEY_BYTES[EncType(etype)]))
        for etype in config.supported_enctypes
    )


def has_password_service(store: Store) -> bool:
    """Tell whether the realm has kadmin/changepw, the service of kpasswd."""
    return store.account_by_spn("/".join(PASSWORD_SERVICE)) is not None


def add_password_service(store: Store, config: KdcConfig, moment: datetime) -> None:
    """Add kadmin/changepw with random keys (RFC 3244 1)."""
    name = "/".join(PASSWORD_SERVICE)
    store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name=name,
            spns=(name,),
            created_at=moment,
            keys=random_keys(config),
        )
    )


def refuse_krbtgt(account: Account) -> None:
    """Refuse to treat krbtgt as a user: the realm would end. Raises CliError(DENIED)."""
    if account.kind is AccountKind.KRBTGT:
        raise CliError(
            "krbtgt stays as it is",
            "every ticket of the realm is issued by this account",
            "kdc realm rotate-krbtgt gives it new keys; nothing else of it changes",
            ExitCode.DENIED,
        )


def state_of(
    account: Account | AccountSummary, locked_until: datetime | None, moment: datetime
) -> str:
    """Say in words what state an account is in; `enabled` when nothing stands in its way."""
    words = []
    if account.disabled:
        words.append("disabled")
    if locked_until is not None and moment < locked_until:
        words.append(f"locked until {read_time(locked_until)}")
    if account.expires_at is not None and account.expires_at <= moment:
        words.append("expired")
    if account.smartcard_required:
        words.append("smart card required")
    if account.must_change_password:
        words.append("password must be changed")
    return ", ".join(words) or "enabled"


def account_json(store: Store, account: Account) -> dict[str, object]:
    """Show an account with stable keys; no long-term key is in it."""
    return {
        "name": account.sam_account_name,
        "kind": str(account.kind),
        "upn": account.upn,
        "sid": None if account.sid is None else str(account.sid),
        "object_guid": str(store.object_guid(account.account_id)),
        "service_principal_names": list(account.spns),
        "disabled": account.disabled,
        "locked_until": iso(account.locked_until),
        "expires_at": iso(account.expires_at),
        "password_expires_at": iso(account.password_expires_at),
        "must_change_password": account.must_change_password,
        "smartcard_required": account.smartcard_required,
        "supported_enctypes": account.supported_enctypes,
        "created_at": iso(account.created_at),
        "kvno": account.keys[0].kvno if account.keys else None,
        "enctypes": enctypes(account.newest_keys()),
        "keys": [
            credential_json(store, account.sam_account_name, c) for c in account.key_credentials
        ],
    }


def enctypes(keys: Iterable[PrincipalKey]) -> list[str]:
    """Name the encryption types of some keys."""
    return [enctype_name(key.etype) for key in keys]


def owners_of(store: Store, credential: KeyCredential) -> tuple[str, ...]:
    """Name the accounts on which a credential's key is registered and usable: two are too many."""
    if not credential.usable or credential.public_key is None:
        return ()
    return owner_names(store, store.accounts_by_key(credential.public_key.digest))


def owner_names(store: Store, account_ids: Iterable[int]) -> tuple[str, ...]:
    """Name accounts by their numbers; `account 7` when its row is gone or does not open."""
    found = []
    for account_id in account_ids:
        try:
            account = store.account_by_id(account_id)
        except DirectoryError as error:
            if error.kind is not DirectoryFault.CORRUPT:
                raise
            account = None
        found.append(f"account {account_id}" if account is None else account.sam_account_name)
    return tuple(found)


def credential_state(store: Store, credential: KeyCredential) -> str:
    """Say in words whether a key may log on: it must be usable, and on one account only."""
    if not credential.usable:
        return f"not usable: {credential.reason}"
    owners = owners_of(store, credential)
    if len(owners) > 1:
        return f"on {len(owners)} accounts: refused"
    return "usable"


def credential_json(store: Store, account: str, credential: KeyCredential) -> dict[str, object]:
    """Show a key credential with stable keys."""
    key = credential.public_key
    return {
        "account": account,
        "key_id": credential.key_id.hex(),
        "usable": credential.usable,
        "accounts": list(owners_of(store, credential)),
        "reason": credential.reason,
        "warnings": list(credential.warnings),
        "key": None if key is None else f"{key.kind} {key.bits}",
        "material": str(credential.material),
        "created": iso(credential.created),
        "last_logon": iso(credential.last_logon),
        "source": SOURCES.get(credential.source, credential.source),
        "device_id": None if credential.device_id is None else str(credential.device_id),
    }


SOURCES: Mapping[int | None, str | None] = {None: None, 0: "AD", 1: "AzureAD"}
"""KeySource (MS-ADTS 2.2.20.6) for people."""
