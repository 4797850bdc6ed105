"""What a TGS-REQ gets: names, flags, times, keys, addresses, authorization data of its ticket."""

from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import NewAccount
from directory.model import AccountKind
from kdc.pac import KEY_TRUST, PacType, parse_pac, split_ticket, verify_pac
from kdc.pac.buffers import decode_logon_info
from kdc.wire.constants import AdType, ErrorCode, KdcOption, NameType, TicketFlag
from kdc.wire.rfc4120 import AuthorizationDataElement, HostAddress
from pki import asn1
from tests.kdc.builders import (
    KRBTGT,
    NOW,
    REALM,
    Kdc,
    name,
    random_keys,
    refused,
)
from tests.kdc.tgs_builders import (
    LATER,
    RENEW,
    TGS_BODY,
    WEB,
    TgsRequest,
    ask_tgs,
    if_relevant,
    key_tgt,
    krbtgt_key,
    open_tgs_reply,
    pac_of,
    password_tgt,
    ready,
    second_tickets,
    service_ticket,
)

UNKNOWN = (ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, "no service of the name asked for")
SRV = NameType.SRV_INST


def test_service_ticket(kdc: Kdc) -> None:
    """RFC 4120 3.3.3: sealed for the service, from now to the TGT's end, forwardable as asked."""
    tgt = password_tgt(kdc)
    opened = service_ticket(kdc, TgsRequest(tgt=tgt))
    assert opened.part.sname == WEB
    assert opened.part.starttime == LATER
    assert opened.part.endtime == tgt.part.endtime
    assert opened.part.renew_till is None
    assert opened.part.flags == TicketFlag.PRE_AUTHENT | TicketFlag.FORWARDABLE
    assert opened.ticket.transited == tgt.part.transited
    assert opened.part.key != tgt.part.key


def test_ticket_without_a_subkey(kdc: Kdc) -> None:
    """RFC 4120 3.3.3: without a subkey the session key seals the reply, with key usage 8."""
    service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), subkey=None))


def test_facts_for_the_audit_record(kdc: Kdc) -> None:
    """What event 4769 needs."""
    outcome = ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc)))
    assert outcome.exchange == "TGS"
    facts = outcome.facts
    assert (facts["client"], facts["account"], facts["service"]) == (
        "pat",
        "pat",
        "host/web.lab.test",
    )
    assert (facts["etype"], facts["session_etype"]) == (18, 18)
    assert facts["kdc_options"] == f"0x{TGS_BODY.kdc_options:08x}"


# -- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sname",
    [
        ("HOST", "WEB.lab.TEST"),
        ("host", "web"),
        ("cifs", "web.lab.test"),
        ("http", "web"),
        ("host", "pc1.lab.test"),
        ("RPCSS", "pc1"),
    ],
)
def test_names_of_a_service(kdc: Kdc, sname: tuple[str, ...]) -> None:
    """Any case, short hosts, classes that Windows counts to HOST; the ticket says it as asked."""
    body = replace(TGS_BODY, sname=name(*sname, name_type=SRV))
    opened = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))
    assert opened.part.sname.name_string == sname


@pytest.mark.parametrize("canonicalize", [0, KdcOption.CANONICALIZE])
@pytest.mark.parametrize(
    ("sname", "name_type", "canonical"),
    [
        ("pc1$", NameType.PRINCIPAL, None),
        ("PC1", NameType.PRINCIPAL, None),
        ("PC1$@LAB.TEST", NameType.ENTERPRISE, "pc1$"),
    ],
)
def test_names_of_an_account(
    kdc: Kdc, sname: str, name_type: int, canonical: str | None, canonicalize: int
) -> None:
    """RFC 6806: only an enterprise name is replaced, when the client asked for it."""
    options = TGS_BODY.kdc_options | canonicalize
    body = replace(TGS_BODY, sname=name(sname, name_type=name_type), kdc_options=options)
    sent = TgsRequest(tgt=password_tgt(kdc), body=body).build()
    outcome = kdc.ask(sent.message, at=LATER)
    assert (outcome.code, outcome.facts["account"]) == (0, "pat")
    if canonicalize and canonical:
        opened = open_tgs_reply(outcome, sent, kdc)
        assert opened.part.sname == name(canonical)
    elif canonical is None:
        assert open_tgs_reply(outcome, sent, kdc).part.sname == name(sname)


@pytest.mark.parametrize(
    "sname",
    [
        ("host", "other.lab.test"),
        ("ldap", "web.lab.test"),
        ("host/web.lab.test",),
        ("host", "web.lab.test", "x"),
        ("host", ""),
        ("",),
        ("nobody",),
        ("host", "web.lab.test/x"),
        (),
    ],
)
def test_unknown_service(kdc: Kdc, sname: tuple[str, ...]) -> None:
    """RFC 4120 3.3.3 (KDC_ERR_S_PRINCIPAL_UNKNOWN); rows N05, A10."""
    body = replace(TGS_BODY, sname=name(*sname, name_type=SRV))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == UNKNOWN


@pytest.mark.parametrize("parts", [("krbtgt", "OTHER.TEST"), ("krbtgt",), ("krbtgt", REALM, "x")])
def test_no_referral_to_another_realm(kdc: Kdc, parts: tuple[str, ...]) -> None:
    """There is no trust: 7."""
    body = replace(TGS_BODY, sname=name(*parts, name_type=SRV))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN,
        "there is no trust to the realm asked for",
    )


def test_absent_service_is_unknown(kdc: Kdc) -> None:
    """Row T17; CVE-2021-37750: a TGS-REQ without sname."""
    body = replace(TGS_BODY, sname=None)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == UNKNOWN


def test_krbtgt_is_found_by_no_other_name(kdc: Kdc) -> None:
    """Its account is no service: only krbtgt/REALM leads to it."""
    body = replace(TGS_BODY, sname=name("krbtgt$"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == UNKNOWN


def test_realm_of_the_request_must_be_ours(kdc: Kdc) -> None:
    """Row N01 in a TGS-REQ: 68."""
    body = replace(TGS_BODY, realm="OTHER.TEST")
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        ErrorCode.KDC_ERR_WRONG_REALM,
        "this KDC does not serve the realm named",
    )


def test_disabled_service(kdc: Kdc) -> None:
    """KDC_ERR_SERVICE_REVOKED."""
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="old",
            created_at=NOW,
            spns=("host/old.lab.test",),
            keys=random_keys("old"),
            disabled=True,
        )
    )
    body = replace(TGS_BODY, sname=name("host", "old.lab.test", name_type=SRV))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        ErrorCode.KDC_ERR_SERVICE_REVOKED,
        "the service's account is disabled",
    )


def test_user_who_is_no_service_is_for_user_to_user_only(kdc: Kdc) -> None:
    """A ticket sealed with a password's key lets anybody guess the password (kerberoasting)."""
    body = replace(TGS_BODY, sname=name("pat"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=key_tgt(kdc), body=body))) == (
        ErrorCode.KDC_ERR_MUST_USE_USER2USER,
        "a user who is no service: user to user only",
    )


# -- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_session_key_is_of_the_clients_first_type(kdc: Kdc, etype: int) -> None:
    """RFC 4120 3.3.3: the client's list decides among what the service has."""
    body = replace(TGS_BODY, etype=(23, etype, 18))
    opened = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), body=body, subkey=etype))
    assert opened.part.key.keytype == etype


def test_session_key_is_of_a_type_that_the_service_has(kdc: Kdc) -> None:
    """The service could not use another: its keys tell what it knows."""
    keys = tuple(key for key in random_keys("old") if key.etype == 17)
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="old",
            created_at=NOW,
            spns=("host/old.lab.test",),
            keys=keys,
        )
    )
    old = name("host", "old.lab.test", name_type=SRV)
    tgt = password_tgt(kdc)
    opened = service_ticket(kdc, TgsRequest(tgt=tgt, body=replace(TGS_BODY, sname=old)))
    assert opened.part.key.keytype == 17
    assert opened.tgs_rep.ticket.enc_part.etype == 17
    body = replace(TGS_BODY, sname=old, etype=(18, 20))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "no encryption type of the request is supported here",
    )


def test_ticket_is_sealed_with_the_newest_key(kdc: Kdc) -> None:
    """Keys of two generations overlap: new tickets take the new one."""
    web = kdc.account_id("web")
    kdc.store.set_keys(web, random_keys("web", 2), keep_generations=1)
    opened = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc)))
    assert opened.sealed_with is not None
    assert opened.sealed_with.kvno == 2


def test_service_without_keys(kdc: Kdc) -> None:
    """KDC_ERR_NULL_KEY."""
    kdc.store.set_keys(kdc.account_id("web"), ())
    outcome = ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc)))
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_NULL_KEY,
        "the service has no key of a supported type",
    )


# -- times and flags -------------------------------------------------------------------------


def test_till_shortens_the_ticket(kdc: Kdc) -> None:
    """RFC 4120 3.3.3."""
    till = LATER + timedelta(hours=1)
    opened = service_ticket(
        kdc, TgsRequest(tgt=password_tgt(kdc), body=replace(TGS_BODY, till=till))
    )
    assert opened.part.endtime == till


def test_till_of_1970_is_the_longest(kdc: Kdc) -> None:
    """RFC 4120 5.4.1."""
    tgt = password_tgt(kdc)
    body = replace(TGS_BODY, till=TGS_BODY.till.fromtimestamp(0, TGS_BODY.till.tzinfo))
    assert service_ticket(kdc, TgsRequest(tgt=tgt, body=body)).part.endtime == tgt.part.endtime


def test_till_in_the_past_is_never_valid(kdc: Kdc) -> None:
    """KDC_ERR_NEVER_VALID."""
    outcome = ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=replace(TGS_BODY, till=LATER)))
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_NEVER_VALID,
        "the requested end time has passed",
    )


def test_postdated_ticket_is_refused(kdc: Kdc) -> None:
    """A start in the future: KDC_ERR_CANNOT_POSTDATE; the option itself: KDC_ERR_BADOPTION."""
    tgt = password_tgt(kdc)
    body = replace(TGS_BODY, from_=LATER + timedelta(minutes=6))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == (
        ErrorCode.KDC_ERR_CANNOT_POSTDATE,
        "postdated tickets are not issued",
    )
    body = replace(body, kdc_options=KdcOption.POSTDATED)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "an option for tickets that are not issued is set",
    )


def test_start_within_the_clock_skew_is_now(kdc: Kdc) -> None:
    """A client whose clock is ahead asks for a start that is a little in the future."""
    body = replace(TGS_BODY, from_=LATER + timedelta(minutes=4))
    opened = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))
    assert opened.part.starttime == LATER


@pytest.mark.parametrize("options", [KdcOption.FORWARDED, KdcOption.PROXY, KdcOption.VALIDATE])
def test_what_the_tgt_does_not_allow(kdc: Kdc, options: int) -> None:
    """RFC 4120 3.3.3: KDC_ERR_BADOPTION; VALIDATE needs an invalid TGT."""
    tgt = password_tgt(kdc, kdc_options=0)
    body = replace(TGS_BODY, kdc_options=options)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body))) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "the TGT's flags do not allow what is asked for",
    )


def test_forwardable_is_left_out_when_the_tgt_is_not(kdc: Kdc) -> None:
    """Clients ask for it without looking; they get less, not an error."""
    opened = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc, kdc_options=0)))
    assert opened.part.flags == TicketFlag.PRE_AUTHENT


@pytest.mark.parametrize(
    "options",
    [
        KdcOption.RENEW | KdcOption.FORWARDED,
        KdcOption.RENEW | KdcOption.ENC_TKT_IN_SKEY,
    ],
)
def test_options_that_exclude_each_other(kdc: Kdc, options: int) -> None:
    """KDC_ERR_BADOPTION rather than one of the two at random."""
    body = replace(TGS_BODY, kdc_options=options, sname=KRBTGT)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "options that exclude each other",
    )


ADDRESS = HostAddress(addr_type=2, address=bytes((192, 0, 2, 7)))
OTHER_ADDRESS = HostAddress(addr_type=2, address=bytes((192, 0, 2, 8)))
NETBIOS = HostAddress(addr_type=20, address=b"PC1             ")


def test_forwarded_tgt(kdc: Kdc) -> None:
    """RFC 4120 2.6: FORWARDED, other addresses, renewable as before; its tickets say so as well."""
    tgt = password_tgt(kdc)
    options = KdcOption.FORWARDED | KdcOption.FORWARDABLE | KdcOption.RENEWABLE
    body = replace(
        TGS_BODY,
        kdc_options=options,
        sname=KRBTGT,
        rtime=NOW + timedelta(days=1),
        addresses=(ADDRESS,),
    )
    opened = service_ticket(kdc, TgsRequest(tgt=tgt, body=body))
    flags = TicketFlag.FORWARDED | TicketFlag.FORWARDABLE | TicketFlag.RENEWABLE
    assert opened.part.flags == flags | TicketFlag.PRE_AUTHENT
    assert opened.part.caddr == (ADDRESS,)
    assert opened.part.renew_till == NOW + timedelta(days=1)
    derived = service_ticket(kdc, TgsRequest(tgt=opened.tgt))
    assert derived.part.flags & TicketFlag.FORWARDED
    assert derived.part.caddr == (ADDRESS,)


def test_proxy_ticket(kdc: Kdc) -> None:
    """RFC 4120 2.5: PROXY and other addresses; a TGT is never a proxy."""
    tgt = password_tgt(kdc, kdc_options=KdcOption.PROXIABLE)
    body = replace(TGS_BODY, kdc_options=KdcOption.PROXY, addresses=(OTHER_ADDRESS,))
    opened = service_ticket(kdc, TgsRequest(tgt=tgt, body=body))
    assert opened.part.flags == TicketFlag.PROXY | TicketFlag.PRE_AUTHENT
    assert opened.part.caddr == (OTHER_ADDRESS,)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=replace(body, sname=KRBTGT)))) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "a TGT is neither proxied, user to user nor delegated",
    )


def test_addresses_of_the_tgt_bind(kdc: Kdc) -> None:
    """RFC 4120 3.3.2 (KRB_AP_ERR_BADADDR); a NetBIOS name cannot be compared."""
    there = password_tgt(kdc, addresses=(OTHER_ADDRESS, NETBIOS))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=there))) == (
        ErrorCode.KRB_AP_ERR_BADADDR,
        "the ticket is for another address",
    )
    here = password_tgt(kdc, addresses=(OTHER_ADDRESS, ADDRESS), at=NOW + timedelta(seconds=1))
    assert service_ticket(kdc, TgsRequest(tgt=here)).part.caddr == (OTHER_ADDRESS, ADDRESS)
    windows = password_tgt(kdc, addresses=(NETBIOS,), at=NOW + timedelta(seconds=2))
    assert service_ticket(kdc, TgsRequest(tgt=windows)).part.caddr == (NETBIOS,)


def test_service_tickets_are_not_renewable(kdc: Kdc) -> None:
    """Only a TGT is renewed here, so nothing else says that it could be."""
    options = KdcOption.RENEWABLE | KdcOption.RENEWABLE_OK
    body = replace(TGS_BODY, kdc_options=options, till=NOW + timedelta(days=3))
    opened = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))
    assert opened.part.renew_till is None
    assert not opened.part.flags & TicketFlag.RENEWABLE


def test_forwarded_tgt_is_renewable_for_a_longer_till(kdc: Kdc) -> None:
    """RENEWABLE-OK, RFC 4120 2.9.1."""
    options = KdcOption.FORWARDED | KdcOption.RENEWABLE_OK
    till = NOW + timedelta(days=1)
    body = replace(TGS_BODY, kdc_options=options, till=till, sname=KRBTGT)
    assert service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc), body=body)).part.renew_till == till


# -- renewal ---------------------------------------------------------------------------------


def test_renewed_tgt(kdc: Kdc) -> None:
    """RFC 4120 3.3.3: its old life over again; not INITIAL, for nothing was proven anew."""
    tgt = password_tgt(kdc)
    opened = service_ticket(kdc, TgsRequest(tgt=tgt, body=RENEW))
    assert opened.part.starttime == LATER
    assert opened.part.endtime - LATER == tgt.part.endtime - NOW
    assert opened.part.renew_till == tgt.part.renew_till
    assert opened.part.flags == tgt.part.flags & ~TicketFlag.INITIAL
    service_ticket(kdc, TgsRequest(tgt=opened.tgt))


def test_renewal_ends_with_renew_till(kdc: Kdc) -> None:
    """RFC 4120 2.3: never beyond."""
    tgt = password_tgt(kdc, rtime=NOW + timedelta(hours=10))
    at = NOW + timedelta(hours=7)
    opened = service_ticket(kdc, TgsRequest(tgt=tgt, body=RENEW, ctime=at), at=at)
    assert opened.part.endtime == opened.part.renew_till == NOW + timedelta(hours=10)


def test_renewed_ticket_can_be_used_when_the_old_one_has_expired(kdc: Kdc) -> None:
    """And the old one cannot."""
    tgt = password_tgt(kdc)
    at = NOW + timedelta(hours=7)
    renewed = service_ticket(kdc, TgsRequest(tgt=tgt, body=RENEW, ctime=at), at=at).tgt
    at = NOW + timedelta(hours=9)
    body = replace(TGS_BODY, till=NOW + timedelta(hours=20))
    service_ticket(kdc, TgsRequest(tgt=renewed, body=body, ctime=at), at=at)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body, ctime=at), at=at)) == (
        ErrorCode.KRB_AP_ERR_TKT_EXPIRED,
        "the TGT has expired",
    )


def test_only_a_tgt_is_renewed(kdc: Kdc) -> None:
    """KDC_ERR_SERVER_NOMATCH: a TGT is not renewed into another service's ticket."""
    body = replace(RENEW, sname=WEB)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), body=body))) == (
        ErrorCode.KDC_ERR_SERVER_NOMATCH,
        "only a TGT is renewed or validated, as itself",
    )


# -- user to user ----------------------------------------------------------------------------


def test_user_to_user(kdc: Kdc) -> None:
    """RFC 4120 3.3.3: sealed with the session key of the other's TGT."""
    bob, pat = key_tgt(kdc, "bob"), password_tgt(kdc)
    sent = TgsRequest(tgt=pat, body=second_tickets(bob, user="bob")).build()
    opened = open_tgs_reply(kdc.ask(sent.message, at=LATER), sent, kdc, second=bob)
    assert opened.part.sname == name("bob")
    found = parse_pac(pac_of(opened.ticket))
    assert found.buffer(PacType.TICKET_CHECKSUM) is not None


# -- PAC and other authorization data --------------------------------------------------------


def test_pac_of_a_service_ticket(kdc: Kdc) -> None:
    """All signatures right; S-1-18-4 of a key-trust logon is in it; nothing of the TGT's own is."""
    tgt = key_tgt(kdc)
    sent = TgsRequest(tgt=tgt).build()
    outcome = kdc.ask(sent.message, at=LATER)
    opened = open_tgs_reply(outcome, sent, kdc)
    pac = parse_pac(pac_of(opened.ticket))
    split = split_ticket(asn1.encode(opened.ticket))
    assert opened.sealed_with is not None
    verified = verify_pac(
        pac,
        server_key=ready(opened.sealed_with),
        krbtgt_keys=(ready(krbtgt_key(kdc, tgt.ticket)),),
        ticket=split.signed,
    )
    alice = kdc.store.account_by_name("alice")
    assert alice is not None
    assert verified.logon_info.sid == alice.sid
    assert KEY_TRUST in verified.logon_info.extra_sids
    assert verified.client_info.name == "alice"
    assert verified.client_info.authtime == tgt.part.authtime
    assert (verified.requestor, verified.attributes) == (None, None)
    assert pac.buffer(PacType.CREDENTIAL_INFO) is None


def test_pac_says_what_the_directory_says_today(kdc: Kdc) -> None:
    """Design requirement 9: a group joined after the logon is in the next ticket."""
    tgt = key_tgt(kdc)
    group = kdc.store.add_group("Staff")
    kdc.store.add_member(group, account_id=kdc.account_id("alice"))
    before = parse_pac(pac_of(tgt.part)).buffer(PacType.LOGON_INFO)
    opened = service_ticket(kdc, TgsRequest(tgt=tgt))
    after = parse_pac(pac_of(opened.ticket)).buffer(PacType.LOGON_INFO)
    assert before is not None
    assert after is not None
    assert decode_logon_info(before).group_ids == (513,)
    assert len(decode_logon_info(after).group_ids) == 2


def test_realm_without_pac(kdc: Kdc) -> None:
    """`pac = false`: neither TGT nor service ticket has one, and none is asked for."""
    kdc.configure(pac=False)
    opened = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc)))
    assert opened.ticket.authorization_data is None
    renewed = service_ticket(kdc, TgsRequest(tgt=password_tgt(kdc, at=LATER), body=RENEW))
    assert renewed.ticket.authorization_data is None


RESTRICTION = (141, b"a restriction of Windows' own")


def test_clients_own_authorization_data_are_taken_over(kdc: Kdc) -> None:
    """RFC 4120 3.3.3: inside AD-IF-RELEVANT, after the PAC; with and without a subkey."""
    tgt = password_tgt(kdc)
    element = if_relevant(RESTRICTION)
    for subkey in (18, None):
        opened = service_ticket(kdc, TgsRequest(tgt=tgt, brought=(element,), subkey=subkey))
        data = opened.ticket.authorization_data
        assert data is not None
        assert data[1:] == (element,)
        pac_of(opened.ticket)


def test_restrictions_of_a_tgt_are_not_shed(kdc: Kdc) -> None:
    """What a forwarded TGT was restricted to restricts every ticket got with it."""
    element = if_relevant(RESTRICTION)
    body = replace(TGS_BODY, kdc_options=KdcOption.FORWARDED, sname=KRBTGT)
    forwarded = service_ticket(
        kdc, TgsRequest(tgt=password_tgt(kdc), body=body, brought=(element,))
    ).tgt
    opened = service_ticket(kdc, TgsRequest(tgt=forwarded))
    assert opened.ticket.authorization_data is not None
    assert element in opened.ticket.authorization_data


@pytest.mark.parametrize(
    "ad_type",
    [
        AdType.WIN2K_PAC,
        AdType.KDC_ISSUED,
        AdType.CAMMAC,
        AdType.AUTHENTICATION_INDICATOR,
        AdType.IF_RELEVANT,
        AdType.AND_OR,
        AdType.SIGNTICKET,
    ],
)
def test_client_may_not_speak_for_the_kdc(kdc: Kdc, ad_type: int) -> None:
    """MS14-068: a PAC that the client brings is never used; nor is anything of its kind."""
    pac = pac_of(key_tgt(kdc, "bob").part)
    brought = (if_relevant(RESTRICTION, (ad_type, pac)),)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), brought=brought))) == (
        ErrorCode.KDC_ERR_POLICY,
        "the client brings authorization data that only a KDC may make",
    )


def test_client_may_not_bind_the_service(kdc: Kdc) -> None:
    """Outside AD-IF-RELEVANT a service that does not know an element must refuse the ticket."""
    brought = (AuthorizationDataElement(ad_type=AdType.WIN2K_PAC, ad_data=b"x"),)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), brought=brought))) == (
        ErrorCode.KDC_ERR_POLICY,
        "the client brings authorization data outside AD-IF-RELEVANT",
    )
