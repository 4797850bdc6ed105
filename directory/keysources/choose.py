"""The key source that the configuration names, made."""

from collections.abc import Callable
from pathlib import Path

from directory.keysources import KeySource
from directory.keysources.keytab import KeytabSource
from directory.keysources.samba_ldapi import SambaSource
from directory.keysources.sealed import SealedSource
from directory.keysources.settings import KeySourceSetting
from directory.ldap.connection import LdapConnection
from directory.sealing import MasterKey


def make_key_source(
    setting: KeySourceSetting,
    *,
    realm: str,
    connect: Callable[[], tuple[LdapConnection, str]],
    master_key: MasterKey,
    nt_hashes: bool = False,
    trusted_paths: tuple[Path, ...] = (),
) -> KeySource | None:
    """Make the source; it opens nothing yet. None: keys live in the local store.

    connect: opens the realm's directory; connection and base. nt_hashes: legacy_ntlm.
    """
    if setting.kind == "keytab" and setting.path is not None:
        return KeytabSource(setting.path, realm, nt_hashes=nt_hashes, trusted_paths=trusted_paths)
    if setting.kind == "samba" and setting.path is not None:
        return SambaSource(setting.path, nt_hashes=nt_hashes)
    if setting.kind == "ldap-sealed":
        return SealedSource(connect, master_key, nt_hashes=nt_hashes)
    return None
