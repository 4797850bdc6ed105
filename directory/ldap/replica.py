"""The Directory of a realm that lives in LDAP, as a worker sees it: the local store, and what the
follower says of it.

Rules
  1. Every answer comes from the store. What the store did not have is noted, and the server asks
     the follower before it believes a refusal that rests on it (`questions`).
  2. With `read_through` each name is validated first: a lookup of one that was not raises
     NeedsFetch, and the request is handled again when the follower has looked.
  3. A store that nobody has confirmed for longer than max_staleness answers nothing: 29 for all.
  4. A name that several entries of the directory have, or an unusable one, is 29 (row L04).
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault, NeedsFetch
from directory.ldap.apply import problem_names
from directory.ldap.questions import MAX_NAME_CHARS, MAX_QUESTIONS, STATUS_NAME, Ask, Question
from directory.ldap.status import StatusFile
from directory.model import (
    Account,
    Device,
    Domain,
    LockoutPolicy,
    ReadOnlyDc,
    Sid,
    match_key,
)
from directory.store_groups import is_storable
from directory.store_read import StoreReader


class ReplicaDirectory:
    """Implements `directory.backend.Directory` over the store of an LDAP realm."""

    def __init__(
        self,
        store: StoreReader,
        state_dir: Path,
        *,
        max_staleness_s: int,
        read_through: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """max_staleness_s: 0 for any age."""
        self._store = store
        self._status_path = state_dir / STATUS_NAME
        self._status: StatusFile | None = None
        self._max_age_us = max_staleness_s * 1_000_000
        self.reads_through = read_through
        """Whether each name is validated first."""
        self.is_interrupted = False
        """Whether this request stopped at a name that has to be validated."""
        self._clock = clock
        self._version: object = None
        self._problems: frozenset[str] = frozenset()
        self._missed: list[Question] = []
        self._found: list[int] = []
        self._validated: set[Question] = set()
        self._key = ""

    # -- one request -------------------------------------------------------------------------

    def begin(self, validated: set[Question] | None = None) -> None:
        """Begin a request; validated: what the follower has looked at for it already."""
        self._missed.clear()
        self._found.clear()
        self._key = ""
        self.is_interrupted = False
        self._validated = validated if validated is not None else set()

    def questions(self) -> tuple[Question, ...]:
        """List what the follower should look at before this request's refusal is believed."""
        asked = [question for question in self._missed if question not in self._validated]
        if self._key:
            found = ((Ask.KEY, f"{number}:{self._key}") for number in dict.fromkeys(self._found))
            asked += [question for question in found if question not in self._validated]
        return tuple(dict.fromkeys(asked))[:MAX_QUESTIONS]

    @property
    def has_found(self) -> bool:
        """Whether any name of this request was an account's."""
        return bool(self._found)

    def has_changed_since(self, version: int) -> bool:
        """Tell whether anything was committed since the store was in that version."""
        try:
            self._store.refresh()
        except DirectoryError:
            return True  # whoever reads it next is told
        return self._store.version != version

    # -- Directory ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """See every change committed until now. Raises DirectoryError(UNAVAILABLE) when stale."""
        self._store.refresh()
        version = self._store.version
        if version != self._version:
            self._problems = problem_names(self._store.rows)
            self._version = version
        if self._max_age_us:
            self._check_age()

    def _check_age(self) -> None:
        try:
            if self._status is None:
                self._status = StatusFile(self._status_path)
            confirmed_us = self._status.confirmed_us()
        except OSError:
            confirmed_us = 0
        if self._clock() * 1_000_000 - confirmed_us > self._max_age_us:
            raise DirectoryError(
                DirectoryFault.UNAVAILABLE,
                "the directory was not followed for longer than max_staleness",
            )

    def account_by_id(self, account_id: int) -> Account | None:
        """Find an account by its number."""
        return self._store.account_by_id(account_id)

    def account_by_name(self, name: str) -> Account | None:
        """Find an account by sAMAccountName as given."""
        return self._lookup(Ask.NAME, name, self._store.account_by_name)

    def account_by_upn(self, upn: str) -> Account | None:
        """Find an account by its whole userPrincipalName."""
        return self._lookup(Ask.UPN, upn, self._store.account_by_upn)

    def account_by_spn(self, spn: str) -> Account | None:
        """Find an account by servicePrincipalName."""
        return self._lookup(Ask.SPN, spn, self._store.account_by_spn)

    def _lookup(
        self, kind: Ask, name: str, find: Callable[[str], Account | None]
    ) -> Account | None:
        question = (kind.value, match_key(name))
        if self._problems and f"{question[0]}:{question[1]}" in self._problems:
            raise DirectoryError(
                DirectoryFault.CORRUPT, "the directory's entry of this name cannot be used"
            )
        if self.reads_through and question not in self._validated and _can_ask(name):
            self._missed.append(question)
            self.is_interrupted = True
            raise NeedsFetch
        account = find(name)
        if account is not None:
            self._found.append(account.account_id)
        elif len(self._missed) < MAX_QUESTIONS and _can_ask(name):
            self._missed.append(question)
        return account

    def accounts_by_key(self, key_digest: bytes) -> tuple[int, ...]:
        """List the users and computers on which this key is registered and usable."""
        self._key = key_digest.hex()[:32]
        return self._store.accounts_by_key(key_digest)

    def accounts_by_alt_security_identity(self, keys: Sequence[bytes]) -> tuple[int, ...]:
        """List the accounts that an explicit mapping leads to; the directory is not asked."""
        return self._store.accounts_by_alt_security_identity(keys)

    def krbtgt(self) -> Account:
        """Return the realm's own ticket-granting account."""
        return self._store.krbtgt()

    def read_only_dc(self, number: int) -> ReadOnlyDc | None:
        """Find a read-only domain controller by its number."""
        return self._store.read_only_dc(number)

    def device(self, device_id: UUID) -> Device | None:
        """Find the device object that a DeviceId names."""
        question = (Ask.DEVICE.value, device_id.hex)
        asked = question in self._validated
        # A realm's first device object comes with the follower, within a second.
        if self.reads_through and not asked and self._store.has_devices():
            self._missed.append(question)
            self.is_interrupted = True
            raise NeedsFetch
        device = self._store.device(device_id)
        if (device is None or not device.enabled) and len(self._missed) < MAX_QUESTIONS:
            self._missed.append(question)
        return device

    def domain(self) -> Domain:
        """Return the domain that the realm's accounts belong to."""
        return self._store.domain()

    def groups_of(self, account_id: int) -> tuple[Sid, ...]:
        """List the groups of an account, nested ones too."""
        return self._store.groups_of(account_id)

    def nt_hash(self, account_id: int) -> bytes | None:
        """Return the NT hash of an account's password, None when none is kept."""
        return self._store.nt_hash(account_id)

    def spend_as_found(self, name: str) -> None:
        """Do the work of finding an account, for a name of nobody's."""
        self._store.spend_as_found(name)

    def record_password_failure(
        self, account_id: int, now: datetime, policy: LockoutPolicy, packet: bytes = b""
    ) -> datetime | None:
        """Count one wrong password on this node; return until when the account is locked."""
        return self._store.record_password_failure(account_id, now, policy, packet)

    def record_password_success(self, account_id: int, now: datetime) -> None:
        """Forget the wrong passwords of an account that is not locked."""
        self._store.record_password_success(account_id, now)


def _can_ask(name: str) -> bool:
    """Tell whether a name could be anybody's: text that a directory can hold."""
    return 0 < len(name) <= MAX_NAME_CHARS and is_storable(name)
