"""The recorder: refused requests on disk, for `kdc explain`.

Rules
  1. It never stands between a client and its answer: no error leaves `record`, and a flood costs
     what a quiet hour costs (see the limits).
  2. No secret of ours is in a request. What an eavesdropper could attack offline is blanked first
     (`kdc.explain.redact`); the file is 0600 all the same, for names and addresses are in it.

Theory of operation. A record is one line of JSON, written by one `write` to a file opened with
O_APPEND: the kernel keeps the lines of several workers apart, and a worker killed with -9 leaves at
most one broken line, which readers skip. A file that has grown past `segment_bytes` becomes the
older of two, in place of the last older one; so the two together are a ring of twice that size.
The worker that notices first renames it, under a lock; the others see that their file is no longer
the one of that name, and open the new one.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from kdc.explain.frame import redact_frame
from kdc.explain.redact import redact
from kdc.outcome import Outcome, Peer

log = logging.getLogger(__name__)

FILE_NAME: Final = "refusals.jsonl"
"""In the state folder; the older half of the ring has ".1" before the suffix."""

SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""Half of the ring: some 1,500 PKINIT requests, or 6,000 small ones."""
MAX_MESSAGE_BYTES: Final = 32 * 1024
"""Of a message, kept; a PKINIT request with a chain has under 10 KB. The rest is cut off."""
MAX_RECORDS_PER_SECOND: Final = 50
MAX_RECORDS_PER_SOURCE: Final = 10
"""A second and worker. A flood then costs 1 ms a second, and one source cannot push out others'
records by its requests alone."""
MAX_TEXT_CHARS: Final = 256
MAX_FACTS: Final = 24
MAX_ITEMS: Final = 16
MAX_LINE_BYTES: Final = 128 * 1024

Scalar = str | int | float | bool | None
Fact = Scalar | list[Scalar]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One refused request, as it is kept."""

    reference: str
    """What the client was told: `[ref 7K3M]` in the e-text."""
    time: datetime
    address: str
    port: int
    transport: str
    exchange: str
    code: int
    why: str
    facts: dict[str, Fact]
    message: bytes
    """As received, but for what was blanked and what is over MAX_MESSAGE_BYTES."""
    length: int
    """How many octets were received."""
    redacted: bool = False
    """Whether something in it was blanked."""
    missed: int = 0
    """Refusals that were not kept just before this one, because there were too many."""


class RefusalRecorder:
    """The ring as one worker writes it."""

    def __init__(self, path: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open the file for appending, making it (0600) when it is missing. Raises OSError."""
        self._path = path
        self._segment_bytes = segment_bytes
        self._encoder = msgspec.json.Encoder()
        self._fd = _open(path)
        self._second = 0
        self._sources: dict[str, int] = {}
        self._count = 0
        self.missed = 0
        """Refusals not kept since the last one that was: over a limit, or not written."""
        self.failures = 0
        """Records that the disk did not take, since the start."""

    def record(self, message: bytes, peer: Peer, now: datetime, outcome: Outcome) -> None:
        """Keep a refused request. What has no reference is no refusal, and is not kept.

        now: the clock reading of the request. Never raises.
        """
        if not outcome.reference:
            return
        if not self._may_record(peer.address, int(now.timestamp())):
            self.missed += 1
            return
        try:
            line = self._encode(message, peer, now, outcome)
            written = os.write(self._fd, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, "short write")
            if os.lseek(self._fd, 0, os.SEEK_CUR) > self._segment_bytes:
                self._turn_over()
        except Exception as error:  # noqa: BLE001  rule 1: an explanation is not worth an answer
            self.missed += 1
            self.failures += 1
            if self.failures & (self.failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                log.error(
                    "refusal not recorded: %s; %d so far", type(error).__name__, self.failures
                )
            return
        self.missed = 0

    def reopen(self) -> None:
        """Open the file anew by its name, after it was moved or removed. Raises OSError."""
        fd = _open(self._path)
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        """Close the file; what is recorded stays in it."""
        os.close(self._fd)

    def _may_record(self, source: str, second: int) -> bool:
        if second != self._second:
            self._second = second
            self._count = 0
            self._sources.clear()
        of_source = self._sources.get(source, 0)
        if self._count >= MAX_RECORDS_PER_SECOND or of_source >= MAX_RECORDS_PER_SOURCE:
            return False
        self._count += 1
        self._sources[source] = of_source + 1
        return True

    def _encode(self, message: bytes, peer: Peer, now: datetime, outcome: Outcome) -> bytes:
        kept = redact_frame(message) if peer.service == "kpasswd" else redact(message)
        names = list(outcome.facts)[:MAX_FACTS]
        refusal = Refusal(
            reference=outcome.reference,
            time=now,
            address=peer.address,
            port=peer.port,
            transport=peer.transport,
            exchange=outcome.exchange,
            code=outcome.code,
            why=outcome.why,
            facts={name: _fact(outcome.facts[name]) for name in names},
            message=kept[:MAX_MESSAGE_BYTES],
            length=len(message),
            redacted=kept is not message,
            missed=self.missed,
        )
        # A newline on both sides: a line cut off by a kill or a full disk spoils no other.
        return b"\n%b\n" % self._encoder.encode(refusal)

    def _turn_over(self) -> None:
        """Make the full file the older half and begin a new one, unless somebody else has."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            ours = os.fstat(self._fd).st_ino
            try:
                named = os.stat(self._path).st_ino
            except FileNotFoundError:
                named = -1
            if named == ours:
                os.replace(self._path, older_path(self._path))
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.reopen()


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    if os.fstat(fd).st_mode & 0o077:
        os.fchmod(fd, 0o600)
    return fd


def _fact(value: object) -> Fact:
    """Return a fact in a form that can be kept; of an object of unknown kind only its type."""
    if isinstance(value, list | tuple):
        return [_scalar(item) for item in value[:MAX_ITEMS]]
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    if isinstance(value, str):
        # A lone surrogate (an octet that was no UTF-8) is no JSON.
        return str(value)[:MAX_TEXT_CHARS].encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() < 63 else hex(value)[:MAX_TEXT_CHARS]
    if isinstance(value, bytes):
        return value[: MAX_TEXT_CHARS // 2].hex()
    return f"<{type(value).__name__}>"


# -- reading ---------------------------------------------------------------------------------


def older_path(path: Path) -> Path:
    """Return the name of the older half of a ring."""
    return path.with_name(f"{path.stem}.1{path.suffix}")


def read_refusals(path: Path) -> Iterator[Refusal]:
    """Yield the refusals of a ring, the newest first; broken lines are skipped.

    Raises OSError when a file cannot be read; one that is missing is empty.
    """
    decoder = msgspec.json.Decoder(Refusal)
    for part in (path, older_path(path)):
        try:
            with part.open("rb") as file:
                # A writer may be some records past the bound when it notices.
                data = file.read(SEGMENT_BYTES + 64 * MAX_LINE_BYTES)
        except FileNotFoundError:
            continue
        for line in reversed(data.split(b"\n")):
            if not line:
                continue
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, ValueError):
                continue


def find_refusal(path: Path, reference: str) -> Refusal | None:
    """Find the newest refusal with this reference, in any case. Raises OSError."""
    wanted = reference.strip().strip("[]").removeprefix("ref").strip().upper()
    return next((r for r in read_refusals(path) if r.reference == wanted), None)


def last_refusal(
    path: Path, *, is_test: Callable[[Refusal], bool] = lambda refusal: False
) -> Refusal | None:
    """Return the newest refusal. Raises OSError.

    is_test: tells which were provoked: one of them is taken only when there are no others.
    """
    newest = None
    for refusal in read_refusals(path):
        if not is_test(refusal):
            return refusal
        newest = newest or refusal
    return newest
