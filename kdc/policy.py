"""Pure rules: account state, options, encryption types, flags and lifetimes of a ticket."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from directory.model import Account
from kdc.crypto.etypes import EncType
from kdc.errors import KdcError
from kdc.wire.constants import ErrorCode, KdcOption, TicketFlag
from kdc.wire.rfc4120 import KdcReqBody

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""RFC 4120 5.4.1: a `till` of 19700101000000Z asks for the longest life that policy allows."""

# Options that only a TGS exchange can honour (RFC 4120 3.1.2; MIT and Heimdal answer the same).
AS_REFUSED_OPTIONS = (
    KdcOption.FORWARDED
    | KdcOption.PROXY
    | KdcOption.POSTDATED
    | KdcOption.CNAME_IN_ADDL_TKT
    | KdcOption.REQUEST_ANONYMOUS
    | KdcOption.ENC_TKT_IN_SKEY
    | KdcOption.RENEW
    | KdcOption.VALIDATE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketGrant:
    """What policy agreed to put into a ticket."""

    flags: int
    authtime: datetime
    starttime: datetime
    endtime: datetime
    renew_till: datetime | None


def check_as_options(kdc_options: int) -> None:
    """Refuse options that have no meaning in an AS-REQ: KDC_ERR_BADOPTION."""
    if kdc_options & AS_REFUSED_OPTIONS:
        raise KdcError(ErrorCode.KDC_ERR_BADOPTION, "an option that an AS-REQ cannot have is set")


def check_account_state(account: Account, now: datetime) -> None:
    """Refuse accounts that may not log on at all, whatever they prove.

    Raises KdcError: KDC_ERR_CLIENT_REVOKED (disabled, locked, expired), KDC_ERR_POLICY (hours).
    Source: MS-KILE 3.3.5.7.1 and Windows' codes for each state.
    """
    if account.disabled:
        raise KdcError(ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account is disabled")
    if account.locked_until is not None and now < account.locked_until:
        raise KdcError(ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account is locked")
    if account.expires_at is not None and now >= account.expires_at:
        raise KdcError(ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account has expired")
    if account.logon_hours is not None:
        # Bit 0 of octet 0 is Sunday 00:00-01:00 UTC (MS-SAMR 2.2.6.5); weekday() has Monday = 0.
        hour = (now.weekday() + 1) % 7 * 24 + now.hour
        if not account.logon_hours[hour // 8] >> (hour % 8) & 1:
            raise KdcError(ErrorCode.KDC_ERR_POLICY, "outside the account's logon hours")


def check_password_state(account: Account, now: datetime) -> None:
    """Refuse an expired password, once the client has proven who it is: KDC_ERR_KEY_EXPIRED.

    An account that must use a smart card has no password that could matter (row K15).
    """
    if account.smartcard_required:
        return
    if account.must_change_password:
        raise KdcError(ErrorCode.KDC_ERR_KEY_EXPIRED, "the password must be changed first")
    if account.password_expires_at is not None and now >= account.password_expires_at:
        raise KdcError(ErrorCode.KDC_ERR_KEY_EXPIRED, "the password has expired")


def choose_etype(asked: tuple[int, ...], supported: tuple[int, ...]) -> EncType:
    """Choose the client's first encryption type that this realm supports: else ETYPE_NOSUPP."""
    for etype in asked:
        if etype in supported:
            return EncType(etype)
    raise KdcError(
        ErrorCode.KDC_ERR_ETYPE_NOSUPP, "no encryption type of the request is supported here"
    )


def decide_ticket(
    body: KdcReqBody,
    now: datetime,
    *,
    max_life_s: int,
    max_renewable_life_s: int,
    clockskew_s: int,
) -> TicketGrant:
    """Decide flags and times of an initial ticket.

    Raises KdcError: KDC_ERR_CANNOT_POSTDATE, KDC_ERR_NEVER_VALID.
    Source: RFC 4120 3.1.3.
    """
    start = now.replace(microsecond=0)
    if body.from_ is not None and body.from_ > start + timedelta(seconds=clockskew_s):
        raise KdcError(ErrorCode.KDC_ERR_CANNOT_POSTDATE, "postdated tickets are not issued")
    longest = start + timedelta(seconds=max_life_s)
    endtime = longest if body.till == EPOCH else min(body.till, longest)
    if endtime <= start:
        raise KdcError(ErrorCode.KDC_ERR_NEVER_VALID, "the requested end time has passed")
    options = body.kdc_options
    flags = TicketFlag.INITIAL | TicketFlag.PRE_AUTHENT
    flags |= options & (KdcOption.FORWARDABLE | KdcOption.PROXIABLE)
    renew_till = None
    renewable_until = start + timedelta(seconds=max_renewable_life_s)
    if options & KdcOption.RENEWABLE:
        asked = body.rtime
        renew_till = renewable_until if asked in (None, EPOCH) else min(asked, renewable_until)
    elif options & KdcOption.RENEWABLE_OK and body.till > endtime:
        renew_till = min(body.till, renewable_until)
    if renew_till is not None and renew_till > endtime:
        flags |= TicketFlag.RENEWABLE
    else:
        renew_till = None
    return TicketGrant(
        flags=flags, authtime=start, starttime=start, endtime=endtime, renew_till=renew_till
    )
