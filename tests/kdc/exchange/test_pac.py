"""The PAC that the AS exchange puts into tickets (MS-PAC, MS-KILE 3.3.5.6.4, MS-DTYP 2.4.2.4)."""

from dataclasses import replace

import pytest

from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.model import Sid
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.exchange.pac_facts import _PAC_CODES, refusal_from_pac
from kdc.pac import (
    PacError,
    PacFault,
    PacType,
    VerifiedPac,
    parse_pac,
    split_ticket,
    verify_pac,
)
from kdc.pac.buffers import decode_logon_info, decode_upn_dns_info, open_credential_info
from kdc.wire.constants import ErrorCode, NameType, PaType
from kdc.wire.rfc4120 import EncTicketPart, PaData
from pki import asn1
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    Opened,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    error_of,
    hello_key,
    key_of,
    method_data,
    name,
    open_password_reply,
    open_reply,
    padata,
    password_keys,
    refused,
)
from tests.pki import issued

WEB = name("host", "web.lab.test", name_type=NameType.SRV_INST)
WANTED = padata(PaType.PAC_REQUEST, b"\x30\x05\xa0\x03\x01\x01\xff")
UNWANTED = padata(PaType.PAC_REQUEST, b"\x30\x05\xa0\x03\x01\x01\x00")


def by_key(kdc: Kdc, request: PkinitRequest | None = None) -> Opened:
    sent = (request or PkinitRequest()).build()
    return open_reply(kdc.ask(sent.message), sent, kdc)


def by_password(kdc: Kdc, *pa: PaData) -> Opened:
    body = body_for("pat")
    message = as_req(body, *pa, enc_timestamp(key_of(18)))
    return open_password_reply(kdc.ask(message), key_of(18), kdc, body)


def octets_of(ticket: EncTicketPart) -> bytes | None:
    return split_ticket(asn1.encode(ticket)).pac


def krbtgt_key(kdc: Kdc) -> ProtocolKey:
    key = next(k for k in kdc.store.krbtgt().newest_keys() if k.etype == 18)
    return ProtocolKey(EncType(18), key.key)


def tgt_pac_of(opened: Opened, kdc: Kdc) -> VerifiedPac:
    """Verify the PAC of a TGT, with the key that sealed the TGT."""
    octets = octets_of(opened.ticket)
    assert octets is not None
    assert opened.as_rep.ticket.enc_part.etype == 18
    key = krbtgt_key(kdc)
    return verify_pac(parse_pac(octets), server_key=key, krbtgt_keys=(key,), ticket=None)


def asserted(opened: Opened, kdc: Kdc) -> list[str]:
    return [str(sid) for sid in tgt_pac_of(opened, kdc).logon_info.extra_sids]


# -- contents --------------------------------------------------------------------------------


def test_tgt_of_a_key_trust_logon_has_a_signed_pac(kdc: Kdc) -> None:
    """The account, its domain, and the ticket's own name and time."""
    opened = by_key(kdc)
    pac = tgt_pac_of(opened, kdc)
    alice = kdc.store.account_by_name("alice")
    assert alice is not None
    info = pac.logon_info
    assert pac.requestor == info.sid == alice.sid
    assert (info.effective_name, info.domain_name) == ("alice", "LAB")
    assert info.domain_sid == kdc.store.domain().sid
    assert (info.primary_group_id, info.group_ids) == (513, (513,))
    assert (pac.client_info.name, pac.client_info.authtime) == ("alice", opened.ticket.authtime)
    assert info.logon_time == NOW
    assert pac.attributes == 2


def test_groups_come_from_the_directory_nested_ones_too(kdc: Kdc) -> None:
    """MS-KILE 3.3.5.6.4: those of the domain as RIDs, others as SIDs."""
    store = kdc.store
    staff, outer = store.add_group("Staff"), store.add_group("Outer")
    foreign = Sid.parse("S-1-5-21-7-7-7-1111")
    store.add_member(staff, account_id=kdc.account_id("alice"))
    store.add_member(outer, member_group=staff)
    store.add_member(store.add_group("Foreign", foreign), member_group=outer)
    info = tgt_pac_of(by_key(kdc), kdc).logon_info
    rids = [group.sid.rid for group in store.list_groups() if group.name in ("Staff", "Outer")]
    assert sorted(info.group_ids) == sorted([513, *rids])
    assert info.extra_sids[-1] == foreign


def test_computer_has_its_primary_group_and_account_type(kdc: Kdc) -> None:
    """Domain Computers, USER_WORKSTATION_TRUST_ACCOUNT."""
    request = PkinitRequest(body=body_for("pc1$"), signer=issued.hello("pc1"))
    info = tgt_pac_of(by_key(kdc, request), kdc).logon_info
    assert (info.primary_group_id, info.group_ids) == (515, (515,))
    assert info.user_account_control & 0x80


def test_names_of_an_account_with_a_upn_under_another_suffix(kdc: Kdc) -> None:
    """UPN_DNS_INFO: the UPN as it stands, the domain in upper case."""
    octets = octets_of(by_key(kdc).ticket)
    assert octets is not None
    info = decode_upn_dns_info(parse_pac(octets).buffer(PacType.UPN_DNS_INFO) or b"")
    assert (info.upn, info.dns_domain_name) == ("Alice.Adams@corp.example", "LAB.TEST")
    assert (info.sam_name, info.flags) == ("alice", 2)


# -- how the client proved itself ------------------------------------------------------------


def test_password_logon_asserts_nothing_but_the_authority(kdc: Kdc) -> None:
    """S-1-18-1."""
    assert asserted(by_password(kdc), kdc) == ["S-1-18-1"]


def test_key_trust_logon_says_so(kdc: Kdc) -> None:
    """S-1-18-4; no S-1-18-3 without a freshness token."""
    assert asserted(by_key(kdc), kdc) == ["S-1-18-1", "S-1-18-4"]


def test_logon_with_a_freshness_token_says_so(kdc: Kdc) -> None:
    """S-1-18-3."""
    asked = kdc.ask(as_req(BODY, padata(PaType.AS_FRESHNESS)))
    assert error_of(asked).error_code == ErrorCode.KDC_ERR_PREAUTH_REQUIRED
    (token,) = (p.padata_value for p in method_data(asked) if p.padata_type == PaType.AS_FRESHNESS)
    opened = by_key(kdc, PkinitRequest(freshness_token=token))
    assert asserted(opened, kdc) == ["S-1-18-1", "S-1-18-3", "S-1-18-4"]


@pytest.mark.parametrize(
    ("information", "expected"),
    [
        (None, []),
        (b"\x01", []),
        (b"\x01\x02", []),
        (b"\x01\x00", ["S-1-18-5"]),
        (b"\x01\x01", ["S-1-18-5", "S-1-18-6"]),
        (b"\x01\x03", ["S-1-18-6"]),
        (b"\x01\x02\x00\x00\x00", []),
        (b"\x02\x01", []),
    ],
)
def test_mfa_and_attestation_only_when_the_key_credential_says_so(
    kdc: Kdc, information: bytes | None, expected: list[str]
) -> None:
    """Row K16; MS-ADTS 2.2.20.5.1: no flags say nothing, another version nothing that we know."""
    alice = kdc.account_id("alice")
    kdc.store.remove_key_credential(alice)
    new = NewKeyCredential(
        public_key=hello_key("alice"), created=NOW, custom_key_information=information
    )
    kdc.store.add_key_credential(alice, encode_key_credential(new, kdc.store.owner_dn(alice)))
    assert asserted(by_key(kdc), kdc) == ["S-1-18-1", "S-1-18-4", *expected]


# -- PA-PAC-REQUEST --------------------------------------------------------------------------


@pytest.mark.parametrize(("pa", "attributes"), [(WANTED, 1), (UNWANTED, 0)])
def test_tgt_remembers_whether_a_pac_was_wanted(kdc: Kdc, pa: PaData, attributes: int) -> None:
    """MS-PAC 2.14, MS-KILE 3.3.5.6: a TGT has a PAC in any case (CVE-2021-42287)."""
    assert tgt_pac_of(by_password(kdc, pa), kdc).attributes == attributes
    assert tgt_pac_of(by_key(kdc, PkinitRequest(before=(pa,))), kdc).attributes == attributes


def test_service_ticket_of_a_client_that_wants_no_pac_has_none(kdc: Kdc) -> None:
    """include-pac false is meant for services."""
    request = PkinitRequest(body=replace(BODY, sname=WEB), before=(UNWANTED,))
    assert by_key(kdc, request).ticket.authorization_data is None


@pytest.mark.parametrize("value", [b"", b"\x30\x00", b"junk"])
def test_malformed_pac_request_is_refused(kdc: Kdc, value: bytes) -> None:
    """It decides what is in the ticket: no guessing."""
    sent = PkinitRequest(before=(padata(PaType.PAC_REQUEST, value),)).build()
    assert refused(kdc.ask(sent.message)) == (
        ErrorCode.KRB_ERR_GENERIC,
        "PA-PAC-REQUEST is malformed",
    )


# -- service tickets and realms without ------------------------------------------------------


def test_service_ticket_of_the_as_exchange_has_four_signatures(kdc: Kdc) -> None:
    """Any service may be asked for in an AS-REQ; its PAC is one of a service ticket."""
    opened = by_key(kdc, PkinitRequest(body=replace(BODY, sname=WEB)))
    found = split_ticket(asn1.encode(opened.ticket))
    assert found.pac is not None
    web = kdc.store.account_by_spn("host/web.lab.test")
    assert web is not None
    key = next(k for k in web.keys if k.etype == opened.as_rep.ticket.enc_part.etype)
    read = verify_pac(
        parse_pac(found.pac),
        server_key=ProtocolKey(EncType(key.etype), key.key),
        krbtgt_keys=(krbtgt_key(kdc),),
        ticket=found.signed,
    )
    assert (read.requestor, read.attributes) == (None, None)
    assert [str(sid) for sid in read.carried.asserted_sids] == ["S-1-18-1", "S-1-18-4"]


def test_realm_without_pac(kdc: Kdc) -> None:
    """`pac = false`: no authorization data at all."""
    kdc.configure(pac=False)
    assert by_key(kdc).ticket.authorization_data is None
    opened = by_key(kdc, PkinitRequest(body=replace(BODY, sname=WEB)))
    assert opened.ticket.authorization_data is None


def test_account_of_another_domain_has_no_pac(kdc: Kdc) -> None:
    """Its SID cannot be said in LOGON_INFO."""
    kdc.add_user("eve", keys=password_keys("eve"), sid=Sid.parse("S-1-5-21-1-2-3-1500"))
    body = body_for("eve")
    message = as_req(body, enc_timestamp(key_of(18, "eve")))
    opened = open_password_reply(kdc.ask(message), key_of(18, "eve"), kdc, body)
    assert opened.ticket.authorization_data is None


# -- the NT hash -----------------------------------------------------------------------------

HASH = bytes(range(16))


def credential_info(opened: Opened) -> bytes | None:
    octets = octets_of(opened.ticket)
    assert octets is not None
    return parse_pac(octets).buffer(PacType.CREDENTIAL_INFO)


def give_hash(kdc: Kdc, account: str) -> None:
    with kdc.store._transaction() as connection:
        kdc.store._inserter(connection).put_nt_hash(kdc.account_id(account), HASH)


def test_nt_hash_is_sealed_with_the_reply_key_of_a_pkinit_logon(kdc: Kdc) -> None:
    """MS-PKCA 3.1.5.2, with legacy_ntlm."""
    kdc.configure(legacy_ntlm=True)
    give_hash(kdc, "alice")
    opened = by_key(kdc)
    sealed = credential_info(opened)
    assert sealed is not None
    assert open_credential_info(sealed, opened.reply_key) == HASH


def test_nt_hash_is_not_given_to_whoever_should_not_have_it(kdc: Kdc) -> None:
    """Not without legacy_ntlm, after a password logon, in a service ticket, to Protected Users."""
    give_hash(kdc, "alice")
    give_hash(kdc, "pat")
    assert credential_info(by_key(kdc)) is None
    kdc.configure(legacy_ntlm=True)
    assert credential_info(by_password(kdc)) is None
    assert credential_info(by_key(kdc, PkinitRequest(body=replace(BODY, sname=WEB)))) is None
    protected = kdc.store.domain().sid.with_rid(525)
    (group,) = (g.group_id for g in kdc.store.list_groups() if g.sid == protected)
    kdc.store.add_member(group, account_id=kdc.account_id("alice"))
    assert credential_info(by_key(kdc)) is None


def test_account_without_an_nt_hash_has_no_credential_info(kdc: Kdc) -> None:
    """There is nothing to give."""
    kdc.configure(legacy_ntlm=True)
    assert credential_info(by_key(kdc)) is None


# -- refusals --------------------------------------------------------------------------------


def test_every_fault_of_a_pac_has_its_code() -> None:
    """Rows T05-T07, T18: 41, 50, 60."""
    assert set(_PAC_CODES) == set(PacFault)
    for fault in PacFault:
        refusal = refusal_from_pac(PacError(fault, "detail"))
        assert refusal.why == fault.value
        assert refusal.code in (
            ErrorCode.KRB_AP_ERR_MODIFIED,
            ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
            ErrorCode.KRB_ERR_GENERIC,
        )


def test_pac_of_a_name_with_other_letters(kdc: Kdc) -> None:
    """UTF-16: letters beyond ASCII, and beyond the first plane."""
    kdc.add_user("zoë𝄞", keys=password_keys("zoë𝄞"))
    body = body_for("zoë𝄞")
    message = as_req(body, enc_timestamp(key_of(18, "zoë𝄞")))
    opened = open_password_reply(kdc.ask(message), key_of(18, "zoë𝄞"), kdc, body)
    octets = octets_of(opened.ticket)
    assert octets is not None
    info = decode_logon_info(parse_pac(octets).buffer(PacType.LOGON_INFO) or b"")
    assert info.effective_name == "zoë𝄞"
