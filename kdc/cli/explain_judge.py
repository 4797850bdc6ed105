"""What this KDC would answer to a message, without anybody noticing.

The real core on the real accounts, read-only: no wrong password is counted, nothing is remembered,
no reply leaves. So a message from a capture or a bug report can be judged as often as one likes.
"""

from dataclasses import replace
from datetime import UTC, datetime

from directory.model import Account, LockoutPolicy
from directory.store import Store
from kdc.cli.state import RealmState
from kdc.core import Core
from kdc.explain.explanation import Verdict
from kdc.outcome import Peer
from kdc.server.build import build_realm

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class _NothingRemembered:
    """Replay and retransmit memory that never saw anything."""

    def seen(self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b"") -> bool:
        """Nothing was seen."""
        return False

    def remember(
        self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b""
    ) -> bool:
        """Everything is new."""
        return True

    def oldest_acceptable(self, now: datetime) -> datetime:
        """Reach back for ever."""
        return _LONG_AGO

    def lookup(self, digest: bytes, now: datetime) -> bytes | None:
        """No reply was given before."""
        return None

    def store(self, digest: bytes, reply: bytes, now: datetime) -> None:
        """Keep nothing."""


class _Untouched:
    """The store, but for the counting of passwords."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def refresh(self) -> None:
        """See every change committed until now."""
        self._store.refresh()

    def account_by_id(self, account_id: int) -> Account | None:
        """Find an account by its number."""
        return self._store.account_by_id(account_id)

    def account_by_name(self, name: str) -> Account | None:
        """Find an account by sAMAccountName."""
        return self._store.account_by_name(name)

    def account_by_upn(self, upn: str) -> Account | None:
        """Find an account by its whole userPrincipalName."""
        return self._store.account_by_upn(upn)

    def account_by_spn(self, spn: str) -> Account | None:
        """Find an account by servicePrincipalName."""
        return self._store.account_by_spn(spn)

    def accounts_by_key(self, key_digest: bytes) -> tuple[int, ...]:
        """List the accounts on which a key is registered and usable."""
        return self._store.accounts_by_key(key_digest)

    def krbtgt(self) -> Account:
        """Return the realm's own account."""
        return self._store.krbtgt()

    def record_password_failure(
        self, account_id: int, now: datetime, policy: LockoutPolicy
    ) -> datetime | None:
        """Count nothing."""
        return None

    def record_password_success(self, account_id: int, now: datetime) -> None:
        """Forget nothing."""


def judge(realm: RealmState, store: Store, message: bytes, at: datetime) -> Verdict:
    """Judge a message as if it came at `at`, by TCP.

    Raises ConfigError, DirectoryError, PkiError, OSError when the realm cannot be opened whole:
    the KDC's keys are needed as well.
    """
    nothing = _NothingRemembered()
    built = build_realm(realm.folder, realm.config, store, nothing, nothing)
    core = Core(replace(built, directory=_Untouched(store)))
    outcome = core.handle(message, Peer(address="127.0.0.1", port=0, transport="tcp"), at)
    return Verdict(code=outcome.code, why=outcome.why, facts=outcome.facts, judged_now=True)
