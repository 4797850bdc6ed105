"""From the configuration to the directory's servers: settings, the bind's secret, key source."""

from pathlib import Path

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.apply import ReplicaWriter
from directory.ldap.keys import KeyFeed
from directory.ldap.session import SaslFactory, Servers
from directory.ldap.settings import LdapSettings, LdapUrl
from directory.sealing import read_secret_file
from directory.store import Store
from directory.store_read import StoreReader
from kdc.config import KdcConfig

BIND_SECRET = "directory bind password"  # noqa: S105  the name of a secret, not one
MAX_SECRET_BYTES = 4096


def ldap_settings(config: KdcConfig, store: StoreReader | None, root: Path) -> LdapSettings:
    """Collect what a connection needs.

    store: has the sealed password of the bind; None before there is one. root: what a path in the
    configuration is relative to. Raises SecretFileError.
    """
    password = b""
    if config.directory_bind_dn:
        password = _bind_password(config, store, root)
    return LdapSettings(
        urls=tuple(LdapUrl.parse(url) for url in config.directory_url),
        flavour=config.directory_flavour,
        base=config.directory_base or "",
        bind_dn=config.directory_bind_dn or "",
        bind_password=password,
        sasl=config.directory_sasl,
        starttls=config.directory_starttls,
        ca_file=str(root / config.directory_ca_file) if config.directory_ca_file else "",
        page_size=config.directory_page_size,
    )


def _bind_password(config: KdcConfig, store: StoreReader | None, root: Path) -> bytes:
    if config.directory_bind_password_file is not None:
        trusted = tuple(Path(p) for p in config.trusted_secret_paths)
        path = root / config.directory_bind_password_file
        return read_bind_password(path, trusted)
    found = store.secret(BIND_SECRET) if store is not None else None
    if not found:
        raise DirectoryError(
            DirectoryFault.INVALID,
            "directory.bind_dn is set, and there is no password: set directory.bind_password_file",
        )
    return found


def read_bind_password(path: Path, trusted: tuple[Path, ...] = ()) -> bytes:
    """Read a file of mode 0600 with a password; a newline at its end is not part of it.

    Raises SecretFileError.
    """
    data = read_secret_file(path, MAX_SECRET_BYTES, trusted)
    return data.removesuffix(b"\n").removesuffix(b"\r")


def make_writer(store: Store, config: KdcConfig, feed: KeyFeed) -> ReplicaWriter:
    """Make what writes the directory's entries into the store."""
    return ReplicaWriter(
        store,
        links_follow_names=config.directory_flavour != "openldap",
        keys_of=feed.keys_of,
    )


def make_servers(
    config: KdcConfig,
    store: StoreReader | None,
    root: Path,
    sasl: SaslFactory | None = None,
) -> Servers:
    """Make what opens sessions with the directory's servers. Raises SecretFileError.

    sasl: makes the mechanism for a server when directory.sasl is "gssapi".
    """
    return Servers(ldap_settings(config, store, root), sasl)
