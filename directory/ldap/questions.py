"""What a worker asks the follower when the store alone cannot answer, and what it is told.

One line of JSON each way over a local stream socket in the state folder (mode 0600):
`{"id": 7, "ask": [["name", "alice"], ["key", "17:9f86…"]]}` and `{"id": 7, "told": "changed"}`.
"""

from enum import StrEnum
from typing import Final

import msgspec

SOCKET_NAME: Final = "follower.sock"
STATUS_NAME: Final = "follower.status"
MAX_LINE_BYTES: Final = 32 * 1024
MAX_QUESTIONS: Final = 16
MAX_NAME_CHARS: Final = 1024
ASK_TIMEOUT_S: Final = 2.5
"""A worker's patience, so that whoever waits is answered (29) within 3 s (rows L01, L02)."""
FETCH_TIMEOUT_S: Final = 2.0
"""The follower's own, for everything that one question takes."""


class Ask(StrEnum):
    """What is asked."""

    NAME = "name"
    """An account of this sAMAccountName."""
    UPN = "upn"
    SPN = "spn"
    ACCOUNT = "account"
    """The account of this number in the store, as it is now."""
    KEY = "key"
    """The same, since a key is not on it: `number:digest`."""
    DEVICE = "device"
    """A device object of this msDS-DeviceID, as 32 hexadecimal digits."""


class Told(StrEnum):
    """What the follower found."""

    CHANGED = "changed"
    """The store is otherwise than before: ask it again."""
    SAME = "same"
    """The directory says what the store says."""
    AWAY = "away"
    """No server could be asked."""
    BUSY = "busy"
    """Too many questions a second (directory.miss_rate)."""


Question = tuple[str, str]
"""(Ask, value)."""


class Request(msgspec.Struct):
    """A worker's question."""

    id: int
    ask: list[tuple[str, str]]


class Reply(msgspec.Struct):
    """The follower's answer."""

    id: int
    told: str


def socket_address(descriptor: int) -> str:
    """Return the socket's address by way of an open descriptor of its folder.

    The path itself may be longer than the 108 octets that an address has room for.
    """
    return f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
