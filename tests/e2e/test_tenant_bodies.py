"""Row R11 against the running tenant: endpoints that read a body, with bodies that are none."""

import base64
import http.client
import json
import random
import socket
import ssl
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tenant.client import windows
from tenant.client.https import Place
from tests.rig.realm import make_realm
from tests.rig.tenant import LOGIN, REGISTRATION, LiveTenant, make_tenant

PASSWORD = "Immer-wieder-neu-7"  # noqa: S105  of a tenant that lives as long as the test
DEVICE = "/EnrollmentServer/device/?api-version=2.0"
KEY = "/EnrollmentServer/key/?api-version=1.0"
TOKEN = "/common/oauth2/token"  # noqa: S105  a path
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
SEED = 20261122
FUZZ_ROUNDS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A served tenant and a token for its registration service."""

    tenant: LiveTenant
    token: str = field(repr=False)

    def send(
        self, host: str, path: str, body: bytes, content_type: str, *, method: str = "POST"
    ) -> tuple[int, dict[str, Any]]:
        """Send one request with the token; return status and JSON object of the answer."""
        context = ssl.create_default_context(cafile=self.tenant.ca)
        with (
            socket.create_connection(("127.0.0.1", self.tenant.https_port), 20) as raw,
            context.wrap_socket(raw, server_hostname=host) as sock,
        ):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # head and body: two writes
            connection = http.client.HTTPConnection(host)
            connection.sock = sock
            headers = {
                "Host": host,
                "Content-Type": content_type,
                "Accept": JSON,
                "Authorization": f"Bearer {self.token}",
            }
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read() or b"{}")
        assert isinstance(found, dict)
        return answer.status, found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a tenant with a user who passes as one with a second factor."""
    folder = tmp_path_factory.mktemp("bodies")
    tenant = make_tenant(folder / "tenant", make_realm(folder / "kdc").state)
    tenant.tenant("user", "add", "kim", "--password-stdin", "--mfa", "assumed", stdin=PASSWORD)
    with tenant.served():
        place = Place(address="127.0.0.1", port=tenant.https_port, ca_bundle=tenant.ca)
        yield Server(tenant=tenant, token=windows.password_token(place, "kim@lab.test", PASSWORD))


def _reason(server: Server) -> str:
    log = server.tenant.state / "audit.jsonl"
    return str(json.loads(log.read_text().splitlines()[-1]).get("reason", ""))


DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
DEEP_LIST = b"[" * 10_000 + b"]" * 10_000
DUPLICATE = b'{"kngc":"UlNBMQ==","kngc":"UlNBMg==","JoinType":0,"JoinType":4}'
MEMBER = {LOGIN: "error", REGISTRATION: "ErrorType"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(DEEP, "the JSON text is nested too deeply", id="10,000 objects deep"),
        pytest.param(DEEP_LIST, "the JSON text is nested too deeply", id="10,000 lists deep"),
        pytest.param(DUPLICATE, "a member occurs twice in one object", id="duplicate members"),
        pytest.param(
            b'{"JoinType":0}{"JoinType":4}', "the JSON text is malformed", id="two values"
        ),
        pytest.param(b'{"JoinType":NaN}', "NaN and Infinity are no JSON", id="NaN"),
        pytest.param(b'"text"', "the JSON text is no object", id="no object"),
        pytest.param(b"\xff\xfe{}", "the JSON text is not UTF-8", id="no UTF-8"),
        pytest.param(b"", "the JSON text is malformed", id="nothing"),
        pytest.param(
            b'{"JoinType":' + b"9" * 5000 + b"}",
            "an integer has more than 64 bits",
            id="5,000 digits",
        ),
    ],
)
@pytest.mark.parametrize("path", [DEVICE, KEY])
def test_json_with_two_readings_is_400(server: Server, path: str, body: bytes, why: str) -> None:
    """Row R11: depth, duplicates, what is no JSON: one refusal each, the server goes on."""
    status, answer = server.send(REGISTRATION, path, body, JSON)
    assert status == 400, answer
    assert ("ErrorType" in answer) == (path == DEVICE)
    assert _reason(server) == why


@pytest.mark.parametrize(
    ("host", "path", "content_type"),
    [(REGISTRATION, DEVICE, JSON), (REGISTRATION, KEY, JSON), (LOGIN, TOKEN, FORM)],
)
def test_ten_megabytes_are_413(server: Server, host: str, path: str, content_type: str) -> None:
    """Row R11: before anything of it is looked at."""
    status, answer = server.send(host, path, b"x" * 10_000_000, content_type)
    assert status == 413, answer
    assert MEMBER[host] in answer
    assert _reason(server) == "the body is too large"


def _jwt(header: bytes, payload: bytes) -> str:
    parts = (
        base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (header, payload, b"x")
    )
    return ".".join(parts)


@pytest.mark.parametrize(
    ("form", "number", "why"),
    [
        pytest.param(
            "grant_type=password&grant_type=refresh_token",
            9002313,
            "a parameter is included more than once",
            id="duplicate parameter",
        ),
        pytest.param(
            "grant_type=%zz",
            9002313,
            "a percent sign does not start two hexadecimal digits",
            id="broken escape",
        ),
        pytest.param("grant_type=%ff", 9002313, "it is not UTF-8 text", id="no UTF-8"),
        pytest.param(
            "&".join(f"a{n}=b" for n in range(100)),
            9002313,
            "there are too many parameters",
            id="100 parameters",
        ),
        pytest.param("", 900144, "the parameter grant_type is missing", id="nothing"),
        pytest.param(
            "grant_type=frob", 70003, "the grant type is not supported", id="unknown grant"
        ),
    ],
)
def test_a_form_with_two_readings_is_400(server: Server, form: str, number: int, why: str) -> None:
    """RFC 6749 3.2: parameters are not repeated."""
    status, answer = server.send(LOGIN, TOKEN, form.encode(), FORM)
    assert (status, answer["error_codes"], _reason(server)) == (400, [number], why)


@pytest.mark.parametrize(
    ("header", "payload", "why"),
    [
        pytest.param(DEEP, b"{}", "the token is too large", id="10,000 objects deep"),
        pytest.param(
            b'{"a":' * 100 + b"1" + b"}" * 100,
            b"{}",
            "the token's header: the JSON text is nested too deeply",
            id="deep header",
        ),
        pytest.param(
            b'{"alg":"RS256","alg":"none"}',
            b"{}",
            "the token's header: a member occurs twice in one object",
            id="duplicate header member",
        ),
        pytest.param(
            b'{"alg":"none"}', b"{}", "the token's algorithm is not accepted here", id="alg none"
        ),
    ],
)
def test_a_request_jwt_with_two_readings_is_401(
    server: Server, header: bytes, payload: bytes, why: str
) -> None:
    """Row R11 one layer deeper: the PRT request's JWT is JSON as well."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "windows_api_version": "2.2",
        "request": _jwt(header, payload),
    }
    status, answer = server.send(LOGIN, TOKEN, urllib.parse.urlencode(form).encode(), FORM)
    assert (status, answer["error_codes"], _reason(server)) == (401, [50013], why)


def test_no_mutated_body_makes_a_bug(server: Server) -> None:
    """A seeded loop over the bodies of real clients: each answer is JSON and none is a 5xx."""
    random_ = random.Random(SEED)  # noqa: S311  reproducible
    join = {
        "CertificateRequest": {"Type": "pkcs10", "Data": base64.b64encode(bytes(300)).decode()},
        "TransportKey": base64.b64encode(b"RSA1" + bytes(280)).decode(),
        "TargetDomain": "lab.test",
        "DeviceType": "Windows",
        "OSVersion": "10.0",
        "DeviceDisplayName": "PC1",
        "JoinType": 0,
        "attributes": {"ReuseDevice": "true"},
    }
    seeds = [
        (REGISTRATION, DEVICE, json.dumps(join).encode(), JSON),
        (REGISTRATION, KEY, json.dumps({"kngc": join["TransportKey"]}).encode(), JSON),
        (LOGIN, TOKEN, b"grant_type=srv_challenge", FORM),
        (LOGIN, TOKEN, b"grant_type=password&client_id=29d9ed98-a469-4536-ade2-f981bc1d605e", FORM),
        (LOGIN, TOKEN, b"grant_type=refresh_token&refresh_token=0.AAAA&resource=urn:x", FORM),
        (LOGIN, TOKEN, f"request={_jwt(b'{}', b'{}')}&grant_type=jwt-bearer".encode(), FORM),
    ]
    for _ in range(FUZZ_ROUNDS):
        host, path, body, content_type = random_.choice(seeds)
        data = bytearray(body)
        for _ in range(random_.randint(1, 6)):
            place = random_.randrange(len(data) + 1)
            if random_.random() < 0.5:
                data[place : place + random_.randint(0, 8)] = random_.randbytes(
                    random_.randint(0, 8)
                )
            else:
                data[place:place] = random_.choice((b'"', b"{", b"}", b",", b"&", b"%", b"\\u"))
        status, _ = server.send(host, path, bytes(data), content_type)
        assert status < 500, bytes(data)
    assert "bug" not in server.tenant.log.read_text()


def test_each_request_has_left_one_record(server: Server) -> None:
    """Refused or not, and each is one line of JSON."""
    log = server.tenant.state / "audit.jsonl"
    before = len(log.read_text().splitlines())
    for _ in range(5):
        server.send(REGISTRATION, DEVICE, b"{", JSON)
    records = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    assert [record["status"] for record in records] == [400] * 5


def test_the_log_is_its_owners_alone(server: Server) -> None:
    """It names users and devices: mode 0600, as is everything secret beside it."""
    state: Path = server.tenant.state
    for name in ("audit.jsonl", "tenant.sqlite", "tenant.sqlite-wal", "master.key", "tenant.toml"):
        assert (state / name).stat().st_mode & 0o077 == 0, name
