"""Issuing PRTs: what clients get, what the token is bound to, what is refused."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kdc.client.partial_tgt import open_partial_tgt
from kdc.formats.prt_file import decode_prt_file
from tenant.login.tokens import new_refresh_token
from tenant.prt.request import BROKERS
from tenant.state import keys
from tenant.state.prts import prt_by_token
from tenant.state.sign_in import SignIn
from tenant.state.users import MfaMode
from tests.rig import tenant as rig
from tests.tenant.prt import jwts
from tests.tenant.prt.world import (
    ALICE,
    BOB,
    DEVICE_ID,
    DEVICE_KEY,
    HELLO_KEY,
    OTHER_DEVICE_ID,
    PASSWORD,
    World,
    answered,
    refused,
    registered_key,
    world,
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[World]:
    """A tenant with alice and her device."""
    with world(tmp_path) as made:
        yield made


def claims_of(token: str) -> dict[str, Any]:
    """Read the claims of one of our own tokens."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def refresh_token(lab: World, client_id: str, **changes: Any) -> str:
    """Give alice a refresh token of a client's."""
    sign_in = SignIn(
        user_id=ALICE.object_id,
        client_id=client_id,
        methods=frozenset({"pwd"}),
        auth_time=rig.NOW - timedelta(hours=1),
        mfa_time=rig.NOW - timedelta(hours=1),
    )
    with lab.services.database.write() as connection:
        return new_refresh_token(
            lab.services, connection, replace(sign_in, **changes), lab.services.now()
        )


def test_answer_has_the_form_that_clients_parse(lab: World) -> None:
    """Libhimmelblau wants three texts and one number; MS-OAPXBC 3.2.5.1.2.2 the rest."""
    found = lab.prt().answer
    life = 14 * 86400
    assert (found["token_type"], found["refresh_token_expires_in"]) == ("pop", life)
    assert (found["expires_in"], found["ext_expires_in"]) == (str(life), "0")
    assert found["expires_on"] == str(int(rig.NOW.timestamp()) + life)
    assert found["device_tenant_id"] == str(rig.TENANT_ID)
    client_info = json.loads(base64.urlsafe_b64decode(found["client_info"] + "=="))
    assert client_info == {"uid": str(ALICE.object_id), "utid": str(rig.TENANT_ID)}
    named = claims_of(found["id_token"])
    assert (named["name"], named["oid"], named["tid"]) == (
        "Alice",
        str(ALICE.object_id),
        str(rig.TENANT_ID),
    )
    assert named["aud"] == jwts.BROKER
    assert "." in found["refresh_token"]  # roadtx takes one without for Base64
    assert "access_token" not in found  # MS-OAPXBC 3.2.5.1.2.3
    assert not {"tgt_ad", "tgt_cloud", "kerberos_top_level_names"} & set(found)


def test_client_info_only_when_asked_for(lab: World) -> None:
    """It is a switch of the form."""
    assert "client_info" not in lab.prt(client_info="0").answer


@pytest.mark.parametrize("tgt", ["true", "True", "1"])
def test_partial_tgt_comes_with_the_prt(lab: World, tgt: str) -> None:
    """Seed A5 C; trap 4: texts that hold JSON. What a client keeps can be redeemed."""
    held = lab.prt(tgt=tgt)
    assert all(isinstance(held.answer[name], str) for name in ("tgt_ad", "tgt_cloud"))
    kept = held.answer | {"session_key": held.session_key.hex()}
    delivered = decode_prt_file(json.dumps(kept).encode())
    credential = open_partial_tgt(delivered.message, delivered.client_key)
    assert str(credential.client) == "alice@LAB.TEST"
    assert json.loads(held.answer["tgt_cloud"])["keyType"] == 0


def test_user_without_an_account_in_the_domain_gets_a_prt(lab: World) -> None:
    """Only the ticket is missing, and says why."""
    lab.change_alice(onprem_sid=None)
    inner = json.loads(lab.prt(tgt="true").answer["tgt_ad"])
    assert (inner["keyType"], inner["messageBuffer"]) == (0, None)
    assert "on-premises security identifier" in inner["error"]


@pytest.mark.parametrize("version", [1, 2])
def test_client_key_has_the_form_of_the_clients_version(lab: World, version: int) -> None:
    """Without kdf_ver the JWE has the initial vector of CBC, which old clients open."""
    jwt = lab.hello(header={} if version == 2 else {"kdf_ver": ...})
    inner = json.loads(lab.prt(jwt, tgt="true").answer["tgt_ad"])
    iv = inner["clientKey"].split(".")[2]
    assert len(base64.urlsafe_b64decode(iv + "=" * (-len(iv) % 4))) == (16 if version == 1 else 12)


def test_x5c_is_a_text_or_an_array(lab: World) -> None:
    """Trap 2: roadtx writes the one, RFC 7515 4.1.6 and libhimmelblau the other."""
    certificate = base64.b64encode(jwts.device_certificate(DEVICE_ID)).decode()
    for value in (certificate, [certificate], [certificate, "of an issuer"]):
        assert lab.prt(lab.hello(header={"x5c": value})).token


def test_one_nonce_for_both_jwts_is_taken(lab: World) -> None:
    """As Windows sends it, and MS-OAPXBC 3.1.5.1.2.3 says; trap 1 is that two are, too."""
    nonce = lab.nonce()
    assertion = jwts.assertion(HELLO_KEY, ALICE.upn, nonce)
    assert lab.prt(lab.hello(assertion=assertion, nonce=nonce)).token


def test_kid_of_the_registration_is_not_that_of_the_assertion(lab: World) -> None:
    """Trap 3: the server's GUID names the registration, the JWT names the key by its digest."""
    guid = str(UUID(int=500))
    assertion = jwts.assertion(HELLO_KEY, ALICE.upn, lab.nonce(), header={"kid": guid})
    assert refused(lab.post(lab.hello(assertion=assertion)))[:3] == (401, "invalid_grant", 130004)


def test_issuer_is_found_in_any_case(lab: World) -> None:
    """A UPN has no case."""
    assertion = jwts.assertion(HELLO_KEY, ALICE.upn.upper(), lab.nonce())
    assert lab.prt(lab.hello(assertion=assertion)).token


@pytest.mark.parametrize("client", sorted(BROKERS))
@pytest.mark.parametrize("version", ["", "/v2.0"])
def test_brokers_get_prts(lab: World, client: str, version: str) -> None:
    """Windows' sign-in and the Authentication Broker, at both endpoints."""
    assert answered(lab.post(lab.hello(client_id=client.upper()), version=version))


def test_password_is_a_proof(lab: World) -> None:
    """MS-OAPXBC 3.2.5.1.2.1.1: amr pwd, no second factor."""
    jwt = lab.device_request(grant_type="password", username=ALICE.upn, password=PASSWORD)
    held = lab.prt(jwt)
    assert claims_of(held.answer["id_token"])["amr"] == ["pwd"]


@pytest.mark.parametrize(
    ("username", "password"), [(ALICE.upn, "wrong"), ("nobody@lab.test", PASSWORD), (BOB.upn, "x")]
)
def test_wrong_password(lab: World, username: str, password: str) -> None:
    """One answer for all of them."""
    jwt = lab.device_request(grant_type="password", username=username, password=password)
    assert refused(lab.post(jwt))[:3] == (400, "invalid_grant", 50126)


def test_second_factor_that_every_sign_in_needs(lab: World) -> None:
    """The client has to let the user interact; a Hello key is two factors."""
    lab.change_alice(mfa=MfaMode.REQUIRED)
    jwt = lab.device_request(grant_type="password", username=ALICE.upn, password=PASSWORD)
    assert refused(lab.post(jwt))[:3] == (400, "interaction_required", 50076)
    assert lab.prt().token


def test_refresh_token_is_a_proof_and_its_sign_in_goes_on(lab: World) -> None:
    """Amr and auth_time are those of the sign-in; the PRT adds the device."""
    token = refresh_token(lab, jwts.BROKER)
    jwt = lab.device_request(grant_type="refresh_token", refresh_token=token)
    held = lab.prt(jwt)
    claims = claims_of(held.answer["id_token"])
    assert (claims["amr"], claims["auth_time"]) == (
        ["mfa", "pwd"],
        int((rig.NOW - timedelta(hours=1)).timestamp()),
    )
    with lab.services.database.read() as connection:
        prt = prt_by_token(connection, held.token, lab.services.master_key)
    assert prt is not None
    assert prt.sign_in.device_id == DEVICE_ID


def test_refresh_token_of_another_device_is_refused(lab: World) -> None:
    """Stolen there, it would become a PRT here, with the second factor in it."""
    for device_id, status in ((DEVICE_ID, 200), (OTHER_DEVICE_ID, 400)):
        token = refresh_token(lab, jwts.BROKER, device_id=device_id)
        jwt = lab.device_request(grant_type="refresh_token", refresh_token=token)
        assert lab.post(jwt).status == status
    assert lab.records[-1]["reason"] == "the refresh token was got on another device"


def test_refresh_token_without_the_second_factor_that_is_needed_now(lab: World) -> None:
    """The switch of the user, or a client that demands a fresh one."""
    token = refresh_token(lab, jwts.BROKER, mfa_time=None)
    jwt = lab.device_request(grant_type="refresh_token", refresh_token=token)
    assert refused(lab.post(jwt, amr_values="ngcmfa"))[:3] == (400, "interaction_required", 50079)
    lab.change_alice(mfa=MfaMode.REQUIRED)
    jwt = lab.device_request(grant_type="refresh_token", refresh_token=token)
    assert refused(lab.post(jwt))[:3] == (400, "interaction_required", 50076)


def test_refresh_token_of_another_client_is_refused(lab: World) -> None:
    """RFC 6749 6: it is bound to the client it was issued to."""
    token = refresh_token(lab, "04b07795-8ddb-461a-bbee-02f9e1bf7b46")
    jwt = lab.device_request(grant_type="refresh_token", refresh_token=token)
    assert refused(lab.post(jwt))[:3] == (400, "invalid_grant", 70000)


def test_hello_key_counts_as_two_factors(lab: World) -> None:
    """Rsa and mfa, and fresh now."""
    claims = claims_of(lab.prt().answer["id_token"])
    assert claims["amr"] == ["mfa", "ngcmfa", "rsa"]
    assert claims["auth_time"] == int(rig.NOW.timestamp())


def test_key_of_another_device_is_refused(lab: World) -> None:
    """It never left the device that registered it."""
    other = jwts.rsa_key("other hello")
    with lab.services.database.write() as connection:
        keys.insert_key(connection, registered_key(other, ALICE, OTHER_DEVICE_ID, 501))
    assertion = jwts.assertion(other, ALICE.upn, lab.nonce())
    assert refused(lab.post(lab.hello(assertion=assertion))) == (
        400,
        "invalid_grant",
        50155,
        "the key was registered on another device",
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"enabled": False}, (400, "invalid_grant", 135011, "the device is disabled")),
        (
            {"transport_key": None},
            (400, "invalid_grant", 130006, "the device has no transport key of RSA"),
        ),
        (
            {"certificate": jwts.device_certificate(UUID(int=7))},
            (401, "invalid_grant", 50155, "the certificate is no device's"),
        ),
        (
            {"device_key": jwts.spki(jwts.rsa_key("new device"))},
            (401, "invalid_grant", 50013, "the token's signature is wrong"),
        ),
        (
            {"device_key": None},
            (401, "invalid_grant", 50155, "the device has no RSA key"),
        ),
    ],
)
def test_device_that_is_not_good(
    lab: World, change: dict[str, Any], expected: tuple[int, str, int, str]
) -> None:
    """Disabled, joined anew, without keys."""
    jwt = lab.hello()
    lab.change_device(**change)
    assert refused(lab.post(jwt)) == expected


def test_disabled_device_guesses_no_passwords(lab: World) -> None:
    """It is refused before the user's proof is looked at."""
    lab.change_device(enabled=False)
    jwt = lab.device_request(grant_type="password", username=ALICE.upn, password="wrong")  # noqa: S106
    assert refused(lab.post(jwt))[:3] == (400, "invalid_grant", 135011)


def test_certificate_of_the_device_expires(lab: World) -> None:
    """RFC 5280 4.1.2.5."""
    lab.now = rig.NOW + timedelta(days=365 * 40)
    assert refused(lab.post(lab.hello())) == (
        401,
        "invalid_grant",
        50155,
        "the device's certificate is not valid now",
    )


def test_disabled_user(lab: World) -> None:
    """The proof is right."""
    lab.change_alice(enabled=False)
    assert refused(lab.post(lab.hello()))[:3] == (400, "invalid_grant", 50057)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"scope": "openid ugs"}, (400, "invalid_scope", 70011, "the scope aza is missing")),
        ({"scope": "aza"}, (400, "invalid_scope", 70011, "the scope openid is missing")),
        ({"scope": ...}, (400, "invalid_request", 9002313, "the JWT has no scope")),
        ({"client_id": ...}, (400, "invalid_request", 9002313, "the JWT has no client_id")),
        (
            {"client_id": "04b07795-8ddb-461a-bbee-02f9e1bf7b46"},
            (400, "unauthorized_client", 700016, "the client is no broker"),
        ),
        (
            {"grant_type": "urn:ietf:params:oauth:grant-type:saml1_1-bearer"},
            (400, "unsupported_grant_type", 70003, "this proof of the user is not supported"),
        ),
        (
            {"grant_type": "device_token"},
            (400, "unsupported_grant_type", 70003, "this proof of the user is not supported"),
        ),
        ({"assertion": ...}, (400, "invalid_request", 9002313, "the JWT has no assertion")),
        ({"scope": ["aza"]}, (400, "invalid_request", 9002313, "scope of the JWT is no text")),
        ({"exp": "soon"}, (400, "invalid_request", 9002313, "exp of the JWT is no time")),
    ],
)
def test_what_is_no_request_for_a_prt(
    lab: World, claims: dict[str, Any], expected: tuple[int, str, int, str]
) -> None:
    """Proven by the device, and not of this protocol."""
    assert refused(lab.post(lab.hello(**claims))) == expected


@pytest.mark.parametrize("value", [0, 3, "2", True, None])
def test_unknown_version_of_the_derivation(lab: World, value: object) -> None:
    """1 or 2; none means 1."""
    reply = lab.post(lab.hello(header={"kdf_ver": value}))
    assert refused(reply)[1:] == ("invalid_request", 9002313, "kdf_ver is neither 1 nor 2")


def test_audit_record_names_user_and_device(lab: World) -> None:
    """And holds no token, key or nonce."""
    held = lab.prt()
    record = lab.records[-1]
    assert (record["user"], record["device"], record["reason"]) == (
        ALICE.upn,
        str(DEVICE_ID),
        "PRT issued",
    )
    assert held.token not in json.dumps(record)
    lab.post(lab.device_request(grant_type="password", username=ALICE.upn, password="wrong"))  # noqa: S106
    record = lab.records[-1]
    assert (record["device"], record["error"]) == (str(DEVICE_ID), "invalid_grant AADSTS50126")


def test_jwt_of_another_device_with_the_certificate_of_this_one(lab: World) -> None:
    """The certificate is public: the signature decides."""
    certificate = jwts.device_certificate(DEVICE_ID)
    other = jwts.rsa_key("other device")
    assertion = jwts.assertion(HELLO_KEY, ALICE.upn, lab.nonce())
    jwt = jwts.device_request(
        other, certificate, lab.nonce(), grant_type=jwts.JWT_BEARER, assertion=assertion
    )
    assert refused(lab.post(jwt))[:3] == (401, "invalid_grant", 50013)
    assert DEVICE_KEY is not other
