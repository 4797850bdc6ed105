"""What a handler refuses, and the body that each host's clients parse.

Each host has its own form of an error. A handler raises the error of its host; `to_reply` makes
the body, in one place. `why` is one fixed phrase for the audit record and is never sent; what is
sent is fixed text of ours as well, so that no refusal repeats what a client said.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from tenant.http.message import Note, Reply, Request


class TenantError(Exception):
    """A request is refused."""

    def __init__(self, status: int, why: str, *, note: Note | None = None) -> None:
        """why: one fixed phrase. note: user, device or key, where they are proven."""
        super().__init__(why)
        self.status = status
        self.why = why
        self.note = note or Note()


class LoginError(TenantError):
    """A refusal of login.microsoftonline.com (RFC 6749 5.2, with Entra's further members)."""

    def __init__(
        self,
        error: str,
        number: int,
        text: str,
        why: str,
        *,
        status: int = 400,
        note: Note | None = None,
        extra: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """error: OAuth's code. number: of AADSTSnnnnn. text: what follows it. extra: members."""
        super().__init__(status, why, note=note)
        self.error = error
        self.number = number
        self.text = text
        self.extra = extra


class DrsError(TenantError):
    """A refusal of enterpriseregistration.windows.net (MS-DVRJ 2.2.3.1)."""

    def __init__(
        self, status: int, error_type: str, message: str, why: str, *, note: Note | None = None
    ) -> None:
        super().__init__(status, why, note=note)
        self.error_type = error_type
        self.message = message


class KppError(TenantError):
    """A refusal of the key registration (MS-KPP 2.2.3.1), which Entra nests under `error`."""

    def __init__(
        self, status: int, code: str, message: str, why: str, *, note: Note | None = None
    ) -> None:
        super().__init__(status, why, note=note)
        self.code = code
        self.message = message


class PlainError(TenantError):
    """A refusal that is HTTP's own: too large, no such path, a host that is not here."""

    def __init__(
        self, status: int, message: str, why: str, *, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(status, why)
        self.message = message
        self.headers = headers


NO_STORE: Final = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))
"""On every answer of a token endpoint (RFC 6749 5.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """By what a refusal is found again: sent to the client and written to the audit record."""

    trace_id: UUID
    now: datetime


def to_reply(error: TenantError, request: Request, trace: Trace) -> Reply:
    """Make the answer to a refused request, in the form of the host it came to."""
    note = replace(error.note, reason=error.why)
    if isinstance(error, LoginError):
        return Reply.json(
            error.status, _login_body(error, request, trace), headers=NO_STORE, note=note
        )
    if isinstance(error, DrsError):
        return Reply.json(error.status, _drs_body(error, trace), headers=NO_STORE, note=note)
    if isinstance(error, KppError):
        return Reply.json(
            error.status,
            {"error": _kpp_body(error, request, trace)},
            headers=(*NO_STORE, ("request-id", str(trace.trace_id))),
            note=note,
        )
    headers = error.headers if isinstance(error, PlainError) else ()
    text = error.message if isinstance(error, PlainError) else "the request is refused"
    body = {"error": text, "trace_id": str(trace.trace_id)}
    return Reply.json(error.status, body, headers=(*NO_STORE, *headers), note=note)


def _login_body(error: LoginError, request: Request, trace: Trace) -> dict[str, object]:
    correlation = client_request_id(request) or trace.trace_id
    stamp = trace.now.strftime("%Y-%m-%d %H:%M:%SZ")
    # The lines after the first are part of the text, as Entra writes it.
    description = (
        f"AADSTS{error.number}: {error.text} Trace ID: {trace.trace_id} "
        f"Correlation ID: {correlation} Timestamp: {stamp}"
    )
    return {
        "error": error.error,
        "error_description": description,
        "error_codes": [error.number],
        "timestamp": stamp,
        "trace_id": str(trace.trace_id),
        "correlation_id": str(correlation),
        **dict(error.extra),
    }


def _drs_body(error: DrsError, trace: Trace) -> dict[str, object]:
    return {
        "ErrorType": error.error_type,
        "Message": error.message,
        "TraceId": str(trace.trace_id),
        "Time": trace.now.strftime("%m-%d-%Y %H:%M:%SZ"),
    }


def _kpp_body(error: KppError, request: Request, trace: Trace) -> dict[str, object]:
    body: dict[str, object] = {
        "code": error.code,
        "message": error.message,
        "response": "ERROR_FAIL",
        "target": "key",
        "time": trace.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        # MS-KPP 2.2.3.1: each MUST be the text "null".
        "innererror": {"trace": "null", "context": "null"},
    }
    asked = client_request_id(request)
    if asked is not None:
        body["clientrequestid"] = str(asked)
    return body


def client_request_id(request: Request) -> UUID | None:
    """Return the client's own id of its request, when it is one."""
    text = request.headers.get("client-request-id")
    if text is None or len(text) > 38:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
