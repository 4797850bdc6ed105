"""What a TGS-REQ gets: the service, its key, the ticket's times and contents (RFC 4120 3.3.3)."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from directory.model import Account, AccountKind
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.errors import KdcError
from kdc.exchange.authorization_data import check_brought
from kdc.exchange.key_list import decide_key_list, wanted_keys
from kdc.exchange.pac_facts import wanted_pac_options
from kdc.exchange.principals import Named, is_password_service
from kdc.exchange.realm import Realm
from kdc.exchange.requester import TicketClient, verify_requester
from kdc.exchange.s4u_proxy import speak_by_evidence
from kdc.exchange.s4u_self import read_for_user, speak_for_user
from kdc.exchange.services import find_target
from kdc.exchange.tgs_open import OpenTgsReq
from kdc.exchange.tgt import open_tgt
from kdc.exchange.ticket import service_key, session_etypes
from kdc.policy import (
    DELEGABLE_FLAGS,
    TicketGrant,
    check_tgs_options,
    choose_etype,
    decide_renewal,
    decide_service_ticket,
    decide_validation,
)
from kdc.wire.constants import ErrorCode, KdcOption, TicketFlag
from kdc.wire.rfc4120 import (
    AuthorizationDataElement,
    EncTicketPart,
    HostAddress,
    KdcReqBody,
    PrincipalName,
)


@dataclass(slots=True, kw_only=True)
class SealingKey:
    """What a ticket is sealed with."""

    key: ProtocolKey
    kvno: int | None
    """None: another ticket's session key (user to user)."""


@dataclass(slots=True, kw_only=True)
class TgsGrant:
    """A ticket that was agreed to. Only `decide_tgs` makes one."""

    client: TicketClient
    service: Account
    sname: PrincipalName
    ticket: TicketGrant
    session_etype: EncType
    sealing: SealingKey
    caddr: tuple[HostAddress, ...] | None
    authorization_data: tuple[AuthorizationDataElement, ...]
    """All but the PAC."""
    pac_options: int
    """Of the request's PA-PAC-OPTIONS; 0 without one."""
    key_list: bytes | None = field(default=None, repr=False)
    """DER of KERB-KEY-LIST-REP: the client's long-term keys; None: it gets none."""


def decide_tgs(
    opened: OpenTgsReq,
    realm: Realm,
    now: datetime,
    facts: dict[str, object],
) -> TgsGrant:
    """Decide on a TGS-REQ whose sender is proven.

    facts: the audit trail. Raises KdcError with the code of the first rule that is broken.
    """
    body = opened.body
    config = realm.config
    options = body.kdc_options
    for_user = read_for_user(opened)
    pac_options = wanted_pac_options(opened.padata)
    asked_keys = wanted_keys(opened.padata)
    limits = opened.tgt.part
    check_tgs_options(options, limits.flags)
    requester = verify_requester(opened.tgt, realm, now)
    facts["account"] = requester.account.sam_account_name
    dc = opened.tgt.read_only_dc
    if dc is not None:
        facts["read_only_dc"] = dc.number
        if for_user is not None:
            raise KdcError(
                ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "S4U2Self with a TGT of a read-only DC"
            )
    if not requester.delegable:
        # The account may have become so after its logon.
        limits = replace(limits, flags=limits.flags & ~DELEGABLE_FLAGS)
        check_tgs_options(options, limits.flags)
    target = find_target(body, realm.directory, config)
    if is_password_service(target.account):
        # Else a TGT left on a screen would change the password (MIT: DISALLOW_TGT_BASED).
        raise KdcError(
            ErrorCode.KDC_ERR_POLICY, "a ticket for the password service is had by a logon only"
        )
    is_tgt = target.account.kind is AccountKind.KRBTGT
    if is_tgt:
        _check_tgt_options(options)
    check_brought(opened.brought)
    if for_user is not None:
        client = speak_for_user(for_user, opened, requester, target, realm, now, facts)
    elif options & KdcOption.CNAME_IN_ADDL_TKT:
        client = speak_by_evidence(opened, requester, target, pac_options, realm, now, facts)
    else:
        client = TicketClient(
            account=requester.account,
            name=requester.name,
            pac=requester.pac,
            limits=limits,
            authorization_data=opened.tgt.others or (),
        )
    # A service that wants no PAC still gets one in what it asks for itself, to show as evidence.
    if target.account.no_auth_data_required and for_user is None and not is_tgt:
        client.pac = None
    if options & KdcOption.ENC_TKT_IN_SKEY:
        sealing = _second_ticket_key(opened, target, realm, now)
        session_etype = choose_etype(body.etype, config.supported_enctypes)
    else:
        sealing = _service_key(target.account, realm)
        allowed = session_etypes(target.account, config.supported_enctypes)
        session_etype = choose_etype(body.etype, allowed)
    ticket = _times(body, client.limits, is_tgt, realm, now)
    if target.account.trusted_for_delegation and not is_tgt:
        ticket = replace(ticket, flags=ticket.flags | TicketFlag.OK_AS_DELEGATE)
    key_list = None
    if asked_keys is not None:
        keys = decide_key_list(
            asked_keys,
            client.account,
            realm.directory,
            allowed=config.cloud_trust_key_list == "on",
            partial=dc is not None,
            is_tgt=is_tgt,
        )
        facts["key_list"], facts["key_list_asked"] = keys.outcome, keys.asked
        facts["key_list_given"] = keys.given
        key_list = keys.value
    address_change = options & (KdcOption.FORWARDED | KdcOption.PROXY)
    return TgsGrant(
        client=client,
        service=target.account,
        sname=target.name,
        ticket=ticket,
        session_etype=session_etype,
        sealing=sealing,
        caddr=body.addresses if address_change else opened.tgt.part.caddr,
        authorization_data=client.authorization_data + opened.brought,
        pac_options=pac_options,
        key_list=key_list,
    )


def _check_tgt_options(options: int) -> None:
    if options & (KdcOption.PROXY | KdcOption.ENC_TKT_IN_SKEY | KdcOption.CNAME_IN_ADDL_TKT):
        raise KdcError(
            ErrorCode.KDC_ERR_BADOPTION, "a TGT is neither proxied, user to user nor delegated"
        )


def _times(
    body: KdcReqBody, limits: EncTicketPart, is_tgt: bool, realm: Realm, now: datetime
) -> TicketGrant:
    config = realm.config
    if body.kdc_options & (KdcOption.RENEW | KdcOption.VALIDATE):
        if not is_tgt:
            raise KdcError(
                ErrorCode.KDC_ERR_SERVER_NOMATCH, "only a TGT is renewed or validated, as itself"
            )
        if body.kdc_options & KdcOption.VALIDATE:
            return decide_validation(limits, config.max_life_s)
        return decide_renewal(
            limits,
            now,
            max_life_s=config.max_life_s,
            max_renewable_life_s=config.max_renewable_life_s,
        )
    return decide_service_ticket(
        body,
        limits,
        now,
        is_tgt=is_tgt,
        max_life_s=config.max_life_s,
        max_renewable_life_s=config.max_renewable_life_s,
        clockskew_s=config.clockskew_s,
    )


def _service_key(account: Account, realm: Realm) -> SealingKey:
    """Choose the service's own key, the newest.

    A user without service names has a key made from a password: a ticket sealed with it would let
    anybody guess that password at leisure. Windows answers the same.
    """
    if account.kind is AccountKind.USER and not account.spns:
        raise KdcError(
            ErrorCode.KDC_ERR_MUST_USE_USER2USER, "a user who is no service: user to user only"
        )
    key = service_key(account, realm.config.supported_enctypes)
    return SealingKey(key=realm.service_keys.ready(key), kvno=key.kvno)


def _second_ticket_key(
    opened: OpenTgsReq, target: Named, realm: Realm, now: datetime
) -> SealingKey:
    """Open the second ticket of user to user: a TGT of the very account that is asked for.

    Raises KdcError: KDC_ERR_BADOPTION (none brought), those of `open_tgt` and `verify_requester`,
    KRB_AP_ERR_BADMATCH. Source: RFC 4120 3.3.3; row T14.
    """
    tickets = opened.body.additional_tickets
    if not tickets:
        raise KdcError(ErrorCode.KDC_ERR_BADOPTION, "user to user without a second ticket")
    second = open_tgt(tickets[0], realm, now)
    owner = verify_requester(second, realm, now)
    if owner.account.account_id != target.account.account_id:
        raise KdcError(
            ErrorCode.KRB_AP_ERR_BADMATCH, "the second ticket is not of the service asked for"
        )
    return SealingKey(key=second.session_key, kvno=None)
