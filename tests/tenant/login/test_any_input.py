"""No request to the sign-in makes anything but a reply of its form."""

import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant.http.message import Route
from tenant.login.routes import ROUTES
from tenant.login.token import GRANTS
from tenant.services import Services
from tests.rig import tenant as rig
from tests.tenant.login.builders import CLIENT, add_user

NAMES = (
    *("grant_type", "client_id", "resource", "scope", "username", "password", "refresh_token"),
    *("code", "device_code", "redirect_uri", "code_verifier", "claims", "amr_values", "request"),
    *("response_type", "response_mode", "state", "nonce", "code_challenge", "login", "passwd"),
    *("otc", "user_code", "go", "v", "client_info", "code_challenge_method", "tgt", "user"),
)
VALUES = st.one_of(
    st.sampled_from(
        [*GRANTS, CLIENT, "code", "openid", "1.0", "2.0", "S256", "http://localhost", "decline"]
    ),
    st.text(max_size=40),
    st.binary(max_size=20).map(lambda octets: octets.decode("latin-1")),
)
PAIRS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8)
PATHS = st.sampled_from([route for route in ROUTES if "/discovery/" not in route.path])


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """A tenant with alice, for all examples."""
    made = rig.services(tmp_path_factory.mktemp("any"))
    add_user(made)
    return made


def _encoded(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={quote(value, errors='replace')}" for name, value in pairs)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PATHS, PAIRS, PAIRS, st.text(max_size=20))
def test_any_parameters_get_a_reply_of_a_known_status(
    tenant: Services,
    route: Route,
    query: list[tuple[str, str]],
    form: list[tuple[str, str]],
    name: str,
) -> None:
    """Never 500; errors are JSON with a number, pages have no markup of the client's."""
    method, path = route.method, route.path
    segment = quote(name, safe="", errors="replace") or "x"
    target = path.replace("{tenant}", "common").replace("{upn}", segment)
    octets = _encoded(form).encode() if method == "POST" else b""
    reply = rig.ask(tenant, method, f"{target}?{_encoded(query)}", octets)
    assert reply.status in (200, 302, 400, 401, 503), reply
    if reply.status in (400, 503):
        assert json.loads(reply.body)["error_codes"]
    assert b"<script" not in reply.body.lower()
