"""How often a directory is compared whose deletions nobody tells of."""

import pytest

from directory.ldap.follow import Between, compare_interval_s


@pytest.mark.parametrize(
    ("entries", "seconds"), [(0, 300), (20_000, 300), (20_001, 3600), (1_000_000, 3600)]
)
def test_small_directories_are_compared_more_often(entries: int, seconds: float) -> None:
    """A comparison costs by the entry; an account that was deleted logs on until then."""
    assert compare_interval_s(entries) == seconds


def test_size_decides_unless_it_is_configured() -> None:
    """directory.compare_interval = "0s" is the default."""
    assert Between(stop=lambda: True, tick=lambda: None).compare_interval_s == 0
