"""CONNECT: how clients with HTTPS_PROXY reach the tenant under Microsoft's names.

Nothing is ever dialled. The answer to CONNECT with one of our names is that this very connection
becomes a connection to our HTTPS; any other name is refused with 403, so that a client which strays
from the lab is told so instead of being let out.

Source: RFC 9110 9.3.6.
"""

import asyncio
import re
import socket
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

MAX_HEAD_BYTES: Final = 8192
"""Of the request line and all headers: a proxy's clients send four or five short ones."""

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (\S{1,300}) HTTP/1\.[01]")
_AUTHORITY = re.compile(rb"([A-Za-z0-9.-]{1,253}):(\d{1,5})")
_HTTPS_PORT: Final = 443


@dataclass(slots=True)
class ConnectError(Exception):
    """The request is not taken: a status and one fixed phrase. 0: the client is gone."""

    status: int
    why: str
    host: str = ""


async def read_connect(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, names: Container[str]
) -> str:
    """Read a CONNECT request and return the host that it names; the answer is not sent yet.

    names: the hosts that are here, in lower case. Time is bounded by the caller.
    Raises ConnectError, OSError.
    """
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > MAX_HEAD_BYTES:
            raise ConnectError(431, "the head is too large")
        more = await loop.sock_recv(sock, 4096)
        if not more:
            raise ConnectError(0, "the client is gone")
        head += more
    return judge_connect(head, names)


def judge_connect(head: bytes, names: Container[str]) -> str:
    """Judge a whole head, and what came after it; return the host. Raises ConnectError."""
    lines, _, rest = head.partition(b"\r\n\r\n")
    found = _REQUEST_LINE.fullmatch(lines.partition(b"\r\n")[0])
    if found is None:
        raise ConnectError(400, "this is no HTTP request")
    if found[1] != b"CONNECT":
        raise ConnectError(405, "only CONNECT is taken here: this is the tenant's HTTPS_PROXY")
    target = _AUTHORITY.fullmatch(found[2])
    if target is None:
        raise ConnectError(400, "the target is no host name with a port")
    host = target[1].decode().lower()
    if host not in names or int(target[2]) != _HTTPS_PORT:
        raise ConnectError(403, "the lab tenant is no way to this host", host)
    if rest:
        # TLS before our answer: whoever sends it does not wait for whether we agree.
        raise ConnectError(400, "there is data behind the request", host)
    return host


def refusal(error: ConnectError) -> bytes:
    """Make the answer to a request that is not taken."""
    body = f"{error.why}\n".encode()
    reason = {403: "Forbidden", 405: "Method Not Allowed", 431: "Request Header Fields Too Large"}
    head = (
        f"HTTP/1.1 {error.status} {reason.get(error.status, 'Bad Request')}\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    )
    allow = "Allow: CONNECT\r\n" if error.status == 405 else ""
    return f"{head}{allow}\r\n".encode() + body
