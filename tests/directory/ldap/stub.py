"""A scripted LDAP server in the tests' process: each connection gets the answers it is told to."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from directory.ldap import ber
from directory.ldap.settings import LdapSettings, LdapUrl

BASE = "dc=lab,dc=test"
ROOT = {"namingContexts": [BASE.encode()]}
_SID = bytes((1, 4, 0, 0, 0, 0, 0, 5)) + b"".join(n.to_bytes(4, "little") for n in (21, 1, 2, 3))
DOMAIN = {"objectSid": [_SID], "nETBIOSName": [b"LAB"]}


def message(number: int, operation: bytes, controls: bytes = b"") -> bytes:
    """Encode a message."""
    return ber.tlv(ber.SEQUENCE, ber.integer(number), operation, controls)


def entry(number: int, dn: str, attributes: dict[str, list[bytes]], controls: bytes = b"") -> bytes:
    """Encode a search result entry."""
    listed = [
        ber.tlv(
            ber.SEQUENCE,
            ber.octets(name),
            ber.tlv(ber.SET, *(ber.octets(value) for value in values)),
        )
        for name, values in attributes.items()
    ]
    operation = ber.tlv(0x64, ber.octets(dn), ber.tlv(ber.SEQUENCE, *listed))
    return message(number, operation, controls)


def result(
    number: int,
    code: int = 0,
    *,
    tag: int = 0x65,
    text: str = "",
    referral: str = "",
    controls: bytes = b"",
) -> bytes:
    """Encode the end of an operation; tag: 0x61 of a bind, 0x78 of an extended one."""
    uris = ber.tlv(0xA3, ber.octets(referral)) if referral else b""
    operation = ber.tlv(
        tag, ber.integer(code, ber.ENUMERATED), ber.octets(b""), ber.octets(text), uris
    )
    return message(number, operation, controls)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came in."""

    number: int
    tag: int
    body: bytes
    """What is in the operation."""

    @property
    def base(self) -> str:
        """Of a search: its base."""
        begin, stop = ber.expect(self.body, 0, len(self.body), ber.OCTET_STRING)
        return self.body[begin:stop].decode()


Answers = Callable[[Asked, socket.socket], "bytes | None"]
"""(request, the connection) -> octets to send; None closes the connection."""


def well_behaved(asked: Asked, sock: socket.socket) -> bytes | None:
    """Bind anybody; show a root entry and a domain, and nothing else."""
    del sock
    if asked.tag == 0x60:
        return result(asked.number, tag=0x61)
    if asked.tag == 0x63:
        if asked.base == "":
            return entry(asked.number, "", ROOT) + result(asked.number)
        return entry(asked.number, BASE, DOMAIN) + result(asked.number)
    return None


@dataclass(slots=True)
class Stub:
    """The server."""

    path: Path
    answers: Answers = well_behaved
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> LdapUrl:
        """Where it is."""
        return LdapUrl(scheme="ldapi", path=str(self.path))

    def settings(self, **more: object) -> LdapSettings:
        """Settings for a connection to it, with short deadlines."""
        values: dict[str, object] = {
            "urls": (self.url,),
            "flavour": "openldap",
            "connect_timeout_s": 0.5,
            "operation_timeout_s": 0.5,
            **more,
        }
        return LdapSettings(**values)  # type: ignore[arg-type]  # the fields' own types

    @contextlib.contextmanager
    def running(self) -> Iterator["Stub"]:
        """Serve while the block runs."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        listener.listen(16)
        thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            # Closing alone would leave accept() waiting.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.drop_all()
            thread.join(5)

    def drop_all(self) -> None:
        """Break every connection off."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError), sock:
            while data := sock.recv(65536):
                buffer += data
                while (size := ber.message_size(buffer)) is not None and len(buffer) >= size:
                    asked = _parsed(buffer[:size])
                    buffer = buffer[size:]
                    self.asked.append(asked)
                    answer = self.answers(asked, sock)
                    if answer is None:
                        return
                    sock.sendall(answer)


def _parsed(data: bytes) -> Asked:
    start, end = ber.expect(data, 0, len(data), ber.SEQUENCE)
    begin, stop = ber.expect(data, start, end, ber.INTEGER)
    number = ber.to_int(data, begin, stop)
    tag, begin, stop = ber.read(data, stop, end)
    return Asked(number, tag, data[begin:stop])


def urls(stubs: Sequence[Stub]) -> tuple[LdapUrl, ...]:
    """List the URLs of several."""
    return tuple(stub.url for stub in stubs)
