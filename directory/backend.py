"""What the KDC may ask of a directory, and how a directory says no."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from directory.changes import AccountChanges
from directory.model import (
    Account,
    Device,
    Domain,
    LockoutPolicy,
    PrincipalKey,
    ReadOnlyDc,
    Sid,
)


class DirectoryFault(StrEnum):
    """Why a directory did not do what it was asked."""

    NOT_FOUND = "not found"
    EXISTS = "already there"
    INVALID = "value not acceptable"
    DENIED = "not allowed"
    UNAVAILABLE = "directory not available"
    CORRUPT = "stored data damaged"


class DirectoryError(Exception):
    """A fault with fixed text for administrators; `detail` never holds a secret.

    A lookup never raises NOT_FOUND: an unknown name is None. UNAVAILABLE and CORRUPT mean that
    nothing is known about the account, so the KDC answers 29 (KDC_ERR_SVC_UNAVAILABLE), never 6.
    """

    def __init__(self, kind: DirectoryFault, detail: str = "") -> None:
        super().__init__(f"{kind.value}: {detail}" if detail else kind.value)
        self.kind = kind
        self.detail = detail


class NeedsFetch(DirectoryError):  # noqa: N818  it is no fault: somebody has to be asked first
    """A lookup in a replica that its directory has to be asked about first (UNAVAILABLE).

    The server asks, without standing still, and handles the request again.
    """

    def __init__(self) -> None:
        super().__init__(DirectoryFault.UNAVAILABLE, "the directory is asked first")


class PasswordStore(Protocol):
    """Where passwords are changed. Both raise DirectoryError; a change is on disk on return."""

    def password_history(self, account_id: int) -> tuple[PrincipalKey, ...]:
        """Return one key of each earlier password, the latest first; kvno is its place only."""

    def set_keys(
        self,
        account_id: int,
        keys: Sequence[PrincipalKey],
        *,
        keep_generations: int = 0,
        now: datetime | None = None,
        nt_hash: bytes | None = None,
        history: int | None = None,
        changes: AccountChanges | None = None,
    ) -> None:
        """Give an account a new generation of keys; see `directory.store.Store.set_keys`."""


class Directory(Protocol):
    """The questions the KDC core asks. All raise DirectoryError(UNAVAILABLE or CORRUPT).

    Names match by `directory.model.match_key`: ASCII letters in any case, all else exactly.
    """

    def refresh(self) -> None:
        """See every change committed until now. Called once at the start of each request."""

    def account_by_id(self, account_id: int) -> Account | None:
        """Find an account by its number."""

    def account_by_name(self, name: str) -> Account | None:
        """Find an account by sAMAccountName as given; no "$" is added."""

    def account_by_upn(self, upn: str) -> Account | None:
        """Find an account by its whole userPrincipalName, whatever its suffix."""

    def account_by_spn(self, spn: str) -> Account | None:
        """Find an account by servicePrincipalName, `host/web.lab.test` or `krbtgt/LAB.TEST`."""

    def accounts_by_key(self, key_digest: bytes) -> tuple[int, ...]:
        """List, in order, the users and computers on which this key is registered and usable.

        key_digest: `pki.keys.PublicKey.digest`.
        """

    def accounts_by_alt_security_identity(self, keys: Sequence[bytes]) -> tuple[int, ...]:
        """List, in order, the accounts that an altSecurityIdentities of one of these keys is on.

        keys: `directory.alt_security.index_key`. They are candidates: values are compared later.
        """

    def krbtgt(self) -> Account:
        """Return the realm's own ticket-granting account; keys newest first."""

    def read_only_dc(self, number: int) -> ReadOnlyDc | None:
        """Find a read-only domain controller by its msDS-SecondaryKrbTgtNumber, 1 to 65535."""

    def device(self, device_id: UUID) -> Device | None:
        """Find the device object that a key credential's DeviceId names.

        Costs nothing in a realm without any device object.
        """

    def domain(self) -> Domain:
        """Return the domain that the realm's accounts belong to."""

    def groups_of(self, account_id: int) -> tuple[Sid, ...]:
        """List the groups of an account: its primary group, then all others, nested ones too.

        Empty for an account that is not there.
        """

    def nt_hash(self, account_id: int) -> bytes | None:
        """Return the NT hash of an account's password; None unless the realm keeps them."""

    def spend_as_found(self, name: str) -> None:
        """Do the work of finding an account, for a name of nobody's: it must not be told by time.

        Called after the lookups that found nothing, where names are hidden.
        """

    def record_password_failure(
        self, account_id: int, now: datetime, policy: LockoutPolicy, packet: bytes = b""
    ) -> datetime | None:
        """Count one wrong password; return until when the account is now locked.

        packet: SHA-256 of the whole request, so that a retransmission counts once.
        """

    def record_password_success(self, account_id: int, now: datetime) -> None:
        """Forget the wrong passwords of an account that is not locked."""
