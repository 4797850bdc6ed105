"""Kerberos messages out of captures: any port, UDP and TCP, however they were cut."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdc.explain import capture
from kdc.explain.capture import CaptureError, looks_like_capture, read_capture
from tests.kdc.builders import BODY, NOW, as_req, pk_as_req
from tests.kdc.explain.captures import (
    LINKS,
    RAW,
    ethernet,
    framed,
    ipv4,
    ipv6,
    pcap,
    pcapng,
    tcp,
    udp,
)

SMALL = as_req(BODY)
TCP, UDP = 6, 17


def messages(data: bytes) -> list[bytes]:
    return [m.message for m in read_capture(data).messages]


@pytest.mark.parametrize("link", LINKS)
def test_a_datagram_is_found_behind_each_link_layer(link: str) -> None:
    """Ethernet with and without a VLAN tag, both loopbacks, raw IP, Linux' cooked forms."""
    number, wrap = LINKS[link]
    (found,) = read_capture(pcap([wrap(ipv4(udp(SMALL), UDP))], number)).messages
    assert found.message == SMALL
    assert (found.source, found.target) == ("192.0.2.7:40000", "192.0.2.1:8888")
    assert (found.transport, found.time) == ("udp", NOW)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["pcap", "nanoseconds", "pcapng"])
def test_each_format_is_read(kind: str, order: str) -> None:
    """Both byte orders; times in microseconds and nanoseconds."""
    packets = [ethernet(ipv4(udp(SMALL), UDP)), b"", ethernet(ipv6(udp(SMALL), UDP))]
    if kind == "pcapng":
        data = pcapng(packets, order=order)
    else:
        data = pcap(packets, order=order, nano=kind == "nanoseconds")
    assert looks_like_capture(data)
    found = read_capture(data).messages
    assert [(m.message, m.time) for m in found] == [
        (SMALL, NOW),
        (SMALL, NOW + timedelta(seconds=2)),
    ]
    assert found[1].source == "[2001:db8::7]:40000"


@pytest.mark.parametrize("backwards", [False, True])
def test_a_fragmented_datagram_is_put_together(backwards: bool) -> None:
    """A PKINIT request over UDP does not fit into one Ethernet frame."""
    whole = udp(pk_as_req())
    cuts = [(0, 800), (800, 1200), (1200, len(whole))]
    packets = [
        ethernet(ipv4(whole[a:b], UDP, fragment=a // 8 | (0x2000 if b < len(whole) else 0)))
        for a, b in cuts
    ]
    assert messages(pcap(packets[::-1] if backwards else packets)) == [whole[8:]]
    assert messages(pcap(packets[:2])) == []


def test_ipv6_fragments_and_other_headers_are_read() -> None:
    """A destination option before, and a fragment header of two parts."""
    whole = udp(pk_as_req())
    parts = [(0, 1000, 1), (1000, len(whole), 0)]
    packets = []
    for a, b, more in parts:
        fragment = bytes((UDP, 0)) + (a | more).to_bytes(2, "big") + b"\0\0\0\x07" + whole[a:b]
        packets.append(ethernet(ipv6(bytes((44, 0)) + bytes(6) + fragment, 60)))
    assert messages(pcap(packets)) == [whole[8:]]


def segments(stream: bytes, size: int, first: int = 0xFFFFFF00) -> list[bytes]:
    """Cut a stream into packets; the sequence number wraps around."""
    return [
        ethernet(ipv4(tcp(stream[i : i + size], (first + i) & 0xFFFFFFFF), TCP))
        for i in range(0, len(stream), size)
    ]


@pytest.mark.parametrize("size", [1, 3, 500, 100_000])
def test_a_tcp_stream_is_cut_into_its_messages(size: int) -> None:
    """However the segments fall, with two messages in one connection."""
    big = pk_as_req()
    found = read_capture(pcap(segments(framed(SMALL) + framed(big), size))).messages
    assert [m.message for m in found] == [SMALL, big]
    assert {m.transport for m in found} == {"tcp"}


def test_segments_out_of_order_repeated_and_with_options_are_put_right() -> None:
    """SYN gives the first number; a retransmission and a timestamp option change nothing."""
    syn = ethernet(ipv4(tcp(b"", 0xFFFFFEFF, flags=2, options=bytes(12)), TCP))
    cut = segments(framed(pk_as_req()), 400)
    packets = [syn, cut[1], cut[0], cut[1], *reversed(cut[2:]), cut[0]]
    assert len(messages(pcap(packets))) == 1


def test_a_missing_segment_ends_its_stream_and_no_other() -> None:
    """What follows a gap cannot be told apart."""
    cut = segments(framed(pk_as_req()), 400)
    other = ethernet(ipv4(tcp(framed(SMALL), 5, source=41_000), TCP))
    assert messages(pcap([cut[0], cut[2], other])) == [SMALL]


def test_other_traffic_is_left_out() -> None:
    """DNS, TLS, ARP, ICMP, and a stream of something else on any port."""
    packets = [
        ethernet(ipv4(udp(b"\x12\x34\x01\x00" + bytes(20)), UDP)),
        ethernet(ipv4(tcp(b"\x16\x03\x01\x02\x00" + bytes(600), 1), TCP)),
        bytes(12) + b"\x08\x06" + bytes(28),
        ethernet(ipv4(b"\x08\x00" + bytes(30), 1)),
        ethernet(ipv4(udp(b"\x6a\x03abc" + bytes(100)), UDP)),
        b"\x00",
    ]
    read = read_capture(pcap(packets))
    assert read.messages == []
    assert read.packets == len(packets)


def test_a_file_that_is_no_capture_is_an_error() -> None:
    """The CLI takes it for a raw message before it comes here."""
    assert not looks_like_capture(SMALL)
    with pytest.raises(CaptureError, match="neither pcap nor pcapng"):
        read_capture(SMALL)
    with pytest.raises(CaptureError, match="cut off"):
        read_capture(pcap([])[:20])


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages, streams, octets of a stream, waiting fragments: what is over is counted."""
    monkeypatch.setattr(capture, "MAX_MESSAGES", 3)
    read = read_capture(pcap([ethernet(ipv4(udp(SMALL), UDP))] * 5))
    assert (len(read.messages), read.skipped) == (3, 2)
    monkeypatch.setattr(capture, "MAX_STREAMS", 2)
    packets = [ethernet(ipv4(tcp(framed(SMALL), 1, source=p), TCP)) for p in range(1, 5)]
    assert len(messages(pcap(packets))) == 2
    monkeypatch.setattr(capture, "MAX_STREAM_BYTES", 1000)
    assert messages(pcap(segments(framed(pk_as_req()), 400))) == []
    monkeypatch.setattr(capture, "MAX_FRAGMENTED", 2)
    waiting = [ethernet(ipv4(udp(SMALL)[:48], UDP, ident=i, fragment=0x2000)) for i in range(9)]
    assert read_capture(pcap(waiting)).skipped == 7


@settings(max_examples=150)
@given(st.data())
def test_a_broken_capture_never_raises_anything_else(data: st.DataObject) -> None:
    """Cut, changed and made-up files are read as far as they go."""
    packets = [
        ethernet(ipv4(udp(SMALL), UDP)),
        ethernet(ipv6(tcp(framed(SMALL), 1), TCP)),
        ethernet(ipv4(udp(SMALL)[:40], UDP, fragment=0x2000)),
    ]
    whole = bytearray(data.draw(st.sampled_from([pcap(packets), pcapng(packets)])))
    for _ in range(data.draw(st.integers(1, 10))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(24, len(whole)))])
    try:
        assert read_capture(cut).packets <= 4
    except CaptureError:
        assert cut[:4] == b"\x0a\x0d\x0d\x0a"
    packet = data.draw(st.binary(max_size=80))
    for link in (0, 1, 101, 113, 276, 9999):
        read_capture(pcap([packet], link))


def test_raw_ip_of_an_unknown_version_is_nothing() -> None:
    """Rule 2."""
    assert messages(pcap([b"\x90" + bytes(60)], RAW)) == []
