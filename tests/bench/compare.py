"""AS and TGS replies per second of a KDC's own processor time: ours beside MIT's and Heimdal's.

    python -m tests.bench.compare --folder F [--rounds 3] [--mit PREFIX] [--keytrust KDC]
        [--heimdal ROOT] [--json F] [--markdown F]

All KDCs run at the same time, each one process on core 0, and are loaded in turn by `kdc load`,
which sits on the other cores: every request distinct and made beforehand, 16 outstanding, UDP, a
sample of the replies verified fully. Before each kind of work of a round `openssl speed` says what
the core can do at this moment; R is the rate divided by its RSA-2048 signatures per second. Our
server runs complete: replay and retransmit memory, audit, store, PAC. A KDC that is not on the
machine is left out, and the output says so. Compare ratios: they are medians over rounds of figures
taken in one round.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.bench.rivals import (
    KDC_CORE,
    SERVICE,
    MissingError,
    Rival,
    heimdal_in,
    keytrust,
    mit_from,
)

OURS: Final = "Keytrust"
WHEEL: Final = "Keytrust wheel"
_ROOT: Final = Path(__file__).parents[2]

WORK: Final = {
    "modp14": 600,
    "modp14+nonce": 800,
    "p256": 1000,
    "p256+nonce": 2000,
    "password": 3000,
    "tgs": 2500,
}
"""Kinds of work and how many requests a round has of each: about a second for each KDC."""

GOALS: Final = {
    ("modp14", "MIT 1.20"): 3.0,
    ("p256", "MIT 1.22"): 2.0,
    ("password", "MIT 1.20"): 0.35,
    ("tgs", "MIT 1.20"): 0.3,
}
"""The ratios that must be reached (issue 8), by work and the beginning of a rival's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One load of one KDC."""

    kdc: str
    work: str
    round: int
    per_cpu_s: float
    """Tickets per second of the KDC's processor time."""
    signs_per_s: float
    """RSA-2048 signatures per second of `openssl speed` on that core, just before the turns."""


_TRIES: Final = 5
"""Of a turn, when a KDC's known flaw shows in the sample."""


def signs_per_s() -> float:
    """Measure RSA-2048 signatures per second of processor time on the KDC's core."""
    command = ["openssl", "speed", "-seconds", "1", "rsa2048"]
    if (os.cpu_count() or 1) > 1:
        command = ["taskset", "-c", str(KDC_CORE), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = re.search(r"^rsa +2048 bits +\S+ +\S+ +([\d.]+)", done.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"openssl speed said: {done.stdout}")
    return float(found[1])


def load(rival: Rival, work: str, count: int) -> float:
    """Put a load on a KDC; return tickets per second of its processor time."""
    if work == "tgs":
        what = ["tgs", "--service", SERVICE]
    else:
        what = ["as", "--mix", work if work == "password" else f"{rival.trust}-{work}"]
    command = [sys.executable, "-m", "kdc", "load", *what, *rival.options, "--json"]
    if work not in ("tgs", "password"):
        command += ["--keys", str(rival.keys)]
    command += ["--closed", "16", "--count", str(count), "--kdc-pid", str(rival.pid)]
    cores = {*range(os.cpu_count() or 1)} - {KDC_CORE} or {KDC_CORE}
    for _ in range(_TRIES):
        done = subprocess.run(
            command,
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        if done.returncode == 0 or not rival.flaw or rival.flaw not in done.stderr:
            break
        print(f"once more: {rival.name}, {work}: {rival.flaw}", file=sys.stderr)
    if done.returncode:
        raise SystemExit(f"{rival.name}, {work}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    total, rate = result["total"], result["kdc"]["tickets_per_cpu_s"]
    if rate is None or total["tickets"] < 0.99 * total["requests"]:
        raise SystemExit(f"{rival.name}, {work}: not all got tickets: {total['ends']}")
    return float(rate)


def rounds(rivals: list[Rival], works: list[str], number: int) -> list[Measured]:
    """Load KDCs in turn with the kinds of work that each can do."""
    found: list[Measured] = []
    for turn in range(number):
        for work in works:
            signs = signs_per_s()
            # Every other round in the other order, so that no KDC always comes first.
            for rival in rivals if turn % 2 == 0 else reversed(rivals):
                if work not in rival.works:
                    continue
                rate = load(rival, work, WORK[work])
                found.append(
                    Measured(
                        kdc=rival.name,
                        work=work,
                        round=turn,
                        per_cpu_s=round(rate, 1),
                        signs_per_s=signs,
                    )
                )
                said = f"round {turn + 1}: {rival.name} {work} {rate:.0f} per CPU second"
                print(f"{said}, R {rate / signs:.3g}", file=sys.stderr)
    return found


def ratios(found: list[Measured], work: str, ours: str, theirs: str) -> list[float]:
    """Return the rates of one KDC over those of another, round by round."""
    by_round = {(one.kdc, one.round): one.per_cpu_s for one in found if one.work == work}
    return [
        rate / by_round[theirs, turn]
        for (kdc, turn), rate in by_round.items()
        if kdc == ours and (theirs, turn) in by_round
    ]


def table(rivals: list[Rival], works: list[str], found: list[Measured]) -> list[list[str]]:
    """Make the rows of the table: for each work the medians, R, and our ratio to each other KDC."""
    ours = [rival.name for rival in rivals if rival.name.startswith(OURS)]
    others = [rival.name for rival in rivals if rival.name not in ours]
    names = [*others, *ours]
    pairs = [(one, other) for one in ours for other in others]
    pairs += [(wheel, OURS) for wheel in ours if wheel != OURS]
    head = ["work", *(f"{n} per CPU s (R)" for n in names), *(f"{a} / {b}" for a, b in pairs)]
    rows = [[*head, "must"]]
    for work in works:
        row = [work]
        for name in names:
            got = [one for one in found if (one.kdc, one.work) == (name, work)]
            rate = statistics.median(one.per_cpu_s for one in got) if got else 0.0
            r = statistics.median(one.per_cpu_s / one.signs_per_s for one in got) if got else 0.0
            row.append(f"{rate:.0f} ({r:.3g})" if got else "-")
        for one, other in pairs:
            both = ratios(found, work, one, other)
            row.append(f"{statistics.median(both):.2f}" if both else "-")
        goals = [
            f"{goal:g} x {name}"
            for (kind, of), goal in GOALS.items()
            for name in others
            if kind == work and name.startswith(of)
        ]
        rows.append([*row, ", ".join(goals) or "-"])
    return rows


def markdown(rows: list[list[str]]) -> str:
    """Write the table as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default="modp14,p256,password,tgs")
    parser.add_argument(
        "--mit",
        action="append",
        default=[],
        type=Path,
        metavar="PREFIX",
        help="another build of MIT's, by the prefix it is installed in; may be repeated",
    )
    parser.add_argument(
        "--keytrust",
        action="append",
        default=[],
        metavar="KDC",
        help="measure a further `kdc` of ours beside this tree's, that of an installed wheel;"
        " may be repeated",
    )
    parser.add_argument("--heimdal", type=Path, help="where Heimdal's packages are unpacked")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = options.folder.resolve()
    works = options.work.split(",")
    left_out: list[str] = []
    rivals: list[Rival] = []
    heimdal = heimdal_in(options.heimdal.resolve() if options.heimdal else None)
    servers = {
        "mit": mit_from(),
        **{f"mit{n}": mit_from(prefix.resolve()) for n, prefix in enumerate(options.mit, 1)},
        "heimdal": heimdal,
        "keytrust": keytrust(),
    }
    for number, program in enumerate(options.keytrust, 1):
        servers[f"wheel{number}"] = keytrust(f"{WHEEL} {number}", program=program)
    with contextlib.ExitStack() as stack:
        for name, serve in servers.items():
            try:
                rivals.append(stack.enter_context(serve(folder / name)))
            except MissingError as error:
                left_out.append(str(error))
                print(f"left out: {error}", file=sys.stderr)
        found = rounds(rivals, works, options.rounds)
    shown = markdown(table(rivals, works, found))
    shown += "".join(f"\n{rival.name}: {rival.version}\n" for rival in rivals)
    shown += "".join(f"\nLeft out: {why}\n" for why in left_out)
    print(shown, end="")
    if options.markdown:
        options.markdown.write_text(shown)
    if options.json:
        about = {rival.name: rival.version for rival in rivals}
        result = {
            "format": "keytrust-compare/1",
            "kdcs": about,
            "left_out": left_out,
            "measured": [asdict(one) for one in found],
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
