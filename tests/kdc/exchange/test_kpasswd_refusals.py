"""kpasswd: requests that are broken in one place, each with its code and its reason (RFC 3244)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges
from directory.model import PrincipalKey
from kdc.crypto.etypes import EncType, KeyUsage, encrypt, string_to_key
from kdc.explain.advice import ADVICE
from kdc.explain.explanation import Subject, Verdict, as_text, explain
from kdc.explain.findings import Known
from kdc.explain.frame import frame_tree, is_frame, redact_frame
from kdc.outcome import Outcome
from kdc.wire.constants import ErrorCode, TicketFlag
from kdc.wire.rfc3244 import SET_PASSWORD, ResultCode, decode_frame, encode_frame
from kdc.wire.rfc4120 import ApReq, EncKrbPrivPart, EncryptedData, HostAddress, KrbPriv
from pki import asn1
from tests.kdc.builders import (
    BODY,
    NOW,
    REALM,
    Kdc,
    as_req,
    client_entropy,
    enc_timestamp,
    key_of,
    name,
)
from tests.kdc.kpasswd_builders import (
    AT,
    CHANGEPW,
    NEW,
    Change,
    SentChange,
    add_password_service,
    ask_change,
    open_change_reply,
    open_error,
    password_ticket,
)
from tests.kdc.tgs_builders import (
    TgsRequest,
    Tgt,
    golden,
    open_tgs_reply,
    password_tgt,
)

Keys = tuple[PrincipalKey, ...]
SKEW = 37


@pytest.fixture(autouse=True)
def changepw_keys(kdc: Kdc) -> Keys:
    return add_password_service(kdc)


def unchanged(kdc: Kdc) -> None:
    """The password is still the first."""
    pat = kdc.store.account_by_name("pat")
    assert pat is not None
    assert pat.newest_keys()[0].kvno == 1


def in_the_clear(kdc: Kdc, outcome: Outcome) -> tuple[int, str, int]:
    """Return code, reason and result of a refusal before the client is proven."""
    error, result, text = open_error(outcome)
    assert error.error_code == outcome.code
    assert error.sname == CHANGEPW
    assert error.e_text == f"{ErrorCode(outcome.code).name} [ref {outcome.reference}]"
    assert text
    assert outcome.why in ADVICE
    unchanged(kdc)
    return outcome.code, outcome.why, result


def sealed(kdc: Kdc, sent: SentChange, *, password_stays: bool = True) -> tuple[int, str, int]:
    """Return code, reason and result of a refusal under protection."""
    outcome = ask_change(kdc, sent)
    result, text = open_change_reply(outcome, sent)
    assert text.endswith(f"[ref {outcome.reference}]")
    assert outcome.why in ADVICE
    if password_stays:
        unchanged(kdc)
    return outcome.code, outcome.why, result


# -- the frame -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m + b"\0",
        lambda m: m[:-1],
        lambda m: m[:5],
        lambda m: m[:1],
        lambda m: b"",
        lambda m: b"\0\0" + m[2:],
        lambda m: m[:4] + b"\xff\xff" + m[6:],
        lambda m: b"\xff\xff" + m[2:],
    ],
    ids=["longer", "shorter", "header cut", "an octet", "empty", "no length", "AP-REQ", "most"],
)
def test_lengths_that_do_not_fit_are_malformed(kdc: Kdc, change: Callable[[bytes], bytes]) -> None:
    """RFC 3244 2: both lengths are of what is there."""
    sent = Change(ticket=password_ticket(kdc), change_message=change).build()
    assert in_the_clear(kdc, ask_change(kdc, sent)) == (
        41,
        "the lengths in a password change do not fit its size",
        ResultCode.MALFORMED,
    )


@pytest.mark.parametrize("version", [0, 2, 0xFF7F, 0xFF81, 0xFFFF])
def test_unknown_version_is_bad_version(kdc: Kdc, version: int) -> None:
    """RFC 3244 2: KRB5_KPASSWD_BAD_VERSION."""
    sent = Change(ticket=password_ticket(kdc), version=version).build()
    assert in_the_clear(kdc, ask_change(kdc, sent)) == (
        3,
        "the version of the password protocol is not known",
        ResultCode.BAD_VERSION,
    )


def test_what_a_server_sends_is_not_answered(kdc: Kdc) -> None:
    """CVE-2002-2443: our own replies and errors, sent back to us, end there."""
    ticket = password_ticket(kdc)
    reply = ask_change(kdc, Change(ticket=ticket).build()).reply
    error = ask_change(kdc, Change(ticket=ticket, version=2).build()).reply
    for message in (reply, error):
        assert message is not None
        outcome = kdc.ask(message, at=AT, service="kpasswd")
        assert (outcome.reply, outcome.code, outcome.reference) == (None, 0, "")
        assert outcome.why == "an answer, not a request to change a password"
        assert outcome.why in ADVICE


def test_kdc_request_at_the_port_of_kpasswd_is_malformed_and_the_other_way_silent(
    kdc: Kdc,
) -> None:
    """What a message is follows from the port alone."""
    outcome = kdc.ask(as_req(BODY), service="kpasswd")
    assert in_the_clear(kdc, outcome)[0] == 41
    sent = Change(ticket=password_ticket(kdc)).build()
    assert kdc.ask(sent.message, at=AT).reply is None


# -- ticket and authenticator ----------------------------------------------------------------


def test_ticket_of_another_service_is_not_ours(kdc: Kdc) -> None:
    """KRB_AP_ERR_NOT_US, before any key is tried."""
    sent_web = TgsRequest(tgt=password_tgt(kdc), ctime=AT).build()
    web = open_tgs_reply(kdc.ask(sent_web.message, at=AT), sent_web, kdc).tgt
    for ticket in (web, password_tgt(kdc)):
        sent = Change(ticket=ticket).build()
        assert in_the_clear(kdc, ask_change(kdc, sent)) == (
            35,
            "the ticket is not for the password service of this realm",
            ResultCode.AUTHERROR,
        )


@pytest.mark.parametrize("at_right_kvno", [True, False])
def test_tgt_under_the_name_of_the_service_does_not_open(kdc: Kdc, at_right_kvno: bool) -> None:
    """CVE-2022-2031 the other way round: names in the clear prove nothing."""
    tgt = password_tgt(kdc)
    enc_part = tgt.ticket.enc_part
    if not at_right_kvno:
        enc_part = replace(enc_part, kvno=9)
    ticket = replace(tgt, ticket=replace(tgt.ticket, sname=CHANGEPW, enc_part=enc_part))
    expected = (
        (31, "the ticket does not open with the key of the password service")
        if at_right_kvno
        else (44, "the ticket is sealed with a key that the password service has not")
    )
    outcome = ask_change(kdc, Change(ticket=ticket).build())
    assert in_the_clear(kdc, outcome) == (*expected, ResultCode.AUTHERROR)


def bare(kdc: Kdc, keys: Keys, **changes: object) -> Tgt:
    """Make a ticket without a PAC as whoever stole the service's key can."""
    return golden(
        kdc,
        password_ticket(kdc),
        lambda p: replace(p, authorization_data=None, **changes),  # type: ignore[arg-type]  # fields of many types
        key=keys[0],
    )


def test_ticket_that_is_not_from_a_logon_needs_the_initial_flag(
    kdc: Kdc, changepw_keys: Keys
) -> None:
    """RFC 3244 2: KRB5_KPASSWD_INITIAL_FLAG_NEEDED; another KDC of the realm may be laxer."""
    flags = password_ticket(kdc).part.flags & ~TicketFlag.INITIAL
    sent = Change(ticket=bare(kdc, changepw_keys, flags=flags)).build()
    assert sealed(kdc, sent) == (
        12,
        "the ticket of a password change is not from a logon",
        ResultCode.INITIAL_FLAG_NEEDED,
    )


def test_administrator_needs_the_initial_flag_as_well(kdc: Kdc, changepw_keys: Keys) -> None:
    """A TGT left on a screen sets nobody's password."""
    kdc.configure(kpasswd_admin_reset=True)
    group = kdc.store.group_by_name("Domain Admins")
    assert group is not None
    kdc.store.add_member(group.group_id, account_id=kdc.account_id("pat"))
    flags = password_ticket(kdc).part.flags & ~TicketFlag.INITIAL
    ticket = bare(kdc, changepw_keys, flags=flags)
    sent = Change(ticket=ticket, version=SET_PASSWORD, target=name("alice")).build()
    assert sealed(kdc, sent)[2] == ResultCode.ACCESSDENIED


def test_ticket_older_than_five_minutes_has_expired_whatever_it_says(
    kdc: Kdc, changepw_keys: Keys
) -> None:
    """KRB_AP_ERR_TKT_EXPIRED: as it was issued, and for who writes another end into it."""
    late = NOW + timedelta(minutes=5)
    expected = (32, "the ticket for the password service has expired", ResultCode.AUTHERROR)
    for ticket in (
        password_ticket(kdc),
        bare(kdc, changepw_keys, endtime=NOW + timedelta(days=1)),
    ):
        sent = Change(ticket=ticket, ctime=late).build()
        assert in_the_clear(kdc, ask_change(kdc, sent, at=late)) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"starttime": AT + timedelta(minutes=6)},
        {"flags": TicketFlag.INITIAL | TicketFlag.INVALID},
    ],
    ids=["in the future", "invalid"],
)
def test_ticket_that_is_not_valid_yet(
    kdc: Kdc, changepw_keys: Keys, changes: dict[str, object]
) -> None:
    """KRB_AP_ERR_TKT_NYV."""
    sent = Change(ticket=bare(kdc, changepw_keys, **changes)).build()
    assert in_the_clear(kdc, ask_change(kdc, sent))[:2] == (
        33,
        "the ticket for the password service is not valid yet",
    )


def test_client_of_another_realm_has_no_password_here(kdc: Kdc, changepw_keys: Keys) -> None:
    """KDC_ERR_PATH_NOT_ACCEPTED."""
    sent = Change(ticket=bare(kdc, changepw_keys, crealm="OTHER.TEST")).build()
    assert in_the_clear(kdc, ask_change(kdc, sent))[:2] == (
        28,
        "a client of another realm has no password here",
    )


def test_ticket_whose_pac_was_made_up_is_modified(kdc: Kdc, changepw_keys: Keys) -> None:
    """Who has the service's key cannot make the KDC's signatures."""
    forged = golden(
        kdc,
        password_ticket(kdc),
        lambda p: replace(p, flags=p.flags | TicketFlag.HW_AUTHENT),
        key=changepw_keys[0],
    )
    outcome = ask_change(kdc, Change(ticket=forged).build())
    assert in_the_clear(kdc, outcome)[0] == 41


def test_replayed_authenticator_is_a_repeat(kdc: Kdc) -> None:
    """KRB_AP_ERR_REPEAT: the same proof around another KRB-PRIV, or after the minute."""
    sent = Change(ticket=password_ticket(kdc), password=b"short").build()
    assert sealed(kdc, sent)[2] == ResultCode.SOFTERROR
    frame = decode_frame(sent.message)
    assert frame is not None
    other = replace(sent, message=encode_frame(SET_PASSWORD, frame.ap, frame.rest))
    repeat = (34, "the authenticator was used before", ResultCode.AUTHERROR)
    assert in_the_clear(kdc, ask_change(kdc, other)) == repeat
    later = AT + timedelta(seconds=90)
    assert in_the_clear(kdc, ask_change(kdc, sent, at=later)) == repeat


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            Change(ticket=None, subkey=None),  # type: ignore[arg-type]  # set below
            (45, "the authenticator of a password change has no subkey"),
        ),
        (
            Change(ticket=None, ctime=AT + timedelta(minutes=6)),  # type: ignore[arg-type]
            (SKEW, "the authenticator is outside the clock skew"),
        ),
        (
            Change(ticket=None, ctime=NOW - timedelta(hours=2)),  # type: ignore[arg-type]
            (SKEW, "the authenticator is outside the clock skew"),
        ),
        (
            Change(
                ticket=None,  # type: ignore[arg-type]
                change_authenticator=lambda a: replace(a, cname=name("alice")),
            ),
            (36, "authenticator and ticket name different clients"),
        ),
    ],
    ids=["no subkey", "fast clock", "slow clock", "another name"],
)
def test_authenticator_that_proves_nothing(
    kdc: Kdc, change: Change, expected: tuple[int, str]
) -> None:
    """RFC 4120 3.2.3, and RFC 3244 2 for the subkey."""
    sent = replace(change, ticket=password_ticket(kdc)).build()
    assert in_the_clear(kdc, ask_change(kdc, sent)) == (*expected, ResultCode.AUTHERROR)


def test_authenticator_of_another_session_key(kdc: Kdc) -> None:
    """A ticket of one logon with the session key of another."""
    mixed = replace(password_ticket(kdc), ticket=password_ticket(kdc, at=AT).ticket)
    assert in_the_clear(kdc, ask_change(kdc, Change(ticket=mixed).build()))[:2] == (
        31,
        "the authenticator does not open with the session key",
    )


def _flip(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes((octets[at] ^ 1,)) + octets[at + 1 :]


def _not_a_ticket(ap_req: ApReq) -> ApReq:
    sealed_part = replace(ap_req.ticket.enc_part, cipher=bytes(64))
    return replace(ap_req, ticket=replace(ap_req.ticket, enc_part=sealed_part))


def test_tampered_ticket_does_not_open(kdc: Kdc) -> None:
    """KRB_AP_ERR_BAD_INTEGRITY."""
    sent = Change(ticket=password_ticket(kdc), change_ap_req=_not_a_ticket).build()
    assert in_the_clear(kdc, ask_change(kdc, sent))[0] == 31


# -- the KRB-PRIV ----------------------------------------------------------------------------


def _other_usage(private: KrbPriv) -> KrbPriv:
    cipher = _flip(private.enc_part.cipher, 20)
    return replace(private, enc_part=replace(private.enc_part, cipher=cipher))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"change_private": _other_usage},
            (31, "the KRB-PRIV does not open with the subkey", ResultCode.AUTHERROR),
        ),
        (
            {"change_rest": lambda m: m[:-1]},
            (60, "the KRB-PRIV is not valid DER", ResultCode.MALFORMED),
        ),
        (
            {"change_rest": lambda m: b""},
            (60, "the KRB-PRIV is not valid DER", ResultCode.MALFORMED),
        ),
        (
            {"change_private": lambda p: replace(p, pvno=4)},
            (39, "the KRB-PRIV's version is not 5", ResultCode.AUTHERROR),
        ),
        (
            {"change_private": lambda p: replace(p, msg_type=20)},
            (40, "msg-type does not match the message", ResultCode.AUTHERROR),
        ),
        (
            {"change_part": lambda p: replace(p, seq_number=4712)},
            (
                42,
                "the KRB-PRIV's sequence number is not the AP-REQ's",
                ResultCode.AUTHERROR,
            ),
        ),
        (
            {"change_part": lambda p: replace(p, timestamp=AT - timedelta(minutes=6))},
            (SKEW, "the KRB-PRIV is outside the clock skew", ResultCode.AUTHERROR),
        ),
        (
            {"user_data": b"Latin-\xe4-1234"},
            (12, "the new password is not UTF-8", ResultCode.MALFORMED),
        ),
        (
            {"version": SET_PASSWORD, "user_data": NEW.encode()},
            (12, "ChangePasswdData is malformed", ResultCode.MALFORMED),
        ),
    ],
    ids=[
        "tampered",
        "cut off",
        "missing",
        "version",
        "type",
        "sequence",
        "time",
        "not UTF-8",
        "no ChangePasswdData",
    ],
)
def test_broken_krb_priv_is_told_under_protection(
    kdc: Kdc, changes: dict[str, object], expected: tuple[int, str, int]
) -> None:
    """RFC 4120 3.4.2: the client is proven, so the answer is sealed; nothing is changed."""
    sent = Change(ticket=password_ticket(kdc), **changes).build()  # type: ignore[arg-type]  # fields of many types
    assert sealed(kdc, sent) == expected


def test_krb_priv_of_another_request_does_not_open(kdc: Kdc) -> None:
    """The subkey binds the two halves together, also within one logon."""
    ticket = password_ticket(kdc)
    other = decode_frame(Change(ticket=ticket, password=b"Evil-Passw0rd").build().message)
    assert other is not None
    sent = Change(ticket=ticket, change_rest=lambda _: other.rest).build()
    assert sealed(kdc, sent)[:2] == (31, "the KRB-PRIV does not open with the subkey")


def test_krb_priv_under_the_session_key_does_not_open(kdc: Kdc) -> None:
    """RFC 3244 2: it is the subkey's."""
    ticket = password_ticket(kdc)

    def under_session_key(_: KrbPriv) -> KrbPriv:
        part = EncKrbPrivPart(
            user_data=NEW.encode(), s_address=HostAddress(addr_type=2, address=bytes(4))
        )
        cipher = encrypt(
            ticket.session, KeyUsage.KRB_PRIV_ENC_PART, asn1.encode(part), client_entropy(16)
        )
        sealed_part = EncryptedData(etype=ticket.session.enctype, cipher=cipher)
        return KrbPriv(pvno=5, msg_type=21, enc_part=sealed_part)

    sent = Change(ticket=ticket, change_private=under_session_key).build()
    assert sealed(kdc, sent)[0] == 31


def test_no_truncation_and_no_flipped_bit_sets_another_password(kdc: Kdc) -> None:
    """Whatever arrives: one answer or none, never a bug; a field nobody reads may be flipped."""
    message = Change(ticket=password_ticket(kdc)).build().message
    allowed = {key_of(18).key, string_to_key(EncType(18), NEW, f"{REALM}pat").value}
    changed = 0
    for at in range(0, len(message), 5):
        for broken in (message[:at], _flip(message, at)):
            outcome = kdc.ask(broken, at=AT, service="kpasswd")
            assert not outcome.facts.get("internal_error"), at
            changed += outcome.facts.get("kpasswd_result") == 0
            pat = kdc.store.account_by_name("pat")
            assert pat is not None
            assert {key.key for key in pat.keys if key.etype == 18} <= allowed
    assert changed <= 1


# -- what is kept of it, and said about it ---------------------------------------------------


def test_recorded_request_holds_no_cipher(kdc: Kdc) -> None:
    """In the KRB-PRIV is a password, and a key that is stolen later would open it."""
    sent = Change(ticket=password_ticket(kdc)).build()
    frame = decode_frame(sent.message)
    assert frame is not None
    private = asn1.decode(KrbPriv, frame.rest)
    kept = redact_frame(sent.message)
    assert len(kept) == len(sent.message)
    assert private.enc_part.cipher not in kept
    again = decode_frame(kept)
    assert again is not None
    assert not any(asn1.decode(KrbPriv, again.rest).enc_part.cipher)
    assert not any(asn1.decode(ApReq, again.ap).ticket.enc_part.cipher)


@pytest.mark.parametrize("at", [0, 1, 5, 6, 40, 700])
def test_recorded_request_that_is_broken_keeps_its_header_alone(kdc: Kdc, at: int) -> None:
    """When in doubt, all goes."""
    message = Change(ticket=password_ticket(kdc)).build().message[:at]
    assert redact_frame(message) == message[:6] + bytes(max(0, at - 6))


def test_explanation_shows_the_frame_and_no_steps_of_other_exchanges(kdc: Kdc) -> None:
    """`kdc explain` of a refusal: rule, causes, what to do, and the tree."""
    sent = Change(ticket=password_ticket(kdc), password=b"short").build()
    outcome = ask_change(kdc, sent)
    kept = redact_frame(sent.message)
    assert is_frame(kept)
    subject = Subject(message=kept, time=AT, origin="192.0.2.7 port 40000, udp", redacted=True)
    verdict = Verdict(code=outcome.code, why=outcome.why, facts=outcome.facts)
    explanation = explain(subject, verdict, kdc.realm.config, Known())
    assert explanation.stages == ()
    text = "\n".join(as_text(explanation))
    assert "password_min_length" in text
    assert "0x0001 (change-password)" in text
    tree = frame_tree(kept)
    assert tree.find("AP-REQ", "ticket") is not None
    assert tree.find("KRB-PRIV") is not None
    assert not is_frame(as_req(BODY))


def test_expired_account_is_told_so_under_protection(kdc: Kdc) -> None:
    """The account's own state is judged after the proof, and has its usual reason."""
    sent = Change(ticket=password_ticket(kdc)).build()
    kdc.store.update_account(kdc.account_id("pat"), AccountChanges(expires_at=NOW))
    assert sealed(kdc, sent) == (18, "the account has expired", ResultCode.AUTHERROR)


def test_krbtgt_is_never_the_password_service(kdc: Kdc) -> None:
    """CVE-2022-2031: Windows gives krbtgt the name kadmin/changepw; here each has its own key."""
    kdc.store.delete_account(kdc.account_id("kadmin/changepw"))
    krbtgt = kdc.store.krbtgt().account_id
    names = ("krbtgt/LAB.TEST", "krbtgt/LAB", "kadmin/changepw")
    kdc.store.update_account(krbtgt, AccountChanges(spns=names))
    tgt = password_tgt(kdc)
    shown = replace(tgt, ticket=replace(tgt.ticket, sname=CHANGEPW))
    outcome = ask_change(kdc, Change(ticket=shown).build())
    assert in_the_clear(kdc, outcome)[:2] == (
        44,
        "the ticket is sealed with a key that the password service has not",
    )
    assert (tgt.part.endtime - tgt.part.authtime) > timedelta(minutes=5)
    body = replace(BODY, cname=name("pat"), sname=CHANGEPW)
    refusal = kdc.ask(as_req(body, enc_timestamp(key_of(18))))
    assert refusal.code == 7, "no TGT under another name"
