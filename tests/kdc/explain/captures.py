"""Captures made octet by octet: pcap and pcapng, link layers, IP, UDP, TCP."""

import ipaddress
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from tests.kdc.builders import NOW

CLIENT, KDC = "192.0.2.7", "192.0.2.1"
CLIENT6, KDC6 = "2001:db8::7", "2001:db8::1"
PORT, KDC_PORT = 40_000, 8888

ETHERNET, NULL, LOOP, RAW, COOKED, COOKED2 = 1, 0, 108, 101, 113, 276


def udp(payload: bytes, source: int = PORT, target: int = KDC_PORT) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload


def tcp(
    payload: bytes,
    sequence: int,
    *,
    source: int = PORT,
    target: int = KDC_PORT,
    flags: int = 0x18,
    options: bytes = b"",
) -> bytes:
    offset = (20 + len(options)) // 4 << 4
    header = struct.pack("!HHIIBBHHH", source, target, sequence, 0, offset, flags, 65535, 0, 0)
    return header + options + payload


def ipv4(
    payload: bytes,
    protocol: int,
    source: str = CLIENT,
    target: str = KDC,
    *,
    ident: int = 1,
    fragment: int = 0,
) -> bytes:
    """Wrap in IPv4; fragment: the flags and offset field."""
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, fragment, 64, protocol, 0)
    return head + addresses + payload


def ipv6(payload: bytes, protocol: int, source: str = CLIENT6, target: str = KDC6) -> bytes:
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload


def ethernet(packet: bytes, vlan: bool = False) -> bytes:
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    tag = struct.pack("!HH", 0x8100, 7) if vlan else b""
    return bytes(12) + tag + struct.pack("!H", kind) + packet


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (ETHERNET, ethernet),
    "VLAN": (ETHERNET, lambda p: ethernet(p, vlan=True)),
    "BSD loopback": (NULL, lambda p: b"\x02\0\0\0" + p),
    "OpenBSD loopback": (LOOP, lambda p: b"\0\0\0\x02" + p),
    "raw": (RAW, lambda p: p),
    "Linux cooked": (COOKED, lambda p: bytes(14) + b"\x08\x00" + p),
    "Linux cooked 2": (COOKED2, lambda p: b"\x08\x00" + bytes(18) + p),
}


def pcap(
    packets: Sequence[bytes], link: int = ETHERNET, *, order: str = "<", nano: bool = False
) -> bytes:
    """Write a pcap; packets are a second apart from NOW on."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262_144, link)
    for index, packet in enumerate(packets):
        at = int((NOW + timedelta(seconds=index)).timestamp())
        out += struct.pack(order + "IIII", at, 0, len(packet), len(packet)) + packet
    return out


def _block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def pcapng(
    packets: Sequence[bytes], link: int = ETHERNET, *, order: str = "<", at: datetime = NOW
) -> bytes:
    """Write a pcapng with an interface of nanoseconds."""
    section = struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)
    options = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    out = _block(order, 0x0A0D0D0A, section)
    out += _block(order, 1, struct.pack(order + "HHI", link, 0, 0) + options)
    for index, packet in enumerate(packets):
        units = int((at + timedelta(seconds=index)).timestamp()) * 1_000_000_000
        head = (0, units >> 32, units & 0xFFFFFFFF, len(packet), len(packet))
        out += _block(order, 6, struct.pack(order + "IIIII", *head) + packet)
    return out


def framed(message: bytes) -> bytes:
    """Put the length before a message, as over TCP."""
    return struct.pack("!I", len(message)) + message
