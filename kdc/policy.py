"""Pure rules: account state, options, encryption types, flags and lifetimes of a ticket."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from directory.model import PROTECTED_USERS_RID, Account, Sid
from kdc.crypto.etypes import ENC_TYPES, EncType
from kdc.errors import KdcError
from kdc.wire.constants import ErrorCode, KdcOption, TicketFlag
from kdc.wire.ms_kile import NtStatus, extended_error
from kdc.wire.rfc4120 import EncTicketPart, KdcReqBody

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


# Postdated and anonymous tickets are not issued.
TGS_REFUSED_OPTIONS = KdcOption.POSTDATED | KdcOption.REQUEST_ANONYMOUS

# Each takes the client's name, or the key, from another ticket than the TGT.
SECOND_TICKET_OPTIONS = KdcOption.ENC_TKT_IN_SKEY | KdcOption.CNAME_IN_ADDL_TKT

DELEGABLE_FLAGS = TicketFlag.FORWARDABLE | TicketFlag.PROXIABLE
"""What no ticket of an account that may not be delegated has (MS-KILE 3.3.5.1, 3.3.5.7)."""

# What these options ask for, and the flag without which a TGT cannot give it (RFC 4120 3.3.3).
TGS_BOUND_OPTIONS = (
    (KdcOption.FORWARDED, TicketFlag.FORWARDABLE),
    (KdcOption.PROXY, TicketFlag.PROXIABLE),
    (KdcOption.RENEW, TicketFlag.RENEWABLE),
    (KdcOption.VALIDATE, TicketFlag.INVALID),
)

# What a ticket takes over from the TGT it was asked for with, whatever the request says.
INHERITED_FLAGS = (
    TicketFlag.FORWARDED
    | TicketFlag.PRE_AUTHENT
    | TicketFlag.HW_AUTHENT
    | TicketFlag.ENC_PA_REP
    | TicketFlag.ANONYMOUS
)


@dataclass(slots=True, kw_only=True)
class TicketGrant:
    """What policy agreed to put into a ticket. Treated as frozen."""

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

    Raises KdcError: KDC_ERR_CLIENT_REVOKED (disabled, locked, expired), KDC_ERR_POLICY (hours); all
    with their NTSTATUS, by which Windows' clients know what to say.
    Source: MS-KILE 3.3.5.7.1, 2.2.1 and Windows' codes for each state.
    """
    if account.disabled:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_REVOKED,
            "the account is disabled",
            e_data=extended_error(NtStatus.ACCOUNT_DISABLED),
        )
    if account.locked_until is not None and now < account.locked_until:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_REVOKED,
            "the account is locked",
            e_data=extended_error(NtStatus.ACCOUNT_LOCKED_OUT),
        )
    if account.expires_at is not None and now >= account.expires_at:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_REVOKED,
            "the account has expired",
            e_data=extended_error(NtStatus.ACCOUNT_EXPIRED),
        )
    if account.logon_hours is not None:
        # Bit 0 of octet 0 is Sunday 00:00-01:00 UTC (MS-SAMR 2.2.6.5); weekday() has Monday = 0.
        hour = (now.weekday() + 1) % 7 * 24 + now.hour
        if not account.logon_hours[hour // 8] >> (hour % 8) & 1:
            raise KdcError(
                ErrorCode.KDC_ERR_POLICY,
                "outside the account's logon hours",
                e_data=extended_error(NtStatus.INVALID_LOGON_HOURS),
            )


def may_be_delegated(account: Account, groups: tuple[Sid, ...], domain: Sid) -> bool:
    """Tell whether others may act in an account's name.

    groups: flattened. domain: the domain's SID.
    Not for "account is sensitive and cannot be delegated" nor for members of Protected Users
    (MS-KILE 3.3.5.1 DelegationNotAllowed; MS-DTYP 2.4.2.4).
    """
    return not account.not_delegated and not is_protected(groups, domain)


PROTECTED_LIFE = timedelta(hours=4)


def is_protected(groups: tuple[Sid, ...], domain: Sid) -> bool:
    """Tell whether an account is in Protected Users; see `may_be_delegated`."""
    # The number first: it tells all others apart without comparing whole SIDs.
    return any(group.rid == PROTECTED_USERS_RID and group.is_in(domain) for group in groups)


def limit_protected(grant: TicketGrant) -> TicketGrant:
    """Let the TGT of a member of Protected Users end, for good, after four hours.

    MaxTicketAge and MaxRenewAge are both that long, so a ticket of full life is not renewable.
    Source: MS-KILE 3.3.5.1 (Protected Users).
    """
    return end_with_proof(grant, grant.authtime + PROTECTED_LIFE)


def check_password_state(account: Account, now: datetime) -> None:
    """Refuse an expired password, once the client has proven who it is: KDC_ERR_KEY_EXPIRED.

    An account that must use a smart card has no password that could matter (row K15).
    """
    if account.smartcard_required:
        return
    if account.must_change_password:
        raise KdcError(
            ErrorCode.KDC_ERR_KEY_EXPIRED,
            "the password must be changed first",
            e_data=extended_error(NtStatus.PASSWORD_MUST_CHANGE),
        )
    if account.password_expires_at is not None and now >= account.password_expires_at:
        raise KdcError(
            ErrorCode.KDC_ERR_KEY_EXPIRED,
            "the password has expired",
            e_data=extended_error(NtStatus.PASSWORD_EXPIRED),
        )


PASSWORD_TICKET_LIFE_S = 300
"""A ticket for kadmin/changepw: long enough to type a new password twice, as in MIT's KDC."""


def decide_password_ticket(body: KdcReqBody, now: datetime, *, clockskew_s: int) -> TicketGrant:
    """Decide flags and times of an initial ticket for kadmin/changepw.

    It is good for one thing and for minutes: not forwarded, not proxied, not renewed.
    Raises KdcError: KDC_ERR_CANNOT_POSTDATE, KDC_ERR_NEVER_VALID.
    """
    grant = decide_ticket(
        body,
        now,
        max_life_s=PASSWORD_TICKET_LIFE_S,
        max_renewable_life_s=0,
        clockskew_s=clockskew_s,
    )
    return replace(grant, flags=grant.flags & ~(TicketFlag.FORWARDABLE | TicketFlag.PROXIABLE))


def choose_etype(asked: tuple[int, ...], supported: tuple[int, ...]) -> EncType:
    """Choose the client's first encryption type that this realm supports: else ETYPE_NOSUPP."""
    for etype in asked:
        if etype in supported:
            return ENC_TYPES[etype]
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


def end_with_proof(grant: TicketGrant, not_after: datetime | None) -> TicketGrant:
    """Let a ticket end, for good, when the certificate chain that it was got with ends."""
    if not_after is None or not_after >= (grant.renew_till or grant.endtime):
        return grant
    endtime = min(grant.endtime, not_after)
    renew_till = None if grant.renew_till is None else min(grant.renew_till, not_after)
    flags = grant.flags
    if renew_till is not None and renew_till <= endtime:
        renew_till, flags = None, flags & ~TicketFlag.RENEWABLE
    return TicketGrant(
        flags=flags,
        authtime=grant.authtime,
        starttime=grant.starttime,
        endtime=endtime,
        renew_till=renew_till,
    )


# -- tickets that are asked for with a TGT ----------------------------------------------------


def start_of(part: EncTicketPart) -> datetime:
    """Return when a ticket becomes valid: authtime when it does not say (RFC 4120 5.3)."""
    return part.starttime or part.authtime


def end_of_ticket(part: EncTicketPart, max_life_s: int) -> datetime:
    """Return when a ticket that we open ends: as it says, or sooner by today's policy.

    A stolen key lets others write any end time; it gets them no further than max_life.
    """
    return min(part.endtime, start_of(part) + timedelta(seconds=max_life_s))


def check_tgs_options(kdc_options: int, tgt_flags: int) -> None:
    """Refuse options that a TGS-REQ with such a TGT cannot have: KDC_ERR_BADOPTION.

    FORWARDABLE, PROXIABLE and RENEWABLE are only left out of the ticket when the TGT lacks them.
    """
    # DEVIATION: RFC 4120 3.3.3 wants an error for those three; clients ask without looking.
    if kdc_options & TGS_REFUSED_OPTIONS:
        raise KdcError(
            ErrorCode.KDC_ERR_BADOPTION, "an option for tickets that are not issued is set"
        )
    asked = 0
    for option, flag in TGS_BOUND_OPTIONS:
        if kdc_options & option:
            asked += 1
            if not tgt_flags & flag:
                raise KdcError(
                    ErrorCode.KDC_ERR_BADOPTION, "the TGT's flags do not allow what is asked for"
                )
    second = kdc_options & SECOND_TICKET_OPTIONS
    if asked > 1 or (asked and second) or second == SECOND_TICKET_OPTIONS:
        raise KdcError(ErrorCode.KDC_ERR_BADOPTION, "options that exclude each other")


def decide_service_ticket(
    body: KdcReqBody,
    tgt: EncTicketPart,
    now: datetime,
    *,
    is_tgt: bool,
    max_life_s: int,
    max_renewable_life_s: int,
    clockskew_s: int,
) -> TicketGrant:
    """Decide flags and times of a ticket that a TGT is shown for.

    is_tgt: whether the ticket asked for is itself a TGT, to be forwarded. Only those are renewable
    here: a service's ticket is as quickly asked for anew.
    Assumes check_tgs_options and `end_of_ticket` are checked.
    Raises KdcError: KDC_ERR_CANNOT_POSTDATE, KDC_ERR_NEVER_VALID.
    Source: RFC 4120 3.3.3.
    """
    start = now.replace(microsecond=0)
    if body.from_ is not None and body.from_ > start + timedelta(seconds=clockskew_s):
        raise KdcError(ErrorCode.KDC_ERR_CANNOT_POSTDATE, "postdated tickets are not issued")
    longest = min(end_of_ticket(tgt, max_life_s), start + timedelta(seconds=max_life_s))
    endtime = longest if body.till == EPOCH else min(body.till, longest)
    if endtime <= start:
        raise KdcError(ErrorCode.KDC_ERR_NEVER_VALID, "the requested end time has passed")
    options = body.kdc_options
    flags = tgt.flags & INHERITED_FLAGS
    # Options and flags have the same bits (RFC 4120 5.4.1).
    flags |= options & tgt.flags & (TicketFlag.FORWARDABLE | TicketFlag.PROXIABLE)
    flags |= options & (KdcOption.FORWARDED | KdcOption.PROXY)
    renew_till = None
    if is_tgt and tgt.renew_till is not None and tgt.flags & TicketFlag.RENEWABLE:
        limit = min(tgt.renew_till, tgt.authtime + timedelta(seconds=max_renewable_life_s))
        if options & KdcOption.RENEWABLE:
            renew_till = limit if body.rtime in (None, EPOCH) else min(body.rtime, limit)
        elif options & KdcOption.RENEWABLE_OK and body.till > endtime:
            renew_till = min(body.till, limit)
    if renew_till is not None and renew_till > endtime:
        flags |= TicketFlag.RENEWABLE
    else:
        renew_till = None
    return TicketGrant(
        flags=flags, authtime=tgt.authtime, starttime=start, endtime=endtime, renew_till=renew_till
    )


def decide_renewal(
    tgt: EncTicketPart, now: datetime, *, max_life_s: int, max_renewable_life_s: int
) -> TicketGrant:
    """Decide the times of a renewed TGT: its old life over again, up to renew-till.

    It is not INITIAL any more: nobody has proven anything anew.
    Assumes check_tgs_options. Raises KdcError: KRB_AP_ERR_TKT_EXPIRED.
    """
    start = now.replace(microsecond=0)
    limit = tgt.authtime + timedelta(seconds=max_renewable_life_s)
    renew_till = limit if tgt.renew_till is None else min(tgt.renew_till, limit)
    if renew_till <= start:
        raise KdcError(ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "the TGT's renewable life is over")
    life = min(tgt.endtime - start_of(tgt), timedelta(seconds=max_life_s))
    return TicketGrant(
        flags=tgt.flags & ~(TicketFlag.INITIAL | TicketFlag.INVALID),
        authtime=tgt.authtime,
        starttime=start,
        endtime=min(start + life, renew_till),
        renew_till=renew_till,
    )


def decide_validation(tgt: EncTicketPart, max_life_s: int) -> TicketGrant:
    """Decide the times of a postdated TGT that is made valid: its own (RFC 4120 3.3.3).

    Assumes check_tgs_options, and that its start is not in the future.
    """
    return TicketGrant(
        flags=tgt.flags & ~(TicketFlag.INITIAL | TicketFlag.INVALID),
        authtime=tgt.authtime,
        starttime=start_of(tgt),
        endtime=end_of_ticket(tgt, max_life_s),
        renew_till=tgt.renew_till,
    )
