"""Single sign-on in browsers: x-ms-RefreshTokenCredential at the authorization endpoint."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tenant.http.message import Headers, Reply, Request
from tenant.login.resources import DRS_AUDIENCE
from tenant.prt.browser import credential
from tenant.state.users import MfaMode
from tests.rig import tenant as rig
from tests.tenant.login.builders import CLIENT, claims_of
from tests.tenant.prt import jwts
from tests.tenant.prt.world import ALICE, DEVICE_ID, PASSWORD, HeldPrt, World, world

NAME = "x-ms-RefreshTokenCredential"
REDIRECT = "https://login.microsoftonline.com/common/oauth2/nativeclient"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[World]:
    """A tenant with alice and her device."""
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def held(lab: World) -> HeldPrt:
    """A PRT got with the Hello key."""
    return lab.prt()


def signed(lab: World, held: HeldPrt, *, version: int = 2, **changes: Any) -> str:
    """Make a credential as roadtx does; ... leaves a claim out."""
    bare = {"client_id": ..., "scope": ..., "iss": ..., "grant_type": ..., "is_primary": "true"}
    nonce = changes.pop("request_nonce", None) or lab.nonce()
    return jwts.session_request(
        held.session_key, held.token, nonce, version=version, **{**bare, **changes}
    )


def authorize(lab: World, text: str, *, header: bool = True, **changes: str) -> Reply:
    """Open the authorization endpoint with a credential."""
    asked = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "resource": DRS_AUDIENCE,
        **changes,
    }
    shown = (NAME, text) if header else ("Cookie", f"a=b; {NAME}={text}")
    path = f"/common/oauth2/authorize?{urlencode(asked)}"
    return rig.ask(lab.services, "GET", path, headers=[shown])


def tokens_of(lab: World, reply: Reply) -> dict[str, Any]:
    """Change the code of a redirect for tokens."""
    assert reply.status == 302, reply.body
    (code,) = parse_qs(urlsplit(dict(reply.headers)["Location"]).query)["code"]
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT,
        "code": code,
        "redirect_uri": REDIRECT,
    }
    answer = rig.ask(lab.services, "POST", "/common/oauth2/token", urlencode(form).encode())
    found: dict[str, Any] = json.loads(answer.body)
    return found


def refused(lab: World, reply: Reply) -> tuple[int, str, str]:
    """Status, AADSTS number that the page tells, and the audit record's reason."""
    told = re.search(r"<strong>AADSTS(\d+):", reply.body.decode())
    assert told is not None and "Location" not in dict(reply.headers)
    return reply.status, told[1], lab.records[-1]["reason"]


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_a_prt_signs_in_without_a_form(
    lab: World, held: HeldPrt, version: int, header: bool
) -> None:
    """MS-OAPXBC 2.2.1: the code's tokens name user, device and factors of the PRT."""
    reply = authorize(lab, signed(lab, held, version=version), header=header)
    claims = claims_of(tokens_of(lab, reply)["access_token"])
    assert (claims["upn"], claims["deviceid"]) == (ALICE.upn, str(DEVICE_ID))
    assert claims["amr"] == ["mfa", "ngcmfa", "rsa"]
    record = lab.records[-2]
    assert (record["status"], record["user"], record["device"]) == (
        302,
        ALICE.upn,
        str(DEVICE_ID),
    )


SIGNATURE = ("140001", "the token's signature is wrong")
GAMES: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "another session key": ({"key": bytes(32)}, SIGNATURE),
    "kdf_ver 1 over version 2": ({"header": {"kdf_ver": 1}}, SIGNATURE),
    "alg RS256": (
        {"header": {"alg": "RS256"}},
        ("140001", "the token's algorithm is not accepted here"),
    ),
    "alg none": (
        {"header": {"alg": "none"}},
        ("140001", "the token's algorithm is not accepted here"),
    ),
    "jku": (
        {"header": {"jku": "https://127.0.0.1/"}},
        ("50013", "the token's header has a parameter that is never accepted"),
    ),
    "a request for the token endpoint": (
        {"is_primary": ..., "grant_type": "refresh_token"},
        ("9002313", "the credential does not say is_primary"),
    ),
    "no PRT": ({"refresh_token": ...}, ("9002313", "the JWT has no refresh_token")),
    "an unknown PRT": ({"refresh_token": "1.x"}, ("70008", "the PRT is unknown or revoked")),
    "expired": ({"exp": 1}, ("500133", "the JWT has expired")),
    "another audience": ({"aud": "x"}, ("50013", "aud of the JWT is another's")),
}


@pytest.mark.parametrize("case", GAMES)
def test_a_credential_that_is_not_good_shows_the_form(lab: World, held: HeldPrt, case: str) -> None:
    """Rows R01 to R03 for this JWT: 401, the number on the page, no code."""
    changes, (number, why) = GAMES[case]
    assert refused(lab, authorize(lab, signed(lab, held, **changes))) == (401, number, why)


def test_a_credential_needs_a_nonce_and_serves_once(lab: World, held: HeldPrt) -> None:
    """Rows R04 and R05: replayed, without a nonce (CVE-2023-35348), with an old one."""
    text = signed(lab, held)
    assert authorize(lab, text).status == 302
    assert refused(lab, authorize(lab, text)) == (401, "140000", "the nonce was used")
    bare = jwts.session_request(
        held.session_key, held.token, "", is_primary="true", request_nonce=..., grant_type=...
    )
    assert refused(lab, authorize(lab, bare))[2] == "the JWT has no request_nonce"
    nonce = lab.nonce()
    lab.now += timedelta(seconds=300)
    late = signed(lab, held, request_nonce=nonce)
    assert refused(lab, authorize(lab, late)) == (401, "140000", "the nonce has expired")


def test_a_credential_is_no_request_for_the_token_endpoint(lab: World, held: HeldPrt) -> None:
    """Neither kind of JWT passes for the other."""
    reply = lab.post(signed(lab, held))
    assert reply.status == 400


def test_what_the_prt_is_bound_to_is_asked_again(lab: World, held: HeldPrt) -> None:
    """A disabled device or user, a PRT that ended: no code."""
    lab.change_device(enabled=False)
    assert refused(lab, authorize(lab, signed(lab, held)))[2] == "the device is disabled"
    lab.change_device(enabled=True)
    lab.change_alice(enabled=False)
    assert refused(lab, authorize(lab, signed(lab, held)))[1] == "50057"
    lab.change_alice()
    lab.now += timedelta(seconds=lab.services.config.prt_life_s)
    assert refused(lab, authorize(lab, signed(lab, held)))[2] == "the PRT has expired"


def test_ngcmfa_needs_a_fresh_second_factor_here_too(lab: World) -> None:
    """amr_values=ngcmfa: a PRT by password has none, one by a key has one of its own time."""
    by_password = lab.prt(
        lab.device_request(grant_type="password", username=ALICE.upn, password=PASSWORD)
    )
    lab.change_alice(mfa=MfaMode.ON_DEMAND)
    demanded = authorize(lab, signed(lab, by_password), amr_values="ngcmfa")
    assert refused(lab, demanded)[1] == "50076"
    assert authorize(lab, signed(lab, lab.prt()), amr_values="ngcmfa").status == 302


def test_prompt_login_wants_the_form(lab: World, held: HeldPrt) -> None:
    """OpenID Connect Core 3.1.2.1; the credential is not even read."""
    reply = authorize(lab, signed(lab, held), prompt="login")
    assert (reply.status, b'type="password"' in reply.body) == (200, True)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([("Cookie", "a=b")], None),
        ([("Cookie", "x-ms-refreshtokencredentialX=1")], None),
        ([("Cookie", f"a=b;{NAME}=t.u.v; c=d")], "t.u.v"),
        ([("Cookie", "a=b"), ("Cookie", f"{NAME.upper()}=t")], "t"),
        ([(NAME, "h"), ("Cookie", f"{NAME}=c")], "h"),
    ],
)
def test_where_a_credential_is(headers: list[tuple[str, str]], found: str | None) -> None:
    """The header of a broker, or the cookie that roadtx sends."""
    request = Request(method="GET", host=rig.LOGIN, path="/", headers=Headers.of(headers))
    assert credential(request) == found
