"""What the supervisor and a worker say to each other, over a pair of SOCK_SEQPACKET sockets.

One packet is one message: a word, and for FAILED the reason as JSON. An end of file means that the
other side is dead: the kernel closes its socket, however it died.
"""

import socket
from typing import Final

import msgspec

from kdc.server.service import EXIT_FAILED, StartError

MAX_CONTROL_BYTES: Final = 8192

# Worker to supervisor.
READY: Final = b"ready"
RELOADED: Final = b"reloaded"
RELOAD_FAILED: Final = b"reload failed"
FAILED: Final = b"failed "
ASK_RELOAD: Final = b"ask reload"
"""From a companion that has changed files which the others hold in memory."""

# Supervisor to worker.
DRAIN: Final = b"drain"
RELOAD: Final = b"reload"


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Return the supervisor's and the worker's end, both non-blocking."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def say(end: socket.socket, message: bytes) -> None:
    """Send a message; a dead or stuck other side is noticed elsewhere, not here."""
    try:
        end.send(message[:MAX_CONTROL_BYTES])
    except OSError:
        return


def encode_failure(error: StartError) -> bytes:
    """Return the FAILED message for a worker that cannot start."""
    return FAILED + msgspec.json.encode([error.what, error.why, error.remedy, error.exit_code])


def decode_failure(message: bytes) -> StartError:
    """Return the error a FAILED message carries."""
    try:
        what, why, remedy, exit_code = msgspec.json.decode(
            message[len(FAILED) :], type=tuple[str, str, str, int]
        )
    except msgspec.DecodeError:
        return StartError(
            "a worker cannot start",
            why="it gave a reason too long to pass on",
            remedy="see the log",
            exit_code=EXIT_FAILED,
        )
    return StartError(what, why=why, remedy=remedy, exit_code=exit_code)
