"""A question by HTTP and its answer, apart from who asks it."""

from dataclasses import dataclass
from typing import Protocol


class FetchError(Exception):
    """There was no answer of use; the text is a fixed phrase for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask, and how much it may cost."""

    url: str
    is_free: bool
    """Whether the address may lead anywhere: it is the administrator's, not a certificate's."""
    max_bytes: int
    within_s: float
    post: tuple[str, bytes] | None = None
    """Media type and body of what is posted."""
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server gave; body None: what we have is still right (304)."""

    body: bytes | None
    etag: str = ""
    last_modified: str = ""


class Asker(Protocol):
    """Who asks: `http_client.HttpClient`."""

    async def ask(self, question: Question) -> Answer:
        """Ask one question. Raises FetchError."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
