"""The request handler of a realm in LDAP: a refusal that rests on what the store does not have is
believed only after the follower has asked the directory.

Only refusals that a newer store could turn around are looked into (ASKED): an unknown name, or a
key that is not where the request says. With `hide_unknown` no logon waits for that: the time it
takes would tell names apart. The follower is asked afterwards, so that the next attempt is right.
"""

import asyncio
import time
from datetime import datetime, timedelta
from typing import cast

from directory.backend import Directory
from directory.ldap.questions import ASK_TIMEOUT_S, STATUS_NAME, Question, Told
from directory.ldap.replica import ReplicaDirectory
from directory.ldap.status import FollowerState, StatusFile
from kdc.config import KdcConfig
from kdc.core import Doubt
from kdc.errors import Unavailable
from kdc.outcome import Outcome, Peer
from kdc.server.build import RealmHandler
from kdc.server.misses import MissClient, Waiting
from kdc.wire.constants import ErrorCode

ASKED = frozenset(
    {
        ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN,
        ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN,
        ErrorCode.KDC_ERR_TGT_REVOKED,
        ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
        # A key that is registered nowhere is judged by its certificate.
        ErrorCode.KDC_ERR_CANT_VERIFY_CERTIFICATE,
        ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
    }
)
MAX_ROUNDS = 12
"""Of asking for one request: with read_through one for each name it touches."""
CURRENT = timedelta(seconds=15)
"""A store confirmed within this is current: what it does not have does not exist."""


class ReplicaHandler(RealmHandler):
    """A worker's handler for a realm that lives in LDAP."""

    @property
    def _replica(self) -> ReplicaDirectory:
        """What the core asks now; a reload that is refused leaves it as it was."""
        return cast(ReplicaDirectory, self._core.realm.directory)

    def _directory(self, config: KdcConfig) -> Directory:
        return ReplicaDirectory(
            self._store,
            self._folder.root,
            max_staleness_s=config.max_staleness_s,
            read_through=config.consistency == "read_through",
        )

    _client: MissClient | None = None

    def asker(self, loop: asyncio.AbstractEventLoop) -> MissClient | None:
        """Return who asks the follower."""
        self._client = MissClient(loop, self._folder.root)
        return self._client

    def handle(self, message: bytes, peer: Peer, now: datetime) -> Outcome:
        """Answer one message for a caller who cannot wait: what has to be asked is 29."""
        outcome = self.begin(message, peer, now)
        if isinstance(outcome, Waiting):
            return self._finish(outcome, self._not_asked(outcome, now), now)
        return outcome

    def begin(self, message: bytes, peer: Peer, now: datetime) -> Outcome | Waiting:
        """Answer a message, or say what the follower has to look at first."""
        self._watch_certificates(now)
        self._replica.begin()
        outcome = self._core.handle(message, peer, now)
        questions = self._open_questions(outcome)
        if self._is_hidden(outcome):
            # Every answer is given at once, also 24 and 25 to a name that is nobody's yet.
            if self._client is not None and (questions or not self._replica.has_found):
                self._client.ask_soon(questions or self._replica.questions())
        elif questions:
            return Waiting(
                message=message,
                peer=peer,
                outcome=outcome,
                questions=questions,
                seen=self._store.version,
                deadline=time.monotonic() + ASK_TIMEOUT_S,
            )
        self._note(message, peer, now, outcome)
        return outcome

    def resume(self, waiting: Waiting, told: Told, now: datetime) -> Outcome | Waiting:
        """Go on with a message after the follower has looked."""
        if told is Told.AWAY or (told is Told.BUSY and not self._is_current(now)):
            return self._finish(waiting, self._not_asked(waiting, now), now)
        waiting.asked.update(waiting.questions)
        needed = self._replica.reads_through or told is Told.CHANGED
        # What the follower found the same may have come by itself a moment ago.
        if not needed and not self._replica.has_changed_since(waiting.seen):
            return self._finish(waiting, waiting.outcome, now)
        self._replica.begin(waiting.asked)
        waiting.outcome = self._core.handle(waiting.message, waiting.peer, now)
        waiting.seen = self._store.version
        waiting.questions = self._open_questions(waiting.outcome)
        waiting.rounds += 1
        if not waiting.questions:
            return self._finish(waiting, waiting.outcome, now)
        if waiting.rounds > MAX_ROUNDS:
            return self._finish(waiting, self._not_asked(waiting, now), now)
        return waiting

    def _open_questions(self, outcome: Outcome) -> tuple[Question, ...]:
        if outcome.code in ASKED or self._replica.is_interrupted:
            return self._replica.questions()
        return ()

    def _is_hidden(self, outcome: Outcome) -> bool:
        """Tell whether names may not be told by how long the answer takes."""
        hides = self._core.realm.config.hide_unknown and outcome.exchange == "AS"
        # With read_through every name is asked about first, whosever it is.
        return hides and not self._replica.is_interrupted

    def _finish(self, waiting: Waiting, outcome: Outcome, now: datetime) -> Outcome:
        self._note(waiting.message, waiting.peer, now, outcome)
        return outcome

    def _not_asked(self, waiting: Waiting, now: datetime) -> Outcome:
        # From the start, so that the refusal goes the way of this request's own (FAST seals it).
        # The store may have learned what was missed in the meantime: then it is an answer.
        self._replica.begin(waiting.asked)
        refusal = Unavailable("the directory cannot be asked about what the store does not have")
        return self._core.handle(waiting.message, waiting.peer, now, Doubt(ASKED, refusal))

    def _is_current(self, now: datetime) -> bool:
        """Tell whether the directory is followed at this moment."""
        try:
            file = StatusFile(self._folder.root / STATUS_NAME)
        except OSError:
            return False
        try:
            status = file.read()
        finally:
            file.close()
        age = status.age(now) if status is not None else None
        return (
            status is not None
            and status.state is FollowerState.FOLLOWING
            and age is not None
            and age <= CURRENT
        )
