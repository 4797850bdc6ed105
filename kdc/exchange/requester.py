"""Whose TGT is this, and may that account still have tickets today? Asked for every TGS-REQ.

Rules (design requirements 9 and 11; rows T01 to T08, T20)
  1. The client's name leads to the account by exactly that name: no "$" is added, no UPN tried
     (CVE-2021-42278). The SID in the TGT's PAC must be that account's (CVE-2021-42287).
  2. The account is judged as at a logon, however old the TGT is.
  3. A realm that issues no PACs knows no SIDs either: there the account must be older than the TGT.
"""

from dataclasses import dataclass
from datetime import datetime

from directory.backend import Directory
from directory.model import Account, AccountKind
from kdc.errors import KdcError
from kdc.exchange.principals import account_by_parts
from kdc.exchange.realm import Realm
from kdc.exchange.tgt import OpenTgt
from kdc.policy import check_account_state
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import PrincipalName


@dataclass(slots=True, kw_only=True)
class Requester:
    """The account a TGT speaks for, checked today. Only `verify_requester` makes one."""

    account: Account
    name: PrincipalName
    """As the TGT has it; the new ticket says the same."""


def verify_requester(tgt: OpenTgt, realm: Realm, now: datetime) -> Requester:
    """Find the account a TGT speaks for and check that it may still have tickets.

    Raises KdcError: KDC_ERR_TGT_REVOKED (the account is gone or another one),
    KDC_ERR_CLIENT_REVOKED, KDC_ERR_POLICY (state of the account).
    """
    part = tgt.part
    account = _account_of(part.cname, realm.directory)
    if account is None:
        raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the TGT's account does not exist any more")
    if account.created_at.replace(microsecond=0) > part.authtime:
        raise KdcError(ErrorCode.KDC_ERR_TGT_REVOKED, "the account is younger than the TGT")
    check_account_state(account, now)
    return Requester(account=account, name=part.cname)


def _account_of(cname: PrincipalName, directory: Directory) -> Account | None:
    parts = cname.name_string
    if not parts or not parts[0]:
        return None
    account = (
        directory.account_by_name(parts[0])
        if len(parts) == 1
        else account_by_parts(parts, directory)
    )
    return None if account is None or account.kind is AccountKind.KRBTGT else account
