"""TCP framing of Kerberos messages (RFC 4120 7.2.2), without any I/O.

Rules.
1. A message is preceded by its length: four octets, big-endian, high bit zero.
2. A length with the high bit set, or over the cap, is answered KRB_ERR_FIELD_TOOLONG (61) and the
   connection is closed: there is no way to find the start of a next message.
3. Nothing is allocated by the announced length; the buffer holds what has arrived, no more.
"""

from typing import Final

LENGTH_OCTETS: Final = 4

MAX_TCP_MESSAGE_BYTES: Final = 256 * 1024
"""A PKINIT request with a long chain and a TGT with a large PAC stay under 64 KiB; Windows caps its
tokens at 64 KiB as well. Four times that leaves room and keeps a hostile connection cheap."""

MAX_UDP_MESSAGE_BYTES: Final = 64 * 1024
"""No UDP datagram is larger: its length field has 16 bits."""


class MessageTooLong(Exception):  # noqa: N818  the name of the condition, as in KRB_ERR_FIELD_TOOLONG
    """The peer announced a message we will not take; answer 61 and close."""

    def __init__(self, announced: int) -> None:
        super().__init__(f"announced length {announced:#x} is over the limit")
        self.announced = announced


class TcpFramer:
    """Turns the bytes of one TCP connection into whole messages, however they were split.

    `feed` what arrived, then call `next_message` until it returns None.
    """

    __slots__ = ("_buffer", "_max_message_bytes", "_position")

    def __init__(self, max_message_bytes: int = MAX_TCP_MESSAGE_BYTES) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._max_message_bytes = max_message_bytes

    @property
    def buffered_bytes(self) -> int:
        """Return how many received octets wait to become a message."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        """Take octets as they arrived from the peer."""
        if self._position:
            # Consumed messages are cut off here, once per read, not once per message: several
            # small messages in one segment would otherwise move the rest of the buffer each time.
            del self._buffer[: self._position]
            self._position = 0
        self._buffer += data

    def next_message(self) -> bytes | None:
        """Return the next whole message without its length, or None when more octets are needed.

        Raises MessageTooLong as soon as the length is known; the framer is of no use afterwards.
        """
        start = self._position + LENGTH_OCTETS
        if len(self._buffer) < start:
            return None
        length = int.from_bytes(self._buffer[self._position : start], "big")
        # The high bit is reserved for extensions that must be refused (RFC 4120 7.2.2); a length
        # that has it set is also over the cap, so one comparison covers both.
        if length > self._max_message_bytes:
            raise MessageTooLong(length)
        end = start + length
        if len(self._buffer) < end:
            return None
        self._position = end
        return bytes(self._buffer[start:end])


def frame(message: bytes) -> bytes:
    """Return the message with its length in front, as it goes out on TCP."""
    return len(message).to_bytes(LENGTH_OCTETS, "big") + message
