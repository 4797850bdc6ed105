"""PA-ENC-TIMESTAMP (RFC 4120 5.2.7.2): logons by password and what stops them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges
from directory.model import PrincipalKey
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, encrypt
from kdc.exchange.enc_timestamp import WRONG_PASSWORD
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import EncryptedData
from pki import asn1
from tests.kdc.builders import (
    NOW,
    PASSWORD,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    client_entropy,
    enc_timestamp,
    issued_ticket,
    key_of,
    method_data,
    name,
    open_password_reply,
    padata,
    password_keys,
    random_keys,
    refused,
)
from tests.pki import issued

BODY = body_for("pat")
FAILED = ErrorCode.KDC_ERR_PREAUTH_FAILED
WRONG = PrincipalKey(etype=18, kvno=1, key=bytes(32))


def log_on(kdc: Kdc, key: PrincipalKey | None = None, after_s: int = 0) -> tuple[int, str]:
    """Send a timestamp sealed with `key`, by default the right one; return (code, why)."""
    at = NOW + timedelta(seconds=after_s)
    outcome = kdc.ask(as_req(BODY, enc_timestamp(key or key_of(18), at=at)), at=at)
    return outcome.code, outcome.why


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
def test_right_password_gets_a_ticket(kdc: Kdc, etype: int) -> None:
    """RFC 4120 3.1.3: the reply is sealed with the key of the timestamp, and says its kvno."""
    key = key_of(etype)
    outcome = kdc.ask(as_req(BODY, enc_timestamp(key)))
    opened = open_password_reply(outcome, key, kdc, BODY)
    assert opened.as_rep.enc_part.kvno == 1
    assert outcome.facts["preauth"] == 2
    assert outcome.facts["etype"] == etype


def test_reply_tells_the_salt(kdc: Kdc) -> None:
    """RFC 4120 5.2.7.5: the AS-REP carries ETYPE-INFO2 with the one key that was used."""
    opened = open_password_reply(
        kdc.ask(as_req(BODY, enc_timestamp(key_of(17)))), key_of(17), kdc, BODY
    )
    (hint,) = opened.as_rep.padata or ()
    assert hint.padata_type == PaType.ETYPE_INFO2
    assert b"LAB.TESTpat" in hint.padata_value


def test_session_key_is_the_clients_first_choice(kdc: Kdc) -> None:
    """RFC 4120 3.1.3: the session key's type does not depend on the password key's."""
    body = replace(BODY, etype=(17, 18))
    outcome = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    opened = open_password_reply(outcome, key_of(18), kdc, body)
    assert opened.part.key.keytype == 17


def test_wrong_password_fails_with_hints(kdc: Kdc) -> None:
    """RFC 4120 3.1.3: KDC_ERR_PREAUTH_FAILED; the METHOD-DATA lets the client try again."""
    outcome = kdc.ask(as_req(BODY, enc_timestamp(WRONG)))
    assert refused(outcome) == (FAILED, WRONG_PASSWORD)
    assert outcome.facts["locked_now"] is False
    assert method_data(outcome)[0].padata_type == PaType.ETYPE_INFO2


@pytest.mark.parametrize("seconds", [-301, 301, -86400 * 365 * 50, 86400 * 365 * 100])
def test_timestamp_outside_the_clock_skew_is_refused(kdc: Kdc, seconds: int) -> None:
    """Row F01 for passwords: KRB_AP_ERR_SKEW."""
    stamp = enc_timestamp(key_of(18), at=NOW + timedelta(seconds=seconds))
    assert refused(kdc.ask(as_req(BODY, stamp))) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the timestamp is outside the clock skew",
    )


@pytest.mark.parametrize("seconds", [-300, 300])
def test_timestamp_at_the_clock_skew_passes(kdc: Kdc, seconds: int) -> None:
    """Row F01, control."""
    stamp = enc_timestamp(key_of(18), at=NOW + timedelta(seconds=seconds))
    issued_ticket(kdc.ask(as_req(BODY, stamp)))


def test_skewed_timestamp_is_no_wrong_password(kdc: Kdc) -> None:
    """A slow clock locks nobody out: the password in it was right."""
    stamp = enc_timestamp(key_of(18), at=NOW - timedelta(hours=1))
    for _ in range(12):
        kdc.ask(as_req(BODY, stamp))
    assert kdc.store.password_failures(kdc.account_id("pat")) == 0


def test_timestamp_older_than_the_replay_memory_is_skewed(kdc: Kdc) -> None:
    """Design requirement 8: what the memory may have forgotten is 37, not a replay."""
    kdc.configure(clockskew_s=7200)
    stamp = enc_timestamp(key_of(18), at=NOW - timedelta(minutes=61))
    assert refused(kdc.ask(as_req(BODY, stamp))) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the timestamp is older than the replay memory",
    )


def test_timestamp_in_another_packet_is_a_replay(kdc: Kdc) -> None:
    """RFC 4120 3.1.3, row F02: the proof of one packet does not serve another."""
    stamp = enc_timestamp(key_of(18))
    issued_ticket(kdc.ask(as_req(BODY, stamp)))
    assert refused(kdc.ask(as_req(replace(BODY, nonce=7), stamp))) == (
        ErrorCode.KRB_AP_ERR_REPEAT,
        "the encrypted timestamp was used before",
    )


def test_malformed_encrypted_data_fails(kdc: Kdc) -> None:
    """RFC 4120 5.2.9: padata that is no EncryptedData."""
    message = as_req(BODY, padata(PaType.ENC_TIMESTAMP, b"\x30\x00"))
    assert refused(kdc.ask(message)) == (FAILED, "PA-ENC-TIMESTAMP: required field missing")


def test_malformed_timestamp_fails(kdc: Kdc) -> None:
    """RFC 4120 5.2.7.2: sealed with the right key, but no PA-ENC-TS-ENC inside."""
    key = ProtocolKey(EncType(18), key_of(18).key)
    cipher = encrypt(key, KeyUsage.PA_ENC_TIMESTAMP, b"\x30\x00", client_entropy(16))
    value = asn1.encode(EncryptedData(etype=18, cipher=cipher))
    assert refused(kdc.ask(as_req(BODY, padata(PaType.ENC_TIMESTAMP, value)))) == (
        FAILED,
        "PA-ENC-TS-ENC: required field missing",
    )


@pytest.mark.parametrize(
    ("listed", "sealed", "supported"),
    [((17,), 18, (18, 17)), ((18, 17), 18, (17,)), ((23, 18), 23, (18,)), ((3, 18), 3, (18,))],
    ids=["not in the request", "not in the realm", "RC4", "DES"],
)
def test_timestamp_of_another_type_is_not_supported(
    kdc: Kdc, listed: tuple[int, ...], sealed: int, supported: tuple[int, ...]
) -> None:
    """Row A02: the timestamp's type must be in the request and in supported_enctypes."""
    kdc.configure(supported_enctypes=supported)
    value = asn1.encode(EncryptedData(etype=sealed, cipher=bytes(60)))
    message = as_req(replace(BODY, etype=listed), padata(PaType.ENC_TIMESTAMP, value))
    assert refused(kdc.ask(message)) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "the timestamp's encryption type is not accepted",
    )


def test_account_without_a_key_of_the_type_fails(kdc: Kdc) -> None:
    """A Hello account without a password, and one with keys of other types only."""
    only_17 = tuple(key for key in password_keys("quinn") if key.etype == 17)
    kdc.add_user("quinn", keys=only_17)
    for who in ("alice", "quinn"):
        outcome = kdc.ask(as_req(body_for(who), enc_timestamp(key_of(18))))
        assert refused(outcome) == (FAILED, "the account has no password key of this type")


def test_only_the_newest_password_counts(kdc: Kdc) -> None:
    """A key of an older kvno opens old tickets, but is no password any more."""
    account_id = kdc.account_id("pat")
    kdc.store.set_keys(account_id, random_keys("pat", kvno=2), keep_generations=1)
    assert log_on(kdc) == (FAILED, WRONG_PASSWORD)
    newest = next(k for k in random_keys("pat", kvno=2) if k.etype == 18)
    opened = open_password_reply(kdc.ask(as_req(BODY, enc_timestamp(newest))), newest, kdc, BODY)
    assert opened.as_rep.enc_part.kvno == 2


def test_smart_card_only_account_is_refused_by_policy(kdc: Kdc) -> None:
    """Row A05: 12, before the password is looked at."""
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(smartcard_required=True))
    refusal = (ErrorCode.KDC_ERR_POLICY, "the account must log on with a key, no password")
    assert log_on(kdc) == refusal
    assert log_on(kdc, WRONG) == refusal
    assert kdc.store.password_failures(kdc.account_id("pat")) == 0


# -- encryption types ------------------------------------------------------------------------


@pytest.mark.parametrize("etypes", [(23,), (-128,), (24,), (1, 3), (16,), ()], ids=lambda e: str(e))
def test_no_supported_type_is_refused(kdc: Kdc, etypes: tuple[int, ...]) -> None:
    """Row A02; CVE-2022-33647, CVE-2022-33679: RC4 and its kin are never a fallback."""
    for proof in ((), (enc_timestamp(key_of(18)),)):
        assert refused(kdc.ask(as_req(replace(BODY, etype=etypes), *proof))) == (
            ErrorCode.KDC_ERR_ETYPE_NOSUPP,
            "no encryption type of the request is supported here",
        )


def test_rc4_first_gets_an_aes_session_key(kdc: Kdc) -> None:
    """Row A03; CVE-2022-37966."""
    body = replace(BODY, etype=(23, 18))
    outcome = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    assert open_password_reply(outcome, key_of(18), kdc, body).part.key.keytype == 18


# -- lockout ---------------------------------------------------------------------------------

LOCKED = (ErrorCode.KDC_ERR_CLIENT_REVOKED, "the account is locked")


def test_wrong_passwords_lock_the_account(kdc: Kdc) -> None:
    """Row A04: each is counted once; then 18, also for the right password."""
    kdc.configure(lockout_threshold=3, lockout_duration_s=600)
    outcomes = [kdc.ask(as_req(BODY, enc_timestamp(WRONG))) for _ in range(3)]
    assert [o.code for o in outcomes] == [FAILED] * 3
    assert [o.facts["locked_now"] for o in outcomes] == [False, False, True]
    assert log_on(kdc, WRONG) == LOCKED
    assert log_on(kdc) == LOCKED
    assert log_on(kdc, after_s=599) == LOCKED
    assert log_on(kdc, after_s=600) == (0, "")


def test_wrong_password_sent_again_counts_once(kdc: Kdc) -> None:
    """RFC 4120 3.1.2: a retransmission is no second guess, and gets the same code."""
    kdc.configure(lockout_threshold=3)
    packet = as_req(BODY, enc_timestamp(WRONG))
    assert [kdc.ask(packet).code for _ in range(5)] == [FAILED] * 5
    assert kdc.store.password_failures(kdc.account_id("pat")) == 1
    assert log_on(kdc)[0] == 0


def test_right_password_starts_the_count_again(kdc: Kdc) -> None:
    """Row A04: two typing errors a day lock nobody."""
    kdc.configure(lockout_threshold=3)
    for _ in range(3):
        log_on(kdc, WRONG)
        log_on(kdc, WRONG)
        assert log_on(kdc)[0] == 0
    assert kdc.store.password_failures(kdc.account_id("pat")) == 0


def test_pkinit_failures_are_not_counted(kdc: Kdc) -> None:
    """Row A04: a stranger's key is no guess at a password."""
    kdc.configure(lockout_threshold=3)
    for _ in range(5):
        request = PkinitRequest(body=BODY, signer=issued.hello("stranger")).build()
        assert kdc.ask(request.message).code == ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED
    assert kdc.store.password_failures(kdc.account_id("pat")) == 0
    assert log_on(kdc)[0] == 0


def test_locked_account_is_locked_for_its_key_too(kdc: Kdc) -> None:
    """Row K15: 18, whatever the client could prove."""
    kdc.configure(lockout_threshold=1)
    kdc.store.set_keys(kdc.account_id("alice"), password_keys("alice"))
    assert kdc.ask(as_req(body_for("alice"), enc_timestamp(WRONG))).code == FAILED
    request = PkinitRequest().build()
    assert refused(kdc.ask(request.message)) == LOCKED


# -- hide_unknown ----------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_hidden_locked_account_does_not_tell_whether_the_password_is_right(
    kdc: Kdc, password: str
) -> None:
    """Row A08: 18 for the right one alone would let guessing go on behind the lock."""
    kdc.configure(hide_unknown=True, lockout_threshold=1)
    log_on(kdc, WRONG)
    key = key_of(18) if password == "right" else WRONG  # noqa: S105
    assert log_on(kdc, key) == (FAILED, "the account is locked")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (AccountChanges(disabled=True), "the account is disabled"),
        (AccountChanges(expires_at=NOW), "the account has expired"),
        (AccountChanges(logon_hours=bytes(21)), "outside the account's logon hours"),
        (
            AccountChanges(smartcard_required=True),
            "the account must log on with a key, no password",
        ),
    ],
    ids=["disabled", "expired", "hours", "smart card"],
)
def test_hidden_account_answers_a_timestamp_as_an_unknown_one(
    kdc: Kdc, changes: AccountChanges, why: str
) -> None:
    """Row A08: with hide_unknown the code is that of a wrong password; the audit says why."""
    kdc.configure(hide_unknown=True)
    kdc.store.update_account(kdc.account_id("pat"), changes)
    known = kdc.ask(as_req(BODY, enc_timestamp(key_of(18))))
    assert refused(known) == (FAILED, why)
    unknown_body = replace(BODY, cname=name("nobody"))
    unknown = kdc.ask(as_req(unknown_body, enc_timestamp(key_of(18))))
    assert refused(unknown) == (FAILED, "the account has no password key of this type")
    types = [[pa.padata_type for pa in method_data(o)] for o in (known, unknown)]
    assert types[0] == types[1]


def test_hidden_account_with_the_right_password_gets_its_ticket(kdc: Kdc) -> None:
    """Row A08, control: hiding names stops nobody who may log on."""
    kdc.configure(hide_unknown=True)
    assert log_on(kdc) == (0, "")


def test_password_is_in_no_fact_and_no_reason(kdc: Kdc) -> None:
    """Row S08: neither the password nor its key gets into the audit record."""
    outcomes = [kdc.ask(as_req(BODY, enc_timestamp(key))) for key in (key_of(18), WRONG)]
    for outcome in outcomes:
        text = repr(outcome.facts) + outcome.why
        assert PASSWORD not in text
        assert key_of(18).key.hex() not in text
        assert repr(key_of(18).key) not in text
