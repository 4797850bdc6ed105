"""Where the keys of a realm's accounts are written: its own store, or the directory it lives in."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import click

from directory.backend import DirectoryError, DirectoryFault
from directory.keycredential import decode_key_credential
from directory.ldap import write
from directory.model import AccountKind, KeyCredential, Sid
from directory.sealing import SecretFileError
from directory.store import Store
from kdc.cli.accounts import owner_names
from kdc.cli.directory_access import Access, Caller, directory_errors, open_directory
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.state import RealmState, find_account
from pki.keys import PublicKey

_WAIT_S = 5.0
_POLL_S = 0.02
"""How long, and how often, the local store is looked at until it has what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """An account that has keys, wherever it lives."""

    name: str
    kind: AccountKind
    upn: str | None
    sid: Sid | None
    dn: str
    guid: UUID | None
    credentials: tuple[KeyCredential, ...]


class KeyPlace(Protocol):
    """Where keys are written."""

    def find(self, name: str) -> Owner:
        """Find an account as a user names it. Raises CliError."""

    def check_free(self, owner: Owner, key: PublicKey | None) -> None:
        """Refuse a key that is registered already. Raises CliError."""

    def add(self, owner: Owner, text: str) -> KeyCredential:
        """Register a value. Raises CliError, DirectoryError."""

    def remove(self, owner: Owner, chosen: Sequence[KeyCredential], *, every: bool) -> None:
        """Remove values; every: all that the account has. Raises CliError, DirectoryError."""

    def settle(self, owner: Owner) -> None:
        """Wait, bounded, until this KDC knows what was written, and say so."""


@contextmanager
def open_place(realm: RealmState, caller: Caller, *, write: bool) -> Iterator[KeyPlace]:
    """Open the place where a realm's keys are written. Raises CliError."""
    if not realm.config.directory_url:
        if caller.given:
            raise click.UsageError("this realm lives in its own store: no directory to log on to")
        with realm.store(write=write) as store:
            yield StorePlace(store)
        return
    with open_directory(realm, caller) as access, _replica(realm) as store:
        yield DirectoryPlace(access, store)


def key_is_taken(name: str, names: Sequence[str], *, own: bool) -> CliError:
    """Make the error for a key that is registered: on a second account it logs on to neither."""
    if own:
        return CliError(
            f"{name} has this key already",
            "a key is registered once",
            f"kdc key list {name}",
            ExitCode.EXISTS,
        )
    return CliError(
        f"this key is registered on {', '.join(names)} already",
        "a key on two accounts logs on to neither of them",
        f"kdc key enroll {name} --out F.pem makes another one; or first: "
        f"kdc key list {names[0]}, then kdc key remove",
        ExitCode.EXISTS,
    )


# -- the realm's own store -------------------------------------------------------------------


class StorePlace:
    """An embedded realm: what is written counts at the next request."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, name: str) -> Owner:
        """Find an account."""
        account = find_account(self._store, name)
        return Owner(
            name=account.sam_account_name,
            kind=account.kind,
            upn=account.upn,
            sid=account.sid,
            dn=self._store.owner_dn(account.account_id),
            guid=None,
            credentials=account.key_credentials,
        )

    def check_free(self, owner: Owner, key: PublicKey | None) -> None:
        """Refuse a key that is registered already."""
        if key is None:
            return
        owners = self._store.accounts_by_key(key.digest)
        names = owner_names(self._store, owners)
        if self._id(owner) in owners:
            raise key_is_taken(owner.name, names, own=True)
        if owners:
            raise key_is_taken(owner.name, names, own=False)

    def add(self, owner: Owner, text: str) -> KeyCredential:
        """Register a value."""
        try:
            return self._store.add_key_credential(self._id(owner), text, unshared=True)
        except DirectoryError as error:
            if error.kind is DirectoryFault.EXISTS:
                # Free a moment ago: another `kdc key` was faster. Who has it now?
                self.check_free(owner, decode_key_credential(text, owner_dn=owner.dn).public_key)
            raise

    def remove(self, owner: Owner, chosen: Sequence[KeyCredential], *, every: bool) -> None:
        """Remove values."""
        if every:
            self._store.remove_key_credential(self._id(owner))
        else:
            self._store.remove_key_credential(self._id(owner), chosen[0].key_id)

    def settle(self, owner: Owner) -> None:
        """Do nothing: the store is what the KDC reads."""

    def _id(self, owner: Owner) -> int:
        return find_account(self._store, owner.name).account_id


# -- a directory -----------------------------------------------------------------------------


@contextmanager
def _replica(realm: RealmState) -> Iterator[Store | None]:
    """Open the store that follows the directory; None when the caller may not read it."""
    try:
        store = Store.open(realm.folder.store, realm.master_key(), read_only=True)
    except (DirectoryError, SecretFileError):
        yield None
        return
    try:
        yield store
    finally:
        store.close()


class DirectoryPlace:
    """An LDAP realm: written to the directory as the caller; this KDC follows it."""

    def __init__(self, access: Access, replica: Store | None) -> None:
        self._access = access
        self._replica = replica
        self._accounts: dict[str, write.WritableAccount] = {}
        self._added: list[bytes] = []
        self._removed: list[bytes] = []

    def find(self, name: str) -> Owner:
        """Find an account in the directory itself."""
        access = self._access
        with directory_errors(f"no account {name} was found"):
            account = write.find_account(access.connection, access.base, access.flavour, name)
        self._accounts[account.name] = account
        return Owner(
            name=account.name,
            kind=account.kind,
            upn=account.upn,
            sid=account.sid,
            dn=account.dn,
            guid=account.guid,
            credentials=account.credentials,
        )

    def check_free(self, owner: Owner, key: PublicKey | None) -> None:
        """Refuse a key that the account has, or that this KDC knows on another one.

        No directory can be searched by key; a key that is on two accounts logs on to neither.
        """
        if key is None:
            return
        digests = {c.public_key.digest for c in owner.credentials if c.public_key is not None}
        if key.digest in digests:
            raise key_is_taken(owner.name, (), own=True)
        if self._replica is not None:
            others = owner_names(self._replica, self._replica.accounts_by_key(key.digest))
            names = [name for name in others if name.lower() != owner.name.lower()]
            if names:
                raise key_is_taken(owner.name, names, own=False)

    def add(self, owner: Owner, text: str) -> KeyCredential:
        """Add one value as the caller, by the rules of MS-ADTS 3.1.1.5.3.1.1.6."""
        access, account = self._access, self._accounts[owner.name]
        credential = decode_key_credential(text, owner_dn=owner.dn, owner_guid=owner.guid)
        with directory_errors(f"the key was not registered on {owner.name}"):
            if credential.reason == "DN part names another object":
                # Some directories take it; it would never log on.
                credential = replace(credential, reason="the value names another account")
            if write.is_caller(access.connection, account, access.flavour):
                write.check_own_write(account, credential)
            if not credential.usable:
                raise CliError(
                    f"the key was not registered on {owner.name}",
                    f"it could not log on: {credential.reason}",
                    "give the certificate or public key, and the value is made for the account",
                )
            write.add_key(access.connection, account, text)
        self._added.append(credential.key_id)
        return credential

    def remove(self, owner: Owner, chosen: Sequence[KeyCredential], *, every: bool) -> None:
        """Delete exactly these values, one at a time."""
        del every  # what came after they were read is somebody else's, and stays
        account = self._accounts[owner.name]
        for credential in chosen:
            with directory_errors(f"the key was not removed from {owner.name}"):
                write.remove_key(self._access.connection, account, credential.text)
            self._removed.append(credential.key_id)

    def settle(self, owner: Owner) -> None:
        """Wait until this KDC's store has followed."""
        if self._replica is None:
            return
        end = time.monotonic() + _WAIT_S
        while not self._has_followed(owner, self._replica):
            if time.monotonic() > end:
                click.echo(
                    "  note: the directory has it, this KDC's store does not yet: does kdc serve "
                    "run here?",
                    err=True,
                )
                return
            time.sleep(_POLL_S)
        click.echo("  this KDC knows it")

    def _has_followed(self, owner: Owner, replica: Store) -> bool:
        replica.refresh()
        account = replica.account_by_name(owner.name)
        have = {c.key_id for c in account.key_credentials} if account is not None else set()
        return have.issuperset(self._added) and have.isdisjoint(self._removed)
