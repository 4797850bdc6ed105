"""FAST, the KDC's side (RFC 6113 5.4): from an armored request to the request inside its tunnel.

Rules
  1. What the outer request says is not looked at once the tunnel is open (5.4.5): not its body, not
     its padata but PA-FX-FAST, and PA-TGS-REQ in a TGS-REQ. The req-checksum binds the two.
  2. An armor ticket is a TGT of this realm whose account could get a ticket with it today: one
     that is expired, revoked, or without the PAC it should have armors nothing (row T01); nor does
     a read-only DC's, whose key others hold (row X09). It may be marked as good for armor only.
  3. The armor's authenticator is not remembered: a client uses one for all messages of a
     conversation. What is inside, a challenge or an AuthPack, is.
  4. From the moment the armor key is known, refusals go back through the tunnel (`core`); until
     then they are plain, and the client must doubt them.
"""

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
from kdc.crypto.rfc6113 import explicit_tgs_armor_key, ticket_armor_key
from kdc.errors import KdcError, refusal_from_pki
from kdc.exchange.authenticator import (
    check_address,
    check_time,
    decode_ap_req,
    open_authenticator,
    subkey_of,
)
from kdc.exchange.realm import Realm
from kdc.exchange.requester import verify_requester
from kdc.exchange.tgt import open_tgt
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import AsReq, PaData, TgsReq
from kdc.wire.rfc6113 import (
    FX_FAST_ARMOR_AP_REQUEST,
    FastOption,
    KrbFastArmor,
    KrbFastArmoredReq,
    KrbFastReq,
    decode_pa_fx_fast_request,
)
from pki import asn1
from pki.errors import PkiError

_FX_FAST = int(PaType.FX_FAST)
_KNOWN_CRITICAL = FastOption.HIDE_CLIENT_NAMES


@dataclass(slots=True)
class Tunnel:
    """The FAST tunnel of one request. `core` makes it; it is shut until the armor is open."""

    armor_key: ProtocolKey | None = None
    """None: the request has no armor, or none that could be opened."""
    nonce: int = 0
    hide_client: bool = False
    """The reply and its errors name WELLKNOWN/ANONYMOUS in the clear."""


@dataclass(slots=True, kw_only=True)
class Arrival:
    """How a request came, as far as an armor ticket must fit it."""

    realm: Realm
    address: str
    """The sender's IP address in text form."""
    now: datetime
    facts: dict[str, object]
    """The audit trail."""
    tunnel: Tunnel


def fast_value(padata: tuple[PaData, ...] | None) -> bytes | None:
    """Return the value of a request's PA-FX-FAST; None: it has none.

    Raises KdcError: KDC_ERR_PREAUTH_FAILED for two of them.
    """
    found = None
    for pa in padata or ():
        if pa.padata_type == _FX_FAST:
            if found is not None:
                raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, "PA-FX-FAST twice")
            found = pa.padata_value
    return found


def open_fast_as_req(request: AsReq, value: bytes, arrival: Arrival) -> AsReq:
    """Open the tunnel of an AS-REQ and return the request inside.

    value: DER of PA-FX-FAST-REQUEST. `raw` of what is returned is the outer message: what the
    RFC 8636 KDF and PA-REQ-ENC-PA-REP cover, as MIT's and Heimdal's clients have it.
    Raises KdcError: KDC_ERR_PREAUTH_FAILED (no armor, or of an unknown type), those of an armor
    ticket, KRB_AP_ERR_BAD_INTEGRITY, KRB_AP_ERR_MODIFIED, KDC_ERR_POLICY (form of the checksum),
    KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS.
    """
    armored = _decode(value)
    if armored.armor is None:
        raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, "a FAST AS-REQ without an armor")
    armor_key = _open_armor(armored.armor, arrival)
    body = request.req_body
    inner = _open_inner(armored, armor_key, body.raw, body.nonce, arrival.tunnel)
    made = AsReq(
        pvno=request.pvno,
        msg_type=request.msg_type,
        padata=inner.padata,
        req_body=inner.req_body,
    )
    made.raw = request.raw
    return made


def open_fast_tgs_req(
    request: TgsReq,
    value: bytes,
    ap_req: bytes,
    subkey: ProtocolKey | None,
    session_key: ProtocolKey,
    arrival: Arrival,
) -> TgsReq:
    """Open the tunnel of a TGS-REQ whose PA-TGS-REQ is proven, and return the request inside.

    value: DER of PA-FX-FAST-REQUEST. ap_req: DER of the PA-TGS-REQ's AP-REQ, as received.
    subkey, session_key: that AP-REQ's. An armor ticket besides is Windows' compound identity: the
    device's TGT takes part in the armor key, and in nothing else.
    Raises KdcError as `open_fast_as_req`, and KDC_ERR_PREAUTH_FAILED without a subkey.
    """
    armored = _decode(value)
    if subkey is None:
        raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, "a FAST TGS-REQ without a subkey")
    # DEVIATION: RFC 6113 5.4.1.1 says "this armor type is only valid for AS requests"; we accept
    # it in a TGS-REQ too, because Windows' clients send it for compound identity (MS-KILE
    # 3.2.5.4). MIT's KDC answers 24.
    if armored.armor is None:
        armor_key = ticket_armor_key(subkey, session_key)
    else:
        armor_key = explicit_tgs_armor_key(_open_armor(armored.armor, arrival), subkey)
    inner = _open_inner(armored, armor_key, ap_req, request.req_body.nonce, arrival.tunnel)
    made = TgsReq(
        pvno=request.pvno,
        msg_type=request.msg_type,
        padata=inner.padata,
        req_body=inner.req_body,
    )
    made.raw = request.raw
    return made


def _decode(value: bytes) -> KrbFastArmoredReq:
    try:
        return decode_pa_fx_fast_request(value)
    except PkiError as error:
        raise refusal_from_pki(error, "PA-FX-FAST") from None


def _open_armor(armor: KrbFastArmor, arrival: Arrival) -> ProtocolKey:
    """Open FX_FAST_ARMOR_AP_REQUEST and return its armor key (RFC 6113 5.4.1.1)."""
    realm, now = arrival.realm, arrival.now
    if armor.armor_type != FX_FAST_ARMOR_AP_REQUEST:
        raise KdcError(
            ErrorCode.KDC_ERR_PREAUTH_FAILED,
            "the FAST armor is of an unknown type",
            armor_type=armor.armor_type,
        )
    try:
        ap_req = decode_ap_req(armor.armor_value)
    except PkiError as error:
        raise refusal_from_pki(error, "the FAST armor") from None
    tgt = open_tgt(ap_req.ticket, realm, now)
    if tgt.read_only_dc is not None:
        raise KdcError(
            ErrorCode.KDC_ERR_TGT_REVOKED,
            "a read-only DC's TGT armors nothing",
            read_only_dc=tgt.read_only_dc.number,
        )
    authenticator = open_authenticator(
        ap_req.authenticator, KeyUsage.AP_REQ_AUTHENTICATOR, tgt, realm
    )
    check_time(authenticator.ctime, realm, now)
    check_address(tgt.part.caddr, arrival.address)
    subkey = subkey_of(authenticator)
    if subkey is None:
        raise KdcError(ErrorCode.KDC_ERR_POLICY, "the FAST armor's authenticator has no subkey")
    try:
        owner = verify_requester(tgt, realm, now)
    except KdcError as refusal:
        # An NTSTATUS would be taken for the client's own state: it speaks of the armor's account.
        refusal.e_data = None
        raise
    arrival.facts["fast_armor"] = owner.account.sam_account_name
    return ticket_armor_key(subkey, tgt.session_key)


def _open_inner(
    armored: KrbFastArmoredReq, armor_key: ProtocolKey, covered: bytes, nonce: int, tunnel: Tunnel
) -> KrbFastReq:
    """Open enc-fast-req and check that it belongs to the outer message.

    covered: what the req-checksum is taken over, as received. nonce: the outer request's, for the
    errors until the inner one is known.
    """
    tunnel.armor_key, tunnel.nonce = armor_key, nonce
    try:
        plain = decrypt(armor_key, KeyUsage.FAST_ENC, armored.enc_fast_req.cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "enc-fast-req does not open with the armor key"
        ) from None
    try:
        inner = asn1.decode(KrbFastReq, plain)
    except PkiError as error:
        raise refusal_from_pki(error, "KrbFastReq") from None
    tunnel.nonce = inner.req_body.nonce
    options = inner.fast_options
    tunnel.hide_client = bool(options & FastOption.HIDE_CLIENT_NAMES)
    _check_binding(armored, armor_key, covered)
    if options & FastOption.CRITICAL & ~_KNOWN_CRITICAL:
        raise KdcError(
            ErrorCode.KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS,
            "a critical FAST option that we do not know",
            fast_options=f"0x{options:08x}",
        )
    if fast_value(inner.padata) is not None:
        raise KdcError(ErrorCode.KDC_ERR_PREAUTH_FAILED, "FAST inside FAST")
    return inner


def _check_binding(armored: KrbFastArmoredReq, armor_key: ProtocolKey, covered: bytes) -> None:
    """Check that the tunnel belongs to the outer request: KDC_ERR_POLICY, KRB_AP_ERR_MODIFIED."""
    checksum = armored.req_checksum
    if checksum.cksumtype != CHECKSUM_TYPES[armor_key.enctype]:
        raise KdcError(
            ErrorCode.KDC_ERR_POLICY,
            "the req-checksum is not of the armor key's type",
            cksumtype=checksum.cksumtype,
        )
    try:
        verify_checksum(armor_key, KeyUsage.FAST_REQ_CHKSUM, covered, checksum.checksum)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_MODIFIED, "the FAST request was made for another outer request"
        ) from None
