"""An HTTP server of another CA on loopback: CRLs, OCSP by a function, and everything wrong."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.rig.realm import free_port

SLOW_S = 0.2
"""Between the octets of a slow answer."""


@dataclass(slots=True, kw_only=True)
class PkiServer:
    """What it answers, by path, and what it was asked."""

    port: int
    address: str = "127.0.0.1"
    content: dict[str, bytes] = field(default_factory=dict)
    responder: Callable[[bytes], bytes] | None = None
    """What answers OCSP requests (DER) posted to /ocsp."""
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers of every answer."""
    slow: set[str] = field(default_factory=set)
    endless: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and status of each answer."""

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://{self.address}:{self.port}{path}"

    def count(self, path: str, status: int | None = None) -> int:
        """Return how often a path was asked for, and answered so."""
        return sum(1 for _, p, s in self.asked if p == path and status in (None, s))

    @contextlib.contextmanager
    def running(self) -> Iterator["PkiServer"]:
        """Answer while the block runs."""
        pki = self

        class Handler(_Handler):
            server_of = pki

        server = ThreadingHTTPServer((self.address, self.port), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    server_of: PkiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        pki = self.server_of
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if pki.responder is None or self.path not in ("/ocsp", "/ocsp/"):
            self._answer(404, b"")
            return
        assert self.headers["Content-Type"] == "application/ocsp-request"
        self._answer(200, pki.responder(body))

    def do_GET(self) -> None:
        pki = self.server_of
        if self.path in pki.redirects:
            self._answer(302, b"", Location=pki.redirects[self.path])
        elif self.path in pki.statuses:
            self._answer(pki.statuses[self.path], b"")
        elif self.path in pki.endless:
            self._endless()
        elif self.path not in pki.content:
            self._answer(404, b"")
        else:
            self._content(pki.content[self.path])

    def _content(self, body: bytes) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == tag:
            self._answer(304, b"")
        else:
            self._answer(200, body, ETag=tag)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.server_of.asked.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in {**headers, **self.server_of.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path in self.server_of.slow:
            with contextlib.suppress(OSError):
                for at in range(len(body)):
                    self.wfile.write(body[at : at + 1])
                    time.sleep(SLOW_S)
            return
        self.wfile.write(body)

    def _endless(self) -> None:
        self.server_of.asked.append((self.command, self.path, 200))
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(65536))


def pki_server() -> PkiServer:
    """Return a server on a free port of loopback."""
    return PkiServer(port=free_port())
