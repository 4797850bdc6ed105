"""One connection to a directory server: open, prove, search. Blocking, for one thread.

Rules
  1. Every operation has a deadline and a bound in octets; past either the connection is closed. A
     server that drips, floods or answers another question harms nobody but this connection.
  2. No secret leaves before the server is known: a simple bind with a password happens under TLS
     (host name checked) or on a local socket, and an empty password is no bind at all (RFC 4513
     5.1.2: it would succeed and prove nothing).
  3. Referrals and references are never followed: a server could send us, with our credentials,
     anywhere.
  4. All trouble is DirectoryError: UNAVAILABLE, or DENIED when the server refuses who we are.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import NoReturn, Protocol, Self

from directory.ldap import ber, messages
from directory.ldap.ber import BerError
from directory.ldap.filters import Filter, present
from directory.ldap.messages import (
    Answer,
    Control,
    Entry,
    Reference,
    Result,
    ResultCode,
    Scope,
)
from directory.ldap.reach import LdapError, check_safe, reach, reason_of, tls_context
from directory.ldap.settings import LdapSettings, LdapUrl

MAX_SMALL_BYTES = 1024 * 1024
"""Of everything until the bind is done."""
MAX_OPERATION_BYTES = 512 * 1024 * 1024
"""Of one page: 1,000 entries with every value they may have fit."""
MAX_FETCH_BYTES = 64 * 1024 * 1024
"""Of an answer that a request waits for."""
MAX_SASL_STEPS = 8
MAX_RANGES = 1000
"""Of one attribute: 1.5 million values."""
_READ_BYTES = 64 * 1024

PING_TIMEOUT_S = 5.0

OPEN = present("objectClass")
NO_ATTRIBUTES = "1.1"


class SaslClient(Protocol):
    """A SASL mechanism, the client's side."""

    mechanism: str

    def step(self, challenge: bytes | None) -> bytes | None:
        """Answer a challenge; None at the first step. Raises DirectoryError(DENIED)."""


class External:
    """SASL EXTERNAL: who we are is known from the socket (RFC 4422 A)."""

    mechanism = "EXTERNAL"

    def step(self, challenge: bytes | None) -> bytes | None:
        """Ask for no other identity than our own."""
        del challenge
        return b""


class LdapConnection:
    """An open and bound connection; `LdapConnection.open(...)` makes one."""

    def __init__(self, url: LdapUrl, settings: LdapSettings, sock: socket.socket) -> None:
        self.url = url
        self._settings = settings
        self._sock: socket.socket | None = sock
        self._buffer = bytearray()
        self._number = 0
        self._left = 0
        self._deadline = 0.0
        self._ping = 0
        self._pinged_at = 0.0
        self.answered_at = 0.0
        """When a stream or a ping was last answered; monotonic."""
        self.references = 0
        """How many references were not followed."""

    # -- opening -----------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        url: LdapUrl,
        settings: LdapSettings,
        sasl: SaslClient | None = None,
        timeout_s: float | None = None,
    ) -> Self:
        """Reach a server, check who it is and say who we are, all within `timeout_s`.

        Raises DirectoryError: UNAVAILABLE, DENIED, INVALID (a bind that would be unsafe).
        """
        deadline = time.monotonic() + (timeout_s or settings.connect_timeout_s)
        check_safe(url, settings)
        sock = reach(url, deadline)
        connection = cls(url, settings, sock)
        try:
            connection._begin(max(0.01, deadline - time.monotonic()), MAX_SMALL_BYTES)
            if url.scheme == "ldaps":
                connection._wrap()
            elif url.scheme == "ldap" and settings.starttls:
                connection._start_tls()
            connection._bind(sasl)
        except BaseException:
            connection.close()
            raise
        return connection

    def _wrap(self) -> None:
        """Begin TLS and check the server's name against its certificate."""
        if self._sock is None or self._buffer:
            self._fail("sent data before TLS began")
        try:
            context = tls_context(self._settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            self._fail(f"cannot read {self._settings.ca_file or 'the issuers'}: {error}")
        self._sock.settimeout(max(0.01, self._deadline - time.monotonic()))
        try:
            self._sock = context.wrap_socket(self._sock, server_hostname=self.url.host)
        except ssl.SSLCertVerificationError as error:
            self._fail(f"its certificate is refused: {error.verify_message}")
        except (ssl.SSLError, OSError) as error:
            self._fail(f"TLS does not begin: {reason_of(error)}")

    def _start_tls(self) -> None:
        result = self._ask(messages.extended(self._next_number(), messages.START_TLS))
        if result.code != ResultCode.SUCCESS:
            self._fail(f"refuses StartTLS: {_told(result)}", code=result.code)
        self._wrap()

    def _bind(self, sasl: SaslClient | None) -> None:
        settings = self._settings
        if sasl is None and settings.sasl == "external":
            sasl = External()
        if sasl is not None:
            self._sasl_bind(sasl)
        elif settings.sasl == "gssapi":
            # Without this, who has no ticket would be anonymous, and see less than there is.
            self._fail("is to be logged on to by GSSAPI, and there is no ticket", denied=True)
        elif settings.bind_dn:
            request = messages.simple_bind(
                self._next_number(), settings.bind_dn, settings.bind_password
            )
            self._bound(self._ask(request))

    def _sasl_bind(self, sasl: SaslClient) -> None:
        answer = sasl.step(None)
        for _ in range(MAX_SASL_STEPS):
            result = self._ask(messages.sasl_bind(self._next_number(), sasl.mechanism, answer))
            if result.code != ResultCode.SASL_BIND_IN_PROGRESS:
                if result.code == ResultCode.SUCCESS and result.sasl is not None:
                    sasl.step(result.sasl)
                self._bound(result)
                return
            answer = sasl.step(result.sasl or b"")
        self._fail("the SASL bind does not end")

    def _bound(self, result: Result) -> None:
        if result.code != ResultCode.SUCCESS:
            denied = result.code in (
                ResultCode.INVALID_CREDENTIALS,
                ResultCode.INAPPROPRIATE_AUTHENTICATION,
                ResultCode.INSUFFICIENT_ACCESS_RIGHTS,
                ResultCode.NO_SUCH_OBJECT,
            )
            self._fail(f"refuses the bind: {_told(result)}", denied=denied, code=result.code)

    def close(self) -> None:
        """Close the connection."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.settimeout(0)
                sock.send(messages.unbind(self._next_number()))
            with contextlib.suppress(OSError):
                sock.close()

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return self._sock is not None

    def fileno(self) -> int:
        """Return the descriptor; -1 when closed."""
        return -1 if self._sock is None else self._sock.fileno()

    # -- searching ---------------------------------------------------------------------------

    def search(
        self,
        base: str,
        scope: Scope,
        filter_: Filter,
        attributes: Iterable[str],
        *,
        timeout_s: float | None = None,
        size_limit: int = 0,
        max_bytes: int = MAX_OPERATION_BYTES,
        controls: Iterable[Control] = (),
    ) -> Iterator[Entry | Result]:
        """Search; give each entry as it comes, and the result, which is a success, at the end.

        The connection is busy until the iterator has ended. Raises LdapError.
        """
        timeout_s = timeout_s or self._settings.operation_timeout_s
        self._begin(timeout_s, max_bytes)
        number = self._next_number()
        self._send(
            messages.search(
                number,
                base,
                scope,
                filter_,
                attributes,
                size_limit=size_limit,
                time_limit_s=max(1, int(timeout_s)),
                controls=controls,
            )
        )
        while True:
            answer = self._next_answer(number)
            if isinstance(answer, Entry):
                yield answer
            elif isinstance(answer, Reference):
                self.references += 1
            elif isinstance(answer, Result):
                self._check_search(answer)
                yield answer
                return

    def _check_search(self, result: Result) -> None:
        if result.code == ResultCode.REFERRAL:
            self._refused("refers to another server, which is not followed", result)
        if result.code != ResultCode.SUCCESS:
            self._refused(f"refuses the search: {_told(result)}", result)

    def _refused(self, why: str, result: Result) -> NoReturn:
        # The connection is in order: only this operation failed.
        raise LdapError(
            self.url,
            why,
            denied=result.code == ResultCode.INSUFFICIENT_ACCESS_RIGHTS,
            code=result.code,
        )

    def entries(
        self,
        base: str,
        scope: Scope,
        filter_: Filter,
        attributes: Iterable[str],
        *,
        timeout_s: float | None = None,
        size_limit: int = 0,
        controls: Iterable[Control] = (),
    ) -> list[Entry]:
        """Search for few entries; return them complete, ranges included. Raises LdapError."""
        timeout_s = timeout_s or self._settings.operation_timeout_s
        deadline = time.monotonic() + timeout_s
        found = [
            answer
            for answer in self.search(
                base,
                scope,
                filter_,
                attributes,
                timeout_s=timeout_s,
                size_limit=size_limit,
                max_bytes=MAX_FETCH_BYTES,
                controls=controls,
            )
            if isinstance(answer, Entry)
        ]
        return [self.completed(entry, max(0.01, deadline - time.monotonic())) for entry in found]

    def pages(
        self,
        base: str,
        filter_: Filter,
        attributes: Iterable[str],
        *,
        controls: Iterable[Control] = (),
    ) -> Iterator[list[Entry]]:
        """Search a whole subtree page by page (RFC 2696), complete entries. Raises LdapError."""
        names, others = tuple(attributes), tuple(controls)
        cookie = b""
        while True:
            page = messages.paged(self._settings.page_size, cookie)
            entries: list[Entry] = []
            result: Result | None = None
            for answer in self.search(
                base, Scope.SUBTREE, filter_, names, controls=(page, *others)
            ):
                if isinstance(answer, Entry):
                    entries.append(answer)
                else:
                    result = answer
            yield [self.completed(entry) for entry in entries]
            try:
                cookie = messages.paged_cookie(result) if result is not None else b""
            except BerError as error:
                self._fail(f"answers wrongly: {error}")
            if not cookie:
                return

    def completed(self, entry: Entry, timeout_s: float | None = None) -> Entry:
        """Fetch the values that a server held back (`member;range=0-1499`). Raises LdapError."""
        if not any(";range=" in name for name in entry.attributes):
            return entry
        attributes = dict(entry.attributes)
        for name in entry.attributes:
            plain, option, span = name.partition(";range=")
            if option:
                del attributes[name]
                attributes[plain] = self._all_ranges(entry, plain, span, timeout_s)
        return Entry(dn=entry.dn, attributes=attributes, controls=entry.controls)

    def _all_ranges(
        self, entry: Entry, name: str, span: str, timeout_s: float | None
    ) -> tuple[bytes, ...]:
        values = list(entry.attributes[f"{name};range={span}"])
        for _ in range(MAX_RANGES):
            last = span.partition("-")[2]
            if last == "*":
                return tuple(values)
            if not last.isdecimal() or len(last) > 9:
                break
            wanted = f"{name};range={int(last) + 1}-*"
            found = [
                answer
                for answer in self.search(
                    entry.dn, Scope.BASE, OPEN, (wanted,), timeout_s=timeout_s
                )
                if isinstance(answer, Entry)
            ]
            if not found:
                # Nothing removed these values: the entry itself cannot be seen any more, and half
                # of a list that denies would let the other half in.
                self._fail(f"gives only a part of {name}")
            spans = [
                (key, key.partition(";range=")[2])
                for each in found
                for key in each.attributes
                if key.startswith(f"{name};range=")
            ]
            if not spans:
                # The values that followed were removed in the meantime.
                return tuple(values)
            key, span = spans[0]
            values += found[0].attributes[key]
        self._fail(f"gives {name} in ranges that do not end")

    # -- a stream ----------------------------------------------------------------------------

    def start_stream(
        self,
        base: str,
        scope: Scope,
        filter_: Filter,
        attributes: Iterable[str],
        controls: Iterable[Control],
    ) -> int:
        """Begin a search that does not end by itself; return its number. Raises LdapError."""
        self._begin(self._settings.operation_timeout_s, MAX_OPERATION_BYTES)
        number = self._next_number()
        self._send(messages.search(number, base, scope, filter_, attributes, controls=controls))
        return number

    def next_in_stream(self, number: int, timeout_s: float) -> Answer | None:
        """Return the next answer of a stream, or None when none came in time.

        An answer that has begun must be whole by the deadline of an operation, and a ping must be
        answered by then. Raises LdapError.
        """
        self._begin(self._settings.operation_timeout_s, MAX_OPERATION_BYTES)
        if not self._buffer and not self._receive(timeout_s, idle=True):
            if self._ping and time.monotonic() - self._pinged_at > PING_TIMEOUT_S:
                self._fail("does not answer in time")
            return None
        found, answer = self._decoded(self._next_message())
        if found == self._ping and isinstance(answer, Result):
            self._ping = 0
            self.answered_at = time.monotonic()
            return None
        if found != number:
            self._check_session(found, answer)
            return None
        self.answered_at = time.monotonic()
        if isinstance(answer, Result):
            self._check_search(answer)
        return answer

    def ping(self) -> None:
        """Ask beside a stream whether the server is there; `answered_at` tells when it was."""
        if self._ping:
            return
        self._begin(self._settings.operation_timeout_s, MAX_OPERATION_BYTES)
        self._ping = self._next_number()
        self._pinged_at = time.monotonic()
        self._send(messages.search(self._ping, "", Scope.BASE, OPEN, (NO_ATTRIBUTES,)))

    # -- octets ------------------------------------------------------------------------------

    def _begin(self, timeout_s: float, max_bytes: int) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._left = max_bytes

    def _next_number(self) -> int:
        self._number = self._number % 0x7FFFFFFE + 1
        return self._number

    def _send(self, data: bytes) -> None:
        if self._sock is None:
            raise LdapError(self.url, "the connection is closed")
        try:
            self._sock.settimeout(max(0.01, self._deadline - time.monotonic()))
            self._sock.sendall(data)
        except OSError as error:
            self._fail(f"cannot be written to: {reason_of(error)}")

    def _receive(self, timeout_s: float, *, idle: bool = False) -> bool:
        """Read what has come; False when nothing came in time and that is no fault."""
        if self._sock is None:
            raise LdapError(self.url, "the connection is closed")
        try:
            self._sock.settimeout(max(0.001, timeout_s))
            data = self._sock.recv(_READ_BYTES)
        except (TimeoutError, ssl.SSLWantReadError):
            if idle:
                return False
            self._fail("does not answer in time")
        except OSError as error:
            self._fail(f"is lost: {reason_of(error)}")
        if not data:
            self._fail("has closed the connection")
        self._buffer += data
        self._left -= len(data)
        if self._left < 0:
            self._fail("answers with more than may be")
        return True

    def _next_message(self) -> bytes:
        while True:
            try:
                size = ber.message_size(self._buffer)
            except BerError as error:
                self._fail(f"answers wrongly: {error}")
            if size is not None:
                if size > messages.MAX_MESSAGE_BYTES:
                    self._fail("answers with a message larger than may be")
                if len(self._buffer) >= size:
                    message = bytes(self._buffer[:size])
                    del self._buffer[:size]
                    return message
            left = self._deadline - time.monotonic()
            if left <= 0:
                self._fail("does not answer in time")
            self._receive(left)

    def _next_answer(self, number: int) -> Answer:
        """Return the next answer to this request."""
        while True:
            found, answer = self._decoded(self._next_message())
            if found == number:
                return answer
            # What is left of an operation that was given up is passed over.
            self._check_session(found, answer)

    def _decoded(self, message: bytes) -> tuple[int, Answer]:
        try:
            return messages.decode(message)
        except BerError as error:
            self._fail(f"answers wrongly: {error}")

    def _check_session(self, number: int, answer: Answer) -> None:
        # RFC 4511 4.4.1: the only unsolicited notification is that the session ends.
        if number == 0:
            told = _told(answer) if isinstance(answer, Result) else ""
            self._fail(f"ends the session: {told}")

    def _ask(self, request: bytes) -> Result:
        self._send(request)
        answer = self._next_answer(self._number)
        if not isinstance(answer, Result):
            self._fail("answers another question")
        return answer

    def _fail(self, why: str, *, denied: bool = False, code: int = -1) -> NoReturn:
        self.close()
        raise LdapError(self.url, why, denied=denied, code=code)


def _told(result: Result) -> str:
    """Say what a server said, on one line and cut: it is the server's text."""
    name = next((code.name for code in ResultCode if code == result.code), "")
    text = "".join(c if c.isprintable() else " " for c in result.diagnostic)[:160].strip()
    return " ".join(part for part in (f"result {result.code}", name.lower(), text) if part)
