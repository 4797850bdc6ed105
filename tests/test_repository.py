"""What must be true of the tree itself: no host or machine in it, all pinned, rules complete."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = (
    "requirements.lock",
    "requirements-run.lock",
    "requirements-tools.lock",
    "requirements-ldaptools.lock",
    "requirements-roadtx.lock",
    "requirements-fuzz.lock",
)

# In parts, so that this file does not hold what it forbids.
_REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("deb", "debian", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
    )
)
_MACHINE_PATHS = tuple(f"/{name}/" for name in ("root", "work", "farm")) + tuple(
    f"/opt/{name}" for name in ("wheels", "pypi")
)
MAX_PYTHON_LINES = 600  # docs/architecture.md: a reason to split by stage
MAX_TEST_LINES = 800  # rows of cases are longer and read one at a time
MAX_FILE_BYTES = 1_000_000


def _tracked() -> tuple[Path, ...]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("this tree is no git repository")
    paths = (ROOT / name for name in done.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _python() -> tuple[Path, ...]:
    return tuple(path for path in _tracked() if path.suffix == ".py")


def _places(paths: tuple[Path, ...], pattern: str) -> list[str]:
    """file:line of every match."""
    compiled = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(_text(path).splitlines(), 1)
        if compiled.search(line)
    ]


def _alternatives(words: tuple[str, ...]) -> str:
    return "|".join(re.escape(word) for word in words)


def test_no_file_names_a_package_registry() -> None:
    """Packages come by name from whatever index the reader's machine uses."""
    assert _places(_tracked(), _alternatives(_REGISTRIES)) == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    """A path of one machine is wrong on every other."""
    assert _places(_tracked(), rf"(?<![\w.]){'(?:' + _alternatives(_MACHINE_PATHS) + ')'}") == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_each_entry_by_hash_and_nothing_else(name: str) -> None:
    """One exact version and at least one SHA-256 for each entry; no URL, host or index option."""
    text = (ROOT / name).read_text()
    entries = text.replace("\\\n", " ").splitlines()
    pinned = re.compile(r"[a-z0-9._-]+==[\w.!+]+(?: ;[^#]*?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [entry for entry in entries if not pinned.fullmatch(entry)] == []
    assert entries


def _versions(name: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE)
    return dict(found)


def test_the_run_time_lock_is_part_of_the_full_lock() -> None:
    """What ships is what was tested."""
    full = _versions("requirements.lock")
    run = _versions("requirements-run.lock")
    assert {name: full.get(name) for name in run} == run


def test_every_declared_dependency_is_locked() -> None:
    """pyproject.toml and the locks name the same packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = project["dependencies"]
    extra = [spec for specs in project["optional-dependencies"].values() for spec in specs]
    for specs, lock in ((run, "requirements-run.lock"), (run + extra, "requirements.lock")):
        names = {re.split(r"[<>=!~;\[ ]", spec, maxsplit=1)[0].lower() for spec in specs}
        assert names <= set(_versions(lock))


def test_every_suppression_names_what_it_suppresses() -> None:
    """`type: ignore` and `noqa` carry their codes."""
    bare = r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)"
    assert _places(_python(), bare) == []


def test_no_file_outgrows_its_limit() -> None:
    """Python modules stay readable; nothing large slips into the repository."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _python()
        if (lines := len(_text(path).splitlines()))
        > (MAX_TEST_LINES if path.is_relative_to(ROOT / "tests") else MAX_PYTHON_LINES)
    }
    large = [
        str(path.relative_to(ROOT)) for path in _tracked() if path.stat().st_size > MAX_FILE_BYTES
    ]
    assert (long, large) == ({}, [])


def test_every_folder_of_tests_is_a_package() -> None:
    """Without __init__.py, tests/kdc would be imported as `kdc` itself."""
    folders = {path.parent for path in _python() if path.is_relative_to(ROOT / "tests")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", ["scripts/lab", "scripts/test", ".ci/run"])
def test_a_script_is_executable_and_parses(name: str) -> None:
    """What the README tells a stranger to run."""
    path = ROOT / name
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_architecture_names_every_module() -> None:
    """The layout in docs/architecture.md is true: by name, or as one of a family such as store_*.

    Commands are named by their nouns, and `--help` lists those.
    """
    page = ROOT / "docs/architecture.md"
    if not page.exists():
        pytest.skip("no docs/architecture.md")
    names = set(re.findall(r"\w+\*?", page.read_text()))
    families = tuple(name[:-1] for name in names if name.endswith("_*"))
    missing = [
        str(path.relative_to(ROOT))
        for package in ("tenant", "kdc", "directory", "pki")
        for path in (ROOT / package).rglob("*.py")
        if not path.stem.startswith("__")
        and path.parts[len(ROOT.parts) + 1] != "cli"
        and path.stem not in names
        and not path.stem.startswith(families)
    ]
    assert not missing, f"name them in the layout of docs/architecture.md: {missing}"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """.ci/run = README's test command with CI=true."""
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md yet")
    last = (ROOT / ".ci/run").read_text().strip().splitlines()[-1]
    assert last == "CI=true ./scripts/test"
    assert re.search(r"^\s*(?:\$ )?\./scripts/test\b", readme.read_text(), re.MULTILINE)
    assert re.search(r"^\s*(?:\$ )?\./scripts/lab\b", readme.read_text(), re.MULTILINE)


def test_the_image_copies_only_what_exists() -> None:
    """Each COPY of the Dockerfile has its source, and .dockerignore lets it in."""
    allowed = {
        line[1:] for line in _text(ROOT / ".dockerignore").splitlines() if line.startswith("!")
    }
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", _text(ROOT / "Dockerfile"), re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if source not in allowed] == []


def test_the_image_starts_from_names_without_a_host_and_runs_without_root() -> None:
    """FROM name:tag; USER before the entry point."""
    text = _text(ROOT / "Dockerfile")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    assert [base for base in bases if not re.fullmatch(r"[a-z]+:[\w.-]+", base)] == []
    assert text.index("\nUSER kdc") < text.index("\nENTRYPOINT")


_PURE = (
    *("kdc.wire", "kdc.crypto", "kdc.pac", "kdc.policy", "kdc.trust", "kdc.exchange"),
    *("kdc.server.framing", "kdc.explain.tree", "kdc.core", "kdc.errors", "kdc.outcome"),
    *("directory.model", "directory.keycredential"),
)


def _exists(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_the_purity_contract_lists_every_pure_module() -> None:
    """Import rule 4 of docs/architecture.md; import-linter checks only what is listed."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in linter["contracts"] if c["name"].startswith("4 "))
    pki = {f"pki.{path.stem}" for path in (ROOT / "pki").glob("*.py")}
    wanted = {module for module in _PURE if _exists(module)} | pki - {"pki.__init__", "pki.ca"}
    assert wanted - set(contract["source_modules"]) == set()
