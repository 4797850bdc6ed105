"""For each kind of refusal, made by a real request: the explanation names the right cause."""

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.changes import AccountChanges
from kdc.explain.advice import ADVICE
from kdc.explain.explanation import (
    WIDTH,
    Explanation,
    Subject,
    Verdict,
    as_json,
    as_text,
    explain,
)
from kdc.explain.findings import Known, read_request
from kdc.explain.redact import redact
from kdc.explain.steps import State, Step, stages
from kdc.wire.constants import KdcOption, PaType
from kdc.wire.rfc4120 import ApReq, AsReq, EncryptedData, KdcReqBody, TgsReq, Ticket
from kdc.wire.rfc4556 import AuthPack, PkAuthenticator
from pki import asn1, ca, oids
from pki.ca import IssuedCertificate
from pki.x500 import simple_name
from tests.kdc.builders import (
    BODY,
    KRBTGT,
    NOW,
    Kdc,
    PkinitRequest,
    add_hello_key,
    as_req,
    body_for,
    enc_timestamp,
    hello_key,
    key_of,
    name,
    padata,
    sign_auth_pack,
)
from tests.pki import issued


@dataclass(slots=True, kw_only=True)
class Case:
    """One refusal: what is sent, and what its explanation must say."""

    why: str
    step: Step | None
    says: tuple[str, ...]
    """Words of the text: the cause, the values compared, the fix."""
    message: Callable[[], bytes]
    prepare: Callable[[Kdc], object] = field(default=lambda _kdc: None)
    at: datetime = NOW


def pkinit(**given: object) -> Callable[[], bytes]:
    return lambda: PkinitRequest(**given).build().message  # type: ignore[arg-type]  # fields of it


def password(body: KdcReqBody, at: datetime = NOW, owner: str = "pat") -> Callable[[], bytes]:
    return lambda: as_req(body, enc_timestamp(key_of(18, owner), at=at))


def change_pack(**given: object) -> Callable[[AuthPack], AuthPack]:
    return lambda pack: replace(pack, **given)  # type: ignore[arg-type]  # fields of it


def change_auth(**given: object) -> Callable[[PkAuthenticator], PkAuthenticator]:
    return lambda auth: replace(auth, **given)  # type: ignore[arg-type]  # fields of it


def update(name: str, changes: AccountChanges) -> Callable[[Kdc], object]:
    return lambda kdc: kdc.store.update_account(kdc.account_id(name), changes)


PAT = body_for("pat")


@cache
def small_signer() -> IssuedCertificate:
    """Return a Hello certificate of 1024 bits, as no Windows makes it."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  that it is refused is tested
    subject = simple_name((oids.ID_AT_COMMON_NAME, "alice"))
    certificate = ca.self_signed_hello_certificate(key, subject, NOW)
    return IssuedCertificate(certificate_der=certificate, private_key=key)


CASES = (
    Case(
        why="this KDC does not serve the realm named",
        step=Step.REALM,
        says=('for realm "OTHER.TEST"', "serves LAB.TEST (NetBIOS LAB)", "default_realm"),
        message=lambda: as_req(replace(BODY, realm="OTHER.TEST")),
    ),
    Case(
        why="an option that an AS-REQ cannot have is set",
        step=Step.OPTIONS,
        says=("kinit -n", "request-anonymous"),
        message=lambda: as_req(replace(BODY, kdc_options=KdcOption.REQUEST_ANONYMOUS)),
    ),
    Case(
        why="no encryption type of the request is supported here",
        step=Step.ETYPE,
        says=("23 rc4-hmac", "18 aes256-cts-hmac-sha1-96", "asks for RC4"),
        message=lambda: as_req(replace(BODY, etype=(23, -135))),
    ),
    Case(
        why="no account of the client's name",
        step=Step.CLIENT,
        says=('calls itself "nosuch"', "misspelt", "kdc user list"),
        message=lambda: as_req(body_for("nosuch")),
    ),
    Case(
        why="no service of the name asked for",
        step=Step.SERVICE,
        says=('asks for "host/nosuch"', "kdc service list"),
        message=lambda: as_req(
            replace(BODY, sname=replace(BODY.sname, name_string=("host", "nosuch")))  # type: ignore[type-var]  # never None
        ),
    ),
    Case(
        why="the account is disabled",
        step=Step.ACCOUNT,
        says=("alice is: disabled", "kdc user enable alice"),
        message=pkinit(),
        prepare=update("alice", AccountChanges(disabled=True)),
    ),
    Case(
        why="the account has expired",
        step=Step.ACCOUNT,
        says=("expires 2026-05-04 11:00:00Z", "kdc user expire alice --at never"),
        message=pkinit(),
        prepare=update("alice", AccountChanges(expires_at=NOW - timedelta(hours=1))),
    ),
    Case(
        why="the password must be changed first",
        step=Step.PASSWORD_STATE,
        says=("must change the password", "kdc user password pat"),
        message=password(PAT),
        prepare=update("pat", AccountChanges(must_change_password=True)),
    ),
    Case(
        why="the requested end time has passed",
        step=Step.TIMES,
        says=("till is 2026-05-04 11:59:59Z; our clock said 2026-05-04 12:00:00Z",),
        message=pkinit(body=replace(BODY, till=NOW - timedelta(seconds=1))),
    ),
    Case(
        why="PA-PK-AS-REQ-OLD (a draft) is not supported",
        step=Step.MECHANISM,
        says=("Windows XP or 2003", "15 PA-PK-AS-REP-OLD"),
        message=lambda: as_req(BODY, padata(PaType.PK_AS_REP_OLD, b"\x30\x00")),
    ),
    Case(
        why="this KDC has no certificate",
        step=Step.KDC_CERTIFICATE,
        says=("kdc cert issue-kdc",),
        message=pkinit(),
        prepare=lambda kdc: kdc.use_signers(),
    ),
    Case(
        why="the AuthPack's time is outside the clock skew",
        step=Step.PK_CLOCK,
        says=("it is 20m behind ours", "Allowed is 5m (clockskew)", "same NTP source"),
        message=pkinit(ctime=NOW - timedelta(minutes=20)),
    ),
    Case(
        why="the AuthPack has no paChecksum",
        step=Step.CHECKSUM,
        says=("a tool that leaves it out",),
        message=pkinit(change_authenticator=change_auth(pa_checksum=None)),
    ),
    Case(
        why="paChecksum is not the checksum of the request's body",
        step=Step.CHECKSUM,
        says=("something between client and KDC changed the request",),
        message=pkinit(sent_body=replace(BODY, till=NOW + timedelta(hours=9))),
    ),
    Case(
        why="the freshness token is not one of ours",
        step=Step.FRESHNESS,
        says=("a token of another KDC", "freshnessToken: 676172626c6564"),
        message=pkinit(freshness_token=b"garbled"),
    ),
    Case(
        why="a freshness token is required (pkinit_require_freshness)",
        step=Step.FRESHNESS,
        says=("MIT before 1.17", "pkinit_require_freshness = false"),
        message=pkinit(),
        prepare=lambda kdc: kdc.configure(pkinit_require_freshness=True),
    ),
    Case(
        why="the client asks for an RSA-encrypted reply, which is off",
        step=Step.GROUP,
        says=("There is no clientPublicValue",),
        message=pkinit(change_auth_pack=change_pack(client_public_value=None)),
    ),
    Case(
        why="Diffie-Hellman group 2 is off (legacy_dh_group2)",
        step=Step.GROUP,
        says=("offers modp2, 1024 bits", "impacket family", "legacy_dh_group2 = true", '"tools"'),
        message=pkinit(group="modp2"),
    ),
    Case(
        why="the Diffie-Hellman group is smaller than pkinit_dh_min_bits",
        step=Step.GROUP,
        says=("offers modp14, 2048 bits", "kdc logon alice --kex p256"),
        message=pkinit(group="modp14"),
        prepare=lambda kdc: kdc.configure(pkinit_dh_min_bits=4096),
    ),
    Case(
        why="the Diffie-Hellman group is larger than pkinit_dh_max_bits",
        step=Step.GROUP,
        says=("offers modp16, 4096 bits", "kdc logon alice --kex p256"),
        message=pkinit(group="modp16"),
        prepare=lambda kdc: kdc.configure(pkinit_dh_max_bits=2048),
    ),
    Case(
        why="AuthPack: over a limit",
        step=Step.DH_NONCE,
        says=("clientDHNonce has 16 to 512 octets",),
        message=pkinit(dh_nonce=b"short"),
    ),
    Case(
        why="SignedData: SHA-1 is off (legacy_sha1_cms)",
        step=Step.ALGORITHMS,
        says=("digest id-sha1", "Windows before 11 24H2", "legacy_sha1_cms = true", '"windows"'),
        message=pkinit(sign=lambda content, signer: sign_auth_pack(content, signer, "sha1")),
    ),
    Case(
        why="SignedData: signature does not verify",
        step=Step.SIGNATURE,
        says=("certificate and private key do not belong together", "openssl pkey", "RSA 2048"),
        message=pkinit(change_signed=lambda signed: signed[:-1] + bytes((signed[-1] ^ 1,))),
    ),
    Case(
        why="SignedData: too small",
        step=Step.KEY,
        says=("RSA keys have 2048 to 4096 bits", "RSA 1024 bits", "kdc key enroll alice"),
        message=lambda: PkinitRequest(signer=small_signer()).build().message,
    ),
    Case(
        why="the signer's key is registered on no account",
        step=Step.TRUST,
        says=(
            "registered on no account",
            "has 1 registered key, 1 of them usable",
            "kdc key add alice",
        ),
        message=pkinit(signer=issued.hello("stranger")),
    ),
    Case(
        why="the signer's key is registered on several accounts",
        step=Step.TRUST,
        says=("registered on alice, bob", "shadow credentials"),
        message=pkinit(),
        prepare=lambda kdc: add_hello_key(kdc.store, "bob", hello_key("alice")),
    ),
    Case(
        why="the signer's key is registered on another account than the one named",
        step=Step.TRUST,
        says=("registered on bob", "kinit alice with bob's identity"),
        message=pkinit(signer=issued.hello("bob")),
    ),
    Case(
        why="the account must log on with a key, no password",
        step=Step.PASSWORD_ALLOWED,
        says=("must use a key", "kdc key list pat"),
        message=password(PAT),
        prepare=update("pat", AccountChanges(smartcard_required=True)),
    ),
    Case(
        why="the account has no password key of this type",
        step=Step.TS_ETYPE,
        says=("alice is: enabled, has no password",),
        message=password(BODY),
    ),
    Case(
        why="the encrypted timestamp does not open: wrong password",
        step=Step.OPENS,
        says=("the password is wrong", "kdc user password pat", "blanked before it was recorded"),
        message=lambda: as_req(
            PAT, enc_timestamp(key_of(18), change=lambda c: bytes((c[0] ^ 1,)) + c[1:])
        ),
    ),
    Case(
        why="the timestamp is outside the clock skew",
        step=Step.TS_CLOCK,
        says=("same NTP source",),
        message=password(PAT, at=NOW + timedelta(hours=1)),
    ),
    Case(
        why="the message is not valid DER: trailing data",
        step=Step.READ,
        says=("Nothing follows the last field", "trailing data"),
        message=lambda: as_req(BODY) + b"\x00\x00",
    ),
)


def explained(kdc: Kdc, case: Case) -> Explanation:
    """Send a case's request and explain its refusal as the recorder would have kept it."""
    case.prepare(kdc)
    message = case.message()
    outcome = kdc.ask(message, at=case.at)
    assert outcome.why == case.why
    kept = redact(message)
    subject = Subject(
        message=kept,
        time=case.at,
        origin="192.0.2.7 port 40000, udp",
        reference=outcome.reference,
        redacted=kept is not message,
    )
    kdc.store.refresh()
    key = read_request(message).signer_key
    owners = () if key is None else kdc.store.accounts_by_key(key.digest)
    found = [kdc.store.account_by_id(owner) for owner in owners]
    account = str(outcome.facts.get("account", ""))
    known = Known(
        account=kdc.store.account_by_name(account),
        owners=tuple(owner.sam_account_name for owner in found if owner is not None),
    )
    verdict = Verdict(code=outcome.code, why=outcome.why, facts=outcome.facts)
    return explain(subject, verdict, kdc.realm.config, known)


def flat(explanation: Explanation) -> str:
    """Return the text of an explanation as one line."""
    return re.sub(r"\s+", " ", " ".join(as_text(explanation)))


@pytest.mark.parametrize("case", CASES, ids=[case.why for case in CASES])
def test_the_explanation_names_the_right_cause(kdc: Kdc, case: Case) -> None:
    """The failing step, the values that were compared, the cause and the command that mends it."""
    explanation = explained(kdc, case)
    failed = [stage.step for stage in explanation.stages if stage.state is State.FAILED]
    assert failed == [case.step]
    text = flat(explanation)
    for words in (case.why, *case.says):
        assert words in text


@pytest.mark.parametrize("case", CASES, ids=[case.why for case in CASES])
def test_the_page_fits_80_columns_and_is_inert(kdc: Kdc, case: Case) -> None:
    """Readable in any terminal, without colour."""
    lines = list(as_text(explained(kdc, case)))
    assert [line for line in lines if len(line) > WIDTH or not (line or " ").isprintable()] == []
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("why", sorted(ADVICE))
def test_every_reason_makes_a_whole_page(why: str) -> None:
    """Also without a realm, an account or a message that decodes: rule, source, cause and fix."""
    subject = Subject(message=b"\x6a", time=NOW, origin="test")
    explanation = explain(subject, Verdict(code=24, why=why), None, Known())
    text = flat(explanation)
    for title in ("Rule", "Likely causes", "What to do", "The message"):
        assert title in text
    assert "{" not in text
    json.dumps(as_json(explanation))


def test_json_says_what_the_text_says(kdc: Kdc) -> None:
    """Stable keys for scripts."""
    case = next(case for case in CASES if case.step is Step.PK_CLOCK)
    made = as_json(explained(kdc, case))
    assert list(made) == [
        "reference",
        "time",
        "origin",
        "redacted",
        "notes",
        "verdict",
        "advice",
        "found",
        "steps",
        "message",
        "key_credentials",
    ]
    assert made["time"] == "2026-05-04T12:00:00Z"
    steps = made["steps"]
    assert isinstance(steps, list)
    assert {"step": Step.PK_CLOCK.value, "state": "failed"} in steps
    assert textwrap.shorten(json.dumps(made["found"]), 2000).count("behind ours") == 1


def test_a_replayed_auth_pack_is_explained(kdc: Kdc) -> None:
    """The same AuthPack in another packet: every check before the last one is ticked."""
    request = PkinitRequest().build()
    assert kdc.ask(request.message).code == 0
    pa = asn1.decode(AsReq, request.message).padata or ()
    again = as_req(request.body, padata(PaType.PAC_REQUEST, b"\x30\x00"), *pa)
    case = Case(
        why="the AuthPack was used before",
        step=Step.PK_REPLAY,
        says=(),
        message=lambda: again,
    )
    explanation = explained(kdc, case)
    states = {stage.step: stage.state for stage in explanation.stages}
    assert states[Step.TRUST] is State.PASSED
    assert states[Step.PK_REPLAY] is State.FAILED
    assert "somebody recorded and sent again" in flat(explanation)


OPENING: tuple[tuple[Step, Callable[[KdcReqBody], KdcReqBody]], ...] = (
    (Step.REALM, lambda body: replace(body, realm="OTHER.TEST")),
    (Step.ETYPE, lambda body: replace(body, etype=(23,))),
    (Step.CLIENT, lambda body: replace(body, cname=name("nosuch"))),
    (Step.OPTIONS, lambda body: replace(body, kdc_options=KdcOption.RENEW)),
    (Step.SERVICE, lambda body: replace(body, sname=name("host", "nosuch"))),
)


def test_the_steps_of_the_opening_are_in_the_order_of_the_code(kdc: Kdc) -> None:
    """With all of them broken the first is refused; mended one by one, each in its turn."""
    kdc.store.update_account(kdc.account_id("alice"), AccountChanges(disabled=True))
    order = [stage.step for stage in stages(Step.TIMES)]
    seen = []
    for mended in range(len(OPENING) + 1):
        body = BODY
        for _, damage in OPENING[mended:]:
            body = damage(body)
        seen.append(ADVICE[kdc.ask(as_req(body)).why].step)
    assert seen == [*(step for step, _ in OPENING), Step.ACCOUNT]
    assert [step for step in order if step in seen] == seen


def test_a_ticket_that_is_shown_is_told_by_what_it_says_of_itself(kdc: Kdc) -> None:
    """TGS-REQ: the TGT's name and key version are in the clear; its steps are those of the TGS."""
    ticket = Ticket(
        tkt_vno=5,
        realm="OLD.TEST",
        sname=KRBTGT,
        enc_part=EncryptedData(etype=18, kvno=7, cipher=bytes(range(40))),
    )
    authenticator = EncryptedData(etype=18, kvno=None, cipher=bytes(range(40)))
    ap_req = ApReq(pvno=5, msg_type=14, ap_options=0, ticket=ticket, authenticator=authenticator)
    message = asn1.encode(
        TgsReq(
            pvno=5,
            msg_type=12,
            padata=(padata(PaType.TGS_REQ, asn1.encode(ap_req)),),
            req_body=replace(BODY, cname=None),
        )
    )
    case = Case(
        why="the ticket is not a TGT of this realm",
        step=Step.TGT_NAME,
        says=(),
        message=lambda: message,
    )
    explanation = explained(kdc, case)
    assert [s.step for s in explanation.stages if s.state is State.FAILED] == [Step.TGT_NAME]
    text = flat(explanation)
    assert 'for "krbtgt/LAB.TEST" of realm "OLD.TEST"' in text
    assert "key version 7, 18 aes256-cts-hmac-sha1-96" in text
    assert text.count("(40 octets, blanked before it was recorded)") == 2


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        ("alice", "alice"),
        ("pc1$", "'pc1$'"),
        ("--all", "NAME"),
        ("a b", "'a b'"),
        ("x;rm -rf ~", "'x;rm -rf ~'"),
        ("al\x1bice", "NAME"),
        ("аlice", "NAME"),
        ("", "NAME"),
        ("{realm}", "'{realm}'"),
    ],
)
def test_a_name_in_a_command_is_safe_to_copy(called: str, shown: str) -> None:
    """What a client calls itself must not become an option or a second command."""
    subject = Subject(message=b"", time=NOW, origin="test")
    verdict = Verdict(code=6, why="the account is disabled", facts={"client": called})
    explanation = explain(subject, verdict, None, Known())
    assert explanation.client == shown
    assert any(line == f"kdc user enable {shown}" for line in fixes_of(explanation))


def fixes_of(explanation: Explanation) -> list[str]:
    """Return the lines of what to do, with names filled in."""
    advice = as_json(explanation)["advice"]
    assert isinstance(advice, dict)
    return list(advice["fixes"])
