"""TCP framing (RFC 4120 7.2.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdc.server.framing import MAX_TCP_MESSAGE_BYTES, MessageTooLong, TcpFramer, frame


def drain(framer: TcpFramer) -> list[bytes]:
    """Return all whole messages."""
    messages = []
    while (message := framer.next_message()) is not None:
        messages.append(message)
    return messages


def test_two_messages_split_at_every_octet_arrive_whole() -> None:
    """However TCP cuts the stream, the messages are the same (RFC 4120 7.2.2)."""
    stream = frame(b"first") + frame(b"") + frame(b"third message")
    for cut in range(len(stream) + 1):
        framer = TcpFramer()
        framer.feed(stream[:cut])
        messages = drain(framer)
        framer.feed(stream[cut:])
        messages += drain(framer)
        assert messages == [b"first", b"", b"third message"], cut
        assert framer.buffered_bytes == 0


def test_message_fed_octet_by_octet_arrives_whole() -> None:
    """Nothing is given out before the last octet."""
    framer = TcpFramer()
    stream = frame(b"message")
    for octet in stream[:-1]:
        framer.feed(bytes((octet,)))
        assert framer.next_message() is None
    framer.feed(stream[-1:])
    assert framer.next_message() == b"message"


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 9)))
def test_any_split_of_any_messages_gives_the_messages(parts: list[bytes], cuts: list[int]) -> None:
    """The framer gives back what was framed, for any sizes of reads."""
    stream = b"".join(frame(part) for part in parts)
    framer = TcpFramer()
    messages: list[bytes] = []
    for cut in cuts:
        framer.feed(stream[:cut])
        stream = stream[cut:]
        messages += drain(framer)
    framer.feed(stream)
    assert messages + drain(framer) == parts


@pytest.mark.parametrize(
    "announced", [MAX_TCP_MESSAGE_BYTES + 1, 16 * 1024 * 1024, 0x80000000, 0x80000001, 0xFFFFFFFF]
)
def test_length_over_the_limit_or_with_the_high_bit_is_too_long(announced: int) -> None:
    """Row W01: refused from the four octets alone, and nothing is allocated for it."""
    framer = TcpFramer()
    framer.feed(announced.to_bytes(4, "big")[:3])
    assert framer.next_message() is None
    framer.feed(announced.to_bytes(4, "big")[3:])
    with pytest.raises(MessageTooLong) as caught:
        framer.next_message()
    assert caught.value.announced == announced
    assert framer.buffered_bytes == 4


def test_messages_before_a_too_long_one_are_given_out() -> None:
    """A good request is answered although the next one on the connection is refused."""
    framer = TcpFramer()
    framer.feed(frame(b"good") + b"\xff\xff\xff\xff")
    assert framer.next_message() == b"good"
    with pytest.raises(MessageTooLong):
        framer.next_message()


def test_message_of_exactly_the_limit_is_taken() -> None:
    """The cap itself is allowed."""
    framer = TcpFramer()
    framer.feed(frame(bytes(MAX_TCP_MESSAGE_BYTES)))
    assert framer.next_message() == bytes(MAX_TCP_MESSAGE_BYTES)
