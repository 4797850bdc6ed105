"""Refused requests leave nothing for the garbage collector: a flood of them must not grow a worker.

An exception kept in a variable of the frame that raises it holds itself alive, with every frame
between and all that they hold. A worker collects rarely, since nothing should need it.
"""

import gc
import random
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.mutators import mutate, seeded
from tests.fuzz.targets import corpus, load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / package}/" for package in ("kdc", "directory", "pki"))
MUTANTS = 400
TARGETS = ("as_req", "as_req_signed", "tgs_req", "tgs_req_sealed", "cms_signed_data", "pac")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Let nothing be collected in between."""
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.usefixtures("uncollected")
def test_refusals_leave_no_cycles(target: str) -> None:
    """Row S07: none of our frames is held by an exception that it holds."""
    one = load(target)
    seeds = corpus(target)
    luck = random.Random(5)  # noqa: S311  damage that can be repeated
    inputs = [*seeds]
    inputs += [mutate(seeded(number), luck.choice(seeds), seeds) for number in range(MUTANTS)]
    one(inputs[0])  # makes the realm, once
    gc.collect()
    for data in inputs:
        one(data)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    held = Counter(
        f"{frame.f_code.co_filename.removeprefix(f'{ROOT}/')}:{frame.f_code.co_name}"
        for frame in gc.garbage
        if isinstance(frame, types.FrameType) and frame.f_code.co_filename.startswith(OURS)
    )
    assert not held
