"""FAST in the AS exchange (RFC 6113 5.4): what goes through the tunnel, and what comes back."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from directory.changes import AccountChanges
from kdc.crypto.etypes import CHECKSUM_TYPES, KeyUsage, decrypt, verify_checksum
from kdc.crypto.rfc6113 import krb_fx_cf2
from kdc.exchange.enc_challenge import WRONG_PASSWORD
from kdc.exchange.fast import Tunnel
from kdc.exchange.fast_cookie import COOKIE_LIFE, HEADER
from kdc.exchange.preauth import ARMORED_MECHANISMS, MECHANISMS
from kdc.outcome import Outcome
from kdc.wire.constants import AdType, ErrorCode, PaType, TicketFlag
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    AsRep,
    AsReq,
    AuthorizationDataElement,
    Checksum,
    EncryptedData,
    PaData,
    PaEncTsEnc,
)
from kdc.wire.rfc6113 import ANONYMOUS, ANONYMOUS_REALM, FastOption
from pki import asn1
from tests.kdc.builders import (
    BODY,
    REALM,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    error_of,
    key_of,
    method_data,
    name,
    padata,
    password_keys,
    random_keys,
    refused,
    same_octets,
)
from tests.kdc.fast_builders import (
    PAT,
    Armor,
    FastAsRequest,
    OpenedFast,
    SentFast,
    Wrapping,
    ask_fast,
    enc_challenge,
    fast_refusal,
    open_fast_reply,
    pat_key,
    random_key,
)
from tests.kdc.tgs_builders import LATER, key_tgt, password_tgt
from tests.pki import issued

FAILED = ErrorCode.KDC_ERR_PREAUTH_FAILED
REQUIRED = ErrorCode.KDC_ERR_PREAUTH_REQUIRED
EXPIRED = ErrorCode.KDC_ERR_PREAUTH_EXPIRED
POLICY = ErrorCode.KDC_ERR_POLICY


def host_armor(kdc: Kdc) -> Armor:
    """Return the armor of the computer pc1$."""
    return Armor(tgt=key_tgt(kdc, "pc1"))


def challenged(armor: Armor) -> FastAsRequest:
    """Return pat's request with an encrypted challenge."""
    return FastAsRequest(armor=armor, inside=(enc_challenge(armor.key),))


def log_on(kdc: Kdc, request: FastAsRequest) -> tuple[SentFast, Outcome]:
    """Send a request."""
    sent = request.build()
    return sent, kdc.ask(sent.message, at=LATER)


def log_on_ok(kdc: Kdc, request: FastAsRequest, etype: int = 18) -> OpenedFast:
    """Send a request that must get a ticket by pat's password."""
    sent, outcome = log_on(kdc, request)
    return open_fast_reply(outcome, sent, pat_key(etype))


# -- the conversation ------------------------------------------------------------------------


def test_first_request_learns_what_there_is(kdc: Kdc) -> None:
    """RFC 6113 5.4.4, 5.4.6: 25, the hints inside, the challenge instead of the timestamp."""
    sent, outcome = log_on(kdc, FastAsRequest(armor=host_armor(kdc)))
    assert refused(outcome) == (REQUIRED, "no pre-authentication data")
    assert fast_refusal(outcome, sent).types == [19, 138, 16, 15, 133]
    assert outcome.facts["fast_armor"] == "pc1$"
    assert outcome.facts["client"] == "pat"


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_challenge_gets_a_ticket(kdc: Kdc, etype: int) -> None:
    """RFC 6113 5.4.6: whichever of the password's keys the client used."""
    armor = host_armor(kdc)
    request = FastAsRequest(armor=armor, inside=(enc_challenge(armor.key, etype=etype),))
    sent, outcome = log_on(kdc, request)
    opened = open_fast_reply(outcome, sent, pat_key(etype))
    assert opened.types == [19, 138]
    assert opened.response.finished is not None
    assert opened.rep.cname == PAT.cname == opened.response.finished.cname
    assert opened.rep.crealm == REALM
    assert outcome.facts["preauth"] == 138
    assert opened.part.flags & TicketFlag.PRE_AUTHENT


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_the_armor_key_may_be_of_any_type(kdc: Kdc, etype: int) -> None:
    """RFC 6113 5.1: the armor key is of the subkey's type, whatever the ticket's."""
    armor = Armor(tgt=key_tgt(kdc, "pc1"), subkey=random_key(etype))
    log_on_ok(kdc, challenged(armor))


def test_kdc_proves_that_it_knows_the_password(kdc: Kdc) -> None:
    """RFC 6113 5.4.6: its own challenge, in the same key with another pepper."""
    armor = host_armor(kdc)
    opened = log_on_ok(kdc, challenged(armor))
    (value,) = (p.padata_value for p in opened.padata if p.padata_type == 138)
    key = krb_fx_cf2(armor.key, pat_key(), b"kdcchallengearmor", b"challengelongterm")
    plain = decrypt(key, KeyUsage.ENC_CHALLENGE_KDC, asn1.decode(EncryptedData, value).cipher)
    assert asn1.decode(PaEncTsEnc, plain).patimestamp == LATER.replace(microsecond=0)


def test_pkinit_goes_through_the_tunnel(kdc: Kdc) -> None:
    """RFC 6113 5.4.2: paChecksum is over the inner body; the reply key is strengthened."""
    made = PkinitRequest(ctime=LATER).build()
    pkinit = padata_of(made.message, PaType.PK_AS_REQ)
    armor = host_armor(kdc)
    _, outcome = log_on(kdc, FastAsRequest(armor=armor, body=BODY, inside=(pkinit,)))
    assert (outcome.code, outcome.why) == (0, "")
    assert outcome.reply is not None
    assert [p.padata_type for p in asn1.decode(AsRep, outcome.reply).padata or ()] == [136]
    assert outcome.facts["trust"] == "key"


def test_pkinit_checksum_of_the_outer_body_is_modified(kdc: Kdc) -> None:
    """RFC 6113 5.4.2: the body that counts is the one inside."""
    body = replace(BODY, nonce=77)
    pkinit = padata_of(PkinitRequest(body=body, ctime=LATER).build().message, PaType.PK_AS_REQ)
    request = FastAsRequest(armor=host_armor(kdc), body=BODY, outer_body=body, inside=(pkinit,))
    sent, outcome = log_on(kdc, request)
    assert refused(outcome) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "paChecksum is not the checksum of the request's body",
    )
    fast_refusal(outcome, sent)


def padata_of(message: bytes, pa_type: PaType) -> PaData:
    """Return the padata of this type from an AS-REQ."""
    (found,) = (p for p in asn1.decode(AsReq, message).padata or () if p.padata_type == pa_type)
    return found


def test_typed_data_become_padata(kdc: Kdc) -> None:
    """RFC 6113 5.4.4: TD-DH-PARAMETERS under its own number."""
    made = PkinitRequest(group="modp2", ctime=LATER).build()
    pkinit = padata_of(made.message, PaType.PK_AS_REQ)
    request = FastAsRequest(armor=host_armor(kdc), body=BODY, inside=(pkinit,))
    sent, outcome = log_on(kdc, request)
    assert outcome.code == ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED
    assert fast_refusal(outcome, sent).types == [109]


def test_outer_request_is_not_looked_at(kdc: Kdc) -> None:
    """RFC 6113 5.4.5: another realm, an unknown client, no service, a bad option, a bad proof."""
    armor = host_armor(kdc)
    outer = replace(PAT, cname=name("nobody"), realm="OTHER.TEST", sname=None, kdc_options=0xFFFF)
    request = replace(
        challenged(armor), outer_body=outer, outside=(padata(PaType.ENC_TIMESTAMP, b"junk"),)
    )
    log_on_ok(kdc, request)


def test_inner_request_is_looked_at(kdc: Kdc) -> None:
    """RFC 6113 5.4.2: its realm and names decide, and its refusals come through the tunnel."""
    for body, code in (
        (replace(PAT, realm="OTHER.TEST"), ErrorCode.KDC_ERR_WRONG_REALM),
        (body_for("nobody"), ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN),
        (replace(PAT, sname=None), ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN),
        (replace(PAT, etype=(23,)), ErrorCode.KDC_ERR_ETYPE_NOSUPP),
    ):
        sent, outcome = log_on(kdc, FastAsRequest(armor=host_armor(kdc), body=body))
        assert outcome.code == code
        fast_refusal(outcome, sent)


def test_req_enc_pa_rep_covers_the_outer_message(kdc: Kdc) -> None:
    """RFC 6806 11 as MIT's client checks it: the strengthened key, the AS-REQ as sent."""
    armor = host_armor(kdc)
    request = FastAsRequest(
        armor=armor, inside=(enc_challenge(armor.key), padata(PaType.REQ_ENC_PA_REP))
    )
    sent, outcome = log_on(kdc, request)
    opened = open_fast_reply(outcome, sent, pat_key())
    assert opened.part.flags & TicketFlag.ENC_PA_REP
    checked = (opened.part.encrypted_pa_data or ())[0]
    checksum = asn1.decode(Checksum, checked.padata_value)
    assert checksum.cksumtype == CHECKSUM_TYPES[opened.reply_key.enctype]
    verify_checksum(opened.reply_key, KeyUsage.AS_REQ, sent.message, checksum.checksum)


def test_hidden_names_are_hidden_outside(kdc: Kdc) -> None:
    """RFC 6113 5.4.2: WELLKNOWN/ANONYMOUS in reply and errors, the name in the finished field."""
    armor = host_armor(kdc)
    hiding = Wrapping(options=FastOption.HIDE_CLIENT_NAMES)
    opened = log_on_ok(kdc, replace(challenged(armor), wrapping=hiding))
    assert (opened.rep.crealm, opened.rep.cname) == (ANONYMOUS_REALM, ANONYMOUS)
    assert opened.response.finished is not None
    assert opened.response.finished.cname == PAT.cname
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor, wrapping=hiding))
    assert b"pat" not in (outcome.reply or b"")
    error = fast_refusal(outcome, sent)
    assert (error.outer.crealm, error.outer.cname) == (ANONYMOUS_REALM, ANONYMOUS)


def test_identical_packet_gets_the_same_reply(kdc: Kdc) -> None:
    """Row F02, control: a retransmission is no replay."""
    sent, outcome = log_on(kdc, challenged(host_armor(kdc)))
    assert kdc.ask(sent.message, at=LATER + timedelta(seconds=5)).reply == outcome.reply


def test_one_armor_serves_a_conversation(kdc: Kdc) -> None:
    """RFC 6113 5.4.1.1 as MIT's client does it: the same AP-REQ in every message of it."""
    armor = host_armor(kdc)
    ap_req = armor.value()
    once = Wrapping(change_armored=lambda made: replace(made, armor=ap_req))
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor, wrapping=once))
    cookie = padata(PaType.FX_COOKIE, fast_refusal(outcome, sent).value(PaType.FX_COOKIE))
    inside = (cookie, enc_challenge(armor.key))
    log_on_ok(kdc, FastAsRequest(armor=armor, inside=inside, wrapping=once))


@pytest.mark.parametrize("who", ["pat", "alice"])
def test_any_account_may_lend_its_tgt(kdc: Kdc, who: str) -> None:
    """RFC 6113 5.4.1.1: the host's is the usual one; the client's own is as good."""
    tgt = password_tgt(kdc) if who == "pat" else key_tgt(kdc, who)
    log_on_ok(kdc, challenged(Armor(tgt=tgt)))


def test_armor_may_be_marked_as_such(kdc: Kdc) -> None:
    """RFC 6113 5.4.1.1: AD-fx-fast-armor is for this."""
    mark = AuthorizationDataElement(ad_type=AdType.FX_FAST_ARMOR, ad_data=b"")
    armor = Armor(tgt=key_tgt(kdc, "pc1"), authorization_data=(mark,))
    log_on_ok(kdc, challenged(armor))


# -- the password ----------------------------------------------------------------------------


def test_wrong_password_fails_and_counts(kdc: Kdc) -> None:
    """RFC 6113 5.4.6: KDC_ERR_PREAUTH_FAILED with PA-ETYPE-INFO2 inside; row A04 counts it."""
    armor = host_armor(kdc)
    wrong = enc_challenge(armor.key, key=random_key())
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor, inside=(wrong,)))
    assert refused(outcome) == (FAILED, WRONG_PASSWORD)
    assert fast_refusal(outcome, sent).types[:2] == [19, 138]
    assert kdc.store.password_failures(kdc.account_id("pat")) == 1
    log_on_ok(kdc, challenged(host_armor(kdc)))
    assert kdc.store.password_failures(kdc.account_id("pat")) == 0


@pytest.mark.parametrize("hide_unknown", [False, True])
def test_wrong_password_sent_again_counts_once(kdc: Kdc, hide_unknown: bool) -> None:
    """RFC 4120 3.1.2, row A04: a retransmission is no second guess, in the tunnel neither."""
    kdc.configure(lockout_threshold=3, hide_unknown=hide_unknown)
    armor = host_armor(kdc)
    wrong = enc_challenge(armor.key, key=random_key())
    message = FastAsRequest(armor=armor, inside=(wrong,)).build().message
    assert [kdc.ask(message, at=LATER).code for _ in range(5)] == [FAILED] * 5
    assert kdc.store.password_failures(kdc.account_id("pat")) == 1
    log_on_ok(kdc, challenged(host_armor(kdc)))


def test_challenge_of_another_armor_does_not_open(kdc: Kdc) -> None:
    """RFC 6113 5.4.6: the challenge's key is made of the armor key."""
    other = host_armor(kdc)
    request = FastAsRequest(armor=host_armor(kdc), inside=(enc_challenge(other.key),))
    assert refused(log_on(kdc, request)[1]) == (FAILED, WRONG_PASSWORD)


def test_only_types_of_the_request_are_tried(kdc: Kdc) -> None:
    """RFC 4120 3.1.3: the reply key must be of a type that the client asked for."""
    armor = host_armor(kdc)
    body = replace(PAT, etype=(17,))
    request = FastAsRequest(armor=armor, body=body, inside=(enc_challenge(armor.key, etype=18),))
    assert refused(log_on(kdc, request)[1]) == (FAILED, WRONG_PASSWORD)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_challenge_outside_the_clock_skew(kdc: Kdc, seconds: int) -> None:
    """RFC 6113 5.4.6: KRB_AP_ERR_SKEW."""
    armor = host_armor(kdc)
    stamp = enc_challenge(armor.key, at=LATER + timedelta(seconds=seconds))
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor, inside=(stamp,)))
    assert refused(outcome) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the timestamp is outside the clock skew",
    )
    fast_refusal(outcome, sent)


def test_challenge_in_another_packet_is_a_replay(kdc: Kdc) -> None:
    """RFC 6113 5.4.6: the identical ciphertext; the same time in another is none."""
    armor = host_armor(kdc)
    challenge = enc_challenge(armor.key)
    request = FastAsRequest(armor=armor, inside=(challenge,))
    log_on_ok(kdc, request)
    assert refused(log_on(kdc, request)[1]) == (
        ErrorCode.KRB_AP_ERR_REPEAT,
        "the encrypted challenge was used before",
    )
    log_on_ok(kdc, challenged(armor))


def test_malformed_challenge(kdc: Kdc) -> None:
    """E rows inside padata: 24."""
    junk = padata(PaType.ENCRYPTED_CHALLENGE, b"\x30\x03junk")
    request = FastAsRequest(armor=host_armor(kdc), inside=(junk,))
    code, why = refused(log_on(kdc, request)[1])
    assert (code, why.partition(":")[0]) == (FAILED, "PA-ENCRYPTED-CHALLENGE")


def test_account_without_a_password(kdc: Kdc) -> None:
    """A Hello account has nothing that could open a challenge."""
    armor = host_armor(kdc)
    request = FastAsRequest(armor=armor, body=BODY, inside=(enc_challenge(armor.key),))
    assert refused(log_on(kdc, request)[1]) == (
        FAILED,
        "the account has no password key of these types",
    )


def test_smart_card_only_account(kdc: Kdc) -> None:
    """Row A05 inside the tunnel: 12, and the challenge is not offered."""
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(smartcard_required=True))
    sent, outcome = log_on(kdc, challenged(host_armor(kdc)))
    assert refused(outcome) == (POLICY, "the account must log on with a key, no password")
    sent, outcome = log_on(kdc, FastAsRequest(armor=host_armor(kdc)))
    assert 138 not in fast_refusal(outcome, sent).types


def test_expired_password_is_told_inside(kdc: Kdc) -> None:
    """KDC_ERR_KEY_EXPIRED, once the password is proven."""
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(must_change_password=True))
    sent, outcome = log_on(kdc, challenged(host_armor(kdc)))
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_KEY_EXPIRED,
        "the password must be changed first",
    )
    fast_refusal(outcome, sent)


def test_timestamp_inside_the_tunnel_is_no_proof(kdc: Kdc) -> None:
    """RFC 6113 5.4.6; Samba's test_fast_enc_timestamp: 25, as if there were nothing."""
    stamp = enc_timestamp(key_of(18), at=LATER)
    request = FastAsRequest(armor=host_armor(kdc), inside=(stamp,))
    assert refused(log_on(kdc, request)[1]) == (REQUIRED, "no pre-authentication data")


def test_challenge_outside_the_tunnel_is_no_proof(kdc: Kdc) -> None:
    """Samba's test_fast_encrypted_challenge_no_fast: 25."""
    message = as_req(PAT, enc_challenge(random_key()))
    assert refused(kdc.ask(message, at=LATER)) == (REQUIRED, "no pre-authentication data")


def test_two_challenges(kdc: Kdc) -> None:
    """As row P22: which of the two is meant?"""
    armor = host_armor(kdc)
    inside = (enc_challenge(armor.key), enc_challenge(armor.key))
    assert refused(log_on(kdc, FastAsRequest(armor=armor, inside=inside))[1]) == (
        FAILED,
        "the same pre-authentication data twice",
    )


# -- hide_unknown and require_fast -----------------------------------------------------------


@pytest.mark.parametrize("who", ["user1", "nobody"])
@pytest.mark.parametrize("changes", [{}, {"disabled": True}, {"smartcard_required": True}])
def test_hidden_names_look_alike_inside(kdc: Kdc, who: str, changes: dict[str, bool]) -> None:
    """Row A08: the same hints and the same refusal of a wrong password, whatever the name is."""
    kdc.add_user("user1", keys=password_keys("user1"))
    kdc.store.update_account(kdc.account_id("user1"), AccountChanges(**changes))  # type: ignore[arg-type]  # switches
    armor = host_armor(kdc)
    kdc.configure(hide_unknown=True)
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor, body=body_for(who)))
    assert outcome.code == REQUIRED
    assert fast_refusal(outcome, sent).types == [19, 138, 16, 15, 133]
    wrong = (enc_challenge(armor.key, key=random_key()),)
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor, body=body_for(who), inside=wrong))
    assert outcome.code == FAILED
    assert fast_refusal(outcome, sent).types == [19, 138, 16, 15, 133]


def test_required_fast_refuses_a_timestamp(kdc: Kdc) -> None:
    """`require_fast`: 12 for a user's timestamp, which is not offered either."""
    kdc.configure(require_fast=True)
    stamp = enc_timestamp(key_of(18), at=LATER)
    assert refused(kdc.ask(as_req(PAT, stamp), at=LATER)) == (
        POLICY,
        "a user's password is taken inside FAST only (require_fast)",
    )
    hinted = kdc.ask(as_req(PAT), at=LATER)
    assert [p.padata_type for p in method_data(hinted)] == [19, 16, 15, 136]


def test_required_fast_takes_a_challenge_and_pkinit(kdc: Kdc) -> None:
    """`require_fast`, controls: the tunnel is open, and a key has nothing to guess."""
    kdc.configure(require_fast=True)
    log_on_ok(kdc, challenged(host_armor(kdc)))


def test_required_fast_lets_a_computer_log_on(kdc: Kdc) -> None:
    """`require_fast`: whose TGT should be the armor otherwise?"""
    keys = password_keys("pc1", kvno=2)
    kdc.store.set_keys(kdc.account_id("pc1$"), keys, keep_generations=1)
    kdc.configure(require_fast=True)
    stamp = enc_timestamp(keys[0], at=LATER)
    assert kdc.ask(as_req(body_for("pc1$"), stamp), at=LATER).code == 0


def test_required_fast_and_hidden_names(kdc: Kdc) -> None:
    """Row A08: what is a user and what a computer is not told either."""
    kdc.configure(require_fast=True, hide_unknown=True)
    for who in ("pat", "pc1$", "nobody"):
        stamp = enc_timestamp(key_of(18), at=LATER)
        body = body_for(who)
        assert kdc.ask(as_req(body, stamp), at=LATER).code == FAILED
        offered = [p.padata_type for p in method_data(kdc.ask(as_req(body), at=LATER))]
        assert offered == [19, 2, 16, 15, 136]


# -- cookies ---------------------------------------------------------------------------------


def cookie_of(kdc: Kdc, armor: Armor) -> bytes:
    """Return the cookie of pat's first message."""
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor))
    return fast_refusal(outcome, sent).value(PaType.FX_COOKIE)


def send_cookie(kdc: Kdc, armor: Armor, value: bytes, after: timedelta) -> tuple[int, str]:
    """Return (code, why) of pat's second message with this cookie."""
    later = replace(armor, ctime=LATER + after)
    inside = (
        padata(PaType.FX_COOKIE, value),
        enc_challenge(later.key, at=LATER + after),
    )
    sent = FastAsRequest(armor=later, inside=inside).build()
    outcome = kdc.ask(sent.message, at=LATER + after)
    return outcome.code, outcome.why


def test_cookie_lasts_ten_minutes(kdc: Kdc) -> None:
    """RFC 6113 5.2: KDC_ERR_PREAUTH_EXPIRED makes the client start anew."""
    armor = host_armor(kdc)
    value = cookie_of(kdc, armor)
    assert send_cookie(kdc, armor, value, COOKIE_LIFE) == (0, "")
    expired = (EXPIRED, "the FX-COOKIE has expired")
    assert send_cookie(kdc, armor, value, COOKIE_LIFE + timedelta(seconds=1)) == expired
    assert send_cookie(kdc, armor, value, timedelta(seconds=-301)) == expired


@pytest.mark.parametrize("position", [4, 20, 40, 80, -1])
def test_tampered_cookie(kdc: Kdc, position: int) -> None:
    """RFC 6113 5.2: a client cannot subvert anything by manipulating the token."""
    armor = host_armor(kdc)
    value = bytearray(cookie_of(kdc, armor))
    value[position] ^= 1
    code, why = send_cookie(kdc, armor, bytes(value), timedelta())
    assert (code, why) in (
        (FAILED, "the FX-COOKIE is not one of ours"),
        (EXPIRED, "the FX-COOKIE is sealed with an unknown key"),
    )


def test_endless_cookie(kdc: Kdc) -> None:
    """Bounds on everything."""
    assert send_cookie(kdc, host_armor(kdc), HEADER + bytes(600), timedelta()) == (
        FAILED,
        "the FX-COOKIE is not one of ours",
    )


def test_cookie_of_another_client(kdc: Kdc) -> None:
    """A cookie is part of one conversation."""
    armor = host_armor(kdc)
    sent, outcome = log_on(kdc, FastAsRequest(armor=armor, body=BODY))
    value = fast_refusal(outcome, sent).value(PaType.FX_COOKIE)
    assert send_cookie(kdc, armor, value, timedelta()) == (
        FAILED,
        "the FX-COOKIE is another client's",
    )


def test_cookie_of_a_krbtgt_key_that_is_gone(kdc: Kdc) -> None:
    """RFC 6113 5.2, key rollover: it is old, whatever time is in it."""
    value = cookie_of(kdc, host_armor(kdc))
    for kvno in (2, 3):
        krbtgt = kdc.store.krbtgt()
        kdc.store.set_keys(krbtgt.account_id, random_keys("krbtgt", kvno), keep_generations=1)
    assert send_cookie(kdc, host_armor(kdc), value, timedelta()) == (
        EXPIRED,
        "the FX-COOKIE is sealed with an unknown key",
    )


def test_mechanism_of_the_tunnel_outside_is_a_bug() -> None:
    """The table keeps the challenge inside; whoever breaks that must not get a ticket by it."""
    (row,) = (m for m in ARMORED_MECHANISMS if m.pa_type is PaType.ENCRYPTED_CHALLENGE)
    assert row not in MECHANISMS
    context = SimpleNamespace(
        account=None,
        realm=None,
        now=None,
        request=SimpleNamespace(req_body=None),
        tunnel=Tunnel(),
    )
    with pytest.raises(AssertionError):
        row.verify(context, b"")  # type: ignore[arg-type]  # what it looks at first


@pytest.mark.parametrize("value", [b"", b"MIT", b"Microsoft", b"MIT1\0\0\0\1junk"])
def test_cookie_of_another_kdc_is_left_alone(kdc: Kdc, value: bytes) -> None:
    """Samba's test_unsolicited_fx_cookie_fast: it is not looked at."""
    assert send_cookie(kdc, host_armor(kdc), value, timedelta()) == (0, "")


# -- nothing changes without an armor --------------------------------------------------------


def test_errors_without_a_tunnel_have_none(kdc: Kdc) -> None:
    """RFC 6113 5.4.4: PA-FX-FAST with a value only answers one."""
    for name_, any_listed in (("pat", True), ("nobody", False)):
        e_data = error_of(kdc.ask(as_req(body_for(name_)))).e_data
        listed = asn1.decode_as(METHOD_DATA, e_data) if e_data else ()
        assert bool(listed) is any_listed
        assert all(p.padata_value == same_octets(b"") for p in listed if p.padata_type == 136)
        assert all(p.padata_type not in (PaType.FX_ERROR, PaType.FX_COOKIE) for p in listed)


def test_strangers_key_is_refused_inside(kdc: Kdc) -> None:
    """Row K01 through the tunnel: 62."""
    made = PkinitRequest(signer=issued.hello("stranger"), ctime=LATER).build()
    pkinit = padata_of(made.message, PaType.PK_AS_REQ)
    sent, outcome = log_on(kdc, FastAsRequest(armor=host_armor(kdc), body=BODY, inside=(pkinit,)))
    assert outcome.code == ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED
    fast_refusal(outcome, sent)
    assert ask_fast(kdc, FastAsRequest(armor=host_armor(kdc))).code == REQUIRED
