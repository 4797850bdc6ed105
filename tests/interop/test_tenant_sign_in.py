"""The tenant's sign-in as its clients see it: roadtx unmodified, and bad requests over TLS.

Flow R1 A-C and the token side of P1 A; rows R01-R04 and R07 with their exact answers.
"""

import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tenant.login.resources import DRS_AUDIENCE
from tenant.services import Services, open_services
from tenant.state import users
from tenant.state_folder import TenantFolder
from tests.rig import tenant as rig
from tests.rig.realm import make_realm
from tests.rig.roadtx import Roadtx
from tests.rig.tenant import LiveTenant, make_tenant
from tests.tenant.login.builders import claims_of, drs_token, resigned, with_header
from tests.tenant.prt.jwts import (
    BROKER,
    JWT_BEARER,
    device_request,
    key_blob,
    rsa_key,
    sign_hs256,
    sign_rs256,
)

pytestmark = [pytest.mark.interop, pytest.mark.slow]

TOKEN = "/common/oauth2/token"  # noqa: S105  a path
CLI_CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
USERS = {"anna": "none", "berta": "required", "clara": "assumed", "doris": "on-demand"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A tenant that is served, and the password of its users."""

    live: LiveTenant
    password: str

    def ask(
        self, method: str, host: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, Any]:
        """Ask as clients do, through CONNECT and with TLS verified; return status and JSON."""
        context = ssl.create_default_context(cafile=str(self.live.ca))
        connection = HTTPSConnection("127.0.0.1", self.live.proxy_port, context=context, timeout=30)
        connection.set_tunnel(host, 443)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            reply = connection.getresponse()
            octets = reply.read()
        finally:
            connection.close()
        kind = reply.getheader("Content-Type", "")
        return reply.status, json.loads(octets) if kind.startswith("application/json") else octets

    def post(self, path: str, **form: str) -> tuple[int, Any]:
        """Post a form to the sign-in."""
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", rig.LOGIN, path, urlencode(form).encode(), **kind)

    def sign_in(self, name: str, **changes: str) -> tuple[int, Any]:
        """Sign in with a password."""
        form = {
            "grant_type": "password",
            "client_id": BROKER,
            "resource": DRS_AUDIENCE,
            "username": f"{name}@lab.test",
            "password": self.password,
        }
        return self.post(TOKEN, **(form | changes))

    def nonce(self) -> str:
        """Ask for a nonce."""
        _, found = self.post(TOKEN, grant_type="srv_challenge")
        value = found["Nonce"]
        assert isinstance(value, str)
        return value

    def records(self) -> list[dict[str, Any]]:
        """The audit records so far."""
        return rig.audit_records(self.live.state)

    def services(self) -> Services:
        """The tenant's files, opened beside the server: its key signs what a test wants signed."""
        return open_services(TenantFolder(self.live.state))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Serve a tenant for the tests of this file."""
    folder = tmp_path_factory.mktemp("sign-in")
    live = make_tenant(folder / "tenant", make_realm(folder / "realm").state)
    password = rig.password()
    for name, mfa in USERS.items():
        live.tenant("user", "add", name, "--mfa", mfa, "--password-stdin", stdin=f"{password}\n")
    with live.served():
        yield Lab(live=live, password=password)


@pytest.fixture
def roadtx(lab: Lab, tmp_path: Path) -> Roadtx:
    """A folder in which roadtx works."""
    return Roadtx(folder=tmp_path, tenant=lab.live)


# -- roadtx -----------------------------------------------------------------------------------


def test_roadtx_signs_in_with_a_password(lab: Lab, roadtx: Roadtx) -> None:
    """R1 A-C: realm, password, tokens; what it keeps is what was asked for."""
    roadtx.run("gettokens", "-u", "anna@lab.test", "-p", lab.password, "-r", "drs")
    kept = roadtx.tokens()
    claims = claims_of(kept["accessToken"])
    assert (claims["aud"], claims["upn"], claims["amr"]) == (DRS_AUDIENCE, "anna@lab.test", ["pwd"])
    assert (kept["tenantId"], kept["_clientId"]) == (claims["tid"], CLI_CLIENT)
    scope = f"{DRS_AUDIENCE}/.default openid offline_access"
    roadtx.run("gettokens", "-u", "anna@lab.test", "-p", lab.password, "-s", scope)
    assert {"accessToken", "refreshToken", "idToken"} <= set(roadtx.tokens())


def test_roadtx_refreshes_and_the_old_token_is_worth_nothing(lab: Lab, roadtx: Roadtx) -> None:
    """Rotation as a real client lives with it: it keeps the new one."""
    roadtx.run("gettokens", "-u", "anna@lab.test", "-p", lab.password, "-r", "msgraph")
    first = roadtx.tokens()["refreshToken"]
    roadtx.run("refreshtokento", "-r", "drs")
    assert claims_of(roadtx.tokens()["accessToken"])["aud"] == DRS_AUDIENCE
    roadtx.run("refreshtokento", "-r", "drs")
    old = roadtx.attempt("refreshtokento", "-r", "drs", "-c", CLI_CLIENT, "--refresh-token", first)
    assert (old.returncode, "AADSTS70000:" in old.stdout) == (1, True), old.stdout + old.stderr


@pytest.mark.parametrize(
    ("name", "secret", "number"),
    [("anna", "wrong", 50126), ("nobody", "wrong", 50126), ("berta", None, 50076)],
)
def test_roadtx_says_why_it_is_refused(
    lab: Lab, roadtx: Roadtx, name: str, secret: str | None, number: int
) -> None:
    """The body is in the form that it parses."""
    done = roadtx.attempt(
        "gettokens", "-u", f"{name}@lab.test", "-p", secret or lab.password, "-r", "drs"
    )
    assert done.returncode == 1
    assert f"Error during authentication: AADSTS{number}:" in done.stdout


def test_a_second_factor_approved_by_command_serves_one_sign_in(lab: Lab, roadtx: Roadtx) -> None:
    """P1 A for a client that cannot ask: AADSTS50076, approval, ngcmfa, AADSTS50076."""
    sign_in = ("gettokens", "-u", "berta@lab.test", "-p", lab.password, "-r", "drs")
    assert "AADSTS50076:" in roadtx.attempt(*sign_in).stdout
    lab.live.tenant("login", "approve-mfa", "berta")
    roadtx.run(*sign_in)
    assert claims_of(roadtx.tokens()["accessToken"])["amr"] == ["mfa", "ngcmfa", "pwd"]
    assert "AADSTS50076:" in roadtx.attempt(*sign_in).stdout


def _device_code(lab: Lab, roadtx: Roadtx, *target: str) -> tuple[ThreadPoolExecutor, Any, str]:
    """Start roadtx with a device code; return what runs, and the code that its user sees."""
    before = len(lab.records())
    pool = ThreadPoolExecutor(1)
    running = pool.submit(roadtx.attempt, "gettokens", "--device-code", *target)
    end = time.monotonic() + 40
    while not any(record.get("reason") == "device code" for record in lab.records()[before:]):
        assert time.monotonic() < end
        time.sleep(0.05)
    services = lab.services()
    with services.database.read() as connection:
        (code,) = connection.execute(
            "SELECT user_code FROM device_codes WHERE user IS NULL AND NOT declined"
        ).fetchone()
    services.database.close()
    return pool, running, str(code)


def test_roadtx_signs_in_with_a_device_code_that_is_approved(lab: Lab, roadtx: Roadtx) -> None:
    """v1: `tenant login approve` in the place of a browser; roadtx prints the same code."""
    pool, running, code = _device_code(lab, roadtx, "-r", "drs")
    with pool:
        lab.live.tenant("login", "approve", code.lower(), "anna", "--mfa")
        done = running.result(timeout=60)
    assert (done.returncode, f"enter the code {code} " in done.stdout) == (0, True), done.stdout
    claims = claims_of(roadtx.tokens()["accessToken"])
    assert (claims["upn"], claims["amr"]) == ("anna@lab.test", ["mfa", "ngcmfa", "pwd"])
    again = lab.live.tenant("login", "approve", code, "anna", ok=(3,))
    assert again == ""


def test_roadtx_signs_in_with_a_device_code_on_the_page(lab: Lab, roadtx: Roadtx) -> None:
    """v2: the form of a browser, with a one-time code that roadtx computes (pyotp)."""
    secret_file = roadtx.folder / "authenticator"
    lab.live.tenant("login", "authenticator", "doris", "--out", str(secret_file))
    assert secret_file.stat().st_mode & 0o777 == 0o600
    found = re.search(r"secret=([A-Z2-7]+)", secret_file.read_text())
    assert found is not None
    pool, running, code = _device_code(lab, roadtx, "-s", f"{DRS_AUDIENCE}/x openid")
    with pool:
        form = {"user_code": code, "login": "doris@lab.test", "passwd": lab.password}
        told = roadtx.run("getotp", "-s", found[1])
        (otc,) = re.findall(r"\b\d{6}\b", told)
        status, _ = lab.post("/common/oauth2/deviceauth", otc=otc, **form)
        done = running.result(timeout=60)
    assert (status, done.returncode) == (200, 0), done.stdout
    assert "ngcmfa" in claims_of(roadtx.tokens()["accessToken"])["amr"]


def test_roadtx_is_told_that_its_user_declined(lab: Lab, roadtx: Roadtx) -> None:
    """RFC 8628 3.5, in the word of this client."""
    pool, running, code = _device_code(lab, roadtx, "-r", "drs")
    with pool:
        lab.live.tenant("login", "decline", code)
        done = running.result(timeout=60)
    assert (done.returncode, "The user declined the sign-in." in done.stdout) == (1, True)


def test_roadtx_changes_a_code_from_the_form_for_tokens(lab: Lab, roadtx: Roadtx) -> None:
    """The authorization code flow: the form by hand, the code by roadtx."""
    redirect = "https://login.microsoftonline.com/common/oauth2/nativeclient"
    asked = {
        "response_type": "code",
        "client_id": CLI_CLIENT,
        "redirect_uri": redirect,
        "resource": DRS_AUDIENCE,
    }
    path = f"/common/oauth2/authorize?{urlencode(asked)}"
    status, page = lab.ask("GET", rig.LOGIN, path)
    assert (status, b'action="/common/login"' in page) == (200, True)
    context = ssl.create_default_context(cafile=str(lab.live.ca))
    connection = HTTPSConnection("127.0.0.1", lab.live.https_port, context=context, timeout=30)
    form = {**asked, "login": "clara@lab.test", "passwd": lab.password}
    connection.request(
        "POST",
        "/common/login",
        urlencode(form).encode(),
        {"Host": rig.LOGIN, "Content-Type": "application/x-www-form-urlencoded"},
    )
    location = connection.getresponse().getheader("Location", "")
    connection.close()
    code = location.removeprefix(f"{redirect}?code=")
    roadtx.run("codeauth", "-c", CLI_CLIENT, "-r", "drs", "-ru", redirect, code)
    assert claims_of(roadtx.tokens()["accessToken"])["upn"] == "clara@lab.test"


@pytest.mark.parametrize("version", [("--kdf-v1",), ()])
def test_roadtx_signs_in_by_a_prt_as_a_browser_does(
    lab: Lab, roadtx: Roadtx, version: tuple[str, ...]
) -> None:
    """MS-OAPXBC 2.2.1: the cookie at the authorization endpoint, by both key derivations."""
    _device(lab, roadtx)
    sign_in = ("-u", "clara@lab.test", "-p", lab.password)
    roadtx.run("prt", *sign_in, "-c", "pc1.pem", "-k", "pc1.key")
    prt = roadtx.prt()
    shown = ("--prt", prt["refresh_token"], "--prt-sessionkey", prt["session_key"])
    roadtx.run("gettokens", *shown, *version, "-r", "drs")
    claims = claims_of(roadtx.tokens()["accessToken"])
    certificate = x509.load_pem_x509_certificate((roadtx.folder / "pc1.pem").read_bytes())
    (name,) = certificate.subject
    assert (claims["upn"], claims["deviceid"]) == ("clara@lab.test", str(name.value))
    wrong = roadtx.attempt("gettokens", *shown[:3], "00" * 32, *version, "-r", "drs")
    assert "No authentication code was returned" in wrong.stdout
    assert lab.records()[-1]["reason"] == "the token's signature is wrong"


# -- rows over TLS ----------------------------------------------------------------------------


@pytest.fixture
def token(lab: Lab) -> str:
    """An access token of clara's for the registration service, from the token endpoint."""
    status, found = lab.sign_in("clara")
    assert status == 200
    value = found["access_token"]
    assert isinstance(value, str)
    return value


def _join_refused(lab: Lab, token: str, why: str) -> None:
    """Show a token to the device registration: 401, its body, one record with the reason."""
    before = len(lab.records())
    status, found = lab.ask(
        "POST",
        rig.REGISTRATION,
        "/EnrollmentServer/device/?api-version=2.0",
        b"{}",
        Authorization=f"Bearer {token}",
        Content_Type="application/json",
    )
    assert status == 401
    assert set(found) == {"ErrorType", "Message", "TraceId", "Time"}
    (record,) = lab.records()[before:]
    assert (record["status"], record["reason"], record["error"]) == (401, why, found["ErrorType"])
    assert record["trace_id"] == found["TraceId"]
    _register_refused(lab, token, why)


def _register_refused(lab: Lab, token: str, why: str) -> None:
    """Show a token to the key registration, with a body that is right: 401 and its record."""
    before = len(lab.records())
    blob = base64.b64encode(key_blob(rsa_key("hello"))).decode()
    status, found = lab.ask(
        "POST",
        rig.REGISTRATION,
        "/EnrollmentServer/key/?api-version=1.0",
        json.dumps({"kngc": blob}).encode(),
        Authorization=f"Bearer {token}",
        Accept="application/json",
        Content_Type="application/json",
    )
    assert status == 401
    assert set(found) == {"error"}
    assert found["error"]["response"] == "ERROR_FAIL"
    assert {"code", "message", "target", "time", "innererror"} <= set(found["error"])
    (record,) = lab.records()[before:]
    assert (record["status"], record["reason"], record["error"]) == (
        401,
        why,
        found["error"]["code"],
    )


def _signed_header(lab: Lab, token: str, header: dict[str, Any]) -> str:
    """Sign a token's claims with the tenant's own key under another header."""
    services = lab.services()
    made = sign_rs256({"typ": "JWT", "alg": "RS256", **header}, claims_of(token), _key(services))
    services.database.close()
    return made


def _key(services: Services) -> Any:
    return services.signing_key.private_key


def test_r01_algorithm_games_are_401_at_the_registration(lab: Lab, token: str) -> None:
    """Row R01: alg none, HS256 with the published key, ES256 with r=s=0."""
    not_here = "the token's algorithm is not accepted here"
    _join_refused(lab, with_header(token, {"alg": "none", "typ": "JWT"}, b""), not_here)
    _, published = lab.ask("GET", rig.LOGIN, "/common/discovery/keys")
    certificate = x509.load_der_x509_certificate(base64.b64decode(published["keys"][0]["x5c"][0]))
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        public = certificate.public_key().public_bytes(
            encoding, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        head = {"alg": "HS256", "typ": "JWT"}
        _join_refused(lab, sign_hs256(head, claims_of(token), public), not_here)
    _join_refused(lab, with_header(token, {"alg": "ES256"}, bytes(64)), not_here)


def test_r02_header_games_are_401_and_nothing_is_fetched(lab: Lab, token: str) -> None:
    """Row R02: under a good signature; a listener that the header names hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        not_ours = "the token names a key that is not ours"
        for kid in ("../../../dev/null", "' OR '1'='1", "*)(uid=*", "\0", "k" * 256):
            _join_refused(lab, _signed_header(lab, token, {"kid": kid}), not_ours)
        never = "the token's header has a parameter that is never accepted"
        for name, value in (("jku", url), ("x5u", url), ("jwk", {"kty": "RSA"})):
            _join_refused(lab, _signed_header(lab, token, {name: value}), never)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_r03_tokens_for_another_time_or_place_are_401(lab: Lab, token: str) -> None:
    """Row R03: expired, nbf ahead, wrong aud, iss and tenant."""
    moment = int(time.time())
    services = lab.services()
    for changes, why in (
        ({"exp": moment - 1}, "the token has expired"),
        ({"nbf": moment + 60}, "the token is not valid yet"),
        ({"aud": "https://graph.windows.net"}, "the token is for another audience"),
        ({"iss": "https://sts.windows.net/"}, "the token is of another issuer"),
        ({"tid": str(UUID(int=1))}, "the token is of another tenant"),
    ):
        _join_refused(lab, resigned(services, token, changes), why)
    services.database.close()


def _device(lab: Lab, roadtx: Roadtx) -> tuple[Any, bytes]:
    """Join a device as clara; return its key and certificate."""
    sign_in = ("-u", "clara@lab.test", "-p", lab.password)
    roadtx.run("gettokens", *sign_in, "-r", "drs")
    roadtx.run("device", "-a", "join", "-n", "pc1", "-d", "lab.test")
    certificate = x509.load_pem_x509_certificate((roadtx.folder / "pc1.pem").read_bytes())
    return roadtx.key("pc1.key"), certificate.public_bytes(serialization.Encoding.DER)


def _ask_for_prt(lab: Lab, request: str) -> tuple[int, Any]:
    return lab.post(
        TOKEN, grant_type=JWT_BEARER, request=request, windows_api_version="2.0", client_info="1"
    )


def _prt_refused(lab: Lab, request: str, why: str) -> None:
    before = len(lab.records())
    status, found = _ask_for_prt(lab, request)
    assert (status, found["error"], found["error_codes"]) == (400, "invalid_grant", [140000])
    assert found["error_description"].startswith("AADSTS140000: ")
    (record,) = lab.records()[before:]
    assert (record["reason"], record["error"]) == (why, "invalid_grant AADSTS140000")


def test_r04_nonces_and_jtis_serve_once(lab: Lab, roadtx: Roadtx) -> None:
    """Row R04 over TLS, with the device that roadtx joined: reused, expired, another's, jti."""
    key, certificate = _device(lab, roadtx)
    proof: dict[str, Any] = {
        "grant_type": "password",
        "username": "clara@lab.test",
        "password": lab.password,
    }
    nonce = lab.nonce()
    status, found = _ask_for_prt(lab, device_request(key, certificate, nonce, **proof))
    assert (status, "session_key_jwe" in found) == (200, True), found
    used = device_request(key, certificate, nonce, **proof)
    _prt_refused(lab, used, "the nonce was used")
    _, other = lab.post(TOKEN, grant_type="srv_challenge", client_id=CLI_CLIENT)
    foreign = device_request(key, certificate, other["Nonce"], **proof)
    _prt_refused(lab, foreign, "the nonce was not given to this client")
    jti: dict[str, Any] = {"jti": str(uuid4()), "exp": int(time.time()) + 600}
    first = device_request(key, certificate, lab.nonce(), **proof, **jti)
    assert _ask_for_prt(lab, first)[0] == 200
    _prt_refused(
        lab, device_request(key, certificate, lab.nonce(), **proof, **jti), "the jti was used"
    )


def test_of_two_who_use_one_nonce_at_once_one_wins(lab: Lab, roadtx: Roadtx) -> None:
    """Two connections at the same moment: one PRT, one refusal."""
    key, certificate = _device(lab, roadtx)
    proof: dict[str, Any] = {
        "grant_type": "password",
        "username": "clara@lab.test",
        "password": lab.password,
    }
    for _ in range(3):
        request = device_request(key, certificate, lab.nonce(), **proof)
        assert _statuses_at_once(lambda said=request: _ask_for_prt(lab, said)[0]) == [200, 400]


def test_of_two_who_refresh_at_once_one_wins(lab: Lab) -> None:
    """Two connections at the same moment: one successor, one refusal."""
    for _ in range(3):
        _, found = lab.sign_in("clara")
        form = {
            "grant_type": "refresh_token",
            "client_id": BROKER,
            "refresh_token": found["refresh_token"],
        }
        assert _statuses_at_once(lambda said=form: lab.post(TOKEN, **said)[0]) == [200, 400]


def _statuses_at_once(ask: Any) -> list[int]:
    start = threading.Barrier(2)

    def one() -> int:
        start.wait()
        status = ask()
        assert isinstance(status, int)
        return status

    with ThreadPoolExecutor(2) as pool:
        return sorted(future.result() for future in [pool.submit(one), pool.submit(one)])


def test_r07_no_second_factor_or_an_old_one_registers_no_key(lab: Lab) -> None:
    """Row R07: 401 at the key registration; a token of a minute ago with a factor of an hour."""
    services = lab.services()
    with services.database.read() as connection:
        clara = users.by_upn(connection, "clara@lab.test")
    assert clara is not None
    device = UUID(int=1)
    never = drs_token(services, user=clara, mfa=False, device_id=device)
    _register_refused(lab, never, "no MFA in the token")
    old = datetime.now(UTC) - timedelta(seconds=600)
    stale = drs_token(services, user=clara, at=old, device_id=device)
    _register_refused(lab, stale, "MFA too old")
    services.database.close()


def test_no_secret_is_in_audit_or_log(lab: Lab) -> None:
    """After all of the above: no password and no token, whole or in parts of a JWT."""
    _, found = lab.sign_in("clara")
    nonce = lab.nonce()
    text = (lab.live.state / "audit.jsonl").read_text() + lab.live.log.read_text()
    assert lab.password not in text
    assert nonce not in text
    for name in ("access_token", "refresh_token", "id_token"):
        assert all(part not in text for part in found[name].split(".") if len(part) > 20)
    assert "eyJ" not in text
