"""Vulnerabilities of other KDCs, by their numbers: each has rows, every case of them is refused."""

import re

import pytest

import tests.negative.cases  # noqa: F401  registers the cases
from tests.negative.conftest import Targets
from tests.negative.engine import CASES, exchange, run
from tests.negative.rows import Row, read_rows

pytestmark = pytest.mark.e2e

_NUMBER = re.compile(r"CVE-\d{4}-\d+|MS14-068")


def _rows() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for part in read_rows():
        for row in part.rows:
            for number in _NUMBER.findall(row.source):
                found.setdefault(number, []).append(row)
    return found


ROWS = _rows()

TGS = {
    "CVE-2020-17049": ("T12",),
    "CVE-2022-37967": ("T07",),
    "CVE-2018-16860": ("T13",),
    "MS14-068": ("T06",),
    "CVE-2020-25719": ("T01",),
    "CVE-2021-42278": ("T04",),
    "CVE-2021-42287": ("T02", "T03", "T04"),
    "CVE-2022-2031": ("T11", "U01"),
    "CVE-2022-32744": ("U01",),
    "CVE-2021-3671": ("T17",),
    "CVE-2021-37750": ("T17",),
    "CVE-2022-42898": ("T18",),
}
"""What the TGS exchange, S4U, the PAC and kpasswd stand for."""


@pytest.mark.parametrize("number", sorted(TGS))
def test_number_has_its_rows(number: str) -> None:
    """The catalogue names it as the source of exactly these."""
    rows = [row.id for row in ROWS.get(number, []) if row.id[0] in "TU"]
    assert sorted(rows) == sorted(TGS[number])


@pytest.mark.parametrize("number", sorted(TGS))
def test_number(targets: Targets, number: str) -> None:
    """No case of it gets a ticket, by TCP; what has no case here names its tests."""
    for row in ROWS[number]:
        assert row.cases or row.tested_by, row.id
        for found in row.cases:
            if found.is_control:
                continue
            case = CASES[found.id]
            targets.need_control(case.control, case.realm, "tcp")
            world = targets.world(case.realm)
            got = run(world, exchange(case.build(world)), "tcp")
            assert got.error is not None, found.id
            assert got.error.code == found.expected["tcp"].code, found.id
