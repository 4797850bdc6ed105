"""Fuzz one target for a while: `python -m tests.fuzz.run TARGET --seconds 600`; `all` for each.

With atheris (requirements-fuzz.lock, a virtual environment of its own) libFuzzer looks for new
paths through the code; without it the seeded mutator alone damages the recorded inputs. An input
that breaks the target's invariant is written to --artifacts, and the exit status is 1.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.targets import CORPUS, TARGETS, corpus, load

# The mutator is imported where it is used: it imports `pki`, and what is imported before atheris
# instruments imports is never instrumented.

MAX_INPUT_BYTES = 8192
ONE_INPUT_S = 10  # libFuzzer stops at an input slower than this
MEMORY_MB = 2048
_CHILD = "KEYTRUST_FUZZ_CHILD"


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        return None


def fuzz_with_atheris(
    atheris: Any, target: str, seconds: int, seed: int, found: Path, artifacts: Path
) -> None:
    """Run libFuzzer in this process; it ends the process itself."""
    with atheris.instrument_imports(include=["pki", "directory", "kdc", "tenant"]):
        one = load(target)
        from tests.fuzz.mutators import mutate, seeded
    seeds = corpus(target)

    def custom_mutator(data: bytes, max_size: int, chosen: int) -> bytes:
        # Half of the damage is libFuzzer's own, which knows what the code compares with.
        if chosen % 2:
            return bytes(atheris.Mutate(data, max_size))
        return mutate(seeded(chosen), data, seeds, max_bytes=max_size)

    atheris.Setup(
        [
            target,
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={ONE_INPUT_S}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-artifact_prefix={artifacts}/{target}-",
            "-print_final_stats=1",
            "-verbosity=1",
            str(found),
            str(CORPUS / target),
        ],
        one,
        custom_mutator=custom_mutator,
    )
    atheris.Fuzz()


def fuzz_plainly(
    one: Callable[[bytes], None],
    inputs: Sequence[bytes],
    *,
    seed: object,
    until: Callable[[int], bool],
) -> tuple[int, bytes | None, Exception | None]:
    """Damage the inputs until told to stop: (count, the input that broke it, how)."""
    from tests.fuzz.mutators import mutate, seeded

    rng = seeded(seed)
    count = 0
    while not until(count):
        data = mutate(rng, rng.choice(inputs), inputs, max_bytes=MAX_INPUT_BYTES)
        count += 1
        try:
            one(data)
        except Exception as error:  # noqa: BLE001 - any exception is the finding
            return count, data, error
    return count, None, None


def _run_plainly(target: str, seconds: int, seed: int, artifacts: Path) -> int:
    one = load(target)
    end = time.monotonic() + seconds
    count, broke, error = fuzz_plainly(
        one, corpus(target), seed=f"{target} {seed}", until=lambda _: time.monotonic() >= end
    )
    print(f"{target}: {count} inputs without atheris, seed {seed}")
    if broke is None:
        return 0
    path = artifacts / f"{target}-broken"
    path.write_bytes(broke)
    print(f"{target}: {type(error).__name__}: {error}; input in {path}")
    return 1


def _run_child(target: str, options: argparse.Namespace) -> int:
    """Run atheris in a process of its own: it ends the process it runs in."""
    command = [sys.executable, "-m", "tests.fuzz.run", target, "--seconds", str(options.seconds)]
    command += ["--seed", str(options.seed), "--artifacts", str(options.artifacts)]
    return subprocess.run(command, env={**os.environ, _CHILD: "1"}, check=False).returncode


def main() -> int:
    """Run one target, or all, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=(*TARGETS, "all"))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--artifacts", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    options.artifacts.mkdir(parents=True, exist_ok=True)
    atheris = _atheris()
    if os.environ.get(_CHILD):
        with tempfile.TemporaryDirectory(prefix="keytrust-fuzz-found-") as found:
            fuzz_with_atheris(
                atheris,
                options.target,
                options.seconds,
                options.seed,
                Path(found),
                options.artifacts,
            )
        return 0
    failed = []
    for target in TARGETS if options.target == "all" else (options.target,):
        if atheris is not None:
            status = _run_child(target, options)
        else:
            status = _run_plainly(target, options.seconds, options.seed, options.artifacts)
        if status:
            failed.append(target)
    print(f"failed: {', '.join(failed)}" if failed else "no finding")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
