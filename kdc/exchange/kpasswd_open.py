"""Opening a request of kpasswd: the frame, the AP-REQ, the KRB-PRIV (RFC 3244 2).

Rules
  1. Nothing that a server sends is answered: an AP-REP, a frame without an AP-REQ (CVE-2002-2443).
  2. The ticket is for kadmin/changepw, sealed with one of its own keys, and lives minutes. A TGT or
     another service's ticket does not open, whatever it is called.
  3. The KRB-PRIV is sealed with the authenticator's subkey, which binds the two together; the
     authenticator is used up before what is in the KRB-PRIV is looked at.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from directory.model import PrincipalKey, Sid, match_key
from kdc.crypto.etypes import CryptoError, EncType, KeyUsage, ProtocolKey, decrypt
from kdc.errors import Discard, KdcError
from kdc.exchange.authenticator import (
    check_address,
    check_time,
    check_unforgotten,
    decode_ap_req,
    open_authenticator,
    subkey_of,
    used_before,
)
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.pac_facts import refusal_from_pac
from kdc.exchange.principals import (
    PASSWORD_SERVICE,
    PASSWORD_SERVICE_NAME,
    is_our_realm,
    is_password_service,
)
from kdc.exchange.realm import Realm
from kdc.pac import PacError, parse_pac, split_ticket, verify_pac
from kdc.policy import PASSWORD_TICKET_LIFE_S, end_of_ticket, start_of
from kdc.wire.constants import PVNO, ErrorCode, MessageType, TicketFlag
from kdc.wire.rfc3244 import CHANGE_PASSWORD, SET_PASSWORD, Frame, decode_frame
from kdc.wire.rfc4120 import Authenticator, EncKrbPrivPart, EncTicketPart, KrbPriv, Ticket
from pki import asn1
from pki.errors import PkiError

_AP_REP = 0x60 | MessageType.AP_REP


@dataclass(slots=True, kw_only=True)
class OpenChange:
    """A request whose sender holds the session key of a ticket for kadmin/changepw."""

    version: int
    ticket: OpenTgt
    authenticator: Authenticator
    subkey: ProtocolKey
    """The client's choice; request and reply are sealed with it."""
    private: bytes
    """KRB-PRIV, unopened."""
    user_sid: Sid | None
    """The SID in the ticket's PAC; None: it has no PAC."""


def read_frame(message: bytes) -> Frame:
    """Take a request apart.

    Raises Discard for what a server sends; KdcError: KRB_AP_ERR_MODIFIED, KDC_ERR_BAD_PVNO (the
    codes of MIT's server; RFC 3244 names none).
    """
    frame = decode_frame(message)
    if frame is None:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_MODIFIED, "the lengths in a password change do not fit its size"
        )
    if not frame.ap or frame.ap[0] == _AP_REP:
        raise Discard("an answer, not a request to change a password")
    if frame.version not in (CHANGE_PASSWORD, SET_PASSWORD):
        raise KdcError(
            ErrorCode.KDC_ERR_BAD_PVNO,
            "the version of the password protocol is not known",
            kpasswd_version=frame.version,
        )
    return frame


def open_change(
    frame: Frame, realm: Realm, address: str, now: datetime, packet: bytes
) -> OpenChange:
    """Open ticket and authenticator, and use the authenticator up.

    address: the sender's IP address in text form. packet: SHA-256 of the whole packet.
    Raises KdcError: those of `kdc.exchange.authenticator`, KRB_AP_ERR_NOT_US,
    KRB_AP_ERR_BADKEYVER, KRB_AP_ERR_BAD_INTEGRITY, KDC_ERR_ETYPE_NOSUPP, KRB_AP_ERR_TKT_NYV,
    KRB_AP_ERR_TKT_EXPIRED, KRB_AP_ERR_NOKEY (no subkey), KRB_AP_ERR_REPEAT; PkiError.
    """
    ap_req = decode_ap_req(frame.ap)
    ticket, sid = _open_ticket(ap_req.ticket, realm, now)
    sealed = ap_req.authenticator
    authenticator = open_authenticator(sealed, KeyUsage.AP_REQ_AUTHENTICATOR, ticket, realm)
    check_time(authenticator.ctime, realm, now)
    check_unforgotten(authenticator.ctime, realm, now)
    check_address(ticket.part.caddr, address)
    subkey = subkey_of(authenticator)
    if subkey is None:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_NOKEY, "the authenticator of a password change has no subkey"
        )
    digest = hashlib.sha256(b"kpasswd authenticator:" + sealed.cipher).digest()
    if not realm.replay.remember(digest, ctime=authenticator.ctime, now=now, packet=packet):
        raise used_before()
    return OpenChange(
        version=frame.version,
        ticket=ticket,
        authenticator=authenticator,
        subkey=subkey,
        private=frame.rest,
        user_sid=sid,
    )


def _open_ticket(ticket: Ticket, realm: Realm, now: datetime) -> tuple[OpenTgt, Sid | None]:
    """Open a ticket for kadmin/changepw; return it with the SID of its PAC."""
    if ticket.tkt_vno != PVNO:
        raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the ticket's version is not 5")
    if tuple(map(match_key, ticket.sname.name_string)) != PASSWORD_SERVICE or not is_our_realm(
        ticket.realm, realm.config
    ):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_NOT_US, "the ticket is not for the password service of this realm"
        )
    key = realm.service_keys.ready(_sealing_key(ticket, realm))
    try:
        plain = decrypt(key, KeyUsage.TICKET, ticket.enc_part.cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
            "the ticket does not open with the key of the password service",
        ) from None
    part = asn1.decode(EncTicketPart, plain)
    try:
        session_key = ProtocolKey(EncType(part.key.keytype), part.key.keyvalue)
    except (ValueError, CryptoError):
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP, "the session key is of a type we do not use"
        ) from None
    _check_validity(part, realm, now)
    sid = _requester_sid(plain, key, realm)
    return OpenTgt(part=part, session_key=session_key, sealing_key=key), sid


def _sealing_key(ticket: Ticket, realm: Realm) -> PrincipalKey:
    account = realm.directory.account_by_spn(PASSWORD_SERVICE_NAME)
    usable = account is not None and is_password_service(account)
    for key in account.keys if account is not None and usable else ():
        if (key.kvno, key.etype) == (ticket.enc_part.kvno, ticket.enc_part.etype):
            return key
    raise KdcError(
        ErrorCode.KRB_AP_ERR_BADKEYVER,
        "the ticket is sealed with a key that the password service has not",
    )


def _check_validity(part: EncTicketPart, realm: Realm, now: datetime) -> None:
    if not is_our_realm(part.crealm, realm.config):
        raise KdcError(
            ErrorCode.KDC_ERR_PATH_NOT_ACCEPTED, "a client of another realm has no password here"
        )
    skew = timedelta(seconds=realm.config.clockskew_s)
    if part.flags & TicketFlag.INVALID or start_of(part) > now + skew:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_TKT_NYV, "the ticket for the password service is not valid yet"
        )
    # As issued, or sooner: a stolen key of the service lets others write any end.
    if now >= end_of_ticket(part, PASSWORD_TICKET_LIFE_S):
        raise KdcError(
            ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "the ticket for the password service has expired"
        )


def _requester_sid(plain: bytes, key: ProtocolKey, realm: Realm) -> Sid | None:
    """Return the user's SID from the ticket's PAC, its signatures verified; None without one."""
    try:
        found = split_ticket(plain)
        if found.pac is None:
            return None
        krbtgt = tuple(realm.service_keys.ready(k) for k in realm.directory.krbtgt().keys)
        pac = verify_pac(
            parse_pac(found.pac), server_key=key, krbtgt_keys=krbtgt, ticket=found.signed
        )
    except PacError as error:
        raise refusal_from_pac(error) from None
    return pac.logon_info.sid


def open_private(change: OpenChange, realm: Realm, now: datetime) -> bytes:
    """Open the KRB-PRIV and return its user-data.

    Raises KdcError: KRB_AP_ERR_BADVERSION, KRB_AP_ERR_MSG_TYPE, KRB_AP_ERR_BAD_INTEGRITY,
    KRB_AP_ERR_BADORDER, KRB_AP_ERR_SKEW; KRB_ERR_GENERIC when it is not DER.
    """
    # DEVIATION: RFC 4120 3.4.2: we do not compare s-address with the sender's, because an
    # address translator between the two would end every change. The subkey is the proof.
    try:
        private = asn1.decode(KrbPriv, change.private)
        if private.pvno != PVNO:
            raise KdcError(ErrorCode.KRB_AP_ERR_BADVERSION, "the KRB-PRIV's version is not 5")
        if private.msg_type != MessageType.KRB_PRIV:
            raise KdcError(ErrorCode.KRB_AP_ERR_MSG_TYPE, "msg-type does not match the message")
        plain = decrypt(change.subkey, KeyUsage.KRB_PRIV_ENC_PART, private.enc_part.cipher)
        part = asn1.decode(EncKrbPrivPart, plain)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "the KRB-PRIV does not open with the subkey"
        ) from None
    except PkiError:
        raise KdcError(ErrorCode.KRB_ERR_GENERIC, "the KRB-PRIV is not valid DER") from None
    expected = change.authenticator.seq_number
    if expected is not None and part.seq_number is not None and part.seq_number != expected:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BADORDER, "the KRB-PRIV's sequence number is not the AP-REQ's"
        )
    if part.timestamp is not None:
        skew = timedelta(seconds=realm.config.clockskew_s)
        if abs(now - part.timestamp) > skew:
            raise KdcError(ErrorCode.KRB_AP_ERR_SKEW, "the KRB-PRIV is outside the clock skew")
    return part.user_data
