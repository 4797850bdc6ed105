"""Companions: the named processes that run beside the workers (HTTP, the directory's follower).

Rules.
1. A companion is forked, watched, replaced with back-off and ended as a worker is. It never answers
   Kerberos requests by itself; what it does may import libraries that workers must not carry, so
   its code is imported in its own process, after the fork.
2. It hears of everything over its control socket: `Control.next_order`. Signals it ignores, for
   they reach a whole group, and what is to be done about them is the supervisor's decision.
3. It says `Control.ready` once, when it can do its work. What it raises before that ends the start
   of the server, in three lines; what it raises later is a bug, and it is started again.
4. When the supervisor is dead it is told to drain, like at any other end.
"""

import gc
import importlib
import logging
import select
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from directory.backend import DirectoryError
from kdc.config import ConfigError
from kdc.server.control import (
    ASK_RELOAD,
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
from kdc.server.service import (
    EXIT_BAD_CONFIGURATION,
    EXIT_FAILED,
    ServeSettings,
    StartError,
    start_error,
)
from kdc.server.shared import SharedTables
from pki.errors import PkiError

log = logging.getLogger(__name__)


class Order(Enum):
    """What the supervisor tells a companion."""

    RELOAD = "read the configuration again"
    DRAIN = "finish what is begun and end"


class Control:
    """A companion's end of its control socket."""

    __slots__ = ("_gone", "_sock", "is_ready")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._gone = False
        self.is_ready = False

    def fileno(self) -> int:
        """Return the descriptor, readable when an order waits: for an event loop."""
        return self._sock.fileno()

    def ready(self) -> None:
        """Say that the work has begun."""
        self.is_ready = True
        say(self._sock, READY)

    def reloaded(self, taken: bool) -> None:
        """Answer an order to reload. taken: False when the old configuration stays in use."""
        say(self._sock, RELOADED if taken else RELOAD_FAILED)

    def ask_reload(self) -> None:
        """Ask that every process reads its files again, as SIGHUP to the supervisor does."""
        say(self._sock, ASK_RELOAD)

    def failed(self, error: StartError) -> None:
        """Say why the work cannot begin."""
        say(self._sock, encode_failure(error))

    def next_order(self, timeout_s: float | None = 0.0) -> Order | None:
        """Return the next order, or None when none came in time. None as the time: for ever.

        A dead supervisor gives DRAIN, again and again.
        """
        if self._gone:
            return Order.DRAIN
        # Not select.select, which knows no descriptor over 1023.
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if not poll.poll(None if timeout_s is None else timeout_s * 1000):
            return None
        try:
            message = self._sock.recv(MAX_CONTROL_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            message = b""
        if not message:
            log.error("the supervisor is gone, this process ends")
            self._gone = True
            return Order.DRAIN
        return {RELOAD: Order.RELOAD, DRAIN: Order.DRAIN}.get(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionContext:
    """Everything a companion is given."""

    state_dir: Path
    settings: ServeSettings
    control: Control
    sockets: Mapping[str, tuple[socket.socket, ...]]
    """Its listening sockets (TCP, non-blocking), under the names of `Companion.listen`."""
    shared: SharedTables
    """What the workers count and remember."""


CompanionMain = Callable[[CompanionContext], None]
"""Runs until it is told to drain. Before it is ready it may raise StartError, ConfigError,
DirectoryError, PkiError and OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A process beside the workers."""

    name: str
    factory: CompanionMain | str
    """What it runs, or its dotted name `package.module:function`."""
    listen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """TCP addresses that the supervisor binds for it, by what they are for: `http`, `kkdcp`."""
    must_be_ready: bool = True
    """The server says that it is ready when this process is, and does not start without it."""
    asks_workers: bool = False
    """It ends before the workers do, so that what it has begun is answered; others end after."""


def run_companion(
    companion: Companion,
    settings: ServeSettings,
    sockets: Mapping[str, tuple[socket.socket, ...]],
    control_socket: socket.socket,
    shared: SharedTables,
) -> int:
    """Run a companion in this process, just forked; return its exit code."""
    forbid_core_dumps()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    # The workers' share of memory stays shared; what this process makes may be collected.
    gc.freeze()
    control = Control(control_socket)
    try:
        _load(companion)(
            CompanionContext(
                state_dir=settings.state_dir,
                settings=settings,
                control=control,
                sockets=sockets,
                shared=shared,
            )
        )
    except (StartError, ConfigError, DirectoryError, PkiError, OSError) as error:
        failure = error if isinstance(error, StartError) else start_error(error)
        if control.is_ready:
            log.exception("%s ends on an error", companion.name)
            return EXIT_FAILED
        control.failed(failure)
        return failure.exit_code
    except Exception as error:
        log.exception("%s ends on a bug", companion.name)
        if not control.is_ready:
            control.failed(
                StartError(
                    f"the {companion.name} process cannot start",
                    why=f"unexpected {type(error).__name__}, a bug",
                    remedy="see the log, and report it",
                    exit_code=EXIT_FAILED,
                )
            )
        return EXIT_FAILED
    return 0


def _load(companion: Companion) -> CompanionMain:
    if not isinstance(companion.factory, str):
        return companion.factory
    module_name, _, name = companion.factory.partition(":")
    try:
        found: CompanionMain = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise StartError(
            f"cannot load the {companion.name} process",
            why=f"{companion.factory} cannot be imported: {error}",
            remedy="check the installation",
            exit_code=EXIT_BAD_CONFIGURATION,
        ) from error
    return found
