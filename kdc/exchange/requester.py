"""Whose TGT is this, and may that account still have tickets today? Asked for every TGS-REQ.

Rules (design requirements 9 and 11; rows T01 to T08, T20)
  1. The client's name leads to the account by exactly that name: no "$" is added, no UPN tried
     (CVE-2021-42278). The SID in the TGT's PAC must be that account's (CVE-2021-42287).
  2. The account is judged as at a logon, however old the TGT is.
  3. A TGT of a key-trust logon ends with the last key of its account that is on no disabled device.
     Which key it was is not in the ticket. Policies of the logon are not asked again.
  4. Where tickets have no PAC (a realm without, an account without a SID), the account must be
     older than the TGT.
"""

from dataclasses import dataclass
from datetime import datetime

from directory.backend import Directory
from directory.model import Account, AccountKind, ReadOnlyDc
from kdc.errors import KdcError
from kdc.exchange.authorization_data import take_apart
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.pac_facts import pac_facts, refusal_from_pac
from kdc.exchange.partial_tgt import judge_partial_tgt
from kdc.exchange.principals import account_of_ticket, name_text
from kdc.exchange.realm import Realm
from kdc.pac import (
    AUTHENTICATION_AUTHORITY_ASSERTED,
    KEY_TRUST,
    PAC_WAS_GIVEN_IMPLICITLY,
    Carried,
    PacError,
    PacFacts,
    parse_pac,
    verify_pac,
)
from kdc.policy import check_account_state, may_be_delegated
from kdc.trust.device import is_on_disabled_device
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import (
    AuthorizationDataElement,
    EncTicketPart,
    PaData,
    PrincipalName,
)


@dataclass(slots=True, kw_only=True)
class Requester:
    """The account a TGT speaks for, checked today. Only `verify_requester` makes one."""

    account: Account
    name: PrincipalName
    """As the TGT has it; the new ticket says the same."""
    pac: PacFacts | None
    """What the new ticket's PAC says: the account of today, and how it was proven at the logon."""
    delegable: bool
    """Whether others may act in its name."""


@dataclass(slots=True, kw_only=True)
class TicketClient:
    """Whom a new ticket speaks for, and what bounds it: the requester, or a user of S4U."""

    account: Account
    name: PrincipalName
    pac: PacFacts | None
    limits: EncTicketPart
    """Its flags and times are the most that the new ticket may have."""
    authorization_data: tuple[AuthorizationDataElement, ...]
    """What the new ticket takes over besides its PAC."""
    padata: tuple[PaData, ...] = ()
    """What the reply says about it, in the clear."""


def verify_requester(tgt: OpenTgt, realm: Realm, now: datetime) -> Requester:
    """Find the account a TGT speaks for and check that it may still have tickets.

    Raises KdcError: KDC_ERR_TGT_REVOKED (no PAC, the account is gone or another one, its keys are),
    those of `refusal_from_pac`, KDC_ERR_CLIENT_REVOKED, KDC_ERR_POLICY (state of the account);
    for a partial TGT those of `judge_partial_tgt`.
    """
    if tgt.read_only_dc is not None:
        return _verify_partial(tgt, tgt.read_only_dc, realm, now)
    part = tgt.part
    carried = _carried(tgt)
    account = account_of(part.cname, realm.directory)
    if account is None:
        raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT's account does not exist any more")
    if carried is not None:
        _check_requestor(tgt, account)
    check_account_state(account, now)
    facts = _pac_facts(tgt, account, realm)
    if carried is None:
        if facts is not None:
            raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT has no PAC")
        if account.created_at.replace(microsecond=0) > part.authtime:
            raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the account is younger than the TGT")
    else:
        check_keys_remain(carried, account, realm.directory)
    return Requester(account=account, name=part.cname, pac=facts, delegable=tgt.delegable)


def _verify_partial(tgt: OpenTgt, dc: ReadOnlyDc, realm: Realm, now: datetime) -> Requester:
    """Find whom a partial TGT speaks for: its own PAC and authorization data end here."""
    account = judge_partial_tgt(tgt, dc, realm, now)
    tgt.others = ()
    facts = pac_facts(
        account,
        realm,
        name=name_text(tgt.part.cname),
        logon_time=tgt.part.authtime,
        # That somebody checked a proof, and no more: what it was is not ours to say.
        asserted=(AUTHENTICATION_AUTHORITY_ASSERTED,),
        pac_attributes=PAC_WAS_GIVEN_IMPLICITLY,
    )
    delegable = is_delegable(account, realm)
    return Requester(account=account, name=tgt.part.cname, pac=facts, delegable=delegable)


def check_keys_remain(carried: Carried, account: Account, directory: Directory) -> None:
    """Refuse a ticket of a key-trust logon when no key of the account could be its own (rule 3)."""
    if KEY_TRUST not in carried.asserted_sids:
        return
    usable = [credential for credential in account.key_credentials if credential.usable]
    if not usable:
        raise KdcError(
            ErrorCode.KDC_ERR_TGT_REVOKED, "the keys of a key-trust logon were removed since"
        )
    if all(is_on_disabled_device(credential, directory) for credential in usable):
        raise KdcError(
            ErrorCode.KDC_ERR_TGT_REVOKED, "the devices of a key-trust logon were disabled since"
        )


def _carried(tgt: OpenTgt) -> Carried | None:
    """Verify the PAC of a TGT, the first time it is shown; None when it has none."""
    if tgt.others is None:
        found = take_apart(tgt.part.authorization_data or ())
        if found.pac is not None:
            key = tgt.sealing_key
            try:
                pac = parse_pac(found.pac)
                verified = verify_pac(pac, server_key=key, krbtgt_keys=(key,), ticket=None)
            except PacError as error:
                raise refusal_from_pac(error) from None
            tgt.requestor, tgt.carried = verified.requestor, verified.carried
        tgt.others = found.others
    return tgt.carried


def _check_requestor(tgt: OpenTgt, account: Account) -> None:
    """Compare the SID of a TGT's PAC with the account's: rows T02, T03."""
    if tgt.requestor is None:
        raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT's PAC has no requestor")
    if tgt.requestor != account.sid:
        raise KdcError(
            ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT was issued to another account of this name"
        )


def _pac_facts(tgt: OpenTgt, account: Account, realm: Realm) -> PacFacts | None:
    """Collect what the new ticket's PAC says; None: it has none."""
    kept = tgt.facts
    # The store gives the same objects until a change is committed.
    if (
        kept is not None
        and realm.config.pac
        and kept.account is account
        and kept.groups is realm.directory.groups_of(account.account_id)
    ):
        return kept
    tgt.delegable = is_delegable(account, realm)
    carried = tgt.carried
    tgt.facts = pac_facts(
        account,
        realm,
        name=name_text(tgt.part.cname),
        logon_time=tgt.part.authtime,
        asserted=() if carried is None else carried.asserted_sids,
        pac_attributes=PAC_WAS_GIVEN_IMPLICITLY
        if carried is None or carried.pac_attributes is None
        else carried.pac_attributes,
    )
    return tgt.facts


def account_of(cname: PrincipalName, directory: Directory) -> Account | None:
    """Find the account of a ticket's client by exactly that name (rule 1); krbtgt is none."""
    account = account_of_ticket(cname, directory)
    return None if account is None or account.kind is AccountKind.KRBTGT else account


def is_delegable(account: Account, realm: Realm) -> bool:
    """Tell whether others may act in an account's name, by its flag and its groups."""
    directory = realm.directory
    return may_be_delegated(
        account, directory.groups_of(account.account_id), directory.domain().sid
    )
