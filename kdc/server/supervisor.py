"""The supervisor: it binds the ports, forks the workers, replaces the dead and passes on signals.

Rules.
1. It has no event loop, no thread and no handler, so that a fork is clean and no request can bring
   it down. All it does is wait for signals and for its children: the workers, and the companions
   beside them (`kdc.server.companion`).
2. It binds the sockets, one set per worker (SO_REUSEPORT), and keeps them open. A replacement gets
   the set of the dead worker with all that still waits in it, and needs no privilege to bind.
3. The first death is answered at once. A process that dies again soon waits longer each time, up to
   ten seconds; meanwhile its sockets are closed, so that the others get all requests.
4. A child ends by itself when its control socket reads end of file, so none outlives us.
"""

import functools
import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from kdc.form import FORM
from kdc.server.child import Child
from kdc.server.companion import Companion, run_companion
from kdc.server.control import (
    ASK_RELOAD,
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
    bind_stream_sockets,
    bind_worker_sockets,
    claim_addresses,
    describe_sockets,
    inherited_sockets,
    parse_listen,
)
from kdc.server.notify import reloading, sd_notify
from kdc.server.service import (
    EXIT_BAD_CONFIGURATION,
    EXIT_FAILED,
    HandlerFactory,
    ServeSettings,
    StartError,
)
from kdc.server.shared import SharedTables
from kdc.server.worker import run_worker

log = logging.getLogger(__name__)

COMPANION_DRAIN_SHARE: Final = 0.25
"""How much of the drain time each group of companions gets besides the workers' own."""

_HANDLED_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGCHLD,
)
_EXIT_POLL_S: Final = 0.02


def serve(settings: ServeSettings, companions: Sequence[Companion] = ()) -> int:
    """Run the server until it is told to stop; return the exit code.

    Prints one line to stdout when all processes are ready, or three lines to stderr when it cannot
    start. Must be called in a process with one thread and without a running loop.
    """
    try:
        supervisor = Supervisor(settings, companions)
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

    def __init__(self, settings: ServeSettings, companions: Sequence[Companion] = ()) -> None:
        """Bind all sockets. Raises StartError, leaving none bound."""
        if not settings.workers:
            settings = replace(settings, workers=len(os.sched_getaffinity(0)))
        self._settings = settings
        self._factory = load_factory(settings.factory)
        self._shared = SharedTables(settings.workers)
        self._counters = self._shared.counters.for_supervisor()
        self._selector = selectors.DefaultSelector()
        self._inherited = inherited_sockets()
        addresses: list[Address] = []
        if not self._inherited:
            addresses = claim_addresses(settings.listen)
            for_kpasswd = claim_addresses(settings.kpasswd_listen)
            self._kpasswd_ports = frozenset(address.port for address in for_kpasswd)
            addresses += for_kpasswd
        else:
            self._kpasswd_ports = frozenset(
                parse_listen(text)[1] for text in settings.kpasswd_listen
            )
        self._workers = [
            Child(
                name=f"worker {index}",
                main=functools.partial(self._work, index),
                bind=functools.partial(bind_worker_sockets, backlog=settings.tcp.backlog),
                addresses=addresses,
            )
            for index in range(settings.workers)
        ]
        self._before: list[Child] = []
        self._after: list[Child] = []
        self._companion_addresses: list[str] = []
        for companion in companions:
            child = self._companion_child(companion)
            (self._before if companion.asks_workers else self._after).append(child)
        self._children = [*self._workers, *self._before, *self._after]
        for child in self._children:
            try:
                child.sockets = child.bind(child.addresses)
            except OSError as error:
                self._close_sockets()
                raise bind_error(child.addresses[0], error) from error
        self._stopping = False
        self._announced = False
        self._reloading: set[str] = set()
        """Processes that have not told yet how their reload went."""
        self._reload_refused = False
        self._wakeup, self._wakeup_write = socket.socketpair()

    def _companion_child(self, companion: Companion) -> Child:
        claimed = {
            use: claim_addresses(listen, datagrams=False)
            for use, listen in companion.listen.items()
        }
        addresses = [address for group in claimed.values() for address in group]
        self._companion_addresses += [
            f"{use} on {', '.join(map(str, group))}" for use, group in claimed.items() if group
        ]
        return Child(
            name=companion.name,
            main=functools.partial(
                self._accompany, companion, {use: len(group) for use, group in claimed.items()}
            ),
            bind=functools.partial(bind_stream_sockets, backlog=self._settings.tcp.backlog),
            addresses=addresses,
            must_be_ready=companion.must_be_ready,
        )

    def _work(self, index: int, sockets: Sequence[socket.socket], control: socket.socket) -> int:
        """Be a worker, in its process."""
        return run_worker(
            self._settings,
            index,
            self._factory,
            self._inherited or sockets,
            control,
            self._shared,
            self._kpasswd_ports,
        )

    def _accompany(
        self,
        companion: Companion,
        counts: Mapping[str, int],
        sockets: Sequence[socket.socket],
        control: socket.socket,
    ) -> int:
        """Be a companion, in its process. counts: how many of the sockets are for each use."""
        for sock in self._inherited:
            sock.close()
        rest = iter(sockets)
        by_use = {use: tuple(next(rest) for _ in range(n)) for use, n in counts.items()}
        return run_companion(companion, self._settings, by_use, control, self._shared)

    def run(self) -> int:
        """Start the processes and look after them; return the exit code after a stop.

        Raises StartError when one cannot start the first time; no process is left then.
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
            for child in self._children:
                self._start(child)
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
        due = [child.start_at - now for child in self._children if not child.pid]
        timeout = max(0.0, min(due)) if due else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._wakeup:
                self._on_signals()
            else:
                self._on_control(key.data)
        for child in self._children:
            if not child.pid and not self._stopping and child.start_at <= time.monotonic():
                self._start(child)

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
            self._reload_all()

    def _reload_all(self) -> None:
        log.info("reloading")
        self._reload_refused = False
        reloading()
        for child in self._children:
            if child.control is not None:
                self._reloading.add(child.name)
                say(child.control, RELOAD)

    def _on_control(self, child: Child) -> None:
        if child.control is None:
            return
        try:
            message = child.control.recv(MAX_CONTROL_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if not message:
            # It is dead or dying; SIGCHLD tells the rest.
            self._forget_control(child)
        elif message == READY:
            child.ready = True
            self._count_ready()
            self._announce()
        elif message == ASK_RELOAD:
            self._reload_all()
        elif message in (RELOADED, RELOAD_FAILED):
            self._note_reload(child, message == RELOADED)
        elif message.startswith(FAILED):
            error = decode_failure(message)
            if not self._announced and child.must_be_ready:
                raise error
            log.error("%s cannot start: %s", child.name, error)

    def _forget_control(self, child: Child) -> None:
        if child.control is not None:
            self._selector.unregister(child.control)
            child.close_control()

    def _count_ready(self) -> None:
        """Let the HTTP process know how many workers are ready."""
        self._counters.workers_ready = sum(worker.ready for worker in self._workers)

    def _note_reload(self, child: Child, taken: bool) -> None:
        """Tell the log and systemd when the last process has reloaded."""
        if child.name not in self._reloading:
            return
        self._reloading.discard(child.name)
        self._reload_refused |= not taken
        if not self._reloading:
            if self._reload_refused:
                self._counters.reloads_refused += 1
                log.error("not reloaded: the old configuration stays in use")
            else:
                self._counters.reloads += 1
                log.info("reloaded")
            self._reload_refused = False
            sd_notify("READY=1")

    def _announce(self) -> None:
        if self._announced or not all(
            child.ready for child in self._children if child.must_be_ready
        ):
            return
        self._announced = True
        sockets = self._inherited or self._workers[0].sockets
        kpasswd = [s for s in sockets if s.getsockname()[1] in self._kpasswd_ports]
        where = describe_sockets([s for s in sockets if s not in kpasswd])
        count = len(self._workers)
        parts = [
            f"realm {self._settings.realm} ready on {where}",
            f"{count} worker" if count == 1 else f"{count} workers",
            FORM,
            *([f"kpasswd on {describe_sockets(kpasswd)}"] if kpasswd else []),
            *self._companion_addresses,
            f"pid {os.getpid()}",
        ]
        line = ", ".join(parts)
        print(f"keytrust: {line}", flush=True)
        sd_notify("READY=1", f"MAINPID={os.getpid()}", f"STATUS={line}")

    def _start(self, child: Child) -> None:
        """Fork a process into an empty place."""
        if not child.sockets:
            try:
                child.sockets = child.bind(child.addresses)
            except OSError as error:
                log.error("%s cannot bind its sockets: %s", child.name, error.strerror)
                child.back_off(self._settings.max_back_off_s)
                return
        ours, theirs = control_pair()
        # A signal that the child got before it has handlers of its own would be written to our
        # wake-up socket, and we would take it for ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED_SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become(child, theirs, ours)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED_SIGNALS)
        theirs.close()
        child.pid = pid
        child.control = ours
        child.ready = False
        child.started_at = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _become(self, child: Child, control: socket.socket, supervisor_end: socket.socket) -> None:
        """Continue as the new process; never returns."""
        code = EXIT_FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in _HANDLED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # The ends of the supervisor must be closed here, or no child would ever see it die;
            # the sockets of others, or requests would wait in sockets nobody reads.
            self._selector.close()
            self._wakeup.close()
            self._wakeup_write.close()
            supervisor_end.close()
            for other in self._children:
                other.close_control()
                if other is not child:
                    other.close_sockets()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED_SIGNALS)
            code = child.main(child.sockets, control)
        except Exception:
            log.exception("%s ends on a bug", child.name)
        finally:
            logging.shutdown()
            # Not sys.exit: the caller's cleanup (pytest's, the command line's) is the parent's.
            os._exit(code)

    def _reap(self) -> None:
        """Take note of dead children and decide when they are replaced."""
        for child in self._children:
            if not child.pid:
                continue
            # Our own children one by one: the caller may have others.
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._on_death(child, os.waitstatus_to_exitcode(status))

    def _on_death(self, child: Child, exit_code: int) -> None:
        # Reaped: whoever stops us now must not wait for it again.
        pid, child.pid = child.pid, 0
        # What it said last explains its death.
        self._on_control(child)
        self._forget_control(child)
        child.ready = False
        self._count_ready()
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        if not self._announced and child.must_be_ready:
            raise StartError(
                "the server cannot start",
                why=f"{child.name} ended with {how} before it was ready",
                remedy="see the log",
            )
        self._note_reload(child, True)  # its replacement reads the files anew
        log.error("%s (pid %d) ended with %s", child.name, pid, how)
        if child in self._workers:
            self._counters.worker_restarts += 1
        else:
            self._counters.companion_restarts += 1
        child.note_death(self._settings.max_back_off_s)

    def _stop_all(self) -> None:
        """Drain and end all: first what asks the workers, then the workers, then what they ask."""
        if self._announced:
            sd_notify("STOPPING=1")
        self._close_sockets()
        drain_s = self._settings.drain_s
        self._stop(self._before, drain_s * COMPANION_DRAIN_SHARE)
        self._stop(self._workers, drain_s)
        self._stop(self._after, drain_s * COMPANION_DRAIN_SHARE)
        if self._announced:
            self._log_counters()

    def _stop(self, children: Sequence[Child], drain_s: float) -> None:
        """Drain some children; kill what is left after the drain time. Ours, by pid."""
        for child in children:
            if child.control is not None:
                say(child.control, DRAIN)
        deadline = time.monotonic() + drain_s
        killed = False
        while True:
            for child in children:
                if child.pid and os.waitpid(child.pid, os.WNOHANG)[0]:
                    child.pid = 0
            left = [child for child in children if child.pid]
            if not left:
                break
            if not killed and time.monotonic() >= deadline:
                killed = True
                for child in left:
                    log.error("%s did not end in time and is killed", child.name)
                    os.kill(child.pid, signal.SIGKILL)
            time.sleep(_EXIT_POLL_S)
        for child in children:
            child.close_control()

    def _log_counters(self) -> None:
        """Log what all workers did since the start, those that are dead included."""
        totals = self._shared.counters.totals()
        log.info("counters: %s", " ".join(f"{name}={count}" for name, count in totals.items()))

    def _close_sockets(self) -> None:
        for child in self._children:
            child.close_sockets()
        for sock in self._inherited:
            sock.close()


def _noted(number: int, _frame: object) -> None:
    """Do nothing: the wake-up socket has the number of the signal already."""
