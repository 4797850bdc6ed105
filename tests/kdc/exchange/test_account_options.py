"""What an account's own options do to tickets: delegation flags, encryption types, no PAC."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kdc.pac import parse_pac
from kdc.wire.constants import ErrorCode, KdcOption, PaType, TicketFlag
from kdc.wire.ms_kile import PaPacOptions
from pki import asn1
from tests.kdc.builders import (
    BODY,
    KRBTGT,
    NOW,
    Kdc,
    as_req,
    enc_timestamp,
    key_of,
    name,
    open_password_reply,
    padata,
    refused,
)
from tests.kdc.s4u_builders import PC1, ask_for, change, open_s4u
from tests.kdc.tgs_builders import (
    TGS_BODY,
    TgsRequest,
    ask_tgs,
    key_tgt,
    pac_of,
    password_tgt,
    service_ticket,
)

BOTH = KdcOption.FORWARDABLE | KdcOption.PROXIABLE
NOT_ALLOWED = (
    ErrorCode.KDC_ERR_BADOPTION,
    "the TGT's flags do not allow what is asked for",
)


def protect(kdc: Kdc, user: str) -> None:
    """Put a user into Protected Users."""
    sid = kdc.store.domain().sid.with_rid(525)
    (group,) = (g.group_id for g in kdc.store.list_groups() if g.sid == sid)
    kdc.store.add_member(group, account_id=kdc.account_id(user))


@pytest.mark.parametrize("how", ["flag", "group"])
def test_account_that_may_not_be_delegated(kdc: Kdc, how: str) -> None:
    """MS-KILE 3.3.5.1: neither its TGT nor a ticket got with an older one is forwardable."""
    old = password_tgt(kdc, kdc_options=BOTH)
    assert old.part.flags & BOTH == BOTH
    if how == "flag":
        change(kdc, "pat", not_delegated=True)
    else:
        protect(kdc, "pat")
    assert not password_tgt(kdc, kdc_options=BOTH).part.flags & BOTH
    body = replace(TGS_BODY, kdc_options=BOTH)
    got = service_ticket(kdc, TgsRequest(tgt=old, body=body))
    assert not got.part.flags & BOTH
    for option in (KdcOption.FORWARDED, KdcOption.PROXY):
        sname = KRBTGT if option == KdcOption.FORWARDED else TGS_BODY.sname
        body = replace(TGS_BODY, kdc_options=option, sname=sname)
        assert refused(ask_tgs(kdc, TgsRequest(tgt=old, body=body))) == NOT_ALLOWED


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("till", "rtime", "life", "renewable"),
    [
        (10 * HOUR, None, 4 * HOUR, None),
        (10 * HOUR, 100 * HOUR, 4 * HOUR, None),
        (HOUR, None, HOUR, None),
        (HOUR, 100 * HOUR, HOUR, 4 * HOUR),
    ],
    ids=["long", "long and renewable", "short", "short and renewable"],
)
def test_tgt_of_a_protected_user_ends_after_four_hours(
    kdc: Kdc,
    till: timedelta,
    rtime: timedelta | None,
    life: timedelta,
    renewable: timedelta | None,
) -> None:
    """MS-KILE 3.3.5.1: MaxTicketAge and MaxRenewAge of Protected Users; no option changes it."""
    kdc.configure(max_life_s=36_000, max_renewable_life_s=604_800)
    protect(kdc, "pat")
    body = replace(
        BODY,
        cname=name("pat"),
        till=NOW + till,
        rtime=None if rtime is None else NOW + rtime,
        kdc_options=KdcOption.RENEWABLE if rtime else 0,
    )
    outcome = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    part = open_password_reply(outcome, key_of(18), kdc, body).part
    assert part.endtime == NOW + life
    assert part.renew_till == (None if renewable is None else NOW + renewable)
    assert bool(part.flags & TicketFlag.RENEWABLE) == (renewable is not None)


def test_what_is_remembered_of_a_tgt_follows_the_account(kdc: Kdc) -> None:
    """A TGT that stays open in memory is judged by the account of the moment."""
    tgt = password_tgt(kdc)
    forwardable = TicketFlag.FORWARDABLE
    for sensitive in (False, True, False):
        change(kdc, "pat", not_delegated=sensitive)
        got = service_ticket(kdc, TgsRequest(tgt=tgt))
        assert bool(got.part.flags & forwardable) is not sensitive


def test_service_that_is_given_tgts(kdc: Kdc) -> None:
    """MS-KILE 3.3.5.7: OK-AS-DELEGATE in its tickets, and in no TGT."""
    tgt = password_tgt(kdc)
    flag = TicketFlag.OK_AS_DELEGATE
    assert not service_ticket(kdc, TgsRequest(tgt=tgt)).part.flags & flag
    change(kdc, "web", trusted_for_delegation=True)
    assert service_ticket(kdc, TgsRequest(tgt=tgt)).part.flags & flag
    forwarded = replace(TGS_BODY, kdc_options=KdcOption.FORWARDED, sname=KRBTGT)
    assert not service_ticket(kdc, TgsRequest(tgt=tgt, body=forwarded)).part.flags & flag


def test_service_that_wants_no_pac(kdc: Kdc) -> None:
    """UF_NO_AUTH_DATA_REQUIRED; what it asks for itself by S4U2Self has one all the same."""
    change(kdc, "web", no_auth_data_required=True)
    change(kdc, "pc1$", no_auth_data_required=True)
    got = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc)))
    assert got.ticket.authorization_data is None
    own = open_s4u(ask_for(kdc, key_tgt(kdc, "pc1")), kdc)
    assert parse_pac(pac_of(own.ticket)).buffers


# -- msDS-SupportedEncryptionTypes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "sealed", "session"),
    [
        (None, 18, 20),
        (0, 18, 20),
        (0x18, 18, 18),
        (0x1C, 18, 18),
        (0x08, 17, 17),
        (0x10, 18, 18),
        (0x28, 17, 18),
        (0x80000, 18, 20),
        (0x7FFFFFFF, 18, 18),
    ],
)
def test_types_that_a_service_names(kdc: Kdc, mask: int | None, sealed: int, session: int) -> None:
    """MS-KILE 2.2.7, 3.3.5.7: they bound what seals its tickets and their session keys."""
    change(kdc, "web", supported_enctypes=mask)
    body = replace(TGS_BODY, etype=(20, 18, 17))
    got = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))
    assert got.tgs_rep.ticket.enc_part.etype == sealed
    assert got.part.key.keytype == session


@pytest.mark.parametrize("mask", [0x01, 0x04, 0x07, 0x20, 0x24])
def test_service_that_names_no_type_of_ours(kdc: Kdc, mask: int) -> None:
    """RC4 and DES only: there is nothing to seal the ticket with."""
    change(kdc, "web", supported_enctypes=mask)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc)))) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "the service's account allows no type that it has a key of",
    )


def test_client_that_has_no_type_of_the_service(kdc: Kdc) -> None:
    """The session key is of a type that both have, or there is none."""
    change(kdc, "web", supported_enctypes=0x08)
    body = replace(TGS_BODY, etype=(18, 20))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "no encryption type of the request is supported here",
    )


def test_mask_of_krbtgt_is_not_read(kdc: Kdc) -> None:
    """The realm itself says what its TGTs are sealed with."""
    krbtgt = kdc.store.krbtgt()
    change(kdc, krbtgt.sam_account_name, supported_enctypes=0x04)
    service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc)))


def test_answer_to_pa_pac_options(kdc: Kdc) -> None:
    """MS-KILE 3.3.5.7: what the service supports, and which of the options we know."""
    change(kdc, "web", supported_enctypes=0x08)
    pa = padata(PaType.PAC_OPTIONS, asn1.encode(PaPacOptions(flags=0xF0000000)))
    got = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), after=(pa,)))
    said = {p.padata_type: p.padata_value for p in got.part.encrypted_pa_data or ()}
    assert said[PaType.SUPPORTED_ENCTYPES] == b"\x08\0\0\0"
    assert asn1.decode(PaPacOptions, said[PaType.PAC_OPTIONS]).flags == 0x10000000


def test_malformed_pa_pac_options(kdc: Kdc) -> None:
    """Not a bit string."""
    pa = padata(PaType.PAC_OPTIONS, b"\x30\x00")
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), after=(pa,)))) == (
        ErrorCode.KRB_ERR_GENERIC,
        "PA-PAC-OPTIONS is malformed",
    )


def test_service_itself_by_its_accounts_name(kdc: Kdc) -> None:
    """A computer asked for by its account's name has the options of that account."""
    change(kdc, "pc1$", supported_enctypes=0x08)
    for sname in (PC1, name("pc1$")):
        body = replace(TGS_BODY, sname=sname)
        got = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))
        assert got.tgs_rep.ticket.enc_part.etype == 17
