"""What this KDC would answer to a message, without anybody noticing.

The real core on the real accounts, read-only: no wrong password is counted, nothing is remembered,
no reply leaves. So a message from a capture or a bug report can be judged as often as one likes.
"""

from datetime import UTC, datetime

from directory.model import LockoutPolicy
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


class UncountedStore(Store):
    """The store, opened read-only, that does not even count passwords."""

    def record_password_failure(
        self, account_id: int, now: datetime, policy: LockoutPolicy, packet: bytes = b""
    ) -> datetime | None:
        """Count nothing: explaining must not lock an account."""
        return None

    def record_password_success(self, account_id: int, now: datetime) -> None:
        """Forget nothing."""


def open_uncounted(realm: RealmState) -> UncountedStore:
    """Open a realm's accounts for looking only. Raises DirectoryError, OSError."""
    return UncountedStore(
        realm.folder.store,
        realm.master_key(),
        read_only=True,
        check_keyid=realm.config.keycredential_check_keyid,
    )


def judge(realm: RealmState, store: UncountedStore, message: bytes, at: datetime) -> Verdict:
    """Judge a message as if it came at `at`, by TCP.

    Raises ConfigError, DirectoryError, PkiError, OSError when the realm cannot be opened whole:
    the KDC's keys are needed as well.
    """
    nothing = _NothingRemembered()
    built = build_realm(realm.folder, realm.config, store, nothing, nothing)
    core = Core(built)
    outcome = core.handle(message, Peer(address="127.0.0.1", port=0, transport="tcp"), at)
    return Verdict(code=outcome.code, why=outcome.why, facts=outcome.facts, judged_now=True)
