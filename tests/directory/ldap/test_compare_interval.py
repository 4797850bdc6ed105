"""How often a directory is compared whose deletions nobody tells of."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from directory.ldap.follow import Between, Work, compare_interval_s


@pytest.mark.parametrize(
    ("entries", "seconds"), [(0, 300), (20_000, 300), (20_001, 3600), (1_000_000, 3600)]
)
def test_small_directories_are_compared_more_often(entries: int, seconds: float) -> None:
    """A comparison costs by the entry; an account that was deleted logs on until then."""
    assert compare_interval_s(entries) == seconds


@pytest.mark.parametrize(("configured", "seconds"), [(0.0, 3600), (7.0, 7)])
def test_size_decides_unless_it_is_configured(configured: float, seconds: float) -> None:
    """directory.compare_interval = "0s" is the default."""
    between = Between(stop=lambda: True, tick=lambda: None)
    assert between.compare_interval_s == 0
    between.compare_interval_s = configured
    writer = SimpleNamespace(count=lambda: 20_001, count_problems=lambda: 0)
    board = SimpleNamespace(wrote=lambda *_: None)
    nobody = cast(Any, None)
    work = Work(nobody, nobody, cast(Any, writer), cast(Any, board), between)
    assert work.compare_every_s == seconds
