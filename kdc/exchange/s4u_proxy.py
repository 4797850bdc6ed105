"""S4U2Proxy: a service asks for a ticket to another one in a user's name (MS-SFU 3.2.5.2).

Rules
  1. The evidence is a ticket for the service that asks, sealed with a long-term key of its own.
     The service can write such a ticket itself: what it says counts only because the ticket and
     the full signature in its PAC, which need a key of krbtgt, cover every octet of it
     (CVE-2020-17049 "Bronze bit", CVE-2022-37967). A ticket without a PAC proves nothing.
  2. The user is judged as at a logon, and must be the account of the PAC's SID.
  3. The evidence is forwardable, and the user one who may be delegated.
  4. The service asked for stands in msDS-AllowedToDelegateTo of the one that asks; or, when the
     client says that it knows this form, the descriptor on the service asked for lets it act.
  5. The ticket lasts no longer than the evidence, and its PAC names every service in between.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from directory.model import Account, PrincipalKey, Sid, match_key
from directory.security_descriptor import SecurityDescriptorError, parse_security_descriptor
from kdc.crypto.etypes import CryptoError, KeyUsage, decrypt
from kdc.errors import KdcError
from kdc.exchange.authorization_data import take_apart
from kdc.exchange.pac_facts import pac_facts, refusal_from_pac
from kdc.exchange.principals import Named, is_our_realm, name_text
from kdc.exchange.realm import Realm
from kdc.exchange.requester import (
    Requester,
    TicketClient,
    account_of,
    check_keys_remain,
    is_delegable,
)
from kdc.exchange.services import account_of_service
from kdc.exchange.tgs_open import OpenTgsReq
from kdc.pac import (
    PAC_WAS_GIVEN_IMPLICITLY,
    Carried,
    DelegationInfo,
    PacError,
    parse_pac,
    split_ticket,
    verify_pac,
)
from kdc.pac.buffers import MAX_TRANSITED
from kdc.policy import check_account_state, end_of_ticket, start_of
from kdc.wire.constants import PVNO, ErrorCode, TicketFlag
from kdc.wire.ms_kile import NtStatus, PacOption, extended_error
from kdc.wire.rfc4120 import EncTicketPart, Ticket
from pki import asn1

EVERYONE = Sid(1, (0,))
AUTHENTICATED_USERS = Sid(5, (11,))


def speak_by_evidence(
    opened: OpenTgsReq,
    requester: Requester,
    target: Named,
    pac_options: int,
    realm: Realm,
    now: datetime,
    facts: dict[str, object],
) -> TicketClient:
    """Decide whether a service gets a ticket to another one in the name of the evidence's client.

    pac_options: of the request's PA-PAC-OPTIONS, 0 without one. facts: the audit trail.
    Raises KdcError: KDC_ERR_BADOPTION, KRB_AP_ERR_BADKEYVER, KDC_ERR_ETYPE_NOSUPP,
    KRB_AP_ERR_BAD_INTEGRITY, KDC_ERR_PATH_NOT_ACCEPTED, KRB_AP_ERR_TKT_NYV,
    KRB_AP_ERR_TKT_EXPIRED, those of `refusal_from_pac`, KDC_ERR_TGT_REVOKED, those of
    `check_account_state`, KDC_ERR_POLICY.
    """
    facts["s4u"] = "proxy"
    tickets = opened.body.additional_tickets
    if not tickets:
        raise KdcError(ErrorCode.KDC_ERR_BADOPTION, "S4U2Proxy without an evidence ticket")
    evidence = tickets[0]
    service = requester.account
    part, carried, sid = _open_evidence(evidence, service, realm, now)
    facts["s4u_user"] = name_text(part.cname)
    user = account_of(part.cname, realm.directory)
    if user is None or sid is None or user.sid != sid:
        raise KdcError(
            ErrorCode.KDC_ERR_TGT_REVOKED, "the evidence ticket is of an account that is not there"
        )
    facts["s4u_account"] = user.sam_account_name
    check_account_state(user, now)
    check_keys_remain(carried, user, realm.directory)
    if not part.flags & TicketFlag.FORWARDABLE:
        raise _restricted("the evidence ticket is not forwardable")
    if not is_delegable(user, realm):
        raise _restricted("the user may not be delegated")
    facts["delegation"] = _allowed_by(requester, target, pac_options, realm)
    transited = () if carried.delegation is None else carried.delegation.transited
    if len(transited) >= MAX_TRANSITED:
        raise KdcError(ErrorCode.KDC_ERR_POLICY, "too many services in a chain of delegation")
    transited += (f"{name_text(evidence.sname)}@{realm.config.realm}",)
    facts["transited_services"] = transited
    pac = pac_facts(
        user,
        realm,
        name=name_text(part.cname),
        logon_time=part.authtime,
        asserted=carried.asserted_sids,
        pac_attributes=PAC_WAS_GIVEN_IMPLICITLY,
        delegation=DelegationInfo(proxy_target=name_text(target.name), transited=transited),
    )
    tgt = opened.tgt.part
    max_life_s = realm.config.max_life_s
    return TicketClient(
        account=user,
        name=part.cname,
        pac=pac,
        limits=replace(
            part,
            endtime=min(end_of_ticket(tgt, max_life_s), end_of_ticket(part, max_life_s)),
            renew_till=None,
            transited=tgt.transited,
        ),
        authorization_data=take_apart(part.authorization_data or ()).others,
    )


def _restricted(why: str) -> KdcError:
    return _bad_option(why, NtStatus.ACCOUNT_RESTRICTION)


def _bad_option(why: str, status: int) -> KdcError:
    return KdcError(ErrorCode.KDC_ERR_BADOPTION, why, e_data=extended_error(status))


def _open_evidence(
    ticket: Ticket, service: Account, realm: Realm, now: datetime
) -> tuple[EncTicketPart, Carried, Sid | None]:
    """Open and verify an evidence ticket: rule 1. Also return the SID that its PAC is about."""
    config = realm.config
    owner = (
        account_of_service(ticket.sname, realm.directory, config)
        if is_our_realm(ticket.realm, config) and ticket.tkt_vno == PVNO
        else None
    )
    if owner is None or owner.account_id != service.account_id:
        raise KdcError(
            ErrorCode.KDC_ERR_BADOPTION, "the evidence ticket is not for the service that asks"
        )
    key = realm.service_keys.ready(_evidence_key(ticket, service))
    try:
        plain = decrypt(key, KeyUsage.TICKET, ticket.enc_part.cipher)
    except CryptoError:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
            "the evidence ticket does not open with the service's key",
        ) from None
    part = asn1.decode(EncTicketPart, plain)
    if not is_our_realm(part.crealm, config):
        raise KdcError(
            ErrorCode.KDC_ERR_PATH_NOT_ACCEPTED, "the evidence ticket's client is of another realm"
        )
    _check_validity(part, realm, now)
    keys = realm.service_keys
    krbtgt = [keys.ready(k) for k in realm.directory.krbtgt().keys]
    try:
        found = split_ticket(plain)
        if found.pac is None:
            raise KdcError(ErrorCode.KRB_AP_ERR_MODIFIED, "the evidence ticket has no PAC")
        verified = verify_pac(
            parse_pac(found.pac), server_key=key, krbtgt_keys=krbtgt, ticket=found.signed
        )
    except PacError as error:
        raise refusal_from_pac(error) from None
    return part, verified.carried, verified.logon_info.sid


def _evidence_key(ticket: Ticket, service: Account) -> PrincipalKey:
    sealed = ticket.enc_part
    generation = service.keys_of(sealed.kvno) if sealed.kvno is not None else ()
    for key in generation:
        if key.etype == sealed.etype:
            return key
    if generation:
        raise KdcError(
            ErrorCode.KDC_ERR_ETYPE_NOSUPP,
            "the evidence ticket is sealed with a type that the service has not",
        )
    raise KdcError(
        ErrorCode.KRB_AP_ERR_BADKEYVER,
        "the evidence ticket is sealed with a key that the service has not",
    )


def _check_validity(part: EncTicketPart, realm: Realm, now: datetime) -> None:
    config = realm.config
    skew = timedelta(seconds=config.clockskew_s)
    if part.flags & TicketFlag.INVALID or start_of(part) > now + skew:
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_NYV, "the evidence ticket is not valid yet")
    if now >= end_of_ticket(part, config.max_life_s):
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "the evidence ticket has expired")


def _allowed_by(requester: Requester, target: Named, pac_options: int, realm: Realm) -> str:
    """Find what allows a delegation: rule 4. Return its name for the audit record."""
    allowed = requester.account.allowed_to_delegate_to
    asked = match_key(name_text(target.name))
    # A name without a "/" is an account's and no service's, so it is never in the list.
    if len(target.name.name_string) > 1 and any(match_key(spn) == asked for spn in allowed):
        return "constrained"
    if not pac_options & PacOption.RESOURCE_BASED_CONSTRAINED_DELEGATION:
        if allowed:
            raise _bad_option(
                "the service may not delegate to the one asked for", NtStatus.NO_MATCH
            )
        raise _bad_option("the service may not delegate to any other", NtStatus.NOT_SUPPORTED)
    descriptor = target.account.allowed_to_act
    if descriptor is None:
        raise _bad_option("neither service has the delegation in its list", NtStatus.NOT_FOUND)
    try:
        granted = parse_security_descriptor(descriptor).grants(_sids_of(requester, realm))
    except SecurityDescriptorError:
        raise _bad_option(
            "the list of services that may act for others is not readable", NtStatus.NOT_FOUND
        ) from None
    if not granted:
        raise _bad_option(
            "the service asked for does not let this one act for others", NtStatus.NOT_FOUND
        )
    return "resource-based"


def _sids_of(requester: Requester, realm: Realm) -> tuple[Sid, ...]:
    """List who the requester is in an access check: itself, its groups, and what all are."""
    account = requester.account
    own = () if account.sid is None else (account.sid,)
    asserted = () if requester.pac is None else requester.pac.extra_sids
    groups = realm.directory.groups_of(account.account_id)
    return (*own, *groups, *asserted, EVERYONE, AUTHENTICATED_USERS)
