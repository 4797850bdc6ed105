"""PA-TGS-REQ: who asks, proven by the session key of the ticket shown (RFC 4120 3.3.2, 5.2.7.1).

Rules
  1. The authenticator's checksum covers the request's body as it arrived, is keyed with the
     session key and of that key's own type. Only a switch lets it be absent.
  2. What is learnt from the message outside ticket and authenticator proves nothing.
  3. The proof is used up by `remember_authenticator`, which comes after every decision: a request
     that policy refuses may be sent again.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    verify_checksum,
)
from kdc.errors import KdcError
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.principals import is_our_realm
from kdc.exchange.realm import Realm
from kdc.exchange.tgt import open_tgt
from kdc.wire.constants import PVNO, AdType, ErrorCode, KdcOption, MessageType, PaType
from kdc.wire.rfc4120 import (
    AUTHORIZATION_DATA,
    ApReq,
    Authenticator,
    AuthorizationDataElement,
    HostAddress,
    KdcReqBody,
    TgsReq,
)
from pki import asn1

IPV4, IPV6 = 2, 24  # address types of RFC 4120 7.5.3


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
    try:
        plain = decrypt(session_key, KeyUsage.TGS_REQ_AUTHENTICATOR, sealed.cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
            "the authenticator does not open with the session key",
        ) from None
    authenticator = asn1.decode(Authenticator, plain)
    _check_names(authenticator, tgt, realm)
    _check_body(authenticator, body, session_key, realm)
    _check_time(authenticator.ctime, realm, now)
    _check_armor(authenticator, tgt)
    if tgt.part.caddr:
        check_address(tgt.part.caddr, address)
    subkey = _subkey(authenticator)
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
    ap_req = asn1.decode(ApReq, found[0])
    if ap_req.pvno != PVNO:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the AP-REQ's version is not 5")
    if ap_req.msg_type != MessageType.AP_REQ:
        raise KdcError(ErrorCode.KRB_AP_ERR_MSG_TYPE, "msg-type does not match the message")
    return ap_req


def _check_names(authenticator: Authenticator, tgt: OpenTgt, realm: Realm) -> None:
    part = tgt.part
    if authenticator.authenticator_vno != PVNO:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the authenticator's version is not 5")
    # The type of a name is a hint and no part of it (RFC 4120 6.2).
    if authenticator.cname.name_string != part.cname.name_string or not is_our_realm(
        authenticator.crealm, realm.config
    ):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BADMATCH, "authenticator and ticket name different clients"
        )


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


def _check_time(ctime: datetime, realm: Realm, now: datetime) -> None:
    if abs(now - ctime) > timedelta(seconds=realm.config.clockskew_s):
        raise KdcError(ErrorCode.KRB_AP_ERR_SKEW, "the authenticator is outside the clock skew")
    if ctime < realm.replay.oldest_acceptable(now):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_SKEW, "the authenticator is older than the replay memory"
        )


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


def check_address(allowed: tuple[HostAddress, ...], address: str) -> None:
    """Compare the sender with the IP addresses of a ticket, if it names any.

    Windows puts a NetBIOS name (type 20) into its requests, which cannot be compared.
    """
    known = [a.address for a in allowed if a.addr_type in (IPV4, IPV6)]
    if known and ipaddress.ip_address(address).packed not in known:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADADDR, "the ticket is for another address")


def _subkey(authenticator: Authenticator) -> ProtocolKey | None:
    subkey = authenticator.subkey
    if subkey is None:
        return None
    try:
        return ProtocolKey(EncType(subkey.keytype), subkey.keyvalue)
    except (ValueError, CryptoError):
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP, "the authenticator's subkey is of a type we do not use"
        ) from None


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
