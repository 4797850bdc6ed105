"""The wire mutator against two real workers, briefly; and its oracle against wrong answers."""

from dataclasses import replace
from pathlib import Path

import pytest

from kdc.wire.rfc4120 import AsRep
from pki import asn1
from tests.fuzz import realm
from tests.fuzz.targets import recorded
from tests.fuzz.wire_mutator import (
    BrokenOracleError,
    Judge,
    Shot,
    Valid,
    attack,
    make_prepared_realm,
)
from tests.kdc import builders

MESSAGES = 2500


@pytest.mark.e2e
def test_damaged_requests_break_no_rule_of_the_oracle(tmp_path: Path) -> None:
    """No wrong ticket, no silence, no dead worker, no internal error, no honest request refused."""
    with make_prepared_realm(tmp_path).served(workers=2) as live:
        report = attack(live, messages=MESSAGES, seconds=60)
    assert report.findings == []
    assert report.figures.messages >= MESSAGES
    # Else nothing was proven: some damage lies where no signature reaches, and some is honest.
    assert sum(report.judge.mutant_tickets.values()) > 5
    assert sum(report.judge.honest.values()) > 5
    assert report.audit_records >= report.figures.messages


def _valid(name: str) -> Valid:
    message = recorded("as_req")[name]
    proof = realm.proof_of(name.partition("-")[0], message)
    assert proof is not None

    def open_reply(_message: bytes, reply: bytes) -> str:
        return asn1.decode(AsRep, reply).cname.name_string[0]

    return Valid(
        kind="recorded",
        owner=proof.owner,
        message=message,
        proof=proof.parts,
        open_reply=open_reply,
    )


def _reply(name: str) -> bytes:
    reply = realm.answer(recorded("as_req")[name]).reply
    assert reply is not None
    return reply


def test_oracle_accepts_a_ticket_for_the_proofs_owner() -> None:
    """The damage lies outside of body and AuthPack."""
    alice = _valid("alice-p256")
    judge = Judge()
    judge.judge(Shot(message=alice.message + b"\0", sources=(alice,)), _reply("alice-p256"))
    assert judge.mutant_tickets == {"ticket recorded": 1}


def test_oracle_refuses_a_ticket_whose_proof_was_altered() -> None:
    """One bit of the AuthPack."""
    alice = _valid("alice-p256")
    at = alice.message.index(alice.proof[1])
    altered = bytearray(alice.message)
    altered[at + 40] ^= 1
    with pytest.raises(BrokenOracleError, match="whose proof is not in"):
        Judge().judge(Shot(message=bytes(altered), sources=(alice,)), _reply("alice-p256"))


def test_oracle_refuses_a_ticket_for_another_account() -> None:
    """Pat's ticket as the answer to alice's proof."""
    alice = _valid("alice-p256")
    with pytest.raises(BrokenOracleError, match="a ticket for pat on alice's proof"):
        Judge().judge(Shot(message=alice.message, sources=(alice,)), _reply("pat-etype18"))


def test_oracle_refuses_a_ticket_that_its_owner_cannot_open() -> None:
    """Sealed to somebody else's key."""
    alice = _valid("alice-p256")

    def cannot(_message: bytes, _reply: bytes) -> str:
        raise ValueError("another key")

    deaf = replace(alice, open_reply=cannot)
    with pytest.raises(BrokenOracleError, match="cannot open"):
        Judge().judge(Shot(message=deaf.message, sources=(deaf,)), _reply("alice-p256"))


def test_oracle_refuses_an_error_for_an_honest_request() -> None:
    """KRB_AP_ERR_REPEAT apart: one of its mutants may have used it up."""
    alice = _valid("alice-p256")
    error = realm.answer(builders.as_req()).reply
    assert error is not None
    with pytest.raises(BrokenOracleError, match="KDC_ERR_PREAUTH_REQUIRED for a valid request"):
        Judge().judge(Shot(message=alice.message, sources=(alice,), honest=True), error)


def test_oracle_refuses_what_is_neither_reply_nor_error() -> None:
    """An answer of another kind."""
    alice = _valid("alice-p256")
    with pytest.raises(BrokenOracleError, match="neither"):
        Judge().judge(Shot(message=alice.message, sources=(alice,)), b"\x61\x00")
