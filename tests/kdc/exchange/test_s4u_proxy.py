"""S4U2Proxy (MS-SFU 3.2.5.2): a service asks another one for a ticket in a user's name."""

from dataclasses import replace
from datetime import timedelta

import pytest

from directory.security_descriptor import encode_allowed_to_act
from kdc.pac import DelegationInfo, PacType, parse_pac, split_ticket, verify_pac
from kdc.pac.buffers import MAX_TRANSITED
from kdc.wire.constants import ErrorCode, KdcOption, NameType, TicketFlag
from kdc.wire.rfc4120 import EncTicketPart, TgsRep, Ticket
from pki import asn1
from tests.kdc.builders import (
    KRBTGT,
    NOW,
    Kdc,
    name,
    refused,
)
from tests.kdc.pac.builders import flip, place, sign_again, with_buffer, without
from tests.kdc.s4u_builders import (
    PC1,
    RBCD,
    S4UTicket,
    ask_for,
    change,
    delegate,
    delegated,
    forged,
    krbtgt_signer,
    open_s4u,
    opened,
    status_of,
)
from tests.kdc.tgs_builders import (
    TGS_BODY,
    TgsRequest,
    ask_tgs,
    golden,
    key_tgt,
    pac_of,
    password_tgt,
    ready,
    service_key_of,
    service_ticket,
)

WEB_SPN = "host/web.lab.test"
ACCOUNT_RESTRICTION, NOT_SUPPORTED = 0xC000006E, 0xC00000BB
NOT_FOUND, NO_MATCH = 0xC0000225, 0xC0000272
BAD = ErrorCode.KDC_ERR_BADOPTION


@pytest.fixture
def allowed(kdc: Kdc) -> Kdc:
    """Let pc1$ delegate to host/web.lab.test."""
    change(kdc, "pc1$", allowed_to_delegate_to=("ldap/dc.lab.test", WEB_SPN))
    return kdc


def evidence_of(kdc: Kdc, who: str = "pat") -> Ticket:
    """Let a user get a ticket for the service that will act for it."""
    tgt = password_tgt(kdc, who)
    return service_ticket(kdc, TgsRequest(tgt=tgt, body=replace(TGS_BODY, sname=PC1))).tgt.ticket


def let_act(kdc: Kdc, *who: str, service: str = "web") -> None:
    """Let accounts act for others at a service."""
    sids = []
    for account_name in who:
        account = kdc.store.account_by_name(account_name)
        assert account is not None
        assert account.sid is not None
        sids.append(account.sid)
    change(kdc, service, allowed_to_act=encode_allowed_to_act(sids))


def _delegation(kdc: Kdc, got: S4UTicket) -> DelegationInfo:
    found = split_ticket(asn1.encode(got.ticket))
    assert found.pac is not None
    krbtgt = [ready(key) for key in kdc.store.krbtgt().keys]
    verified = verify_pac(
        parse_pac(found.pac), server_key=ready(got.key), krbtgt_keys=krbtgt, ticket=found.signed
    )
    assert verified.delegation is not None
    return verified.delegation


# -- the ticket ------------------------------------------------------------------------------


def test_service_gets_a_ticket_to_another_in_a_users_name(allowed: Kdc) -> None:
    """MS-SFU 3.2.5.2.4: cname and authtime of the evidence, and the chain in the PAC."""
    evidence = evidence_of(allowed)
    answer = delegate(allowed, key_tgt(allowed, "pc1"), evidence)
    got = open_s4u(answer, allowed)
    assert got.ticket.cname == name("pat")
    assert got.ticket.authtime == NOW
    assert got.forwardable
    assert _delegation(allowed, got) == DelegationInfo(
        proxy_target=WEB_SPN, transited=("host/pc1.lab.test@LAB.TEST",)
    )
    facts = answer[0].facts
    assert (facts["s4u"], facts["account"], facts["s4u_account"]) == ("proxy", "pc1$", "pat")
    assert facts["delegation"] == "constrained"
    assert facts["transited_services"] == ("host/pc1.lab.test@LAB.TEST",)


def test_evidence_of_s4u2self(allowed: Kdc) -> None:
    """Protocol transition: trusted for it, the service needs no ticket from the user."""
    change(allowed, "pc1$", trusted_to_authenticate_for_delegation=True)
    tgt = key_tgt(allowed, "pc1")
    own = open_s4u(ask_for(allowed, tgt), allowed)
    got = open_s4u(delegate(allowed, tgt, own.reply.ticket), allowed)
    assert got.ticket.cname == name("pat")


def test_evidence_of_s4u2self_without_protocol_transition(allowed: Kdc) -> None:
    """MS-SFU 3.2.5.1.2: that ticket is not forwardable, so it is no evidence."""
    tgt = key_tgt(allowed, "pc1")
    own = open_s4u(ask_for(allowed, tgt), allowed)
    outcome, _ = delegate(allowed, tgt, own.reply.ticket)
    assert refused(outcome) == (BAD, "the evidence ticket is not forwardable")
    assert status_of(outcome) == ACCOUNT_RESTRICTION


def test_chain_of_services(allowed: Kdc) -> None:
    """MS-PAC 2.9: each service in the line is added to the list, oldest first."""
    change(allowed, "web", allowed_to_delegate_to=("host/pc1.lab.test",))
    first = open_s4u(
        delegate(allowed, key_tgt(allowed, "pc1"), evidence_of(allowed)), allowed
    ).reply.ticket
    # web has no way to log on of its own here: a TGT as the KDC would give it.
    web = allowed.store.account_by_name("web")
    assert web is not None
    assert web.sid is not None
    sid = web.sid.to_bytes()
    tgt = password_tgt(allowed)
    krbtgt = ready(service_key_of(allowed, tgt.ticket))
    own = golden(
        allowed,
        tgt,
        lambda part: replace(part, cname=name("web")),
        change_pac=lambda pac: sign_again(with_buffer(pac, PacType.REQUESTOR, sid), krbtgt, krbtgt),
    )
    got = open_s4u(delegate(allowed, own, first, sname=PC1), allowed)
    assert _delegation(allowed, got) == DelegationInfo(
        proxy_target="host/pc1.lab.test",
        transited=("host/pc1.lab.test@LAB.TEST", "host/web.lab.test@LAB.TEST"),
    )


def test_chain_that_is_too_long(allowed: Kdc) -> None:
    """The list is bounded; nothing is left out of it in silence."""
    services = tuple(f"host/n{n}@LAB.TEST" for n in range(MAX_TRANSITED))
    chain = DelegationInfo(proxy_target="host/x", transited=services)
    long = delegated(allowed, evidence_of(allowed), chain)
    assert refused(delegate(allowed, key_tgt(allowed, "pc1"), long)[0]) == (
        ErrorCode.KDC_ERR_POLICY,
        "too many services in a chain of delegation",
    )


def test_ticket_ends_with_the_evidence(allowed: Kdc) -> None:
    """And not later than the service's own TGT."""
    tgt = password_tgt(allowed)
    end = NOW + timedelta(hours=1)
    body = replace(TGS_BODY, sname=PC1, till=end)
    evidence = service_ticket(allowed, TgsRequest(tgt=tgt, body=body)).tgt.ticket
    got = open_s4u(delegate(allowed, key_tgt(allowed, "pc1"), evidence), allowed)
    assert got.ticket.endtime == end


# -- who may -------------------------------------------------------------------------------------


def test_service_without_a_list(kdc: Kdc) -> None:
    """MS-SFU 3.2.5.2.1: 13 with STATUS_NOT_SUPPORTED."""
    outcome, _ = delegate(kdc, key_tgt(kdc, "pc1"), evidence_of(kdc))
    assert refused(outcome) == (BAD, "the service may not delegate to any other")
    assert status_of(outcome) == NOT_SUPPORTED


@pytest.mark.parametrize(
    "sname",
    [
        name("host", "pc1.lab.test", name_type=NameType.SRV_INST),
        name("cifs", "web.lab.test", name_type=NameType.SRV_INST),
        name("host", "web", name_type=NameType.SRV_INST),
        name("web"),
        name("host/web.lab.test"),
    ],
)
def test_service_that_is_not_in_the_list(allowed: Kdc, sname: object) -> None:
    """MS-SFU 3.2.5.2.1: 13 with STATUS_NO_MATCH; what is in the list is a name, not an account."""
    tgt = key_tgt(allowed, "pc1")
    outcome, _ = delegate(allowed, tgt, evidence_of(allowed), sname=sname)  # type: ignore[arg-type]  # of the list above
    if refused(outcome)[0] != ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN:
        assert refused(outcome) == (BAD, "the service may not delegate to the one asked for")
        assert status_of(outcome) == NO_MATCH


def test_case_of_the_list_does_not_matter(allowed: Kdc) -> None:
    """Service names are compared in any case."""
    change(allowed, "pc1$", allowed_to_delegate_to=("HOST/Web.Lab.Test",))
    open_s4u(delegate(allowed, key_tgt(allowed, "pc1"), evidence_of(allowed)), allowed)


def test_ticket_granting_service_is_no_target(allowed: Kdc) -> None:
    """Nobody gets a TGT in a user's name."""
    change(allowed, "pc1$", allowed_to_delegate_to=("krbtgt/LAB.TEST",))
    outcome, _ = delegate(allowed, key_tgt(allowed, "pc1"), evidence_of(allowed), sname=KRBTGT)
    assert refused(outcome) == (BAD, "a TGT is neither proxied, user to user nor delegated")


def test_resource_lets_the_service_act(kdc: Kdc) -> None:
    """MS-SFU 3.2.5.2.3: the descriptor of the service asked for; the reply says it knows it."""
    let_act(kdc, "pc1$")
    answer = delegate(kdc, key_tgt(kdc, "pc1"), evidence_of(kdc), pac_options=RBCD)
    got = open_s4u(answer, kdc)
    assert answer[0].facts["delegation"] == "resource-based"
    assert {pa.padata_type for pa in got.part.encrypted_pa_data or ()} == {165, 167}
    assert _delegation(kdc, got).proxy_target == WEB_SPN


def test_resource_lets_a_group_of_the_services_act(kdc: Kdc) -> None:
    """Groups of the service count, nested ones too."""
    outer, inner = kdc.store.add_group("Front Ends"), kdc.store.add_group("Inner")
    kdc.store.add_member(outer, member_group=inner)
    kdc.store.add_member(inner, account_id=kdc.account_id("pc1$"))
    (sid,) = (g.sid for g in kdc.store.list_groups() if g.group_id == outer)
    change(kdc, "web", allowed_to_act=encode_allowed_to_act([sid]))
    open_s4u(delegate(kdc, key_tgt(kdc, "pc1"), evidence_of(kdc), pac_options=RBCD), kdc)


def test_evidence_of_s4u2self_for_a_resource(kdc: Kdc) -> None:
    """A service that names none it delegates to gets forwardable tickets (MS-SFU 3.2.5.1.2)."""
    let_act(kdc, "pc1$")
    tgt = key_tgt(kdc, "pc1")
    own = open_s4u(ask_for(kdc, tgt), kdc)
    open_s4u(delegate(kdc, tgt, own.reply.ticket, pac_options=RBCD), kdc)


def test_client_that_does_not_know_resource_based_delegation(kdc: Kdc) -> None:
    """MS-SFU 3.2.5.2.1: without the bit of PA-PAC-OPTIONS the descriptor is not asked."""
    let_act(kdc, "pc1$")
    for bits in (0, 0x80000000, 0x60000000):
        outcome, _ = delegate(kdc, key_tgt(kdc, "pc1"), evidence_of(kdc), pac_options=bits)
        assert refused(outcome) == (BAD, "the service may not delegate to any other")
        assert status_of(outcome) == NOT_SUPPORTED


@pytest.mark.parametrize(
    ("descriptor", "why"),
    [
        (None, "neither service has the delegation in its list"),
        (encode_allowed_to_act(()), "the service asked for does not let this one act for others"),
        (b"", "the list of services that may act for others is not readable"),
        (b"\x01\x00", "the list of services that may act for others is not readable"),
        (bytes(40), "the list of services that may act for others is not readable"),
    ],
)
def test_resource_that_lets_nobody_act(kdc: Kdc, descriptor: bytes | None, why: str) -> None:
    """MS-SFU 3.2.5.2.3: 13 with STATUS_NOT_FOUND; a list that cannot be read lets nobody in."""
    change(kdc, "web", allowed_to_act=descriptor)
    outcome, _ = delegate(kdc, key_tgt(kdc, "pc1"), evidence_of(kdc), pac_options=RBCD)
    if descriptor == b"":
        why = refused(outcome)[1]
    assert refused(outcome) == (BAD, why)
    assert status_of(outcome) == NOT_FOUND


def test_resource_that_lets_another_service_act(kdc: Kdc) -> None:
    """MS-SFU 3.2.5.2.3."""
    let_act(kdc, "pat", "web")
    outcome, _ = delegate(kdc, key_tgt(kdc, "pc1"), evidence_of(kdc), pac_options=RBCD)
    assert refused(outcome) == (BAD, "the service asked for does not let this one act for others")


# -- whose ticket --------------------------------------------------------------------------------


def test_user_who_became_sensitive(allowed: Kdc) -> None:
    """UF_NOT_DELEGATED, set after the evidence was issued."""
    evidence = evidence_of(allowed)
    change(allowed, "pat", not_delegated=True)
    outcome, _ = delegate(allowed, key_tgt(allowed, "pc1"), evidence)
    assert refused(outcome) == (BAD, "the user may not be delegated")
    assert status_of(outcome) == ACCOUNT_RESTRICTION


@pytest.mark.parametrize("pac_options", [0, RBCD])
def test_evidence_that_is_not_forwardable(allowed: Kdc, pac_options: int) -> None:
    """MS-SFU 3.2.5.2.3, in both forms."""
    let_act(allowed, "pc1$")
    tgt = password_tgt(allowed)
    body = replace(TGS_BODY, sname=PC1, kdc_options=0)
    evidence = service_ticket(allowed, TgsRequest(tgt=tgt, body=body)).tgt.ticket
    outcome, _ = delegate(allowed, key_tgt(allowed, "pc1"), evidence, pac_options=pac_options)
    assert refused(outcome) == (BAD, "the evidence ticket is not forwardable")
    assert status_of(outcome) == ACCOUNT_RESTRICTION


def test_state_of_the_user(allowed: Kdc) -> None:
    """The user is judged today, not when the evidence was issued."""
    evidence = evidence_of(allowed)
    tgt = key_tgt(allowed, "pc1")
    change(allowed, "pat", disabled=True)
    assert refused(delegate(allowed, tgt, evidence)[0]) == (
        ErrorCode.KDC_ERR_CLIENT_REVOKED,
        "the account is disabled",
    )
    allowed.store.delete_account(allowed.account_id("pat"))
    gone = (
        ErrorCode.KDC_ERR_TGT_REVOKED,
        "the evidence ticket is of an account that is not there",
    )
    assert refused(delegate(allowed, tgt, evidence)[0]) == gone
    allowed.add_user("pat")
    assert refused(delegate(allowed, tgt, evidence)[0]) == gone


# -- the evidence --------------------------------------------------------------------------------


def _forwardable(part: EncTicketPart) -> EncTicketPart:
    return replace(part, flags=part.flags | TicketFlag.FORWARDABLE)


@pytest.mark.parametrize("pac_options", [0, RBCD])
def test_bronze_bit(allowed: Kdc, pac_options: int) -> None:
    """Row T12, CVE-2020-17049: the service sets FORWARDABLE in a ticket sealed with its own key."""
    let_act(allowed, "pc1$")
    tgt = key_tgt(allowed, "pc1")
    own = open_s4u(ask_for(allowed, tgt), allowed)
    assert not own.forwardable
    flipped = forged(allowed, own.reply.ticket, _forwardable)
    assert refused(delegate(allowed, tgt, flipped, pac_options=pac_options)[0]) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "PAC ticket signature wrong",
    )


@pytest.mark.parametrize(
    "alter",
    [
        lambda part: replace(part, cname=name("alice")),
        lambda part: replace(part, endtime=part.endtime + timedelta(seconds=1)),
        lambda part: replace(part, authtime=part.authtime + timedelta(seconds=1)),
        lambda part: replace(part, caddr=()),
    ],
)
def test_anything_else_changed_in_the_evidence(allowed: Kdc, alter: object) -> None:
    """Row T12: the ticket signature covers every field."""
    changed = forged(allowed, evidence_of(allowed), alter)  # type: ignore[arg-type]  # of the list above
    assert refused(delegate(allowed, key_tgt(allowed, "pc1"), changed)[0]) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "PAC ticket signature wrong",
    )


def test_pac_changed_and_signed_anew_by_the_service(allowed: Kdc) -> None:
    """CVE-2022-37967: the server's signature is the service's own to make, the full one is not."""
    evidence = evidence_of(allowed)
    key = ready(service_key_of(allowed, evidence))
    krbtgt = krbtgt_signer(allowed)

    at, _ = place(pac_of(opened(allowed, evidence)), PacType.LOGON_INFO)
    changed = forged(
        allowed, evidence, change_pac=lambda pac: sign_again(flip(pac, at + 60), key, krbtgt)
    )
    assert refused(delegate(allowed, key_tgt(allowed, "pc1"), changed)[0]) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "PAC full signature wrong",
    )
    unsigned = forged(allowed, evidence, change_pac=lambda pac: sign_again(flip(pac, at), key))
    assert refused(delegate(allowed, key_tgt(allowed, "pc1"), unsigned)[0]) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "PAC KDC signature wrong",
    )


@pytest.mark.parametrize("kind", [PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM])
def test_signature_missing(allowed: Kdc, kind: PacType) -> None:
    """CVE-2020-17049, CVE-2022-37967: a PAC of before these signatures is no evidence."""
    evidence = evidence_of(allowed)
    key = ready(service_key_of(allowed, evidence))
    krbtgt = krbtgt_signer(allowed)
    changed = forged(
        allowed, evidence, change_pac=lambda pac: sign_again(without(pac, kind), key, krbtgt)
    )
    assert refused(delegate(allowed, key_tgt(allowed, "pc1"), changed)[0]) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "PAC without a signature that it must have",
    )


def test_evidence_without_a_pac(allowed: Kdc) -> None:
    """Nothing in it is proven."""
    bare = forged(
        allowed, evidence_of(allowed), lambda part: replace(part, authorization_data=None)
    )
    assert refused(delegate(allowed, key_tgt(allowed, "pc1"), bare)[0]) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "the evidence ticket has no PAC",
    )


def test_evidence_of_a_realm_without_pac(allowed: Kdc) -> None:
    """Where tickets have no PAC there is no S4U2Proxy."""
    allowed.configure(pac=False)
    outcome, _ = delegate(allowed, key_tgt(allowed, "pc1"), evidence_of(allowed))
    assert refused(outcome) == (ErrorCode.KRB_AP_ERR_MODIFIED, "the evidence ticket has no PAC")


def test_no_evidence(allowed: Kdc) -> None:
    """KDC_ERR_BADOPTION."""
    assert refused(delegate(allowed, key_tgt(allowed, "pc1"), None)[0]) == (
        BAD,
        "S4U2Proxy without an evidence ticket",
    )


NOT_ITS_OWN = (BAD, "the evidence ticket is not for the service that asks")


def test_evidence_for_another_service(allowed: Kdc) -> None:
    """A ticket that another service got shown is no evidence, whatever its name says."""
    other = service_ticket(allowed, TgsRequest(tgt=password_tgt(allowed))).tgt.ticket
    tgt = key_tgt(allowed, "pc1")
    assert refused(delegate(allowed, tgt, other)[0]) == NOT_ITS_OWN
    assert refused(delegate(allowed, tgt, replace(other, sname=PC1))[0]) == (
        ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
        "the evidence ticket does not open with the service's key",
    )


def test_tgt_as_evidence(allowed: Kdc) -> None:
    """Row T10: neither a user's nor the service's own."""
    tgt = key_tgt(allowed, "pc1")
    for shown in (password_tgt(allowed).ticket, tgt.ticket):
        assert refused(delegate(allowed, tgt, shown)[0]) == NOT_ITS_OWN


def test_evidence_of_another_realm(allowed: Kdc) -> None:
    """By its name or by its client's realm."""
    tgt = key_tgt(allowed, "pc1")
    evidence = evidence_of(allowed)
    assert refused(delegate(allowed, tgt, replace(evidence, realm="OTHER.TEST"))[0]) == NOT_ITS_OWN
    assert refused(delegate(allowed, tgt, replace(evidence, tkt_vno=4))[0]) == NOT_ITS_OWN
    foreign = forged(allowed, evidence, lambda part: replace(part, crealm="OTHER.TEST"))
    assert refused(delegate(allowed, tgt, foreign)[0]) == (
        ErrorCode.KDC_ERR_PATH_NOT_ACCEPTED,
        "the evidence ticket's client is of another realm",
    )


def test_key_of_the_evidence(allowed: Kdc) -> None:
    """44 and 14."""
    tgt = key_tgt(allowed, "pc1")
    evidence = evidence_of(allowed)
    for kvno in (None, 0, 2):
        sealed = replace(evidence.enc_part, kvno=kvno)
        assert refused(delegate(allowed, tgt, replace(evidence, enc_part=sealed))[0]) == (
            ErrorCode.KRB_AP_ERR_BADKEYVER,
            "the evidence ticket is sealed with a key that the service has not",
        )
    sealed = replace(evidence.enc_part, etype=23)
    assert refused(delegate(allowed, tgt, replace(evidence, enc_part=sealed))[0]) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "the evidence ticket is sealed with a type that the service has not",
    )


def test_evidence_sealed_with_a_session_key(allowed: Kdc) -> None:
    """User to user seals with a session key, which is no long-term key of the service."""
    tgt = key_tgt(allowed, "pc1")
    body = replace(
        TGS_BODY,
        sname=PC1,
        kdc_options=KdcOption.ENC_TKT_IN_SKEY,
        additional_tickets=(tgt.ticket,),
    )
    outcome = ask_tgs(allowed, TgsRequest(tgt=password_tgt(allowed), body=body))
    assert outcome.reply is not None
    evidence = asn1.decode(TgsRep, outcome.reply).ticket
    assert refused(delegate(allowed, tgt, evidence)[0]) == (
        ErrorCode.KRB_AP_ERR_BADKEYVER,
        "the evidence ticket is sealed with a key that the service has not",
    )


def test_times_of_the_evidence(allowed: Kdc) -> None:
    """Expired, not valid yet, or marked invalid."""
    tgt = key_tgt(allowed, "pc1")
    evidence = evidence_of(allowed)
    not_yet = (ErrorCode.KRB_AP_ERR_TKT_NYV, "the evidence ticket is not valid yet")
    over = (ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "the evidence ticket has expired")
    for changes, expected in (
        ({"endtime": NOW}, over),
        ({"starttime": NOW + timedelta(hours=1)}, not_yet),
        ({"flags": TicketFlag.INVALID}, not_yet),
    ):
        changed = forged(allowed, evidence, lambda part, c=changes: replace(part, **c))  # type: ignore[misc]  # bound
        assert refused(delegate(allowed, tgt, changed)[0]) == expected


@pytest.mark.parametrize(
    "options", [KdcOption.ENC_TKT_IN_SKEY, KdcOption.FORWARDED, KdcOption.RENEW, KdcOption.PROXY]
)
def test_options_that_exclude_each_other(allowed: Kdc, options: int) -> None:
    """KDC_ERR_BADOPTION."""
    outcome, _ = delegate(allowed, key_tgt(allowed, "pc1"), evidence_of(allowed), options=options)
    assert refused(outcome)[0] == BAD


def test_restrictions_of_the_evidence_are_not_shed(allowed: Kdc) -> None:
    """What binds the user's ticket binds the one got with it; it is in the ticket signature."""
    evidence = evidence_of(allowed)
    got = open_s4u(delegate(allowed, key_tgt(allowed, "pc1"), evidence), allowed)
    assert len(got.ticket.authorization_data or ()) == 1
    assert parse_pac(pac_of(got.ticket)).buffer(PacType.DELEGATION_INFO) is not None
