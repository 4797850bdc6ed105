"""HTTPS to the tenant, under the names that real clients ask for.

The client connects to the tenant's own port and checks the certificate for the service's name, so
it needs neither a proxy nor a hosts file.
"""

import http.client
import json
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_ANSWER_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 20.0


class LogonError(Exception):
    """A step of the client failed: what, why, and what to do; one line each, without secrets."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy


class UnreachableError(LogonError):
    """Nobody answers, or not with a certificate of the tenant's."""


class RefusedError(LogonError):
    """The tenant answered with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the tenant is."""

    address: str
    port: int
    ca_bundle: Path


def post_form(place: Place, host: str, path: str, form: Mapping[str, str]) -> str:
    """Post a form and return the answer's text. Raises LogonError for any status but 200."""
    body = urllib.parse.urlencode(form).encode()
    return _send(place, host, path, body, "application/x-www-form-urlencoded", None)


def post_json(place: Place, host: str, path: str, value: object, bearer: str) -> str:
    """Post JSON with an access token; as `post_form`."""
    return _send(place, host, path, json.dumps(value).encode(), "application/json", bearer)


class _Connection(http.client.HTTPSConnection):
    """A connection to the tenant's port that asks for another name."""

    def __init__(self, place: Place, host: str, context: ssl.SSLContext) -> None:
        super().__init__(host, 443, timeout=TIMEOUT_S, context=context)
        self._place = place
        self._tls = context

    def connect(self) -> None:
        raw = socket.create_connection((self._place.address, self._place.port), TIMEOUT_S)
        # As in http.client: head and body are two writes, and the second would wait for an answer.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)


def _send(
    place: Place, host: str, path: str, body: bytes, content_type: str, bearer: str | None
) -> str:
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    try:
        context = ssl.create_default_context(cafile=str(place.ca_bundle))
        connection = _Connection(place, host, context)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            data = answer.read(MAX_ANSWER_BYTES)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(
            f"the tenant does not answer on {place.address}:{place.port}",
            str(getattr(error, "strerror", None) or type(error).__name__).lower(),
            "check that it runs: tenant serve",
        ) from error
    text = data.decode(errors="replace")
    if answer.status != http.client.OK:
        raise RefusedError(
            f"the tenant refused POST {path}: {answer.status}",
            _reason(text),
            "the last lines of the tenant's audit.jsonl say more",
        )
    return text


def _reason(text: str) -> str:
    """Take the refusal's own words out of each of the three forms of an error."""
    try:
        found = json.loads(text)
        inner = found.get("error")
        if isinstance(inner, dict):
            return str(inner.get("message"))[:200]
        said = str(found.get("error_description") or found.get("Message") or inner)
        # The sign-in adds ids and the time to each text.
        return said.partition(" Trace ID: ")[0][:200]
    except (ValueError, AttributeError):
        return "the answer is no JSON object"
