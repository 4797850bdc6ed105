"""A request, a reply and a route as values: handlers are functions of them and need no server.

Rules.
1. Everything in a Request is the client's word but `peer` and `client_certificate`.
2. A name that may come once is read with `single`: a parameter given twice has two readers who
   disagree (RFC 6749 3.1 and 3.2 forbid it).
3. `Reply.note` is for the audit record alone; nothing of it is sent.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from tenant.services import Services

MAX_PAIRS: Final = 64
"""Parameters of a query or a form; the longest real one, a PRT request, has ten."""

JSON_TYPE: Final = "application/json; charset=utf-8"


class MalformedError(Exception):
    """A query, form or path is not what its syntax says; the text is fixed."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names and values in their order, as of a query or a form. A name may come several times."""

    items: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """Return the first value of a name; None when there is none."""
        return next((value for key, value in self.items if key == name), None)

    def all(self, name: str) -> tuple[str, ...]:
        """Return all values of a name."""
        return tuple(value for key, value in self.items if key == name)

    def single(self, name: str) -> str | None:
        """Return the only value of a name; None when there is none.

        Raises MalformedError when it comes twice (RFC 6749 3.2).
        """
        values = self.all(name)
        if len(values) > 1:
            raise MalformedError("a parameter is included more than once")
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Headers(Pairs):
    """The headers of a request, their names in lower case."""

    @classmethod
    def of(cls, items: Iterable[tuple[str, str]]) -> "Headers":
        """Take names in any case."""
        return cls(tuple((name.lower(), value) for name, value in items))


def parse_pairs(data: bytes) -> Pairs:
    """Parse a query or an application/x-www-form-urlencoded body strictly.

    Raises MalformedError: too many pairs, a broken percent sign, not UTF-8.
    Source: URL Standard 5.1; RFC 6749 appendix B.
    """
    parts = [part for part in data.split(b"&") if part]
    if len(parts) > MAX_PAIRS:
        raise MalformedError("there are too many parameters")
    pairs = (part.partition(b"=") for part in parts)
    return Pairs(tuple((_form_text(name), _form_text(value)) for name, _, value in pairs))


_BROKEN_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _form_text(data: bytes) -> str:
    return percent_decoded(data.replace(b"+", b" "))


def percent_decoded(data: bytes) -> str:
    """Decode %XX and UTF-8. Raises MalformedError."""
    if _BROKEN_PERCENT.search(data):
        raise MalformedError("a percent sign does not start two hexadecimal digits")
    try:
        return unquote_to_bytes(data).decode()
    except UnicodeDecodeError:
        raise MalformedError("it is not UTF-8 text") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One whole request, within the server's bounds."""

    method: str
    """In capitals."""
    host: str
    """Of the Host header, in lower case and without a port."""
    path: str
    """As it arrived, without the query."""
    match: Mapping[str, str] = field(default_factory=dict)
    """What the braces of the route's path stand for, decoded."""
    query: Pairs = Pairs()
    headers: Headers = Headers()
    body: bytes = field(default=b"", repr=False)
    client_certificate: bytes | None = field(default=None, repr=False)
    """DER; it is verified: it was issued by the tenant's own CA and is valid now."""
    peer: str = "127.0.0.1"
    """IP address in text form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the audit record says of a reply besides its status. Never a token or a password."""

    reason: str = ""
    """One fixed phrase."""
    user: str | None = None
    """UPN."""
    device: str | None = None
    """Device id."""
    key: str | None = None
    """Id of a registered key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a request."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    note: Note = Note()

    @classmethod
    def json(
        cls,
        status: int,
        value: object,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        note: Note | None = None,
    ) -> "Reply":
        """Answer with a JSON value."""
        body = json.dumps(value, separators=(",", ":")).encode()
        return cls(status=status, body=body, headers=headers, note=note or Note())


Handler = Callable[["Services", Request], Awaitable[Reply]]
"""Answers one request. Raises TenantError for what is refused; anything else is a bug."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, and who answers.

    path: segments between slashes; {name} stands for any one segment. Letters' case and one slash
    at the end make no difference, as for the real services.
    """

    method: str
    path: str
    handler: Handler

    def match(self, segments: tuple[str, ...]) -> Mapping[str, str] | None:
        """Match a path's decoded segments; None when they are of another route."""
        wanted = _segments(self.path)
        if len(wanted) != len(segments):
            return None
        found = {}
        for pattern, segment in zip(wanted, segments, strict=True):
            if pattern.startswith("{"):
                found[pattern[1:-1]] = segment
            elif pattern.casefold() != segment.casefold():
                return None
        return found


def _segments(path: str) -> tuple[str, ...]:
    parts = path.split("/")[1:]
    if parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def path_segments(path: str) -> tuple[str, ...]:
    """Split a path into its decoded segments. Raises MalformedError.

    A slash, backslash or control character that only decoding brings forth is refused: it would
    make another path of it for the next reader.
    """
    segments = tuple(percent_decoded(part.encode("latin-1", "replace")) for part in _segments(path))
    for segment in segments:
        if not segment or segment in (".", "..") or not segment.isprintable():
            raise MalformedError("the path has an empty or unprintable segment")
        if "/" in segment or "\\" in segment:
            raise MalformedError("the path has a segment with a slash in it")
    return segments
