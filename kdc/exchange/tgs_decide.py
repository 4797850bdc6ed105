"""What a TGS-REQ gets: the service, its key, the ticket's times and contents (RFC 4120 3.3.3)."""

from dataclasses import dataclass
from datetime import datetime

from directory.model import Account, AccountKind
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.errors import KdcError
from kdc.exchange.authorization_data import check_brought
from kdc.exchange.principals import Named
from kdc.exchange.realm import Realm
from kdc.exchange.requester import Requester, verify_requester
from kdc.exchange.services import find_target
from kdc.exchange.tgs_open import OpenTgsReq
from kdc.exchange.tgt import open_tgt
from kdc.exchange.ticket import service_key
from kdc.policy import (
    TicketGrant,
    check_tgs_options,
    choose_etype,
    decide_renewal,
    decide_service_ticket,
    decide_validation,
)
from kdc.wire.constants import ErrorCode, KdcOption, PaType
from kdc.wire.rfc4120 import (
    AuthorizationDataElement,
    HostAddress,
    PaData,
    PrincipalName,
)

# What these ask for is not a ticket in the requester's own name: to leave them unread would give
# another ticket than was asked for (MS-SFU 2.2.1, 2.2.2).
S4U2SELF = (PaType.FOR_USER, PaType.S4U_X509_USER)


@dataclass(slots=True, kw_only=True)
class SealingKey:
    """What a ticket is sealed with."""

    key: ProtocolKey
    kvno: int | None
    """None: another ticket's session key (user to user)."""


@dataclass(slots=True, kw_only=True)
class TgsGrant:
    """A ticket that was agreed to. Only `decide_tgs` makes one."""

    requester: Requester
    service: Account
    sname: PrincipalName
    ticket: TicketGrant
    session_etype: EncType
    sealing: SealingKey
    caddr: tuple[HostAddress, ...] | None
    authorization_data: tuple[AuthorizationDataElement, ...]
    """All but the PAC."""


def decide_tgs(
    opened: OpenTgsReq,
    padata: tuple[PaData, ...],
    realm: Realm,
    now: datetime,
    facts: dict[str, object],
) -> TgsGrant:
    """Decide on a TGS-REQ whose sender is proven.

    facts: the audit trail. Raises KdcError with the code of the first rule that is broken.
    """
    body, part = opened.body, opened.tgt.part
    config = realm.config
    options = body.kdc_options
    if any(pa.padata_type in S4U2SELF for pa in padata):
        raise KdcError(ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP, "S4U2Self is not offered")
    check_tgs_options(options, part.flags)
    requester = verify_requester(opened.tgt, realm, now)
    facts["account"] = requester.account.sam_account_name
    target = find_target(body, realm.directory, config)
    is_tgt = target.account.kind is AccountKind.KRBTGT
    if is_tgt:
        _check_tgt_options(options)
    check_brought(opened.brought)
    if options & KdcOption.ENC_TKT_IN_SKEY:
        sealing = _second_ticket_key(opened, target, realm, now)
        session_etype = choose_etype(body.etype, config.supported_enctypes)
    else:
        sealing = _service_key(target.account, realm)
        session_etype = choose_etype(body.etype, _session_etypes(target.account, realm))
    address_change = options & (KdcOption.FORWARDED | KdcOption.PROXY)
    return TgsGrant(
        requester=requester,
        service=target.account,
        sname=target.name,
        ticket=_times(opened, target, is_tgt, realm, now),
        session_etype=session_etype,
        sealing=sealing,
        caddr=body.addresses if address_change else part.caddr,
        authorization_data=(opened.tgt.others or ()) + opened.brought,
    )


def _check_tgt_options(options: int) -> None:
    if options & (KdcOption.PROXY | KdcOption.ENC_TKT_IN_SKEY):
        raise KdcError(ErrorCode.KDC_ERR_BADOPTION, "a TGT is neither proxied nor user to user")


def _times(
    opened: OpenTgsReq, target: Named, is_tgt: bool, realm: Realm, now: datetime
) -> TicketGrant:
    body, part = opened.body, opened.tgt.part
    config = realm.config
    if body.kdc_options & (KdcOption.RENEW | KdcOption.VALIDATE):
        if not is_tgt:
            raise KdcError(
                ErrorCode.KDC_ERR_SERVER_NOMATCH, "only a TGT is renewed or validated, as itself"
            )
        if body.kdc_options & KdcOption.VALIDATE:
            return decide_validation(part, config.max_life_s)
        return decide_renewal(
            part,
            now,
            max_life_s=config.max_life_s,
            max_renewable_life_s=config.max_renewable_life_s,
        )
    return decide_service_ticket(
        body,
        part,
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


def _session_etypes(account: Account, realm: Realm) -> tuple[int, ...]:
    """List what the service can use: the types of its newest keys, and the realm allows."""
    own = {key.etype for key in account.newest_keys()}
    return tuple(etype for etype in realm.config.supported_enctypes if etype in own)


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
