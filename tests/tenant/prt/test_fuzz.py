"""Any change of a good request: never a token, never a crash."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kdc.cloud_keys import derived_key
from tests.tenant.prt import jwts
from tests.tenant.prt.world import DEVICE_ID, DEVICE_KEY, HeldPrt, World, world

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SETTINGS = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A tenant with alice and her device."""
    with world(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.fixture(scope="module")
def held(lab: World) -> HeldPrt:
    """A PRT got with the Hello key."""
    return lab.prt()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *("client_id", "scope", "request_nonce", "grant_type", "assertion", "username"),
        *("password", "refresh_token", "resource", "iat", "exp", "nbf", "jti", "aud", "iss"),
    ]
)
HEADERS = st.sampled_from(["alg", "typ", "x5c", "kdf_ver", "ctx", "kid", "use", "enc"])


@_SETTINGS
@given(
    place=st.integers(0, 10**6), letter=st.sampled_from(_ALPHABET + ".=\x00é"), kind=st.booleans()
)
def test_no_changed_letter_yields_a_token(
    lab: World, held: HeldPrt, place: int, letter: str, kind: bool
) -> None:
    """Of a request for a PRT and of its use: one letter replaced anywhere."""
    jwt = lab.hello() if kind else jwts.session_request(held.session_key, held.token, lab.nonce())
    at = place % len(jwt)
    if jwt[at] == letter:
        return
    assert lab.post(jwt[:at] + letter + jwt[at + 1 :]).status in (400, 401)


@_SETTINGS
@given(name=NAMES, value=JSON)
def test_any_value_of_a_claim_is_answered(lab: World, held: HeldPrt, name: str, value: Any) -> None:
    """Proven by the device, or by the session key: no value of any type is a crash."""
    for jwt in (
        lab.hello(**{name: value}),
        jwts.session_request(held.session_key, held.token, lab.nonce(), **{name: value}),
    ):
        assert lab.post(jwt).status in (200, 400, 401)


@_SETTINGS
@given(name=HEADERS, value=JSON)
def test_any_value_of_a_header_is_answered(
    lab: World, held: HeldPrt, name: str, value: Any
) -> None:
    """The same of the headers, before anything is proven."""
    for jwt in (
        lab.hello(header={name: value}),
        jwts.session_request(held.session_key, held.token, lab.nonce(), header={name: value}),
    ):
        assert lab.post(jwt).status in (200, 400, 401)


@_SETTINGS
@given(payload=st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_payload_is_answered(lab: World, held: HeldPrt, payload: bytes) -> None:
    """Octets and JSON under good signatures."""
    certificate = base64.b64encode(jwts.device_certificate(DEVICE_ID)).decode()
    header = {"typ": "JWT", "alg": "RS256", "x5c": certificate}
    assert lab.post(jwts.sign_rs256(header, payload, DEVICE_KEY)).status == 400
    key = derived_key(held.session_key, jwts.CTX)
    header = {"typ": "JWT", "alg": "HS256", "ctx": base64.b64encode(jwts.CTX).decode()}
    assert lab.post(jwts.sign_hs256(header, payload, key)).status == 400


def test_good_requests_are_answered_after_all_that(lab: World) -> None:
    """What was refused changed nothing."""
    assert lab.use(lab.prt())["id_token"]
