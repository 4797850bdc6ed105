"""Access tokens that come back: rows R01-R03 where they are judged."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tenant.errors import LoginError
from tenant.http.message import Headers, Request
from tenant.jose.jws import encode_base64url, sign
from tenant.login.bearer import Bearer, verify_bearer
from tenant.login.resources import DRS_AUDIENCE
from tenant.login.tokens import key_id
from tenant.services import Services
from tenant.state import users
from tests.rig import tenant as rig
from tests.tenant.login.builders import (
    ALICE,
    add_user,
    claims_of,
    drs_token,
    later,
    resigned,
    with_header,
)

DEVICE = UUID(int=9)


@pytest.fixture
def tenant(tmp_path: Path) -> Services:
    """A tenant with alice."""
    made = rig.services(tmp_path)
    add_user(made)
    return made


def _shown(*values: str) -> Request:
    headers = Headers.of(("Authorization", value) for value in values)
    return Request(method="POST", host=rig.REGISTRATION, path="/", headers=headers)


def _proven(tenant: Services, token: str) -> Bearer:
    return verify_bearer(tenant, _shown(f"Bearer {token}"), DRS_AUDIENCE)


def _refused(tenant: Services, token: str) -> str:
    with pytest.raises(LoginError) as refusal:
        _proven(tenant, token)
    assert (refusal.value.status, refusal.value.error) == (401, "invalid_token")
    return refusal.value.why


def test_a_token_of_ours_names_its_user_device_and_factors(tenant: Services) -> None:
    """The control; all claims that clients and MS-KPP 3.1.5.1 read are in it."""
    token = drs_token(tenant, device_id=DEVICE)
    bearer = _proven(tenant, token)
    assert (bearer.user, bearer.device_id, bearer.auth_time) == (ALICE, DEVICE, rig.NOW)
    assert bearer.amr == {"pwd", "mfa", "ngcmfa"}
    assert (bearer.note.user, bearer.note.device) == (ALICE.upn, str(DEVICE))
    claims = claims_of(token)
    start = int(rig.NOW.timestamp())
    assert {name: claims[name] for name in ("aud", "upn", "tid", "oid", "amr", "deviceid")} == {
        "aud": "urn:ms-drs:enterpriseregistration.windows.net",
        "upn": "alice@lab.test",
        "tid": str(rig.TENANT_ID),
        "oid": str(ALICE.object_id),
        "amr": ["mfa", "ngcmfa", "pwd"],
        "deviceid": str(DEVICE),
    }
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (start, start, start + 3600)
    assert (claims["iss"], claims["ver"]) == (f"https://sts.windows.net/{rig.TENANT_ID}/", "1.0")


def test_a_second_factor_is_fresh_for_ten_minutes(tenant: Services) -> None:
    """Row R07's rule: by when the user proved it, whatever the age of the token."""
    fresh = _proven(tenant, drs_token(tenant, at=rig.NOW - timedelta(seconds=599)))
    stale = _proven(tenant, drs_token(tenant, at=rig.NOW - timedelta(seconds=600)))
    never = _proven(tenant, drs_token(tenant, mfa=False))
    assert [bearer.amr - {"pwd"} for bearer in (fresh, stale, never)] == [
        {"mfa", "ngcmfa"},
        {"mfa"},
        set(),
    ]
    future = _proven(tenant, drs_token(tenant, at=rig.NOW + timedelta(seconds=2)))
    assert "ngcmfa" not in future.amr


def _hs256(tenant: Services, token: str) -> str:
    """The public key as an HMAC key (CVE-2015-9235)."""
    pem = tenant.signing_key.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = with_header(token, {"alg": "HS256", "typ": "JWT"}, b"").rstrip(".")
    mac = hmac.HMAC(pem, hashes.SHA256())
    mac.update(unsigned.encode())
    return f"{unsigned}.{encode_base64url(mac.finalize()).decode()}"


def _signed_with(tenant: Services, token: str, header: dict[str, object]) -> str:
    """A header of choice under a signature of the tenant's own key."""
    unsigned = with_header(token, header, b"").rstrip(".")
    signature = tenant.signing_key.private_key.sign(
        unsigned.encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    return f"{unsigned}.{encode_base64url(signature).decode()}"


NOT_HERE = "the token's algorithm is not accepted here"
R01: dict[str, tuple[Callable[[Services, str], str], str]] = {
    "alg none": (lambda _, token: with_header(token, {"alg": "none"}, b""), NOT_HERE),
    "HS256 with the public key": (_hs256, NOT_HERE),
    "ES256 with r=s=0": (
        lambda _, token: with_header(token, {"alg": "ES256"}, bytes(64)),
        NOT_HERE,
    ),
    "a key of somebody's": (
        lambda tenant, token: sign(
            claims_of(token),
            rsa.generate_private_key(public_exponent=65537, key_size=2048),
            key_id(tenant.signing_key),
        ),
        "the token's signature is wrong",
    ),
}


@pytest.mark.parametrize("case", R01)
def test_r01_algorithm_games_are_401(tenant: Services, case: str) -> None:
    """Row R01; RFC 8725 3.1."""
    make, why = R01[case]
    assert _refused(tenant, make(tenant, drs_token(tenant))) == why


NO_KEY = "the token names a key that is not ours"
NEVER = "the token's header has a parameter that is never accepted"
R02: dict[str, tuple[dict[str, object], str]] = {
    "a path": ({"kid": "../../../../dev/null"}, NO_KEY),
    "SQL": ({"kid": "x' UNION SELECT 'key' --"}, NO_KEY),
    "an LDAP filter": ({"kid": "*)(objectClass=*"}, NO_KEY),
    "NUL": ({"kid": "\0"}, NO_KEY),
    "an empty kid": ({"kid": ""}, NO_KEY),
    "a kid of 10,000 characters": ({"kid": "k" * 10_000}, "the token is too large"),
    "a kid that is a list": ({"kid": ["x"]}, "the token's kid is no short string"),
    "jku": ({"jku": "https://127.0.0.1:1/keys"}, NEVER),
    "x5u": ({"x5u": "https://127.0.0.1:1/certificate"}, NEVER),
    "jwk": ({"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}, NEVER),
    "x5c": ({"x5c": ["AAAA"]}, "the token's header names a key source that is not accepted"),
    "crit": ({"crit": ["exp"], "exp": 1}, NEVER),
}


@pytest.mark.parametrize("case", R02)
def test_r02_header_games_are_401(
    tenant: Services, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row R02; RFC 8725 3.10: even under a good signature, and nothing is ever fetched."""

    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was made")

    token = drs_token(tenant)
    monkeypatch.setattr("socket.socket", no_socket)
    header, why = R02[case]
    assert _refused(tenant, _signed_with(tenant, token, {"alg": "RS256", **header})) == why


START = int(rig.NOW.timestamp())
MALFORMED = "a claim of the token is missing or malformed"
R03: dict[str, tuple[dict[str, object], str]] = {
    "expired": ({"exp": START}, "the token has expired"),
    "nbf ahead": ({"nbf": START + 1}, "the token is not valid yet"),
    "another audience": ({"aud": "https://graph.windows.net"}, "the token is for another audience"),
    "an audience among others": ({"aud": [DRS_AUDIENCE]}, "the token is for another audience"),
    "another issuer": ({"iss": "https://sts.windows.net/x/"}, "the token is of another issuer"),
    "another tenant": ({"tid": str(UUID(int=3))}, "the token is of another tenant"),
    "another user": ({"oid": str(UUID(int=3))}, "the token's user was deleted"),
    "no expiry": ({"exp": None}, MALFORMED),
    "an expiry that is text": ({"exp": str(START + 60)}, MALFORMED),
    "an expiry that is true": ({"exp": True}, MALFORMED),
    "no user": ({"oid": None}, MALFORMED),
    "a user that is no GUID": ({"oid": "alice"}, MALFORMED),
    "a device that is no GUID": ({"deviceid": "x"}, MALFORMED),
    "no time of the sign-in": ({"auth_time": None}, MALFORMED),
    "a time beyond all clocks": ({"auth_time": 2**62}, MALFORMED),
    "no issuer": ({"iss": None}, MALFORMED),
}


@pytest.mark.parametrize("case", R03)
def test_r03_a_token_for_another_time_or_place_is_401(tenant: Services, case: str) -> None:
    """Row R03; RFC 8725 3.8, 3.9: the signature is the tenant's own, one claim is not right."""
    changes, why = R03[case]
    token = drs_token(tenant)
    assert _proven(tenant, resigned(tenant, token, {})).user == ALICE
    assert _refused(tenant, resigned(tenant, token, changes)) == why


def test_a_token_ends_with_its_hour_and_its_user(tenant: Services) -> None:
    """The last second is in, the next is out; a disabled user's token is worth nothing."""
    token = drs_token(tenant)
    assert _proven(later(tenant, seconds=3599), token).user == ALICE
    assert _refused(later(tenant, seconds=3600), token) == "the token has expired"
    with tenant.database.write() as connection:
        connection.execute("UPDATE users SET enabled = 0")
    with pytest.raises(LoginError) as refusal:
        _proven(tenant, token)
    assert refusal.value.why == "the token's user is disabled"
    assert refusal.value.note.user == ALICE.upn
    with tenant.database.write() as connection:
        users.delete(connection, ALICE.object_id)
    assert _refused(tenant, token) == "the token's user was deleted"


def test_methods_that_are_no_list_prove_nothing(tenant: Services) -> None:
    """A text is a sequence of letters elsewhere; here it is no claim of a second factor."""
    for amr in ("mfa", None, {"mfa": 1}, [["mfa"]]):
        assert not _proven(tenant, resigned(tenant, drs_token(tenant), {"amr": amr})).amr


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ((), "the request has no access token"),
        (("Bearer",), "the Authorization header is no bearer token"),
        (("Basic YTpi",), "the Authorization header is no bearer token"),
        (("Bearer a", "Bearer b"), "the Authorization header is no bearer token"),
        (("Bearer a.b",), "the token has not three parts"),
        (("Bearer \u00e4",), "the token is not ASCII"),
        (("Bearer " + "a" * 8193,), "the token is too large"),
    ],
)
def test_a_header_without_a_token_is_401(
    tenant: Services, values: tuple[str, ...], why: str
) -> None:
    """RFC 6750 2.1: one header, one token."""
    with pytest.raises(LoginError) as refusal:
        verify_bearer(tenant, _shown(*values), DRS_AUDIENCE)
    assert (refusal.value.status, refusal.value.why) == (401, why)


def test_no_token_shows_in_a_bearer(tenant: Services) -> None:
    """Claims are personal, and a repr ends in logs."""
    assert "claims" not in repr(_proven(tenant, drs_token(tenant)))
