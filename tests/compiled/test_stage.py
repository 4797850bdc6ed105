"""What is written for mypyc (compiled/stage.py): the same program, on the same lines."""

import ast
import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from compiled.modules import SHIPPED, compiled_files, open_classes
from compiled.stage import staged

ROOT = Path(__file__).parents[2]
FILES = compiled_files(ROOT)
OPEN = open_classes(ROOT)


def _module(name: str) -> ModuleType:
    return importlib.import_module(name.removesuffix(".py").replace("/", "."))


def _functions(source: str) -> dict[tuple[str, int], str]:
    """(name, line) -> the body of each function that was written by hand."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name, node.lineno] = ast.dump(ast.Module(node.body, []))
    return found


@pytest.mark.parametrize("name", FILES)
def test_functions_are_the_same_on_the_same_lines(name: str) -> None:
    """Rules 1 and 2: nothing inside a function changes, so tracebacks are right."""
    source = (ROOT / name).read_text("utf-8")
    after = _functions(staged(source, _module(name), OPEN))
    for key, body in _functions(source).items():
        assert after[key] == body


def test_init_in_words_has_the_fields_and_their_defaults() -> None:
    """Rule 2: what dataclasses would make."""
    source = '''"""Text."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Both:
    a: int
    b: str = "x"
    c: dict[str, int] = field(default_factory=dict)
    d: bytes | None = field(default=None, init=False)
'''
    text = staged(source, ModuleType("both"))
    scope: dict[str, type] = {}
    exec(compile(text, "both", "exec"), scope)  # noqa: S102  it was written just above
    made = scope["Both"]
    assert "slots" not in text
    for give in ({"a": 1}, {"a": 1, "b": "y", "c": {"z": 2}}):
        one = made(**give)
        assert (one.a, one.b, one.c, one.d) == (1, give.get("b", "x"), give.get("c", {}), None)
    assert made(a=1) == made(a=1, c={})
    with pytest.raises(TypeError):
        made()


def test_two_kinds_of_exception_under_one_name_are_refused() -> None:
    """Mypyc gives a name one type: the second would be a TypeError when it is caught."""
    source = '''"""Text."""


def f() -> None:
    try:
        pass
    except OSError as error:
        print(error)
    except ValueError as error:
        print(error)
'''
    with pytest.raises(ValueError, match="another kind of 'error'"):
        staged(source, ModuleType("two"))


def test_a_generator_that_would_be_a_list_is_refused() -> None:
    """Mypyc makes one with a name a list: `any` would come after all of its work."""
    source = """def f(asked: list[str]) -> bool:
    found = (print(one) for one in asked)
    return any(found)
"""
    with pytest.raises(ValueError, match="'found' would be a list"):
        staged(source, ModuleType("lazy"))
    inside = """def f(asked: list[str]) -> bool:
    return any(print(one) for one in asked)
"""
    assert staged(inside, ModuleType("lazy")) == inside


def test_a_field_of_a_builtin_that_mypyc_does_not_find_is_refused() -> None:
    """It would be looked for in the module: a KeyError when that is imported."""
    source = """@dataclass(slots=True)
class One:
    a: object = None
"""
    with pytest.raises(ValueError, match="no field can be 'object' alone"):
        staged(source, ModuleType("one"))
    staged(source.replace("object", "object | None"), ModuleType("one"))


def test_what_the_wheel_holds_is_what_is_searched_for_subclasses() -> None:
    """A class without its mark cannot be inherited from by what stays interpreted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(SHIPPED) == set(wheel["packages"])


def test_no_compiled_file_lies_beside_source() -> None:
    """It would be imported in the place of what somebody edits."""
    assert [p for name in SHIPPED for p in (ROOT / name).rglob("*.so")] == []
