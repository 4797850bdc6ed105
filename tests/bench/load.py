"""A load on a server: requests offered at a rate, or as fast as they are answered, by UDP or TCP.

One process, one epoll. Each request has a socket of its own from sending to its reply or its
timeout, so a reply can be told to belong to it; nothing is sent again.
"""

import gc
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Transport = Literal["udp", "tcp"]

AS_REP_TAG: Final = 0x6B
_NEVER: Final = 0.0


@dataclass(slots=True, kw_only=True)
class Offered:
    """One request on its way."""

    number: int
    sent_at: float
    answered_at: float = _NEVER
    """Monotonic; 0: never."""
    connected_at: float = _NEVER
    """By TCP: when the connection was there."""
    tag: int = 0
    """The first octet of the reply."""
    ended: str = "no reply"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a load."""

    seconds: float
    requests: list[Offered]

    def tickets(self) -> list[Offered]:
        """Return the requests that got an AS-REP."""
        return [one for one in self.requests if one.tag == AS_REP_TAG]

    def lost(self) -> list[Offered]:
        """Return the requests that got no reply."""
        return [one for one in self.requests if not one.answered_at]

    def rate(self) -> float:
        """Return tickets per second, those that came while requests were sent."""
        return self.in_time() / self.seconds

    def in_time(self) -> int:
        """Count the tickets that came while requests were sent."""
        end = self.requests[0].sent_at + self.seconds
        return sum(one.answered_at <= end for one in self.tickets())

    def ends(self) -> dict[str, int]:
        """Count how requests ended."""
        return dict(Counter(one.ended for one in self.requests))

    def latency_ms(self, share: float, *, connected: bool = False) -> float:
        """Return a percentile of the time from sending (or connection) to any reply."""
        spans = sorted(
            one.answered_at - (one.connected_at if connected else one.sent_at)
            for one in self.requests
            if one.answered_at
        )
        return 1000 * spans[min(len(spans) - 1, int(len(spans) * share))] if spans else float("nan")


@dataclass(slots=True)
class _Slot:
    sock: socket.socket
    one: Offered
    message: bytes
    received: bytes = b""
    done: bool = False


@dataclass(slots=True)
class _Load:
    address: tuple[str, int]
    transport: Transport
    timeout_s: float
    sources: Sequence[str]
    poll: select.epoll = field(default_factory=select.epoll)
    slots: dict[int, _Slot] = field(default_factory=dict)
    idle: list[socket.socket] = field(default_factory=list)
    waiting: deque[_Slot] = field(default_factory=deque)
    started: int = 0

    def send(self, number: int, message: bytes) -> Offered:
        one = Offered(number=number, sent_at=time.monotonic())
        if self.transport == "udp":
            sock = self.idle.pop() if self.idle else self._new_udp()
            slot = self.slots[sock.fileno()] = _Slot(sock, one, message)
            try:
                sock.send(message)
            except ConnectionRefusedError:
                self.end(slot, "refused")
        else:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.sources:
                sock.bind((self.sources[self.started % len(self.sources)], 0))
            sock.connect_ex(self.address)
            slot = self.slots[sock.fileno()] = _Slot(sock, one, message)
            self.poll.register(sock.fileno(), select.EPOLLOUT)
        self.started += 1
        if not slot.done:
            self.waiting.append(slot)
        return one

    def _new_udp(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        if self.sources:
            sock.bind((self.sources[self.started % len(self.sources)], 0))
        sock.connect(self.address)
        self.poll.register(sock.fileno(), select.EPOLLIN)
        return sock

    def end(self, slot: _Slot, how: str) -> None:
        slot.done = True
        slot.one.ended = how
        fd = slot.sock.fileno()
        del self.slots[fd]
        if self.transport == "udp" and how == "answered":
            self.idle.append(slot.sock)
            return
        self.poll.unregister(fd)
        slot.sock.close()

    def receive(self, wait_s: float) -> None:
        for fd, _ in self.poll.poll(wait_s, 256):
            slot = self.slots.get(fd)
            if slot is not None:
                try:
                    self._on_event(slot)
                except BlockingIOError:
                    continue
                except OSError as error:
                    self.end(slot, error.strerror or "error")

    def _on_event(self, slot: _Slot) -> None:
        if self.transport == "tcp" and not slot.one.connected_at:
            failure = slot.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failure:
                raise OSError(failure, f"connection failed ({failure})")
            slot.one.connected_at = time.monotonic()
            slot.sock.send(len(slot.message).to_bytes(4, "big") + slot.message)
            self.poll.modify(slot.sock.fileno(), select.EPOLLIN)
            return
        data = slot.sock.recv(65536)
        if self.transport == "tcp":
            slot.received += data
            if data and (
                len(slot.received) < 5
                or len(slot.received) < 4 + int.from_bytes(slot.received[:4], "big")
            ):
                return
            data = slot.received[4:]
        if data:
            slot.one.answered_at = time.monotonic()
            slot.one.tag = data[0]
            self.end(slot, "answered")
        else:
            self.end(slot, "closed")

    def expire(self) -> None:
        limit = time.monotonic() - self.timeout_s
        while self.waiting and (self.waiting[0].done or self.waiting[0].one.sent_at < limit):
            slot = self.waiting.popleft()
            if not slot.done:
                self.end(slot, "no reply")

    def close(self) -> None:
        for sock in self.idle:
            sock.close()
        self.poll.close()


def offer(
    address: tuple[str, int],
    messages: Sequence[bytes],
    *,
    transport: Transport = "udp",
    rate: float = 0.0,
    window: int = 16,
    timeout_s: float = 2.0,
    sources: Sequence[str] = (),
    when_sent: Callable[[], None] | None = None,
) -> Outcome:
    """Send messages and wait for their replies.

    rate: per second, whatever the replies do; 0: `window` at a time, as fast as they are answered.
    sources: addresses to send from, in turn. when_sent: called once, after the last was sent.
    """
    load = _Load(address, transport, timeout_s, sources)
    requests: list[Offered] = []
    gc.disable()
    began = time.monotonic()
    try:
        while len(requests) < len(messages):
            if rate:
                due = min(len(messages), int((time.monotonic() - began) * rate) + 1)
                # Replies are looked after in between, or their times would be too long.
                due = min(due, len(requests) + 16)
            else:
                due = min(len(messages), len(requests) + window - len(load.slots))
            while len(requests) < due:
                requests.append(load.send(len(requests), messages[len(requests)]))
            pause = began + len(requests) / rate - time.monotonic() if rate else 0.05
            load.receive(max(0.0, min(pause, 0.05)))
            load.expire()
        ended = time.monotonic()
        if when_sent is not None:
            when_sent()
        while load.slots:
            load.receive(0.05)
            load.expire()
        if not rate:
            ended = time.monotonic()
    finally:
        load.close()
        gc.enable()
    return Outcome(seconds=ended - began, requests=requests)
