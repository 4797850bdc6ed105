"""What a client without pre-authentication is told: KDC_ERR_PREAUTH_REQUIRED and its METHOD-DATA.

Source of contents and order: wire facts 2.4 (what Windows sends and Samba's tests expect).
"""

from dataclasses import replace

import pytest

from directory.changes import AccountChanges
from kdc.exchange.freshness import verify_freshness_token
from kdc.outcome import Outcome
from kdc.wire.constants import ErrorCode, KdcOption, NameType, PaType
from kdc.wire.rfc4120 import ETYPE_INFO2, EtypeInfo2Entry, PaData
from pki import asn1
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    error_of,
    issued_ticket,
    method_data,
    name,
    padata,
    password_keys,
    random_keys,
    refused,
)
from tests.pki import issued

NEEDED = (ErrorCode.KDC_ERR_PREAUTH_REQUIRED, "no pre-authentication data")
FRESH = padata(PaType.AS_FRESHNESS)


def hints(kdc: Kdc, who: str, *sent: PaData) -> list[int]:
    """Return the types of the METHOD-DATA that an account gets."""
    outcome = kdc.ask(as_req(body_for(who), *sent))
    assert refused(outcome) == NEEDED
    return [pa.padata_type for pa in method_data(outcome)]


def etype_info2(outcome: Outcome) -> tuple[EtypeInfo2Entry, ...]:
    first = method_data(outcome)[0]
    assert first.padata_type == PaType.ETYPE_INFO2
    return asn1.decode_as(ETYPE_INFO2, first.padata_value)


def test_password_account_is_offered_everything(kdc: Kdc) -> None:
    """ETYPE-INFO2, ENC-TIMESTAMP, PK-AS-REQ, 15 for Windows clients, FX-FAST, in this order."""
    assert hints(kdc, "pat") == [19, 2, 16, 15, 136]


def test_client_that_knows_freshness_gets_a_token_instead_of_15(kdc: Kdc) -> None:
    """RFC 8070 2.2; Samba's tests: PK-AS-REP_OLD is omitted when freshness was asked for."""
    assert hints(kdc, "pat", FRESH) == [19, 2, 16, 150, 136]


def test_offered_token_is_ours_and_of_now(kdc: Kdc) -> None:
    """RFC 8070 2.2: the token says when it was made."""
    outcome = kdc.ask(as_req(body_for("pat"), FRESH))
    token = method_data(outcome)[-2].padata_value
    skew = NOW - NOW
    assert verify_freshness_token(token, kdc.store.krbtgt(), NOW, skew) == NOW


def test_account_without_a_password_is_not_offered_the_timestamp(kdc: Kdc) -> None:
    """A Hello account has nothing to seal a timestamp with."""
    assert hints(kdc, "alice") == [19, 16, 15, 136]


def test_smart_card_only_account_is_not_offered_the_timestamp(kdc: Kdc) -> None:
    """Row A05: its password is of no use."""
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(smartcard_required=True))
    assert hints(kdc, "pat") == [19, 16, 15, 136]


def test_kdc_without_certificate_does_not_offer_pkinit(kdc: Kdc) -> None:
    """No PK-AS-REQ, and no token that only PKINIT could return."""
    kdc.use_signers()
    assert hints(kdc, "pat", FRESH) == [19, 2, 136]


def test_account_flagged_no_preauth_still_needs_it(kdc: Kdc) -> None:
    """Row A01: never an AS-REP without proof, so there is nothing to roast."""
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(preauth_not_required=True))
    assert hints(kdc, "pat") == [19, 2, 16, 15, 136]


def test_unknown_padata_is_no_preauth(kdc: Kdc) -> None:
    """RFC 4120 5.2.7: types we do not know are ignored."""
    assert hints(kdc, "pat", padata(PaType.PAC_REQUEST, b"junk"), padata(PaType.PW_SALT)) == [
        19,
        2,
        16,
        15,
        136,
    ]


def test_etype_info2_follows_the_clients_order(kdc: Kdc) -> None:
    """RFC 4120 5.2.7.5: only types of the request, each once, in its order, with their salts."""
    body = replace(body_for("pat"), etype=(23, 17, 20, 17, 18, -128))
    entries = etype_info2(kdc.ask(as_req(body)))
    assert [(e.etype, e.salt) for e in entries] == [
        (17, "LAB.TESTpat"),
        (20, "LAB.TESTpat"),
        (18, "LAB.TESTpat"),
    ]


def test_etype_info2_lists_only_types_the_account_has(kdc: Kdc) -> None:
    """RFC 4120 5.2.7.5: a key that is not there cannot be used."""
    kdc.add_user("quinn", keys=tuple(k for k in password_keys("quinn") if k.etype == 17))
    entries = etype_info2(kdc.ask(as_req(body_for("quinn"))))
    assert [(e.etype, e.salt) for e in entries] == [(17, "LAB.TESTquinn")]


def test_salt_of_random_keys_is_the_default_one(kdc: Kdc) -> None:
    """A computer with a keytab has no salt; its hints look like others'."""
    entries = etype_info2(kdc.ask(as_req(body_for("pc1$"))))
    assert {e.salt for e in entries} == {"LAB.TESTpc1$"}


def test_hints_come_with_preauth_failed_too(kdc: Kdc) -> None:
    """RFC 4120 3.1.3; RFC 8070 2.4: the client learns what it could have sent, and a token."""
    kdc.configure(pkinit_require_freshness=True)
    outcome = kdc.ask(PkinitRequest(before=(FRESH,)).build().message)
    assert outcome.code == ErrorCode.KDC_ERR_PREAUTH_FAILED
    assert [pa.padata_type for pa in method_data(outcome)] == [19, 16, 150, 136]


def test_refusals_of_another_code_have_no_hints(kdc: Kdc) -> None:
    """RFC 4556 3.2.2: PKINIT's own errors have typed data or none."""
    outcome = kdc.ask(PkinitRequest(signer=issued.hello("bob")).build().message)
    assert outcome.code == ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH
    assert error_of(outcome).e_data is None


def test_preauth_required_is_routine(kdc: Kdc) -> None:
    """It is a step of every logon: no reference, no e-text."""
    outcome = kdc.ask(as_req())
    assert (outcome.reference, error_of(outcome).e_text) == ("", None)


# -- unknown names ---------------------------------------------------------------------------


def test_unknown_client_is_told_so(kdc: Kdc) -> None:
    """RFC 4120 3.1.3, the default: KDC_ERR_C_PRINCIPAL_UNKNOWN, as MIT and Windows."""
    assert refused(kdc.ask(as_req(body_for("nobody")))) == (
        ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN,
        "no account of the client's name",
    )


HIDDEN_STATES = {
    "password": AccountChanges(),
    "disabled": AccountChanges(disabled=True),
    "expired": AccountChanges(expires_at=NOW),
    "no hours": AccountChanges(logon_hours=bytes(21)),
    "smart card": AccountChanges(smartcard_required=True),
    "no preauth": AccountChanges(preauth_not_required=True),
}


@pytest.mark.parametrize("state", HIDDEN_STATES)
@pytest.mark.parametrize("sent", [(), (FRESH,)], ids=["plain", "freshness"])
def test_hidden_names_look_alike(kdc: Kdc, state: str, sent: tuple[PaData, ...]) -> None:
    """Row A08: with hide_unknown all get 25 and, but for name and token, the same octets."""
    kdc.configure(hide_unknown=True)
    kdc.add_user("user1", keys=password_keys("user1"))
    kdc.store.update_account(kdc.account_id("user1"), HIDDEN_STATES[state])
    replies = []
    for who in ("user1", "user2"):
        outcome = kdc.ask(as_req(body_for(who), *sent))
        assert refused(outcome) == NEEDED
        pa = method_data(outcome)
        replies.append(
            [
                (p.padata_type, p.padata_value.replace(who.encode(), b"NAME"))
                for p in pa
                if p.padata_type != PaType.AS_FRESHNESS
            ]
        )
        assert (pa[-2].padata_type == PaType.AS_FRESHNESS) is bool(sent)
    assert replies[0] == replies[1]


def test_hidden_hello_account_looks_like_an_unknown_one(kdc: Kdc) -> None:
    """Row A08: that an account has no password is not told either."""
    kdc.configure(hide_unknown=True)
    assert hints(kdc, "alice") == hints(kdc, "nobody") == [19, 2, 16, 15, 136]


@pytest.mark.parametrize("who", ["alice", "nobody"])
def test_strangers_key_gets_the_same_answer_for_every_hidden_name(kdc: Kdc, who: str) -> None:
    """Row A08: a key of nobody is 62, bob's key 75, whether the name exists or not."""
    kdc.configure(hide_unknown=True)
    codes = []
    for signer in ("stranger", "bob"):
        request = PkinitRequest(body=body_for(who), signer=issued.hello(signer))
        codes.append(kdc.ask(request.build().message).code)
    assert codes == [
        ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
        ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
    ]


def test_hidden_disabled_account_is_told_its_state_once_proven(kdc: Kdc) -> None:
    """Row A08: who signed with the account's key may know that it is disabled."""
    kdc.configure(hide_unknown=True)
    kdc.store.update_account(kdc.account_id("alice"), AccountChanges(disabled=True))
    assert refused(kdc.ask(PkinitRequest().build().message)) == (
        ErrorCode.KDC_ERR_CLIENT_REVOKED,
        "the account is disabled",
    )


def test_hiding_names_lets_their_owners_log_on(kdc: Kdc) -> None:
    """Row A08, control."""
    kdc.configure(hide_unknown=True)
    issued_ticket(kdc.ask(PkinitRequest().build().message))


def test_request_without_a_client_name_is_hidden_too(kdc: Kdc) -> None:
    """Row N06: cname is OPTIONAL in the ASN.1, not in an AS-REQ."""
    without = replace(BODY, cname=None)
    assert kdc.ask(as_req(without)).code == ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN
    kdc.configure(hide_unknown=True)
    assert refused(kdc.ask(as_req(without))) == NEEDED


# -- anonymous -------------------------------------------------------------------------------


def test_anonymous_pkinit_is_an_unknown_client(kdc: Kdc) -> None:
    """Row A07: while it is off nobody is WELLKNOWN/ANONYMOUS, option or not."""
    anonymous = name("WELLKNOWN", "ANONYMOUS", name_type=NameType.WELLKNOWN)
    for options in (BODY.kdc_options, BODY.kdc_options | KdcOption.REQUEST_ANONYMOUS):
        body = replace(BODY, cname=anonymous, kdc_options=options)
        for message in (as_req(body), PkinitRequest(body=body).build().message):
            assert kdc.ask(message).code == ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN


def test_keys_of_a_retired_generation_give_no_hints(kdc: Kdc) -> None:
    """ETYPE-INFO2 speaks of the newest keys only."""
    account_id = kdc.account_id("pat")
    newest = tuple(k for k in random_keys("pat", kvno=2) if k.etype == 18)
    kdc.store.set_keys(account_id, newest, keep_generations=1)
    entries = etype_info2(kdc.ask(as_req(body_for("pat"))))
    assert [e.etype for e in entries] == [18]


@pytest.mark.parametrize("hidden", [False, True])
def test_long_names_do_not_make_long_answers(kdc: Kdc, hidden: bool) -> None:
    """Row W05: salts made from an unknown name would multiply it; an error echoes no huge name."""
    kdc.configure(hide_unknown=hidden)
    long_client = kdc.ask(as_req(body_for("a" * 60_000)))
    long_service = kdc.ask(as_req(replace(BODY, sname=name("host", "a" * 60_000))))
    for outcome in (long_client, long_service):
        assert outcome.reply is not None
        assert len(outcome.reply) < 4096
    assert long_service.code == ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN
