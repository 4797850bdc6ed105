"""Opening a TGT, in PA-TGS-REQ or as a second ticket (RFC 4120 3.3.3).

The kvno tells whose krbtgt key seals it: 1 to 65535 are our own; a number in its upper half is that
of a read-only DC, or of the cloud (MS-KILE 3.1.5.8). Neither ever opens what names the other.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from directory.model import MAX_OWN_KVNO, PrincipalKey, match_key
from kdc.crypto.etypes import CryptoError, EncType, KeyUsage, ProtocolKey, decrypt
from kdc.errors import KdcError
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.principals import KRBTGT, is_our_realm
from kdc.exchange.realm import Realm
from kdc.policy import end_of_ticket, start_of
from kdc.wire.constants import PVNO, ErrorCode, TicketFlag
from kdc.wire.rfc4120 import NOT_TRANSITED, EncTicketPart, Ticket
from pki import asn1

NOT_FROM_READ_ONLY_DC = (
    TicketFlag.HW_AUTHENT
    | TicketFlag.ANONYMOUS
    | TicketFlag.OK_AS_DELEGATE
    | TicketFlag.MAY_POSTDATE
)
"""Flags that mean nothing in a partial TGT."""


def open_tgt(
    ticket: Ticket, realm: Realm, now: datetime, *, may_be_invalid: bool = False
) -> OpenTgt:
    """Decrypt a TGT and check that it is ours, or a read-only DC's, and valid now.

    may_be_invalid: accept the flag INVALID, for validation.
    The names in the clear prove nothing by themselves: they only choose the code of a refusal. A
    ticket for another service is sealed with another key, whatever it is called.
    Raises KdcError: KRB_AP_ERR_BADVERSION, KRB_AP_ERR_NOT_US (another service's ticket),
    KRB_AP_ERR_BADKEYVER, KDC_ERR_ETYPE_NOSUPP, KRB_AP_ERR_BAD_INTEGRITY, KRB_AP_ERR_TKT_NYV,
    KRB_AP_ERR_TKT_EXPIRED, KDC_ERR_PATH_NOT_ACCEPTED (a client of another realm),
    KDC_ERR_S_PRINCIPAL_UNKNOWN (of a read-only DC that is not there).
    """
    if ticket.tkt_vno != PVNO:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the ticket's version is not 5")
    if not _is_tgs_name(ticket, realm):
        raise KdcError(ErrorCode.KRB_AP_ERR_NOT_US, "the ticket is not a TGT of this realm")
    kvno = ticket.enc_part.kvno
    if kvno is not None and not 0 <= kvno <= MAX_OWN_KVNO:
        return _open_partial_tgt(ticket, kvno, realm, now, may_be_invalid)
    sealing_key = realm.service_keys.ready(_sealing_key(ticket, realm))
    cipher = ticket.enc_part.cipher
    tgt = realm.open_tgts.get(cipher, sealing_key)
    if tgt is None:
        tgt = _decrypt(cipher, sealing_key)
        realm.open_tgts.keep(cipher, tgt)
    _check_validity(tgt.part, realm, now, may_be_invalid)
    return tgt


def _open_partial_tgt(
    ticket: Ticket, kvno: int, realm: Realm, now: datetime, may_be_invalid: bool
) -> OpenTgt:
    """Open a TGT that a read-only DC sealed, by whichever of its living keys.

    kvno: as it came, Int32 or UInt32. Its lower half decides nothing: the cloud's is a number of
    its own, and other makers write 0.
    Raises KdcError as `open_tgt`. What is found here is about the ticket, not yet about its client.
    """
    number = (kvno & 0xFFFFFFFF) >> 16
    dc = realm.directory.read_only_dc(number)
    if dc is None:
        raise KdcError(
            ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN,
            "no read-only DC has the number in the TGT's kvno",
            read_only_dc=number,
        )
    sealed = ticket.enc_part
    for key in dc.krbtgt.living_keys():
        if key.etype != sealed.etype:
            continue
        sealing_key = realm.service_keys.ready(key)
        try:
            plain = decrypt(sealing_key, KeyUsage.TICKET, sealed.cipher)
        except CryptoError:
            continue
        tgt = _read(plain, sealing_key)
        break
    else:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
            "the TGT does not open with a key of its read-only DC",
            read_only_dc=number,
        )
    tgt.read_only_dc = dc
    # What such a ticket claims about its own making is not ours to repeat.
    tgt.part = replace(
        tgt.part, flags=tgt.part.flags & ~NOT_FROM_READ_ONLY_DC, transited=NOT_TRANSITED
    )
    _check_validity(tgt.part, realm, now, may_be_invalid)
    if tgt.part.authtime > now + timedelta(seconds=realm.config.clockskew_s):
        # Else it could be renewed long after its maker's key was changed.
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_NYV, "the TGT is not valid yet")
    return tgt


def _decrypt(cipher: bytes, sealing_key: ProtocolKey) -> OpenTgt:
    try:
        plain = decrypt(sealing_key, KeyUsage.TICKET, cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "the TGT does not open with the krbtgt key"
        ) from None
    return _read(plain, sealing_key)


def _read(plain: bytes, sealing_key: ProtocolKey) -> OpenTgt:
    part = asn1.decode(EncTicketPart, plain)
    try:
        session_key = ProtocolKey(EncType(part.key.keytype), part.key.keyvalue)
    except (ValueError, CryptoError):
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP, "the TGT's session key is of a type we do not use"
        ) from None
    return OpenTgt(part=part, session_key=session_key, sealing_key=sealing_key)


def _is_tgs_name(ticket: Ticket, realm: Realm) -> bool:
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
    if start_of(part) > now + timedelta(seconds=config.clockskew_s):
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_NYV, "the TGT is not valid yet")
    if now >= end_of_ticket(part, config.max_life_s):
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "the TGT has expired")
