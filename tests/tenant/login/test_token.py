"""The token endpoint: passwords and refresh tokens; each refusal with its body and record."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import pytest

from tenant.http.message import Headers, Reply, Request
from tenant.jose.jws import open_jws, verify
from tenant.login.resources import DRS_APPLICATION, DRS_AUDIENCE
from tenant.login.tokens import key_set, public_key
from tenant.server.dispatch import Dispatcher
from tenant.services import Services
from tenant.state import password_work, users
from tenant.state.users import MfaMode, User
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

V1, V2 = "/common/oauth2/token", f"/{rig.TENANT_ID}/oauth2/v2.0/token"
WRONG_PASSWORD = {"password": "x"}
START = int(rig.NOW.timestamp())


@pytest.fixture
def tenant(tmp_path: Path) -> Services:
    """A tenant with alice."""
    made = rig.services(tmp_path)
    add_user(made)
    return made


def sign_in(tenant: Services, path: str = V1, **changes: str) -> Reply:
    """Sign alice in with her password; changes: parameters, empty ones are left out."""
    form = {
        "grant_type": "password",
        "client_id": CLIENT,
        "username": ALICE.upn,
        "password": PASSWORD,
        **({"resource": DRS_AUDIENCE} if path == V1 else {"scope": f"{DRS_AUDIENCE}/.default"}),
        **changes,
    }
    return post(tenant, path, **{name: value for name, value in form.items() if value})


def refresh(tenant: Services, token: str, path: str = V1, **changes: str) -> Reply:
    """Show a refresh token."""
    form = {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": token, **changes}
    return post(tenant, path, **form)


def refused(tenant: Services, reply: Reply) -> tuple[int, str, list[int], str]:
    """Status, OAuth's error, AADSTS numbers, and the reason in the last audit record."""
    found = body(reply)
    reason = rig.audit_records(tenant.folder.root)[-1]["reason"]
    return reply.status, found["error"], found["error_codes"], reason


def test_a_password_gives_tokens_in_the_form_of_v1(tenant: Services) -> None:
    """Seed R1 C, P1 A: numbers as text; the id token has what libhimmelblau needs."""
    reply = sign_in(tenant, client_info="1")
    found = body(reply)
    assert reply.status == 200
    assert ("Cache-Control", "no-store") in reply.headers
    assert {name: found[name] for name in found if not name.endswith(("_token", "_info"))} == {
        "token_type": "Bearer",
        "scope": "user_impersonation",
        "expires_in": "3600",
        "ext_expires_in": "3600",
        "expires_on": str(START + 3600),
        "not_before": str(START),
        "resource": DRS_AUDIENCE,
    }
    proven = verify(open_jws(found["id_token"]), public_key(tenant.signing_key), {"RS256"})
    claims = proven.claims()
    assert {name: claims[name] for name in ("name", "oid", "tid", "preferred_username", "aud")} == {
        "name": "Alice Änne",
        "oid": str(ALICE.object_id),
        "tid": str(rig.TENANT_ID),
        "preferred_username": ALICE.upn,
        "aud": CLIENT,
    }
    assert claims["iss"] == f"https://sts.windows.net/{rig.TENANT_ID}/"
    assert proven.header["kid"] == key_set(tenant.signing_key, "")["keys"][0]["kid"]  # type: ignore[index,call-overload]  # JSON
    access = claims_of(found["access_token"])
    assert (access["aud"], access["amr"], access["appid"]) == (DRS_AUDIENCE, ["pwd"], CLIENT)
    assert claims_of(f".{found['client_info']}") == {
        "uid": str(ALICE.object_id),
        "utid": str(rig.TENANT_ID),
    }


def test_a_password_gives_tokens_in_the_form_of_v2(tenant: Services) -> None:
    """Numbers as numbers; refresh and id token by their scopes; the DRS by its application id."""
    found = body(sign_in(tenant, V2, scope=f"{DRS_APPLICATION}/.default"))
    assert {name: found[name] for name in found if name != "access_token"} == {
        "token_type": "Bearer",
        "scope": f"{DRS_APPLICATION}/.default",
        "expires_in": 3600,
        "ext_expires_in": 3600,
    }
    assert claims_of(found["access_token"])["aud"] == DRS_AUDIENCE
    found = body(sign_in(tenant, V2, scope="openid profile offline_access User.Read"))
    assert {"refresh_token", "id_token"} <= set(found)
    assert claims_of(found["access_token"])["aud"] == "00000003-0000-0000-c000-000000000000"
    issuer = f"https://login.microsoftonline.com/{rig.TENANT_ID}/v2.0"
    assert claims_of(found["id_token"])["iss"] == issuer


def test_a_synced_users_id_token_leads_to_the_domain(tenant: Services) -> None:
    """Seeds A2 and A3, phase A: the domain hint."""
    synced = replace(ALICE, onprem_sid="S-1-5-21-1-2-3-1104", onprem_sam="alice")
    with tenant.database.write() as connection:
        users.update(connection, synced)
    claims = claims_of(body(sign_in(tenant))["id_token"])
    assert claims["onprem_sid"] == "S-1-5-21-1-2-3-1104"
    assert (claims["domain_dns_name"], claims["onprem_sam_account_name"]) == ("lab.test", "alice")


def test_a_refusal_has_the_body_that_clients_parse(tenant: Services) -> None:
    """All members of the real service's, and nothing of what was sent."""
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    asked = ("client-request-id", "0e3ceee6-0d0f-4c9a-9a1b-2f8e3d9e6c11")
    form = {"grant_type": "password", "client_id": CLIENT, "username": ALICE.upn, "password": "no"}
    reply = rig.ask(tenant, "POST", V1, urlencode(form).encode(), headers=(kind, asked))
    found = body(reply)
    trace = found["trace_id"]
    assert found == {
        "error": "invalid_grant",
        "error_description": (
            "AADSTS50126: Error validating credentials due to invalid username or password. "
            f"Trace ID: {trace} Correlation ID: {asked[1]} Timestamp: 2026-06-01 12:00:00Z"
        ),
        "error_codes": [50126],
        "timestamp": "2026-06-01 12:00:00Z",
        "trace_id": str(UUID(trace)),
        "correlation_id": asked[1],
        "error_uri": "https://login.microsoftonline.com/error?code=50126",
    }
    (record,) = rig.audit_records(tenant.folder.root)
    assert (record["status"], record["error"]) == (400, "invalid_grant AADSTS50126")
    assert (record["reason"], record["user"], record["trace_id"]) == (
        "wrong password",
        ALICE.upn,
        trace,
    )


BAD_REQUESTS: dict[str, tuple[str, dict[str, str], tuple[int, str, list[int], str]]] = {
    "another tenant": (
        f"/{UUID(int=1)}/oauth2/token",
        {},
        (400, "invalid_request", [90002], "the path names another tenant"),
    ),
    "consumers": (
        "/consumers/oauth2/token",
        {},
        (400, "invalid_request", [90002], "the path names another tenant"),
    ),
    "no grant type": (
        V1,
        {"grant_type": ""},
        (400, "invalid_request", [900144], "the parameter grant_type is missing"),
    ),
    "an unknown grant type": (
        V1,
        {"grant_type": "client_credentials"},
        (400, "unsupported_grant_type", [70003], "the grant type is not supported"),
    ),
    "no client": (
        V1,
        {"client_id": ""},
        (400, "invalid_request", [900144], "the parameter client_id is missing"),
    ),
    "a client that is no GUID": (
        V1,
        {"client_id": "{" + CLIENT + "}"},
        (400, "unauthorized_client", [700016], "the client id is no application id"),
    ),
    "a client with a secret": (
        V1,
        {"client_secret": "s"},
        (401, "invalid_client", [700025], "a public client shows a secret"),
    ),
    "no password": (
        V1,
        {"password": ""},
        (400, "invalid_request", [900144], "the parameter password is missing"),
    ),
    "a resource with a line feed": (
        V1,
        {"resource": "urn:x\ny"},
        (400, "invalid_resource", [500011], "the resource is no URI or application id"),
    ),
    "scopes of two resources": (
        V2,
        {"scope": "urn:a/.default urn:b/.default"},
        (400, "invalid_scope", [700022], "the scopes are of two resources"),
    ),
    "a scope with a quotation mark": (
        V2,
        {"scope": 'a"b'},
        (
            400,
            "invalid_scope",
            [70011],
            "the scope has a character that none may have, or is too long",
        ),
    ),
    "claims that are no JSON": (
        V1,
        {"claims": "{'a':1}"},
        (400, "invalid_request", [9002313], "the claims: the JSON text is malformed"),
    ),
    "claims with a member twice": (
        V1,
        {"claims": '{"a":1,"a":2}'},
        (400, "invalid_request", [9002313], "the claims: a member occurs twice in one object"),
    ),
    "a name without end": (
        V1,
        {"username": "a" * 257},
        (400, "invalid_grant", [50126], "the name is too long"),
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_refused_by_its_own_number(tenant: Services, case: str) -> None:
    """RFC 6749 5.2 and the service's numbers."""
    path, changes, expected = BAD_REQUESTS[case]
    assert refused(tenant, sign_in(tenant, path, **changes)) == expected


@pytest.mark.parametrize(
    ("octets", "kind", "why"),
    [
        (b"grant_type=a&grant_type=b", None, "a parameter is included more than once"),
        (b"grant_type=%zz", None, "a percent sign does not start two hexadecimal digits"),
        (b"grant_type=%ff", None, "it is not UTF-8 text"),
        (b"{}", "application/json", "the body is no form"),
        (b"a=1&" * 65, None, "there are too many parameters"),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    tenant: Services, octets: bytes, kind: str | None, why: str
) -> None:
    """RFC 6749 3.2: no parameter twice."""
    headers = () if kind is None else (("Content-Type", kind),)
    reply = rig.ask(tenant, "POST", V1, octets, headers=headers)
    assert refused(tenant, reply) == (400, "invalid_request", [9002313], why)


WRONG = (400, "invalid_grant", [50126])


def test_unknown_names_and_wrong_passwords_get_one_answer(tenant: Services) -> None:
    """Only the audit record tells them apart, and a user without a password from both."""
    add_user(tenant, User(object_id=UUID(int=2), upn="nopass@lab.test", display_name="N"))
    replies = {
        "wrong password": sign_in(tenant, **WRONG_PASSWORD),
        "no such user": sign_in(tenant, username="nobody@lab.test"),
        "no password": sign_in(tenant, username="nopass@lab.test"),
    }
    texts = {body(reply)["error_description"].partition(" Trace")[0] for reply in replies.values()}
    assert len(texts) == 1
    assert [record["reason"] for record in rig.audit_records(tenant.folder.root)] == list(replies)
    for reply in replies.values():
        assert (reply.status, body(reply)["error"], body(reply)["error_codes"]) == WRONG


@pytest.mark.parametrize("name", [ALICE.upn, "nobody@lab.test"])
def test_ten_wrong_passwords_lock_a_name_whether_it_exists_or_not(
    tenant: Services, name: str
) -> None:
    """AADSTS50053, also for the right password; a minute later it goes on."""
    for _ in range(10):
        assert body(sign_in(tenant, username=name, **WRONG_PASSWORD))["error_codes"] == [50126]
    locked = (400, "invalid_grant", [50053], "too many failures: the name is locked")
    for secret in ("x", PASSWORD):
        assert refused(tenant, sign_in(tenant, username=name.upper(), password=secret)) == locked
    later_on = later(tenant, seconds=60)
    if name == ALICE.upn:
        assert sign_in(later_on).status == 200
        assert body(sign_in(later_on, **WRONG_PASSWORD))["error_codes"] == [50126]
    else:
        assert body(sign_in(later_on, username=name))["error_codes"] == [50126]
    assert sign_in(tenant if name != ALICE.upn else later_on).status == 200


async def _at_once(tenant: Services, forms: list[dict[str, str]]) -> list[Reply]:
    dispatcher = Dispatcher(tenant)
    requests = [
        Request(
            method="POST",
            host=rig.LOGIN,
            path=V1,
            headers=Headers.of([("Content-Type", "application/x-www-form-urlencoded")]),
            body=urlencode(form).encode(),
        )
        for form in forms
    ]
    return await asyncio.gather(*map(dispatcher.answer, requests))


def _guess(secret: str) -> dict[str, str]:
    return {
        "grant_type": "password",
        "client_id": CLIENT,
        "username": ALICE.upn,
        "password": secret,
    }


def test_guesses_at_once_are_counted_before_the_next_is_judged(tenant: Services) -> None:
    """Thirty at once are ten guesses and twenty refusals, even if the thirtieth is right."""
    forms = [_guess(f"x{number}") for number in range(29)] + [_guess(PASSWORD)]
    replies = asyncio.run(_at_once(tenant, forms))
    codes = [body(reply)["error_codes"][0] for reply in replies]
    assert sorted(codes) == [50053] * 20 + [50126] * 10


def test_sign_ins_that_wait_are_bounded(tenant: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a client is told to come again, and nothing is counted against the user."""
    monkeypatch.setattr(password_work, "MAX_WAITING", 3)
    replies = asyncio.run(_at_once(tenant, [_guess(PASSWORD)] * 5))
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 503, 503]
    busy = next(body(reply) for reply in replies if reply.status == 503)
    assert (busy["error"], busy["error_codes"]) == ("temporarily_unavailable", [90033])
    assert sign_in(tenant).status == 200


def test_a_disabled_user_is_refused_once_the_password_is_right(tenant: Services) -> None:
    """AADSTS50057 tells nothing to who does not know the password."""
    refresh_token = body(sign_in(tenant))["refresh_token"]
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, enabled=False))
    expected = (400, "invalid_grant", [50057], "the user is disabled")
    assert refused(tenant, sign_in(tenant)) == expected
    assert refused(tenant, refresh(tenant, refresh_token)) == expected
    assert body(sign_in(tenant, **WRONG_PASSWORD))["error_codes"] == [50126]


# -- refresh tokens ---------------------------------------------------------------------------

INVALID = (400, "invalid_grant", [70000])
USED = "the token or code was used already"


def test_a_refresh_token_is_replaced_when_it_is_used(tenant: Services) -> None:
    """RFC 9700 4.14.2; the sign-in's own time stays."""
    first = body(sign_in(tenant))["refresh_token"]
    minute_later = later(tenant, seconds=60)
    reply = refresh(minute_later, first, resource=DRS_AUDIENCE)
    second = body(reply)
    assert (reply.status, second["refresh_token"] != first) == (200, True)
    claims = claims_of(second["access_token"])
    assert (claims["auth_time"], claims["iat"]) == (START, START + 60)
    assert refused(tenant, refresh(minute_later, first)) == (*INVALID, USED)
    assert refresh(minute_later, second["refresh_token"]).status == 200


def test_a_refresh_token_shown_again_later_ends_its_successors(tenant: Services) -> None:
    """A thief and the client both hold it: neither goes on."""
    first = body(sign_in(tenant))["refresh_token"]
    second = body(refresh(tenant, first))["refresh_token"]
    assert refused(tenant, refresh(later(tenant, seconds=10), first)) == (*INVALID, USED)
    assert rig.audit_records(tenant.folder.root)[-1]["user"] == ALICE.upn
    unknown = (*INVALID, "the token or code is unknown or revoked")
    assert refused(tenant, refresh(tenant, second)) == unknown


def test_of_two_who_refresh_at_once_one_wins(tenant: Services) -> None:
    """Row R04's like: consumption is one transaction."""
    token = body(sign_in(tenant))["refresh_token"]
    form = {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": token}
    replies = asyncio.run(_at_once(tenant, [form] * 8))
    assert sorted(reply.status for reply in replies) == [200] + [400] * 7
    winner = next(body(reply) for reply in replies if reply.status == 200)
    assert refresh(tenant, winner["refresh_token"]).status == 200


def test_a_refresh_token_is_its_clients_and_ends(tenant: Services) -> None:
    """RFC 6749 6: bound to the client; a day of life."""
    token = body(sign_in(tenant))["refresh_token"]
    foreign = refresh(tenant, token, client_id=OTHER_CLIENT)
    assert refused(tenant, foreign) == (*INVALID, "the token or code belongs to another client")
    late = refresh(later(tenant, days=1), token)
    assert refused(tenant, late) == (
        400,
        "invalid_grant",
        [700082],
        "the token or code has expired",
    )
    for unknown in ("x", "0." + "A" * 43, "' OR 1=1", "ä"):
        assert body(refresh(tenant, unknown))["error_codes"] == [70000]
    assert refresh(tenant, token).status == 200


def test_a_new_password_ends_refresh_tokens(tenant: Services) -> None:
    """What rests on the old password is revoked with it."""
    token = body(sign_in(tenant))["refresh_token"]
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, password=None))
    assert body(refresh(tenant, token))["error_codes"] == [70000]


def test_without_rotation_a_refresh_token_stays_beside_the_next(tmp_path: Path) -> None:
    """refresh_token_rotation = false: as Entra's, for clients that use one twice."""
    made = rig.services(tmp_path)
    add_user(made)
    tenant = replace(made, config=replace(made.config, refresh_token_rotation=False))
    first = body(sign_in(tenant))["refresh_token"]
    second = body(refresh(tenant, first))["refresh_token"]
    assert [refresh(tenant, token).status for token in (first, second)] == [200, 200]


def test_v2_without_offline_access_leaves_the_refresh_token_alone(tenant: Services) -> None:
    """There is no new one, so the old one stays."""
    token = body(sign_in(tenant))["refresh_token"]
    reply = refresh(tenant, token, V2, scope=f"{DRS_AUDIENCE}/.default")
    assert (reply.status, "refresh_token" in body(reply)) == (200, False)
    assert refresh(tenant, token).status == 200


# -- the second factor ------------------------------------------------------------------------

NEEDED = (400, "interaction_required", [50076], "a second factor is needed")
NOT_REGISTERED = (
    400,
    "interaction_required",
    [50079],
    "a second factor is demanded, and the user has none",
)
NGCMFA = '{"access_token":{"amr":{"values":["ngcmfa","mfa"]}}}'


@pytest.mark.parametrize(
    ("mfa", "demand", "expected"),
    [
        (MfaMode.NONE, {}, ["pwd"]),
        (MfaMode.NONE, {"amr_values": "ngcmfa"}, NOT_REGISTERED),
        (MfaMode.ON_DEMAND, {}, ["pwd"]),
        (MfaMode.ON_DEMAND, {"amr_values": "ngcmfa"}, NEEDED),
        (MfaMode.ON_DEMAND, {"claims": NGCMFA}, NEEDED),
        (MfaMode.ON_DEMAND, {"claims": '{"id_token":{"amr":{"value":"mfa"}}}'}, NEEDED),
        (MfaMode.ON_DEMAND, {"claims": '{"access_token":{"xms_cc":{"values":["CP1"]}}}'}, ["pwd"]),
        (MfaMode.REQUIRED, {}, NEEDED),
        (MfaMode.ASSUMED, {}, ["mfa", "ngcmfa", "pwd"]),
    ],
)
def test_the_switch_of_the_second_factor(
    tmp_path: Path, mfa: MfaMode, demand: dict[str, str], expected: object
) -> None:
    """Seed P1 A: asked for by user or client; a password alone cannot show it."""
    tenant = rig.services(tmp_path)
    add_user(tenant, mfa=mfa)
    reply = sign_in(tenant, **demand)
    if reply.status == 200:
        assert claims_of(body(reply)["access_token"])["amr"] == expected
        return
    assert refused(tenant, reply) == expected
    assert body(reply)["suberror"] == "basic_action"


def test_an_old_second_factor_is_asked_for_again(tmp_path: Path) -> None:
    """Seed P1 A: less than ten minutes old, whichever token asks."""
    tenant = rig.services(tmp_path)
    add_user(tenant, mfa=MfaMode.ASSUMED)
    token = body(sign_in(tenant))["refresh_token"]
    fresh, stale = later(tenant, seconds=599), later(tenant, seconds=600)
    found = body(refresh(fresh, token, amr_values="ngcmfa"))
    assert "ngcmfa" in claims_of(found["access_token"])["amr"]
    demanding = refresh(stale, found["refresh_token"], amr_values="ngcmfa")
    assert refused(tenant, demanding) == NEEDED
    found = body(refresh(stale, found["refresh_token"]))
    assert claims_of(found["access_token"])["amr"] == ["mfa", "pwd"]


def test_a_switch_turned_on_later_holds_for_refresh_tokens(tenant: Services) -> None:
    """A sign-in without a second factor is not enough any more."""
    token = body(sign_in(tenant))["refresh_token"]
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, mfa=MfaMode.REQUIRED))
    assert refused(tenant, refresh(tenant, token)) == NEEDED
    with tenant.database.write() as connection:
        users.update(connection, replace(ALICE, mfa=MfaMode.NONE))
    assert refresh(tenant, token).status == 200


def test_no_secret_is_in_the_audit_log(tenant: Services) -> None:
    """Good and bad requests: no password, token or nonce."""
    found = body(sign_in(tenant))
    nonce = body(post(tenant, V1, grant_type="srv_challenge"))["Nonce"]
    sign_in(tenant, **{"password": "Wrong-Passw0rd-9"})
    refresh(tenant, found["refresh_token"])
    refresh(tenant, found["refresh_token"])
    rig.ask(tenant, "POST", f"{V1}?password=In-The-Query-7", b"password=Raw-And-Broken-8%zz")
    text = tenant.folder.audit_log.read_text()
    secrets = (PASSWORD, "Wrong-Passw0rd-9", "In-The-Query-7", "Raw-And-Broken-8", nonce)
    for secret in (*secrets, found["refresh_token"], found["access_token"], found["id_token"]):
        assert secret not in text
    assert len(text.splitlines()) == 6
    assert all(json.loads(line)["status"] in (200, 400) for line in text.splitlines())


@pytest.mark.parametrize("change", ["deleted", "new password", "disabled"])
def test_a_user_who_changes_while_the_password_is_compared(
    tenant: Services, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What was read before the hash is asked for again after it."""

    async def slow(*_: object) -> bool:
        with tenant.database.write() as connection:
            if change == "deleted":
                users.delete(connection, ALICE.object_id)
            elif change == "disabled":
                users.update(connection, replace(ALICE, enabled=False))
            else:
                users.update(connection, replace(ALICE, password=None))
        return True

    monkeypatch.setattr(password_work.PasswordWork, "is_password", slow)
    expected = (
        (400, "invalid_grant", [50057], "the user is disabled")
        if change == "disabled"
        else (*WRONG, "the user changed meanwhile")
    )
    assert refused(tenant, sign_in(tenant)) == expected
