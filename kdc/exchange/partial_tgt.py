"""A partial TGT: sealed by a read-only DC, or by the cloud. May its client have a full one?

The checks, in the order of Windows' and Samba's domain controllers (MS-KILE 3.3.5.7; rows X01 to
X10). Which read-only DC it is, its keys, times, authenticator and replay come before.
  1. There is a PAC, both signatures are by the key that sealed the ticket, REQUESTOR is in it.
  2. The client's name leads to an account by exactly that name, and both SIDs are that account's.
  3. A computer links to that krbtgt account, and has the flag of read-only DCs.
  4. No krbtgt account, no domain controller. Then the computer's two lists: who is in the one that
     denies gets nothing, whatever the other says; who is in neither gets nothing. An account's
     groups are those of the directory, primary and nested ones too, never those of the ticket.
  5. The account may log on now, and its password has not expired.
All else that is in the PAC is thrown away: who holds this key could have written anything.
"""

from datetime import datetime

from directory.model import (
    DOMAIN_CONTROLLERS_RID,
    Account,
    AccountKind,
    ReadOnlyDc,
    Sid,
)
from kdc.errors import KdcError
from kdc.exchange.authorization_data import take_apart
from kdc.exchange.open_tgt import OpenTgt
from kdc.exchange.pac_facts import refusal_from_pac
from kdc.exchange.principals import account_of_ticket
from kdc.exchange.realm import Realm
from kdc.pac import PacError, PartialPac, parse_pac, verify_partial_pac
from kdc.policy import check_account_state, check_password_state
from kdc.trust.privileged import (
    ENTERPRISE_READ_ONLY_CONTROLLERS_RID,
    READ_ONLY_CONTROLLERS_RID,
)
from kdc.wire.constants import ErrorCode

CONTROLLERS = (
    DOMAIN_CONTROLLERS_RID,
    READ_ONLY_CONTROLLERS_RID,
    ENTERPRISE_READ_ONLY_CONTROLLERS_RID,
)


def judge_partial_tgt(tgt: OpenTgt, dc: ReadOnlyDc, realm: Realm, now: datetime) -> Account:
    """Find the account of a partial TGT and check that its maker may speak for it.

    Raises KdcError: KDC_ERR_TGT_REVOKED, those of `refusal_from_pac`, KDC_ERR_C_PRINCIPAL_UNKNOWN,
    KDC_ERR_POLICY (the read-only DC itself, or logon hours), KDC_ERR_CLIENT_REVOKED,
    KDC_ERR_KEY_EXPIRED. All have the fact read_only_dc.
    """
    try:
        return _judge(tgt, dc, realm, now)
    except KdcError as error:
        error.facts["read_only_dc"] = dc.number
        raise


def _judge(tgt: OpenTgt, dc: ReadOnlyDc, realm: Realm, now: datetime) -> Account:
    pac = _verified_pac(tgt, dc)
    # krbtgt accounts too: `_check_lists` denies them.
    account = account_of_ticket(tgt.part.cname, realm.directory)
    if account is None:
        raise KdcError(
            ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "no account of the partial TGT's client name"
        )
    if pac.requestor != account.sid or (pac.has_logon_info and pac.logon_sid != account.sid):
        raise KdcError(
            ErrorCode.KDC_ERR_TGT_REVOKED, "the partial TGT's name and SID are not of one account"
        )
    computer = dc.computer
    if computer is None:
        raise KdcError(
            ErrorCode.KDC_ERR_POLICY, "no one computer links to the read-only DC's krbtgt"
        )
    if not computer.partial_secrets:
        raise KdcError(
            ErrorCode.KDC_ERR_POLICY, "the computer of the read-only DC has not the flag of one"
        )
    # A read-only DC may always speak for itself (MS-DRSR 4.1.10.5.14). Of the cloud there is no
    # machine, and so no key.
    if account.account_id != computer.account_id or not account.keys:
        _check_lists(account, dc, realm)
    check_account_state(account, now)
    check_password_state(account, now)
    return account


def _verified_pac(tgt: OpenTgt, dc: ReadOnlyDc) -> PartialPac:
    found = take_apart(tgt.part.authorization_data or ())
    if found.pac is None:
        raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT has no PAC")
    try:
        pac = verify_partial_pac(parse_pac(found.pac), key=tgt.sealing_key, number=dc.number)
    except PacError as error:
        raise refusal_from_pac(error) from None
    if pac.requestor is None:
        raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT's PAC has no requestor")
    return pac


def _check_lists(account: Account, dc: ReadOnlyDc, realm: Realm) -> None:
    domain = realm.directory.domain().sid
    groups = realm.directory.groups_of(account.account_id)
    if account.kind is AccountKind.KRBTGT or any(
        domain.with_rid(rid) in groups for rid in CONTROLLERS
    ):
        raise _revoked("no read-only DC speaks for krbtgt or a domain controller")
    sids: set[Sid] = set(groups)
    if account.sid is not None:
        sids.add(account.sid)
    if not dc.denied.isdisjoint(sids):
        raise _revoked("the account is in the list that the read-only DC is denied")
    if account.admin_count and realm.config.cloud_trust_deny_admin_count:
        # DEVIATION: Windows looks at the lists alone; we also refuse accounts that adminCount
        # marks, because a list made by hand easily lacks a privileged group.
        raise _revoked("the account is marked as privileged (adminCount)")
    if dc.unknown:
        # Its members cannot be told from others any more, so nobody is let through.
        raise KdcError(
            ErrorCode.KDC_ERR_POLICY, "the read-only DC's deny list names what is not there"
        )
    if dc.allowed.isdisjoint(sids):
        raise _revoked("the account is not in the list that the read-only DC is allowed")


def _revoked(why: str) -> KdcError:
    return KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, why)
