"""Names in requests and in replies: rows N01 to N07 and A10, MS-KILE 3.3.5.6.1, RFC 6806."""

from dataclasses import replace

import pytest

from directory.changes import AccountChanges
from kdc.exchange.principals import is_our_realm
from kdc.outcome import Outcome
from kdc.wire.constants import ErrorCode, KdcOption, NameType, TicketFlag
from kdc.wire.rfc4120 import PrincipalName
from tests.kdc.builders import (
    BODY,
    KRBTGT,
    REALM,
    Kdc,
    Opened,
    PkinitRequest,
    as_req,
    body_for,
    config,
    enc_timestamp,
    error_of,
    issued_ticket,
    key_of,
    name,
    open_password_reply,
    open_reply,
    random_keys,
    refused,
)
from tests.pki import issued

UNKNOWN = (ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, "no account of the client's name")
NO_SERVICE = (ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, "no service of the name asked for")
WRONG_REALM = (ErrorCode.KDC_ERR_WRONG_REALM, "this KDC does not serve the realm named")

CANONICALIZE = BODY.kdc_options | KdcOption.CANONICALIZE
PRINCIPAL, ENTERPRISE = NameType.PRINCIPAL, NameType.ENTERPRISE


def log_on(
    kdc: Kdc,
    cname: PrincipalName,
    signer: str = "alice",
    *,
    realm: str = REALM,
    sname: PrincipalName = KRBTGT,
    options: int = BODY.kdc_options,
) -> Opened:
    """Log on and open the reply; RFC 8636's KDF covers the names as they were sent."""
    body = replace(BODY, cname=cname, realm=realm, sname=sname, kdc_options=options)
    sent = PkinitRequest(
        body=body, signer=issued.hello(signer), kdfs=("1.3.6.1.5.2.3.6.2",)
    ).build()
    return open_reply(kdc.ask(sent.message), sent, kdc)


def ask(kdc: Kdc, cname: PrincipalName) -> tuple[int, str]:
    return refused(kdc.ask(as_req(replace(BODY, cname=cname))))


# -- realms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("realm", ["LAB.TEST", "lab.test", "Lab.Test", "LAB", "lab"])
def test_our_realm_by_any_of_its_names(kdc: Kdc, realm: str) -> None:
    """Row N01, control: DNS and NetBIOS name in any case; the reply has the canonical one."""
    opened = log_on(kdc, name("alice"), realm=realm)
    assert opened.as_rep.crealm == REALM


@pytest.mark.parametrize(
    "realm", ["", "OTHER.TEST", "LAB.TEST.", "LAB.TES", "LAB\0", "ＬＡＢ", "LÄB"]
)
def test_other_realm_is_wrong(kdc: Kdc, realm: str) -> None:
    """Row N01: 68, whether the name is near or far."""
    assert refused(kdc.ask(as_req(replace(BODY, realm=realm)))) == WRONG_REALM


def test_realm_of_a_kelvin_sign_is_not_ours() -> None:
    """Row N03: only ASCII letters are folded."""
    assert is_our_realm("k", replace(config(), netbios="K"))
    assert not is_our_realm("\u212a", replace(config(), netbios="K"))


# -- clients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["alice", "ALICE", "aLiCe"])
def test_name_in_any_case_is_echoed(kdc: Kdc, sent: str) -> None:
    """MS-KILE 3.3.5.6.1: without canonicalize the reply has the name that was sent."""
    assert log_on(kdc, name(sent)).as_rep.cname == name(sent)


@pytest.mark.parametrize("name_type", [NameType.UNKNOWN, PRINCIPAL, NameType.SRV_INST, 77])
def test_name_type_is_only_a_hint(kdc: Kdc, name_type: int) -> None:
    """RFC 4120 6.2: one part is a name whatever its type; the type is echoed."""
    sent = name("alice", name_type=name_type)
    assert log_on(kdc, sent).as_rep.cname == sent


def test_canonicalize_gets_the_accounts_own_name(kdc: Kdc) -> None:
    """RFC 6806 section 6: sAMAccountName, NT-PRINCIPAL."""
    assert log_on(kdc, name("ALICE"), options=CANONICALIZE).as_rep.cname == name("alice")


@pytest.mark.parametrize(
    ("sent", "signer", "account"),
    [
        ("Alice.Adams@corp.example", "alice", "alice"),
        ("ALICE.ADAMS@CORP.EXAMPLE", "alice", "alice"),
        ("robert@lab.test", "bob", "bob"),
        ("alice@LAB.TEST", "alice", "alice"),
        ("alice@lab", "alice", "alice"),
        ("alice", "alice", "alice"),
        ("pc1@lab.test", "pc1", "pc1$"),
    ],
)
def test_enterprise_name_is_a_upn_or_a_name_of_ours(
    kdc: Kdc, sent: str, signer: str, account: str
) -> None:
    """Row N01, control; RFC 6806 section 5: any suffix; the reply has the account's own name."""
    opened = log_on(kdc, name(sent, name_type=ENTERPRISE), signer)
    assert opened.as_rep.cname == name(account)


def test_simple_name_may_be_that_of_a_upn(kdc: Kdc) -> None:
    """MS-KILE 3.3.5.6.1: robert is robert@LAB.TEST, bob's UPN, and the reply says bob."""
    assert log_on(kdc, name("robert"), "bob").as_rep.cname == name("bob")


def test_computer_without_its_dollar(kdc: Kdc) -> None:
    """implicit_dollar: pc1 is pc1$, and the ticket says so (CVE-2021-42278)."""
    opened = log_on(kdc, name("pc1"), "pc1")
    assert opened.as_rep.cname == opened.ticket.cname == name("pc1$")


def test_implicit_dollar_can_be_off(kdc: Kdc) -> None:
    """implicit_dollar = false: pc1 is nobody, pc1$ still somebody."""
    kdc.configure(implicit_dollar=False)
    assert ask(kdc, name("pc1")) == UNKNOWN
    assert log_on(kdc, name("pc1$"), "pc1").as_rep.cname == name("pc1$")


def test_dollar_is_not_added_twice(kdc: Kdc) -> None:
    """pc1$$ is nobody's name; nor is user + $."""
    for sent in ("pc1$$", "alice$", "$"):
        assert ask(kdc, name(sent)) == UNKNOWN


def test_user_goes_before_a_computer_of_the_same_name(kdc: Kdc) -> None:
    """CVE-2021-42278: only when no account has the name itself is the dollar tried."""
    kdc.add_user("pc1")
    outcome = kdc.ask(
        PkinitRequest(body=body_for("pc1"), signer=issued.hello("pc1")).build().message
    )
    assert outcome.code == ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH


@pytest.mark.parametrize(
    "parts",
    [
        ("al\0ice",),
        ("alice\0",),
        ("alice\r\nbob",),
        ("alice\x1b[2J",),
        ("alice ",),
        (" alice",),
        ("\udcff\udcfe",),
        ("",),
    ],
    ids=["NUL", "NUL at end", "CRLF", "ESC", "space", "space before", "no UTF-8", "empty"],
)
def test_control_characters_and_bad_octets_are_nobody(kdc: Kdc, parts: tuple[str, ...]) -> None:
    """Row N02: 6; and the audit record gets the name as it came, for its writer to escape."""
    outcome = kdc.ask(as_req(body_for(*parts)))
    assert refused(outcome) == UNKNOWN
    assert outcome.facts["client"] == "/".join(parts)


@pytest.mark.parametrize(
    "sent",
    ["аlice", "alİce", "alıce", "ａｌｉｃｅ", "aliсe", "alice\u0301", "al\u200bice", "ſam", "ﬁn"],
)
def test_look_alikes_are_nobody(kdc: Kdc, sent: str) -> None:
    """Row N03: Cyrillic, Turkish, full-width, combining, zero-width, long s, ligature."""
    for ascii_name in ("sam", "fin"):
        kdc.add_user(ascii_name)
    for name_type in (PRINCIPAL, ENTERPRISE):
        assert ask(kdc, name(sent, name_type=name_type)) == UNKNOWN
    assert ask(kdc, name(f"{sent}@lab.test", name_type=ENTERPRISE)) == UNKNOWN


def test_name_with_a_letter_beyond_ascii_matches_exactly(kdc: Kdc) -> None:
    """Row N03: such names work, but only as they are stored."""
    kdc.add_user("jürgen")
    assert kdc.ask(as_req(body_for("JüRGEN"))).code == ErrorCode.KDC_ERR_PREAUTH_REQUIRED
    for other in ("jÜrgen", "ju\u0308rgen"):
        assert ask(kdc, name(other)) == UNKNOWN


@pytest.mark.parametrize(
    "sent",
    ["*", "alice*", "alice)(objectClass=*", "\\2a", "alice\\", "%", "_lice", "' OR 1=1 --", "a'b"],
)
def test_filter_and_pattern_characters_are_nobody(kdc: Kdc, sent: str) -> None:
    """Row N04: a name is data in every query."""
    for name_type in (PRINCIPAL, ENTERPRISE):
        assert ask(kdc, name(sent, name_type=name_type)) == UNKNOWN


def test_parts_are_not_joined(kdc: Kdc) -> None:
    """Row N05: {"host/web.lab.test"} is not {"host", "web.lab.test"}."""
    proof = enc_timestamp(next(k for k in random_keys("web") if k.etype == 18))
    good = body_for("host", "web.lab.test")
    issued_ticket(kdc.ask(as_req(good, proof)))
    for parts in (
        ("host/web.lab.test",),
        ("host", "web.lab.test", ""),
        ("", "host", "web.lab.test"),
        ("host/web.lab.test", ""),
        ("host", "web", "lab.test"),
        ("ho", "st/web.lab.test"),
    ):
        assert ask(kdc, name(*parts)) == UNKNOWN
        assert ask(kdc, name(*parts, name_type=ENTERPRISE)) == UNKNOWN


def test_service_name_as_client_is_echoed(kdc: Kdc) -> None:
    """RFC 4120 6.2.1: a service may get tickets for itself, under the name it used."""
    key = next(k for k in random_keys("web") if k.etype == 18)
    body = replace(
        BODY,
        cname=name("HOST", "Web.lab.test", name_type=NameType.SRV_HST),
        kdc_options=CANONICALIZE,
    )
    opened = open_password_reply(kdc.ask(as_req(body, enc_timestamp(key))), key, kdc, body)
    assert opened.as_rep.cname == body.cname


def test_enterprise_name_of_two_parts_is_nobody(kdc: Kdc) -> None:
    """RFC 6806 section 5: an enterprise name is one part."""
    assert ask(kdc, name("host", "web.lab.test", name_type=ENTERPRISE)) == UNKNOWN


def test_no_name_at_all_is_nobody(kdc: Kdc) -> None:
    """Row N06: no parts."""
    assert ask(kdc, name()) == UNKNOWN


def test_thousand_parts_are_a_generic_error(kdc: Kdc) -> None:
    """Row N06: more parts than any name has are not read."""
    code, why = ask(kdc, name(*["a"] * 1000))
    assert (code, why) == (
        ErrorCode.KRB_ERR_GENERIC,
        "the message is not valid DER: over a limit",
    )


def test_very_long_name_is_nobody(kdc: Kdc) -> None:
    """Row N06: 200 KB of name."""
    for name_type in (PRINCIPAL, ENTERPRISE):
        assert ask(kdc, name("a" * 200_000, name_type=name_type)) == UNKNOWN


@pytest.mark.parametrize(
    "sent",
    [
        "alice@LAB@EVIL",
        "alice@EVIL@LAB",
        "alice@LAB.TEST@LAB.TEST",
        "@LAB.TEST",
        "alice@",
        "@",
        "alice@EVIL",
        "host/web.lab.test@LAB.TEST",
    ],
)
def test_odd_enterprise_name_is_nobody(kdc: Kdc, sent: str) -> None:
    """Row N07: two at signs, none on a side, another suffix, a slash."""
    assert ask(kdc, name(sent, name_type=ENTERPRISE)) == UNKNOWN


def test_at_sign_in_a_simple_name_is_nobody(kdc: Kdc) -> None:
    """RFC 6806 section 5: only NT-ENTERPRISE means a UPN."""
    assert ask(kdc, name("alice@LAB.TEST")) == UNKNOWN


@pytest.mark.parametrize(
    "cname",
    [
        name("krbtgt"),
        name("KRBTGT"),
        name("krbtgt", REALM, name_type=NameType.SRV_INST),
        name("krbtgt", "LAB", name_type=NameType.SRV_INST),
        name("krbtgt@lab.test", name_type=ENTERPRISE),
    ],
)
def test_krbtgt_is_no_client(kdc: Kdc, cname: PrincipalName) -> None:
    """Nobody logs on as the realm's own account."""
    assert ask(kdc, cname) == UNKNOWN


# -- services --------------------------------------------------------------------------------


def for_service(kdc: Kdc, sname: PrincipalName | None) -> Outcome:
    """Ask for a ticket to a service, with pat's password."""
    body = replace(body_for("pat"), sname=sname)
    return kdc.ask(as_req(body, enc_timestamp(key_of(18))))


@pytest.mark.parametrize("realm", ["LAB.TEST", "lab.test", "LAB", "lab"])
@pytest.mark.parametrize("krbtgt", ["krbtgt", "KRBTGT"])
def test_krbtgt_by_any_name_of_the_realm_is_echoed(kdc: Kdc, krbtgt: str, realm: str) -> None:
    """Row N01, control: krbtgt/LAB gets a TGT under the name asked for."""
    sname = name(krbtgt, realm, name_type=NameType.SRV_INST)
    assert log_on(kdc, name("alice"), sname=sname).as_rep.ticket.sname == sname


def test_canonicalize_gets_the_krbtgts_own_name(kdc: Kdc) -> None:
    """RFC 6806: krbtgt/LAB becomes krbtgt/LAB.TEST."""
    sname = name("krbtgt", "lab", name_type=NameType.PRINCIPAL)
    opened = log_on(kdc, name("alice"), sname=sname, options=CANONICALIZE)
    assert opened.as_rep.ticket.sname == KRBTGT


def test_initial_ticket_for_a_service(kdc: Kdc) -> None:
    """Row A10: an AS-REQ may name a service; the ticket is INITIAL and of the service's key."""
    body = replace(body_for("pat"), sname=name("host", "web.lab.test"))
    outcome = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    opened = open_password_reply(outcome, key_of(18), kdc, body)
    assert opened.ticket.flags & TicketFlag.INITIAL
    assert opened.as_rep.ticket.sname == body.sname


@pytest.mark.parametrize(
    "sname",
    [
        None,
        name(),
        name("krbtgt"),
        name("krbtgt", "OTHER.TEST"),
        name("krbtgt", REALM, REALM),
        name("krbtgt", ""),
        name("kadmin", "changepw"),
        name("host", "nowhere.lab.test"),
        name("host/web.lab.test"),
        name("host", "web.lab.test", ""),
        name("host", "web.lab.test/x"),
        name("web"),
        name("alice"),
        name(""),
        name("krbtgt/LAB.TEST"),
    ],
    ids=str,
)
def test_unknown_service_is_told_so(kdc: Kdc, sname: PrincipalName | None) -> None:
    """Rows A10 and N05: 7, for other realms' krbtgt and kadmin/changepw too."""
    assert refused(for_service(kdc, sname)) == NO_SERVICE


def test_disabled_service_is_revoked(kdc: Kdc) -> None:
    """RFC 4120 3.1.3: KDC_ERR_SERVICE_REVOKED."""
    kdc.add_user("old", disabled=True, keys=random_keys("old"))
    kdc.store.update_account(kdc.account_id("old"), _spn("http/old.lab.test"))
    assert refused(for_service(kdc, name("http", "old.lab.test"))) == (
        ErrorCode.KDC_ERR_SERVICE_REVOKED,
        "the service's account is disabled",
    )


def _spn(spn: str) -> AccountChanges:
    return AccountChanges(spns=(spn,))


def test_service_without_a_key_has_no_tickets(kdc: Kdc) -> None:
    """RFC 4120 7.5.9: KDC_ERR_NULL_KEY."""
    kdc.store.update_account(kdc.account_id("alice"), _spn("http/alice.lab.test"))
    assert refused(for_service(kdc, name("http", "alice.lab.test"))) == (
        ErrorCode.KDC_ERR_NULL_KEY,
        "the service has no key of a supported type",
    )


def test_error_names_the_service_asked_for(kdc: Kdc) -> None:
    """RFC 4120 5.9.1: sname is REQUIRED in a KRB-ERROR; ours when the request has none."""
    asked = name("host", "nowhere", name_type=NameType.SRV_HST)
    assert error_of(for_service(kdc, asked)).sname == asked
    assert error_of(for_service(kdc, None)).sname == KRBTGT
    assert error_of(for_service(kdc, asked)).realm == REALM


SUBJECT = "X509:<I>DC=test,CN=CA<S>DC=test,CN=Pat"


@pytest.mark.parametrize(
    "text",
    ["CN=Pat,DC=test", "cn=pat, dc=TEST", "DC=test,CN=Pat", SUBJECT, "x509:<s>dc=test,cn=pat"],
)
def test_x500_name_leads_to_the_account_mapped_to_it(kdc: Kdc, text: str) -> None:
    """NT-X500-PRINCIPAL (MS-PKCA 3.1.5.2.1): by altSecurityIdentities, the ticket has its name."""
    kdc.store.update_account(
        kdc.account_id("pat"), AccountChanges(alt_security_identities=(SUBJECT,))
    )
    body = replace(BODY, cname=name(text, name_type=NameType.X500_PRINCIPAL))
    outcome = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    assert issued_ticket(outcome).cname == name("pat")


@pytest.mark.parametrize("text", ["CN=Pat", "CN=Pat,DC=other", "=", "CN=", "X509:", "X509:<S>"])
def test_x500_name_that_is_mapped_to_nobody(kdc: Kdc, text: str) -> None:
    """6, as for every unknown name."""
    kdc.store.update_account(
        kdc.account_id("pat"), AccountChanges(alt_security_identities=(SUBJECT,))
    )
    body = replace(BODY, cname=name(text, name_type=NameType.X500_PRINCIPAL))
    assert kdc.ask(as_req(body)).code == ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN


def test_x500_name_of_two_accounts_is_nobodys(kdc: Kdc) -> None:
    """One subject under two issuers: the name alone cannot say who is meant."""
    for account, issuer in (("pat", "CA"), ("bob", "Other CA")):
        value = f"X509:<I>CN={issuer}<S>DC=test,CN=Pat"
        kdc.store.update_account(
            kdc.account_id(account), AccountChanges(alt_security_identities=(value,))
        )
    body = replace(BODY, cname=name("CN=Pat,DC=test", name_type=NameType.X500_PRINCIPAL))
    assert kdc.ask(as_req(body)).code == ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN
