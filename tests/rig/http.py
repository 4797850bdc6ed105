"""HTTP as octets: what is sent is exactly what a test writes; what comes back is taken apart."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from kdc.server.framing import frame
from kdc.wire.ms_kkdcp import KdcProxyMessage
from pki import asn1
from tests.rig.realm import LiveRealm, free_port, make_realm

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; status 0: the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRealm:
    """A served realm with both listeners of the HTTP process."""

    live: LiveRealm
    http_port: int
    kkdcp_port: int

    def connect(self, *, source: str = "127.0.0.1", tls: bool = True) -> socket.socket:
        """Connect to KKDCP, or without TLS to the probes."""
        port = self.kkdcp_port if tls else self.http_port
        sock = socket.create_connection(
            ("127.0.0.1", port), timeout=TIMEOUT_S, source_address=(source, 0)
        )
        if not tls:
            return sock
        context = ssl.create_default_context(cafile=str(self.live.ca))
        return context.wrap_socket(sock, server_hostname="localhost")

    def send(self, octets: bytes, *, source: str = "127.0.0.1", tls: bool = True) -> Reply:
        """Send octets on a new connection and read the first answer."""
        with self.connect(source=source, tls=tls) as sock:
            sock.sendall(octets)
            return read_reply(sock)

    def get(self, path: str, method: str = "GET") -> Reply:
        """Ask the plain listener."""
        return self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), tls=False)

    def post(self, message: bytes, *, source: str = "127.0.0.1", **headers: str) -> Reply:
        """Post a Kerberos message by KKDCP; headers are added or replaced, `_` stands for `-`."""
        return self.send(request(wrap(message), **headers), source=source)


def wrap(message: bytes, *, domain: str | None = "LAB.TEST", hint: int | None = None) -> bytes:
    """Return the KDC-PROXY-MESSAGE of a Kerberos message."""
    return asn1.encode(
        KdcProxyMessage(kerb_message=frame(message), target_domain=domain, dclocator_hint=hint)
    )


def request(body: bytes, *, path: str = "/KdcProxy", method: str = "POST", **headers: str) -> bytes:
    """Return a request with the headers that a client sends; "" as a value leaves one out."""
    given = {
        "Host": "localhost",
        "Content-Type": "application/kerberos",
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in given.items() if value]
    return f"{method} {path} HTTP/1.1\r\n".encode() + "\r\n".join([*lines, "", ""]).encode() + body


def read_reply(sock: socket.socket) -> Reply:
    """Read one answer by its Content-Length."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        more = _receive(sock)
        if not more:
            return Reply(status=0, headers={}, body=octets)
        octets += more
    head, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        more = _receive(sock)
        if not more:
            break
        body += more
    return Reply(status=int(first.split()[1]), headers=headers, body=body)


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
        return b""


def make_http_realm(state: Path, *settings: str) -> HttpRealm:
    """Make a realm with both listeners on free ports; settings are lines added to kdc.toml."""
    http_port, kkdcp_port = free_port(), free_port()
    live = make_realm(
        state, "--http", f"127.0.0.1:{http_port}", "--kkdcp", f"127.0.0.1:{kkdcp_port}"
    )
    toml = state / "kdc.toml"
    # In front: what init writes ends in keys of tables.
    toml.write_text("".join(f"{line}\n" for line in settings) + toml.read_text())
    return HttpRealm(live=live, http_port=http_port, kkdcp_port=kkdcp_port)
