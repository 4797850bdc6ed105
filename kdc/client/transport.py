"""Messages to a KDC and back, over UDP and TCP (RFC 4120 7.2). The client's only I/O."""

import socket
from dataclasses import dataclass
from typing import Literal

from kdc.client.errors import ClientError, ClientFault
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from pki.errors import PkiError

Protocol = Literal["udp", "tcp"]

# RFC 4120 7.2.1 leaves the limit to the path; MIT's udp_preference_limit starts with TCP above it.
MAX_UDP_REQUEST_BYTES = 1465
MAX_DATAGRAM_BYTES = 65507  # what UDP over IPv4 carries
MAX_REPLY_BYTES = 256 * 1024  # a ticket with a full PAC has 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class KdcAddress:
    """Where a KDC is, and how patient we are with it."""

    host: str
    port: int = 88
    protocol: Protocol = "udp"
    """`udp` moves to TCP when a message is too large for it."""
    timeout_s: float = 2.0
    """Wait for each answer; doubled with each further try over UDP."""
    tries: int = 3
    max_udp_request_bytes: int = MAX_UDP_REQUEST_BYTES
    """A longer request goes by TCP at once."""


def exchange(address: KdcAddress, request: bytes) -> tuple[bytes, Protocol]:
    """Send one message and return the answer, and the protocol it came by.

    Raises ClientError(UNREACHABLE).
    """
    if address.protocol == "udp" and len(request) <= address.max_udp_request_bytes:
        answer = _exchange_udp(address, request)
        if not _is_too_big(answer):
            return answer, "udp"
    return _exchange_tcp(address, request), "tcp"


def _is_too_big(answer: bytes) -> bool:
    try:
        error = asn1.decode(KrbError, answer)
    except PkiError:
        return False
    return error.error_code == ErrorCode.KRB_ERR_RESPONSE_TOO_BIG


def _exchange_udp(address: KdcAddress, request: bytes) -> bytes:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        family, kind, number, _, target = found[0]
        # Connected, so that answers from elsewhere are dropped and a closed port is heard of.
        with socket.socket(family, kind, number) as sock:
            sock.connect(target)
            for attempt in range(address.tries):
                sock.settimeout(address.timeout_s * 2**attempt)
                sock.send(request)
                try:
                    return sock.recv(65535)
                except TimeoutError:
                    continue
    except OSError as error:
        raise _unreachable(error) from None
    raise ClientError(ClientFault.UNREACHABLE, "no answer in time")


def _exchange_tcp(address: KdcAddress, request: bytes) -> bytes:
    try:
        with socket.create_connection((address.host, address.port), address.timeout_s) as sock:
            # The answer may cost the KDC more than a round trip does.
            sock.settimeout(address.timeout_s * 2**address.tries)
            sock.sendall(len(request).to_bytes(4, "big") + request)
            size = int.from_bytes(_receive(sock, 4), "big")
            if size > MAX_REPLY_BYTES:
                raise ClientError(ClientFault.MALFORMED, "length of the answer")
            return _receive(sock, size)
    except OSError as error:
        raise _unreachable(error) from None


def _receive(sock: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        part = sock.recv(size - len(out))
        if not part:
            raise ClientError(ClientFault.UNREACHABLE, "the connection was closed")
        out += part
    return out


def _unreachable(error: OSError) -> ClientError:
    if isinstance(error, TimeoutError):
        return ClientError(ClientFault.UNREACHABLE, "no answer in time")
    return ClientError(ClientFault.UNREACHABLE, error.strerror or "network error")
