"""docs/security.md says what rows.toml says, and the column of MIT belongs to cases that exist."""

from pathlib import Path

from tests.negative.column import MIT, read_column, write_column
from tests.negative.docs import PAGE, page
from tests.negative.rows import all_cases


def test_page_is_up_to_date() -> None:
    """`python -m tests.negative.docs` would change nothing."""
    assert PAGE.read_text() == page(), "run: python -m tests.negative.docs"


def test_column_names_cases_that_exist() -> None:
    """The column was measured with the cases of today."""
    rows = all_cases()
    for case_id, answers in read_column(MIT).items():
        assert set(answers) <= set(rows[case_id].expected), case_id


def test_column_reads_back(tmp_path: Path) -> None:
    """What is written is what is read."""
    column = read_column(MIT)
    path = tmp_path / "column.toml"
    path.write_text(write_column(column, "# head"))
    assert read_column(path) == column
