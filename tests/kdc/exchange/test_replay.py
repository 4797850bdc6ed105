"""The same packet again, and the same proof in another one: row F02, and W04's detour by TCP."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kdc.outcome import Transport
from kdc.wire.constants import ErrorCode, PaType
from kdc.wire.rfc4120 import AsReq
from pki import asn1
from pki.ca import IssuedCertificate
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    PkinitRequest,
    add_hello_key,
    as_req,
    body_for,
    error_of,
    hello_key,
    issued_ticket,
    open_reply,
    padata,
    refused,
    running_kdc,
    sign_auth_pack,
)
from tests.pki import issued

REPLAY = (ErrorCode.KRB_AP_ERR_REPEAT, "the AuthPack was used before")


@pytest.mark.parametrize("transport", ["udp", "tcp", "kkdcp"])
@pytest.mark.parametrize("port", [40_000, 40_001])
def test_identical_packet_gets_the_same_reply(kdc: Kdc, transport: Transport, port: int) -> None:
    """Row F02, control; RFC 4120 3.1.2: whatever port or transport it comes by."""
    sent = PkinitRequest().build()
    first = kdc.ask(sent.message, transport="udp")
    again = kdc.ask(sent.message, at=NOW + timedelta(seconds=5), transport=transport, port=port)
    assert first.reply == again.reply
    assert again.code == 0
    assert (first.facts.get("retransmit"), again.facts["retransmit"]) == (None, True)


def test_identical_packet_gets_a_reply_after_its_worker_was_killed(kdc: Kdc) -> None:
    """Row F02, control: the proof is remembered, the reply was never stored."""
    sent = PkinitRequest().build()
    first = kdc.ask(sent.message)
    kdc.core.realm = replace(kdc.realm, retransmit=_Forgetful())
    again = kdc.ask(sent.message, at=NOW + timedelta(seconds=60))
    assert first.reply != again.reply
    open_reply(again, sent, kdc)


class _Forgetful:
    """A retransmit memory that keeps nothing."""

    def lookup(self, digest: bytes, now: object) -> bytes | None:
        """Find nothing."""
        del digest, now
        return None

    def store(self, digest: bytes, reply: bytes, now: object) -> None:
        """Keep nothing."""
        del digest, reply, now


def test_identical_packet_after_the_window_is_a_replay(kdc: Kdc) -> None:
    """Row F02: a minute later nobody is still waiting for that reply."""
    sent = PkinitRequest().build()
    issued_ticket(kdc.ask(sent.message))
    issued_ticket(kdc.ask(sent.message, at=NOW + timedelta(seconds=60)))
    assert refused(kdc.ask(sent.message, at=NOW + timedelta(seconds=61))) == REPLAY


def test_identical_packet_with_another_clock_reading_before_it_is_a_replay(kdc: Kdc) -> None:
    """Row F08: after the clock was set back, the packet cannot be shown to be recent."""
    sent = PkinitRequest().build()
    issued_ticket(kdc.ask(sent.message))
    assert refused(kdc.ask(sent.message, at=NOW - timedelta(seconds=61))) == REPLAY


@pytest.mark.parametrize("seconds", [0, 30, 61, 300])
def test_same_auth_pack_in_another_packet_is_a_replay(kdc: Kdc, seconds: int) -> None:
    """Row F02; RFC 4556 3.2.2: one bit of unsigned padata makes it another packet."""
    sent = PkinitRequest().build()
    issued_ticket(kdc.ask(sent.message))
    (pa,) = asn1.decode(AsReq, sent.message).padata or ()
    other = as_req(BODY, pa, padata(PaType.PAC_REQUEST, b"junk"))
    assert refused(kdc.ask(other, at=NOW + timedelta(seconds=seconds))) == REPLAY


def test_signature_made_anew_over_the_same_auth_pack_is_a_replay(kdc: Kdc) -> None:
    """Design requirement 8: signatures are malleable, so the signed content is what is known."""
    signed: list[bytes] = []

    def sign_once(content: bytes, signer: IssuedCertificate) -> bytes:
        signed.append(signed[0] if signed else content)
        return sign_auth_pack(signed[0], signer, "sha256" if len(signed) == 1 else "sha512")

    issued_ticket(kdc.ask(PkinitRequest(sign=sign_once).build().message))
    assert refused(kdc.ask(PkinitRequest(sign=sign_once).build().message)) == REPLAY


def test_same_auth_pack_under_another_key_is_no_replay(kdc: Kdc) -> None:
    """The memory knows content and signer: mallory cannot use up alice's request."""
    first = PkinitRequest(body=body_for("bob"), signer=issued.hello("bob")).build()
    content = asn1.encode(first.auth_pack)
    stolen = PkinitRequest(
        body=body_for("bob"), change_content=lambda _: content, signer=issued.hello("alice")
    )
    assert kdc.ask(stolen.build().message).code == ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH
    issued_ticket(kdc.ask(first.message))


@pytest.mark.parametrize("code", [ErrorCode.KDC_ERR_INVALID_SIG, ErrorCode.KDC_ERR_NEVER_VALID])
def test_refused_request_uses_nothing_up(kdc: Kdc, code: ErrorCode) -> None:
    """Only a request that is genuine and may have its ticket is remembered."""
    body = replace(BODY, till=NOW) if code == ErrorCode.KDC_ERR_NEVER_VALID else BODY
    sent = PkinitRequest(body=body).build()
    message = sent.message
    if code == ErrorCode.KDC_ERR_INVALID_SIG:
        message = message.replace(sent.signed, sent.signed[:-1] + bytes((sent.signed[-1] ^ 1,)))
    assert kdc.ask(message).code == code
    at = NOW if body is BODY else NOW - timedelta(seconds=1)
    issued_ticket(kdc.ask(sent.message, at=at))


def test_replay_is_known_after_a_restart(template: Path, tmp_path: Path) -> None:
    """Row F02: the memory outlives the process."""
    sent = PkinitRequest().build()
    with running_kdc(template, tmp_path) as kdc:
        issued_ticket(kdc.ask(sent.message))
    with running_kdc(template, tmp_path) as kdc:
        later = NOW + timedelta(seconds=61)
        assert refused(kdc.ask(sent.message, at=later)) == REPLAY


def test_auth_pack_older_than_the_memory_is_skewed(kdc: Kdc) -> None:
    """Design requirement 8: it may have been seen by the memory that was lost: 37, not 34."""
    kdc.configure(clockskew_s=7200)
    sent = PkinitRequest(ctime=NOW - timedelta(minutes=61)).build()
    assert refused(kdc.ask(sent.message)) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the AuthPack is older than the replay memory",
    )


# -- ctime -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ctime",
    [
        NOW - timedelta(seconds=301),
        NOW + timedelta(seconds=301),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
    ids=["-301 s", "+301 s", "1970", "year 1", "year 9999"],
)
def test_ctime_outside_the_clock_skew_is_refused(kdc: Kdc, ctime: datetime) -> None:
    """Row F01; RFC 4556 3.2.2."""
    assert refused(kdc.ask(PkinitRequest(ctime=ctime).build().message)) == (
        ErrorCode.KRB_AP_ERR_SKEW,
        "the AuthPack's time is outside the clock skew",
    )


@pytest.mark.parametrize("seconds", [-300, 300])
def test_ctime_at_the_clock_skew_is_accepted(kdc: Kdc, seconds: int) -> None:
    """Row F01, control."""
    sent = PkinitRequest(ctime=NOW + timedelta(seconds=seconds)).build()
    issued_ticket(kdc.ask(sent.message))


# -- size ------------------------------------------------------------------------------------


def test_reply_too_big_for_udp_comes_by_tcp(kdc: Kdc) -> None:
    """Row W04: 52 consumes nothing; the same packet by TCP gets its ticket."""
    kdc.configure(max_dgram_reply_size=1465)
    sent = PkinitRequest(group="modp14").build()
    too_big = kdc.ask(sent.message, transport="udp")
    assert refused(too_big) == (
        ErrorCode.KRB_ERR_RESPONSE_TOO_BIG,
        "the reply is larger than a datagram may be",
    )
    assert (too_big.reference, error_of(too_big).e_text) == ("", None)
    by_tcp = kdc.ask(sent.message, transport="tcp")
    open_reply(by_tcp, sent, kdc)
    assert kdc.ask(sent.message, transport="udp").code == ErrorCode.KRB_ERR_RESPONSE_TOO_BIG


def test_reply_of_just_the_size_fits_udp(kdc: Kdc) -> None:
    """Row W04, control: the limit itself is allowed."""
    sent = PkinitRequest(group="p256").build()
    reply = kdc.ask(sent.message).reply
    assert reply is not None
    kdc.configure(max_dgram_reply_size=len(reply))
    assert kdc.ask(sent.message, transport="udp").code == 0
    kdc.configure(max_dgram_reply_size=len(reply) - 1)
    assert kdc.ask(sent.message, transport="udp").code == ErrorCode.KRB_ERR_RESPONSE_TOO_BIG


def test_refusals_are_not_retransmitted(kdc: Kdc) -> None:
    """A key registered between two attempts counts for the second."""
    kdc.add_user("carol")
    sent = PkinitRequest(body=body_for("carol"), signer=issued.hello("carol")).build()
    assert kdc.ask(sent.message).code == ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED
    add_hello_key(kdc.store, "carol", hello_key("carol"))
    open_reply(kdc.ask(sent.message), sent, kdc)
