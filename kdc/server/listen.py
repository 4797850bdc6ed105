"""Listening sockets: from `host:port` to bound UDP and TCP sockets, or those systemd passed on."""

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kdc.server.service import EXIT_BAD_CONFIGURATION, EXIT_DENIED, EXIT_UNREACHABLE, StartError

_FIRST_INHERITED_FD: Final = 3
"""Fixed by sd_listen_fds(3)."""

_PORT_0_ATTEMPTS: Final = 20
"""A port that is free for TCP is rarely taken for UDP; twenty in a row are not bad luck."""

_FAMILY_MISSING: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


@dataclass(frozen=True, slots=True)
class Address:
    """One concrete address to bind."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]
    optional: bool = field(default=False, compare=False)
    """One family of a name or wildcard: may be missing when another one works."""

    @property
    def port(self) -> int:
        """Return the port."""
        return self.sockaddr[1]

    def with_port(self, port: int) -> "Address":
        """Return the same address with another port."""
        host, _, *rest = self.sockaddr
        sockaddr = (host, port, *rest)
        return Address(self.family, sockaddr, self.optional)  # type: ignore[arg-type]  # same shape

    def __str__(self) -> str:
        return show_address(self.sockaddr[0], self.port)


def show_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`, `[v6]:port`, `*:port` or `:port` (host "*").

    Raises StartError (bad configuration).
    """
    host, separator, port_text = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""  # A bare IPv6 address: where its port begins is anyone's guess.
    if not separator or not port_text.isascii() or not port_text.isdigit() or len(port_text) > 5:
        raise _bad_listen(text)
    port = int(port_text)
    if port > 65535:
        raise _bad_listen(text)
    return host or "*", port


def _bad_listen(text: str) -> StartError:
    return StartError(
        f"cannot listen on {text!r}",
        why="this is not an address with a port",
        remedy="write 127.0.0.1:88, [::1]:88, name:88 or *:88",
        exit_code=EXIT_BAD_CONFIGURATION,
    )


def resolve_listen(listen: Sequence[str]) -> list[Address]:
    """Return the addresses to bind, each once; a name or `*` gives both families.

    Raises StartError when a name has no address.
    """
    addresses: dict[Address, None] = {}
    for text in listen:
        host, port = parse_listen(text)
        try:
            found = socket.getaddrinfo(
                None if host == "*" else host,
                port,
                type=socket.SOCK_STREAM,
                flags=socket.AI_PASSIVE,
            )
        except socket.gaierror as error:
            raise StartError(
                f"cannot listen on {text}",
                why=f"the name has no address: {error.strerror}",
                remedy="use an IP address, or add the name to DNS or /etc/hosts",
                exit_code=EXIT_UNREACHABLE,
            ) from error
        for family, _, _, _, sockaddr in found:
            if family in (socket.AF_INET, socket.AF_INET6):
                optional = len(found) > 1
                addresses[Address(family, sockaddr, optional)] = None  # type: ignore[arg-type]  # a byte form exists only for families we skip
    return list(addresses)


def bind(
    address: Address, kind: socket.SocketKind, *, backlog: int = 0, shared: bool = True
) -> socket.socket:
    """Return a bound, non-blocking socket; a stream socket listens when backlog is given.

    shared: several of our workers bind the same port (SO_REUSEPORT). Raises OSError.
    """
    sock = socket.socket(address.family, kind)
    try:
        sock.setblocking(False)
        if address.family == socket.AF_INET6:
            # Each family has its own socket, so peers are never shown as ::ffff:a.b.c.d.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # Else connections in TIME_WAIT from the last run keep the port for a minute.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address.sockaddr)
        if backlog:
            sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def bind_worker_sockets(addresses: Sequence[Address], *, backlog: int) -> list[socket.socket]:
    """Return one worker's sockets on all the addresses. Raises OSError, leaving none bound."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            sockets.append(bind(address, socket.SOCK_DGRAM))
            sockets.append(bind(address, socket.SOCK_STREAM, backlog=backlog))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def bind_stream_sockets(addresses: Sequence[Address], *, backlog: int) -> list[socket.socket]:
    """Return listening TCP sockets, one for each address. Raises OSError, leaving none bound."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            sockets.append(bind(address, socket.SOCK_STREAM, backlog=backlog, shared=False))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def claim_addresses(listen: Sequence[str], *, datagrams: bool = True) -> list[Address]:
    """Return the addresses to bind, each found free for TCP, and for UDP, and with a real port.

    datagrams: whether UDP sockets will be bound as well.

    The trial is made without SO_REUSEPORT: with it, a second server of the same user would bind the
    same port without an error, and the kernel would give it half of the requests.
    Raises StartError: in use (1), not an address of this machine (6), not permitted (5).
    """
    claimed: list[Address] = []
    chosen_port: dict[int, int] = {}
    skipped: OSError | None = None
    for address in resolve_listen(listen):
        try:
            if address.port == 0:
                # One port for all addresses that ask for "any": clients are given one number.
                concrete = _claim_any_port(address, chosen_port.get(0, 0), datagrams)
                chosen_port[0] = concrete.port
            else:
                concrete = address
                _try(concrete, datagrams)
        except OSError as error:
            if address.optional and error.errno in _FAMILY_MISSING:
                skipped = error
                continue
            raise bind_error(address, error) from error
        claimed.append(concrete)
    if listen and not claimed:
        first = resolve_listen(listen)[0]
        raise bind_error(first, skipped or OSError(errno.EADDRNOTAVAIL, "no address"))
    return claimed


def _try(address: Address, datagrams: bool) -> None:
    with bind(address, socket.SOCK_STREAM, backlog=1, shared=False):
        if datagrams:
            bind(address, socket.SOCK_DGRAM, shared=False).close()


def _claim_any_port(address: Address, wanted: int, datagrams: bool) -> Address:
    for _ in range(_PORT_0_ATTEMPTS):
        with bind(address.with_port(wanted), socket.SOCK_STREAM, shared=False) as probe:
            concrete = address.with_port(probe.getsockname()[1])
        try:
            _try(concrete, datagrams)
        except OSError as error:
            if wanted or error.errno != errno.EADDRINUSE:
                raise
            continue
        return concrete
    raise OSError(errno.EADDRINUSE, "no port is free for both UDP and TCP")


def bind_error(address: Address, error: OSError) -> StartError:
    """Return the failure to bind an address in words a user can act on."""
    what = f"cannot listen on {address}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return StartError(
            what,
            why="ports under 1024 need a privilege this user does not have",
            remedy="use socket activation, grant CAP_NET_BIND_SERVICE, or listen on another port",
            exit_code=EXIT_DENIED,
        )
    if error.errno == errno.EADDRINUSE:
        return StartError(
            what,
            why="another program uses this port already",
            remedy=f"stop it (ss -lnptu 'sport = :{address.port}' shows it) or use another port",
        )
    return StartError(
        what,
        why=(error.strerror or "the system refuses it").lower(),
        remedy="listen on an address of this machine (ip address shows them)",
        exit_code=EXIT_UNREACHABLE,
    )


def inherited_sockets() -> list[socket.socket]:
    """Return the sockets passed by socket activation (sd_listen_fds), and forget about them.

    Raises StartError when one of them is no UDP or listening TCP socket.
    """
    pid = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets: list[socket.socket] = []
    for fd in range(_FIRST_INHERITED_FD, _FIRST_INHERITED_FD + int(count)):
        try:
            sock = socket.socket(fileno=fd)
        except OSError as error:
            raise _bad_inheritance(fd) from error
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type not in (
            socket.SOCK_DGRAM,
            socket.SOCK_STREAM,
        ):
            raise _bad_inheritance(fd)
        with contextlib.suppress(OSError):
            os.set_inheritable(fd, False)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def _bad_inheritance(fd: int) -> StartError:
    return StartError(
        "cannot use the sockets passed by socket activation",
        why=f"descriptor {fd} is no internet socket",
        remedy="use ListenStream= and ListenDatagram= with addresses in the .socket unit",
        exit_code=EXIT_BAD_CONFIGURATION,
    )


def describe_sockets(sockets: Sequence[socket.socket]) -> str:
    """Return `127.0.0.1:88 (udp, tcp), [::1]:88 (udp)` for the ready line."""
    transports: dict[str, list[str]] = {}
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        transport = "udp" if sock.type == socket.SOCK_DGRAM else "tcp"
        transports.setdefault(show_address(host, port), []).append(transport)
    return ", ".join(f"{where} ({', '.join(kinds)})" for where, kinds in transports.items())
