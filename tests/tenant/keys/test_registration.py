"""Key registration at the handlers: MS-KPP's answers and refusals (P1 C; rows R07 to R11)."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pki.keys import rsa_key
from tenant.jose.jws import open_jws, verify
from tenant.state import devices, keys, users
from tenant.state.devices import DeviceRecord
from tests.pki.test_keys import roca_like_modulus
from tests.rig.tenant import TENANT_ID, audit_records
from tests.tenant import soft_tpm
from tests.tenant.registration import (
    ALICE,
    BOB,
    JSON,
    Lab,
    blob,
    body_of,
    fill_disk,
    key,
    key_refusal,
    make_lab,
    numbers,
    synced_computer,
)
from tests.tenant.soft_tpm import Claim

REQUEST_ID = "006dd572-ca07-42ae-8472-01a00b045bb8"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path)


@pytest.fixture
def device(lab: Lab) -> DeviceRecord:
    return lab.joined("device")


def hello(name: str = "hello", **members: object) -> dict[str, Any]:
    return {"kngc": blob(numbers(name)), **members}


def registered(lab: Lab, device: DeviceRecord, name: str = "hello") -> keys.RegisteredKey:
    reply = lab.register(hello(name), token=lab.token(device_id=device.device_id))
    assert reply.status == 200, reply.body
    with lab.tenant.database.read() as c:
        found = keys.key_by_kid(c, UUID(body_of(reply)["kid"]))
    assert found is not None
    return found


def stored(lab: Lab) -> tuple[keys.RegisteredKey, ...]:
    with lab.tenant.database.read() as c:
        return keys.all_keys(c)


# -- registration ----------------------------------------------------------------------------


def test_a_key_is_registered_for_the_user_on_the_device(lab: Lab, device: DeviceRecord) -> None:
    """Seed P1 C: the key is written with its device, and its id is returned."""
    reply = lab.register(hello(), token=lab.token(device_id=device.device_id))
    assert reply.status == 200
    (key_row,) = stored(lab)
    body = body_of(reply)
    assert (body["kid"], body["upn"]) == (str(key_row.kid), "alice@lab.test")
    assert key_row.user == ALICE.object_id
    assert key_row.device_id == device.device_id
    assert key_row.public_key() == numbers("hello")
    assert not key_row.attested
    UUID(dict(reply.headers)["request-id"])


def test_the_kid_is_not_the_digest_of_the_key(lab: Lab, device: DeviceRecord) -> None:
    """Trap 3: a server's GUID, neither the JWT's kid nor the KeyID of the directory."""
    key_row = registered(lab, device)
    assert key_row.key_id == sha256(key_row.material).digest()
    assert key_row.kid.bytes not in key_row.key_id


def test_a_registration_leaves_one_audit_record(
    lab: Lab, device: DeviceRecord, tmp_path: Path
) -> None:
    """Who, on which device, which key."""
    key_row = registered(lab, device)
    record = audit_records(tmp_path)[-1]
    assert record["user"] == "alice@lab.test"
    assert record["device"] == str(device.device_id)
    assert record["key"] == str(key_row.kid)


def test_the_receipt_is_signed_and_names_key_and_sid(lab: Lab, device: DeviceRecord) -> None:
    """MS-OAPXBC 2.2.2.1 and 3.2.5.1.4.3: what a certificate registration authority checks."""
    reply = lab.register(hello(), token=lab.token(device_id=device.device_id))
    receipt = json.loads(base64.b64decode(body_of(reply)["krctx"]))
    assert (receipt["Format"], receipt["Version"]) == (1, 1)
    token = base64.b64decode(receipt["Data"]).decode()
    public = lab.tenant.signing_key.private_key.public_key()
    claims = verify(open_jws(token), public, {"RS256"}).claims()
    assert claims["ngc_key"] == blob(numbers("hello"))
    assert claims["onprem_sid"] == ALICE.onprem_sid
    assert claims["deviceid"] == str(device.device_id)
    assert claims["tid"] == str(TENANT_ID)


def test_the_receipt_is_no_access_token(lab: Lab, device: DeviceRecord) -> None:
    """It is signed with the same key: its audience keeps it apart."""
    reply = lab.register(hello(), token=lab.token(device_id=device.device_id))
    receipt = json.loads(base64.b64decode(body_of(reply)["krctx"]))
    token = base64.b64decode(receipt["Data"]).decode()
    assert key_refusal(lab.register(hello("two"), token=token))[:2] == (
        401,
        "authentication_error",
    )


def test_a_user_of_no_domain_gets_no_receipt(lab: Lab) -> None:
    """Without a SID no authority could compare it with anything."""
    device = lab.joined("device", user=BOB)
    reply = lab.register(hello(), token=lab.token(BOB, device_id=device.device_id))
    assert reply.status == 200
    assert "krctx" not in body_of(reply)


def test_the_clients_request_id_is_returned_when_asked_for(lab: Lab, device: DeviceRecord) -> None:
    """MS-KPP 2.2.1.1 and 2.2.1.2."""
    token = lab.token(device_id=device.device_id)
    ids = (("client-request-id", REQUEST_ID), ("return-client-request-id", "true"))
    reply = lab.register(hello(), token=token, headers=(JSON, *ids))
    assert dict(reply.headers)["client-request-id"] == REQUEST_ID
    reply = lab.register(hello(), token=token, headers=(JSON, ids[0]))
    assert "client-request-id" not in dict(reply.headers)


def test_the_version_may_be_a_header(lab: Lab, device: DeviceRecord) -> None:
    """MS-KPP 2.2.1.4: the header or the parameter."""
    token = lab.token(device_id=device.device_id)
    reply = lab.register(hello(), token=token, headers=(JSON, ("api-version", "1.0")), query="")
    assert reply.status == 200


def test_members_that_are_not_known_are_ignored(lab: Lab, device: DeviceRecord) -> None:
    """Windows sends more than MS-KPP documents."""
    token = lab.token(device_id=device.device_id)
    assert lab.register(hello(anything={"a": [1]}), token=token).status == 200


def test_a_synced_computer_and_a_shared_device_are_everybodys(lab: Lab) -> None:
    """A domain's computer has no owner; a shared device said so when it joined."""
    computer = synced_computer(lab)
    shared = lab.joined("device", attributes={"SharedDevice": "true"})
    for name, device in (("one", computer), ("two", shared)):
        token = lab.token(BOB, device_id=device.device_id)
        assert lab.register(hello(name), token=token).status == 200


# -- again -----------------------------------------------------------------------------------


def test_the_same_key_again_gets_the_same_kid(lab: Lab, device: DeviceRecord) -> None:
    """An answer that was lost on the way: one registration, one number."""
    first = registered(lab, device)
    lab.now += timedelta(minutes=5)
    assert registered(lab, device) == first
    assert stored(lab) == (first,)


def test_a_key_on_a_second_device_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Row R10: a key in two places was copied."""
    registered(lab, device)
    other = lab.joined("other")
    reply = lab.register(hello(), token=lab.token(device_id=other.device_id))
    why = "the key is registered on another device"
    assert key_refusal(reply) == (409, "directory_error", why)


def test_another_users_key_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Row R10: already someone else's."""
    registered(lab, device)
    other = lab.joined("other", user=BOB)
    reply = lab.register(hello(), token=lab.token(BOB, device_id=other.device_id))
    assert key_refusal(reply) == (409, "directory_error", "another user's key")
    assert [row.user for row in stored(lab)] == [ALICE.object_id]


# -- the second factor: row R07 --------------------------------------------------------------


def test_a_token_without_mfa_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Row R07; MS-KPP 3.1.5.1.1.3: 401."""
    reply = lab.register(hello(), token=lab.token(mfa=False, device_id=device.device_id))
    assert key_refusal(reply) == (401, "authentication_error", "no MFA in the token")
    assert body_of(reply)["error"]["message"] == "The access token has no MFA claim."
    assert stored(lab) == ()


def test_mfa_that_is_ten_minutes_old_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Row R07; seed P1 A: less than ten minutes."""
    token = lab.token(device_id=device.device_id)
    lab.now += timedelta(seconds=600)
    reply = lab.register(hello(), token=token)
    assert key_refusal(reply) == (401, "authentication_error", "MFA too old")
    lab.now -= timedelta(seconds=1)
    assert lab.register(hello(), token=token).status == 200


def test_a_new_token_of_an_old_sign_in_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Row R07: it is the user's factor that ages, not the token."""
    token = lab.token(at=lab.now - timedelta(minutes=11), device_id=device.device_id)
    assert key_refusal(lab.register(hello(), token=token))[2] == "MFA too old"


def test_mfa_of_some_time_is_not_enough(lab: Lab, device: DeviceRecord) -> None:
    """`mfa` without `ngcmfa`: the tenant itself says that it was not fresh."""
    token = lab.token(amr=["pwd", "mfa"], device_id=device.device_id)
    assert key_refusal(lab.register(hello(), token=token))[2] == "MFA too old"


def test_mfa_ahead_of_the_clock_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """The tenant's clock was set back: what it wrote says nothing now."""
    token = lab.token(
        auth_time=int((lab.now + timedelta(seconds=5)).timestamp()), device_id=device.device_id
    )
    assert key_refusal(lab.register(hello(), token=token))[2] == "MFA too old"


# -- who and where: row R09 ------------------------------------------------------------------


def test_another_users_device_is_refused(lab: Lab) -> None:
    """Row R09: with another's device."""
    device = lab.joined("device", user=BOB)
    reply = lab.register(hello(), token=lab.token(device_id=device.device_id))
    assert key_refusal(reply) == (403, "authorization_error", "another user's device")
    assert stored(lab) == ()


def test_a_registration_for_another_user_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Row R09: a key is the token's user's, whatever the body says."""
    token = lab.token(device_id=device.device_id)
    reply = lab.register(hello(upn="bob@lab.test"), token=token)
    assert key_refusal(reply) == (403, "authorization_error", "another user in the body")
    assert stored(lab) == ()
    assert lab.register(hello(upn="ALICE@lab.test"), token=token).status == 200


def test_a_token_without_a_device_is_refused(lab: Lab) -> None:
    """MS-KPP 3.1.5.1.1.3 step 2: 401."""
    reply = lab.register(hello(), token=lab.token())
    assert key_refusal(reply) == (401, "authentication_error", "no deviceid in the token")


def test_a_token_with_an_unknown_device_is_refused(lab: Lab) -> None:
    """MS-KPP 3.1.5.1.1.3 step 2: the value MUST be of a device in the directory."""
    reply = lab.register(hello(), token=lab.token(device_id=UUID(int=5)))
    assert key_refusal(reply) == (401, "authentication_error", "unknown device")


def test_a_disabled_device_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Its keys log nobody on, so none is added."""
    with lab.tenant.database.write() as c:
        devices.update_device(c, replace(device, enabled=False))
    reply = lab.register(hello(), token=lab.token(device_id=device.device_id))
    assert key_refusal(reply) == (403, "authorization_error", "device disabled")


def test_a_user_who_was_deleted_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """A token outlives its user."""
    token = lab.token(device_id=device.device_id)
    with lab.tenant.database.write() as c:
        users.delete(c, ALICE.object_id)
    assert key_refusal(lab.register(hello(), token=token))[:2] == (401, "authentication_error")


def test_a_request_without_a_token_is_refused(lab: Lab) -> None:
    """MS-KPP 2.2.1.5."""
    reply = lab.send("POST", "/EnrollmentServer/key/?api-version=1.0", hello(), headers=(JSON,))
    assert key_refusal(reply)[:2] == (401, "authentication_error")


# -- form ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "headers", "why"),
    [
        ("", (JSON,), "unknown api-version"),
        ("?api-version=2.0", (JSON,), "unknown api-version"),
        ("?api-version=1.0", (JSON, ("api-version", "1.0")), "unknown api-version"),
        ("?api-version=1.0&api-version=1.0", (JSON,), "unknown api-version"),
        ("?api-version=1.0", (), "Accept is not JSON"),
        ("?api-version=1.0", (("Accept", "*/*"),), "Accept is not JSON"),
        ("?api-version=1.0", (("Accept", "text/xml"),), "Accept is not JSON"),
        ("?api-version=1.0", (JSON, ("client-request-id", "5")), "client-request-id"),
        ("?api-version=1.0", (JSON, ("client-request-id", "x" * 36)), "client-request-id"),
        (
            "?api-version=1.0",
            (JSON, ("return-client-request-id", "false")),
            "return-client-request-id",
        ),
    ],
)
def test_a_request_that_is_not_as_the_protocol_says_is_refused(
    lab: Lab, query: str, headers: tuple[tuple[str, str], ...], why: str
) -> None:
    """MS-KPP 2.2.1, 2.2.2.1, 3.1.5.1.1.3 step 1: 400, before the token is looked at."""
    reply = lab.register(hello(), token=lab.token(), headers=headers, query=query)
    assert key_refusal(reply) == (400, "invalid_request", why)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the JSON text is malformed"),
        (b'{"kngc":"AA==","kngc":"AA=="}', "a member occurs twice in one object"),
        (b'{"kngc":' + b"[" * 10000, "the JSON text is nested too deeply"),
        (b"{}", "the member kngc is missing or no string"),
        (b'{"kngc":5}', "the member kngc is missing or no string"),
        (b'{"kngc":"?"}', "kngc is no Base64"),
        (b'{"kngc":""}', "the key is malformed"),
        (b'{"kngc":"VGhpc0lzQW5FeGFtcGxl"}', "the key is malformed"),
        (b'{"kngc":"AA==","Nonce":5}', "the member Nonce is no string"),
        (b'{"kngc":"AA==","AttestationData":"?"}', "the attestation is no Base64, or too long"),
    ],
)
def test_a_body_that_is_not_as_documented_is_refused(lab: Lab, body: bytes, why: str) -> None:
    """MS-KPP 3.1.5.1.1.1; row R11."""
    reply = lab.register(body, token=lab.token())
    assert key_refusal(reply) == (400, "invalid_request", why)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: rsa_key((1 << 1023) + 1, 65537), "the key is too small"),
        (
            lambda: rsa_key(numbers("hello").n, 1),
            "the key's public exponent is not accepted",
        ),
        (lambda: rsa_key(roca_like_modulus(), 65537), "the key has the ROCA fingerprint"),
    ],
    ids=["1024 bits", "e=1", "ROCA"],
)
def test_a_weak_key_is_refused(lab: Lab, device: DeviceRecord, make: Any, why: str) -> None:
    """Rows R10 and K10."""
    reply = lab.register({"kngc": blob(make())}, token=lab.token(device_id=device.device_id))
    assert key_refusal(reply) == (400, "invalid_request", why)
    assert stored(lab) == ()


def test_a_jwk_is_no_hello_key(lab: Lab, device: DeviceRecord) -> None:
    """Kngc is the blob whose digest is the KeyID of the directory."""
    jwk = base64.b64encode(b'{"kty":"RSA","n":"AQAB","e":"AQAB"}').decode()
    reply = lab.register({"kngc": jwk}, token=lab.token(device_id=device.device_id))
    assert key_refusal(reply) == (400, "invalid_request", "the key is malformed")


def test_the_clients_request_id_is_in_the_refusal(lab: Lab) -> None:
    """MS-KPP 2.2.3.1: clientrequestid."""
    reply = lab.register(b"", token=lab.token(), headers=(JSON, ("client-request-id", REQUEST_ID)))
    assert body_of(reply)["error"]["clientrequestid"] == REQUEST_ID


def test_a_user_has_so_many_keys_and_no_more(lab: Lab, device: DeviceRecord) -> None:
    """A bound on what one user can make the tenant, and the directory, keep."""
    with lab.tenant.database.write() as c:
        for number in range(keys.MAX_KEYS_OF_A_USER):
            public = rsa_key((1 << 2047) + 2 * number + 1, 65537)
            keys.insert_key(
                c,
                keys.RegisteredKey(
                    kid=UUID(int=number + 1),
                    user=ALICE.object_id,
                    device_id=device.device_id,
                    material=base64.b64decode(blob(public)),
                    created=lab.now,
                ),
            )
    reply = lab.register(hello(), token=lab.token(device_id=device.device_id))
    assert key_refusal(reply) == (400, "directory_error", "too many keys of the user")


def test_a_key_that_cannot_be_written_is_said(lab: Lab, device: DeviceRecord) -> None:
    """MS-KPP 3.1.5.1.1.3 step 4: 400."""
    fill_disk(lab)
    reply = lab.register(hello(), token=lab.token(device_id=device.device_id))
    assert key_refusal(reply) == (400, "directory_error", "database unavailable")
    assert key_refusal(delete(lab, UUID(int=1), lab.token()))[2] == "database unavailable"


# -- attestation: row R08 --------------------------------------------------------------------


def attested(lab: Lab, **claim: Any) -> dict[str, Any]:
    nonce = lab.nonce()
    built = Claim(**{"key": key("hello").public_key(), "nonce": nonce, **claim})
    return hello(
        Nonce=nonce,
        AttestationData=base64.b64encode(built.build()).decode(),
        AikCertificate=base64.b64encode(soft_tpm.aik_certificate(now=lab.now)).decode(),
    )


def test_a_key_that_proves_its_tpm_is_recorded_as_attested(tmp_path: Path) -> None:
    """Seed P1 C: attestation."""
    lab = make_lab(tmp_path, roots=soft_tpm.pool())
    device = lab.joined("device")
    assert lab.register(attested(lab), token=lab.token(device_id=device.device_id)).status == 200
    (row,) = stored(lab)
    assert row.attested
    assert row.attestation.startswith("AIK ")


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ({"magic": 0xFF544340}, "the attestation was not made by a TPM (magic)"),
        ({"nonce": "another"}, "the attestation's qualifying data is not of the nonce"),
        (
            {"certified_key": rsa.generate_private_key(65537, 2048).public_key()},
            "the attestation certifies another key than the one to register",
        ),
    ],
    ids=["magic", "qualifying data", "another key"],
)
def test_attestation_games_are_refused(tmp_path: Path, claim: dict[str, Any], why: str) -> None:
    """Row R08: 400, and nothing is stored."""
    lab = make_lab(tmp_path, roots=soft_tpm.pool())
    device = lab.joined("device")
    reply = lab.register(attested(lab, **claim), token=lab.token(device_id=device.device_id))
    assert key_refusal(reply) == (400, "invalid_request", why)
    assert stored(lab) == ()


def test_a_nonce_serves_once(lab: Lab, device: DeviceRecord) -> None:
    """Without an attestation, too; a refused registration leaves it unused."""
    nonce = lab.nonce()
    token = lab.token(device_id=device.device_id)
    assert lab.register(hello("one", Nonce=nonce), token=token).status == 200
    reply = lab.register(hello("two", Nonce=nonce), token=token)
    assert key_refusal(reply) == (400, "invalid_request", "the nonce was used")


def test_an_aik_without_a_known_root_is_refused(lab: Lab, device: DeviceRecord) -> None:
    """Row R08: AIK without a chain."""
    reply = lab.register(attested(lab), token=lab.token(device_id=device.device_id))
    why = "no roots of attestation are configured"
    assert key_refusal(reply) == (400, "invalid_request", why)


def test_what_does_not_verify_is_noted_when_the_tenant_says_so(tmp_path: Path) -> None:
    """Row R08: stored unattested only if policy allows."""
    lab = make_lab(tmp_path, attestation="noted")
    device = lab.joined("device")
    assert lab.register(attested(lab), token=lab.token(device_id=device.device_id)).status == 200
    (row,) = stored(lab)
    assert (row.attested, row.attestation) == (False, "no roots of attestation are configured")


def test_a_key_without_an_attestation_is_refused_when_one_is_required(tmp_path: Path) -> None:
    """The setting `attestation = "required"`."""
    lab = make_lab(tmp_path, roots=soft_tpm.pool())
    device = lab.joined("device")
    folder = tmp_path / "strict"
    folder.mkdir()
    strict = make_lab(folder, roots=soft_tpm.pool(), attestation="required")
    with strict.tenant.database.write() as c:
        devices.insert_device(c, device)
    reply = strict.register(hello(), token=strict.token(device_id=device.device_id))
    why = "no attestation came, and the tenant requires one"
    assert key_refusal(reply) == (400, "invalid_request", why)


# -- listing and deletion --------------------------------------------------------------------

KEYS = "/EnrollmentServer/key/?api-version=1.0"


def test_users_list_their_own_keys(lab: Lab, device: DeviceRecord) -> None:
    """The oldest first; a second factor is not asked for."""
    first = registered(lab, device, "one")
    lab.now += timedelta(seconds=1)
    second = registered(lab, device, "two")
    reply = lab.send("GET", KEYS, token=lab.token(mfa=False), headers=(JSON,))
    assert reply.status == 200
    shown = body_of(reply)
    assert [entry["kid"] for entry in shown["keys"]] == [str(first.kid), str(second.kid)]
    assert shown["keys"][0]["keyid"] == first.key_id.hex()
    reply = lab.send("GET", KEYS, token=lab.token(BOB), headers=(JSON,))
    assert body_of(reply) == {"upn": "bob@lab.test", "keys": []}


def delete(lab: Lab, kid: object, token: str) -> Any:
    target = f"/EnrollmentServer/key/{kid}?api-version=1.0"
    return lab.send("DELETE", target, token=token, headers=(JSON,))


def test_users_delete_their_own_keys(lab: Lab, device: DeviceRecord) -> None:
    """200 and an empty body; gone is gone."""
    row = registered(lab, device)
    reply = delete(lab, row.kid, lab.token())
    assert (reply.status, reply.body) == (200, b"")
    assert stored(lab) == ()
    reply = delete(lab, row.kid, lab.token())
    assert key_refusal(reply) == (404, "directory_error", "unknown key")


def test_another_users_key_cannot_be_deleted(lab: Lab, device: DeviceRecord) -> None:
    """Row R09."""
    row = registered(lab, device)
    reply = delete(lab, row.kid, lab.token(BOB))
    assert key_refusal(reply) == (403, "authorization_error", "another user's key")
    assert stored(lab) == (row,)


def test_a_key_is_not_deleted_without_a_fresh_second_factor(lab: Lab, device: DeviceRecord) -> None:
    """Row R07: a stolen password takes nobody's credential away."""
    row = registered(lab, device)
    assert key_refusal(delete(lab, row.kid, lab.token(mfa=False)))[0] == 401
    for kid in ("5", "x" * 36):
        assert key_refusal(delete(lab, kid, lab.token()))[2] == "key id is no GUID"
    assert stored(lab) == (row,)


@pytest.mark.parametrize("fate", ["disabled", "gone"])
def test_a_token_of_a_device_that_was_taken_away_deletes_no_key(
    lab: Lab, device: DeviceRecord, fate: str
) -> None:
    """Its user's keys on other devices are not its business, nor to be seen by it."""
    other = lab.joined("two")
    row = registered(lab, device)
    token = lab.token(device_id=other.device_id)
    with lab.tenant.database.write() as c:
        if fate == "gone":
            devices.delete_device(c, other.device_id)
        else:
            devices.update_device(c, replace(other, enabled=False))
    wanted = (401, "authentication_error", f"the token's device is {fate}")
    assert key_refusal(delete(lab, row.kid, token)) == wanted
    assert key_refusal(lab.send("GET", KEYS, token=token, headers=(JSON,))) == wanted
    assert stored(lab) == (row,)
