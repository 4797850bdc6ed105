"""UDP endpoints and TCP listeners of one worker, on sockets that are bound already.

Overload. What waits is bounded where it waits, so that the newest requests are shed, at no cost
to the worker, and those taken are answered while their clients still wait.
1. Datagrams wait in the socket's buffer alone; its size bounds how many, and the kernel drops what
   comes when it is full.
2. Connections wait in the listen queue. Accepting pauses while the messages of those accepted
   already would keep the worker busy for long, and the queue is narrowed until nothing waits; the
   kernel then ignores further SYNs, and clients repeat them after a second.
3. A turn of the loop answers a few datagrams and a few messages of connections, so that neither
   transport starves the other.

They read and write the sockets themselves, woken by uvloop: measured, that costs what uvloop's own
transports cost (7 us a UDP request, 40 us a TCP connection, most of it in the kernel), and it lets
us answer from the address a client has written to, refuse connections before anything is built for
them, and survive a full table of file descriptors.
"""

import asyncio
import errno
import logging
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from kdc.outcome import Peer, Service
from kdc.server.alarm import Alarm
from kdc.server.connection import MESSAGES_PER_TURN, TURN_S, ConnectionTable
from kdc.server.dispatch import LATER, Dispatcher
from kdc.server.framing import MAX_UDP_MESSAGE_BYTES
from kdc.server.reply_budget import MAX_AMPLIFICATION, Allowance, ReplyBudget
from kdc.wire.constants import ErrorCode, MessageType

log = logging.getLogger(__name__)

UDP_QUEUE_BYTES: Final = 104 * 1024
"""SO_RCVBUF. Linux doubles it and charges each datagram the memory that it takes: measured, 166
logons by password or 48 by key fit, which is 50 to 80 ms of work. A larger buffer would serve more
of a burst, and in an overload every client later by what it holds."""

ACCEPTS_PER_TURN: Final = 16
"""Accepted per wake-up: a flood of connections must not keep the others waiting, and what they send
must be seen before more are taken."""

OVERLOAD_BACKLOG: Final = 16
"""The length of the listen queue in an overload: a few milliseconds of work."""

OVERLOAD_PAUSE_S: Final = 0.01
"""How long accepting pauses while too much waits: short, so that no core idles when it is over."""

ACCEPT_PAUSE_S: Final = 0.1
"""The wait when accepting fails and there is no connection to close: well under the second within
which a listener must recover, and no busy loop meanwhile."""

REFUSED_SOURCE_PORTS: Final = frozenset({0, 7, 19, 88, 464})
"""Services that answer anything (echo, chargen, kpasswd, another KDC): a forged request from there
starts two servers answering each other without end (CVE-2002-2443). No client uses these ports."""

REQUEST_TAGS: Final = frozenset(
    bytes((0x60 | kind,)) for kind in (MessageType.AS_REQ, MessageType.TGS_REQ)
)
"""The first octet of a request to a KDC."""
_KRB_ERROR_TAG: Final = bytes((0x60 | MessageType.KRB_ERROR,))

OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# From linux/in.h; Python's socket module names only the IPv6 ones.
_IP_PKTINFO: Final = 8
_IPV4_INFO = struct.Struct("=i4s4s")
_ANCILLARY_BYTES: Final = 64

_Ancillary = list[tuple[int, int, bytes]]
_SocketAddress = tuple[str, int] | tuple[str, int, int, int]


def peer_address(sockaddr: _SocketAddress) -> str:
    """Return the address in plain form: no zone, and IPv4 where a socket for both says ::ffff:."""
    address = sockaddr[0]
    if ":" in address:
        address = address.partition("%")[0]
        if address.startswith("::ffff:") and "." in address:
            address = address[7:]
    return address


class UdpEndpoint:
    """One UDP socket: a datagram in, the handler called, the reply out."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        dispatcher: Dispatcher,
        budget: ReplyBudget,
        service: Service = "kdc",
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._dispatcher = dispatcher
        self._budget = budget
        self._service: Service = service
        self._local = peer_address(sock.getsockname())
        self._alarm = Alarm(log, "cannot send by UDP: %s")
        self._budget_alarm = Alarm(
            log,
            "alarm: the UDP reply budget of the network of %s is spent: a flood with forged"
            " sources, or udp_reply_budget is too small for it",
        )
        # Here and not where the socket is bound, since systemd binds some.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_QUEUE_BYTES)
        self._with_info = _is_wildcard(sock)
        if self._with_info:
            # Bound to no address, a reply would leave from whichever the route prefers, and a
            # client that has connected its socket would never see it.
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        loop.add_reader(sock.fileno(), self._on_readable)

    def drain(self, deadline: float) -> None:
        """Answer what has arrived, until a time of the loop at most, then read no more."""
        while self._loop.time() < deadline and self._answer_one():
            pass
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _on_readable(self) -> None:
        end = time.monotonic() + TURN_S
        for _ in range(MESSAGES_PER_TURN):
            if not self._answer_one() or time.monotonic() >= end:
                return

    def _answer_one(self) -> bool:
        """Answer one datagram; return False when none is waiting."""
        ancillary: _Ancillary = []
        try:
            if self._with_info:
                message, ancillary, _, sockaddr = self._sock.recvmsg(
                    MAX_UDP_MESSAGE_BYTES, _ANCILLARY_BYTES
                )
            else:
                message, sockaddr = self._sock.recvfrom(MAX_UDP_MESSAGE_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            # An ICMP error for an earlier reply, reported here; the next read goes on.
            return True
        port = sockaddr[1]
        if port in REFUSED_SOURCE_PORTS:
            self._dispatcher.counters.dropped_by_port += 1
            return True
        peer = Peer(address=peer_address(sockaddr), port=port, transport="udp")
        if self._service == "kpasswd":
            peer.service = self._service
            peer.local = _local_address(ancillary) or self._local
        slot = self._budget.slot(peer.address)
        if slot is None:
            later = partial(self._send, ancillary, sockaddr)
            self._send(ancillary, sockaddr, self._dispatcher.answer(message, peer, later))
        else:
            later = partial(self._send_within_budget, slot, message, peer, ancillary, sockaddr)
            self._answer_within_budget(slot, message, peer, later)
        return True

    def _send(self, ancillary: _Ancillary, sockaddr: _SocketAddress, reply: bytes | None) -> None:
        """Send a reply; nothing for None, or while it is still to come (LATER)."""
        if not reply or self._sock.fileno() < 0:
            return
        try:
            if ancillary:
                self._sock.sendmsg([reply], _reply_info(ancillary), 0, sockaddr)
            else:
                self._sock.sendto(reply, sockaddr)
        except OSError as error:
            # The send buffer is full, a firewall forbids it, the route is gone: the client asks
            # again. Waiting would only serve it late and the others later.
            self._dispatcher.counters.send_errors += 1
            self._alarm.raise_(error.strerror)

    def _answer_within_budget(
        self, slot: int, message: bytes, peer: Peer, send: Callable[[bytes | None], None]
    ) -> None:
        """Answer what may come from an address that is not the sender's."""
        dispatcher = self._dispatcher
        allowance = self._budget.allowance(slot)
        if allowance is Allowance.ANY:
            reply = dispatcher.answer(
                message, peer, partial(self._sent_to_tcp, message, peer, send)
            )
            if reply != LATER:
                self._sent_to_tcp(message, peer, send, reply)
        elif allowance is Allowance.SHORT and message[:1] in REQUEST_TAGS:
            # Unread: whatever it costs, it may be forged, and its client comes back by TCP.
            dispatcher.counters.sent_to_tcp += 1
            reply = dispatcher.refuse(
                ErrorCode.KRB_ERR_RESPONSE_TOO_BIG, "the network's UDP budget is nearly spent", peer
            )
            send(reply)
        else:
            dispatcher.counters.dropped_by_budget += 1
            self._budget_alarm.raise_(peer.address)

    def _sent_to_tcp(
        self, message: bytes, peer: Peer, send: Callable[[bytes | None], None], reply: bytes | None
    ) -> None:
        """Send a reply, or in the place of an error that amplifies the way to TCP."""
        if reply and reply[:1] == _KRB_ERROR_TAG and _amplifies(message, reply):
            self._dispatcher.counters.sent_to_tcp += 1
            reply = self._dispatcher.response_too_big()
        send(reply)

    def _send_within_budget(
        self,
        slot: int,
        message: bytes,
        peer: Peer,
        ancillary: _Ancillary,
        sockaddr: _SocketAddress,
        reply: bytes | None,
    ) -> None:
        """Send a reply and charge its size, unless it is an error that amplifies."""
        if not reply:
            return
        if _is_error(reply, peer) and _amplifies(message, reply):
            self._dispatcher.counters.dropped_by_size += 1
            return
        self._budget.charge(slot, len(reply))
        self._send(ancillary, sockaddr, reply)


def _amplifies(message: bytes, reply: bytes) -> bool:
    return len(reply) > MAX_AMPLIFICATION * len(message)


def _is_error(reply: bytes, peer: Peer) -> bool:
    """Tell whether a reply is a KRB-ERROR; in kpasswd's frame that is one without an AP-REP."""
    if peer.service == "kpasswd":
        return reply[4:6] == bytes(2)
    return reply[:1] == _KRB_ERROR_TAG


def _local_address(ancillary: _Ancillary) -> str:
    """Return the address that a datagram was sent to; "" when the system did not say."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= _IPV4_INFO.size:
            # The address in the header (ipi_addr), not that of the interface.
            return socket.inet_ntop(socket.AF_INET, _IPV4_INFO.unpack_from(data)[2])
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return socket.inet_ntop(socket.AF_INET6, data[:16])
    return ""


def _is_wildcard(sock: socket.socket) -> bool:
    return sock.getsockname()[0] in ("0.0.0.0", "::")  # noqa: S104  a comparison, no binding


def _reply_info(ancillary: _Ancillary) -> _Ancillary:
    """Return the control message that makes a reply leave from the address of the request."""
    replies: _Ancillary = []
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= _IPV4_INFO.size:
            _, local, _ = _IPV4_INFO.unpack_from(data)
            # Without the interface: the route back may be another one.
            replies.append((level, kind, _IPV4_INFO.pack(0, local, bytes(4))))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            # A link-local address means nothing without its interface, so that stays.
            replies.append((level, kind, data))
    return replies


class TcpListener:
    """One listening socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        connections: ConnectionTable,
        service: Service = "kdc",
    ) -> None:
        self._loop = loop
        self._service: Service = service
        self._sock = sock
        self._connections = connections
        self._alarm = Alarm(log, "cannot accept TCP connections: %s")
        self._resume: asyncio.TimerHandle | None = None
        self._narrow = False
        # Replies are one write each; without this the last segment of a large one could wait for
        # an acknowledgement that the client delays by 40 ms. Accepted sockets inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add_reader(sock.fileno(), self._on_readable)

    def drain(self) -> None:
        """Take the connections that are made already, then accept no more."""
        self._accept(self._connections.limits.backlog)
        self.close()

    def close(self) -> None:
        """Close the socket."""
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _on_readable(self) -> None:
        room = self._connections.room
        if room <= 0:
            self._connections.dispatcher.counters.accept_pauses += 1
            if not self._narrow:
                self._narrow = True
                self._sock.listen(OVERLOAD_BACKLOG)
            self._pause(OVERLOAD_PAUSE_S)
            return
        if self._narrow and self._connections.idle:
            self._narrow = False
            self._sock.listen(self._connections.limits.backlog)
        self._accept(min(room, ACCEPTS_PER_TURN))

    def _accept(self, limit: int) -> None:
        for _ in range(limit):
            try:
                sock, sockaddr = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._connections.dispatcher.counters.accept_errors += 1
                if error.errno not in OUT_OF_DESCRIPTORS:
                    continue  # The peer was gone before we came (accept(2), "Error handling").
                self._alarm.raise_(error.strerror)
                if self._connections.close_idlest():
                    continue
                self._pause(ACCEPT_PAUSE_S)
                return
            sock.setblocking(False)
            peer = Peer(address=peer_address(sockaddr), port=sockaddr[1], transport="tcp")
            if self._service == "kpasswd":
                peer.service = self._service
                peer.local = peer_address(sock.getsockname())
            self._connections.admit(sock, peer)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._resume = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._sock.fileno(), self._on_readable)
