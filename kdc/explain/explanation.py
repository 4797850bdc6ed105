"""Everything there is to say about one message, put together; and as text of 80 columns."""

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kdc.config import KdcConfig
from kdc.explain.advice import advise
from kdc.explain.advice_text import Advice
from kdc.explain.chain_findings import chain_findings
from kdc.explain.findings import Known, findings, read_request
from kdc.explain.frame import frame_tree, is_frame
from kdc.explain.keys import MAX_CREDENTIALS, credential_tree
from kdc.explain.names import error_text
from kdc.explain.node import Node
from kdc.explain.steps import Stage, State, Step, stages
from kdc.explain.text import count, escape
from kdc.explain.tree import message_name, message_tree

WIDTH = 80
MAX_TREE_LINES = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a message was judged: as recorded, or just now."""

    code: int
    """0: a ticket."""
    why: str
    facts: dict[str, object] = field(default_factory=dict)
    judged_now: bool = False
    """Judged for this explanation, by today's accounts and configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One message to explain, and where it is from."""

    message: bytes
    time: datetime
    """The KDC's clock when it came; for a judgement of today, the time it was judged for."""
    origin: str
    """`192.0.2.7:40000 by udp`, `--hex` ..."""
    reference: str = ""
    length: int | None = None
    """Octets received, when fewer were kept."""
    redacted: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What `kdc explain` prints."""

    subject: Subject
    verdict: Verdict | None
    advice: Advice | None
    found: tuple[str, ...]
    stages: tuple[Stage, ...]
    tree: Node
    credentials: tuple[Node, ...]
    credentials_of: str
    client: str
    """The account's name as an argument of a command."""
    service: str
    """The name of the service asked for, likewise."""
    realm: str


def explain(
    subject: Subject, verdict: Verdict | None, config: KdcConfig | None, known: Known
) -> Explanation:
    """Put an explanation together."""
    advice = None
    found: tuple[str, ...] = ()
    steps: tuple[Stage, ...] = ()
    request = read_request(subject.message)
    framed = is_frame(subject.message)
    if verdict is not None:
        preauth = verdict.facts.get("preauth")
        hide = config is not None and config.hide_unknown
        step = None
        if verdict.why:
            advice = advise(verdict.why, str(verdict.facts.get("detail", "")))
            step = advice.step
            found = findings(step, subject.message, subject.time, config, known)
            found += chain_findings(verdict.facts)
        steps = stages(
            step,
            preauth if isinstance(preauth, int) else None,
            hide_unknown=hide,
            tgs=message_name(subject.message) == "TGS-REQ",
            fast=request.armored,
            issued=not verdict.why and not verdict.code,
            certificate=verdict.facts.get("trust") == "certificate",
        )
        if framed:
            steps = ()  # those are of AS and TGS
        if verdict.judged_now:
            steps = tuple(_forgotten(stage) for stage in steps)
    account = known.account
    signer = request.signer_key
    credentials = () if account is None else account.key_credentials[:MAX_CREDENTIALS]
    return Explanation(
        subject=subject,
        verdict=verdict,
        advice=advice,
        found=found,
        stages=steps,
        tree=frame_tree(subject.message) if framed else message_tree(subject.message),
        credentials=tuple(credential_tree(c, signer) for c in credentials),
        credentials_of="" if account is None else account.sam_account_name,
        client=_argument(verdict, account.sam_account_name if account is not None else ""),
        service=_argument_of("" if verdict is None else verdict.facts.get("service"), "SERVICE"),
        realm="" if config is None else config.realm,
    )


_FROM_MEMORY = (
    Step.MEMORY,
    Step.PK_REPLAY,
    Step.TS_MEMORY,
    Step.TS_REPLAY,
    Step.AUTH_MEMORY,
    Step.AUTH_REPLAY,
)


def _forgotten(stage: Stage) -> Stage:
    """A judgement of today asks no memory: what the memories would say is not known."""
    if stage.step in _FROM_MEMORY and stage.state is State.PASSED:
        return Stage(step=stage.step, state=State.UNKNOWN)
    return stage


MAX_ARGUMENT_CHARS = 64


def _argument(verdict: Verdict | None, account: str) -> str:
    """Return the client's name as an argument that can be copied into a shell, else `NAME`."""
    name = account
    if not name and verdict is not None:
        name = str(verdict.facts.get("account") or verdict.facts.get("client") or "")
    return _argument_of(name, "NAME")


def _argument_of(name: object, unknown: str) -> str:
    """Return a name as an argument that can be copied into a shell, else what stands for it."""
    # Nothing that looks like an option, or like two commands, comes from a client.
    if not isinstance(name, str) or not name or len(name) > MAX_ARGUMENT_CHARS:
        return unknown
    if not name.isascii() or not name.isprintable() or name.startswith("-"):
        return unknown
    return shlex.quote(name)


def filled(lines: Sequence[str], explanation: Explanation) -> list[str]:
    """Put the names of this case into lines of advice."""
    return [
        line.replace("{realm}", explanation.realm)
        .replace("{client}", explanation.client)
        .replace("{service}", explanation.service)
        for line in lines
    ]


# -- as JSON ---------------------------------------------------------------------------------


def as_json(explanation: Explanation) -> dict[str, object]:
    """Return an explanation with stable keys."""
    subject, verdict, advice = explanation.subject, explanation.verdict, explanation.advice
    out: dict[str, object] = {
        "reference": subject.reference or None,
        "time": _iso(subject.time),
        "origin": subject.origin,
        "redacted": subject.redacted,
        "notes": list(subject.notes),
        "verdict": None,
        "advice": None,
        "found": list(explanation.found),
        "steps": [{"step": s.step.value, "state": s.state.value} for s in explanation.stages],
        "message": explanation.tree.as_json(),
        "key_credentials": [node.as_json() for node in explanation.credentials],
    }
    if verdict is not None:
        out["verdict"] = {
            "code": verdict.code,
            "why": verdict.why,
            "judged_now": verdict.judged_now,
            "facts": {name: _plain(value) for name, value in verdict.facts.items()},
        }
    if advice is not None:
        out["advice"] = {
            "rule": advice.rule,
            "source": advice.source,
            "causes": filled(advice.causes, explanation),
            "fixes": filled(advice.fixes, explanation),
        }
    return out


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return f"<{type(value).__name__}>"


# -- as text ---------------------------------------------------------------------------------

_MARKS = {
    State.PASSED: "[ok]",
    State.FAILED: "[NO]",
    State.NOT_REACHED: "[  ]",
    State.UNKNOWN: "[ ?]",
}
# What the heading says already, or what is for machines.
_UNSAID_FACTS = frozenset(
    ("client", "realm", "service", "account", "preauth", "detail", "etype", "kdc_options")
)


def as_text(explanation: Explanation, *, tree: bool = True) -> Iterator[str]:
    """Yield the lines of an explanation, at most WIDTH columns wide.

    tree: whether the message itself is shown.
    """
    yield from _heading(explanation)
    if explanation.stages:
        yield ""
        yield "Steps"
        for stage in explanation.stages:
            yield from _wrapped(stage.step.value, f"  {_MARKS[stage.state]} ", "       ")
    advice = explanation.advice
    if advice is not None:
        yield from _section("Rule", [advice.rule])
        if advice.source:
            yield from _wrapped(f"({advice.source})", "  ", "  ")
    yield from _section("In this request", explanation.found)
    if advice is not None:
        yield from _section("Likely causes", filled(advice.causes, explanation), "  - ")
        yield from _section("What to do", filled(advice.fixes, explanation))
    if explanation.credentials:
        yield ""
        yield from _wrapped(
            f"Keys registered today on {escape(explanation.credentials_of)}", "", ""
        )
        for node in explanation.credentials:
            yield from _tree_lines(node, 1)
    if tree:
        yield ""
        yield "The message"
        for number, line in enumerate(_tree_lines(explanation.tree, 1)):
            if number == MAX_TREE_LINES:
                yield "  ... (more is in --json)"
                break
            yield line


def _heading(explanation: Explanation) -> Iterator[str]:
    subject, verdict = explanation.subject, explanation.verdict
    if verdict is None:
        yield from _wrapped("Not judged", "", "")
    elif not verdict.code and not verdict.why:
        yield from _wrapped("A ticket would be issued", "", "  ")
    else:
        title = error_text(verdict.code) if verdict.code else "No answer"
        yield from _wrapped(f"{title}: {verdict.why}", "", "  ")
    rows = [("time", _iso(subject.time)), ("from", subject.origin)]
    if subject.reference:
        rows.insert(0, ("ref", subject.reference))
    if verdict is not None:
        facts = verdict.facts
        if facts.get("client") or facts.get("realm"):
            rows.append(("client", f"{facts.get('client', '')}@{facts.get('realm', '')}"))
        if facts.get("service"):
            rows.append(("service", str(facts["service"])))
        if facts.get("account"):
            rows.append(("account", str(facts["account"])))
        for name, value in facts.items():
            if name not in _UNSAID_FACTS and value not in (None, False, ""):
                shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
                rows.append((name, str(shown)))
    for name, value in rows:
        yield from _wrapped(escape(value, 200), f"  {name + ':':<8} ", " " * 11)
    for note in _notes(explanation):
        yield from _wrapped(note, "  note:    ", " " * 11)


def _notes(explanation: Explanation) -> Iterator[str]:
    subject, verdict = explanation.subject, explanation.verdict
    if verdict is not None and verdict.judged_now:
        yield "judged now, by today's accounts and configuration, as if it came at the time above"
    if subject.redacted:
        yield "ciphers that could be attacked offline were blanked before it was recorded"
    if subject.length is not None and subject.length > len(subject.message):
        kept = count(len(subject.message), "octet")
        yield f"only the first {kept} of {subject.length:,} were recorded"
    yield from subject.notes


def _section(title: str, lines: Iterable[str], first: str = "  ") -> Iterator[str]:
    head = True
    for line in lines:
        if head:
            yield ""
            yield title
            head = False
        yield from _wrapped(line, first, " " * len(first))


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    # A comment after a command stands in its own column; wrapping would close up the gap.
    if "   " in text and len(first) + len(text) <= WIDTH:
        return [first + text]
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def _tree_lines(node: Node, depth: int) -> Iterator[str]:
    indent = "  " * min(depth, 20)
    text = node.name + (f": {node.value}" if node.value else "")
    yield from _wrapped(text, indent, indent + "    ")
    if node.fault:
        where = "" if node.offset is None else f"octet {node.offset}: "
        yield from _wrapped(f"!! {where}{node.fault}", indent + "  ", indent + "     ")
    for child in node.children:
        yield from _tree_lines(child, depth + 1)
