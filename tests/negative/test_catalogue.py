"""The catalogue itself: nothing pinned without a case, no row left out in silence."""

import ast
from pathlib import Path

import tests.negative.cases  # noqa: F401  registers the cases
from tests.negative.engine import CASES, CONTROLS
from tests.negative.realm_of import realm_of
from tests.negative.rows import FOLDER, all_cases, read_rows
from tests.rig import peers

ROWS = all_cases()


def test_every_case_is_pinned_and_every_pin_has_a_case() -> None:
    """rows.toml and the builders name the same cases."""
    assert set(CASES) == set(ROWS)
    for case_id, case in CASES.items():
        assert set(case.transports) <= set(ROWS[case_id].expected), case_id


def test_every_row_is_tested_or_says_why_not() -> None:
    """No row is left out in silence."""
    wanted = {
        *(f"P{n:02}" for n in range(1, 26)),
        *(f"K{n:02}" for n in range(1, 21)),
        *(f"D{n:02}" for n in range(1, 10)),
        *(f"F{n:02}" for n in range(1, 9)),
        *(f"A{n:02}" for n in range(1, 11)),
        *(f"N{n:02}" for n in range(1, 8)),
        *(f"E{n:02}" for n in range(1, 8)),
        *(f"W{n:02}" for n in range(1, 9)),
        *(f"T{n:02}" for n in range(1, 21)),
        *(f"X{n:02}" for n in range(1, 12)),
        "U01",
        *(f"L{n:02}" for n in range(1, 6)),
        *(f"C{n:02}" for n in range(1, 24)),
        *(f"S{n:02}" for n in range(1, 9)),
        *(f"R{n:02}" for n in range(1, 12)),
    }
    rows = {row.id: row for part in read_rows() for row in part.rows}
    assert set(rows) == wanted
    for row in rows.values():
        assert row.cases or row.tested_by or (row.status == "not yet" and row.reason), row.id
        assert row.status in ("", "not yet"), row.id
        assert bool(row.status) == bool(row.reason), row.id
        for case in row.cases:
            assert case.status in ("", "fault"), case.id
            assert bool(case.status) == bool(case.reason), case.id


def test_tests_named_elsewhere_exist() -> None:
    """What `tested_by` names is there."""
    for part in read_rows():
        for row in part.rows:
            for name in row.tested_by:
                path, _, function = name.partition("::")
                tree = ast.parse((peers.ROOT / path).read_text())
                kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
                names = {node.name for node in tree.body if isinstance(node, kinds)}
                assert function in names, f"{row.id}: {name}"


def test_at_least_400_refusals_over_both_transports() -> None:
    """Controls are not counted."""
    refusals = [
        (case_id, transport)
        for case_id, case in CASES.items()
        for transport in case.transports
        if ROWS[case_id].expected[transport].kind != "ticket"
    ]
    assert len(refusals) >= 400


def test_controls_named_exist() -> None:
    """Every case names a control that is there."""
    assert {case.control for case in CASES.values()} <= set(CONTROLS)


def test_client_shares_no_code_with_the_server() -> None:
    """The hostile client imports nothing of pki, directory or kdc."""
    modules = [*(FOLDER / "wire").glob("*.py"), *(FOLDER / "cases").glob("*.py")]
    modules += [FOLDER / "engine.py", FOLDER / "world.py", FOLDER / "__main__.py"]
    for path in modules:
        for imported in _imports(path):
            assert imported.split(".")[0] not in ("pki", "directory", "kdc"), path.name


def _imports(path: Path) -> list[str]:
    out: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            out.append(node.module or "")
    return out


def test_what_shares_a_realm_runs_on_one_core() -> None:
    """Names of tests as pytest gives them, with the realm that each asks for."""
    for case_id, case in CASES.items():
        for transport in case.transports:
            assert realm_of(f"test_row[{case_id}-{transport}]") == case.realm
    assert realm_of("test_no_secret_is_in_any_log[cloud]") == "cloud"
    assert realm_of("test_hidden_names_are_answered_alike[key-hours]") == "hidden"
    assert realm_of("test_search_would_find_what_is_there") == "main"
