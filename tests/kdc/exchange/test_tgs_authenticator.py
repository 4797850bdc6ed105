"""The authenticator and the message around it: rows T15, T17, T18 and their neighbours."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import NewAccount
from directory.model import AccountKind
from kdc.crypto.etypes import CHECKSUM_TYPES, EncType, ProtocolKey
from kdc.exchange.open_tgt import OpenTgt, OpenTgts
from kdc.wire.constants import (
    AdType,
    ErrorCode,
    MessageType,
    NameType,
    PaType,
)
from kdc.wire.rfc4120 import (
    ApReq,
    Authenticator,
    AuthorizationDataElement,
    Checksum,
    EncryptionKey,
    EncTicketPart,
    TgsReq,
)
from pki import asn1
from tests.kdc.builders import (
    NOW,
    Kdc,
    name,
    padata,
    random_keys,
    refused,
)
from tests.kdc.tgs_builders import (
    LATER,
    TGS_BODY,
    TgsRequest,
    ask_tgs,
    golden,
    open_tgs_reply,
    password_tgt,
    service_ticket,
    tgs_req,
)

WILL_NOT_OPEN = (ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "the TGT does not open with the krbtgt key")


# -- the authenticator -----------------------------------------------------------------------


def _authenticator(
    change: Callable[[Authenticator], Authenticator],
) -> Callable[[Kdc], tuple[int, str]]:
    def ask(kdc: Kdc) -> tuple[int, str]:
        request = TgsRequest(tgt=password_tgt(kdc), change_authenticator=change)
        return refused(ask_tgs(kdc, request))

    return ask


MISMATCH = (ErrorCode.KRB_AP_ERR_BADMATCH, "authenticator and ticket name different clients")


@pytest.mark.parametrize(
    "change",
    [
        lambda a: replace(a, cname=name("bob")),
        lambda a: replace(a, cname=name("PAT")),
        lambda a: replace(a, cname=name("pat", "x")),
        lambda a: replace(a, crealm="OTHER.TEST"),
    ],
)
def test_authenticator_names_another_client(
    kdc: Kdc, change: Callable[[Authenticator], Authenticator]
) -> None:
    """Row T15: 36; the name in the ticket, to the letter."""
    assert _authenticator(change)(kdc) == MISMATCH


def test_name_type_is_no_part_of_a_name(kdc: Kdc) -> None:
    """RFC 4120 6.2."""
    request = TgsRequest(
        tgt=password_tgt(kdc),
        change_authenticator=lambda a: replace(a, cname=name("pat", name_type=NameType.UNKNOWN)),
    )
    service_ticket(kdc, request)


def test_authenticator_for_another_body(kdc: Kdc) -> None:
    """Row T15: what is asked for was changed on the way: 41."""
    tgt = password_tgt(kdc)
    other = replace(TGS_BODY, sname=name("host", "pc1.lab.test"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, sent_body=other))) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "the authenticator was made for another request",
    )


def test_checksum_covers_the_body_as_it_arrived(kdc: Kdc) -> None:
    """Row T15: an unused bit of kdc-options is ignored, but it is signed."""
    tgt = password_tgt(kdc)
    body = replace(TGS_BODY, kdc_options=TGS_BODY.kdc_options | 1 << 9)
    service_ticket(kdc, TgsRequest(tgt=tgt, body=body))
    code, _ = refused(ask_tgs(kdc, TgsRequest(tgt=tgt, body=body, sent_body=TGS_BODY)))
    assert code == ErrorCode.KRB_AP_ERR_MODIFIED


def accept_no_checksum(kdc: Kdc) -> None:
    """Turn the switch on."""
    config = replace(kdc.realm.config, legacy_tgs_checksum=True)
    kdc.core.realm = replace(kdc.realm, config=config)


def test_authenticator_without_checksum(kdc: Kdc) -> None:
    """Row T15: 50, naming the switch that lets the impacket family in."""
    request = TgsRequest(
        tgt=password_tgt(kdc), change_authenticator=lambda a: replace(a, cksum=None)
    )
    outcome = ask_tgs(kdc, request)
    assert refused(outcome) == (
        ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
        "the authenticator has no checksum of the request",
    )
    assert outcome.facts["switch"] == "legacy_tgs_checksum"
    accept_no_checksum(kdc)
    service_ticket(kdc, request)


@pytest.mark.parametrize("cksumtype", [7, 1, 14, 15, 19, 20, -138])
def test_checksum_of_another_type(kdc: Kdc, cksumtype: int) -> None:
    """Row T15: unkeyed, or of a key that the session key is not; the switch changes nothing."""
    accept_no_checksum(kdc)

    def unkeyed(authenticator: Authenticator) -> Authenticator:
        digest = hashlib.md5(asn1.encode(TGS_BODY)).digest()  # noqa: S324
        return replace(authenticator, cksum=Checksum(cksumtype=cksumtype, checksum=digest))

    assert CHECKSUM_TYPES[EncType(18)] != cksumtype
    assert _authenticator(unkeyed)(kdc) == (
        ErrorCode.KRB_AP_ERR_INAPP_CKSUM,
        "the authenticator's checksum is not of the session key's type",
    )


@pytest.mark.parametrize("seconds", [301, -301])
def test_authenticator_outside_the_clock_skew(kdc: Kdc, seconds: int) -> None:
    """Row T15: 37."""
    tgt = password_tgt(kdc)
    inside = LATER + timedelta(seconds=seconds - seconds // 300)
    service_ticket(kdc, TgsRequest(tgt=tgt, ctime=inside))
    outside = LATER + timedelta(seconds=seconds)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt, ctime=outside))) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the authenticator is outside the clock skew",
    )


def test_authenticator_used_again(kdc: Kdc) -> None:
    """Row T15: 34 in any other packet; the same packet gets the same reply for a minute."""
    sent = TgsRequest(tgt=password_tgt(kdc)).build()
    first = kdc.ask(sent.message, at=LATER)
    open_tgs_reply(first, sent, kdc)
    soon = LATER + timedelta(seconds=30)
    again = kdc.ask(sent.message, at=soon, transport="udp", port=40_001)
    assert again.reply == first.reply
    assert again.facts["retransmit"] is True
    request = asn1.decode(TgsReq, sent.message)
    replayed = tgs_req(request.req_body, *(request.padata or ()), padata(PaType.PAC_REQUEST))
    refusal = (ErrorCode.KRB_AP_ERR_REPEAT, "the authenticator was used before")
    assert refused(kdc.ask(replayed, at=soon)) == refusal
    assert refused(kdc.ask(sent.message, at=LATER + timedelta(seconds=62))) == refusal


def test_refused_request_does_not_use_up_its_authenticator(kdc: Kdc) -> None:
    """What policy refused may be sent again, and is then judged by today's policy."""
    new = name("host", "new.lab.test", name_type=NameType.SRV_INST)
    sent = TgsRequest(tgt=password_tgt(kdc), body=replace(TGS_BODY, sname=new)).build()
    assert refused(kdc.ask(sent.message, at=LATER))[0] == ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN
    kdc.store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="new",
            created_at=NOW,
            spns=("host/new.lab.test",),
            keys=random_keys("new"),
        )
    )
    open_tgs_reply(kdc.ask(sent.message, at=LATER), sent, kdc)


def test_authenticator_older_than_the_replay_memory(kdc: Kdc) -> None:
    """A lost memory refuses what it might have seen: 37."""
    tgt = password_tgt(kdc)

    class Lost:
        def __getattr__(self, name: str) -> object:
            return getattr(kdc.replay, name)

        def oldest_acceptable(self, _now: object) -> object:
            return LATER + timedelta(seconds=1)

    kdc.core.realm = replace(kdc.realm, replay=Lost())  # type: ignore[arg-type]  # a stand-in
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the authenticator is older than the replay memory",
    )


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (
            lambda a: replace(a, authenticator_vno=4),
            ErrorCode.KRB_AP_ERR_BADVERSION,
            "the authenticator's version is not 5",
        ),
        (
            lambda a: replace(a, subkey=EncryptionKey(keytype=23, keyvalue=bytes(16))),
            ErrorCode.KDC_ERR_ETYPE_NOSUPP,
            "the authenticator's subkey is of a type we do not use",
        ),
        (
            lambda a: replace(a, subkey=EncryptionKey(keytype=18, keyvalue=bytes(16))),
            ErrorCode.KDC_ERR_ETYPE_NOSUPP,
            "the authenticator's subkey is of a type we do not use",
        ),
        (
            lambda a: replace(
                a,
                authorization_data=(
                    AuthorizationDataElement(ad_type=AdType.FX_FAST_ARMOR, ad_data=b""),
                ),
            ),
            ErrorCode.KDC_ERR_POLICY,
            "a ticket or authenticator made for FAST armor only",
        ),
    ],
)
def test_odd_authenticator(
    kdc: Kdc, change: Callable[[Authenticator], Authenticator], code: int, why: str
) -> None:
    """Versions, subkeys, and RFC 6113 5.4.1.1: an armor authenticator asks for no ticket."""
    assert _authenticator(change)(kdc) == (code, why)


def test_armor_ticket(kdc: Kdc) -> None:
    """RFC 6113 5.4.1.1: nor does a ticket that was marked so."""

    def armor(part: EncTicketPart) -> EncTicketPart:
        element = AuthorizationDataElement(ad_type=AdType.FX_FAST_ARMOR, ad_data=b"")
        return replace(part, authorization_data=(*(part.authorization_data or ()), element))

    code, why = refused(ask_tgs(kdc, TgsRequest(tgt=golden(kdc, password_tgt(kdc), armor))))
    assert (code, why) == (
        ErrorCode.KDC_ERR_POLICY,
        "a ticket or authenticator made for FAST armor only",
    )


def test_authenticator_under_another_key(kdc: Kdc) -> None:
    """Whoever stole a ticket without its session key gets nothing."""
    tgt = password_tgt(kdc)
    thief = replace(tgt, session=ProtocolKey(EncType(18), bytes(32)))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=thief))) == (
        ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
        "the authenticator does not open with the session key",
    )


def test_brought_data_under_another_key(kdc: Kdc) -> None:
    """RFC 4120 5.4.1: sealed with the subkey when there is one."""
    tgt = password_tgt(kdc)
    sent = TgsRequest(tgt=tgt, brought=(), subkey=None).build()
    body = replace(TGS_BODY, enc_authorization_data=sent.body.enc_authorization_data)
    for subkey in (18, None):
        request = TgsRequest(tgt=tgt, body=body, subkey=subkey)
        outcome = ask_tgs(kdc, request)
        if subkey is None:
            assert outcome.code == 0
        else:
            assert refused(outcome) == (
                ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
                "the authorization data do not open",
            )


# -- the message -----------------------------------------------------------------------------

NEEDED = (
    ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP,
    "a TGS-REQ has one PA-TGS-REQ, with its ticket",
)


def test_request_without_a_ticket(kdc: Kdc) -> None:
    """16, as MIT answers."""
    assert refused(kdc.ask(tgs_req(TGS_BODY))) == NEEDED
    assert refused(kdc.ask(tgs_req(TGS_BODY, padata(PaType.PAC_REQUEST)))) == NEEDED


def test_request_with_two_tickets(kdc: Kdc) -> None:
    """Which of them speaks?"""
    tgt = password_tgt(kdc)
    sent = TgsRequest(tgt=tgt).build()
    request = asn1.decode(TgsReq, sent.message)
    (pa,) = request.padata or ()
    assert refused(kdc.ask(tgs_req(request.req_body, pa, pa), at=LATER)) == NEEDED


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (
            lambda ap: replace(ap, pvno=4),
            ErrorCode.KRB_AP_ERR_BADVERSION,
            "the AP-REQ's version is not 5",
        ),
        (
            lambda ap: replace(ap, msg_type=MessageType.AP_REP),
            ErrorCode.KRB_AP_ERR_MSG_TYPE,
            "msg-type does not match the message",
        ),
    ],
)
def test_header_of_the_ap_req(
    kdc: Kdc, change: Callable[[ApReq], ApReq], code: int, why: str
) -> None:
    """RFC 4120 3.2.3."""
    request = TgsRequest(tgt=password_tgt(kdc), change_ap_req=change)
    assert refused(ask_tgs(kdc, request)) == (code, why)


@pytest.mark.parametrize(
    ("pvno", "msg_type", "code", "why"),
    [
        (4, 12, ErrorCode.KDC_ERR_BAD_PVNO, "the protocol version is not 5"),
        (5, 10, ErrorCode.KRB_AP_ERR_MSG_TYPE, "msg-type does not match the message"),
    ],
)
def test_header_of_the_request(kdc: Kdc, pvno: int, msg_type: int, code: int, why: str) -> None:
    """Row A09 in a TGS-REQ."""
    message = asn1.encode(TgsReq(pvno=pvno, msg_type=msg_type, padata=None, req_body=TGS_BODY))
    assert refused(kdc.ask(message)) == (code, why)


@pytest.mark.parametrize(
    "broken",
    [
        {"change_value": lambda v: v[:-1]},
        {"change_value": lambda _v: b""},
        {"change_authenticator_der": lambda v: v[:-1]},
        {"change_authenticator_der": lambda _v: b"\x30\x00"},
    ],
)
def test_parts_that_are_not_der(kdc: Kdc, broken: dict[str, Callable[[bytes], bytes]]) -> None:
    """Row T17: refused, and no bug."""
    outcome = ask_tgs(kdc, TgsRequest(tgt=password_tgt(kdc), **broken))  # type: ignore[arg-type]
    code, why = refused(outcome)
    assert code == ErrorCode.KRB_ERR_GENERIC
    assert why.startswith("the message is not valid DER: ")
    assert kdc.core.internal_errors == 0


def test_golden_ticket_that_is_not_der(kdc: Kdc) -> None:
    """What the key of krbtgt seals is read as carefully as everything else."""

    def cut(part: EncTicketPart) -> EncTicketPart:
        element = AuthorizationDataElement(ad_type=AdType.IF_RELEVANT, ad_data=b"\x30\x05")
        return replace(part, authorization_data=(element,))

    outcome = ask_tgs(kdc, TgsRequest(tgt=golden(kdc, password_tgt(kdc), cut)))
    assert refused(outcome) == (
        ErrorCode.KRB_ERR_GENERIC,
        "the message is not valid DER: truncated",
    )
    assert kdc.core.internal_errors == 0


def test_every_truncation_is_refused(kdc: Kdc) -> None:
    """Row E03 for a TGS-REQ, cut at every byte."""
    message = TgsRequest(tgt=password_tgt(kdc)).build().message
    for size in range(1, len(message)):
        assert kdc.ask(message[:size], at=LATER).code == ErrorCode.KRB_ERR_GENERIC
    assert kdc.core.internal_errors == 0


def test_no_flipped_bit_of_the_request_gets_another_ticket(kdc: Kdc) -> None:
    """Every octet of a TGS-REQ: whatever still gets a ticket gets the one that was asked for."""
    sent = TgsRequest(tgt=password_tgt(kdc)).build()
    for at in range(0, len(sent.message), 7):
        message = bytearray(sent.message)
        message[at] ^= 1 << at % 8
        outcome = kdc.ask(bytes(message), at=LATER)
        if outcome.code == 0 and outcome.reply is not None:
            open_tgs_reply(outcome, sent, kdc)
    assert kdc.core.internal_errors == 0


def test_memory_of_opened_tgts_is_bounded(kdc: Kdc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Architecture, section 4: a full memory starts anew, and nobody notices."""
    opened: list[bytes] = []
    keep = OpenTgts.keep

    def counted(memory: OpenTgts, cipher: bytes, tgt: OpenTgt) -> None:
        opened.append(cipher)
        keep(memory, cipher, tgt)

    monkeypatch.setattr("kdc.exchange.open_tgt.MAX_OPEN_TGTS", 2)
    monkeypatch.setattr(OpenTgts, "keep", counted)
    tgts = [password_tgt(kdc, at=NOW + timedelta(seconds=n)) for n in range(4)]
    for tgt in (*tgts, *tgts):
        service_ticket(kdc, TgsRequest(tgt=tgt))
    # A memory of all four would not have opened any a second time.
    assert len(opened) == 8


def test_opened_tgt_is_forgotten_with_its_key(kdc: Kdc) -> None:
    """The same octets under another key of that version are another ticket."""
    tgt = password_tgt(kdc)
    service_ticket(kdc, TgsRequest(tgt=tgt))
    krbtgt = kdc.store.krbtgt().account_id
    kdc.store.set_keys(krbtgt, ())
    kdc.store.set_keys(krbtgt, random_keys("another krbtgt"))
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == WILL_NOT_OPEN
