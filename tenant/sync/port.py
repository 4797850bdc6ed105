"""What the sync job asks of a directory: one interface, whichever directory it is."""

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol
from uuid import UUID

from directory.distinguished_name import Rdn, parse_dn
from directory.model import AccountKind, Sid, match_key
from tenant.sync.view import DeviceObject, DirectoryAccount, DirectoryView

FIRST_OWN_RID = 1000
"""Below it a domain has the accounts that it was made with (Administrator, Guest, krbtgt), which
Entra Connect leaves out as critical system objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which users come into the tenant."""

    users: tuple[str, ...] = ("*",)
    """Patterns of sAMAccountName, with * and ?."""
    base: tuple[Rdn, ...] = ()
    """Only users below this DN, as `parse_dn` reads it."""

    @classmethod
    def of(cls, users: tuple[str, ...], base: str | None) -> "Scope":
        """Make it from the settings. Raises ValueError: base is no DN."""
        return cls(users=users, base=parse_dn(base) if base else ())

    def holds(self, kind: AccountKind, name: str, sid: Sid, dn: str) -> bool:
        """Tell whether an account comes in; names are compared as the directory compares them."""
        if sid.rid < FIRST_OWN_RID:
            return False
        if kind is AccountKind.COMPUTER:
            return True
        if kind is not AccountKind.USER or not self._is_below(dn):
            return False
        key = match_key(name)
        return any(fnmatchcase(key, match_key(pattern)) for pattern in self.users)

    def _is_below(self, dn: str) -> bool:
        if not self.base:
            return True
        try:
            rdns = parse_dn(dn)
        except ValueError:
            return False
        return len(rdns) > len(self.base) and rdns[-len(self.base) :] == self.base


class DirectoryPort(Protocol):
    """A directory, as the account of the sync job sees it. All raise DirectoryError.

    UNAVAILABLE and CORRUPT end the run; DENIED, INVALID, EXISTS and NOT_FOUND are about one object.
    What a call has done is in the directory for good when it returns.
    """

    @property
    def where(self) -> str:
        """Say in a few words which directory it is."""

    def read(self, scope: Scope, also: Collection[UUID]) -> DirectoryView:
        """Read all accounts and device objects, to the end.

        also: objectGUIDs of accounts that the journal names: they are read wherever they are.
        """

    def add_key(self, account: DirectoryAccount, text: str) -> None:
        """Add exactly this value of msDS-KeyCredentialLink. EXISTS: the account has the key."""

    def remove_key(self, account: DirectoryAccount, text: str) -> None:
        """Remove exactly this value. NOT_FOUND: it, or the account, is gone or has another name."""

    def put_device(self, device: DeviceObject, fields: tuple[str, ...]) -> None:
        """Add a device object (no fields), or set these fields of one."""

    def remove_device(self, device_id: UUID) -> None:
        """Remove a device object. NOT_FOUND: it is gone already."""

    def close(self) -> None:
        """Let go of the directory."""
