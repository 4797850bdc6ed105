"""Routing by host and path, error bodies, audit records."""

import json
import os
from pathlib import Path

import pytest

from tenant.errors import DrsError, KppError, LoginError
from tenant.http.message import MalformedError, Note, Reply, Request, Route, path_segments
from tenant.server import dispatch
from tenant.server.hosts import HostKind
from tenant.services import Services
from tests.rig import tenant as rig


async def _echo(_services: Services, request: Request) -> Reply:
    return Reply.json(
        200,
        {**request.match, "certificate": request.client_certificate is not None},
        note=Note(reason="echoed", user="pat@lab.test"),
    )


async def _bug(_services: Services, _request: Request) -> Reply:
    raise KeyError("a secret of the client's")


async def _malformed(_services: Services, _request: Request) -> Reply:
    raise MalformedError("a parameter is included more than once")


async def _login_error(_services: Services, _request: Request) -> Reply:
    note = Note(user="pat@lab.test")
    raise LoginError("invalid_grant", 50126, "Invalid credentials.", "wrong password", note=note)


async def _drs_error(_services: Services, _request: Request) -> Reply:
    raise DrsError(401, "AuthenticationError", "The token is not accepted.", "no token")


async def _kpp_error(_services: Services, _request: Request) -> Reply:
    raise KppError(401, "mfa_required", "A second factor is required.", "no second factor")


ROUTES = {
    HostKind.LOGIN: (
        Route("GET", "/{tenant}/oauth2/echo", _echo),
        Route("POST", "/{tenant}/oauth2/echo/{id}", _echo),
        Route("GET", "/bug", _bug),
        Route("GET", "/malformed", _malformed),
        Route("GET", "/refused", _login_error),
    ),
    HostKind.REGISTRATION: (
        Route("GET", "/EnrollmentServer/echo/", _echo),
        Route("GET", "/refused", _drs_error),
        Route("GET", "/key", _kpp_error),
        Route("GET", "/malformed", _malformed),
    ),
}


@pytest.fixture
def tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Services whose hosts serve the routes of this file."""
    monkeypatch.setattr(dispatch, "ROUTES", ROUTES)
    return rig.services(tmp_path)


def test_a_path_is_matched_without_case_and_with_its_names_decoded(tenant: Services) -> None:
    """The real services tell neither case nor a slash at the end apart."""
    reply = rig.ask(tenant, "GET", "/Lab%2etest/OAuth2/ECHO/")
    assert (reply.status, json.loads(reply.body)["tenant"]) == (200, "Lab.test")


@pytest.mark.parametrize(
    ("method", "target", "host", "status"),
    [
        ("GET", "/nothing", rig.LOGIN, 404),
        ("GET", "/EnrollmentServer/echo", rig.LOGIN, 404),
        ("DELETE", "/common/oauth2/echo", rig.LOGIN, 405),
        ("GET", "/common/oauth2/echo", "graph.microsoft.com", 421),
        ("GET", "/common/oauth2/echo", "", 421),
    ],
)
def test_what_is_not_here_has_a_status_of_http_alone(
    tenant: Services, method: str, target: str, host: str, status: int
) -> None:
    """RFC 9110 15.5: 404, 405, 421."""
    reply = rig.ask(tenant, method, target, host=host)
    assert reply.status == status
    assert (status == 405) == (("Allow", "GET") in reply.headers)


@pytest.mark.parametrize(
    "path", ["/a//b", "/a/../b", "/a/%2e%2e/b", "/a%2fb", "/a%5cb", "/a/%00", "/a/%zz", "/%ff"]
)
def test_a_path_with_two_readings_is_refused(path: str) -> None:
    """What decoding would make into another path is no path (row R02's characters)."""
    with pytest.raises(MalformedError):
        path_segments(path)


def test_a_malformed_path_has_the_error_body_of_its_host(tenant: Services) -> None:
    """400 in the form that the host's clients parse."""
    login = json.loads(rig.ask(tenant, "GET", "/a%2fb").body)
    assert (login["error"], login["error_codes"]) == ("invalid_request", [9002313])
    drs = json.loads(rig.ask(tenant, "GET", "/a%2fb", host=rig.REGISTRATION).body)
    assert set(drs) == {"ErrorType", "Message", "TraceId", "Time"}


def test_a_login_error_has_its_number_and_its_traces(tenant: Services, tmp_path: Path) -> None:
    """RFC 6749 5.2 with Entra's members; the audit record has why, and the same trace id."""
    asked = "11111111-2222-3333-4444-555555555555"
    reply = rig.ask(tenant, "GET", "/refused", headers=[("Client-Request-Id", asked)])
    body = json.loads(reply.body)
    assert reply.status == 400
    assert ("Cache-Control", "no-store") in reply.headers
    assert body["error"] == "invalid_grant"
    assert body["error_description"].startswith("AADSTS50126: Invalid credentials.")
    assert (body["error_codes"], body["correlation_id"]) == ([50126], asked)
    (record,) = rig.audit_records(tmp_path)
    assert (record["reason"], record["user"]) == ("wrong password", "pat@lab.test")
    assert (record["error"], record["trace_id"]) == ("invalid_grant AADSTS50126", body["trace_id"])
    assert "wrong password" not in reply.body.decode()


def test_the_registration_host_has_both_its_forms_of_an_error(
    tenant: Services, tmp_path: Path
) -> None:
    """MS-DVRJ 2.2.3.1 for devices; MS-KPP's for keys, nested under `error`."""
    reply = rig.ask(tenant, "GET", "/refused", host=rig.REGISTRATION)
    assert (reply.status, json.loads(reply.body)["ErrorType"]) == (401, "AuthenticationError")
    reply = rig.ask(tenant, "GET", "/key", host=rig.REGISTRATION)
    inner = json.loads(reply.body)["error"]
    assert (reply.status, inner["code"], inner["response"]) == (401, "mfa_required", "ERROR_FAIL")
    reasons = [record["reason"] for record in rig.audit_records(tmp_path)]
    assert reasons == ["no token", "no second factor"]


def test_a_bug_says_nothing_to_the_client_and_nothing_of_the_client_to_the_log(
    tenant: Services, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """500, its place in the log, one audit record."""
    reply = rig.ask(tenant, "GET", "/bug")
    assert reply.status == 500
    assert "KeyError at test_dispatch.py" in caplog.text
    assert "secret of the client" not in caplog.text + reply.body.decode()
    (record,) = rig.audit_records(tmp_path)
    assert (record["status"], record["reason"]) == (500, "internal error")


def test_without_a_record_there_is_no_answer(
    tenant: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done without a trace is not acknowledged."""
    tenant.audit.close()
    assert rig.ask(tenant, "GET", "/common/oauth2/echo").status == 500


@pytest.mark.parametrize(
    ("host", "path", "seen"),
    [(rig.LOGIN, "/common/oauth2/echo", False), (rig.REGISTRATION, "/EnrollmentServer/echo", True)],
)
def test_only_the_registration_host_sees_a_client_certificate(
    tenant: Services, host: str, path: str, seen: bool
) -> None:
    """TLS asks for it under every name; only deleting a device means it (MS-DVRJ 3.1.5.1.2)."""
    reply = rig.ask(tenant, "GET", path, host=host, client_certificate=b"DER")
    assert json.loads(reply.body)["certificate"] is seen


def test_client_text_is_escaped_and_cut_in_the_audit_record(
    tenant: Services, tmp_path: Path
) -> None:
    """One line a record, whatever the path holds."""
    rig.ask(tenant, "GET", "/\u202e\x1b[31m" + "x" * 1000)
    (record,) = rig.audit_records(tmp_path)
    assert record["path"].startswith("/\\u202e\\x1b[31m")
    assert len(record["path"]) < 300


def test_a_record_cut_off_by_a_full_disk_is_no_record(
    tenant: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write refuses as a failed one does, and the next record starts a line of its own."""
    with monkeypatch.context() as full:
        write = os.write
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
        assert rig.ask(tenant, "GET", "/common/oauth2/echo").status == 500
    assert rig.ask(tenant, "GET", "/common/oauth2/echo").status == 200
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert len(lines[0]) == 20
    assert json.loads(lines[1])["status"] == 200
