"""Where a tenant's directory is: that of the KDC whose state folder the tenant names.

An embedded realm is its store, opened for writing. A realm in LDAP lends its servers, flavour, base
and issuers of TLS certificates; who the sync job is there is the tenant's own setting, never the
KDC's follower.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.settings import LdapSettings, LdapUrl, LdapUrlError
from directory.ldap.write import WritingConnection
from directory.sealing import MasterKey, read_secret_file
from directory.store import Store
from kdc.config import ConfigError, KdcConfig
from kdc.state_folder import StateFolder
from tenant.config import TenantConfig
from tenant.state_folder import TenantFolder
from tenant.sync.ldap_port import LdapPort
from tenant.sync.port import DirectoryPort
from tenant.sync.store_port import StorePort

_MAX_PASSWORD_BYTES = 4096


def realm_folder(folder: TenantFolder, config: TenantConfig) -> StateFolder:
    """Return the state folder of the KDC. Raises ConfigError when the tenant names none."""
    if config.kdc_state is None:
        raise ConfigError(
            str(folder.tenant_toml),
            None,
            "kdc_state is missing",
            "the directory is that of a KDC, and no state folder of one is named",
            'add kdc_state = "DIR"',
        )
    return StateFolder(folder.root / config.kdc_state)


@contextmanager
def open_port(folder: TenantFolder, config: TenantConfig, now: datetime) -> Iterator[DirectoryPort]:
    """Open the directory; it is closed at the end of the block.

    Raises ConfigError, SecretFileError, DirectoryError.
    """
    realm = realm_folder(folder, config)
    kdc = realm.load_config().config
    port: DirectoryPort
    if kdc.directory_url:
        connection = open_connection(folder, config, realm.root, kdc)
        port = LdapPort(connection, kdc.directory_flavour, kdc.directory_base or "")
    else:
        trusted = tuple(Path(path) for path in kdc.trusted_secret_paths)
        master_key = MasterKey.load(realm.master_key, trusted_paths=trusted)
        store = Store.open(realm.store, master_key, check_keyid=kdc.keycredential_check_keyid)
        port = StorePort(store, now)
    try:
        yield port
    finally:
        port.close()


def open_connection(
    folder: TenantFolder, config: TenantConfig, root: Path, kdc: KdcConfig
) -> WritingConnection:
    """Log on to the first server that answers. root: what paths of the KDC are relative to.

    Raises ConfigError, SecretFileError, DirectoryError.
    """
    settings = _settings(folder, config, root, kdc)
    for url in settings.urls[:-1]:
        try:
            return WritingConnection.open(url, settings)
        except DirectoryError as error:
            if error.kind is not DirectoryFault.UNAVAILABLE:
                raise
    return WritingConnection.open(settings.urls[-1], settings)


def _settings(
    folder: TenantFolder, config: TenantConfig, root: Path, kdc: KdcConfig
) -> LdapSettings:
    try:
        texts = (config.sync_server,) if config.sync_server else kdc.directory_url
        urls = tuple(map(LdapUrl.parse, texts))
    except LdapUrlError as error:
        raise _wrong(folder, "sync_server", str(error), 'write "ldaps://dc1.lab.test"') from None
    password = b""
    if config.sync_bind_dn is not None:
        if config.sync_bind_password_file is None:
            raise _wrong(
                folder,
                "sync_bind_password_file",
                "a bind DN without a password is no bind",
                "put the password into a file of mode 0600 and name it",
            )
        path = folder.root / config.sync_bind_password_file
        password = read_secret_file(path, _MAX_PASSWORD_BYTES).rstrip(b"\r\n")
    elif any(url.scheme != "ldapi" for url in urls):
        raise _wrong(
            folder,
            "sync_bind_dn",
            f"{urls[0]} has to know who asks",
            "set sync_bind_dn and sync_bind_password_file, or sync_server to a local socket",
        )
    # Samba knows who may enter its private folder, and no EXTERNAL; OpenLDAP asks the kernel.
    external = config.sync_bind_dn is None and kdc.directory_flavour == "openldap"
    return LdapSettings(
        urls=urls,
        flavour=kdc.directory_flavour,
        base=kdc.directory_base or "",
        bind_dn=config.sync_bind_dn or "",
        bind_password=password,
        sasl="external" if external else "none",
        starttls=kdc.directory_starttls,
        ca_file=str(root / kdc.directory_ca_file) if kdc.directory_ca_file else "",
        page_size=kdc.directory_page_size,
    )


def _wrong(folder: TenantFolder, key: str, why: str, remedy: str) -> ConfigError:
    return ConfigError(str(folder.tenant_toml), None, f"{key} cannot be used", why, remedy)
