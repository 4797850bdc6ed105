"""The tenant as a process: its sockets, its start, its end."""

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable

from kdc.config_values import parse_address
from tenant.server.dispatch import Dispatcher
from tenant.server.listener import BACKLOG, Connections, Limits, Listener
from tenant.server.tls import tls_context
from tenant.services import Services


def is_loopback(address: str) -> bool:
    """Tell whether nobody but this machine reaches an address with a port."""
    host, _ = parse_address(address)
    return host != "*" and ipaddress.ip_address(host).is_loopback


def bind(address: str) -> socket.socket:
    """Listen on an address with a port. Raises OSError."""
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host or host == "*" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(("" if host == "*" else host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def serve(
    services: Services,
    https: socket.socket,
    proxy: socket.socket,
    *,
    on_ready: Callable[[], None],
    limits: Limits | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; what is begun is answered first."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    context = tls_context(services.folder)
    connections = Connections(loop, Dispatcher(services), context, limits or Limits())
    listeners = (
        Listener(https, connections, proxy=False),
        Listener(proxy, connections, proxy=True),
    )
    on_ready()
    await stop.wait()
    for listener in listeners:
        listener.close()
    await connections.drain()
