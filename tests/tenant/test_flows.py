"""docs/flows.md: every phase of the flows that the tenant covers, and no test that is not there."""

import ast
import re
from functools import cache

import pytest

from tests.rig.peers import ROOT

PHASES = {
    "R1": "ABCDEFGH",
    "R3": "ABCDEFGH",
    "P1": "ABC",
    "P3": "ABC",
    "P4": "ABCD",
    "A1": "ABCDE",
    "A2": "AB",
    "A3": "ABC",
    "A4": "ABC",
    "A5": "ABCDE",
    "A6": "ABCDEFG",
    "A7": "ABCDEFG",
}
"""Flow -> its phases in the descriptions."""

PAGE = (ROOT / "docs/flows.md").read_text()
NAMED = tuple(dict.fromkeys(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@cache
def _tests_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _rows() -> dict[str, str]:
    """Phase -> what its last cell says."""
    return dict(re.findall(r"^\| ([RPA]\d [A-Z]) \|[^|]*\| (.*) \|$", PAGE, re.MULTILINE))


def test_every_phase_has_its_line() -> None:
    """Issue 9: R1, R3, P1, P3, P4, A1 to A7; and none twice."""
    wanted = [f"{flow} {letter}" for flow, letters in PHASES.items() for letter in letters]
    assert re.findall(r"^\| ([RPA]\d [A-Z]) \|", PAGE, re.MULTILINE) == wanted


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_test_is_there(path: str, name: str) -> None:
    """A test that is renamed takes its line along."""
    assert name in _tests_of(path)


def test_every_line_names_a_test_another_line_or_the_client() -> None:
    """Nothing is left open."""
    phases = _rows()
    for phase, cell in phases.items():
        others = [f"{flow} {letter}" for flow, letter in re.findall(r"([RPA]\d) ([A-Z])\b", cell)]
        assert set(others) <= set(phases), phase
        named = "::" in cell or others or cell.startswith(("client", "the same"))
        assert named, f"{phase}: {cell}"
