"""A TCP stream gives the same messages however it is cut, and never holds more than has arrived.

The first half of the input says where to cut, the second half is the stream.
"""

from kdc.server.framing import LENGTH_OCTETS, MessageTooLong, TcpFramer, frame

_CAP = 700


def _expected(stream: bytes) -> tuple[list[bytes], bool]:
    """Cut a stream as RFC 4120 7.2.2 says: (messages, whether a length was refused)."""
    out: list[bytes] = []
    at = 0
    while at + LENGTH_OCTETS <= len(stream):
        length = int.from_bytes(stream[at : at + LENGTH_OCTETS], "big")
        if length > _CAP:
            return out, True
        if at + LENGTH_OCTETS + length > len(stream):
            break
        at += LENGTH_OCTETS + length
        out.append(stream[at - length : at])
    return out, False


def one(data: bytes) -> None:
    """Feed one stream in pieces."""
    cuts, stream = data[: len(data) // 2], data[len(data) // 2 :]
    framer = TcpFramer(_CAP)
    got: list[bytes] = []
    refused = False
    at, turn = 0, 0
    while at < len(stream) and not refused:
        size = 1 + (cuts[turn % len(cuts)] if cuts else 0)
        turn += 1
        framer.feed(stream[at : at + size])
        at += size
        try:
            while (message := framer.next_message()) is not None:
                got.append(message)
        except MessageTooLong as error:
            assert error.announced > _CAP
            refused = True
        assert framer.buffered_bytes <= len(stream)
    assert (got, refused) == _expected(stream)
    assert all(_framed_and_read(message) == message for message in got)


def _framed_and_read(message: bytes) -> bytes | None:
    framer = TcpFramer(_CAP)
    framer.feed(frame(message))
    return framer.next_message()
