"""From one message to one reply: the clock, the handler, the audit record."""

import logging
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from directory.ldap.questions import Told
from kdc.outcome import Outcome, Peer
from kdc.server.alarm import Alarm
from kdc.server.audit import AuditLog
from kdc.server.counters import Counters
from kdc.server.misses import DeferringHandler, MissClient, Waiting
from kdc.server.row import REPLIES, REQUESTS, StageClock, count_request
from kdc.server.service import RequestHandler
from kdc.wire.constants import PVNO, ErrorCode, MessageType, NameType
from kdc.wire.rfc3244 import REPLY_VERSION, encode_frame
from kdc.wire.rfc4120 import KrbError, PrincipalName
from pki import asn1

log = logging.getLogger(__name__)


LATER: Final = b""
"""In the place of a reply: it comes later. No reply is empty."""

Later = Callable[[bytes | None], None]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Dispatcher:
    """Hands messages to the handler and audits what comes back."""

    __slots__ = (
        "_alarm",
        "_asker",
        "_audit",
        "_cells",
        "_clock",
        "_deferring",
        "_handler",
        "_realm",
        "_stages",
        "counters",
    )

    def __init__(
        self,
        handler: RequestHandler,
        audit: AuditLog,
        realm: str,
        *,
        clock: Callable[[], datetime] = _utc_now,
        counters: Counters | None = None,
        asker: MissClient | None = None,
    ) -> None:
        self._handler = handler
        self._audit = audit
        self._realm = realm
        self._clock = clock
        self._alarm = Alarm(log, "bug: %s escaped the handler; the request was dropped\n%s")
        self.counters = counters or Counters()
        self._cells = self.counters.cells
        self._stages = StageClock(self._cells)
        handler.time_stages(self._stages)
        self._asker = asker
        self._deferring = handler if isinstance(handler, DeferringHandler) and asker else None

    def answer(self, message: bytes, peer: Peer, later: Later | None = None) -> bytes | None:
        """Return the reply to a message, or None when nothing is to be sent.

        later: called once with the same when it takes time to find out; then LATER is returned.
        """
        # The one reading of the wall clock; everything below takes `now` from here.
        now = self._clock()
        started = time.perf_counter_ns()
        self._cells[REQUESTS] += 1
        self._stages.begin()
        outcome: Outcome | Waiting
        try:
            if self._deferring is None or later is None:
                outcome = self._handler.handle(message, peer, now)
            else:
                outcome = self._deferring.begin(message, peer, now)
        except Exception as error:  # noqa: BLE001  the last line of defence of a worker
            outcome = self._internal_error(error)
        if isinstance(outcome, Waiting):
            self._stages.end()
            self._ask(outcome, started, later)
            return LATER
        return self._counted(outcome, peer, now, started)

    def _ask(self, waiting: Waiting, started: int, later: Later | None) -> None:
        if self._asker is not None and later is not None:
            left = max(0.0, waiting.deadline - time.monotonic())
            answered = partial(self._resume, waiting, started, later)
            self._asker.ask(waiting.questions, answered, left)

    def _resume(self, waiting: Waiting, started: int, later: Later, told: Told) -> None:
        """Go on with a message after the follower of the directory has answered."""
        now = self._clock()
        self._stages.begin()
        outcome: Outcome | Waiting
        try:
            if self._deferring is None:
                return
            outcome = self._deferring.resume(waiting, told, now)
        except Exception as error:  # noqa: BLE001  the last line of defence of a worker
            outcome = self._internal_error(error)
        if isinstance(outcome, Waiting):
            self._stages.end()
            self._ask(outcome, started, later)
        else:
            later(self._counted(outcome, waiting.peer, now, started))

    def _counted(self, outcome: Outcome, peer: Peer, now: datetime, started: int) -> bytes | None:
        if "internal_error" in outcome.facts:
            self.counters.internal_errors += 1
        if "retransmit" in outcome.facts:
            self.counters.retransmits += 1
        self._stages.enter("audit")
        reply = self._audited(outcome, peer, now, started)
        self._stages.end()
        return reply

    def refuse(self, code: int, why: str, peer: Peer) -> bytes | None:
        """Return the KRB-ERROR for a message that is refused unread.

        code: of the protocol, 61 for instance. why: one fixed phrase for the audit record.
        """
        now = self._clock()
        started = time.perf_counter_ns()
        self._cells[REQUESTS] += 1
        return self._audited(self._refusal(code, why, now, peer), peer, now, started)

    def response_too_big(self) -> bytes:
        """Return the reply that sends a client to TCP, for one whose record is written already."""
        why = "the reply is larger than a datagram may be"
        reply = self._refusal(ErrorCode.KRB_ERR_RESPONSE_TOO_BIG, why, self._clock()).reply
        return reply or b""

    def _audited(self, outcome: Outcome, peer: Peer, now: datetime, started: int) -> bytes | None:
        exchange = outcome.exchange
        elapsed_ns = time.perf_counter_ns() - started
        lost_before = self._audit.failures
        may_leave = self._audit.write(outcome, peer, now, elapsed_ns / 1e9)
        if self._audit.failures != lost_before:
            self.counters.audit_failures += 1
        if not may_leave:
            self.counters.refused_by_audit += 1
            if outcome.reply is not None:
                # Refusals are withheld as well: the client then asks another KDC of the realm.
                outcome = self._refusal(
                    ErrorCode.KDC_ERR_SVC_UNAVAILABLE, "audit log unavailable", now, peer
                )
        code, transport, address = outcome.code, peer.transport, peer.address
        count_request(self._cells, exchange, code, transport, address, elapsed_ns)
        if outcome.reply is not None:
            self._cells[REPLIES] += 1
        elif not outcome.code:
            self.counters.discarded += 1
        return outcome.reply

    def _refusal(self, code: int, why: str, now: datetime, peer: Peer | None = None) -> Outcome:
        """Return an error that needs neither the request nor the handler."""
        error = KrbError(
            pvno=PVNO,
            msg_type=MessageType.KRB_ERROR,
            stime=now,
            susec=now.microsecond,
            error_code=code,
            realm=self._realm,
            sname=PrincipalName(name_type=NameType.SRV_INST, name_string=("krbtgt", self._realm)),
        )
        reply = asn1.encode(error)
        if peer is not None and peer.service == "kpasswd":
            reply = encode_frame(REPLY_VERSION, b"", reply)
        return Outcome(reply=reply, exchange="", code=code, why=why, reference="")

    def _internal_error(self, error: Exception) -> Outcome:
        # The places, not the text: the text of an exception may quote the message or a key.
        places = "".join(traceback.format_tb(error.__traceback__))
        self._alarm.raise_(type(error).__name__, places)
        return Outcome(
            reply=None,
            exchange="",
            code=ErrorCode.KRB_ERR_GENERIC,
            why="internal error",
            reference="",
            facts={"internal_error": True},
        )
