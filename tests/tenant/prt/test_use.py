"""Using and renewing a PRT."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kdc.client.partial_tgt import open_partial_tgt
from kdc.formats.prt_file import decode_prt_file
from kdc.formats.session_jwe import open_session_jwe
from tenant.http.message import Headers, Request
from tenant.login.bearer import verify_bearer
from tenant.login.resources import DRS_AUDIENCE
from tenant.state import devices, keys, prts, users
from tenant.state.passwords import hash_password
from tenant.state.prts import MAX_OF_A_PAIR
from tenant.state.users import MfaMode
from tests.rig import tenant as rig
from tests.tenant.prt import jwts
from tests.tenant.prt.test_issue import claims_of
from tests.tenant.prt.world import (
    ALICE,
    DEVICE_ID,
    HELLO_KEY,
    PASSWORD,
    HeldPrt,
    World,
    answered,
    refused,
    world,
)

APP = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
GRAPH = "https://graph.windows.net"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[World]:
    """A tenant with alice and her device."""
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def held(lab: World) -> HeldPrt:
    """A PRT got with the Hello key."""
    return lab.prt()


def use_request(lab: World, held: HeldPrt, **claims: Any) -> str:
    """Make a good use of a PRT, or one with something changed."""
    return jwts.session_request(held.session_key, held.token, lab.nonce(), **claims)


@pytest.mark.parametrize("version", [1, 2])
def test_prt_gets_tokens_of_an_application(lab: World, held: HeldPrt, version: int) -> None:
    """With the device in them, amr and auth_time of the sign-in; both versions of the KDF."""
    lab.now += timedelta(minutes=30)
    found = lab.use(held, version=version, client_id=APP, resource=GRAPH)
    claims = claims_of(found["access_token"])
    assert (claims["aud"], claims["appid"], claims["deviceid"]) == (GRAPH, APP, str(DEVICE_ID))
    assert (claims["amr"], claims["auth_time"]) == (["mfa", "rsa"], int(rig.NOW.timestamp()))
    assert (found["token_type"], found["expires_in"]) == ("Bearer", "3600")
    assert found["refresh_token"] != held.token


def test_answer_is_a_bare_jwe(lab: World, held: HeldPrt) -> None:
    """Header dir, A256GCM, ctx, kid session; trap 6: version 1 derives its key, always."""
    reply = lab.post(use_request(lab, held))
    assert (reply.status, reply.content_type) == (200, "application/jose; charset=utf-8")
    header = json.loads(base64.urlsafe_b64decode(reply.body.split(b".")[0] + b"=="))
    assert {name: header[name] for name in ("alg", "enc", "kid")} == {
        "alg": "dir",
        "enc": "A256GCM",
        "kid": "session",
    }
    assert ("Cache-Control", "no-store") in reply.headers


@pytest.mark.parametrize(("version", "octets"), [(1, 16), (2, 12)])
def test_form_of_the_answer_follows_the_request(
    lab: World, held: HeldPrt, version: int, octets: int
) -> None:
    """CBC for clients that do not say kdf_ver (libhimmelblau), GCM for the others (roadtx)."""
    reply = lab.post(use_request(lab, held, version=version))
    iv = reply.body.split(b".")[2]
    assert len(base64.urlsafe_b64decode(iv + b"=" * (-len(iv) % 4))) == octets
    assert json.loads(open_session_jwe(reply.body.decode(), held.session_key))["id_token"]


def test_times_may_be_texts(lab: World, held: HeldPrt) -> None:
    """Roadtx writes iat and exp so."""
    moment = int(rig.NOW.timestamp())
    found = lab.use(held, resource=GRAPH, iat=str(moment), exp=str(moment + 3600))
    assert found["access_token"]


def test_without_a_resource_there_is_no_access_token(lab: World, held: HeldPrt) -> None:
    """An id token and a refresh token of the client."""
    found = lab.use(held, client_id=APP)
    assert "access_token" not in found
    assert claims_of(found["id_token"])["aud"] == APP


def test_drs_token_of_a_prt_registers_keys(lab: World, held: HeldPrt) -> None:
    """Its audience is the service's, deviceid and mfa are in it (MS-KPP 3.1.5.1.1)."""
    found = lab.use(held, client_id=APP, resource=DRS_AUDIENCE)
    request = Request(
        method="POST",
        host=rig.REGISTRATION,
        path="/EnrollmentServer/key/",
        headers=Headers.of([("Authorization", f"Bearer {found['access_token']}")]),
    )
    bearer = verify_bearer(lab.services, request, DRS_AUDIENCE)
    assert (bearer.user.upn, bearer.device_id) == (ALICE.upn, DEVICE_ID)
    assert "mfa" in bearer.amr


def test_refresh_token_of_a_prt_keeps_the_device(lab: World, held: HeldPrt) -> None:
    """Also what is got with it later names the device."""
    refresh = lab.use(held, client_id=APP, resource=DRS_AUDIENCE)["refresh_token"]
    body = (
        f"grant_type=refresh_token&client_id={APP}&resource={DRS_AUDIENCE}&refresh_token={refresh}"
    )
    found = answered(rig.ask(lab.services, "POST", "/common/oauth2/token", body.encode()))
    assert claims_of(found["access_token"])["deviceid"] == str(DEVICE_ID)


def test_renewal(lab: World, held: HeldPrt) -> None:
    """A new PRT under the same session key, which lives anew; the sign-in stays as old as it is."""
    lab.now += timedelta(days=10)
    found = lab.use(held, scope="openid aza ugs", previous_refresh_token=held.token)
    renewed = HeldPrt(answer=found, session_key=held.session_key)
    assert renewed.token != held.token
    assert "session_key_jwe" not in found
    assert (found["expires_in"], found["refresh_token_expires_in"]) == ("1209600", 1209600)
    assert claims_of(found["id_token"])["auth_time"] == int(rig.NOW.timestamp())
    lab.now += timedelta(days=10)
    assert lab.use(renewed, resource=GRAPH)["access_token"]
    assert refused(lab.post(use_request(lab, held))) == (
        400,
        "invalid_grant",
        70008,
        "the PRT has expired",
    )


def test_former_prt_is_good_after_renewals(lab: World, held: HeldPrt) -> None:
    """The answers may have been lost, any number of them; of those only the newest are kept."""
    found = []
    for _ in range(MAX_OF_A_PAIR + 2):
        lab.now += timedelta(seconds=1)
        found.append(lab.use(held, scope="openid aza"))
    for answer, good in ((found[0], False), (found[-1], True)):
        renewed = HeldPrt(answer=answer, session_key=held.session_key)
        assert (lab.post(use_request(lab, renewed)).status == 200) is good


def test_renewal_with_a_resource_gives_both(lab: World, held: HeldPrt) -> None:
    """MS-OAPXBC 3.2.5.1.3.1: aza adds the new PRT to the answer."""
    found = lab.use(held, scope="openid aza", resource=GRAPH)
    assert found["access_token"]
    renewed = HeldPrt(answer=found, session_key=held.session_key)
    assert lab.use(renewed, resource=GRAPH)["access_token"]


@pytest.mark.parametrize("version", [1, 2])
def test_renewal_brings_a_partial_tgt(lab: World, held: HeldPrt, version: int) -> None:
    """Each renewal a fresh one; nobody has unwrapped its key."""
    found = lab.use(held, version=version, scope="openid aza", form={"tgt": "true"})
    kept = found | {"session_key": held.session_key.hex()}
    delivered = decode_prt_file(json.dumps(kept).encode())
    assert open_partial_tgt(delivered.message, delivered.client_key).client.components == ("alice",)


def test_second_version_of_the_endpoint(lab: World, held: HeldPrt) -> None:
    """PRT protocol 3: scopes in the place of a resource, numbers in the place of texts."""
    jwt = use_request(
        lab,
        held,
        scope="profile offline_access openid https://graph.windows.net/.default",
        iss="29d9ed98-a469-4536-ade2-f981bc1d605e",
        aud="https://login.windows.net/common/oauth2/v2.0/token",
    )
    reply = lab.post(jwt, version="/v2.0")
    assert reply.status == 200, reply.body
    found = json.loads(open_session_jwe(reply.body.decode(), held.session_key))
    assert claims_of(found["access_token"])["aud"] == GRAPH
    assert found["expires_in"] == 3600


def test_scope_openid_is_demanded_by_the_first_version_alone(lab: World, held: HeldPrt) -> None:
    """Roadtx sends the resource's scope alone to the other, and gets no id token."""
    scope = "https://graph.windows.net/.default"
    assert refused(lab.post(use_request(lab, held, scope=scope))) == (
        400,
        "invalid_scope",
        70011,
        "the scope openid is missing",
    )
    reply = lab.post(use_request(lab, held, scope=scope), version="/v2.0")
    found = json.loads(open_session_jwe(reply.body.decode(), held.session_key))
    assert "id_token" not in found
    assert claims_of(found["access_token"])["aud"] == GRAPH


@pytest.mark.parametrize("grant", ["password", jwts.JWT_BEARER, "device_token"])
def test_another_grant_than_the_prt(lab: World, held: HeldPrt, grant: str) -> None:
    """MS-OAPXBC 3.2.5.1.3.1: grant_type is refresh_token."""
    assert refused(lab.post(use_request(lab, held, grant_type=grant))) == (
        400,
        "unsupported_grant_type",
        70003,
        "a PRT is used with grant_type refresh_token",
    )


def test_fresh_second_factor_is_demanded(lab: World, held: HeldPrt) -> None:
    """The PRT's is as old as the sign-in (seed P1, phase A)."""
    reply = lab.post(use_request(lab, held, resource=GRAPH), amr_values="ngcmfa")
    assert reply.status == 200
    lab.now += timedelta(seconds=lab.services.config.mfa_freshness_s)
    reply = lab.post(use_request(lab, held, resource=GRAPH), amr_values="ngcmfa")
    assert refused(reply)[:3] == (400, "interaction_required", 50079)


def test_client_id_of_nobody(lab: World, held: HeldPrt) -> None:
    """Any application id, but one."""
    reply = lab.post(use_request(lab, held, client_id="broker"))
    assert refused(reply)[:3] == (400, "unauthorized_client", 700016)


# -- what a PRT is bound to ------------------------------------------------------------------


def use_refused(lab: World, held: HeldPrt) -> tuple[int, str, int, str]:
    """Use a PRT in vain, and renew it in vain; the reason is the same."""
    used = refused(lab.post(use_request(lab, held, resource=GRAPH)))
    renewed = refused(lab.post(use_request(lab, held, scope="openid aza")))
    assert used == renewed
    return used


def test_disabled_device(lab: World, held: HeldPrt) -> None:
    """From now on, and again when it is enabled."""
    lab.change_device(enabled=False)
    assert use_refused(lab, held) == (400, "invalid_grant", 135011, "the device is disabled")
    lab.change_device(enabled=True)
    assert lab.use(held)


def test_deleted_device(lab: World, held: HeldPrt) -> None:
    """Its tokens went with it."""
    with lab.services.database.write() as connection:
        devices.delete_device(connection, DEVICE_ID)
    assert use_refused(lab, held)[3] == "the PRT is unknown or revoked"


def test_device_that_joined_anew(lab: World, held: HeldPrt) -> None:
    """Another key under the same id: what the old one had is not its."""
    lab.change_device(device_key=jwts.spki(jwts.rsa_key("new device")))
    assert use_refused(lab, held) == (
        400,
        "invalid_grant",
        50155,
        "the device has joined anew with another key",
    )


def test_disabled_user(lab: World, held: HeldPrt) -> None:
    """From now on."""
    lab.change_alice(enabled=False)
    assert use_refused(lab, held)[:3] == (400, "invalid_grant", 50057)


def test_deleted_user(lab: World, held: HeldPrt) -> None:
    """The tokens went with the user."""
    with lab.services.database.write() as connection:
        users.delete(connection, ALICE.object_id)
    assert use_refused(lab, held) == (
        400,
        "invalid_grant",
        70008,
        "the PRT is unknown or revoked",
    )


def test_removed_key(lab: World, held: HeldPrt) -> None:
    """What the Hello key got goes with it; what a password got does not."""
    jwt = lab.device_request(grant_type="password", username=ALICE.upn, password=PASSWORD)
    other = lab.prt(jwt)
    with lab.services.database.write() as connection:
        assert keys.delete_key(connection, UUID(int=500))
    assert use_refused(lab, held) == (
        400,
        "invalid_grant",
        70008,
        "the Hello key that got the PRT was removed",
    )
    assert lab.use(other)


def test_new_password(lab: World, held: HeldPrt) -> None:
    """It ends what the old one got; the Hello key's stays."""
    jwt = lab.device_request(grant_type="password", username=ALICE.upn, password=PASSWORD)
    other = lab.prt(jwt)
    lab.change_alice(password=hash_password("another", bytes(16), cost=2))
    assert use_refused(lab, other)[3] == "the PRT is unknown or revoked"
    assert lab.use(held)


def test_second_factor_that_was_switched_on(lab: World) -> None:
    """A PRT got with the password alone gets nothing any more."""
    jwt = lab.device_request(grant_type="password", username=ALICE.upn, password=PASSWORD)
    held = lab.prt(jwt)
    lab.change_alice(mfa=MfaMode.REQUIRED)
    assert use_refused(lab, held)[:3] == (400, "interaction_required", 50076)


def test_prt_that_was_revoked(lab: World, held: HeldPrt) -> None:
    """Of a user or a device."""
    with lab.services.database.write() as connection:
        prts.delete_prts_of_user(connection, ALICE.object_id)
    assert use_refused(lab, held)[3] == "the PRT is unknown or revoked"


def test_session_key_of_another_prt(lab: World, held: HeldPrt) -> None:
    """Each PRT has its own."""
    other = lab.prt(lab.hello(assertion=jwts.assertion(HELLO_KEY, ALICE.upn, lab.nonce())))
    jwt = jwts.session_request(other.session_key, held.token, lab.nonce())
    assert refused(lab.post(jwt)) == (
        401,
        "invalid_grant",
        140001,
        "the token's signature is wrong",
    )


def test_audit_record_of_a_use(lab: World, held: HeldPrt) -> None:
    """Who, on which device, and whether it was renewed."""
    lab.use(held, resource=GRAPH)
    lab.use(held, scope="openid aza")
    used, renewed = lab.records[-2:]
    assert (used["user"], used["device"], used["reason"]) == (
        ALICE.upn,
        str(DEVICE_ID),
        "token got with a PRT",
    )
    assert renewed["reason"] == "PRT renewed"
