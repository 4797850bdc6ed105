"""Long-term keys of accounts, and how accounts are shown."""

import os
from collections.abc import Iterable, Mapping

from directory.model import Account, KeyCredential, PrincipalKey
from kdc.cli.output import iso
from kdc.config import KdcConfig, enctype_name
from kdc.crypto.etypes import KEY_BYTES, EncType, string_to_key
from kdc.crypto.md4 import nt_hash


def next_kvno(account: Account) -> int:
    """Return the key version number that an account's next keys have."""
    return account.keys[0].kvno + 1 if account.keys else 1


def password_keys(
    config: KdcConfig, name: str, password: str, kvno: int = 1
) -> tuple[PrincipalKey, ...]:
    """Derive a user's keys from a password; the salt is the realm and the name (RFC 4120 4)."""
    salt = config.realm + name
    return tuple(
        PrincipalKey(
            etype=etype,
            kvno=kvno,
            key=string_to_key(EncType(etype), password, salt).value,
            salt=salt,
        )
        for etype in config.supported_enctypes
    )


def password_nt_hash(config: KdcConfig, password: str | None) -> bytes | None:
    """Return what the store keeps of a password for NTLM: nothing, unless legacy_ntlm is on."""
    return nt_hash(password) if password is not None and config.legacy_ntlm else None


def random_keys(config: KdcConfig, kvno: int = 1) -> tuple[PrincipalKey, ...]:
    """Make random keys, one of each encryption type."""
    return tuple(
        PrincipalKey(etype=etype, kvno=kvno, key=os.urandom(KEY_BYTES[EncType(etype)]))
        for etype in config.supported_enctypes
    )


def account_json(account: Account) -> dict[str, object]:
    """Show an account with stable keys; no long-term key is in it."""
    return {
        "name": account.sam_account_name,
        "kind": str(account.kind),
        "upn": account.upn,
        "sid": None if account.sid is None else str(account.sid),
        "service_principal_names": list(account.spns),
        "disabled": account.disabled,
        "locked_until": iso(account.locked_until),
        "expires_at": iso(account.expires_at),
        "password_expires_at": iso(account.password_expires_at),
        "must_change_password": account.must_change_password,
        "smartcard_required": account.smartcard_required,
        "created_at": iso(account.created_at),
        "kvno": account.keys[0].kvno if account.keys else None,
        "enctypes": enctypes(account.newest_keys()),
        "keys": [credential_json(account.sam_account_name, c) for c in account.key_credentials],
    }


def enctypes(keys: Iterable[PrincipalKey]) -> list[str]:
    """Name the encryption types of some keys."""
    return [enctype_name(key.etype) for key in keys]


def credential_json(account: str, credential: KeyCredential) -> dict[str, object]:
    """Show a key credential with stable keys."""
    key = credential.public_key
    return {
        "account": account,
        "key_id": credential.key_id.hex(),
        "usable": credential.usable,
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
