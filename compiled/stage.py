"""From a source file to the text that mypyc compiles: the same program in words that it makes fast.

Rules
  1. The text keeps every line where it was, so that tracebacks name the right lines: what is added
     stands on lines that were blank, or behind the end.
  2. Nothing else than this changes:
     - a dataclass loses `slots=True` (compiled classes have no `__dict__` anyway) and gets its
       `__init__` in words: dataclasses would add an interpreted one;
     - an `asn1.sequence` becomes a dataclass, with its reader and writer in words (see `readers`);
     - constants become `Final`, which mypyc writes into the code that uses them;
     - a class with subclasses in modules that stay interpreted is marked so.
"""

import ast
import builtins
from dataclasses import dataclass, field
from types import ModuleType

from compiled.readers import HELPERS, type_text
from pki import asn1

_MAY_STOP = ("any", "all", "next")
_FOUND_TYPES = frozenset(
    (
        "bool",
        "bytearray",
        "bytes",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "range",
        "set",
        "str",
        "tuple",
        "type",
    )
)
"""Builtins that mypyc finds for a field's annotation. Others it would look for in the module."""


@dataclass(slots=True, kw_only=True)
class _Field:
    name: str
    annotation: str
    default: str | None
    factory: str | None
    init: bool


@dataclass(slots=True)
class _Edits:
    """Changes of a text by line, made at once."""

    lines: list[str]
    after: dict[int, list[str]] = field(default_factory=dict)
    """Number of a line (from 0) -> what the blank lines behind it become."""
    tail: list[str] = field(default_factory=list)

    def text(self) -> str:
        for at, added in sorted(self.after.items()):
            for offset, line in enumerate(added, 1):
                if at + offset >= len(self.lines):
                    self.lines.append("")
                if self.lines[at + offset].strip():
                    raise ValueError(f"line {at + offset + 1} is not blank")
                self.lines[at + offset] = line
        return "\n".join([*self.lines, *self.tail, ""])


def staged(source: str, module: ModuleType, open_classes: frozenset[str] = frozenset()) -> str:
    """Return the text to compile for a module that is also imported, for its ASN.1 types.

    open_classes: names of those that interpreted modules make subclasses of.
    """
    tree = ast.parse(source)
    _check_handlers(tree, module.__name__)
    _check_generators(tree, module.__name__)
    _check_annotations(tree, module.__name__)
    edits = _Edits(source.rstrip("\n").split("\n"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    final = _mark_constants(tree, edits)
    names: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        decorator = _dataclass_decorator(node)
        sequence = _sequence_decorator(node)
        if decorator is not None:
            _rewrite_decorator(decorator, edits)
            line = _init_line(source, node, classes, _keywords(decorator).get("kw_only") == "True")
            if line:
                edits.after[_last(node)] = [line]
        elif sequence is not None:
            names.append(node.name)
            _rewrite_sequence(source, node, sequence, classes, edits)
    imports = ["from dataclasses import dataclass as _dataclass"] if names else []
    imports += ["from typing import Final as _Final"] if final else []
    marked = [classes[name] for name in sorted(open_classes) if name in classes]
    for node in marked:
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
        # mypyc reads the decorator and leaves it out of the program.
        edits.after[first - 3] = [
            "if _TYPING: from mypy_extensions import mypyc_attr",
            "@mypyc_attr(allow_interpreted_subclasses=True)",
        ]
    if marked:
        imports += ["from typing import TYPE_CHECKING as _TYPING"]
    if imports:
        _add_imports(tree, edits, imports)
    if names:
        edits.tail += ["", "", type_text(module, [getattr(module, name) for name in names])]
    if module is asn1:
        edits.tail += ["", HELPERS]
        _drop_transform(tree, edits)
    return edits.text()


def _check_handlers(tree: ast.Module, name: str) -> None:
    """Refuse two kinds of exception under one name in a function: mypyc takes the first's type."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        kinds: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                kind = ast.unparse(node.type)
                if kinds.setdefault(node.name, kind) != kind:
                    raise ValueError(f"{name}, line {node.lineno}: another kind of {node.name!r}")


def _check_generators(tree: ast.Module, name: str) -> None:
    """Refuse a generator expression with a name where its reader may stop: mypyc makes it a list.

    As a list it does all of its work at once, directory searches and errors among it.
    """
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        nodes = list(ast.walk(function))
        lazy = {
            target.id
            for node in nodes
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.GeneratorExp)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in nodes:
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in _MAY_STOP:
                continue
            for node in ast.walk(call):
                if isinstance(node, ast.Name) and node.id in lazy:
                    raise ValueError(f"{name}, line {node.lineno}: {node.id!r} would be a list")


def _check_annotations(tree: ast.Module, name: str) -> None:
    """Refuse a field of a builtin that mypyc does not find, as `object`: a KeyError at import."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or _dataclass_decorator(node) is None:
            continue
        for line in node.body:
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.annotation, ast.Name):
                continue
            kind = line.annotation.id
            if hasattr(builtins, kind) and kind not in _FOUND_TYPES:
                raise ValueError(f"{name}, line {line.lineno}: no field can be {kind!r} alone")


def _last(node: ast.ClassDef) -> int:
    """Return the number, from 0, of a class's last line."""
    return (node.end_lineno or node.lineno) - 1


def _dataclass_decorator(node: ast.ClassDef) -> ast.expr | None:
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Name) and called.id == "dataclass":
            return decorator
    return None


def _sequence_decorator(node: ast.ClassDef) -> ast.expr | None:
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(called, ast.Attribute) and ast.unparse(called) == "asn1.sequence":
            return decorator
    return None


def _keywords(decorator: ast.expr) -> dict[str, str]:
    if not isinstance(decorator, ast.Call):
        return {}
    return {word.arg or "": ast.unparse(word.value) for word in decorator.keywords}


def _rewrite_decorator(decorator: ast.expr, edits: _Edits) -> None:
    words = _keywords(decorator)
    words.pop("slots", None)
    if decorator.lineno != decorator.end_lineno:
        raise ValueError(f"line {decorator.lineno}: a decorator of several lines")
    at = decorator.lineno - 1
    given = ", ".join(f"{name}={value}" for name, value in words.items())
    indent = edits.lines[at][: decorator.col_offset - 1]
    edits.lines[at] = f"{indent}@dataclass({given})" if given else f"{indent}@dataclass"


def _rewrite_sequence(
    source: str,
    node: ast.ClassDef,
    decorator: ast.expr,
    classes: dict[str, ast.ClassDef],
    edits: _Edits,
) -> None:
    words = _keywords(decorator)
    edits.lines[decorator.lineno - 1] = "@_dataclass(kw_only=True)"
    application, extensible = words.get("application", "None"), words.get("extensible", "False")
    name = node.name
    bind = f"asn1.bind({name}, {application}, {extensible}, read_{name}, write_{name})"
    edits.after[_last(node)] = [_init_line(source, node, classes, True) or "", bind]


def _add_imports(tree: ast.Module, edits: _Edits, imports: list[str]) -> None:
    """Put imports before the first one, on its line; without any, behind the docstring."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            at = node.lineno - 1
            edits.lines[at] = "; ".join([*imports, edits.lines[at]])
            return
    edits.after[(tree.body[0].end_lineno or 1) - 1] = ["; ".join(imports)]


def _mark_constants(tree: ast.Module, edits: _Edits) -> bool:
    """Make module-level names in capitals Final, where their value is a literal."""
    found = False
    assigned: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assigned[node.id] = assigned.get(node.id, 0) + 1
    for node in tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = node.targets[0]
        if not isinstance(target, ast.Name) or not target.id.isupper() or assigned[target.id] > 1:
            continue
        if not isinstance(node.value, ast.Constant) or node.lineno != node.end_lineno:
            continue
        at = node.lineno - 1
        line = edits.lines[at]
        edits.lines[at] = line[: target.end_col_offset] + ": _Final" + line[target.end_col_offset :]
        found = True
    return found


def _drop_transform(tree: ast.Module, edits: _Edits) -> None:
    """Take `dataclass_transform` away: it writes to the function, which compiled ones forbid."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if ast.unparse(decorator).startswith("dataclass_transform("):
                    edits.lines[decorator.lineno - 1] = "#"


def _fields(source: str, node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[_Field]:
    """List a dataclass's fields, inherited ones first."""
    found: dict[str, _Field] = {}
    for base in node.bases:
        name = base.id if isinstance(base, ast.Name) else ""
        if name in classes:
            for inherited in _fields(source, classes[name], classes):
                found[inherited.name] = inherited
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        annotation = ast.unparse(statement.annotation)
        if annotation.startswith(("ClassVar", "Final")):
            continue
        default, factory, init = _default(statement.value)
        found[statement.target.id] = _Field(
            name=statement.target.id,
            annotation=annotation,
            default=default,
            factory=factory,
            init=init,
        )
    return list(found.values())


def _default(value: ast.expr | None) -> tuple[str | None, str | None, bool]:
    """Return a field's default, its default_factory, and whether __init__ takes it."""
    if not isinstance(value, ast.Call):
        return (None if value is None else ast.unparse(value)), None, True
    called = ast.unparse(value.func)
    words = {word.arg or "": ast.unparse(word.value) for word in value.keywords}
    if called == "asn1.received":
        return "b''", None, words.get("init") == "True"
    if called not in ("field", "asn1.explicit", "asn1.implicit", "asn1.plain"):
        return ast.unparse(value), None, True
    return words.get("default"), words.get("default_factory"), words.get("init") != "False"


def _init_line(
    source: str, node: ast.ClassDef, classes: dict[str, ast.ClassDef], kw_only: bool
) -> str | None:
    """Write the `__init__` of a dataclass on one line; None when it has one."""
    methods = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
    if "__init__" in methods:
        return None
    fields = _fields(source, node, classes)
    parameters: list[str] = ["self"]
    body: list[str] = []
    if kw_only and any(f.init for f in fields):
        parameters.append("*")
    for f in fields:
        if f.factory is not None:
            made = {"dict": "{}", "list": "[]"}.get(f.factory, f"{f.factory}()")
            if f.init:
                parameters.append(f"{f.name}: {f.annotation} | None = None")
                body.append(f"self.{f.name} = {made} if {f.name} is None else {f.name}")
            else:
                body.append(f"self.{f.name} = {made}")
        elif not f.init:
            if f.default is not None:
                body.append(f"self.{f.name} = {f.default}")
        else:
            given = "" if f.default is None else f" = {f.default}"
            parameters.append(f"{f.name}: {f.annotation}{given}")
            body.append(f"self.{f.name} = {f.name}")
    if "__post_init__" in methods:
        body.append("self.__post_init__()")
    indent = " " * (node.col_offset + 4)
    head = f"{indent}def __init__({', '.join(parameters)}) -> None: "
    return head + "; ".join(body or ["pass"]) + "  # type: ignore[misc]"
