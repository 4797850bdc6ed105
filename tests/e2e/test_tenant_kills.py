"""SIGKILL while clients register: nothing acknowledged is lost, nothing is half-written."""

from pathlib import Path

import pytest

from tests.rig.tenant_kills import run

ROUNDS = 8
"""The long run, tests.rig.tenant_kills, makes 200."""


@pytest.mark.slow
def test_what_was_acknowledged_survives_the_kill(tmp_path: Path) -> None:
    """Issue 9: each device and key that a client was told of is there, whole, with its record."""
    tally = run(tmp_path, ROUNDS, seed=20261122)
    assert tally.problems == []
    assert tally.rounds == ROUNDS
    assert tally.acknowledged_devices + tally.acknowledged_keys > ROUNDS
