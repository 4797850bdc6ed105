"""Reads `rows.toml`: what is sent, what our KDC must answer, and why."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.negative.wire.transport import Transport

FOLDER = Path(__file__).resolve().parent
ROWS = FOLDER / "rows.toml"

Kind = Literal["ticket", "error", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The one answer of our KDC."""

    kind: Kind
    code: int
    """0 unless an error."""
    why: str
    """Of the audit record."""

    def __str__(self) -> str:
        return f"{self.code} ({self.why})" if self.kind == "error" else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """One variant of a row."""

    id: str
    input: str
    expected: dict[Transport, Expected]
    status: str
    """"": it holds. "fault": our KDC answers otherwise, which is wrong; the reason says how."""
    reason: str

    @property
    def is_control(self) -> bool:
        """Whether the row asks for a ticket here: nothing is wrong with the input."""
        return all(expected.kind == "ticket" for expected in self.expected.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the catalogue."""

    id: str
    input: str
    expect: str
    """What the row's source demands; several codes where KDCs differ."""
    severity: str
    source: str
    why: str
    """Why it must be refused, in a sentence."""
    cases: tuple[CaseRow, ...]
    tested_by: tuple[str, ...]
    """Tests elsewhere, as pytest names them from the root."""
    status: str
    """"": tested. "not yet": not, or not wholly, and `reason` says what is missing."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the catalogue: rows of one kind."""

    title: str
    rows: tuple[Row, ...]


def _expected(data: dict[str, Any]) -> Expected:
    if "code" in data:
        return Expected(kind="error", code=data["code"], why=data.get("why", ""))
    if data.get("drop"):
        return Expected(kind="nothing", code=0, why=data.get("why", ""))
    if data.get("ticket"):
        return Expected(kind="ticket", code=0, why="")
    raise ValueError(f"no code, drop or ticket in {data}")


def _case(row_id: str, name: str, data: dict[str, Any]) -> CaseRow:
    every = _expected(data) if {"code", "drop", "ticket"} & data.keys() else None
    expected: dict[Transport, Expected] = {}
    transports: tuple[Transport, ...] = ("udp", "tcp")
    for transport in transports:
        if transport in data:
            expected[transport] = _expected(data[transport])
        elif every is not None:
            expected[transport] = every
    return CaseRow(
        id=f"{row_id}.{name}",
        input=data.get("input", name.replace("_", " ")),
        expected=expected,
        status=data.get("status", ""),
        reason=data.get("reason", ""),
    )


def read_rows(path: Path = ROWS) -> tuple[Part, ...]:
    """Read the catalogue."""
    data = tomllib.loads(path.read_text())
    parts: dict[str, list[Row]] = {part["title"]: [] for part in data["part"]}
    titles = {part["rows"]: part["title"] for part in data["part"]}
    for row_id, row in data["row"].items():
        parts[titles[row_id[0]]].append(
            Row(
                id=row_id,
                input=row["input"],
                expect=row["expect"],
                severity=row["severity"],
                source=row["source"],
                why=row["why"],
                cases=tuple(_case(row_id, name, c) for name, c in row.get("case", {}).items()),
                tested_by=tuple(row.get("tested_by", ())),
                status=row.get("status", ""),
                reason=row.get("reason", ""),
            )
        )
    return tuple(Part(title=title, rows=tuple(rows)) for title, rows in parts.items())


def all_cases() -> dict[str, CaseRow]:
    """Return every case by its id."""
    return {case.id: case for part in read_rows() for row in part.rows for case in row.cases}
