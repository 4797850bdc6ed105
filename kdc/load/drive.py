"""Sending the requests at their times and noting what came back. One process, one epoll.

Each request has a socket of its own from sending to its reply or its timeout, so that a reply can
be told to belong to it; nothing is sent again. `tcp-kept` keeps a set of connections and sends on
one when its last reply has come: a request that finds none free waits, and its wait is counted.
"""

import gc
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from kdc.load.measure import (
    CLOSED_CONNECTION,
    NETWORK_ERROR,
    NO_REPLY,
    REFUSED_CONNECTION,
    TICKET,
    TICKET_TAGS,
    UNREADABLE,
    Record,
    cpu_seconds,
    process_tree,
)
from kdc.load.plan import Closed, Schedule, Transport
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from pki.errors import PkiError

BURST = 16  # sent between two looks at replies, or their times would be too long
TICK_S = 0.02
LOOPBACK_SOURCES = 16
"""Loopback addresses that TCP connections come from in turn: a KDC limits connections by source."""
SPARE_DESCRIPTORS = 64
_KRB_ERROR_TAG = 0x7E

Watch = Callable[[Record, int, float], bool]
"""Called a few times a second with (record, requests sent, seconds); True ends the load."""


class DriveError(Exception):
    """The load could not be sent: (what, why, what to do)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveOptions:
    """How requests are sent."""

    address: tuple[str, int]
    transport: Transport = "udp"
    timeout_s: float = 2.0
    connections: int = 16
    """Of tcp-kept."""
    kdc_pid: int | None = None
    """Whose processor time, with its children's, is taken over the load."""


@dataclass(slots=True)
class _Slot:
    sock: socket.socket
    number: int = -1
    due_by: float = 0.0
    connected: bool = False
    message: memoryview | None = None
    received: bytes = b""


@dataclass(slots=True)
class _Drive:
    options: DriveOptions
    messages: Sequence[memoryview]
    record: Record
    sampled: frozenset[int]
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    poll: select.epoll = field(default_factory=select.epoll)
    slots: dict[int, _Slot] = field(default_factory=dict)
    """By descriptor: those with a request on its way, and kept connections."""
    idle: list[_Slot] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    """tcp-kept: requests for which no connection was free."""
    expiring: deque[tuple[float, int, int]] = field(default_factory=deque)
    busy: int = 0
    began: float = 0.0
    codes: dict[bytes, int] = field(default_factory=dict)

    def send(self, number: int) -> None:
        """Send a request, or let it wait for a kept connection."""
        transport = self.options.transport
        if transport == "tcp-kept":
            if not self.idle and len(self.slots) >= self.options.connections:
                self.waiting.append(number)
                return
            slot = self.idle.pop() if self.idle else self._open(number)
        elif transport == "udp" and self.idle:
            slot = self.idle.pop()
        else:
            slot = self._open(number)
        self._begin(slot, number)

    def _open(self, turn: int) -> _Slot:
        udp = self.options.transport == "udp"
        host, _ = self.options.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        sock.setblocking(False)
        if not udp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET and ip_address(host).is_loopback:
                sock.bind((f"127.0.0.{turn % LOOPBACK_SOURCES + 1}", 0))
        sock.connect_ex(self.options.address)
        slot = _Slot(sock, connected=udp)
        self.slots[sock.fileno()] = slot
        self.poll.register(sock.fileno(), select.EPOLLIN if udp else select.EPOLLOUT)
        return slot

    def _begin(self, slot: _Slot, number: int) -> None:
        now = time.monotonic()
        slot.number, slot.received = number, b""
        slot.message = self.messages[number]
        self.record.sent[number] = now - self.began
        self.record.ends[number] = NO_REPLY
        self.expiring.append((now + self.options.timeout_s, slot.sock.fileno(), number))
        self.busy += 1
        if slot.connected:
            self._transmit(slot)

    def _transmit(self, slot: _Slot) -> None:
        message = slot.message
        if message is None:
            return
        try:
            if self.options.transport == "udp":
                slot.sock.send(message)
            else:
                # A few KiB always fit the empty buffer of a connection.
                slot.sock.sendall(len(message).to_bytes(4, "big") + message)
        except ConnectionRefusedError:
            self._end(slot, REFUSED_CONNECTION)
        except OSError:
            self._end(slot, NETWORK_ERROR)

    def look(self, wait_s: float) -> None:
        """Take what came in."""
        for fd, _ in self.poll.poll(wait_s, 512):
            slot = self.slots.get(fd)
            if slot is None:
                continue
            try:
                self._on_event(slot)
            except BlockingIOError:
                continue
            except ConnectionRefusedError:
                self._end(slot, REFUSED_CONNECTION)
            except ConnectionError:
                self._end(slot, CLOSED_CONNECTION)
            except OSError:
                self._end(slot, NETWORK_ERROR)

    def _on_event(self, slot: _Slot) -> None:
        if not slot.connected:
            failure = slot.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failure:
                raise ConnectionRefusedError(failure, "connection failed")
            slot.connected = True
            self.poll.modify(slot.sock.fileno(), select.EPOLLIN)
            self._transmit(slot)
            return
        data = slot.sock.recv(65536)
        if self.options.transport != "udp":
            slot.received += data
            if data and (
                len(slot.received) < 4
                or len(slot.received) < 4 + int.from_bytes(slot.received[:4], "big")
            ):
                return
            data = slot.received[4:] if data else b""
        if slot.number < 0:  # a kept connection that the server closed, or a late datagram
            if self.options.transport != "udp":
                self._drop(slot)
            return
        if not data:
            self._end(slot, CLOSED_CONNECTION)
            return
        number = slot.number
        self.record.answered[number] = time.monotonic() - self.began
        self._end(slot, self._judge(data))
        if number in self.sampled and self.record.ends[number] == TICKET:
            self.replies.append((number, data))

    def _judge(self, data: bytes) -> int:
        if data[0] in TICKET_TAGS:
            return TICKET
        if data[0] != _KRB_ERROR_TAG:
            return UNREADABLE
        try:
            return asn1.decode(KrbError, data).error_code
        except PkiError:
            return UNREADABLE

    def _end(self, slot: _Slot, end: int) -> None:
        number, slot.number = slot.number, -1
        if number >= 0:
            self.record.ends[number] = end
            self.busy -= 1
        answered = end in (TICKET, UNREADABLE) or end > 0
        if self.options.transport == "tcp" or not answered:
            self._drop(slot)
            if self.waiting:
                self._begin(self._open(number), self.waiting.popleft())
        elif self.options.transport == "udp":
            self.idle.append(slot)
        else:
            self._begin_waiting(slot)

    def _begin_waiting(self, slot: _Slot) -> None:
        if self.waiting:
            self._begin(slot, self.waiting.popleft())
        else:
            self.idle.append(slot)

    def _drop(self, slot: _Slot) -> None:
        fd = slot.sock.fileno()
        if fd >= 0:
            self.slots.pop(fd, None)
            self.poll.unregister(fd)
            slot.sock.close()
        if slot in self.idle:
            self.idle.remove(slot)

    def expire(self) -> None:
        """End requests whose time is over."""
        now = time.monotonic()
        while self.expiring and self.expiring[0][0] < now:
            _, fd, number = self.expiring.popleft()
            slot = self.slots.get(fd)
            if slot is not None and slot.number == number:
                self._end(slot, NO_REPLY)
        # Those that wait for a kept connection have a time limit as well.
        limit = now - self.began - self.options.timeout_s
        while self.waiting and self.record.due[self.waiting[0]] < limit:
            self.record.ends[self.waiting.popleft()] = NO_REPLY

    def outstanding(self) -> int:
        """Count requests without an end."""
        return self.busy + len(self.waiting)

    def close(self) -> None:
        """Close all sockets."""
        for slot in list(self.slots.values()):
            slot.sock.close()
        self.poll.close()


def allow_descriptors() -> int:
    """Raise this process's limit of open files as far as it may be, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def drive(
    messages: Sequence[memoryview],
    schedule: Schedule,
    options: DriveOptions,
    sampled: frozenset[int],
    watch: Watch,
) -> tuple[Record, list[tuple[int, bytes]]]:
    """Send all messages; return the record, and the replies of sampled requests.

    Raises DriveError when this machine cannot send the load.
    """
    record = Record(len(messages))
    run = _Drive(options, messages, record, sampled)
    descriptors = allow_descriptors() - SPARE_DESCRIPTORS
    pids = process_tree(options.kdc_pid) if options.kdc_pid is not None else []
    gc.collect()
    gc.disable()
    try:
        if options.transport == "tcp-kept":
            for turn in range(options.connections):
                run.idle.append(run._open(turn))
        cpu_before, kdc_before = time.process_time(), cpu_seconds(pids)
        record.started_at = time.time()
        run.began = time.monotonic()
        if isinstance(schedule, Closed):
            sent = _send_closed(run, schedule.window, watch)
            record.seconds = time.monotonic() - run.began
        else:
            sent = _send_open(run, list(schedule.send_times()), descriptors, watch)
            record.seconds = (
                schedule.seconds if sent == record.count else time.monotonic() - run.began
            )
        while run.outstanding():
            run.look(TICK_S)
            run.expire()
        elapsed = time.monotonic() - run.began
        record.cpu_share = (time.process_time() - cpu_before) / elapsed if elapsed else 0.0
        if pids:
            record.kdc_cpu_s = cpu_seconds(pids) - kdc_before
        watch(record, sent, elapsed)
    except OSError as error:
        raise DriveError(
            "the load cannot be sent",
            (error.strerror or "the system refuses").lower(),
            "raise the limit of open files (ulimit -n), or lower the rate",
        ) from None
    finally:
        run.close()
        gc.enable()
    return record, run.replies


def _send_open(run: _Drive, times: Sequence[float], descriptors: int, watch: Watch) -> int:
    record = run.record
    for number, due in enumerate(times):
        record.due[number] = due
    sent, total, next_look = 0, len(times), 0.25
    while sent < total:
        now = time.monotonic() - run.began
        burst = 0
        while sent < total and times[sent] <= now and burst < BURST:
            if len(run.slots) >= descriptors:
                raise OSError(24, "too many open files")
            run.send(sent)
            sent += 1
            burst += 1
        pause = times[sent] - (time.monotonic() - run.began) if sent < total else 0.0
        run.look(max(0.0, min(pause, TICK_S)))
        run.expire()
        if now >= next_look:
            next_look = now + 0.25
            if watch(record, sent, now):
                break
    return sent


def _send_closed(run: _Drive, window: int, watch: Watch) -> int:
    record = run.record
    sent, total, next_look = 0, record.count, 0.25
    while sent < total or run.outstanding():
        while sent < total and run.outstanding() < window:
            record.due[sent] = time.monotonic() - run.began
            run.send(sent)
            sent += 1
        run.look(TICK_S)
        run.expire()
        now = time.monotonic() - run.began
        if now >= next_look:
            next_look = now + 0.25
            if watch(record, sent, now):
                break
    return sent
