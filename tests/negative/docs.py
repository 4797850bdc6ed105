"""Write docs/security.md from rows.toml: `python -m tests.negative.docs`."""

import sys
from collections import Counter
from collections.abc import Iterator

from kdc.trust.mapping import DECISIONS, Decision, StrongMapping
from kdc.wire.constants import ErrorCode
from tests.negative.column import MIT, Answer, Column, read_column
from tests.negative.rows import CaseRow, Expected, Row, read_rows
from tests.negative.wire.transport import Transport
from tests.rig import peers

PAGE = peers.ROOT / "docs/security.md"

_HEAD = """# What is refused, and with which answer

This page is made from `tests/negative/rows.toml` by `python -m tests.negative.docs`; a test keeps
it up to date. Every line of a table is a test, run over UDP and TCP against a live server, by a
client that shares no code with it, decrypts every reply with its own key and fails on any ticket
that it should not have got. Beside each stands a control: the same request without the defect,
which gets a ticket. Rows without a table name the tests that show them.

*answer* is the KRB-ERROR code, `ticket`, or `nothing` for a message that is dropped. *reason* is
`why` in the audit record; the client gets only the code's name and a reference (`[ref 7K3M]`),
with which `kdc explain` finds the record. C, H and M say what a wrong answer would be: a wrong
ticket or key, an outage or a way around a control, a leak or missing hardening.

*MIT 1.20.1* is what that KDC (Debian 12, certificate trust, default configuration) answers to the
same request; - where the case does not apply to it. Where it issues a ticket and we do not, that
is seldom a hole: most are leniency in reading, some are choices of its configuration. `python -m
tests.negative --help` says how to ask any other KDC the same.
"""


def name_of(code: int) -> str:
    """Return a code with its name."""
    try:
        return f"{code} {ErrorCode(code).name}"
    except ValueError:
        return str(code)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _answer(expected: Expected) -> str:
    return name_of(expected.code) if expected.kind == "error" else expected.kind


def _others(answer: Answer | None) -> str:
    return "-" if answer is None else str(answer)


def _lines_of(case: CaseRow, column: Column) -> Iterator[tuple[str, str, str, str]]:
    """Give (variant, answer, reason, MIT's answer), once or for each transport."""
    answers = column.get(case.id, {})
    variant = case.input
    found: dict[tuple[str, str, str], list[Transport]] = {}
    for transport, expected in case.expected.items():
        key = (_answer(expected), expected.why, _others(answers.get(transport)))
        found.setdefault(key, []).append(transport)
    for (answer, why, other), transports in found.items():
        note = "" if len(transports) == 2 else f" ({transports[0].upper()})"
        fault = f" **not yet: {case.reason}**" if case.status == "fault" else ""
        yield variant + note + fault, answer, why, other


def _table(row: Row, column: Column) -> list[str]:
    """Make a row's table; variants that are answered alike share a line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for case in row.cases:
        for variant, answer, why, other in _lines_of(case, column):
            groups.setdefault((answer, why, other), []).append(variant)
    out = ["| variants | answer | reason | MIT 1.20.1 |", "|---|---|---|---|"]
    for (answer, why, other), variants in groups.items():
        cells = (", ".join(variants), answer, why, other)
        out.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return [*out, ""]


def _row(row: Row, column: Column) -> list[str]:
    severity = "control" if row.severity == "-" else row.severity
    out = [f"### {row.id} ({severity}): {row.input}", ""]
    out += [f"{row.why} Demanded: {row.expect}. Source: {row.source}.", ""]
    if row.cases:
        out += _table(row, column)
    if row.tested_by:
        tests = ", ".join(f"`{name}`" for name in row.tested_by)
        out += [f"{'Also tested' if row.cases else 'Tested'} by {tests}.", ""]
    if row.status:
        out += [f"Not yet: {row.reason}.", ""]
    return out


def _comparison(rows: list[Row], column: Column) -> str:
    """Count how MIT's answers to what we refuse differ from ours."""
    counts: Counter[str] = Counter()
    for row in rows:
        for case in row.cases:
            for transport, answer in column.get(case.id, {}).items():
                expected = case.expected.get(transport)
                if expected is None or expected.kind == "ticket":
                    continue
                ours: Answer = expected.code if expected.kind == "error" else "nothing"
                if answer == ours:
                    counts["same"] += 1
                elif str(answer).startswith("ticket"):
                    counts["ticket"] += 1
                else:
                    counts["other"] += 1
    total = sum(counts.values())
    return (
        f"Of {total} refusals that apply to MIT 1.20.1 it gives the same answer to "
        f"{counts['same']}, refuses or drops {counts['other']} in another way, and issues a "
        f"ticket for {counts['ticket']}."
    )


def _mapping() -> list[str]:
    """Print the table by which certificates are mapped to accounts."""
    modes: tuple[StrongMapping, ...] = ("full", "compatibility", "none")

    def cell(decision: Decision, mode: StrongMapping) -> str:
        outcome = decision.outcome.get(mode)
        if outcome is None:
            return "(next row)"
        return str(int(outcome)) if isinstance(outcome, ErrorCode) else f"accepted ({outcome})"

    out = [
        "## Which account a certificate stands for",
        "",
        "The first row whose condition holds decides, by `strong_mapping`. It is the table that "
        "the KDC itself goes through (`kdc/trust/mapping.py`): MS-PKCA 3.1.5.2.1, KB5014754.",
        "",
        "| the certificate | full (default) | compatibility | none | reason |",
        "|---|---|---|---|---|",
    ]
    for decision in DECISIONS:
        cells = (decision.condition, *(cell(decision, mode) for mode in modes), decision.why)
        out.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    return [*out, ""]


def page() -> str:
    """Make the whole page."""
    parts = read_rows()
    column = read_column(MIT)
    rows = [row for part in parts for row in part.rows]
    cases = [case for row in rows for case in row.cases]
    refusals = [
        expected
        for case in cases
        for expected in case.expected.values()
        if expected.kind != "ticket"
    ]
    accepted = sum(len(case.expected) for case in cases) - len(refusals)
    missing = [row for row in rows if row.status]
    out = [
        _HEAD,
        f"{len(rows)} rows, {len(cases)} variants: {len(refusals)} refusals and {accepted} tickets "
        f"that must be issued, both transports counted. {_comparison(rows, column)}",
        "",
        "Not yet, or not wholly: "
        + "; ".join(f"{row.id} ({row.reason})" for row in missing)
        + ". Rows of exchanges that are still to come (Q but for Q04) come with them.",
        "",
    ]
    for part in parts:
        out += [f"## {part.title}", ""]
        for row in part.rows:
            out += _row(row, column)
    out += _mapping()
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)
