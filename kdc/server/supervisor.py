"""The supervisor: it binds the ports, forks the workers, replaces the dead and passes on signals.

Rules.
1. It has no event loop, no thread and no handler, so that a fork is clean and no request can bring
   it down. All it does is wait for signals and for its workers.
2. It binds the sockets, one set per worker (SO_REUSEPORT), and keeps them open. A replacement gets
   the set of the dead worker with all that still waits in it, and needs no privilege to bind.
3. The first death is answered at once. A worker that dies again soon waits longer each time, up to
   ten seconds; meanwhile its sockets are closed, so that the others get all requests.
4. A worker ends by itself when its control socket reads end of file, so none outlives us.
"""

import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kdc.server.control import (
    DRAIN,
    FAILED,
    MAX_CONTROL_BYTES,
    READY,
    RELOAD,
    RELOAD_FAILED,
    RELOADED,
    control_pair,
    decode_failure,
    say,
)
from kdc.server.listen import (
    Address,
    bind_error,
    bind_worker_sockets,
    claim_addresses,
    describe_sockets,
    inherited_sockets,
)
from kdc.server.notify import reloading, sd_notify
from kdc.server.service import (
    EXIT_BAD_CONFIGURATION,
    EXIT_FAILED,
    HandlerFactory,
    ServeSettings,
    StartError,
)
from kdc.server.worker import SharedTables, run_worker

log = logging.getLogger(__name__)

QUICK_DEATH_S: Final = 3.0
"""A worker that lived longer than this starts with a clean record: its end had another cause than
its start, and a replacement at once loses nothing, since the sockets stay open."""

FIRST_BACK_OFF_S: Final = 0.5
"""The wait after the second quick death; it doubles with each further one."""

_HANDLED_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGCHLD,
)
_EXIT_POLL_S: Final = 0.02


@dataclass(slots=True, kw_only=True)
class Slot:
    """A place for a worker, whoever fills it at the moment."""

    index: int
    sockets: list[socket.socket] = field(default_factory=list)
    pid: int = 0
    """0: empty."""
    control: socket.socket | None = None
    ready: bool = False
    started_at: float = 0.0
    quick_deaths: int = 0
    start_at: float = 0.0
    """When an empty slot is filled again; monotonic."""


def serve(settings: ServeSettings) -> int:
    """Run the server until it is told to stop; return the exit code.

    Prints one line to stdout when all workers are ready, or three lines to stderr when it cannot
    start. Must be called in a process with one thread and without a running loop.
    """
    try:
        supervisor = Supervisor(settings)
        return supervisor.run()
    except StartError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code


def load_factory(factory: HandlerFactory | str) -> HandlerFactory:
    """Return the handler factory, imported if it was given by its dotted name.

    Imported here, before the fork: a replacement is then there in milliseconds, and the workers
    share the memory of the code.
    """
    if not isinstance(factory, str):
        return factory
    module_name, _, name = factory.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise StartError(
            "cannot load the request handler",
            why=f"{factory} does not exist: {error}",
            remedy="check the installation",
            exit_code=EXIT_BAD_CONFIGURATION,
        ) from error
    built: HandlerFactory = found
    return built


class Supervisor:
    """The process at the top."""

    def __init__(self, settings: ServeSettings) -> None:
        """Bind all sockets. Raises StartError, leaving none bound."""
        if not settings.workers:
            settings = replace(settings, workers=len(os.sched_getaffinity(0)))
        self._settings = settings
        self._factory = load_factory(settings.factory)
        self._slots = [Slot(index=index) for index in range(settings.workers)]
        self._shared = SharedTables(settings.workers)
        self._selector = selectors.DefaultSelector()
        self._inherited = inherited_sockets()
        self._addresses: list[Address] = []
        if not self._inherited:
            self._addresses = claim_addresses(settings.listen)
            for slot in self._slots:
                self._bind(slot)
        self._stopping = False
        self._announced = False
        self._reloading: set[int] = set()
        self._reload_refused = False
        """Workers that have not told yet how their reload went."""
        self._wakeup, self._wakeup_write = socket.socketpair()

    def run(self) -> int:
        """Start the workers and look after them; return the exit code after a stop.

        Raises StartError when a worker cannot start the first time; no worker is left then.
        """
        self._wakeup.setblocking(False)
        self._wakeup_write.setblocking(False)
        previous = {number: signal.signal(number, _noted) for number in _HANDLED_SIGNALS}
        previous_fd = signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        # Nothing made so far is garbage, and a collection in a child would copy the shared pages.
        gc.collect()
        gc.freeze()
        try:
            for slot in self._slots:
                self._start(slot)
            while not self._stopping:
                self._wait()
            return 0
        finally:
            self._stop_all()
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.close()
            self._wakeup.close()
            self._wakeup_write.close()

    def _wait(self) -> None:
        """Wait for the next signal, message or due start, and act on it."""
        now = time.monotonic()
        due = [slot.start_at - now for slot in self._slots if not slot.pid]
        timeout = max(0.0, min(due)) if due else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._wakeup:
                self._on_signals()
            else:
                self._on_control(key.data)
        for slot in self._slots:
            if not slot.pid and not self._stopping and slot.start_at <= time.monotonic():
                self._start(slot)

    def _on_signals(self) -> None:
        try:
            received = set(self._wakeup.recv(4096))
        except (BlockingIOError, InterruptedError):
            return
        if signal.SIGTERM in received or signal.SIGINT in received:
            self._stopping = True
            return
        if signal.SIGUSR1 in received:
            self._log_counters()
        if signal.SIGCHLD in received:
            self._reap()
        if signal.SIGHUP in received:
            log.info("reloading")
            self._reload_refused = False
            reloading()
            for slot in self._slots:
                if slot.control is not None:
                    self._reloading.add(slot.index)
                    say(slot.control, RELOAD)

    def _on_control(self, slot: Slot) -> None:
        if slot.control is None:
            return
        try:
            message = slot.control.recv(MAX_CONTROL_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if not message:
            # The worker is dead or dying; SIGCHLD tells the rest.
            self._selector.unregister(slot.control)
            slot.control.close()
            slot.control = None
        elif message == READY:
            slot.ready = True
            self._announce()
        elif message in (RELOADED, RELOAD_FAILED):
            self._note_reload(slot, message == RELOADED)
        elif message.startswith(FAILED):
            error = decode_failure(message)
            if not self._announced:
                raise error
            log.error("worker %d cannot start: %s", slot.index, error)

    def _note_reload(self, slot: Slot, taken: bool) -> None:
        """Tell the log and systemd when the last worker has reloaded."""
        if slot.index not in self._reloading:
            return
        self._reloading.discard(slot.index)
        self._reload_refused |= not taken
        if not self._reloading:
            if self._reload_refused:
                log.error("not reloaded: the old configuration stays in use")
            else:
                log.info("reloaded")
            self._reload_refused = False
            sd_notify("READY=1")

    def _announce(self) -> None:
        if self._announced or not all(slot.ready for slot in self._slots):
            return
        self._announced = True
        where = describe_sockets(self._inherited or self._slots[0].sockets)
        count = len(self._slots)
        noun = "worker" if count == 1 else "workers"
        pid = os.getpid()
        line = f"realm {self._settings.realm} ready on {where}, {count} {noun}, pid {pid}"
        print(f"keytrust: {line}", flush=True)
        sd_notify("READY=1", f"MAINPID={pid}", f"STATUS={line}")

    def _bind(self, slot: Slot) -> None:
        try:
            slot.sockets = bind_worker_sockets(self._addresses, backlog=self._settings.tcp.backlog)
        except OSError as error:
            self._close_sockets()
            raise bind_error(self._addresses[0], error) from error

    def _start(self, slot: Slot) -> None:
        """Fork a worker into an empty slot."""
        if not self._inherited and not slot.sockets:
            try:
                slot.sockets = bind_worker_sockets(
                    self._addresses, backlog=self._settings.tcp.backlog
                )
            except OSError as error:
                log.error("worker %d cannot bind its sockets: %s", slot.index, error.strerror)
                self._back_off(slot)
                return
        ours, theirs = control_pair()
        sockets = self._inherited or slot.sockets
        # A signal that the child got before it has handlers of its own would be written to our
        # wake-up socket, and we would take it for ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED_SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become_worker(slot, sockets, theirs, ours)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED_SIGNALS)
        theirs.close()
        slot.pid = pid
        slot.control = ours
        slot.ready = False
        slot.started_at = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, slot)

    def _become_worker(
        self,
        slot: Slot,
        sockets: Sequence[socket.socket],
        control: socket.socket,
        supervisor_end: socket.socket,
    ) -> None:
        """Continue as the worker; never returns."""
        code = EXIT_FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in _HANDLED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # The ends of the supervisor must be closed here, or no worker would ever see it die;
            # the sockets of other workers, or requests would wait in sockets nobody reads.
            self._selector.close()
            self._wakeup.close()
            self._wakeup_write.close()
            supervisor_end.close()
            for other in self._slots:
                if other.control is not None:
                    other.control.close()
                if other is not slot:
                    for sock in other.sockets:
                        sock.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED_SIGNALS)
            code = run_worker(
                self._settings, slot.index, self._factory, sockets, control, self._shared
            )
        except Exception:
            log.exception("worker %d ends on a bug", slot.index)
        finally:
            logging.shutdown()
            # Not sys.exit: the caller's cleanup (pytest's, the command line's) is the parent's.
            os._exit(code)

    def _reap(self) -> None:
        """Take note of dead workers and decide when they are replaced."""
        for slot in self._slots:
            if not slot.pid:
                continue
            # Our own children one by one: the caller may have others.
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                self._on_death(slot, os.waitstatus_to_exitcode(status))

    def _on_death(self, slot: Slot, exit_code: int) -> None:
        if slot.control is not None:
            # What it said last explains its death.
            self._on_control(slot)
        if slot.control is not None:
            self._selector.unregister(slot.control)
            slot.control.close()
            slot.control = None
        pid, slot.pid = slot.pid, 0
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        if not self._announced:
            raise StartError(
                "the server cannot start",
                why=f"a worker ended with {how} before it was ready",
                remedy="see the log",
            )
        if time.monotonic() - slot.started_at > QUICK_DEATH_S:
            slot.quick_deaths = 0
        self._note_reload(slot, True)  # its replacement reads the files anew
        log.error("worker %d (pid %d) ended with %s", slot.index, pid, how)
        self._back_off(slot)

    def _back_off(self, slot: Slot) -> None:
        """Set when an empty slot is filled again."""
        wait_s = 0.0
        if slot.quick_deaths:
            doubled = FIRST_BACK_OFF_S * 2.0 ** min(slot.quick_deaths - 1, 16)
            wait_s = min(doubled, self._settings.max_back_off_s)
            log.error("worker %d is started again in %.1f s", slot.index, wait_s)
            for sock in slot.sockets:
                sock.close()
            slot.sockets = []
        slot.quick_deaths += 1
        slot.start_at = time.monotonic() + wait_s

    def _stop_all(self) -> None:
        """Drain all workers; kill what is left after the drain time. Ours, by pid."""
        if self._announced:
            sd_notify("STOPPING=1")
        self._close_sockets()
        for slot in self._slots:
            if slot.control is not None:
                say(slot.control, DRAIN)
        deadline = time.monotonic() + self._settings.drain_s
        killed = False
        while any(slot.pid for slot in self._slots):
            for slot in self._slots:
                if slot.pid and os.waitpid(slot.pid, os.WNOHANG)[0]:
                    slot.pid = 0
            if not killed and time.monotonic() >= deadline:
                killed = True
                for slot in self._slots:
                    if slot.pid:
                        log.error("worker %d did not end in time and is killed", slot.index)
                        os.kill(slot.pid, signal.SIGKILL)
            time.sleep(_EXIT_POLL_S)
        if self._announced:
            self._log_counters()
        for slot in self._slots:
            if slot.control is not None:
                slot.control.close()
                slot.control = None

    def _log_counters(self) -> None:
        """Log what all workers did since the start, those that are dead included."""
        totals = self._shared.counters.totals()
        log.info("counters: %s", " ".join(f"{name}={count}" for name, count in totals.items()))

    def _close_sockets(self) -> None:
        for slot in self._slots:
            for sock in slot.sockets:
                sock.close()
            slot.sockets = []
        for sock in self._inherited:
            sock.close()


def _noted(number: int, _frame: object) -> None:
    """Do nothing: the wake-up socket has the number of the signal already."""
