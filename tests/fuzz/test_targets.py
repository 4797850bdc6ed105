"""The fuzz targets in CI: every recorded input, and a thousand damaged ones, on CPython."""

import time

import pytest

from kdc.config import KEYS
from tests.fuzz.realm import answer, ticket_owner
from tests.fuzz.run import fuzz_plainly
from tests.fuzz.targets import CORPUS, TARGETS, corpus, load, recorded

pytestmark = pytest.mark.slow

MUTATIONS = 1500
ENOUGH_S = 3.0
"""A slow machine does fewer; which ones it does is the same everywhere."""


@pytest.mark.parametrize("target", TARGETS)
def test_every_recorded_input_keeps_the_targets_invariant(target: str) -> None:
    """Messages of real clients, and what once broke a target."""
    one = load(target)
    inputs = corpus(target)
    assert inputs
    for data in (*inputs, b"", b"\0"):
        one(data)


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_inputs_keep_the_targets_invariant(target: str) -> None:
    """A fixed seed: a failure here fails everywhere."""
    end = time.monotonic() + ENOUGH_S
    count, broke, error = fuzz_plainly(
        load(target),
        corpus(target),
        seed=target,
        until=lambda done: done >= MUTATIONS or (done >= 100 and time.monotonic() >= end),
    )
    assert error is None, f"input {count}: {broke!r}"


def test_the_recorded_requests_still_get_their_tickets() -> None:
    """Else the targets for requests would prove nothing: their realm's keys and clock are fixed."""
    requests = recorded("as_req") | recorded("tgs_req")
    owners = {name: ticket_owner(answer(message)) for name, message in requests.items()}
    expected = {
        name: None if name.startswith("nobody") else name.partition("-")[0] for name in owners
    }
    assert owners == expected, "record them again: python -m tests.fuzz.make_corpus"
    assert len(owners) > 15


def test_the_recorded_configuration_has_every_key() -> None:
    """Else the target never damages what came later."""
    lines = recorded("config")["every-key"].decode().splitlines()
    found = {line.partition(" = ")[0] for line in lines}
    assert found == set(KEYS), "record it again: python -m tests.fuzz.make_corpus config"


def test_every_folder_of_recorded_inputs_belongs_to_a_target() -> None:
    """And every target has one."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
