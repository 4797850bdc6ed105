"""How workers tell who fetches revocation data which logon certificates there are.

Rules
  1. Only a certificate whose path to a logon CA was found valid is told: a stranger's never is, so
     that no stranger can make us fetch anything.
  2. Telling never waits and never fails: when nobody reads, the packet is lost, and the certificate
     is told again when its chain is next validated.
  3. Both ends are made by the supervisor and passed on by forking; nobody else reaches them.

A packet is one SOCK_SEQPACKET message: the DER of the certificate.
"""

import socket
from typing import Final

MAX_LEAF_BYTES: Final = 16 * 1024
QUEUE_BYTES: Final = 256 * 1024


def leaf_pair() -> tuple[socket.socket, socket.socket]:
    """Return the end that is read and the workers' end, both non-blocking."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (reader, writer):
        end.setblocking(False)
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
    return reader, writer


class LeafTeller:
    """A worker's way to tell of a logon certificate."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __call__(self, certificate: bytes) -> None:
        """Tell of a certificate (DER), if there is room."""
        if len(certificate) > MAX_LEAF_BYTES:
            return
        try:
            self._sock.send(certificate)
        except OSError:
            return


def next_leaf(sock: socket.socket) -> bytes | None:
    """Return a certificate that was told, or None when no other waits."""
    try:
        return sock.recv(MAX_LEAF_BYTES) or None
    except OSError:
        return None
