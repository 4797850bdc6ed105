"""The answers of one KDC to all cases: made against any KDC, kept for those we compare with."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import tests.negative.cases  # noqa: F401  registers the cases
from tests.negative.engine import CASES, CONTROLS, Case, exchange, run
from tests.negative.rows import FOLDER
from tests.negative.wire.logon import WrongTicketError
from tests.negative.wire.transport import Transport
from tests.negative.world import NotApplicableError, World

Answer = int | str
"""A KRB-ERROR code, "ticket", "nothing", or "ticket: ..." for one that its client may not take."""

Column = dict[str, dict[Transport, Answer]]

MIT = FOLDER / "mit_1_20_1.toml"

_REPLY_S = 1.0


def _control_passes(
    world: World, name: str, transport: Transport, known: dict[tuple[str, Transport], bool]
) -> bool:
    key = (name, transport)
    if key not in known:
        try:
            made = exchange(CONTROLS[name](world))
            known[key] = run(world, made, transport, timeout_s=_REPLY_S).ticket is not None
        except NotApplicableError:
            known[key] = False
    return known[key]


def _answer(world: World, case: Case, transport: Transport) -> Answer | None:
    try:
        got = run(world, exchange(case.build(world)), transport, timeout_s=_REPLY_S)
    except WrongTicketError as error:
        return f"ticket: {error}"
    except (NotApplicableError, AssertionError):
        # An AssertionError here: a message that comes before was answered otherwise.
        return None
    return got.error.code if got.error else got.kind


def measure(
    world: World,
    *,
    only: tuple[str, ...] = ("",),
    said: Callable[[str], object] = lambda line: None,
) -> Column:
    """Send every case that applies to a KDC; those whose control gets no ticket are left out."""
    column: Column = {}
    known: dict[tuple[str, Transport], bool] = {}
    for case in CASES.values():
        if case.realm != "main" or not case.id.startswith(only):
            continue
        for transport in case.transports:
            if not _control_passes(world, case.control, transport, known):
                continue
            answer = _answer(world, case, transport)
            if answer is not None:
                column.setdefault(case.id, {})[transport] = answer
                said(f"{case.id} {transport} {answer}")
    return column


def write_column(column: Column, head: str) -> str:
    """Write a column as TOML: one value where both transports agree."""
    lines = [head]
    for case_id, answers in column.items():
        values = list(answers.values())
        if len(values) == 2 and values[0] == values[1]:
            lines.append(f'"{case_id}" = {_value(values[0])}')
        else:
            pairs = ", ".join(f"{t} = {_value(v)}" for t, v in answers.items())
            lines.append(f'"{case_id}" = {{ {pairs} }}')
    return "\n".join(lines) + "\n"


def _value(answer: Answer) -> str:
    return str(answer) if isinstance(answer, int) else f'"{answer}"'


def read_column(path: Path) -> Column:
    """Read a column that `write_column` wrote."""
    out: Column = {}
    for case_id, found in tomllib.loads(path.read_text()).items():
        if isinstance(found, dict):
            out[case_id] = found
        else:
            out[case_id] = {"udp": found, "tcp": found}
    return out
