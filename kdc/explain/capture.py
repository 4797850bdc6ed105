"""Kerberos messages in a capture file: pcap and pcapng, UDP and TCP, on any port.

Rules
  1. Bounded: MAX_FILE_BYTES, MAX_PACKETS, MAX_MESSAGES, MAX_STREAM_BYTES. What is over is left out
     and counted.
  2. A packet that is not what it should be is skipped, never an error; only a file that is no
     capture at all is one.
  3. A message is known by its first octet and by a length that fits: no port is asked for.

Theory of operation. Link layer, IP (fragments are put together: PKINIT over UDP does not fit into
one Ethernet frame) and UDP are peeled off packet by packet. TCP segments are collected for each
direction of a connection, put in order by sequence number when all are read, and cut into messages
by their length prefix (RFC 4120 7.2.2).

Formats: the pcap and pcapng drafts of the IETF's opsawg; link types as registered there.
"""

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kdc.explain.tree import message_name
from pki import der
from pki.errors import PkiError

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PACKETS = 500_000
MAX_PACKET_BYTES = 256 * 1024
MAX_MESSAGES = 2000
MAX_STREAMS = 4096
MAX_STREAM_BYTES = 512 * 1024  # of one direction of a connection
MAX_FRAGMENTED = 256  # datagrams that wait for fragments
MAX_KERBEROS_BYTES = 256 * 1024

_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}
_SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = (0x8100, 0x88A8, 0x9100)
_TCP, _UDP = 6, 17
_IPV6_SKIPPED = (0, 43, 60)  # hop-by-hop, routing, destination options
_IPV6_FRAGMENT = 44


class CaptureError(Exception):
    """The file is no capture, or one of a kind we do not read; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One message of a capture."""

    time: datetime
    source: str
    """`192.0.2.7:40000`."""
    target: str
    transport: str
    message: bytes


@dataclass(slots=True, kw_only=True)
class Capture:
    """What was read of a file, in the order of time."""

    messages: list[Captured] = field(default_factory=list)
    packets: int = 0
    skipped: int = 0
    """Packets that could not be read, and messages over a bound."""


def looks_like_capture(data: bytes) -> bool:
    """Tell by the first octets whether a file is a capture."""
    return data[:4] in _PCAP_MAGICS or data[:4] == _SECTION_HEADER


def read_capture(data: bytes) -> Capture:
    """Read the Kerberos messages of a capture. Raises CaptureError."""
    packets = _pcapng(data) if data[:4] == _SECTION_HEADER else _pcap(data)
    out = Capture()
    network = _Network(out)
    for time, link, packet in packets:
        out.packets += 1
        if out.packets > MAX_PACKETS:
            out.skipped += 1
            break
        try:
            network.packet(time, link, packet)
        except (struct.error, IndexError, ValueError):
            out.skipped += 1
    network.finish()
    out.messages.sort(key=lambda m: m.time)
    return out


# -- files -----------------------------------------------------------------------------------

_Packet = tuple[datetime, int, bytes]


def _pcap(data: bytes) -> Iterator[_Packet]:
    known = _PCAP_MAGICS.get(data[:4])
    if known is None:
        raise CaptureError("neither pcap nor pcapng")
    order, per_second = known
    if len(data) < 24:
        raise CaptureError("the header of the file is cut off")
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    pos = 24
    while pos + 16 <= len(data):
        seconds, fraction, length = struct.unpack_from(order + "III", data, pos)
        pos += 16
        if length > MAX_PACKET_BYTES:
            return
        yield _moment(seconds * per_second + fraction, per_second), link, data[pos : pos + length]
        pos += length


def _pcapng(data: bytes) -> Iterator[_Packet]:
    order = "<"
    interfaces: list[tuple[int, int]] = []
    pos = 0
    while pos + 12 <= len(data):
        if data[pos : pos + 4] == _SECTION_HEADER:
            magic = data[pos + 8 : pos + 12]
            if magic not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
                raise CaptureError("a pcapng section of unknown byte order")
            order = "<" if magic == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, length = struct.unpack_from(order + "II", data, pos)
        if length < 12 or length % 4 or pos + length > len(data):
            return
        body = data[pos + 8 : pos + length - 4]
        if kind == 1 and len(body) >= 8:  # Interface Description
            link = struct.unpack_from(order + "H", body)[0]
            interfaces.append((link, _resolution(order, body[8:])))
        elif kind == 6 and len(body) >= 20:  # Enhanced Packet
            index, high, low, size = struct.unpack_from(order + "IIII", body)
            if index < len(interfaces):
                link, per_second = interfaces[index]
                yield _moment(high << 32 | low, per_second), link, body[20 : 20 + size]
        elif kind == 3 and interfaces:  # Simple Packet: no time, the first interface
            yield _EPOCH, interfaces[0][0], body[4:]
        pos += length


def _resolution(order: str, options: bytes) -> int:
    """Return how many units a second the times of an interface have (if_tsresol)."""
    pos = 0
    while pos + 4 <= len(options):
        code, length = struct.unpack_from(order + "HH", options, pos)
        if code == 0:
            break
        if code == 9 and length == 1 and pos + 5 <= len(options):
            value = options[pos + 4]
            return int(2 ** min(value & 0x7F, 60) if value & 0x80 else 10 ** min(value, 18))
        pos += 4 + (length + 3) // 4 * 4
    return 1_000_000


def _moment(units: int, per_second: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=units * 1_000_000 // per_second)
    except OverflowError:
        return _EPOCH


# -- packets ---------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Stream:
    """One direction of a TCP connection."""

    source: str
    target: str
    first: int | None = None
    """Sequence number of the first octet of data."""
    segments: dict[int, tuple[datetime, bytes]] = field(default_factory=dict)
    octets: int = 0


class _Network:
    """Peels packets and collects what belongs together."""

    def __init__(self, out: Capture) -> None:
        self._out = out
        self._fragments: dict[tuple[object, ...], dict[int, tuple[bytes, bool]]] = {}
        self._streams: dict[tuple[str, str], _Stream] = {}

    def packet(self, time: datetime, link: int, packet: bytes) -> None:
        """Take one packet of a link layer."""
        if link in (0, 108):  # BSD loopback: a protocol family in some byte order
            self._ip(time, packet[4:])
        elif link == 1:
            self._ethernet(time, packet)
        elif link in (101, 228, 229, 12, 14):  # raw IP
            self._ip(time, packet)
        elif link == 113:  # Linux cooked
            self._by_type(time, struct.unpack_from("!H", packet, 14)[0], packet[16:])
        elif link == 276:  # Linux cooked, version 2
            self._by_type(time, struct.unpack_from("!H", packet)[0], packet[20:])
        else:
            self._out.skipped += 1

    def _ethernet(self, time: datetime, packet: bytes) -> None:
        pos = 12
        kind = struct.unpack_from("!H", packet, pos)[0]
        for _ in range(2):
            if kind in _VLAN:
                pos += 4
                kind = struct.unpack_from("!H", packet, pos)[0]
        self._by_type(time, kind, packet[pos + 2 :])

    def _by_type(self, time: datetime, kind: int, packet: bytes) -> None:
        if kind in (_IPV4, _IPV6):
            self._ip(time, packet)

    def _ip(self, time: datetime, packet: bytes) -> None:
        version = packet[0] >> 4
        if version == 4:
            self._ipv4(time, packet)
        elif version == 6:
            self._ipv6(time, packet)

    def _ipv4(self, time: datetime, packet: bytes) -> None:
        header = (packet[0] & 15) * 4
        total, ident, flags = struct.unpack_from("!HHH", packet, 2)
        protocol = packet[9]
        source, target = (str(ipaddress.IPv4Address(packet[i : i + 4])) for i in (12, 16))
        # Offloading leaves a total length of zero in what the sender captured.
        payload = packet[header : total or len(packet)]
        offset, more = (flags & 0x1FFF) * 8, bool(flags & 0x2000)
        if offset or more:
            place = (source, target, ident, protocol)
            whole = self._fragment(place, offset, payload, more)
            if whole is None:
                return
            payload = whole
        self._transport(time, source, target, protocol, payload)

    def _ipv6(self, time: datetime, packet: bytes) -> None:
        length, protocol = struct.unpack_from("!HB", packet, 4)
        source, target = (f"[{ipaddress.IPv6Address(packet[i : i + 16])}]" for i in (8, 24))
        payload = packet[40 : 40 + length] if length else packet[40:]
        for _ in range(8):
            if protocol in _IPV6_SKIPPED:
                protocol, payload = payload[0], payload[(payload[1] + 1) * 8 :]
            elif protocol == _IPV6_FRAGMENT:
                following, _, where, ident = struct.unpack_from("!BBHI", payload)
                place = (source, target, ident, following)
                whole = self._fragment(place, where & 0xFFF8, payload[8:], bool(where & 1))
                if whole is None:
                    return
                protocol, payload = following, whole
            else:
                break
        self._transport(time, source, target, protocol, payload)

    def _fragment(
        self, place: tuple[object, ...], offset: int, payload: bytes, more: bool
    ) -> bytes | None:
        """Keep a fragment; return the whole datagram when it was the last one missing."""
        if place not in self._fragments and len(self._fragments) >= MAX_FRAGMENTED:
            self._fragments.pop(next(iter(self._fragments)))
            self._out.skipped += 1
        parts = self._fragments.setdefault(place, {})
        parts[offset] = (payload, more)
        data = b""
        while len(data) in parts:
            piece, goes_on = parts[len(data)]
            data += piece
            if not goes_on:
                del self._fragments[place]
                return data
            if not piece:
                break
        return None

    def _transport(
        self, time: datetime, source: str, target: str, protocol: int, payload: bytes
    ) -> None:
        if protocol not in (_UDP, _TCP):
            return
        source_port, target_port = struct.unpack_from("!HH", payload)
        source, target = f"{source}:{source_port}", f"{target}:{target_port}"
        if protocol == _UDP:
            length = struct.unpack_from("!H", payload, 4)[0]
            self._message(time, source, target, "udp", payload[8 : length or len(payload)])
        else:
            self._segment(time, source, target, payload)

    def _segment(self, time: datetime, source: str, target: str, payload: bytes) -> None:
        sequence = struct.unpack_from("!I", payload, 4)[0]
        header, flags = (payload[12] >> 4) * 4, payload[13]
        data = payload[header:]
        stream = self._streams.get((source, target))
        if stream is None or flags & 2:  # SYN: the numbers begin anew
            if stream is not None:
                self._cut(stream)
            elif len(self._streams) >= MAX_STREAMS:
                self._out.skipped += 1
                return
            first = (sequence + 1) & 0xFFFFFFFF if flags & 2 else None
            stream = _Stream(source=source, target=target, first=first)
            self._streams[source, target] = stream
        if not data:
            return
        if stream.first is None:
            stream.first = sequence
        if stream.octets + len(data) > MAX_STREAM_BYTES:
            self._out.skipped += 1
            return
        stream.octets += len(data)
        place = (sequence - stream.first) & 0xFFFFFFFF
        known = stream.segments.get(place)
        if known is None or len(known[1]) < len(data):
            stream.segments[place] = (time, data)

    def finish(self) -> None:
        """Cut all streams into messages."""
        for stream in self._streams.values():
            self._cut(stream)

    def _cut(self, stream: _Stream) -> None:
        data = bytearray()
        times: list[tuple[int, datetime]] = []
        for place in sorted(stream.segments):
            time, piece = stream.segments[place]
            if place > len(data):
                break  # a segment is missing: what follows cannot be told apart
            if place + len(piece) > len(data):
                times.append((len(data), time))
                data += piece[len(data) - place :]
        pos = 0
        while pos + 4 <= len(data):
            length = int.from_bytes(data[pos : pos + 4], "big")
            message = bytes(data[pos + 4 : pos + 4 + length])
            if length > MAX_KERBEROS_BYTES or len(message) != length:
                break
            # The time of the segment that made the message whole.
            time = max(moment for begun, moment in times if begun < pos + 4 + length)
            self._message(time, stream.source, stream.target, "tcp", message)
            pos += 4 + length

    def _message(
        self, time: datetime, source: str, target: str, transport: str, message: bytes
    ) -> None:
        if not message_name(message) or not _fills(message):
            return
        if len(self._out.messages) >= MAX_MESSAGES:
            self._out.skipped += 1
            return
        self._out.messages.append(
            Captured(time=time, source=source, target=target, transport=transport, message=message)
        )


def _fills(message: bytes) -> bool:
    """Tell whether a message's outer length is that of the message, give or take a broken one."""
    try:
        _, _, end = der.read_tlv(message)
    except (PkiError, IndexError):
        return len(message) >= 16
    return end <= len(message) <= end + 16
