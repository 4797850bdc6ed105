"""One message to a KDC and its reply, by UDP or TCP, from a port that is known afterwards."""

import contextlib
import socket
from dataclasses import dataclass
from typing import Literal

Transport = Literal["udp", "tcp"]

MAX_REPLY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    reply: bytes | None
    """None: nothing within the time, or the connection was closed."""
    port: int
    """The local port: what an audit record calls IpPort."""


def _read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(min(65536, count - len(data)))
        if not piece:
            raise ConnectionError("closed by the KDC")
        data += piece
    return data


def read_framed(sock: socket.socket) -> bytes:
    """Read one reply from a TCP connection. Raises OSError."""
    size = int.from_bytes(_read_exactly(sock, 4), "big")
    if size > MAX_REPLY_BYTES:
        raise ConnectionError("a reply of an impossible length")
    return _read_exactly(sock, size)


def frame(message: bytes) -> bytes:
    """Put the length in front of a message (RFC 4120 7.2.2)."""
    return len(message).to_bytes(4, "big") + message


def send(
    address: tuple[str, int],
    message: bytes,
    transport: Transport,
    *,
    timeout_s: float = 5.0,
    raw: bool = False,
    source: tuple[str, int] | None = None,
) -> Answer:
    """Send a message and wait for its reply.

    raw: the message has its TCP length already, right or wrong. source: where to send it from.
    """
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(timeout_s)
        if source is not None:
            if transport == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(source)
        sock.connect(address)
        port = int(sock.getsockname()[1])
        reply = None
        with contextlib.suppress(OSError):
            if transport == "udp":
                sock.send(message)
                reply = sock.recv(65536)
            else:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    sock.sendall(message if raw else frame(message))
                reply = read_framed(sock)
        return Answer(reply=reply, port=port)
