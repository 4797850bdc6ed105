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
    decode_ap_req,
    open_authenticator,
    subkey_of,
)
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.realm import Realm
from kdc.exchange.tgt import open_tgt
from kdc.wire.constants import AdType, ErrorCode, KdcOption, PaType
from kdc.wire.rfc4120 import (
    AUTHORIZATION_DATA,
    ApReq,
    Authenticator,
    AuthorizationDataElement,
    KdcReqBody,
    TgsReq,
)
from pki import asn1


@dataclass(slots=True, kw_only=True)
class OpenTgsReq:
    """A TGS-REQ whose sender holds the session key of a TGT. Only `open_tgs_req` makes one."""

    body: KdcReqBody
    tgt: OpenTgt
    reply_key: ProtocolKey
    """The authenticator's subkey, else the session key."""
    reply_usage: KeyUsage
    brought: tuple[AuthorizationDataElement, ...]
    """What enc-authorization-data held: the client's own words."""
    authenticator_digest: bytes
    ctime: datetime


def open_tgs_req(request: TgsReq, realm: Realm, address: str, now: datetime) -> OpenTgsReq:
    """Open ticket and authenticator of a TGS-REQ, and check that they belong to this request.

    address: the sender's IP address in text form, compared with the ticket's when it names any.
    Raises KdcError: those of `open_tgt`, KDC_ERR_PADATA_TYPE_NOSUPP (no AP-REQ),
    KRB_AP_ERR_BADVERSION, KRB_AP_ERR_MSG_TYPE, KRB_AP_ERR_BAD_INTEGRITY, KRB_AP_ERR_BADMATCH,
    KRB_AP_ERR_INAPP_CKSUM, KRB_AP_ERR_MODIFIED, KRB_AP_ERR_SKEW, KRB_AP_ERR_BADADDR,
    KDC_ERR_POLICY; PkiError for a part that is not DER.
    """
    ap_req = _find_ap_req(request)
    body = request.req_body
    validating = bool(body.kdc_options & KdcOption.VALIDATE)
    tgt = open_tgt(ap_req.ticket, realm, now, may_be_invalid=validating)
    session_key = tgt.session_key
    sealed = ap_req.authenticator
    authenticator = open_authenticator(sealed, KeyUsage.TGS_REQ_AUTHENTICATOR, tgt, realm)
    _check_body(authenticator, body, session_key, realm)
    check_time(authenticator.ctime, realm, now)
    if authenticator.ctime < realm.replay.oldest_acceptable(now):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_SKEW, "the authenticator is older than the replay memory"
        )
    _check_armor(authenticator, tgt)
    check_address(tgt.part.caddr, address)
    subkey = subkey_of(authenticator)
    return OpenTgsReq(
        body=body,
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
        raise KdcError(ErrorCode.KRB_AP_ERR_REPEAT, "the authenticator was used before")


def _find_ap_req(request: TgsReq) -> ApReq:
    found = [pa.padata_value for pa in request.padata or () if pa.padata_type == PaType.TGS_REQ]
    if len(found) != 1:
        raise KdcError(
            ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP, "a TGS-REQ has one PA-TGS-REQ, with its ticket"
        )
    return decode_ap_req(found[0])


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


def _check_armor(authenticator: Authenticator, tgt: OpenTgt) -> None:
    """Refuse what was made to armor a FAST request: RFC 6113 5.4.1.1 (AD-fx-fast-armor)."""
    for element in (
        *(authenticator.authorization_data or ()),
        *(tgt.part.authorization_data or ()),
    ):
        if element.ad_type == AdType.FX_FAST_ARMOR:
            raise KdcError(
                ErrorCode.KDC_ERR_POLICY, "a ticket or authenticator made for FAST armor only"
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
