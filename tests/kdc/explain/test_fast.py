"""FAST in `kdc explain`: as far down as can be seen without the armor key, and the steps taken."""

from dataclasses import replace

import pytest

from kdc.explain.explanation import Subject, Verdict, as_text, explain
from kdc.explain.findings import Known
from kdc.explain.node import Node
from kdc.explain.steps import State, Step
from kdc.explain.tree import message_tree
from kdc.outcome import Outcome
from kdc.wire.constants import PaType
from tests.kdc.builders import Kdc, padata
from tests.kdc.fast_builders import (
    Armor,
    FastAsRequest,
    FastTgsRequest,
    Wrapping,
    enc_challenge,
    random_key,
)
from tests.kdc.tgs_builders import LATER, key_tgt, password_tgt


def find(node: Node, *names: str) -> Node:
    """Return the node at the end of a path of names; PA-DATA by what they are."""
    for name in names:
        (node, *_) = (child for child in node.children if name in (child.name, child.value))
    return node


def explained(message: bytes, outcome: Outcome) -> str:
    """Return what people read about a refusal."""
    verdict = Verdict(code=outcome.code, why=outcome.why, facts=outcome.facts)
    subject = Subject(message=message, time=LATER, origin="192.0.2.7, tcp")
    return "\n".join(as_text(explain(subject, verdict, None, Known())))


def test_tree_shows_the_armor_and_says_what_is_sealed(kdc: Kdc) -> None:
    """RFC 6113 5.4.2: the AP-REQ in the armor is read, the request inside is not."""
    message = FastAsRequest(armor=Armor(tgt=key_tgt(kdc, "pc1"))).build().message
    data = find(message_tree(message), "padata", "PA-FX-FAST", "padata-value", "armored-data")
    assert "sealed with the armor key" in data.value
    armored = find(data, "KrbFastArmoredReq")
    armor = find(armored, "armor")
    assert find(armor, "armor-type").value == "1 FX_FAST_ARMOR_AP_REQUEST"
    ticket = find(armor, "armor-value", "AP-REQ", "ticket")
    assert "krbtgt" in find(ticket, "sname").value
    assert "encrypted" in find(armored, "enc-fast-req", "cipher").value


def test_tree_of_an_armored_error(kdc: Kdc) -> None:
    """RFC 6113 5.4.4: METHOD-DATA in any KRB-ERROR, with PA-FX-FAST in it."""
    request = FastAsRequest(armor=Armor(tgt=key_tgt(kdc, "pc1"), ctime=LATER))
    request = replace(request, wrapping=Wrapping(options=1 << 20))
    outcome = kdc.ask(request.build().message, at=LATER)
    assert outcome.code == 93
    tree = message_tree(outcome.reply or b"")
    value = find(tree, "e-data", "PA-FX-FAST", "padata-value", "armored-data")
    assert find(value, "KrbFastArmoredRep", "enc-fast-rep", "cipher").value


def test_malformed_fast_has_a_tree_too(kdc: Kdc) -> None:
    """The tree never fails, whatever stands where PA-FX-FAST-REQUEST should."""
    for value in (b"\xa0\x00", b"\xa0\x03junk", b"\xa1\x02\x30\x00", b"\x30\x80", b"\xa0"):
        request = FastAsRequest(
            armor=Armor(tgt=key_tgt(kdc, "pc1")),
            wrapping=Wrapping(change_value=lambda _, v=value: v),  # type: ignore[misc]  # bound now
        )
        assert message_tree(request.build().message).children


def steps_of(message: bytes, outcome: Outcome) -> dict[Step, State]:
    """Return how each step went."""
    verdict = Verdict(code=outcome.code, why=outcome.why, facts=outcome.facts)
    subject = Subject(message=message, time=LATER, origin="")
    return {stage.step: stage.state for stage in explain(subject, verdict, None, Known()).stages}


def test_wrong_password_inside(kdc: Kdc) -> None:
    """The steps of armor and tunnel stand before those of the request inside."""
    armor = Armor(tgt=key_tgt(kdc, "pc1"))
    wrong = enc_challenge(armor.key, key=random_key())
    message = FastAsRequest(armor=armor, inside=(wrong,)).build().message
    outcome = kdc.ask(message, at=LATER)
    steps = steps_of(message, outcome)
    order = list(steps)
    assert steps[Step.OPENS] is State.FAILED
    for step in (Step.TGT_OPENS, Step.FAST_OPENS, Step.FAST_BOUND, Step.FAST_COOKIE, Step.SEALED):
        assert steps[step] is State.PASSED
    assert order.index(Step.FAST_BOUND) < order.index(Step.REALM) < order.index(Step.OPENS)
    text = explained(message, outcome)
    assert "fast_armor: pc1$" in text
    assert "pat@LAB.TEST" in text


def test_armor_that_does_not_open(kdc: Kdc) -> None:
    """An armor's AP-REQ fails like that of a TGS-REQ, in the steps of an AS-REQ."""
    armor = Armor(tgt=key_tgt(kdc, "pc1"))
    armor.change_authenticator = lambda made: replace(made, cname=made.cname, crealm="OTHER")
    message = FastAsRequest(armor=armor).build().message
    steps = steps_of(message, kdc.ask(message, at=LATER))
    assert steps[Step.AUTH_CLIENT] is State.FAILED
    assert Step.MECHANISM in steps


@pytest.mark.parametrize("option", [1 << 20, 0])
def test_steps_of_an_armored_tgs_req(kdc: Kdc, option: int) -> None:
    """The realm is judged when the tunnel is open."""
    inside = () if option else (padata(PaType.FX_FAST),)
    request = FastTgsRequest(
        tgt=password_tgt(kdc), inside=inside, wrapping=Wrapping(options=option)
    )
    message = request.build().message
    steps = steps_of(message, kdc.ask(message, at=LATER))
    assert steps[Step.FAST_OPTIONS] is State.FAILED
    assert steps[Step.FAST_BOUND] is State.PASSED
    assert steps[Step.REALM] is State.NOT_REACHED
