"""Which source of long-term keys a realm in LDAP has chosen."""

import contextlib
from pathlib import Path

from directory.keysources import KeySource
from directory.keysources.choose import make_key_source
from directory.keysources.settings import KeySourceSetting
from directory.ldap.connection import LdapConnection
from directory.ldap.session import SaslFactory
from directory.sealing import MasterKey
from directory.store import Store
from kdc.config import KdcConfig
from kdc.server.directory_link import make_servers
from kdc.state_folder import StateFolder


def open_key_source(
    config: KdcConfig,
    folder: StateFolder,
    master_key: MasterKey,
    sasl: SaslFactory | None = None,
) -> KeySource | None:
    """Make the source of keys that is configured; None: accounts keep the keys they have.

    It opens nothing yet: its first load or question does. sasl: see `make_servers`.
    """

    def connect() -> tuple[LdapConnection, str]:
        with contextlib.closing(Store.open(folder.store, master_key, read_only=True)) as store:
            servers = make_servers(config, store, folder.root, sasl)
        session = servers.open()
        return session.connection, session.base

    return make_key_source(
        KeySourceSetting.parse(config.directory_key_source),
        realm=config.realm,
        connect=connect,
        master_key=master_key,
        nt_hashes=config.legacy_ntlm,
        trusted_paths=tuple(Path(p) for p in config.trusted_secret_paths),
    )
