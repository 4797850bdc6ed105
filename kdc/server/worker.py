"""One worker process: handler, sockets and loop, until it is told to stop."""

import asyncio
import gc
import logging
import resource
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from directory.backend import DirectoryError
from kdc.config import ConfigError
from kdc.outcome import Service
from kdc.server.audit import AuditLog
from kdc.server.connection import ConnectionTable
from kdc.server.control import (
    DRAIN,
    MAX_CONTROL_BYTES,
    READY,
    RELOAD,
    RELOAD_FAILED,
    RELOADED,
    encode_failure,
    say,
)
from kdc.server.core_dumps import forbid_core_dumps
from kdc.server.dispatch import Dispatcher
from kdc.server.leaves import LeafTeller
from kdc.server.misses import DeferringHandler
from kdc.server.relay import RelayEndpoint
from kdc.server.reply_budget import LOOPBACK
from kdc.server.service import (
    EXIT_FAILED,
    CertificateHandler,
    HandlerFactory,
    RequestHandler,
    ServeSettings,
    StartError,
    start_error,
)
from kdc.server.shared import SharedTables
from kdc.server.sockets import TcpListener, UdpEndpoint
from pki.errors import PkiError

log = logging.getLogger(__name__)

_SPARE_DESCRIPTORS: Final = 64
"""For the store, the log, the memories and the loop, beside connections."""

_WORKER_DRAIN_SHARE: Final = 0.9
"""A worker stops a little before the supervisor would kill it."""

_DRAIN_POLL_S: Final = 0.02

HEARTBEAT_S: Final = 1.0
"""How often a worker shows that it is not stuck."""

GC_THRESHOLDS: Final = (10_000, 20, 50)
"""Requests leave no reference cycles behind, refused ones included (a test asks): counting
references frees everything. At Python's default of 700 allocations the collector would run every
few requests and find nothing. Rarely is still needed, for bugs and libraries: 10,000 objects that
wait for it are 2 MB."""


class Worker:
    """The endpoints of one worker and what they share."""

    def __init__(
        self,
        settings: ServeSettings,
        index: int,
        sockets: Sequence[socket.socket],
        control: socket.socket,
        shared: SharedTables,
        handler: RequestHandler,
        kpasswd_ports: frozenset[int],
    ) -> None:
        self._settings = settings
        self._control = control
        self._handler = handler
        self.loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._audit = AuditLog(audit_path(settings), on_failure=settings.audit_failure)
        self._counters = shared.counters.for_worker(index)
        self._counters.begin()
        self._asker = handler.asker(self.loop) if isinstance(handler, DeferringHandler) else None
        dispatcher = Dispatcher(
            handler, self._audit, settings.realm, counters=self._counters, asker=self._asker
        )
        tcp = settings.tcp
        self._connections = ConnectionTable(
            self.loop,
            dispatcher,
            tcp,
            shared.sources.for_worker(
                index, limit=tcp.max_connections_per_source, exempt=tcp.exempt_sources
            ),
            max_connections=allowed_connections(tcp.max_connections // settings.workers),
        )
        budget = shared.reply_budget.for_worker(
            settings.udp_reply_budget, exempt=(*LOOPBACK, *tcp.exempt_sources)
        )
        self._udp = [
            UdpEndpoint(self.loop, sock, dispatcher, budget, _service_of(sock, kpasswd_ports))
            for sock in sockets
            if sock.type == socket.SOCK_DGRAM
        ]
        self._tcp = [
            TcpListener(self.loop, sock, self._connections, _service_of(sock, kpasswd_ports))
            for sock in sockets
            if sock.type == socket.SOCK_STREAM
        ]
        self._relay = RelayEndpoint(self.loop, shared.relay_workers, dispatcher)
        self._ticking = handler if isinstance(handler, CertificateHandler) else None
        if self._ticking is not None:
            self._ticking.tell_leaves(LeafTeller(shared.leaves_told))
        self._draining = False
        self._drain_deadline = 0.0

    def run(self) -> None:
        """Serve until drained."""
        self.loop.add_reader(self._control.fileno(), self._on_control)
        self.loop.add_signal_handler(signal.SIGTERM, self.drain)
        self.loop.add_signal_handler(signal.SIGHUP, self.reload)
        self._beat()
        say(self._control, READY)
        try:
            self.loop.run_forever()
        finally:
            self._connections.close_all()
            if self._asker is not None:
                self._asker.close()
            self._handler.close()
            self._audit.close()
            self.loop.close()

    def _beat(self) -> None:
        """Show who asks for our health that the loop is running; do what is due meanwhile."""
        self._counters.beat()
        self.loop.call_later(HEARTBEAT_S, self._beat)
        if self._ticking is not None:
            self._ticking.tick(datetime.now(UTC))

    def reload(self) -> None:
        """Reopen the audit file and let the handler read its configuration anew."""
        self._audit.reopen()
        try:
            self._handler.reload()
        except (ConfigError, DirectoryError, PkiError, OSError) as error:
            log.error("reload refused, the old configuration stays: %s", error)
            say(self._control, RELOAD_FAILED)
        except Exception:
            log.exception("bug: reload failed, the old configuration stays")
            say(self._control, RELOAD_FAILED)
        else:
            say(self._control, RELOADED)

    def drain(self) -> None:
        """Take nothing new, finish what is begun within the drain time, then end."""
        if self._draining:
            return
        self._draining = True
        limit_s = self._settings.drain_s * _WORKER_DRAIN_SHARE
        self._drain_deadline = self.loop.time() + limit_s
        for listener in self._tcp:
            listener.drain()
        self._connections.drain()
        for endpoint in self._udp:
            endpoint.drain(self._drain_deadline)
        self._relay.drain()
        self._wait_for_connections()

    def _wait_for_connections(self) -> None:
        if not len(self._connections) or self.loop.time() >= self._drain_deadline:
            self.loop.stop()
        else:
            self.loop.call_later(_DRAIN_POLL_S, self._wait_for_connections)

    def _on_control(self) -> None:
        try:
            message = self._control.recv(MAX_CONTROL_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if message == RELOAD:
            self.reload()
            return
        if not message:
            # The supervisor is dead; without it nobody would replace or stop us.
            log.error("the supervisor is gone, this worker ends")
            self.loop.remove_reader(self._control.fileno())
            self.drain()
        elif message == DRAIN:
            self.drain()


def run_worker(
    settings: ServeSettings,
    index: int,
    factory: HandlerFactory,
    sockets: Sequence[socket.socket],
    control: socket.socket,
    shared: SharedTables,
    kpasswd_ports: frozenset[int] = frozenset(),
) -> int:
    """Run one worker in this process, just forked; return its exit code."""
    forbid_core_dumps()
    # ^C in a terminal reaches the whole group; draining is the supervisor's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The same for the signal that asks the supervisor for the counters.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        worker = _build(settings, index, factory, sockets, control, shared, kpasswd_ports)
    except StartError as error:
        say(control, encode_failure(error))
        return error.exit_code
    except Exception as error:
        log.exception("worker %d cannot start", index)
        failure = StartError(
            "a worker cannot start",
            why=f"unexpected {type(error).__name__}, a bug",
            remedy="see the log, and report it",
            exit_code=EXIT_FAILED,
        )
        say(control, encode_failure(failure))
        return EXIT_FAILED
    # What lives now lives as long as the process: out of the collector's sight it costs no passes.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    worker.run()
    return 0


def _build(
    settings: ServeSettings,
    index: int,
    factory: HandlerFactory,
    sockets: Sequence[socket.socket],
    control: socket.socket,
    shared: SharedTables,
    kpasswd_ports: frozenset[int],
) -> Worker:
    try:
        handler = factory(settings.state_dir)
        return Worker(settings, index, sockets, control, shared, handler, kpasswd_ports)
    except (ConfigError, DirectoryError, PkiError, OSError) as error:
        raise start_error(error) from error


def _service_of(sock: socket.socket, kpasswd_ports: frozenset[int]) -> Service:
    """Tell what is served on a socket."""
    return "kpasswd" if sock.getsockname()[1] in kpasswd_ports else "kdc"


def audit_path(settings: ServeSettings) -> Path:
    """Return where the audit records go."""
    return settings.audit_path or settings.state_dir / "audit.jsonl"


def allowed_connections(wanted: int, *, tables: int = 1) -> int:
    """Return how many connections each table of this process may hold: what its files allow.

    wanted: the most. tables: among how many the files are divided.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, (hard - _SPARE_DESCRIPTORS) // tables)
    return max(1, wanted)
