"""Every reason that the code can give has advice, and no advice is for a reason nobody gives."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from directory.backend import DirectoryFault
from kdc.cli.main import root
from kdc.config import KEYS
from kdc.errors import FAULT_CODES
from kdc.explain.advice import ADVICE, advise
from kdc.explain.steps import State, Step, order_of, stages
from kdc.pac import PacFault
from kdc.wire.constants import PaType
from pki.errors import ChainFault, CmsFault, DerFault, Fault, KeyFault, RevocationFault

ROOT = Path(__file__).resolve().parents[3]
JUDGES = (
    ROOT / "kdc/core.py",
    ROOT / "kdc/errors.py",
    ROOT / "kdc/policy.py",
    ROOT / "kdc/server/replica_handler.py",
    *sorted((ROOT / "kdc/exchange").glob("*.py")),
    *sorted((ROOT / "kdc/trust").glob("*.py")),
)
"""The modules that decide a refusal: where a `why` can come from."""

RAISERS = {
    "KdcError": 1,
    "Unavailable": 0,
    "Discard": 0,
    "refuse_group": 0,
    "_bad_option": 0,
    "_restricted": 0,
    "_revoked": 0,
    "ChangeRefused": 0,
}
"""Callable -> which argument is the phrase."""
FAULTS_OF: dict[str, tuple[type[Fault], ...]] = {
    "SignedData": (DerFault, CmsFault, KeyFault),
}
"""Place -> the faults that reading it can meet; DerFault alone for all others."""

NO_SETTINGS = {
    *("default_realm", "default_tkt_enctypes", "domain_realm", "forwardable", "kdc"),
    *("kpasswd_server", "noaddresses", "permitted_enctypes"),
    *("fast_options", "kdc_internal_errors_total", "smartcard_required"),
}
"""Words in the form of a setting: of krb5.conf, and then a fact, a metric and an account's flag."""


class Phrases(ast.NodeVisitor):
    """Collects the phrases of one module, and the places where that did not succeed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: set[str] = set()
        self.places: set[str] = set()
        self.patterns: set[str] = set()
        self.unresolved: set[str] = set()
        self.module = ast.parse(path.read_text())
        self.functions = {
            node.name: node for node in ast.walk(self.module) if isinstance(node, ast.FunctionDef)
        }
        self.function: ast.FunctionDef | None = None
        self.visit(self.module)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """See ast.NodeVisitor."""
        outer, self.function = self.function, node
        self.generic_visit(node)
        self.function = outer

    def visit_Call(self, node: ast.Call) -> None:
        """See ast.NodeVisitor."""
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in RAISERS and len(node.args) > RAISERS[name]:
            for phrase in self.texts(node.args[RAISERS[name]]):
                (self.patterns if "{}" in phrase else self.found).add(phrase)
        elif name == "Decision":  # a row of the mapping table: its refusal's reason
            for keyword in node.keywords:
                if keyword.arg == "why":
                    self.found.update(self.texts(keyword.value))
        elif name == "refusal_from_pki":
            self.places.update(self.texts(node.args[1]))

    def texts(self, value: ast.expr) -> Iterator[str]:
        """Yield what an expression can be, as far as this module says."""
        if isinstance(value, ast.Constant):
            assert isinstance(value.value, str)
            yield value.value
        elif isinstance(value, ast.JoinedStr):
            yield "".join(
                str(p.value) if isinstance(p, ast.Constant) else "{}" for p in value.values
            )
        elif isinstance(value, ast.Attribute) and value.attr == "why":
            return  # handed on
        elif isinstance(value, ast.Attribute) and self.path.name == "pac_facts.py":
            assert ast.unparse(value) == "error.fault.value"  # of a PacError
            yield from (fault.value for fault in PacFault)
        elif isinstance(value, ast.IfExp):
            yield from self.texts(value.body)
            yield from self.texts(value.orelse)
        elif isinstance(value, ast.Name):
            yield from self.named(value.id, value.lineno)
        else:
            self.unresolved.add(f"{self.path}:{value.lineno}")

    def named(self, name: str, line: int) -> Iterator[str]:
        """Yield what a name can be: from the function around it, else from the module."""
        parameters = [] if self.function is None else [a.arg for a in self.function.args.args]
        if name in parameters:
            return  # the callers are looked at
        found = False
        for scope in (self.function, self.module):
            for node in ast.walk(scope) if scope is not None else ():
                if not isinstance(node, ast.Assign):
                    continue
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        found = True
                        yield from self.texts(node.value)
                    elif isinstance(target, ast.Tuple):
                        for index, part in enumerate(target.elts):
                            if isinstance(part, ast.Name) and part.id == name:
                                found = True
                                yield from self.returned(node.value, index)
            if found:
                return
        self.unresolved.add(f"{self.path}:{line}: {name}")

    def returned(self, value: ast.expr, index: int) -> Iterator[str]:
        """Yield what a call of a function of this module returns at one place of its tuple."""
        if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
            self.unresolved.add(f"{self.path}:{value.lineno}")
            return
        for node in ast.walk(self.functions[value.func.id]):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
                yield from self.texts(node.value.elts[index])


MODULES = [Phrases(path) for path in JUDGES]


def reasons() -> set[str]:
    """Collect every `why` from the source, the families spelled out."""
    modules = MODULES
    found = set().union(*(m.found for m in modules))
    for place in set().union(*(m.places for m in modules)):
        for kinds in FAULTS_OF.get(place, (DerFault,)):
            found |= {f"{place}: {fault.value}" for fault in kinds}
    for pattern in set().union(*(m.patterns for m in modules)):
        if pattern == "{}: {}":
            continue  # refusal_from_pki itself
        kinds_of: type[DirectoryFault] | type[ChainFault] | type[DerFault] = DerFault
        if "store" in pattern:
            kinds_of = DirectoryFault
        elif pattern.startswith("certificate chain"):
            kinds_of = ChainFault
        ends = [k.value for k in kinds_of]
        found |= {pattern.replace("{}", end) for end in ends}
    return found


REASONS = sorted(reasons())
ADVISED = sorted(set(REASONS) & set(ADVICE))
"""That the two are the same is a test of its own: one failure, not one for each."""


def test_the_source_is_found_and_read() -> None:
    """The collector sees literals, constants, returned tuples, families and fault tables."""
    assert {
        "the account is disabled",
        "the encrypted timestamp does not open: wrong password",
        "the curve is not a known one",
        "Diffie-Hellman group 2 is off (legacy_dh_group2)",
        "SignedData: signature does not verify",
        "SignedData: ROCA fingerprint (CVE-2017-15361)",
        "the message is not valid DER: trailing data",
        "the account store cannot be read (stored data damaged)",
        "not a KDC request",
    } <= set(REASONS)


def test_every_phrase_could_be_collected() -> None:
    """A `why` is a literal, a constant of its module, or handed on from where it is one."""
    assert sorted(set().union(*(m.unresolved for m in MODULES))) == []


def test_every_reason_has_advice_and_none_is_stale() -> None:
    """A reason without advice, or advice that no code leads to, fails here by its name."""
    without = sorted(set(REASONS) - set(ADVICE))
    stale = sorted(set(ADVICE) - set(REASONS))
    assert (without, stale) == ([], [])


def test_every_fault_of_the_table_of_codes_is_a_reason_or_not_raised_yet() -> None:
    """A fault that gets a code and can be raised gets advice."""
    spelled = " ".join(REASONS)
    missing = {fault for fault in FAULT_CODES if fault.value not in spelled}
    # Bad revocation data make a status unknown and end there.
    assert missing <= set(RevocationFault) | {CmsFault.DIGEST_NOT_ACCEPTED}


@pytest.mark.parametrize("why", ADVISED)
def test_advice_is_complete(why: str) -> None:
    """Rule, source, a cause and something to do, each one sentence that is whole."""
    advice = ADVICE[why]
    assert advice.rule.endswith((".", "?"))
    assert advice.source
    assert advice.causes
    assert advice.fixes
    for line in (*advice.causes, *advice.fixes):
        assert line.strip() == line and not line.endswith(".")


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the `kdc` commands of a line as words."""
    for found in re.finditer(r"(?:^|: |or )kdc ((?:[a-z{-][\w{}./-]*|[A-Z][\w.]*)(?: \S+)*)", line):
        yield re.split(r"\s{3,}|, ", found[1])[0].split()


@pytest.mark.parametrize("why", ADVISED)
def test_commands_that_advice_names_exist(why: str) -> None:
    """`kdc key list {client}` and the like: noun, verb and each option are real ones."""
    for line in ADVICE[why].fixes:
        for words in _commands(line):
            context = click.Context(root)
            at: click.Command = root
            rest = list(words)
            while isinstance(at, click.Group):
                found = at.get_command(context, rest.pop(0))
                assert found is not None, line
                at = found
            options = {
                name
                for parameter in at.params
                for name in (*parameter.opts, *parameter.secondary_opts)
            }
            assert {w for w in rest if w.startswith("--")} <= options, line


def test_settings_that_advice_names_exist() -> None:
    """Keys of kdc.toml in the texts are real keys."""
    text = " ".join(" ".join((a.rule, a.source, *a.causes, *a.fixes)) for a in ADVICE.values())
    named = set(re.findall(r"\b(?:[a-z_]+\.)?[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b", text))
    named |= set(re.findall(r"\b([a-z][a-z0-9_.]*) = ", text))
    assert named - set(KEYS) == NO_SETTINGS
    assert {"clockskew", "supported_enctypes"} <= set(KEYS)


@pytest.mark.parametrize("why", ADVISED)
def test_the_failing_step_is_in_the_list_of_its_exchange(why: str) -> None:
    """Steps before it are passed, it has failed, steps behind it are not reached."""
    step = ADVICE[why].step
    if step is None:
        assert {s.state for s in stages(None, PaType.PK_AS_REQ)} == {State.UNKNOWN}
        return
    states = [s.state for s in stages(step)]
    at = [s.step for s in stages(step)].index(step)
    assert states[:at] == [State.PASSED] * at
    assert states[at] is State.FAILED
    assert set(states[at + 1 :]) <= {State.NOT_REACHED}


def test_every_step_of_the_exchanges_can_fail() -> None:
    """A step that no reason leads to would be a line that says nothing."""
    used = {advice.step for advice in ADVICE.values()} | {
        advise("AuthPack: over a limit", "clientDHNonce").step
    }
    assert set(Step) - used == set()


def test_with_hide_unknown_the_account_is_judged_after_the_proof() -> None:
    """The order of the steps is that of the configuration."""
    for preauth in (PaType.PK_AS_REQ, PaType.ENC_TIMESTAMP):
        order = order_of(Step.ACCOUNT, preauth, True)
        assert order.index(Step.ACCOUNT) == order.index(Step.PASSWORD_STATE) - 1
        assert order_of(Step.ACCOUNT, preauth, False).index(Step.ACCOUNT) == 7


def test_fault_and_detail_can_name_another_step() -> None:
    """A clientDHNonce is judged behind the group, missing signedAttrs before the AuthPack."""
    assert advise("AuthPack: over a limit").step is Step.AUTH_PACK
    assert advise("AuthPack: over a limit", "clientDHNonce").step is Step.DH_NONCE
    attributes = f"SignedData: {CmsFault.BAD_SIGNED_ATTRIBUTES.value}"
    assert advise(attributes, "no signedAttrs").step is Step.SIGNED_DATA
    assert advise(attributes, "repeated").step is Step.ATTRIBUTES


def test_an_unknown_reason_still_gets_an_answer() -> None:
    """A record of a newer release is explained as far as it goes."""
    assert advise("a reason of the future").causes
