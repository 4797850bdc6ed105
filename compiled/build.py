"""Stage the tree, let mypyc write C, compile it: `python -m compiled.build ROOT FOLDER`.

FOLDER gets `out/`, the extension modules as they lie in a wheel, and `wheel.json`, which maps each
to its place. Runs as a process of its own: mypy reads modules from the current directory.
"""

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mypyc.build import mypycify

from compiled.modules import PACKAGES, compiled_files, open_classes
from compiled.stage import staged

GROUP = "keytrust_kdc"
"""The extension that holds all code, as `keytrust_kdc__mypyc`; the others only name modules."""

OPTIMIZE = "2"
FLAGS = ("-fvisibility=hidden",)
"""Hidden: calls from one module to another need no table, and nobody else calls these functions."""

_MYPY_SETTINGS = """\
[mypy]
# Types were checked strictly in the source. What staging writes uses functions before their place.
disable_error_code = used-before-def
"""


def _compile(sources: list[tuple[str, list[str]]], objects: Path) -> dict[str, str]:
    """Compile C files side by side; return {source: object file}.

    sources: each with the flags of its extension.
    """
    setting = sysconfig.get_config_vars()
    command = [
        *shlex.split(os.environ.get("CC") or setting["CC"]),
        *shlex.split(setting["CFLAGS"]),
        *shlex.split(setting["CCSHARED"]),
        f"-I{setting['INCLUDEPY']}",
    ]
    made = {source: str(objects / f"{number}.o") for number, (source, _) in enumerate(sources)}

    def compile_one(job: tuple[str, list[str]]) -> None:
        source, flags = job
        _run([*command, *flags, "-c", source, "-o", made[source]])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(compile_one, sources))
    return made


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)  # noqa: S603  the compiler this Python was made with


def stage(root: Path, folder: Path) -> list[str]:
    """Copy the packages into a folder, with the texts to compile; return those files."""
    files = compiled_files(root)
    for package in PACKAGES:
        shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("*.pyc"))
    opened = open_classes(root)
    for name in files:
        module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
        found = Path(str(module.__file__)).resolve()
        if found != (root / name).resolve():
            raise SystemExit(f"error: {name} was imported from {found}, not from this tree")
        (folder / name).write_text(
            staged((root / name).read_text("utf-8"), module, opened), "utf-8"
        )
    return files


def build(root: Path, folder: Path) -> dict[str, str]:
    """Build all extension modules; return {file made: its place in the wheel}."""
    began = time.monotonic()
    stage_folder, out = folder / "stage", folder / "out"
    files = stage(root, stage_folder)
    _say(f"{len(files)} modules staged", began)
    settings = folder / "mypy.ini"
    settings.write_text(_MYPY_SETTINGS, "utf-8")
    os.chdir(stage_folder)
    everything = sorted(str(p) for name in PACKAGES for p in Path(name).rglob("*.py"))
    extensions = mypycify(
        ["--config-file", str(settings), *everything],
        only_compile_paths=files,
        opt_level=OPTIMIZE,
        debug_level="0",
        multi_file=True,
        target_dir=str(folder / "c"),
        group_name=GROUP,
    )
    _say("C written", began)
    objects = folder / "objects"
    objects.mkdir()
    flags = {
        extension.name: [
            *extension.extra_compile_args,
            *FLAGS,
            *(f"-I{path}" for path in extension.include_dirs),
        ]
        for extension in extensions
    }
    compiled = _compile([(c, flags[e.name]) for e in extensions for c in e.sources], objects)
    link = shlex.split(os.environ.get("LDSHARED") or sysconfig.get_config_vars()["LDSHARED"])
    suffix = sysconfig.get_config_vars()["EXT_SUFFIX"]
    places: dict[str, str] = {}
    for extension in extensions:
        place = extension.name.replace(".", "/") + suffix
        target = out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        _run([*link, *(compiled[c] for c in extension.sources), "-o", str(target)])
        places[str(target)] = place
    _say("compiled", began)
    return places


def _say(what: str, began: float) -> None:
    print(f"  {what}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    """Run it."""
    root, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    made = build(root, folder)
    (folder / "wheel.json").write_text(json.dumps(made), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
