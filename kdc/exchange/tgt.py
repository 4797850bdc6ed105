"""Opening a TGT of ours, in PA-TGS-REQ or as a second ticket (RFC 4120 3.3.3)."""

from datetime import datetime, timedelta

from directory.model import PrincipalKey, match_key
from kdc.crypto.etypes import CryptoError, EncType, KeyUsage, ProtocolKey, decrypt
from kdc.errors import KdcError
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.principals import KRBTGT, is_our_realm
from kdc.exchange.realm import Realm
from kdc.policy import end_of_tgt
from kdc.wire.constants import PVNO, ErrorCode, TicketFlag
from kdc.wire.rfc4120 import EncTicketPart, Ticket
from pki import asn1


def open_tgt(
    ticket: Ticket, realm: Realm, now: datetime, *, may_be_invalid: bool = False
) -> OpenTgt:
    """Decrypt a TGT and check that it is ours and valid now.

    may_be_invalid: accept the flag INVALID, for validation.
    The names in the clear prove nothing by themselves: they only choose the code of a refusal. A
    ticket for another service is sealed with another key, whatever it is called.
    Raises KdcError: KRB_AP_ERR_BADVERSION, KRB_AP_ERR_NOT_US (another service's ticket),
    KRB_AP_ERR_BADKEYVER, KDC_ERR_ETYPE_NOSUPP, KRB_AP_ERR_BAD_INTEGRITY, KRB_AP_ERR_TKT_NYV,
    KRB_AP_ERR_TKT_EXPIRED, KDC_ERR_PATH_NOT_ACCEPTED (a client of another realm).
    """
    if ticket.tkt_vno != PVNO:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the ticket's version is not 5")
    if not is_tgs_name(ticket, realm):
        raise KdcError(ErrorCode.KRB_AP_ERR_NOT_US, "the ticket is not a TGT of this realm")
    sealing_key = realm.service_keys.ready(_sealing_key(ticket, realm))
    cipher = ticket.enc_part.cipher
    tgt = realm.open_tgts.get(cipher, sealing_key)
    if tgt is None:
        tgt = _decrypt(cipher, sealing_key)
        realm.open_tgts.keep(cipher, tgt)
    _check_validity(tgt.part, realm, now, may_be_invalid)
    return tgt


def _decrypt(cipher: bytes, sealing_key: ProtocolKey) -> OpenTgt:
    try:
        plain = decrypt(sealing_key, KeyUsage.TICKET, cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "the TGT does not open with the krbtgt key"
        ) from None
    part = asn1.decode(EncTicketPart, plain)
    try:
        session_key = ProtocolKey(EncType(part.key.keytype), part.key.keyvalue)
    except (ValueError, CryptoError):
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP, "the TGT's session key is of a type we do not use"
        ) from None
    return OpenTgt(part=part, session_key=session_key, sealing_key=sealing_key)


def is_tgs_name(ticket: Ticket, realm: Realm) -> bool:
    """Tell whether a ticket says that it is for the ticket-granting service of this realm."""
    parts = ticket.sname.name_string
    config = realm.config
    return (
        len(parts) == 2
        and match_key(parts[0]) == KRBTGT
        and is_our_realm(parts[1], config)
        and is_our_realm(ticket.realm, config)
    )


def _sealing_key(ticket: Ticket, realm: Realm) -> PrincipalKey:
    """Find the krbtgt key a ticket says it is sealed with; every generation kept is alive."""
    sealed = ticket.enc_part
    generation = False
    for key in realm.directory.krbtgt().keys:
        if key.kvno == sealed.kvno:
            if key.etype == sealed.etype:
                return key
            generation = True
    if generation:
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP, "the TGT is sealed with a type that krbtgt has not"
        )
    raise KdcError(
        ErrorCode.KRB_AP_ERR_BADKEYVER, "the TGT is sealed with a krbtgt key that is not kept"
    )


def _check_validity(part: EncTicketPart, realm: Realm, now: datetime, may_be_invalid: bool) -> None:
    config = realm.config
    if not is_our_realm(part.crealm, config):
        raise KdcError(ErrorCode.KDC_ERR_PATH_NOT_ACCEPTED, "the TGT's client is of another realm")
    if part.flags & TicketFlag.INVALID and not may_be_invalid:
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_NYV, "the TGT is marked invalid")
    # Another KDC of the realm may have issued it a moment ago by a faster clock. The end is not
    # stretched: a ticket could not be issued past it anyway.
    if (part.starttime or part.authtime) > now + timedelta(seconds=config.clockskew_s):
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_NYV, "the TGT is not valid yet")
    if now >= end_of_tgt(part, config.max_life_s):
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "the TGT has expired")
