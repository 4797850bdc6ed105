"""What armors nothing, and tunnels that do not fit their request (RFC 6113 5.4.1, 5.4.2).

Every case in the AS exchange; the codes are RFC 6113's, else MIT's, else those of the same defect
in a PA-TGS-REQ.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges
from kdc.crypto.etypes import KeyUsage, encrypt
from kdc.wire.constants import ErrorCode, MessageType, PaType, TicketFlag
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    ApReq,
    AsReq,
    Authenticator,
    Checksum,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    HostAddress,
)
from kdc.wire.rfc6113 import KrbFastArmor, KrbFastArmoredReq, decode_pa_fx_fast_request
from pki import asn1
from tests.kdc.builders import (
    KRBTGT,
    Kdc,
    client_entropy,
    error_of,
    name,
    padata,
    random_keys,
    refused,
)
from tests.kdc.fast_builders import (
    PAT,
    Armor,
    FastAsRequest,
    Wrapping,
    ask_fast,
    enc_challenge,
    fast_refusal,
    open_fast_reply,
    pat_key,
    random_key,
)
from tests.kdc.tgs_builders import (
    LATER,
    TgsRequest,
    Tgt,
    golden,
    key_tgt,
    service_ticket,
)

FAILED = ErrorCode.KDC_ERR_PREAUTH_FAILED


@pytest.fixture
def host(kdc: Kdc) -> Tgt:
    """Return the TGT of the computer pc1$."""
    return key_tgt(kdc, "pc1")


# -- the armor: refused in the clear, for there is no key yet --------------------------------


def unarmored(kdc: Kdc, request: FastAsRequest, at_s: int = 0) -> tuple[int, str]:
    """Send a request whose armor does not open; its refusal says nothing of FAST."""
    outcome = ask_fast(kdc, request, LATER + timedelta(seconds=at_s))
    assert error_of(outcome).e_data is None
    assert kdc.core.internal_errors == 0
    return refused(outcome)


def changed(host: Tgt, change: Callable[[ApReq], ApReq]) -> FastAsRequest:
    """Return a request whose armor has a defect in its AP-REQ."""
    return FastAsRequest(armor=Armor(tgt=host, change_ap_req=change))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmorCase:
    """A defect of the AP-REQ."""

    id: str
    change: Callable[[ApReq], ApReq]
    code: ErrorCode
    why: str


def sealed_cut(ap_req: ApReq) -> ApReq:
    """Break the sealed authenticator."""
    sealed = ap_req.authenticator
    return replace(ap_req, authenticator=replace(sealed, cipher=sealed.cipher[:-1] + b"\x00"))


def ticket_cut(ap_req: ApReq) -> ApReq:
    """Break the sealed ticket."""
    sealed = ap_req.ticket.enc_part
    broken = replace(sealed, cipher=bytes(16) + sealed.cipher[16:])
    return replace(ap_req, ticket=replace(ap_req.ticket, enc_part=broken))


ARMOR_CASES = (
    ArmorCase(
        id="version",
        change=lambda a: replace(a, pvno=4),
        code=ErrorCode.KRB_AP_ERR_BADVERSION,
        why="the AP-REQ's version is not 5",
    ),
    ArmorCase(
        id="msg-type",
        change=lambda a: replace(a, msg_type=MessageType.AP_REP),
        code=ErrorCode.KRB_AP_ERR_MSG_TYPE,
        why="msg-type does not match the message",
    ),
    ArmorCase(
        id="authenticator tampered",
        change=sealed_cut,
        code=ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
        why="the authenticator does not open with the session key",
    ),
    ArmorCase(
        id="ticket tampered",
        change=ticket_cut,
        code=ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
        why="the TGT does not open with the krbtgt key",
    ),
    ArmorCase(
        id="unknown kvno",
        change=lambda a: replace(
            a, ticket=replace(a.ticket, enc_part=replace(a.ticket.enc_part, kvno=77))
        ),
        code=ErrorCode.KRB_AP_ERR_BADKEYVER,
        why="the TGT is sealed with a krbtgt key that is not kept",
    ),
    ArmorCase(
        id="of another realm",
        change=lambda a: replace(a, ticket=replace(a.ticket, realm="OTHER.TEST")),
        code=ErrorCode.KRB_AP_ERR_NOT_US,
        why="the ticket is not a TGT of this realm",
    ),
)


@pytest.mark.parametrize("case", ARMOR_CASES, ids=lambda c: c.id)
def test_armor_that_does_not_open(kdc: Kdc, host: Tgt, case: ArmorCase) -> None:
    """RFC 6113 5.4.1.1: an AP-REQ with a TGT of this realm; the codes are those of RFC 4120."""
    assert unarmored(kdc, changed(host, case.change)) == (case.code, case.why)


def authenticated(host: Tgt, change: Callable[[Authenticator], Authenticator]) -> FastAsRequest:
    """Return a request whose armor has a defect in its authenticator."""
    return FastAsRequest(armor=Armor(tgt=host, change_authenticator=change))


def test_armor_without_a_subkey(kdc: Kdc, host: Tgt) -> None:
    """RFC 6113 5.4.1.1: the subkey MUST be present; MIT answers 12."""
    request = authenticated(host, lambda a: replace(a, subkey=None))
    assert unarmored(kdc, request) == (
        ErrorCode.KDC_ERR_POLICY,
        "the FAST armor's authenticator has no subkey",
    )


def test_armor_with_a_subkey_of_another_type(kdc: Kdc, host: Tgt) -> None:
    """RC4 and unknown types: 14."""
    rc4 = EncryptionKey(keytype=23, keyvalue=bytes(16))
    assert unarmored(kdc, authenticated(host, lambda a: replace(a, subkey=rc4))) == (
        ErrorCode.KDC_ERR_ETYPE_NOSUPP,
        "the authenticator's subkey is of a type we do not use",
    )


def test_armor_authenticator_of_another_client(kdc: Kdc, host: Tgt) -> None:
    """As row T15: 36."""
    assert unarmored(kdc, authenticated(host, lambda a: replace(a, cname=name("pat")))) == (
        ErrorCode.KRB_AP_ERR_BADMATCH,
        "authenticator and ticket name different clients",
    )


@pytest.mark.parametrize("seconds", [-301, 301])
def test_armor_outside_the_clock_skew(kdc: Kdc, host: Tgt, seconds: int) -> None:
    """As row T15: 37."""
    request = FastAsRequest(armor=Armor(tgt=host, ctime=LATER + timedelta(seconds=seconds)))
    assert unarmored(kdc, request) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the authenticator is outside the clock skew",
    )


def test_armor_of_an_expired_ticket(kdc: Kdc, host: Tgt) -> None:
    """RFC 4120 3.2.3: 32."""
    late = timedelta(hours=9)
    request = FastAsRequest(armor=Armor(tgt=host, ctime=LATER + late))
    assert unarmored(kdc, request, int(late.total_seconds())) == (
        ErrorCode.KRB_AP_ERR_TKT_EXPIRED,
        "the TGT has expired",
    )


def test_armor_of_an_invalid_ticket(kdc: Kdc, host: Tgt) -> None:
    """Row T16: 33."""

    def invalid(part: EncTicketPart) -> EncTicketPart:
        return replace(part, flags=part.flags | TicketFlag.INVALID)

    assert unarmored(kdc, FastAsRequest(armor=Armor(tgt=golden(kdc, host, invalid)))) == (
        ErrorCode.KRB_AP_ERR_TKT_NYV,
        "the TGT is marked invalid",
    )


def test_armor_for_another_address(kdc: Kdc, host: Tgt) -> None:
    """RFC 4120 3.2.3: 38."""
    elsewhere = (HostAddress(addr_type=2, address=bytes((10, 0, 0, 1))),)
    moved = golden(kdc, host, lambda part: replace(part, caddr=elsewhere))
    assert unarmored(kdc, FastAsRequest(armor=Armor(tgt=moved))) == (
        ErrorCode.KRB_AP_ERR_BADADDR,
        "the ticket is for another address",
    )


def test_armor_of_a_service_ticket(kdc: Kdc, host: Tgt) -> None:
    """Row T19: only a TGT armors. Called a TGT, it does not open with krbtgt's key."""
    opened = service_ticket(kdc, TgsRequest(tgt=host))
    as_it_is = replace(opened.tgt, ticket=opened.tgs_rep.ticket)
    assert unarmored(kdc, FastAsRequest(armor=Armor(tgt=as_it_is))) == (
        ErrorCode.KRB_AP_ERR_NOT_US,
        "the ticket is not a TGT of this realm",
    )
    renamed = replace(as_it_is, ticket=replace(as_it_is.ticket, sname=KRBTGT))
    code, _ = unarmored(kdc, FastAsRequest(armor=Armor(tgt=renamed)))
    assert code in (ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, ErrorCode.KRB_AP_ERR_BADKEYVER)


def test_armor_without_a_pac(kdc: Kdc, host: Tgt) -> None:
    """Row T01 for FAST armor: 20."""
    bare = golden(kdc, host, lambda part: replace(part, authorization_data=None))
    assert unarmored(kdc, FastAsRequest(armor=Armor(tgt=bare))) == (
        ErrorCode.KDC_ERR_TGT_REVOKED,
        "the TGT has no PAC",
    )


def test_armor_of_a_disabled_account(kdc: Kdc, host: Tgt) -> None:
    """Row T20 for FAST armor: 18, whatever the TGT says."""
    kdc.store.update_account(kdc.account_id("pc1$"), AccountChanges(disabled=True))
    assert unarmored(kdc, FastAsRequest(armor=Armor(tgt=host))) == (
        ErrorCode.KDC_ERR_CLIENT_REVOKED,
        "the account is disabled",
    )


def test_armor_that_lost_its_keys(kdc: Kdc, host: Tgt) -> None:
    """Row T09: krbtgt's keys changed twice since."""
    for kvno in (2, 3):
        kdc.store.set_keys(
            kdc.store.krbtgt().account_id, random_keys("krbtgt", kvno), keep_generations=1
        )
    assert unarmored(kdc, FastAsRequest(armor=Armor(tgt=host))) == (
        ErrorCode.KRB_AP_ERR_BADKEYVER,
        "the TGT is sealed with a krbtgt key that is not kept",
    )


def armored(host: Tgt, change: Callable[[KrbFastArmoredReq], KrbFastArmoredReq]) -> FastAsRequest:
    """Return a request with a defect in its KrbFastArmoredReq."""
    return FastAsRequest(armor=Armor(tgt=host), wrapping=Wrapping(change_armored=change))


def test_no_armor(kdc: Kdc, host: Tgt) -> None:
    """RFC 6113 5.4.2: it MUST be present in an AS-REQ; MIT and Samba's tests: 24."""
    assert unarmored(kdc, armored(host, lambda a: replace(a, armor=None))) == (
        FAILED,
        "a FAST AS-REQ without an armor",
    )


@pytest.mark.parametrize("armor_type", [0, 2, -1, 2**31 - 1])
def test_unknown_armor_type(kdc: Kdc, host: Tgt, armor_type: int) -> None:
    """RFC 6113 5.4.1: it MUST respond with KDC_ERR_PREAUTH_FAILED."""
    made = Armor(tgt=host).value()
    other = replace(made, armor_type=armor_type)
    assert unarmored(kdc, armored(host, lambda a: replace(a, armor=other))) == (
        FAILED,
        "the FAST armor is of an unknown type",
    )


@pytest.mark.parametrize("value", [b"", b"\x30\x00", b"\x6e\x02\x30\x00", b"junk"])
def test_armor_that_is_no_ap_req(kdc: Kdc, host: Tgt, value: bytes) -> None:
    """E rows inside padata: 24."""
    junk = KrbFastArmor(armor_type=1, armor_value=value)
    code, why = unarmored(kdc, armored(host, lambda a: replace(a, armor=junk)))
    assert (code, why.partition(":")[0]) == (FAILED, "the FAST armor")


@pytest.mark.parametrize("value", [b"", b"\xa0\x00", b"\x30\x00", b"\xa1\x02\x30\x00", b"junk"])
def test_value_that_is_no_fast_request(kdc: Kdc, host: Tgt, value: bytes) -> None:
    """Samba's test_empty_fast: 24."""
    wrapping = Wrapping(change_value=lambda _: value)
    code, why = unarmored(kdc, FastAsRequest(armor=Armor(tgt=host), wrapping=wrapping))
    assert (code, why.partition(":")[0]) == (FAILED, "PA-FX-FAST")


def test_two_fast_requests(kdc: Kdc, host: Tgt) -> None:
    """As row P22: which of the two is meant?"""
    armor = Armor(tgt=host)
    other = Wrapping().wrap(armor.key, armor.value(), asn1.encode(PAT), PAT, ())
    assert unarmored(kdc, FastAsRequest(armor=armor, outside=(other,))) == (
        FAILED,
        "PA-FX-FAST twice",
    )


# -- the tunnel: refused inside, for both sides have the key ---------------------------------


def inside(kdc: Kdc, request: FastAsRequest, *, nonce: int | None = None) -> tuple[int, str]:
    """Send a request whose tunnel does not fit; its refusal comes through the tunnel."""
    sent = request.build()
    outcome = kdc.ask(sent.message, at=LATER)
    if nonce is not None:
        sent.body = replace(sent.body, nonce=nonce)
    fast_refusal(outcome, sent)
    assert kdc.core.internal_errors == 0
    return refused(outcome)


def test_tunnel_of_another_outer_request(kdc: Kdc, host: Tgt) -> None:
    """RFC 6113 5.4.2: the req-checksum binds the two; MIT answers 41."""
    other = replace(PAT, nonce=78)
    assert inside(kdc, FastAsRequest(armor=Armor(tgt=host), covered=other)) == (
        ErrorCode.KRB_AP_ERR_MODIFIED,
        "the FAST request was made for another outer request",
    )


def test_checksum_tampered(kdc: Kdc, host: Tgt) -> None:
    """RFC 6113 5.4.2: 41."""

    def tampered(made: KrbFastArmoredReq) -> KrbFastArmoredReq:
        mac = made.req_checksum.checksum
        return replace(made, req_checksum=replace(made.req_checksum, checksum=bytes(4) + mac[4:]))

    assert inside(kdc, armored(host, tampered))[0] == ErrorCode.KRB_AP_ERR_MODIFIED


@pytest.mark.parametrize("kind", [14, 7, 1, 15, 19, -138, 0])
def test_checksum_of_another_type(kdc: Kdc, host: Tgt, kind: int) -> None:
    """RFC 6113 5.4.2: the armor key's own, which is keyed; MIT answers 12 to an unkeyed one."""
    other = Checksum(cksumtype=kind, checksum=bytes(20))
    assert inside(kdc, armored(host, lambda a: replace(a, req_checksum=other))) == (
        ErrorCode.KDC_ERR_POLICY,
        "the req-checksum is not of the armor key's type",
    )


def test_request_sealed_with_another_key(kdc: Kdc, host: Tgt) -> None:
    """MIT answers 31. The nonce of the error is the outer one: the inner is not known."""
    cipher = encrypt(random_key(), KeyUsage.FAST_ENC, b"plain", client_entropy(16))
    other = EncryptedData(etype=18, cipher=cipher)
    request = armored(host, lambda a: replace(a, enc_fast_req=other))
    assert inside(kdc, request, nonce=77) == (
        ErrorCode.KRB_AP_ERR_BAD_INTEGRITY,
        "enc-fast-req does not open with the armor key",
    )


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"\0", lambda _: b""])
def test_request_inside_is_not_der(kdc: Kdc, host: Tgt, change: Callable[[bytes], bytes]) -> None:
    """E rows inside padata: 24."""
    request = FastAsRequest(armor=Armor(tgt=host), wrapping=Wrapping(change_inner=change))
    code, why = inside(kdc, request, nonce=77)
    assert (code, why.partition(":")[0]) == (FAILED, "KrbFastReq")


@pytest.mark.parametrize("bit", range(32))
def test_options(kdc: Kdc, host: Tgt, bit: int) -> None:
    """RFC 6113 5.4.2, row T19: bits 1 to 15 are critical, and we know the first of them."""
    armor = Armor(tgt=host)
    request = FastAsRequest(
        armor=armor,
        inside=(enc_challenge(armor.key),),
        wrapping=Wrapping(options=1 << (31 - bit)),
    )
    if 2 <= bit <= 15:
        assert inside(kdc, request) == (
            ErrorCode.KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS,
            "a critical FAST option that we do not know",
        )
    else:
        sent = request.build()
        open_fast_reply(kdc.ask(sent.message, at=LATER), sent, pat_key())


def test_fast_inside_fast(kdc: Kdc, host: Tgt) -> None:
    """There is one tunnel."""
    armor = Armor(tgt=host)
    nested = padata(PaType.FX_FAST)
    assert inside(kdc, FastAsRequest(armor=armor, inside=(nested,))) == (
        FAILED,
        "FAST inside FAST",
    )


def test_hidden_name_in_a_refusal_of_the_tunnel(kdc: Kdc, host: Tgt) -> None:
    """RFC 6113 5.4.2: the error names the anonymous principal as soon as that is known."""
    wrapping = Wrapping(options=1 << 30 | 1 << 20)
    sent = FastAsRequest(armor=Armor(tgt=host), wrapping=wrapping).build()
    error = fast_refusal(kdc.ask(sent.message, at=LATER), sent)
    assert error.outer.cname is not None
    assert error.outer.cname.name_string == ("WELLKNOWN", "ANONYMOUS")


def test_no_bit_of_an_armored_request_may_flip(kdc: Kdc, host: Tgt) -> None:
    """Any octet that is sealed, signed or checked changed: no ticket, and nowhere a bug."""
    armor = Armor(tgt=host)
    request = FastAsRequest(armor=armor, inside=(enc_challenge(armor.key),))
    message = request.build().message
    whole = protected(message)
    for at in range(0, len(message), 5):
        broken = bytearray(message)
        broken[at] ^= 1 << at % 8
        outcome = kdc.ask(bytes(broken), at=LATER)
        if outcome.code == 0 and outcome.reply is not None:
            # What is left are labels: ap-options, types of names, kinds of ciphers.
            assert protected(bytes(broken)) == whole, at
    assert kdc.core.internal_errors == 0


def protected(message: bytes) -> tuple[bytes, ...]:
    """Return what a change of must be noticed."""
    request = asn1.decode(AsReq, message)
    (fast,) = request.padata or ()
    armored = decode_pa_fx_fast_request(fast.padata_value)
    assert armored.armor is not None
    ap_req = asn1.decode(ApReq, armored.armor.armor_value)
    return (
        request.req_body.raw,
        ap_req.ticket.enc_part.cipher,
        ap_req.authenticator.cipher,
        armored.req_checksum.checksum,
        armored.enc_fast_req.cipher,
    )


def test_refusal_keeps_its_size_in_bounds(kdc: Kdc, host: Tgt) -> None:
    """Row W05: an armored error is not larger than the request that brought the armor."""
    sent = FastAsRequest(armor=Armor(tgt=host)).build()
    outcome = kdc.ask(sent.message, at=LATER)
    assert len(outcome.reply or b"") < len(sent.message)
    assert asn1.decode_as(METHOD_DATA, error_of(outcome).e_data or b"")
