"""FAST in the TGS exchange (RFC 6113 5.4.2): implicit armor, Windows' explicit one, downgrades."""

from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges
from kdc.wire.constants import AdType, ErrorCode, KdcOption, PaType, TicketFlag
from kdc.wire.ms_kile import KERB_ERR_TYPE_EXTENDED, NtStatus
from kdc.wire.rfc4120 import AuthorizationDataElement, EncTicketPart
from kdc.wire.rfc6113 import ANONYMOUS, ANONYMOUS_REALM, FastOption
from tests.kdc.builders import Kdc, name, padata, refused
from tests.kdc.fast_builders import (
    Armor,
    FastTgsRequest,
    OpenedFast,
    Wrapping,
    ask_fast,
    fast_refusal,
    open_fast_reply,
    random_key,
)
from tests.kdc.s4u_builders import PC1
from tests.kdc.tgs_builders import (
    LATER,
    RENEW,
    TGS_BODY,
    WEB,
    TgsRequest,
    Tgt,
    ask_tgs,
    golden,
    key_tgt,
    password_tgt,
    service_ticket,
)

FAILED = ErrorCode.KDC_ERR_PREAUTH_FAILED
ARMOR_ONLY = "a ticket or authenticator made for FAST armor only"


@pytest.fixture
def tgt(kdc: Kdc) -> Tgt:
    """Return pat's TGT."""
    return password_tgt(kdc)


def got(kdc: Kdc, request: FastTgsRequest) -> OpenedFast:
    """Send a request that must get a ticket."""
    sent = request.build()
    return open_fast_reply(kdc.ask(sent.message, at=LATER), sent)


def inside(kdc: Kdc, request: FastTgsRequest) -> tuple[int, str]:
    """Send a request that is refused through its tunnel."""
    sent = request.build()
    outcome = kdc.ask(sent.message, at=LATER)
    fast_refusal(outcome, sent)
    return refused(outcome)


def test_implicit_armor_gets_a_ticket(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.2, 5.4.3: strengthen-key and finished are there, the padata are not."""
    opened = got(kdc, FastTgsRequest(tgt=tgt))
    assert opened.types == []
    assert opened.rep.ticket.sname == WEB
    assert opened.response.finished is not None
    assert opened.response.finished.cname == tgt.cname


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_subkey_of_any_type(kdc: Kdc, tgt: Tgt, etype: int) -> None:
    """RFC 6113 5.1: armor key and reply key are of the subkey's type."""
    outer = TgsRequest(tgt=tgt, subkey=etype)
    assert got(kdc, FastTgsRequest(tgt=tgt, request=outer)).rep.enc_part.etype == etype


def test_no_subkey(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.2: it MUST be included; Samba's test_fast_tgs_no_subkey: 24, in the clear."""
    outcome = ask_fast(kdc, FastTgsRequest(tgt=tgt, request=TgsRequest(tgt=tgt, subkey=None)))
    assert refused(outcome) == (FAILED, "a FAST TGS-REQ without a subkey")


def test_inner_body_counts(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.2: service, realm, options and times are those inside."""
    outer = replace(
        TGS_BODY, sname=None, realm="OTHER.TEST", kdc_options=0xFFFF, till=LATER, etype=()
    )
    opened = got(kdc, FastTgsRequest(tgt=tgt, outer_body=outer))
    assert opened.rep.ticket.sname == WEB
    for body, code in (
        (replace(TGS_BODY, realm="OTHER.TEST"), ErrorCode.KDC_ERR_WRONG_REALM),
        (replace(TGS_BODY, sname=name("host", "no")), ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN),
        (replace(TGS_BODY, etype=(23,)), ErrorCode.KDC_ERR_ETYPE_NOSUPP),
    ):
        assert inside(kdc, FastTgsRequest(tgt=tgt, body=body))[0] == code


def test_renewal(kdc: Kdc, tgt: Tgt) -> None:
    """A TGT is renewed through the tunnel as well."""
    opened = got(kdc, FastTgsRequest(tgt=tgt, body=RENEW))
    assert not opened.part.flags & TicketFlag.INITIAL


def test_invalid_tgt(kdc: Kdc, tgt: Tgt) -> None:
    """Row T16: the option that lets one pass is the inner one."""

    def invalid(part: EncTicketPart) -> EncTicketPart:
        return replace(part, flags=part.flags | TicketFlag.INVALID)

    marked = golden(kdc, tgt, invalid)
    validate = replace(RENEW, kdc_options=KdcOption.VALIDATE)
    assert inside(kdc, FastTgsRequest(tgt=marked, outer_body=validate)) == (
        ErrorCode.KRB_AP_ERR_TKT_NYV,
        "the TGT is marked invalid",
    )
    opened = got(kdc, FastTgsRequest(tgt=marked, body=validate))
    assert not opened.part.flags & TicketFlag.INVALID


def test_tunnel_of_another_ap_req(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.2: the req-checksum covers the AP-REQ of the PA-TGS-REQ."""
    request = FastTgsRequest(tgt=tgt)
    wrapping = Wrapping(
        change_armored=lambda a: replace(
            a, req_checksum=replace(a.req_checksum, checksum=bytes(12))
        )
    )
    assert inside(kdc, replace(request, wrapping=wrapping)) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "the FAST request was made for another outer request",
    )


def test_unknown_critical_option(kdc: Kdc, tgt: Tgt) -> None:
    """Row T19: 93."""
    request = FastTgsRequest(tgt=tgt, wrapping=Wrapping(options=1 << 29))
    assert inside(kdc, request)[0] == ErrorCode.KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS


def test_hidden_names(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.2; Samba's test_fast_tgs_hide_client_names."""
    hiding = Wrapping(options=FastOption.HIDE_CLIENT_NAMES)
    opened = got(kdc, FastTgsRequest(tgt=tgt, wrapping=hiding))
    assert (opened.rep.crealm, opened.rep.cname) == (ANONYMOUS_REALM, ANONYMOUS)


def test_authenticator_in_another_packet_is_a_replay(kdc: Kdc, tgt: Tgt) -> None:
    """Row T15: FAST or not, and the refusal comes through the tunnel."""
    sent = FastTgsRequest(tgt=tgt).build()
    first = kdc.ask(sent.message, at=LATER)
    open_fast_reply(first, sent)
    assert kdc.ask(sent.message, at=LATER).reply == first.reply
    late = LATER + timedelta(seconds=90)
    outcome = kdc.ask(sent.message, at=late)
    fast_refusal(outcome, sent)
    assert refused(outcome) == (
        ErrorCode.KRB_AP_ERR_REPEAT,
        "the authenticator was used before",
    )


def test_s4u_inside_is_seen(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.5: padata count inside; a stray one outside does not."""
    junk = padata(PaType.FOR_USER, b"junk")
    assert kdc.ask(FastTgsRequest(tgt=tgt, inside=(junk,)).build().message, at=LATER).code != 0


def test_nt_status_goes_through_the_tunnel(kdc: Kdc) -> None:
    """MS-KILE 2.2.1: KERB-ERROR-DATA becomes padata of its data-type, as TYPED-DATA do."""
    tgt = password_tgt(kdc)
    to_pc1 = TgsRequest(tgt=tgt, body=replace(TGS_BODY, sname=PC1))
    evidence = service_ticket(kdc, to_pc1).tgt.ticket
    body = replace(
        TGS_BODY,
        kdc_options=KdcOption.CNAME_IN_ADDL_TKT,
        additional_tickets=(evidence,),
    )
    sent = FastTgsRequest(tgt=key_tgt(kdc, "pc1"), body=body).build()
    outcome = kdc.ask(sent.message, at=LATER)
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "the service may not delegate to any other",
    )
    status = fast_refusal(outcome, sent).value(KERB_ERR_TYPE_EXTENDED)
    assert status[:4] == NtStatus.NOT_SUPPORTED.to_bytes(4, "little")


# -- explicit armor --------------------------------------------------------------------------


def test_compound_identity_gets_a_ticket(kdc: Kdc, tgt: Tgt) -> None:
    """MS-KILE 3.2.5.4; Samba's test_fast_tgs_armor: the device's TGT takes part in the key."""
    armor = Armor(tgt=key_tgt(kdc, "pc1"))
    sent = FastTgsRequest(tgt=tgt, armor=armor).build()
    outcome = kdc.ask(sent.message, at=LATER)
    opened = open_fast_reply(outcome, sent)
    assert opened.response.finished is not None
    assert opened.response.finished.cname == tgt.cname
    assert outcome.facts["fast_armor"] == "pc1$"


def test_compound_identity_with_a_service_ticket(kdc: Kdc, tgt: Tgt) -> None:
    """Row T19: a non-TGT cannot be an armor ticket."""
    host = key_tgt(kdc, "pc1")
    ticket = got(kdc, FastTgsRequest(tgt=host)).rep.ticket
    armor = Armor(tgt=replace(host, ticket=ticket))
    assert refused(ask_fast(kdc, FastTgsRequest(tgt=tgt, armor=armor))) == (
        ErrorCode.KRB_AP_ERR_NOT_US,
        "the ticket is not a TGT of this realm",
    )


def test_compound_identity_of_a_disabled_device(kdc: Kdc, tgt: Tgt) -> None:
    """Row T20 for the armor."""
    armor = Armor(tgt=key_tgt(kdc, "pc1"))
    kdc.store.update_account(kdc.account_id("pc1$"), AccountChanges(disabled=True))
    assert refused(ask_fast(kdc, FastTgsRequest(tgt=tgt, armor=armor)))[0] == (
        ErrorCode.KDC_ERR_CLIENT_REVOKED
    )


def test_tunnel_with_another_key(kdc: Kdc, tgt: Tgt) -> None:
    """The armor key is made of subkey and session key, and of nothing else."""
    armor = Armor(tgt=key_tgt(kdc, "pc1"))
    wrong = replace(armor, subkey=random_key())
    wrapping = Wrapping(change_armored=lambda a: replace(a, armor=wrong.value()))
    outcome = ask_fast(kdc, FastTgsRequest(tgt=tgt, armor=armor, wrapping=wrapping))
    assert refused(outcome)[0] == ErrorCode.KRB_AP_ERR_BAD_INTEGRITY


# -- AD-fx-fast-armor and AD-fx-fast-used ----------------------------------------------------

ARMOR = AuthorizationDataElement(ad_type=AdType.FX_FAST_ARMOR, ad_data=b"")
USED = AuthorizationDataElement(ad_type=AdType.FX_FAST_USED, ad_data=b"")


def marked(tgt: Tgt, mark: AuthorizationDataElement) -> TgsRequest:
    """Return a request whose authenticator is marked."""
    return TgsRequest(
        tgt=tgt,
        change_authenticator=lambda a: replace(a, authorization_data=(mark,)),
    )


def marked_ticket(kdc: Kdc, tgt: Tgt, mark: AuthorizationDataElement) -> Tgt:
    """Return a TGT that is marked."""

    def add(part: EncTicketPart) -> EncTicketPart:
        return replace(part, authorization_data=(*(part.authorization_data or ()), mark))

    return golden(kdc, tgt, add)


def test_armor_only_is_refused_in_a_tunnel_too(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.1.1: not to obtain a ticket via the TGS; MIT answers 12."""
    refusal = (ErrorCode.KDC_ERR_POLICY, ARMOR_ONLY)
    assert refused(ask_fast(kdc, FastTgsRequest(tgt=tgt, request=marked(tgt, ARMOR)))) == refusal
    only = marked_ticket(kdc, tgt, ARMOR)
    assert refused(ask_fast(kdc, FastTgsRequest(tgt=only))) == refusal


def test_armor_only_ticket_armors(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.1.1; Samba's test_fast_ad_fx_fast_armor_ticket2."""
    only = marked_ticket(kdc, key_tgt(kdc, "pc1"), ARMOR)
    got(kdc, FastTgsRequest(tgt=tgt, armor=Armor(tgt=only)))


def test_fast_that_was_taken_away(kdc: Kdc, tgt: Tgt) -> None:
    """RFC 6113 5.4.2: AD-fx-fast-used without FAST is KRB_AP_ERR_MODIFIED."""
    refusal = (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "the client used FAST, and the request has none",
    )
    assert refused(ask_tgs(kdc, marked(tgt, USED))) == refusal
    used = marked_ticket(kdc, tgt, USED)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=used))) == refusal
    got(kdc, FastTgsRequest(tgt=tgt, request=marked(tgt, USED)))
    got(kdc, FastTgsRequest(tgt=used))


@pytest.mark.parametrize("mark", [ARMOR, USED], ids=["armor", "used"])
def test_client_may_mark_its_ticket(kdc: Kdc, tgt: Tgt, mark: AuthorizationDataElement) -> None:
    """RFC 6113 5.4.1.1: a privileged process gets an armor TGT by enc-authorization-data."""
    forward = replace(TGS_BODY, kdc_options=KdcOption.FORWARDED, sname=tgt.ticket.sname)
    request = TgsRequest(tgt=tgt, body=forward, brought=(mark,))
    assert ask_tgs(kdc, request).code == 0
    for bad in (replace(mark, ad_data=b"x"), AuthorizationDataElement(ad_type=128, ad_data=b"")):
        assert ask_tgs(kdc, replace(request, brought=(bad,))).code == ErrorCode.KDC_ERR_POLICY
