"""The AP-REQ (RFC 4120 3.2.1, 5.5.1): a ticket, and an authenticator that its session key opens.

It comes in a PA-TGS-REQ, and as the armor of a FAST request. What each of them demands besides,
stands with it: a checksum of the request and a place in the replay memory in `tgs_open`, a subkey
in `fast`.
"""

import ipaddress
from datetime import datetime, timedelta

from kdc.crypto.etypes import ENC_TYPES, CryptoError, KeyUsage, ProtocolKey, decrypt
from kdc.errors import KdcError
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.principals import is_our_realm
from kdc.exchange.realm import Realm
from kdc.wire.constants import PVNO, ErrorCode, MessageType
from kdc.wire.rfc4120 import ApReq, Authenticator, EncryptedData, HostAddress
from pki import asn1

IPV4, IPV6 = 2, 24  # address types of RFC 4120 7.5.3


def decode_ap_req(value: bytes) -> ApReq:
    """Decode an AP-REQ.

    Raises KdcError: KRB_AP_ERR_BADVERSION, KRB_AP_ERR_MSG_TYPE; PkiError when it is not DER.
    """
    ap_req = asn1.decode(ApReq, value)
    if ap_req.pvno != PVNO:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the AP-REQ's version is not 5")
    if ap_req.msg_type != MessageType.AP_REQ:
        raise KdcError(ErrorCode.KRB_AP_ERR_MSG_TYPE, "msg-type does not match the message")
    return ap_req


def open_authenticator(
    sealed: EncryptedData, usage: KeyUsage, tgt: OpenTgt, realm: Realm
) -> Authenticator:
    """Open an authenticator with its TGT's session key; both must name the same client.

    Raises KdcError: KRB_AP_ERR_BAD_INTEGRITY, KRB_AP_ERR_BADVERSION, KRB_AP_ERR_BADMATCH;
    PkiError when it is not DER.
    """
    try:
        plain = decrypt(tgt.session_key, usage, sealed.cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
            "the authenticator does not open with the session key",
        ) from None
    authenticator = asn1.decode(Authenticator, plain)
    if authenticator.authenticator_vno != PVNO:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the authenticator's version is not 5")
    # The type of a name is a hint and no part of it (RFC 4120 6.2).
    if authenticator.cname.name_string != tgt.part.cname.name_string or not is_our_realm(
        authenticator.crealm, realm.config
    ):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BADMATCH, "authenticator and ticket name different clients"
        )
    return authenticator


def check_time(ctime: datetime, realm: Realm, now: datetime) -> None:
    """Compare an authenticator's time with our clock: KRB_AP_ERR_SKEW."""
    if abs(now - ctime) > timedelta(seconds=realm.config.clockskew_s):
        raise KdcError(ErrorCode.KRB_AP_ERR_SKEW, "the authenticator is outside the clock skew")


def check_unforgotten(ctime: datetime, realm: Realm, now: datetime) -> None:
    """Refuse an authenticator that the replay memory could have forgotten: KRB_AP_ERR_SKEW."""
    if ctime < realm.replay.oldest_acceptable(now):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_SKEW, "the authenticator is older than the replay memory"
        )


def used_before() -> KdcError:
    """Return the refusal of an authenticator that came before, in another packet."""
    return KdcError(ErrorCode.KRB_AP_ERR_REPEAT, "the authenticator was used before")


def check_address(allowed: tuple[HostAddress, ...] | None, address: str) -> None:
    """Compare the sender with the IP addresses of a ticket, if it names any: KRB_AP_ERR_BADADDR.

    Windows puts a NetBIOS name (type 20) into its requests, which cannot be compared.
    """
    known = [a.address for a in allowed or () if a.addr_type in (IPV4, IPV6)]
    if known and ipaddress.ip_address(address).packed not in known:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADADDR, "the ticket is for another address")


def subkey_of(authenticator: Authenticator) -> ProtocolKey | None:
    """Return the key that the client chose, if it chose one: else KDC_ERR_ETYPE_NOSUPP."""
    subkey = authenticator.subkey
    if subkey is None:
        return None
    try:
        return ProtocolKey(ENC_TYPES[subkey.keytype], subkey.keyvalue)
    except (KeyError, CryptoError):
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP, "the authenticator's subkey is of a type we do not use"
        ) from None
