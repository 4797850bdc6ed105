"""PA-TGS-REQ: who asks, proven by the session key of the ticket shown (RFC 4120 3.3.2, 5.2.7.1).

Rules
  1. The authenticator's checksum covers the request's body as it arrived, is keyed with the
     session key and of that key's own type. Only a switch lets it be absent.
  2. What is learnt from the message outside ticket and authenticator proves nothing.
  3. The proof is used up by `remember_authenticator`, which comes after every decision: a request
     that policy refuses may be sent again.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    CryptoError,
    KeyUsage,
    ProtocolKey,
    decrypt,
    verify_checksum,
)
from kdc.errors import KdcError
from kdc.exchange.authenticator import (
    check_address,
    check_time,
    check_unforgotten,
    decode_ap_req,
    open_authenticator,
    subkey_of,
    used_before,
)
from kdc.exchange.fast import Arrival, Tunnel, open_fast_tgs_req
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.realm import Realm
from kdc.exchange.tgt import open_tgt
from kdc.wire.constants import AdType, ErrorCode, KdcOption, PaType
from kdc.wire.rfc4120 import (
    AUTHORIZATION_DATA,
    Authenticator,
    AuthorizationDataElement,
    KdcReqBody,
    PaData,
    TgsReq,
)
from pki import asn1


@dataclass(slots=True, kw_only=True)
class OpenTgsReq:
    """A TGS-REQ whose sender holds the session key of a TGT. Only `open_tgs_req` makes one."""

    body: KdcReqBody
    """This and the padata are those inside the tunnel, if there is one."""
    padata: tuple[PaData, ...]
    tunnel: Tunnel
    tgt: OpenTgt
    reply_key: ProtocolKey
    """The authenticator's subkey, else the session key."""
    reply_usage: KeyUsage
    brought: tuple[AuthorizationDataElement, ...]
    """What enc-authorization-data held: the client's own words."""
    authenticator_digest: bytes
    ctime: datetime


def open_tgs_req(request: TgsReq, fast: bytes | None, arrival: Arrival) -> OpenTgsReq:
    """Open ticket and authenticator of a TGS-REQ, and check that they belong to this request.

    fast: the value of PA-FX-FAST, if it has one: the tunnel is opened as well.
    Raises KdcError: those of `open_tgt` and `open_fast_tgs_req`, KDC_ERR_PADATA_TYPE_NOSUPP (no
    AP-REQ), KRB_AP_ERR_BADVERSION, KRB_AP_ERR_MSG_TYPE, KRB_AP_ERR_BAD_INTEGRITY,
    KRB_AP_ERR_BADMATCH, KRB_AP_ERR_INAPP_CKSUM, KRB_AP_ERR_MODIFIED, KRB_AP_ERR_SKEW,
    KRB_AP_ERR_BADADDR, KDC_ERR_POLICY; PkiError for a part that is not DER.
    """
    realm, now = arrival.realm, arrival.now
    ap_req_der = _find_ap_req(request)
    ap_req = decode_ap_req(ap_req_der)
    # Which options count is known only when the tunnel is open.
    validating = fast is not None or bool(request.req_body.kdc_options & KdcOption.VALIDATE)
    tgt = open_tgt(ap_req.ticket, realm, now, may_be_invalid=validating)
    session_key = tgt.session_key
    sealed = ap_req.authenticator
    authenticator = open_authenticator(sealed, KeyUsage.TGS_REQ_AUTHENTICATOR, tgt, realm)
    _check_body(authenticator, request.req_body, session_key, realm)
    check_time(authenticator.ctime, realm, now)
    check_unforgotten(authenticator.ctime, realm, now)
    _check_armor(authenticator, tgt, armored=fast is not None)
    check_address(tgt.part.caddr, arrival.address)
    subkey = subkey_of(authenticator)
    if fast is not None:
        request = open_fast_tgs_req(request, fast, ap_req_der, subkey, session_key, arrival)
        validating = bool(request.req_body.kdc_options & KdcOption.VALIDATE)
        tgt = open_tgt(ap_req.ticket, realm, now, may_be_invalid=validating)
    body = request.req_body
    return OpenTgsReq(
        body=body,
        padata=request.padata or (),
        tunnel=arrival.tunnel,
        tgt=tgt,
        reply_key=subkey or session_key,
        reply_usage=KeyUsage.TGS_REP_ENC_PART_SUBKEY
        if subkey
        else KeyUsage.TGS_REP_ENC_PART_SESSION_KEY,
        brought=_authorization_data(body, subkey, session_key),
        authenticator_digest=hashlib.sha256(b"authenticator:" + sealed.cipher).digest(),
        ctime=authenticator.ctime,
    )


def remember_authenticator(opened: OpenTgsReq, realm: Realm, now: datetime, packet: bytes) -> None:
    """Use up an authenticator: KRB_AP_ERR_REPEAT when it was used before, in another packet.

    packet: SHA-256 of the whole packet, so that its retransmission is no replay.
    """
    if not realm.replay.remember(
        opened.authenticator_digest, ctime=opened.ctime, now=now, packet=packet
    ):
        raise used_before()


def check_unused(opened: OpenTgsReq, realm: Realm, now: datetime, packet: bytes) -> None:
    """Refuse an authenticator that was used before, without using it up: KRB_AP_ERR_REPEAT.

    packet: as for `remember_authenticator`, which alone decides about what comes at the same time.
    """
    if realm.replay.seen(opened.authenticator_digest, ctime=opened.ctime, now=now, packet=packet):
        raise used_before()


def _find_ap_req(request: TgsReq) -> bytes:
    """Return the value of a request's PA-TGS-REQ: DER of an AP-REQ."""
    found = [pa.padata_value for pa in request.padata or () if pa.padata_type == PaType.TGS_REQ]
    if len(found) != 1:
        raise KdcError(
            ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP, "a TGS-REQ has one PA-TGS-REQ, with its ticket"
        )
    return found[0]


def _check_body(
    authenticator: Authenticator, body: KdcReqBody, session_key: ProtocolKey, realm: Realm
) -> None:
    checksum = authenticator.cksum
    if checksum is None:
        if realm.config.legacy_tgs_checksum:
            return
        raise KdcError(
            ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
            "the authenticator has no checksum of the request",
            switch="legacy_tgs_checksum",
        )
    if checksum.cksumtype != CHECKSUM_TYPES[session_key.enctype]:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
            "the authenticator's checksum is not of the session key's type",
            cksumtype=checksum.cksumtype,
        )
    try:
        verify_checksum(
            session_key, KeyUsage.TGS_REQ_AUTHENTICATOR_CHECKSUM, body.raw, checksum.checksum
        )
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_MODIFIED, "the authenticator was made for another request"
        ) from None


def _check_armor(authenticator: Authenticator, tgt: OpenTgt, *, armored: bool) -> None:
    """Refuse what is good for armor only, and a FAST request that lost its armor.

    Source: RFC 6113 5.4.1.1 (AD-fx-fast-armor), 5.4.2 (AD-fx-fast-used: KRB_AP_ERR_MODIFIED).
    """
    for element in (
        *(authenticator.authorization_data or ()),
        *(tgt.part.authorization_data or ()),
    ):
        if element.ad_type == AdType.FX_FAST_ARMOR:
            raise KdcError(
                ErrorCode.KDC_ERR_POLICY, "a ticket or authenticator made for FAST armor only"
            )
        if element.ad_type == AdType.FX_FAST_USED and not armored:
            raise KdcError(
                ErrorCode.KRB_AP_ERR_MODIFIED, "the client used FAST, and the request has none"
            )


def _authorization_data(
    body: KdcReqBody, subkey: ProtocolKey | None, session_key: ProtocolKey
) -> tuple[AuthorizationDataElement, ...]:
    """Open enc-authorization-data: sealed with the subkey if there is one (RFC 4120 5.4.1)."""
    sealed = body.enc_authorization_data
    if sealed is None:
        return ()
    try:
        if subkey is not None:
            usage = KeyUsage.TGS_REQ_AUTHORIZATION_DATA_SUBKEY
            plain = decrypt(subkey, usage, sealed.cipher)
        else:
            usage = KeyUsage.TGS_REQ_AUTHORIZATION_DATA_SESSION_KEY
            plain = decrypt(session_key, usage, sealed.cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "the authorization data do not open"
        ) from None
    found: tuple[AuthorizationDataElement, ...] = asn1.decode_as(AUTHORIZATION_DATA, plain)
    return found
