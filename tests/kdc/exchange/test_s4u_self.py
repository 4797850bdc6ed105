"""S4U2Self (MS-SFU 3.2.5.1): tickets to oneself in a user's name."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kdc.crypto.etypes import make_checksum
from kdc.explain.tree import message_tree
from kdc.pac import PacType, parse_pac, split_ticket, verify_pac
from kdc.wire.constants import ErrorCode, KdcOption, NameType, PaType
from kdc.wire.ms_sfu import PaS4UX509User
from kdc.wire.rfc4120 import EncTicketPart, PrincipalName
from pki import asn1
from tests.kdc.builders import (
    BODY,
    KRBTGT,
    NOW,
    REALM,
    Kdc,
    add_hello_key,
    as_req,
    hello_key,
    name,
    padata,
    password_keys,
    refused,
)
from tests.kdc.s4u_builders import (
    PC1,
    SELF_BODY,
    ForUser,
    S4UTicket,
    X509User,
    ask_for,
    change,
    open_s4u,
)
from tests.kdc.tgs_builders import (
    LATER,
    WEB,
    TgsRequest,
    ask_tgs,
    key_tgt,
    pac_of,
    password_tgt,
    ready,
)
from tests.pki import issued

SERVICE_ASSERTED = "S-1-18-2"
WRONG_TYPE = (
    ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
    "the checksum of S4U2Self is not of a type that proves anything",
)
WRONG_CHECKSUM = (
    ErrorCode.KRB_AP_ERR_MODIFIED,
    "the checksum of S4U2Self is of another user or key",
)
NOBODY = (
    ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN,
    "no user of the name that a service asks for",
)


def _extra_sids(kdc: Kdc, got: S4UTicket) -> list[str]:
    found = split_ticket(asn1.encode(got.ticket))
    assert found.pac is not None
    krbtgt = [ready(key) for key in kdc.store.krbtgt().keys]
    verified = verify_pac(
        parse_pac(found.pac), server_key=ready(got.key), krbtgt_keys=krbtgt, ticket=found.signed
    )
    user = kdc.store.account_by_name(got.ticket.cname.name_string[0])
    assert user is not None
    assert verified.logon_info.sid == user.sid
    assert verified.client_info.name == user.sam_account_name
    return [str(sid) for sid in verified.logon_info.extra_sids]


# -- the ticket ------------------------------------------------------------------------------


def test_service_gets_a_ticket_to_itself_in_a_users_name(kdc: Kdc) -> None:
    """MS-SFU 3.2.5.1.2: cname is the user, the PAC is the user's, S-1-18-2 in place of -1."""
    tgt = key_tgt(kdc, "pc1")
    answer = ask_for(kdc, tgt)
    got = open_s4u(answer, kdc)
    assert got.ticket.cname == name("pat")
    assert got.part.sname == PC1
    assert got.ticket.authtime == tgt.part.authtime
    assert _extra_sids(kdc, got) == [SERVICE_ASSERTED]
    kinds = set(parse_pac(pac_of(got.ticket)).buffers)
    assert kinds.isdisjoint({PacType.REQUESTOR, PacType.ATTRIBUTES_INFO, PacType.CREDENTIAL_INFO})
    facts = answer[0].facts
    assert (facts["s4u"], facts["account"], facts["s4u_account"]) == ("self", "pc1$", "pat")


def test_users_tgt_is_not_changed_by_what_a_service_asks(kdc: Kdc) -> None:
    """What the KDC remembers of an opened TGT says the same before and after."""
    tgt = key_tgt(kdc, "pc1")
    before = ask_tgs(kdc, TgsRequest(tgt=tgt))
    open_s4u(ask_for(kdc, tgt), kdc)
    after = ask_tgs(kdc, TgsRequest(tgt=tgt))
    assert (before.code, after.code) == (0, 0)
    assert after.facts["client"] == "pc1$"
    assert "s4u" not in after.facts


def test_checksum_of_the_session_keys_own_type(kdc: Kdc) -> None:
    """Heimdal's client sends it in place of HMAC-MD5; it proves as much."""
    asked = ForUser(cksumtype=16)
    assert open_s4u(ask_for(kdc, key_tgt(kdc, "pc1"), asked), kdc).ticket.cname == name("pat")


@pytest.mark.parametrize(
    ("user", "name_type", "in_ticket"),
    [
        ("pat", NameType.PRINCIPAL, "pat"),
        ("PAT", NameType.PRINCIPAL, "PAT"),
        ("pat@lab.test", NameType.ENTERPRISE, "pat"),
        ("Alice.Adams@corp.example", NameType.ENTERPRISE, "alice"),
        ("robert", NameType.PRINCIPAL, "bob"),
        ("pc1", NameType.PRINCIPAL, "pc1$"),
    ],
)
def test_names_of_a_user(kdc: Kdc, user: str, name_type: int, in_ticket: str) -> None:
    """By sAMAccountName or UPN; what is more than another case of the name is replaced by it."""
    asked = ForUser(user=name(user, name_type=name_type))
    got = open_s4u(ask_for(kdc, key_tgt(kdc, "pc1"), asked), kdc)
    assert got.ticket.cname.name_string == (in_ticket,)


@pytest.mark.parametrize(
    "sname",
    [name("pc1$"), name("HOST", "PC1", name_type=NameType.SRV_INST), name("cifs", "pc1.lab.test")],
)
def test_names_of_the_service_itself(kdc: Kdc, sname: PrincipalName) -> None:
    """Any of its own names."""
    body = replace(SELF_BODY, sname=sname)
    assert open_s4u(ask_for(kdc, key_tgt(kdc, "pc1"), body=body), kdc).part.sname == sname


def test_reply_answers_pa_s4u_x509_user(kdc: Kdc) -> None:
    """MS-SFU 2.2.2: the request's nonce, the ticket's name, a checksum with usage 27 if asked."""
    for options, usage in ((1 << 29, 27), (None, 26), (1 << 30, 26)):
        tgt = key_tgt(kdc, "pc1")
        answer = ask_for(kdc, tgt, X509User(options=options))
        got = open_s4u(answer, kdc)
        assert got.reply.padata is not None
        (pa,) = got.reply.padata
        assert pa.padata_type == PaType.S4U_X509_USER
        said = asn1.decode(PaS4UX509User, pa.padata_value)
        assert (said.user_id.nonce, said.user_id.cname) == (SELF_BODY.nonce, name("pat"))
        assert said.user_id.crealm == REALM
        mac = make_checksum(tgt.session, usage, said.user_id.raw)
        assert (said.checksum.cksumtype, said.checksum.checksum) == (16, mac)


def test_reply_names_the_user_as_the_ticket_does(kdc: Kdc) -> None:
    """MIT's client compares the two; it may have sent an enterprise name, or its realm's alias."""
    asked = X509User(user=name("robert@lab.test", name_type=NameType.ENTERPRISE), realm="lab")
    got = open_s4u(ask_for(kdc, key_tgt(kdc, "pc1"), asked), kdc)
    (pa,) = got.reply.padata or ()
    said = asn1.decode(PaS4UX509User, pa.padata_value).user_id
    assert (said.cname, said.crealm) == (got.ticket.cname, REALM) == (name("bob"), REALM)


def test_pa_s4u_x509_user_goes_before_pa_for_user(kdc: Kdc) -> None:
    """MS-SFU 3.1.5.1.1.1: a client that sends both means one; the stronger is read."""
    tgt = key_tgt(kdc, "pc1")
    other = ForUser(user=name("bob")).build(tgt.session)
    assert open_s4u(ask_for(kdc, tgt, X509User(), more=(other,)), kdc).ticket.cname == name("pat")


def test_user_named_by_a_certificate(kdc: Kdc) -> None:
    """The account on which the certificate's key is registered, with a name or without."""
    certificate = issued.hello("alice").certificate_der
    for user in (None, name(""), name("alice")):
        asked = X509User(user=user, certificate=certificate)
        got = open_s4u(ask_for(kdc, key_tgt(kdc, "pc1"), asked), kdc)
        assert got.ticket.cname == name("alice")
        (pa,) = got.reply.padata or ()
        assert asn1.decode(PaS4UX509User, pa.padata_value).user_id.cname == name("alice")


def test_service_asks_whose_certificate_it_is(kdc: Kdc) -> None:
    """MS-SFU 3.1.5.1.1: an AS-REQ without a name is told that a proof is needed, or 6."""
    unknown = (ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "no account of the client's name")
    needed = (ErrorCode.KDC_ERR_PREAUTH_REQUIRED, "no pre-authentication data")
    alice, stranger = (issued.hello(who).certificate_der for who in ("alice", "stranger"))
    for value, expected in ((alice, needed), (stranger, unknown), (b"\x30\x00", unknown)):
        pa = padata(PaType.S4U_X509_USER, value)
        for cname in (name(""), name(), None):
            assert refused(kdc.ask(as_req(replace(BODY, cname=cname), pa))) == expected
    named = as_req(replace(BODY, cname=name("nobody")), padata(PaType.S4U_X509_USER, alice))
    assert refused(kdc.ask(named)) == unknown


# -- who may be shown as evidence ------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "allowed", "forwardable"),
    [
        (False, (), True),
        (False, ("host/web.lab.test",), False),
        (True, ("host/web.lab.test",), True),
        (True, (), True),
    ],
)
def test_forwardable(kdc: Kdc, trusted: bool, allowed: tuple[str, ...], forwardable: bool) -> None:
    """MS-SFU 3.2.5.1.2: without protocol transition, only where resources alone decide."""
    change(
        kdc,
        "pc1$",
        trusted_to_authenticate_for_delegation=trusted,
        allowed_to_delegate_to=allowed,
    )
    assert open_s4u(ask_for(kdc, key_tgt(kdc, "pc1")), kdc).forwardable is forwardable


def test_user_who_may_not_be_delegated(kdc: Kdc) -> None:
    """MS-SFU 3.2.5.1.2: never forwardable, trusted or not."""
    change(kdc, "pc1$", trusted_to_authenticate_for_delegation=True)
    change(kdc, "pat", not_delegated=True)
    assert not open_s4u(ask_for(kdc, key_tgt(kdc, "pc1")), kdc).forwardable


def test_member_of_protected_users(kdc: Kdc) -> None:
    """RID 525, directly or by a group in it."""
    change(kdc, "pc1$", trusted_to_authenticate_for_delegation=True)
    protected = kdc.store.domain().sid.with_rid(525)
    (outer,) = (g.group_id for g in kdc.store.list_groups() if g.sid == protected)
    inner = kdc.store.add_group("Staff")
    kdc.store.add_member(outer, member_group=inner)
    tgt = key_tgt(kdc, "pc1")
    assert open_s4u(ask_for(kdc, tgt), kdc).forwardable
    kdc.store.add_member(inner, account_id=kdc.account_id("pat"))
    assert not open_s4u(ask_for(kdc, tgt), kdc).forwardable


def test_forwardable_is_asked_for(kdc: Kdc) -> None:
    """Without the option the ticket has no such flag."""
    body = replace(SELF_BODY, kdc_options=0)
    assert not open_s4u(ask_for(kdc, key_tgt(kdc, "pc1"), body=body), kdc).forwardable


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("cksumtype", [1, 2, 7, 8, 9, 10, 14, 15, 19, -137])
def test_checksum_that_proves_nothing(kdc: Kdc, cksumtype: int) -> None:
    """Row T13, CVE-2018-16860: CRC-32, MD4, MD5, SHA-1 and those of other keys."""
    asked = ForUser(cksumtype=cksumtype)
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), asked)[0]) == WRONG_TYPE


@pytest.mark.parametrize("cksumtype", [15, 19, -138, 7])
def test_x509_user_checksum_that_proves_nothing(kdc: Kdc, cksumtype: int) -> None:
    """Row T13: PA-S4U-X509-USER has the type of its key, and no other."""
    asked = X509User(cksumtype=cksumtype)
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), asked)[0]) == WRONG_TYPE


@pytest.mark.parametrize(
    "asked",
    [
        ForUser(change_checksum=lambda mac: bytes(len(mac))),
        ForUser(change_checksum=lambda mac: mac[:-1]),
        ForUser(change_checksum=lambda mac: b""),
        ForUser(sent_user=name("alice")),
        ForUser(sent_user=name("pat", name_type=NameType.ENTERPRISE)),
        ForUser(cksumtype=16, change_checksum=lambda mac: bytes(len(mac))),
        X509User(change_checksum=lambda mac: bytes(len(mac))),
        X509User(change_checksum=lambda mac: b""),
    ],
)
def test_checksum_of_another_user_or_key(kdc: Kdc, asked: ForUser | X509User) -> None:
    """Row T13, CVE-2018-16860: who changes the name on its way cannot make the checksum."""
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), asked)[0]) == WRONG_CHECKSUM


def test_pa_s4u_x509_user_of_another_request(kdc: Kdc) -> None:
    """MS-SFU 2.2.2: its nonce is the request's."""
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), X509User(nonce=7))[0]) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "PA-S4U-X509-USER was made for another request",
    )


@pytest.mark.parametrize("sname", [WEB, name("web")])
def test_ticket_for_another_service(kdc: Kdc, sname: PrincipalName) -> None:
    """Row T13: a service speaks for users to itself only."""
    body = replace(SELF_BODY, sname=sname)
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), body=body)[0]) == (
        ErrorCode.KRB_AP_ERR_BADMATCH,
        "S4U2Self is for the service that asks, and no other",
    )


def test_ticket_for_the_ticket_granting_service(kdc: Kdc) -> None:
    """Row T13: a TGT in a user's name."""
    body = replace(SELF_BODY, sname=KRBTGT)
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), body=body)[0]) == (
        ErrorCode.KRB_AP_ERR_BADMATCH,
        "S4U2Self is for the service that asks, and no other",
    )


@pytest.mark.parametrize(
    "asked",
    [
        ForUser(user=name("nobody")),
        ForUser(user=name("krbtgt")),
        ForUser(user=name("krbtgt", REALM)),
        ForUser(user=name("host", "web.lab.test")),
        ForUser(user=name("")),
        ForUser(user=name("pat"), realm="OTHER.TEST"),
        ForUser(user=name("nobody@corp.example", name_type=NameType.ENTERPRISE)),
        X509User(user=name("nobody")),
        X509User(user=None),
    ],
)
def test_unknown_user(kdc: Kdc, asked: ForUser | X509User) -> None:
    """KDC_ERR_C_PRINCIPAL_UNKNOWN."""
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), asked)[0]) == NOBODY


def test_state_of_the_user(kdc: Kdc) -> None:
    """The user is judged as at a logon, but for the password."""
    tgt = key_tgt(kdc, "pc1")
    kdc.add_user("late", password_expires_at=NOW, must_change_password=True)
    assert ask_for(kdc, tgt, ForUser(user=name("late")))[0].code == 0
    kdc.add_user("gone", disabled=True)
    kdc.add_user("past", expires_at=NOW - timedelta(days=1))
    kdc.add_user("night", logon_hours=bytes(21))
    for user, code, why in (
        ("gone", ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account is disabled"),
        ("past", ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account has expired"),
        ("night", ErrorCode.KDC_ERR_POLICY, "outside the account's logon hours"),
    ):
        assert refused(ask_for(kdc, tgt, ForUser(user=name(user)))[0]) == (code, why)


@pytest.mark.parametrize(
    "option",
    [
        KdcOption.FORWARDED,
        KdcOption.PROXY,
        KdcOption.RENEW,
        KdcOption.VALIDATE,
        KdcOption.CNAME_IN_ADDL_TKT,
    ],
)
def test_options_it_cannot_have(kdc: Kdc, option: int) -> None:
    """KDC_ERR_BADOPTION."""
    body = replace(SELF_BODY, kdc_options=option)
    assert refused(ask_for(kdc, key_tgt(kdc, "pc1"), body=body)[0]) == (
        ErrorCode.KDC_ERR_BADOPTION,
        "S4U2Self with an option that it cannot have",
    )


def test_user_who_is_no_service(kdc: Kdc) -> None:
    """A password's key seals no ticket, for oneself neither."""
    body = replace(SELF_BODY, sname=name("pat"))
    assert refused(ask_for(kdc, password_tgt(kdc), ForUser(user=name("bob")), body=body)[0]) == (
        ErrorCode.KDC_ERR_MUST_USE_USER2USER,
        "a user who is no service: user to user only",
    )


def test_certificates_that_name_nobody(kdc: Kdc) -> None:
    """Unreadable: 71; on no account: 6; on two: 62; of somebody else: 75."""
    tgt = key_tgt(kdc, "pc1")
    stranger = issued.hello("stranger").certificate_der
    alice = issued.hello("alice").certificate_der
    add_hello_key(kdc.store, "bob", hello_key("shared"))
    kdc.add_user("twin", keys=password_keys("twin"))
    add_hello_key(kdc.store, "twin", hello_key("shared"))
    shared = issued.hello("shared").certificate_der
    unreadable = "the certificate of S4U2Self is not readable"
    for user, certificate, code, why in (
        (None, b"\x30\x00", ErrorCode.KDC_ERR_INVALID_CERTIFICATE, unreadable),
        (None, bytes(20_000), ErrorCode.KDC_ERR_INVALID_CERTIFICATE, unreadable),
        (
            None,
            stranger,
            ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN,
            "the key of S4U2Self's certificate is on no account",
        ),
        (
            None,
            shared,
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "the key of S4U2Self's certificate is on several accounts",
        ),
        (
            name("bob"),
            alice,
            ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
            "name and certificate of S4U2Self are not of one account",
        ),
    ):
        asked = X509User(user=user, certificate=certificate)
        assert refused(ask_for(kdc, tgt, asked)[0]) == (code, why)


@pytest.mark.parametrize("pa_type", [PaType.FOR_USER, PaType.S4U_X509_USER])
def test_padata_that_is_not_what_it_should_be(kdc: Kdc, pa_type: PaType) -> None:
    """Not DER: refused, and not answered with a ticket of the service's own."""
    request = TgsRequest(tgt=key_tgt(kdc, "pc1"), after=(padata(pa_type, b"\x30\x00"),))
    assert refused(ask_tgs(kdc, request))[0] == ErrorCode.KRB_ERR_GENERIC


def test_every_cut_of_the_padata_is_refused(kdc: Kdc) -> None:
    """No prefix of either structure gets a ticket."""
    tgt = key_tgt(kdc, "pc1")
    for pa in (ForUser().build(tgt.session), X509User().build(tgt.session)):
        for end in range(len(pa.padata_value)):
            cut = replace(pa, padata_value=pa.padata_value[:end])
            sent = TgsRequest(tgt=tgt, body=SELF_BODY, subkey=None, after=(cut,)).build()
            assert kdc.ask(sent.message, at=LATER).code == ErrorCode.KRB_ERR_GENERIC


def test_no_flipped_bit_of_the_name_gets_a_ticket(kdc: Kdc) -> None:
    """CVE-2018-16860: only with its own octets does PA-FOR-USER get a ticket."""
    tgt = key_tgt(kdc, "pc1")
    value = ForUser().build(tgt.session).padata_value
    for at in range(len(value)):
        for bit in (0x01, 0x20, 0x80):
            broken = value[:at] + bytes((value[at] ^ bit,)) + value[at + 1 :]
            pa = padata(PaType.FOR_USER, broken)
            sent = TgsRequest(tgt=tgt, body=SELF_BODY, subkey=None, after=(pa,)).build()
            assert kdc.ask(sent.message, at=LATER).code != 0, at


def test_kdc_explain_shows_whom_a_service_asks_for(kdc: Kdc) -> None:
    """Both structures appear field by field in the tree of the request."""
    tgt = key_tgt(kdc, "pc1")
    pas = (ForUser().build(tgt.session), X509User().build(tgt.session))
    tree = message_tree(TgsRequest(tgt=tgt, body=SELF_BODY, after=pas).build().message)
    assert tree.faults() == []
    for field in ("userName", "auth-package", "user-id", "options"):
        assert tree.find(field) is not None, field


def test_realm_without_pac(kdc: Kdc) -> None:
    """The ticket has none then; nothing else changes."""
    kdc.configure(pac=False)
    got = open_s4u(ask_for(kdc, key_tgt(kdc, "pc1")), kdc)
    assert isinstance(got.ticket, EncTicketPart)
    assert got.ticket.authorization_data is None
