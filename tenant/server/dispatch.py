"""From a request to its reply: host, path, handler, error body, audit record.

Rules.
1. A handler's error becomes the body of its host's form, in `errors.to_reply` and nowhere else.
2. Anything else that escapes a handler is a bug: 500 without a word of it, its type and place in
   the log. Its text could quote a secret.
3. The audit record is written before the reply is sent; when it cannot be, the reply is 500.
"""

import logging
from collections.abc import Container, Iterable
from dataclasses import replace
from uuid import UUID

from tenant.errors import DrsError, KppError, LoginError, PlainError, TenantError, Trace, to_reply
from tenant.http.message import MalformedError, Note, Reply, Request, Route, path_segments
from tenant.server.hosts import ROUTES, HostKind, hosts
from tenant.services import Services

log = logging.getLogger(__name__)


class Dispatcher:
    """Answers whole requests."""

    def __init__(self, services: Services) -> None:
        """Serve the tenant of these services."""
        self._services = services
        self._hosts = hosts(services.config.domain)

    @property
    def names(self) -> Container[str]:
        """The hosts that are served."""
        return self._hosts

    def note_connect(self, peer: str, host: str, status: int, why: str) -> None:
        """Record a CONNECT that was refused."""
        facts = {"peer": peer, "host": host or None, "method": "CONNECT", "status": status}
        try:
            self._services.audit.record(self._services.now(), {**facts, "reason": why})
        except OSError as failure:
            log.error("the audit record cannot be written: %s", failure.strerror)

    async def answer(self, request: Request, refused: TenantError | None = None) -> Reply:
        """Answer one request. refused: what was found to be wrong with it before it was whole."""
        services = self._services
        trace = Trace(trace_id=UUID(bytes=services.entropy(16), version=4), now=services.now())
        error: TenantError | None = None
        try:
            if refused is not None:
                raise refused
            reply = await self._handled(request)
        except TenantError as raised:
            error = raised
            reply = to_reply(raised, request, trace)
        except Exception as bug:  # noqa: BLE001  the last line of defence of this process
            self._log_bug(bug, trace)
            reply = _internal_error(trace)
        try:
            services.audit.request(
                request,
                reply.status,
                reply.note,
                trace.now,
                trace_id=trace.trace_id,
                error=_code(error),
            )
        except OSError as failure:
            log.error("the audit record cannot be written: %s", failure.strerror)
            return _internal_error(trace)
        return reply

    async def _handled(self, request: Request) -> Reply:
        kind = self._hosts.get(request.host)
        if kind is None:
            raise PlainError(421, "this host is not served here", "a host that is not here")
        try:
            segments = path_segments(request.path)
        except MalformedError as error:
            raise self.refusal(kind, 400, str(error)) from None
        route, match = self._find(ROUTES[kind], request, segments)
        if kind is not HostKind.REGISTRATION:
            request = replace(request, client_certificate=None)
        try:
            return await route.handler(self._services, replace(request, match=match))
        except MalformedError as error:
            raise self.refusal(kind, 400, str(error)) from None

    def _find(
        self, routes: Iterable[Route], request: Request, segments: tuple[str, ...]
    ) -> tuple[Route, dict[str, str]]:
        others = []
        for route in routes:
            match = route.match(segments)
            if match is None:
                continue
            if route.method == request.method:
                return route, dict(match)
            others.append(route.method)
        if not others:
            raise PlainError(404, "nothing is at this path", "no such path")
        allow = ", ".join(sorted(set(others)))
        raise PlainError(
            405, "this path has no such method", "no such method", headers=(("Allow", allow),)
        )

    def refusal_of_host(self, host: str, status: int, why: str) -> TenantError:
        """Make the error for a request that is refused before its path is looked at."""
        return self.refusal(self._hosts.get(host), status, why)

    @staticmethod
    def refusal(kind: HostKind | None, status: int, why: str) -> TenantError:
        """Make the error for what is wrong with a request's form, in the form of its host."""
        if kind is HostKind.LOGIN:
            text = "The request body or its parameters are malformed."
            return LoginError(
                "invalid_request", 90015 if status == 413 else 9002313, text, why, status=status
            )
        if kind is HostKind.REGISTRATION:
            return DrsError(status, "BadRequest", "The request is malformed.", why)
        return PlainError(status, "the request is malformed", why)

    def _log_bug(self, bug: Exception, trace: Trace) -> None:
        where = bug.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = "?"
        if where is not None:
            code = where.tb_frame.f_code
            place = f"{code.co_filename.rpartition('/')[2]}:{where.tb_lineno} {code.co_name}"
        log.error("bug: %s at %s, trace id %s", type(bug).__name__, place, trace.trace_id)


def _code(error: TenantError | None) -> str | None:
    if isinstance(error, LoginError):
        return f"{error.error} AADSTS{error.number}"
    if isinstance(error, DrsError):
        return error.error_type
    return error.code if isinstance(error, KppError) else None


def _internal_error(trace: Trace) -> Reply:
    body = {"error": "server_error", "trace_id": str(trace.trace_id)}
    return Reply.json(500, body, note=Note(reason="internal error"))
