"""Reads the published vectors in tests/vectors: JSON lists of cases, octets in hex."""

import json
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / "vectors"


@dataclass(frozen=True)
class Case:
    """One vector; its fields are text or numbers."""

    id: str
    fields: dict[str, str | int]

    def octets(self, name: str) -> bytes:
        """Return a field given in hex."""
        return bytes.fromhex(self.text(name))

    def number(self, name: str) -> int:
        """Return a number."""
        value = self.fields[name]
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        value = self.fields[name]
        assert isinstance(value, str)
        return value


def cases(file: str, prefix: str = "") -> list[Case]:
    """Return the cases of a file whose id begins with `prefix`; never none."""
    rows: list[dict[str, str | int]] = json.loads((_FOLDER / f"{file}.json").read_text())
    found = [Case(f"{file}::{row['id']}", row) for row in rows if str(row["id"]).startswith(prefix)]
    assert found, (file, prefix)
    return found


def case_id(case: Case) -> str:
    """Name a case in pytest's output."""
    return case.id
