"""A realm and a server of it for a measurement, and what the system knows of its processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.rig.realm import free_port

REALM: Final = "BENCH.TEST"
PASSWORD: Final = "Correct-Horse-7"  # noqa: S105  of a realm that lives for one measurement
_ROOT: Final = Path(__file__).parents[2]

_PROGRAM: Final = (
    [os.environ["BENCH_KDC"]] if "BENCH_KDC" in os.environ else [sys.executable, "-m", "kdc"]
)
"""The program that is measured: this tree's, or the `kdc` that BENCH_KDC names, of a wheel that is
installed elsewhere."""

_ABOUT: Final = "import platform; print('Python', platform.python_version())"


def version(program: str | None = None) -> str:
    """Return what `kdc --version` says, and the Python that runs it."""
    command = [program] if program else _PROGRAM
    done = subprocess.run(
        [*command, "--version"], cwd=_ROOT, check=True, text=True, capture_output=True
    )
    # The first line of an installed command names its interpreter.
    named = Path(command[0]).read_text().splitlines()[0][2:] if len(command) == 1 else command[0]
    python = subprocess.run([named, "-c", _ABOUT], check=True, text=True, capture_output=True)
    return f"{done.stdout.strip()}, {python.stdout.strip()}"


def kdc(*arguments: str, text: str | None = None) -> None:
    """Run one command of `kdc`."""
    subprocess.run(
        [*_PROGRAM, *arguments],
        cwd=_ROOT,
        check=True,
        input=text,
        text=True,
        stdout=subprocess.DEVNULL,
    )


def make_realm(
    folder: Path, *, key_users: int = 4, kdc_key: str = "rsa2048", settings: str = ""
) -> None:
    """Make BENCH.TEST with `pat` (password) and users `user0000`... with Hello keys in `keys`.

    kdc_key: of the KDC's certificate. settings: lines to add to its kdc.toml. A folder that has a
    realm already is left as it is.
    """
    if (folder / "kdc.toml").exists():
        return
    state = ("--state", str(folder))
    kdc("init", "--realm", REALM, "--kdc-key", kdc_key, *state)
    kdc("user", "add", "pat", "--password-stdin", *state, text=PASSWORD + "\n")
    kdc("user", "bulk-add", "--count", str(key_users), "--keys", str(folder / "keys"), *state)
    with (folder / "kdc.toml").open("a") as config:
        config.write('exempt_sources = ["127.0.0.0/8"]\n' + settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    supervisor: subprocess.Popen[str]
    address: tuple[str, int]
    log: Path

    def workers(self) -> list[int]:
        """Return the pids of the workers that are alive: the children that listen."""
        pid = self.supervisor.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        sockets = _sockets_of_port(self.address[1])
        return [int(child) for child in children if sockets & _files(int(child))]

    def counters(self) -> dict[str, int]:
        """Return the counters over all workers, asked for with SIGUSR1."""
        before = self.log.read_text().count("counters: ")
        self.supervisor.send_signal(signal.SIGUSR1)
        for _ in range(100):
            lines = [line for line in self.log.read_text().splitlines() if "counters: " in line]
            if len(lines) > before:
                return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", lines[-1])}
            time.sleep(0.02)
        raise TimeoutError("no counters in the log")


def _sockets_of_port(port: int) -> set[str]:
    """Return the UDP sockets bound to a port, as links in /proc/PID/fd show them."""
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if int(row[1].partition(":")[2], 16) == port}


def _files(pid: int) -> set[str]:
    out = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # A file may be closed meanwhile.
        with suppress(OSError):
            out.add(os.readlink(link))
    return out


@contextmanager
def serving(
    folder: Path, *, workers: int, cores: set[int] | None = None, program: str | None = None
) -> Iterator[Server]:
    """Run `kdc serve` on a free port, on some cores only; its log is `log` in the folder.

    program: another `kdc` than that which is measured otherwise.
    """
    log = folder / "log"
    command = [*([program] if program else _PROGRAM), "serve", "--state", str(folder)]
    with log.open("w") as errors:
        supervisor = subprocess.Popen(
            [*command, "--listen", f"127.0.0.1:{free_port()}", "--workers", str(workers)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Before the workers are forked, so that they inherit it.
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )
    try:
        ready = supervisor.stdout.readline() if supervisor.stdout else ""
        found = re.search(r"127\.0\.0\.1:(\d+) ", ready)
        if found is None:
            raise RuntimeError(f"the server did not start: {log.read_text()}")
        yield Server(supervisor=supervisor, address=("127.0.0.1", int(found[1])), log=log)
    finally:
        supervisor.terminate()
        supervisor.wait(15)


def cpu_s(pids: list[int]) -> float:
    """Return the seconds that processes have spent on a core."""
    total = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids)
    return total / 1e9


def run_queue_s(pids: list[int]) -> float:
    """Return the seconds that processes were ready to run but others had their core."""
    total = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids)
    return total / 1e9


def resident_kib(pid: int) -> int:
    """Return the anonymous memory of a process in KiB; what files are mapped does not count."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def private_mappings(pid: int) -> dict[str, int]:
    """Return the resident anonymous memory of each mapping of a process in KiB, by its address."""
    sizes: dict[str, int] = {}
    place = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := re.match(r"([0-9a-f]+)-[0-9a-f]+ .... \S+ \S+ \S+ *(.*)", line):
            place = f"{head[1]} {head[2] or 'anonymous'}"
        elif found := re.match(r"Anonymous: +(\d+) kB", line):
            sizes[place] = sizes.get(place, 0) + int(found[1])
    return {place: size for place, size in sizes.items() if size}


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
