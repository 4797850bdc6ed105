"""The pure rules: options, account state, encryption types, lifetimes and flags of a ticket."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from directory.model import Account, AccountKind
from kdc.errors import KdcError
from kdc.policy import (
    EPOCH,
    TicketGrant,
    check_account_state,
    check_as_options,
    check_password_state,
    choose_etype,
    decide_ticket,
    end_with_proof,
)
from kdc.wire.constants import ErrorCode, KdcOption, TicketFlag
from kdc.wire.rfc4120 import KdcReqBody
from tests.kdc.builders import BODY, NOW

HOUR = timedelta(hours=1)
MAX_LIFE = 10 * HOUR
MAX_RENEWABLE = timedelta(days=7)

REVOKED = ErrorCode.KDC_ERR_CLIENT_REVOKED
KEY_EXPIRED = ErrorCode.KDC_ERR_KEY_EXPIRED

ACCOUNT = Account(
    account_id=7, sam_account_name="alice", kind=AccountKind.USER, created_at=NOW - HOUR
)


def grant(
    body: KdcReqBody,
    now: datetime = NOW,
    max_life: timedelta = MAX_LIFE,
    max_renewable: timedelta = MAX_RENEWABLE,
) -> TicketGrant:
    return decide_ticket(
        body,
        now,
        max_life_s=int(max_life.total_seconds()),
        max_renewable_life_s=int(max_renewable.total_seconds()),
        clockskew_s=300,
    )


PLAIN = replace(BODY, kdc_options=0, till=NOW + 8 * HOUR, rtime=None)
RENEWABLE = replace(PLAIN, kdc_options=KdcOption.RENEWABLE)


# -- options ---------------------------------------------------------------------------------

REFUSED = (
    "FORWARDED",
    "PROXY",
    "POSTDATED",
    "CNAME_IN_ADDL_TKT",
    "REQUEST_ANONYMOUS",
    "ENC_TKT_IN_SKEY",
    "RENEW",
    "VALIDATE",
)
KNOWN = {k: v for k, v in vars(KdcOption).items() if k.isupper()}


@pytest.mark.parametrize("option", REFUSED)
def test_option_of_the_tgs_is_refused(option: str) -> None:
    """Row A06; RFC 4120 3.1.2: KDC_ERR_BADOPTION."""
    with pytest.raises(KdcError) as caught:
        check_as_options(KNOWN[option] | KdcOption.FORWARDABLE)
    assert (caught.value.code, caught.value.why) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "an option that an AS-REQ cannot have is set",
    )


@pytest.mark.parametrize("option", sorted(set(KNOWN) - set(REFUSED)))
def test_option_of_the_as_is_accepted(option: str) -> None:
    """Row A06, control."""
    check_as_options(KNOWN[option])


def test_unknown_options_are_ignored() -> None:
    """Row A06; RFC 4120 5.4.1: reserved and unused bits."""
    check_as_options(0xFFFFFFFF & ~sum(KNOWN.values()))


# -- account state ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "code", "why"),
    [
        (replace(ACCOUNT, disabled=True), REVOKED, "the account is disabled"),
        (
            replace(ACCOUNT, locked_until=NOW + timedelta(microseconds=1)),
            REVOKED,
            "the account is locked",
        ),
        (replace(ACCOUNT, expires_at=NOW), REVOKED, "the account has expired"),
        (
            replace(ACCOUNT, logon_hours=bytes(21)),
            ErrorCode.KDC_ERR_POLICY,
            "outside the account's logon hours",
        ),
        (
            replace(ACCOUNT, disabled=True, expires_at=NOW, logon_hours=bytes(21)),
            REVOKED,
            "the account is disabled",
        ),
    ],
    ids=["disabled", "locked", "expired", "hours", "first cause wins"],
)
def test_account_in_a_bad_state_is_refused(account: Account, code: ErrorCode, why: str) -> None:
    """Row K15; MS-KILE 3.3.5.7.1."""
    with pytest.raises(KdcError) as caught:
        check_account_state(account, NOW)
    assert (caught.value.code, caught.value.why) == (code, why)


@pytest.mark.parametrize(
    "account",
    [
        ACCOUNT,
        replace(ACCOUNT, locked_until=NOW),
        replace(ACCOUNT, expires_at=NOW + timedelta(microseconds=1)),
        replace(ACCOUNT, logon_hours=b"\xff" * 21),
    ],
    ids=["plain", "lock has ended", "last moment", "all hours"],
)
def test_account_in_a_good_state_passes(account: Account) -> None:
    """Row K15, control."""
    check_account_state(account, NOW)


@pytest.mark.parametrize("bit", range(168))
def test_logon_hours_count_from_sunday_midnight_utc(bit: int) -> None:
    """MS-SAMR 2.2.6.5: bit 0 of octet 0 is Sunday 00:00 to 01:00 UTC."""
    sunday = datetime(2026, 5, 3, tzinfo=UTC)
    hours = bytearray(21)
    hours[bit // 8] = 1 << bit % 8
    account = replace(ACCOUNT, logon_hours=bytes(hours))
    first = sunday + bit * HOUR
    check_account_state(account, first)
    check_account_state(account, first + HOUR - timedelta(microseconds=1))
    for outside in (first - timedelta(microseconds=1), first + HOUR):
        with pytest.raises(KdcError):
            check_account_state(account, outside)


@pytest.mark.parametrize(
    ("account", "why"),
    [
        (replace(ACCOUNT, must_change_password=True), "the password must be changed first"),
        (replace(ACCOUNT, password_expires_at=NOW), "the password has expired"),
    ],
)
def test_expired_password_is_refused(account: Account, why: str) -> None:
    """Row K15: KDC_ERR_KEY_EXPIRED; not for accounts that must use a smart card."""
    with pytest.raises(KdcError) as caught:
        check_password_state(account, NOW)
    assert (caught.value.code, caught.value.why) == (KEY_EXPIRED, why)
    check_password_state(replace(account, smartcard_required=True), NOW)


@pytest.mark.parametrize("expires", [None, NOW + timedelta(microseconds=1)])
def test_password_that_has_not_expired_passes(expires: datetime | None) -> None:
    """Row K15, control."""
    check_password_state(replace(ACCOUNT, password_expires_at=expires), NOW)


# -- encryption types ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "supported", "chosen"),
    [
        ((17, 18), (18, 17), 17),
        ((23, 18), (18, 17, 20, 19), 18),
        ((-128, 24, 3, 19), (18, 19), 19),
        ((20,), (20,), 20),
    ],
)
def test_clients_first_supported_type_is_chosen(
    asked: tuple[int, ...], supported: tuple[int, ...], chosen: int
) -> None:
    """RFC 4120 3.1.3; row A03."""
    assert choose_etype(asked, supported) == chosen


@pytest.mark.parametrize("asked", [(), (23,), (-128,), (24,), (1, 3), (16,), (17,)])
def test_no_supported_type_is_refused(asked: tuple[int, ...]) -> None:
    """Row A02: KDC_ERR_ETYPE_NOSUPP."""
    with pytest.raises(KdcError) as caught:
        choose_etype(asked, (18, 20))
    assert (caught.value.code, caught.value.why) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "no encryption type of the request is supported here",
    )


# -- times -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("till", "endtime"),
    [
        (NOW + HOUR, NOW + HOUR),
        (NOW + MAX_LIFE, NOW + MAX_LIFE),
        (NOW + MAX_LIFE + timedelta(seconds=1), NOW + MAX_LIFE),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), NOW + MAX_LIFE),
        (EPOCH, NOW + MAX_LIFE),
        (NOW + timedelta(seconds=1), NOW + timedelta(seconds=1)),
    ],
    ids=["asked", "most", "clipped", "year 9999", "1970", "one second"],
)
def test_end_time_is_the_earlier_of_asked_and_allowed(till: datetime, endtime: datetime) -> None:
    """RFC 4120 3.1.3; row A06: 19700101000000Z asks for the longest life (5.4.1)."""
    made = grant(replace(PLAIN, till=till))
    assert (made.authtime, made.starttime, made.endtime) == (NOW, NOW, endtime)
    assert (made.renew_till, made.flags & TicketFlag.RENEWABLE) == (None, 0)


def test_times_are_whole_seconds() -> None:
    """RFC 4120 5.2.3: KerberosTime has no fraction."""
    made = grant(PLAIN, NOW + timedelta(microseconds=999_999))
    assert (made.authtime, made.endtime) == (NOW, PLAIN.till)


@pytest.mark.parametrize("till", [NOW, NOW - timedelta(seconds=1), EPOCH + timedelta(seconds=1)])
def test_end_time_in_the_past_is_never_valid(till: datetime) -> None:
    """Row A06; RFC 4120 3.1.3: KDC_ERR_NEVER_VALID."""
    with pytest.raises(KdcError) as caught:
        grant(replace(PLAIN, till=till))
    assert (caught.value.code, caught.value.why) == (
        ErrorCode.KDC_ERR_NEVER_VALID,
        "the requested end time has passed",
    )


def test_start_time_in_the_future_is_refused() -> None:
    """RFC 4120 3.1.3: postdated tickets are not issued; the clock skew is forgiven."""
    grant(replace(PLAIN, from_=NOW + timedelta(seconds=300)))
    grant(replace(PLAIN, from_=NOW - timedelta(days=1)))
    with pytest.raises(KdcError) as caught:
        grant(replace(PLAIN, from_=NOW + timedelta(seconds=301)))
    assert (caught.value.code, caught.value.why) == (
        ErrorCode.KDC_ERR_CANNOT_POSTDATE,
        "postdated tickets are not issued",
    )


@pytest.mark.parametrize(
    ("rtime", "renew_till"),
    [
        (NOW + timedelta(days=1), NOW + timedelta(days=1)),
        (NOW + timedelta(days=8), NOW + MAX_RENEWABLE),
        (None, NOW + MAX_RENEWABLE),
        (EPOCH, NOW + MAX_RENEWABLE),
        (NOW + 8 * HOUR, None),
        (NOW + HOUR, None),
        (NOW - HOUR, None),
    ],
    ids=["asked", "clipped", "absent", "1970", "rtime = till", "rtime < till", "past"],
)
def test_renew_till_is_the_earlier_of_asked_and_allowed(
    rtime: datetime | None, renew_till: datetime | None
) -> None:
    """RFC 4120 3.1.3; row A06: rtime < till is accepted, such a ticket needs no renewing."""
    made = grant(replace(RENEWABLE, rtime=rtime))
    assert made.renew_till == renew_till
    assert bool(made.flags & TicketFlag.RENEWABLE) is (renew_till is not None)


def test_realm_without_renewal_gives_plain_tickets() -> None:
    """max_renewable_life = 0."""
    made = grant(replace(RENEWABLE, rtime=NOW + timedelta(days=1)), max_renewable=timedelta(0))
    assert (made.renew_till, made.flags & TicketFlag.RENEWABLE) == (None, 0)


@pytest.mark.parametrize(
    ("till", "renew_till"),
    [
        (NOW + 8 * HOUR, None),
        (NOW + 20 * HOUR, NOW + 20 * HOUR),
        (NOW + timedelta(days=30), NOW + MAX_RENEWABLE),
        (EPOCH, None),
    ],
    ids=["granted in full", "longer than allowed", "longer than renewable", "1970"],
)
def test_renewable_ok_makes_up_for_a_shorter_life(
    till: datetime, renew_till: datetime | None
) -> None:
    """RFC 4120 5.4.1, RENEWABLE-OK: only when the life asked for is not given."""
    made = grant(replace(PLAIN, kdc_options=KdcOption.RENEWABLE_OK, till=till))
    assert made.renew_till == renew_till


# -- flags -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (0, 0),
        (KdcOption.FORWARDABLE, TicketFlag.FORWARDABLE),
        (KdcOption.PROXIABLE, TicketFlag.PROXIABLE),
        (KdcOption.ALLOW_POSTDATE, 0),
        (KdcOption.CANONICALIZE | KdcOption.DISABLE_TRANSITED_CHECK, 0),
        (0xFF & ~KdcOption.RENEWABLE_OK, 0),
    ],
)
def test_flags_are_those_earned_and_those_asked(options: int, flags: int) -> None:
    """RFC 4120 5.3: INITIAL and PRE-AUTHENT always; FORWARDABLE and PROXIABLE when asked."""
    made = grant(replace(PLAIN, kdc_options=options))
    assert made.flags == TicketFlag.INITIAL | TicketFlag.PRE_AUTHENT | flags


# -- the end of a certificate ----------------------------------------------------------------

_GRANT = TicketGrant(
    flags=TicketFlag.RENEWABLE | TicketFlag.INITIAL,
    authtime=NOW,
    starttime=NOW,
    endtime=NOW + 10 * HOUR,
    renew_till=NOW + 100 * HOUR,
)


@pytest.mark.parametrize(
    ("not_after", "end", "renew"),
    [
        (None, 10, 100),
        (200, 10, 100),
        (50, 10, 50),
        (10, 10, None),
        (4, 4, None),
    ],
)
def test_a_ticket_ends_with_the_certificate_it_was_got_with(
    not_after: int | None, end: int, renew: int | None
) -> None:
    """Heimdal's _kdc_pk_endtime does so too: neither life nor renewal goes beyond notAfter."""
    limit = None if not_after is None else NOW + not_after * HOUR
    grant = end_with_proof(_GRANT, limit)
    assert grant.endtime == NOW + end * HOUR
    assert grant.renew_till == (None if renew is None else NOW + renew * HOUR)
    assert bool(grant.flags & TicketFlag.RENEWABLE) == (renew is not None)
    assert grant.flags & TicketFlag.INITIAL
