"""Capture what passes on the loopback interface and let tshark judge it."""

import contextlib
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.rig import peers

_READY_S = 10.0
_DRAIN_S = 0.5  # tcpdump writes each packet at once; this lets the last one arrive
_TIMEOUT_S = 60
_MALFORMED_GROUP = str(0x07000000)  # epan/proto.h: PI_MALFORMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One Kerberos message as tshark dissects it."""

    number: int
    transport: str
    message_types: tuple[int, ...]
    padata_types: tuple[int, ...]
    error_code: int | None
    complaints: tuple[str, ...]
    """What tshark's malformed group says; "Malformed Packet" when it gave the message up."""
    protocols: str

    @property
    def malformed(self) -> bool:
        """Whether tshark could not dissect the message at all."""
        return any(text.startswith("Malformed Packet") for text in self.complaints)


@contextlib.contextmanager
def capture(file: Path, port: int) -> Iterator[None]:
    """Record the loopback traffic of one port into a pcap file while the block runs."""
    program = peers.system_program("tcpdump", "tcpdump")
    command = [program.path, "-i", "lo", "-U", "--immediate-mode", "-s", "0", "-Z", "root"]
    with subprocess.Popen(
        [*command, "-w", str(file), f"port {port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as tcpdump:
        try:
            _wait_until_listening(tcpdump)
            yield
            time.sleep(_DRAIN_S)
        finally:
            tcpdump.terminate()


def _wait_until_listening(tcpdump: "subprocess.Popen[bytes]") -> None:
    assert tcpdump.stderr is not None
    said = b""
    end = time.monotonic() + _READY_S
    while b"listening on" not in said:
        ready, _, _ = select.select([tcpdump.stderr], [], [], max(0.0, end - time.monotonic()))
        piece = tcpdump.stderr.read1(4096) if ready else b""  # type: ignore[attr-defined]  # BufferedReader
        if not piece:
            peers.missing("permission to capture on lo", said.decode(errors="replace").strip())
        said += piece


def dissect(file: Path, port: int) -> tuple[Frame, ...]:
    """Dissect a capture with tshark: every frame that carries Kerberos or is malformed."""
    program = peers.system_program("tshark", "tshark")
    fields = (
        "frame.number",
        "frame.protocols",
        "kerberos.msg_type",
        "kerberos.padata_type",
        "kerberos.error_code",
        "_ws.expert.group",
        "_ws.expert.message",
    )
    done = subprocess.run(
        [
            *(program.path, "-n", "-r", str(file), "-T", "fields", "-E", "separator=/t"),
            *("-E", "aggregator=~"),
            *("-d", f"udp.port=={port},kerberos", "-d", f"tcp.port=={port},kerberos"),
            *("-Y", "kerberos || _ws.malformed"),
            *(word for name in fields for word in ("-e", name)),
        ],
        env=peers.clean_environment({}),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(_frame(line) for line in done.stdout.splitlines() if line.strip())


def _frame(line: str) -> Frame:
    number, protocols, kinds, padata, error, groups, messages = line.split("\t")
    complaints = zip(groups.split("~"), messages.split("~"), strict=False)
    return Frame(
        number=int(number),
        transport="tcp" if ":tcp:" in protocols else "udp",
        message_types=_integers(kinds),
        padata_types=_integers(padata),
        error_code=_integers(error)[0] if error else None,
        complaints=tuple(text for group, text in complaints if group == _MALFORMED_GROUP),
        protocols=protocols,
    )


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("~") if part)
