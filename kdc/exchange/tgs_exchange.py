"""The TGS exchange (RFC 4120 3.3): the straight line from a decoded TGS-REQ to the TGS-REP."""

from datetime import datetime

from kdc.errors import KdcError
from kdc.exchange.fast import Arrival, Tunnel, fast_value
from kdc.exchange.principals import check_realm, name_text
from kdc.exchange.realm import Realm
from kdc.exchange.tgs_decide import decide_tgs
from kdc.exchange.tgs_issue import issue_tgs_rep
from kdc.exchange.tgs_open import check_unused, open_tgs_req, remember_authenticator
from kdc.wire.constants import PVNO, ErrorCode, MessageType
from kdc.wire.rfc4120 import KdcReqBody, TgsReq


def answer_tgs_req(
    request: TgsReq,
    realm: Realm,
    address: str,
    now: datetime,
    packet: bytes,
    facts: dict[str, object],
    tunnel: Tunnel,
) -> bytes:
    """Answer a TGS-REQ with the DER of a TGS-REP.

    address: the sender's IP address in text form. packet: SHA-256 of the whole packet.
    facts: the audit trail, filled as far as the request gets. tunnel: opened here, if the request
    brings one.
    Raises KdcError with the code of the first check that fails; PkiError for a part that is not
    DER; DirectoryError when the store cannot be read.
    """
    _note(request.req_body, facts)
    if request.pvno != PVNO:
        raise KdcError(ErrorCode.KDC_ERR_BAD_PVNO, "the protocol version is not 5")
    if request.msg_type != MessageType.TGS_REQ:
        raise KdcError(ErrorCode.KRB_AP_ERR_MSG_TYPE, "msg-type does not match the message")
    fast = fast_value(request.padata)
    if fast is None:
        check_realm(request.req_body, realm.config)
    arrival = Arrival(realm=realm, address=address, now=now, facts=facts, tunnel=tunnel)
    opened = open_tgs_req(request, fast, arrival)
    facts["client"] = name_text(opened.tgt.part.cname)
    if fast is not None:
        _note(opened.body, facts)
        check_realm(opened.body, realm.config)
    realm.stages.enter("policy")
    if opened.tgt.read_only_dc is not None:
        check_unused(opened, realm, now, packet)
    grant = decide_tgs(opened, realm, now, facts)
    realm.stages.enter("memory")
    remember_authenticator(opened, realm, now, packet)
    facts["etype"] = int(grant.sealing.key.enctype)
    facts["session_etype"] = int(grant.session_etype)
    realm.stages.enter("seal")
    return issue_tgs_rep(grant, opened, realm, now)


def _note(body: KdcReqBody, facts: dict[str, object]) -> None:
    facts["realm"] = body.realm
    facts["service"] = name_text(body.sname)
    facts["kdc_options"] = f"0x{body.kdc_options:08x}"
