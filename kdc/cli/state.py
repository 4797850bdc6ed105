"""The realm a command works on: its state folder, configuration, store and CA."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from directory.model import Account
from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.errors import CliError, ExitCode, cannot_write
from kdc.cli.options import not_found
from kdc.config import ConfigError, KdcConfig
from kdc.config_read import LoadedConfig
from kdc.server.whole_file import write_whole
from kdc.state_folder import StateFolder
from pki.ca import IssuedCertificate, certificates_from_pem, private_key_from_pem

CA_KEY_AAD = b"keytrust CA key"
ROOT_KEY_AAD = b"keytrust offline root key"
ROOT_CRL_DAYS = 400  # its key is fetched out of the safe once a year
MAX_PEM_BYTES = 64 * 1024


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def state_folder(ctx: click.Context) -> StateFolder:
    """Find the state folder: --state, else KDC_STATE, else ./.kdc."""
    option = ctx.find_root().obj
    return StateFolder.find(option if isinstance(option, str) else None, os.environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmState:
    """An existing realm."""

    folder: StateFolder
    loaded: LoadedConfig

    @property
    def config(self) -> KdcConfig:
        """Its configuration."""
        return self.loaded.config

    def master_key(self) -> MasterKey:
        """Load the master key after the checks of its owner and mode."""
        trusted = tuple(Path(p) for p in self.config.trusted_secret_paths)
        return MasterKey.load(self.folder.master_key, trusted_paths=trusted)

    @contextmanager
    def store(self, *, write: bool = False, local: bool = False) -> Iterator[Store]:
        """Open the store; it is closed at the end of the block.

        local: what is written is this node's own, also in a realm whose accounts live in LDAP.
        Anything else would be undone there by the follower, and is refused. Raises CliError.
        """
        if write and self.config.directory_url and not local:
            raise CliError(
                "this realm's accounts are changed in its directory",
                f"they live in {self.config.directory_url[0]}, and the store follows it",
                "change the entry there; kdc directory status shows whether it has come",
                ExitCode.DENIED,
            )
        store = Store.open(
            self.folder.store,
            self.master_key(),
            read_only=not write,
            check_keyid=self.config.keycredential_check_keyid,
        )
        try:
            yield store
        finally:
            store.close()

    def ca(self) -> IssuedCertificate:
        """Open the CA's sealed key. Only commands that issue certificates do this."""
        path = self.folder.ca_key(self.config)
        return self.open_authority_key(path, self.folder.issuer_certificate, CA_KEY_AAD)

    def open_authority_key(self, path: Path, certificate: Path, aad: bytes) -> IssuedCertificate:
        """Open a sealed key of a CA. Raises CliError when it is not here."""
        trusted = tuple(Path(p) for p in self.config.trusted_secret_paths)
        if not path.exists():
            raise CliError(
                f"the CA's key is not in {path}",
                "it has been put away, or never was here",
                "put it back for this command; ca_key in kdc.toml names another place",
                ExitCode.NOT_FOUND,
            )
        pem = self.master_key().open_file(path, aad, MAX_PEM_BYTES, trusted)
        found = certificates_from_pem(certificate.read_bytes())[0]
        return IssuedCertificate(certificate_der=found, private_key=private_key_from_pem(pem))


def open_realm(ctx: click.Context) -> RealmState:
    """Open the realm in the state folder. Raises ConfigError when there is none."""
    folder = state_folder(ctx)
    return RealmState(folder=folder, loaded=load_realm_config(folder))


def open_ldap_realm(ctx: click.Context) -> RealmState:
    """Open the realm, which must live in LDAP. Raises CliError, ConfigError."""
    realm = open_realm(ctx)
    if not realm.config.directory_url:
        raise CliError(
            f"{realm.config.realm} has no directory",
            "its accounts live in the local store",
            "kdc init --directory URL makes a realm on a directory",
        )
    return realm


def load_realm_config(folder: StateFolder) -> LoadedConfig:
    """Read a realm's configuration. Raises ConfigError, also when there is no realm."""
    root, shown = folder.root, str(folder.kdc_toml)
    if root.exists() and not root.is_dir():
        raise ConfigError(
            str(root), None, "it is no state folder", "it is a file", "give a folder with --state"
        )
    if not folder.kdc_toml.exists():
        raise ConfigError(
            shown,
            None,
            "there is no realm here",
            "the file does not exist" if root.exists() else f"there is no folder {root}",
            "name the realm's folder with --state DIR or KDC_STATE, or make one: kdc init",
        )
    return folder.load_config()


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before anything is done for it. Raises CliError."""
    folder = path.parent
    if not folder.is_dir():
        raise cannot_write(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise cannot_write(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_not_there(path: Path) -> None:
    """Refuse to write a key where there is a file already. Raises CliError."""
    if path.exists():
        raise CliError(
            f"{path} is already there",
            "a key is never overwritten unasked",
            "choose another path, or remove the file first",
            ExitCode.EXISTS,
        )


def make_private_folder(path: Path) -> None:
    """Make a folder that nobody else may look into, if it is not there."""
    path.mkdir(exist_ok=True)
    path.chmod(0o700)


def make_state_folders(root: Path, *inner: Path) -> None:
    """Make a state folder and folders in it, for their owner alone. Raises CliError."""
    try:
        for path in (root, *inner):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
    except (FileExistsError, NotADirectoryError):
        raise CliError(
            f"{root} cannot be a state folder", "it is a file, or lies in one", "give a folder"
        ) from None
    except OSError as error:
        raise cannot_write(root, error) from error


def find_account(store: Store, name: str) -> Account:
    """Find an account as a user names it: by name, by UPN, or a computer without its "$"."""
    local, at, suffix = name.rpartition("@")
    account = store.account_by_name(name) or (store.account_by_upn(name) if at else None)
    if account is None and at and suffix.upper() == store.realm.upper():
        account = store.account_by_name(local)
    account = account or store.account_by_name(f"{name}$")
    if account is None:
        raise not_found(f"no account named {name}", "kdc user list")
    return account


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file of mode 0600 whole or not at all.

    replace: False: refuse when there is a file already. Raises CliError.
    """
    if not replace:
        check_not_there(path)
    _write(path, data, replace=replace)


def write_public(path: Path, data: bytes) -> None:
    """Write a file that everybody may read. Raises CliError."""
    _write(path, data, mode=0o644)


def _write(path: Path, data: bytes, *, replace: bool = True, mode: int = 0o600) -> None:
    try:
        write_whole(path, data, replace=replace, mode=mode)
    except OSError as error:
        raise cannot_write(path, error) from error
