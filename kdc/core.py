"""The core: bytes in, `Outcome` out. The only door between the server and the exchanges.

Rules
  1. Whatever arrives, one Outcome leaves: a reply, a KRB-ERROR, or nothing on purpose.
  2. Expected refusals are exceptions of `kdc.errors`; a directory that fails is 29; anything else
     that escapes is a bug: KRB_ERR_GENERIC to the peer, the traceback to the log, counted.
  3. The e-text of an error is the code's name and the request's reference. Causes go to the audit
     record, not to the peer.
"""

import logging
import traceback
from dataclasses import dataclass
from datetime import datetime

from directory.backend import DirectoryError, NeedsFetch
from kdc.errors import Discard, KdcError, refusal_from_directory
from kdc.exchange.as_exchange import answer_as_req, packet_digest
from kdc.exchange.fast import Tunnel
from kdc.exchange.fast_reply import fast_error
from kdc.exchange.kpasswd import SERVICE_NAME, SealedRefusal, answer_kpasswd, error_frame
from kdc.exchange.realm import Realm
from kdc.exchange.tgs_exchange import answer_tgs_req
from kdc.outcome import Outcome, Peer
from kdc.wire.constants import PVNO, ErrorCode, MessageType, NameType
from kdc.wire.rfc4120 import AsReq, KdcReq, KrbError, PrincipalName, TgsReq
from pki import asn1
from pki.errors import PkiError

log = logging.getLogger(__name__)

EXCHANGES = {
    bytes((0x60 | MessageType.AS_REQ,)): "AS",
    bytes((0x60 | MessageType.TGS_REQ,)): "TGS",
}
"""First octet of a request -> the exchange it begins."""

REFERENCE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""No 0/O, 1/I/L or U/V pairs: references are read aloud."""

MAX_ECHOED_NAME_CHARS = 1024  # no service's name is longer; an error must fit a datagram


@dataclass(frozen=True, slots=True)
class Doubt:
    """Which refusals are not believed, because what they rest on could not be asked about."""

    codes: frozenset[ErrorCode]
    refusal: KdcError
    """What is answered in their place."""


class Core:
    """Answers requests for one realm. One per worker; `realm` is swapped whole on reload."""

    def __init__(self, realm: Realm) -> None:
        self.realm = realm
        self.internal_errors = 0
        """Requests that ended in a bug: `kdc_internal_errors_total`."""

    def handle(
        self, message: bytes, peer: Peer, now: datetime, doubt: Doubt | None = None
    ) -> Outcome:
        """Answer one whole message.

        message: without framing. now: aware, UTC; the one clock reading of this request. doubt:
        what is answered in the place of some refusals.
        """
        facts: dict[str, object] = {}
        request: KdcReq | None = None
        exchange = ""
        tunnel = Tunnel()
        try:
            kpasswd = peer.service == "kpasswd"
            exchange = "kpasswd" if kpasswd else EXCHANGES.get(message[:1], "")
            if not exchange:
                # Errors, replies and application messages get no answer: it could start a loop
                # between two servers (CVE-2002-2443).
                raise Discard("not a KDC request")
            packet = packet_digest(message)
            stages = self.realm.stages
            stages.enter("memory")
            kept = self.realm.retransmit.lookup(packet, now)
            if kept is not None:
                facts["retransmit"] = True
                return self._sized(kept, peer, now, exchange, facts)
            stages.enter("decode")
            if kpasswd:
                stages.enter("directory")
                self.realm.directory.refresh()
                reply = answer_kpasswd(message, self.realm, peer, now, packet, facts)
            elif exchange == "AS":
                request = as_req = asn1.decode(AsReq, message)
                stages.enter("directory")
                self.realm.directory.refresh()
                reply = answer_as_req(as_req, self.realm, peer.address, now, packet, facts, tunnel)
            else:
                request = tgs_req = asn1.decode(TgsReq, message)
                stages.enter("open")
                self.realm.directory.refresh()
                reply = answer_tgs_req(
                    tgs_req, self.realm, peer.address, now, packet, facts, tunnel
                )
            stages.enter("memory")
            self.realm.retransmit.store(packet, reply, now)
            return self._sized(reply, peer, now, exchange, facts)
        except Discard as silence:
            return Outcome(
                reply=None, exchange=exchange, code=0, why=silence.why, reference="", facts=facts
            )
        except SealedRefusal as sealed:
            return self._refused(sealed.refusal, None, now, exchange, facts, sealed=sealed)
        # Each kind under a name of its own, which mypyc gives one type.
        except KdcError as refusal:
            if doubt is not None and refusal.code in doubt.codes:
                return self._refused(doubt.refusal, request, now, exchange, facts, tunnel)
            # Under no other name: a variable would keep the error, and the error this frame.
            return self._refused(refusal, request, now, exchange, facts, tunnel)
        except PkiError as malformed:
            facts["detail"] = malformed.detail
            why = f"the message is not valid DER: {malformed.fault.value}"
            unread = KdcError(ErrorCode.KRB_ERR_GENERIC, why)
            return self._refused(unread, request, now, exchange, facts, tunnel)
        except DirectoryError as failure:
            if not isinstance(failure, NeedsFetch):
                log.error("account store: %s", failure)
                facts["detail"] = failure.detail
            known = doubt is not None and isinstance(failure, NeedsFetch)
            failed = doubt.refusal if doubt and known else refusal_from_directory(failure)
            return self._refused(failed, request, now, exchange, facts, tunnel)
        # The one boundary: a bug must not take the worker down.
        except Exception as error:  # noqa: BLE001
            self.internal_errors += 1
            # The places, not the text: the text of an exception may quote the message or a key.
            places = "".join(traceback.format_tb(error.__traceback__))
            name = type(error).__name__
            log.error("bug: %s escaped the %s exchange\n%s", name, exchange, places)
            facts["internal_error"] = True
            bug = KdcError(ErrorCode.KRB_ERR_GENERIC, "internal error")
            return self._refused(bug, request, now, exchange, facts, tunnel)

    def _sized(
        self, reply: bytes, peer: Peer, now: datetime, exchange: str, facts: dict[str, object]
    ) -> Outcome:
        """Give a ticket's reply out, or over UDP a RESPONSE_TOO_BIG when it is too large.

        The reply stays in the retransmit memory, so the same packet by TCP gets it: the detour
        consumes nothing.
        """
        limit = self.realm.config.max_dgram_reply_size
        if peer.transport == "udp" and len(reply) > limit:
            refusal = KdcError(
                ErrorCode.KRB_ERR_RESPONSE_TOO_BIG, "the reply is larger than a datagram may be"
            )
            return self._refused(refusal, None, now, exchange, facts)
        return Outcome(reply=reply, exchange=exchange, code=0, why="", reference="", facts=facts)

    def _refused(
        self,
        refusal: KdcError,
        request: KdcReq | None,
        now: datetime,
        exchange: str,
        facts: dict[str, object],
        tunnel: Tunnel | None = None,
        sealed: SealedRefusal | None = None,
    ) -> Outcome:
        self.realm.stages.enter("refuse")
        realm = self.realm.config.realm
        # 25 and 52 are steps of a working logon, not refusals anybody asks about.
        routine = refusal.code in (
            ErrorCode.KDC_ERR_PREAUTH_REQUIRED,
            ErrorCode.KRB_ERR_RESPONSE_TOO_BIG,
        )
        reference = "" if routine else self._reference()
        sname = request.req_body.sname if request is not None else None
        if sname is None or sum(map(len, sname.name_string)) > MAX_ECHOED_NAME_CHARS:
            sname = PrincipalName(name_type=NameType.SRV_INST, name_string=("krbtgt", realm))
        if exchange == "kpasswd":
            sname = SERVICE_NAME
        error = KrbError(
            pvno=PVNO,
            msg_type=MessageType.KRB_ERROR,
            ctime=None,
            cusec=None,
            stime=now,
            susec=now.microsecond,
            error_code=refusal.code,
            crealm=None,
            cname=None,
            realm=realm,
            sname=sname,
            e_text=f"{refusal.code.name} [ref {reference}]" if reference else None,
            e_data=refusal.e_data,
        )
        if tunnel is not None:
            error = fast_error(error, tunnel, self.realm.entropy)
        facts.update(refusal.facts)
        if sealed is not None:
            reply = sealed.reply(reference)
        elif exchange == "kpasswd":
            reply = error_frame(refusal, error)
        else:
            reply = asn1.encode(error)
        return Outcome(
            reply=reply,
            exchange=exchange,
            code=int(refusal.code),
            why=refusal.why,
            reference=reference,
            facts=facts,
        )

    def _reference(self) -> str:
        # The last letters of the alphabet come up a little less often; nothing depends on it.
        octets = self.realm.entropy(4)
        return "".join(REFERENCE_ALPHABET[o % len(REFERENCE_ALPHABET)] for o in octets)
