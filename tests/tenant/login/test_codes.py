"""Device codes and authorization codes, with the pages on which users sign in."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tenant.errors import LoginError
from tenant.http.message import Headers, Reply, Request
from tenant.login.authorize import check_redirect_uri
from tenant.login.resources import DRS_AUDIENCE
from tenant.server.dispatch import Dispatcher
from tenant.services import Services
from tenant.state import second_factors, users
from tenant.state.users import MfaMode
from tests.rig import tenant as rig
from tests.tenant.login.builders import (
    ALICE,
    CLIENT,
    OTHER_CLIENT,
    PASSWORD,
    add_user,
    body,
    claims_of,
    later,
    post,
)

V1, V2 = "/common/oauth2", "/lab.test/oauth2/v2.0"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
PAGE = "/common/oauth2/deviceauth"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode()[:-1]


@pytest.fixture
def tenant(tmp_path: Path) -> Services:
    """A tenant with alice."""
    made = rig.services(tmp_path)
    add_user(made)
    return made


def reason(tenant: Services) -> str:
    """The reason in the last audit record."""
    found = rig.audit_records(tenant.folder.root)[-1]["reason"]
    assert isinstance(found, str)
    return found


def told(reply: Reply) -> str:
    """The problem that a page tells."""
    found = re.search(r"<strong>(.*?)</strong>", reply.body.decode())
    return unescape(found[1]) if found else ""


# -- device codes -----------------------------------------------------------------------------


def ask_for_code(tenant: Services, path: str = V1, **changes: str) -> dict[str, str]:
    """Ask for a device code."""
    target = {"resource": DRS_AUDIENCE} if path == V1 else {"scope": f"{DRS_AUDIENCE}/x"}
    reply = post(tenant, f"{path}/devicecode", client_id=CLIENT, **target, **changes)
    assert reply.status == 200, reply.body
    return body(reply)


def poll(tenant: Services, code: str, path: str = V1, client: str = CLIENT) -> Reply:
    """Ask whether the user has come, as roadtx does: the code is in `code`."""
    return post(tenant, f"{path}/token", grant_type=DEVICE_CODE, client_id=client, code=code)


def enter(tenant: Services, code: str, **changes: str) -> Reply:
    """Sign in on the page."""
    form = {"user_code": code, "login": ALICE.upn, "passwd": PASSWORD, **changes}
    return post(tenant, PAGE, **form)


def test_a_device_code_has_the_form_of_its_endpoint(tenant: Services) -> None:
    """Text in v1, numbers in v2 (RFC 8628 3.2)."""
    uri = "https://login.microsoftonline.com/common/oauth2/deviceauth"
    first, second = ask_for_code(tenant), ask_for_code(tenant, V2)
    assert {name: first[name] for name in ("verification_url", "expires_in", "interval")} == {
        "verification_url": uri,
        "expires_in": "900",
        "interval": "5",
    }
    assert {name: second[name] for name in ("verification_uri", "expires_in", "interval")} == {
        "verification_uri": uri,
        "expires_in": 900,
        "interval": 5,
    }
    for found in (first, second):
        assert re.fullmatch(r"[A-HJ-NP-Z2-9]{9}", found["user_code"])
        assert found["user_code"] in found["message"]


@pytest.mark.parametrize("path", [V1, V2])
def test_a_device_gets_tokens_once_its_user_signed_in(tenant: Services, path: str) -> None:
    """Pending, then once; the code is used up."""
    codes = ask_for_code(tenant, path)
    pending = poll(tenant, codes["device_code"], path)
    assert (pending.status, body(pending)["error"], body(pending)["error_codes"]) == (
        400,
        "authorization_pending",
        [70016],
    )
    shown = rig.ask(tenant, "GET", f"{PAGE}?user_code={codes['user_code']}")
    assert codes["user_code"] in shown.body.decode()
    assert enter(tenant, codes["user_code"].lower()).status == 200
    assert reason(tenant) == "device code approved"
    found = body(poll(tenant, codes["device_code"], path))
    assert claims_of(found["access_token"])["aud"] == DRS_AUDIENCE
    again = poll(tenant, codes["device_code"], path)
    assert (body(again)["error"], body(again)["error_codes"]) == ("invalid_grant", [70000])


def test_a_device_code_that_is_not_honoured(tenant: Services) -> None:
    """Another client, an unknown code, too late, declined: each by its own error."""
    codes = ask_for_code(tenant)
    foreign = body(poll(tenant, codes["device_code"], client=OTHER_CLIENT))
    assert (foreign["error"], foreign["error_codes"]) == ("invalid_grant", [70000])
    unknown = body(poll(tenant, "x"))
    assert (unknown["error"], unknown["error_codes"]) == ("invalid_grant", [70000])
    late = later(tenant, seconds=900)
    for path, error in ((V1, "code_expired"), (V2, "expired_token")):
        found = body(poll(late, codes["device_code"], path))
        assert (found["error"], found["error_codes"]) == (error, [70020])
    assert enter(tenant, codes["user_code"], go="decline").status == 200
    declined = body(poll(tenant, codes["device_code"]))
    assert (declined["error"], declined["error_codes"]) == ("authorization_declined", [70021])


def test_a_wrong_entry_on_the_page_shows_it_again(tenant: Services) -> None:
    """401 with the number in words; nothing that was typed but name and code comes back."""
    codes = ask_for_code(tenant)
    wrong = enter(tenant, codes["user_code"], **{"passwd": "wrong-secret"})
    assert (wrong.status, told(wrong)) == (
        401,
        "AADSTS50126: Error validating credentials due to invalid username or password.",
    )
    assert b"wrong-secret" not in wrong.body
    assert reason(tenant) == "wrong password"
    bad = enter(tenant, "BADCODE99")
    assert (bad.status, told(bad)[:12]) == (401, "AADSTS70018:")
    assert reason(tenant) == "the token or code is unknown or revoked"
    hostile = enter(tenant, '"><script>', login='"><img>')
    assert b"<script" not in hostile.body and b"<img" not in hostile.body
    assert enter(tenant, codes["user_code"]).status == 200
    assert enter(tenant, codes["user_code"]).status == 401
    assert reason(tenant) == "the token or code was used already"


def test_the_page_shows_the_second_factor_when_it_is_demanded(tenant: Services) -> None:
    """amr_values=ngcmfa with the device code; a one-time code on the page, once."""
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, mfa=MfaMode.ON_DEMAND))
        secret = second_factors.new_authenticator(
            connection, ALICE.object_id, tenant.master_key, tenant.entropy
        )
    code = second_factors.one_time_code(secret, int(rig.NOW.timestamp()) // 30)
    codes = ask_for_code(tenant, amr_values="ngcmfa")
    assert told(enter(tenant, codes["user_code"]))[:12] == "AADSTS50076:"
    wrong = "000000" if code != "000000" else "000001"
    assert told(enter(tenant, codes["user_code"], otc=wrong))[:13] == "AADSTS500121:"
    assert reason(tenant) == "the one-time code is wrong"
    assert enter(tenant, codes["user_code"], otc=code).status == 200
    found = body(poll(tenant, codes["device_code"]))
    assert claims_of(found["access_token"])["amr"] == ["mfa", "ngcmfa", "pwd"]
    another = ask_for_code(tenant)
    assert told(enter(tenant, another["user_code"], otc=code))[:13] == "AADSTS500121:"


def test_one_time_codes_are_guessed_ten_times(tenant: Services) -> None:
    """A million codes and three at a time right: the lock counts them as passwords."""
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, mfa=MfaMode.REQUIRED))
        second_factors.new_authenticator(
            connection, ALICE.object_id, tenant.master_key, tenant.entropy
        )
    codes = ask_for_code(tenant)
    for _ in range(10):
        enter(tenant, codes["user_code"], otc="12345")
    assert told(enter(tenant, codes["user_code"]))[:12] == "AADSTS50053:"


def test_a_password_alone_does_not_forgive_wrong_one_time_codes(tenant: Services) -> None:
    """Who has the password of a user on demand cannot go on guessing after each sign-in with it."""
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, mfa=MfaMode.ON_DEMAND))
        second_factors.new_authenticator(
            connection, ALICE.object_id, tenant.master_key, tenant.entropy
        )
    demanding = ask_for_code(tenant, amr_values="ngcmfa")["user_code"]
    for count in (5, 5):
        assert enter(tenant, ask_for_code(tenant)["user_code"]).status == 200
        for _ in range(count):
            assert told(enter(tenant, demanding, otc="12345"))[:13] == "AADSTS500121:"
    assert told(enter(tenant, demanding, otc="12345"))[:12] == "AADSTS50053:"


def test_an_approval_by_command_counts_for_one_sign_in(tenant: Services) -> None:
    """`tenant login approve-mfa`: the tap on a telephone, also for a password alone."""
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, mfa=MfaMode.REQUIRED))
        second_factors.approve(connection, ALICE.object_id, rig.NOW, 60)
    codes = ask_for_code(tenant)
    assert enter(tenant, codes["user_code"], **{"passwd": "x"}).status == 401  # uses nothing up
    assert enter(tenant, codes["user_code"]).status == 200
    assert told(enter(tenant, ask_for_code(tenant)["user_code"]))[:12] == "AADSTS50076:"


# -- authorization codes ----------------------------------------------------------------------

REDIRECT = "http://localhost:8400/done?a=1"


def _query(**changes: str) -> dict[str, str]:
    form = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": REDIRECT,
        "resource": DRS_AUDIENCE,
        "state": "s &<",
        **changes,
    }
    return {name: value for name, value in form.items() if value}


def authorize(tenant: Services, path: str = V1, **changes: str) -> Reply:
    """Open the form."""
    return rig.ask(tenant, "GET", f"{path}/authorize?{urlencode(_query(**changes))}")


def hidden(reply: Reply) -> Iterator[tuple[str, str]]:
    """What a form carries along."""
    for name, value in re.findall(
        r'<input type="hidden" name="(.*?)" value="(.*?)">', reply.body.decode()
    ):
        yield unescape(name), unescape(value)


def sign_in(tenant: Services, shown: Reply, **changes: str) -> Reply:
    """Send the form back with alice's name and password."""
    (action,) = re.findall(r'<form method="post" action="(.*?)"', shown.body.decode())
    form = {**dict(hidden(shown)), "login": ALICE.upn, "passwd": PASSWORD, **changes}
    return post(tenant, action, **form)


def code_of(reply: Reply) -> str:
    """The code in a redirect."""
    (location,) = (value for name, value in reply.headers if name == "Location")
    (code,) = parse_qs(urlsplit(location).query)["code"]
    return code


def redeem(tenant: Services, code: str, path: str = V1, **changes: str) -> Reply:
    """Change a code for tokens."""
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT,
        "code": code,
        "redirect_uri": REDIRECT,
        **changes,
    }
    return post(tenant, f"{path}/token", **form)


def test_a_sign_in_on_the_form_ends_in_a_code(tenant: Services) -> None:
    """RFC 6749 4.1: form, redirect with code and state, tokens; resource of the first request."""
    shown = authorize(tenant)
    assert shown.status == 200
    assert dict(shown.headers)["Content-Security-Policy"].startswith("default-src 'none'")
    reply = sign_in(tenant, shown)
    location = dict(reply.headers)["Location"]
    assert (reply.status, location[: len(REDIRECT) + 6]) == (302, f"{REDIRECT}&code=")
    assert parse_qs(urlsplit(location).query)["state"] == ["s &<"]
    found = body(redeem(tenant, code_of(reply)))
    assert claims_of(found["access_token"])["aud"] == DRS_AUDIENCE
    assert rig.audit_records(tenant.folder.root)[-2]["user"] == ALICE.upn
    assert code_of(reply) not in tenant.folder.audit_log.read_text()


def test_pkce_binds_the_code(tenant: Services) -> None:
    """RFC 7636 4.6: S256; v2 with its scopes and the id token's nonce."""
    shown = authorize(
        tenant,
        V2,
        resource="",
        scope="openid User.Read",
        code_challenge=CHALLENGE,
        code_challenge_method="S256",
        nonce="n-1",
    )
    found = body(redeem(tenant, code_of(sign_in(tenant, shown)), V2, code_verifier=VERIFIER))
    assert claims_of(found["id_token"])["nonce"] == "n-1"
    assert found["scope"] == "openid User.Read"
    for verifier in ({"code_verifier": "w" * 43}, {}, {"code_verifier": "v"}):
        code = code_of(sign_in(tenant, shown))
        refused = body(redeem(tenant, code, V2, **verifier))
        assert (refused["error"], refused["error_codes"]) == ("invalid_grant", [501481])
        assert reason(tenant) == "the code verifier does not fit the code challenge"
        used = body(redeem(tenant, code, V2, code_verifier=VERIFIER))
        assert used["error_codes"] == [54005]
    bare = code_of(sign_in(tenant, authorize(tenant)))
    assert body(redeem(tenant, bare, code_verifier=VERIFIER))["error_codes"] == [501481]


def test_a_code_is_used_once_by_its_client_where_it_was_sent(tenant: Services) -> None:
    """RFC 6749 4.1.2, 4.1.3; a second use ends the tokens of the first."""
    code = code_of(sign_in(tenant, authorize(tenant)))
    foreign = body(redeem(tenant, code, client_id=OTHER_CLIENT))
    assert foreign["error_codes"] == [70000]
    found = body(redeem(tenant, code))
    again = redeem(tenant, code)
    assert (again.status, body(again)["error"], body(again)["error_codes"]) == (
        400,
        "invalid_grant",
        [54005],
    )
    assert rig.audit_records(tenant.folder.root)[-1]["user"] == ALICE.upn
    refresh = post(
        tenant,
        f"{V1}/token",
        grant_type="refresh_token",
        client_id=CLIENT,
        refresh_token=found["refresh_token"],
    )
    assert body(refresh)["error_codes"] == [70000]
    elsewhere = code_of(sign_in(tenant, authorize(tenant)))
    refused = body(redeem(tenant, elsewhere, redirect_uri="http://localhost:8401/done?a=1"))
    assert refused["error_codes"] == [50011]
    late = code_of(sign_in(tenant, authorize(tenant)))
    assert body(redeem(later(tenant, seconds=600), late))["error_codes"] == [70008]


def test_of_two_who_redeem_at_once_one_wins(tenant: Services) -> None:
    """And then neither: a code that came twice was stolen."""
    code = code_of(sign_in(tenant, authorize(tenant)))
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT,
        "code": code,
        "redirect_uri": REDIRECT,
    }
    request = Request(
        method="POST",
        host=rig.LOGIN,
        path=f"{V1}/token",
        headers=Headers(),
        body=urlencode(form).encode(),
    )

    async def both() -> list[Reply]:
        dispatcher = Dispatcher(tenant)
        return await asyncio.gather(*(dispatcher.answer(request) for _ in range(4)))

    replies = asyncio.run(both())
    assert sorted(reply.status for reply in replies) == [200, 400, 400, 400]
    token = next(body(reply)["refresh_token"] for reply in replies if reply.status == 200)
    ended = post(
        tenant,
        f"{V1}/token",
        grant_type="refresh_token",
        client_id=CLIENT,
        refresh_token=token,
    )
    assert ended.status == 400


@pytest.mark.parametrize("mode", ["fragment", "form_post"])
def test_a_code_comes_as_it_was_asked_for(tenant: Services, mode: str) -> None:
    """OAuth 2.0 Multiple Response Types 2.1, Form Post Response Mode."""
    reply = sign_in(tenant, authorize(tenant, response_mode=mode))
    if mode == "fragment":
        location = urlsplit(dict(reply.headers)["Location"])
        code = parse_qs(location.fragment)["code"][0]
    else:
        assert f'action="{REDIRECT}"' in reply.body.decode()
        code = dict(hidden(reply))["code"]
        assert dict(hidden(reply))["state"] == "s &<"
    assert redeem(tenant, code).status == 200


@pytest.mark.parametrize("mfa", [MfaMode.NONE, MfaMode.ON_DEMAND, MfaMode.ASSUMED])
def test_ngcmfa_forces_the_second_factor(tenant: Services, mfa: MfaMode) -> None:
    """amr_values=ngcmfa (seed P1 A): what the page says for each switch."""
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, mfa=mfa))
    reply = sign_in(tenant, authorize(tenant, amr_values="ngcmfa"))
    if mfa is MfaMode.ASSUMED:
        found = body(redeem(tenant, code_of(reply)))
        assert "ngcmfa" in claims_of(found["access_token"])["amr"]
        return
    number = "50079" if mfa is MfaMode.NONE else "50076"
    assert (reply.status, told(reply)[:12]) == (401, f"AADSTS{number}:")
    assert ("amr_values", "ngcmfa") in set(hidden(reply))


BAD: dict[str, tuple[dict[str, str], str, int]] = {
    "no client": ({"client_id": ""}, "invalid_request", 900144),
    "no redirect URI": ({"redirect_uri": ""}, "invalid_request", 900144),
    "a host of somebody's": ({"redirect_uri": "https://evil.test/"}, "invalid_request", 50011),
    "an id token": ({"response_type": "id_token"}, "unsupported_response_type", 700054),
    "an unknown mode": ({"response_mode": "web_message"}, "invalid_request", 70007),
    "a plain challenge": (
        {"code_challenge": CHALLENGE, "code_challenge_method": "plain"},
        "invalid_request",
        9002313,
    ),
    "a challenge without method": ({"code_challenge": CHALLENGE}, "invalid_request", 9002313),
    "a method without challenge": (
        {"code_challenge_method": "S256"},
        "invalid_request",
        9002313,
    ),
    "a state with a line feed": ({"state": "a\nb"}, "invalid_request", 9002313),
    "a bad resource": ({"resource": '"'}, "invalid_resource", 500011),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_authorization_request_is_told_and_never_redirected(
    tenant: Services, case: str
) -> None:
    """RFC 6749 4.1.2.1; the form's own post is judged in the same way."""
    changes, error, number = BAD[case]
    credentials = {"login": ALICE.upn, "passwd": PASSWORD}
    for reply in (
        authorize(tenant, **changes),
        post(tenant, "/common/login", **_query(**changes), **credentials),
    ):
        assert (reply.status, body(reply)["error"], body(reply)["error_codes"]) == (
            400,
            error,
            [number],
        )
        assert "Location" not in dict(reply.headers)


@pytest.mark.parametrize(
    "uri",
    [
        "https://login.microsoftonline.com/common/oauth2/nativeclient",
        "http://localhost",
        "http://127.0.0.1:1234/x",
        "http://[::1]:5/",
        "ms-appx-web://Microsoft.AAD.BrokerPlugin/dd762716-544d-4aeb-a526-687b73838a22",
        "ms-aadj-redir://auth/drs",
        "himmelblau://Himmelblau.EntraId.BrokerPlugin",
    ],
)
def test_a_code_goes_to_this_machine_or_a_broker(uri: str) -> None:
    """RFC 8252 7: loopback, the schemes of brokers, and the page for native clients."""
    assert check_redirect_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.test/",
        "http://localhost.evil.test/",
        "http://localhost@evil.test/",
        "http://evil.test@localhost/",
        "http://localhost:99999/",
        "https://login.microsoftonline.com/other",
        "http://login.microsoftonline.com/common/oauth2/nativeclient",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "//localhost/",
        "localhost",
        "http://localhost/#x",
        "http://localhost/\r\nSet-Cookie: a=b",
        "http://localhost/ä",
        "http://[::1/",
        "http://evil.test[::1]/",
        "http://evil.test[127.0.0.1]/",
        "http://[::1].evil.test/",
        "msauth\\:x",
        "http://localhost/" + "a" * 2048,
    ],
)
def test_a_code_goes_nowhere_else(uri: str) -> None:
    """RFC 9700 2.1: a code is a credential."""
    with pytest.raises(LoginError) as refusal:
        check_redirect_uri(uri)
    assert (refusal.value.status, refusal.value.number) == (400, 50011)


def test_the_page_for_native_clients_is_there(tenant: Services) -> None:
    """Where a browser ends up with the code in its address."""
    reply = rig.ask(tenant, "GET", "/common/oauth2/nativeclient?code=x")
    assert (reply.status, b"Signed in" in reply.body) == (200, True)
