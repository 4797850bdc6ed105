"""The plan in docs/operations.md is the one that its arithmetic gives."""

from pathlib import Path

from tests.bench.sizing import ASSUMED, plan, table

_OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_plan_in_operations_is_what_sizing_prints() -> None:
    """docs/operations.md, "A million users and more": the table that readers are told to redo."""
    assert table(ASSUMED) in _OPERATIONS.read_text()


def test_a_million_users_by_hand() -> None:
    """The column that docs/operations.md works out in words."""
    found = plan(ASSUMED[0])
    assert (round(found.logons), round(found.machine_logons), round(found.tickets)) == (
        400,
        200,
        4800,
    )
    assert round(found.cpu, 1) == 1.3
    assert (found.nodes, found.late_s, found.store_gb) == (1, 300, 2)
