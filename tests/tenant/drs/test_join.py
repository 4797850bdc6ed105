"""Device join at the handlers: what is recorded and answered, and each refusal (R1, R08-R10)."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki import der
from pki.keys import PublicKey, rsa_key
from tenant.state import devices, users
from tenant.state.devices import JoinType
from tests.pki.test_keys import roca_like_modulus
from tests.rig.tenant import TENANT_ID, audit_records
from tests.tenant import soft_tpm
from tests.tenant.device_requests import device_request, forged_request
from tests.tenant.registration import (
    ALICE,
    BOB,
    Lab,
    blob,
    body_of,
    join_body,
    key,
    make_lab,
    numbers,
    refusal,
)
from tests.tenant.soft_tpm import Claim


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path)


def encoded(request: bytes) -> dict[str, str]:
    return {"Type": "pkcs10", "Data": base64.b64encode(request).decode()}


# -- discovery and nonce ---------------------------------------------------------------------


@pytest.mark.parametrize("tenant", [str(TENANT_ID), "lab.test", "LAB.TEST"])
def test_discovery_says_where_the_services_are(lab: Lab, tenant: str) -> None:
    """Seed R1 E; the members are those that libhimmelblau takes addresses from."""
    reply = lab.send("GET", f"/{tenant}/Discover?api-version=1.9&managed=True")
    assert reply.status == 200
    document = body_of(reply)
    host = "https://enterpriseregistration.windows.net"
    assert document["DeviceJoinService"] == {
        "JoinEndpoint": f"{host}/EnrollmentServer/device/",
        "JoinResourceId": "urn:ms-drs:enterpriseregistration.windows.net",
        "ServiceVersion": "2.0",
    }
    assert document["KeyProvisioningService"]["KeyProvisionEndpoint"] == (
        f"{host}/EnrollmentServer/key/"
    )
    assert document["NonceService"]["Endpoint"] == f"{host}/EnrollmentServer/nonce/{TENANT_ID}/"
    oauth = document["AuthenticationService"]["OAuth2"]
    assert oauth["TokenEndpoint"] == f"https://login.microsoftonline.com/{TENANT_ID}/oauth2/token"
    assert document["IdentityProviderService"]["Federated"] is False
    assert document["TenantInfo"]["TenantId"] == str(TENANT_ID)


def test_discovery_of_another_tenant_is_refused(lab: Lab) -> None:
    """There is one tenant here."""
    for tenant in ("common", "other.test", str(UUID(int=1))):
        reply = lab.send("GET", f"/{tenant}/Discover?api-version=1.9")
        assert refusal(reply) == (400, "DirectoryError", "another tenant")


@pytest.mark.parametrize("query", ["", "?api-version=2.0", "?api-version=1.9&api-version=1.9"])
def test_discovery_without_a_known_version_is_refused(lab: Lab, query: str) -> None:
    """MS-DVRJ 2.2.2.1: the parameter MUST be included; given twice it has two readers."""
    reply = lab.send("GET", f"/lab.test/Discover{query}")
    assert reply.status == 400
    assert body_of(reply)["ErrorType"] == "BadRequest"


def test_nonces_differ(lab: Lab) -> None:
    """aad-join-spec 3.2."""
    assert lab.nonce() != lab.nonce()


# -- a join ----------------------------------------------------------------------------------


def test_a_join_makes_a_device_and_answers_its_certificate(lab: Lab) -> None:
    """Seed R1 G and H: device id, certificate and device object."""
    reply = lab.join(join_body("one"))
    assert reply.status == 200
    body = body_of(reply)
    certificate = x509.load_der_x509_certificate(base64.b64decode(body["Certificate"]["RawBody"]))
    device = lab.device("one")
    assert device is not None
    assert certificate.subject.rfc4514_string() == f"CN={device.device_id}"
    assert body["Certificate"]["Thumbprint"] == device.thumbprint
    assert body["User"] == {"Upn": "alice@lab.test"}
    assert body["MembershipChanges"] == [{"LocalSID": "S-1-5-32-544", "AddSIDs": []}]
    assert device.join_type is JoinType.JOINED
    assert device.owner == ALICE.object_id
    assert device.transport_key == numbers("one").spki_der()
    assert (device.display_name, device.os_type) == ("DESKTOP-one", "Windows")
    assert device.enabled
    assert not device.attested


def test_a_join_leaves_one_audit_record(lab: Lab, tmp_path: Path) -> None:
    """Who, which device, and no token."""
    device = lab.joined("one")
    (record,) = audit_records(tmp_path)
    assert record["status"] == 200
    assert record["user"] == "alice@lab.test"
    assert record["device"] == str(device.device_id)


def test_a_registered_device_says_so_in_its_certificate(lab: Lab) -> None:
    """JoinType 4 (aad-join-spec 2.1.1.1.1): extension .7 is 0."""
    device = lab.joined("one", JoinType=4)
    assert device.join_type is JoinType.REGISTERED
    assert b"\x04\x81\x010" in (device.certificate or b"")


def test_the_forms_of_macos_and_android_are_taken(lab: Lab) -> None:
    """A JWK in Base64 as transport key, empty attestation members, Attributes in capitals."""
    n, e = numbers("one").n, numbers("one").e
    jwk = {
        "kty": "RSA",
        "n": base64.b64encode(n.to_bytes(256, "big")).decode(),
        "e": base64.b64encode(e.to_bytes(3, "big")).decode(),
        "alg": "RS256",
        "kid": "X",
    }
    body = join_body(
        "one",
        TransportKey=base64.b64encode(json.dumps(jwk).encode()).decode(),
        AikCertificate="",
        AttestationData="",
        Attributes={"SharedDevice": "true"},
    )
    del body["attributes"]
    assert lab.join(body).status == 200
    device = lab.device("one")
    assert device is not None
    assert device.shared
    assert device.transport_key == numbers("one").spki_der()


def test_the_transport_key_may_be_another_key(lab: Lab) -> None:
    """Seed R1 F: tkpub is a second key pair."""
    device = lab.joined("one", TransportKey=blob(numbers("transport")))
    assert device.transport_key == numbers("transport").spki_der()
    assert device.device_key == numbers("one").spki_der()


def test_a_nonce_in_the_request_is_used_up(lab: Lab) -> None:
    """aad-join-spec 2.1.1.1.1: the CSR carries it."""
    nonce = lab.nonce()
    extension = der.encode_octet_string(nonce.encode())
    for name in ("one", "two"):
        request = device_request(key(name), nonce=extension)
        reply = lab.join(join_body(name, CertificateRequest=encoded(request)))
        if name == "one":
            assert reply.status == 200
        else:
            assert refusal(reply) == (400, "BadRequest", "the nonce was used")
    assert lab.device("two") is None


def test_an_expired_nonce_is_refused(lab: Lab) -> None:
    """A nonce lives for nonce_life_s."""
    nonce = der.encode_octet_string(lab.nonce().encode())
    lab.now += timedelta(seconds=lab.tenant.config.nonce_life_s)
    body = join_body("one", CertificateRequest=encoded(device_request(key("one"), nonce=nonce)))
    assert refusal(lab.join(body)) == (400, "BadRequest", "the nonce has expired")


# -- again -----------------------------------------------------------------------------------


def test_the_same_request_again_gets_the_same_answer(lab: Lab) -> None:
    """An answer that was lost on the way: the device is there, and its certificate is the same."""
    first = lab.join(join_body("one"))
    lab.now += timedelta(days=1)
    again = lab.join(join_body("one"))
    assert (again.status, again.body) == (200, first.body)
    with lab.tenant.database.read() as c:
        assert len(devices.all_devices(c)) == 1


def test_the_same_request_again_needs_no_second_nonce(lab: Lab) -> None:
    """Its nonce was used by itself."""
    nonce = der.encode_octet_string(lab.nonce().encode())
    body = join_body("one", CertificateRequest=encoded(device_request(key("one"), nonce=nonce)))
    assert lab.join(body).body == lab.join(body).body


def test_new_particulars_of_a_device_are_recorded(lab: Lab) -> None:
    """The same user and key: the device keeps its id and certificate."""
    before = lab.joined("one")
    after = lab.joined("one", DeviceDisplayName="NEW-NAME", TransportKey=blob(numbers("two")))
    assert after.device_id == before.device_id
    assert after.certificate == before.certificate
    assert after.display_name == "NEW-NAME"
    assert after.transport_key == numbers("two").spki_der()


def test_another_users_device_key_is_refused(lab: Lab) -> None:
    """Row R10: the request proves the key, and it is somebody else's device."""
    before = lab.joined("one")
    reply = lab.join(join_body("one"), user=BOB)
    assert refusal(reply) == (409, "DirectoryError", "the device key is another device's")
    assert lab.device("one") == before


def test_a_disabled_device_does_not_come_back_by_joining(lab: Lab) -> None:
    """Who disabled it meant it."""
    device = lab.joined("one")
    with lab.tenant.database.write() as c:
        devices.update_device(c, replace(device, enabled=False))
    assert refusal(lab.join(join_body("one"))) == (403, "AuthorizationError", "device disabled")


@pytest.mark.parametrize("fate", ["disabled", "gone"])
def test_a_token_of_a_device_that_was_taken_away_joins_no_other(lab: Lab, fate: str) -> None:
    """Who has a stolen device has its tokens; a new device would be none that anybody disabled."""
    device = lab.joined("one")
    token = lab.token(device_id=device.device_id)
    with lab.tenant.database.write() as c:
        if fate == "gone":
            devices.delete_device(c, device.device_id)
        else:
            devices.update_device(c, replace(device, enabled=False))
    reply = lab.join(join_body("two"), token=token)
    assert refusal(reply) == (401, "AuthenticationError", f"the token's device is {fate}")
    assert lab.device("two") is None


# -- refusals --------------------------------------------------------------------------------


def test_a_join_without_a_token_is_refused(lab: Lab) -> None:
    """Row R01: the answer has the form of the host, and nothing of the reason."""
    reply = lab.send("POST", "/EnrollmentServer/device/?api-version=2.0", join_body("one"))
    status, kind, _ = refusal(reply)
    assert (status, kind) == (401, "AuthenticationError")
    assert lab.device("one") is None


def test_a_token_for_another_audience_is_refused(lab: Lab) -> None:
    """Row R03."""
    reply = lab.join(join_body("one"), token=lab.token(aud="https://graph.windows.net"))
    assert refusal(reply)[:2] == (401, "AuthenticationError")


@pytest.mark.parametrize("query", ["", "?api-version=9.9", "?api-version="])
def test_a_join_without_a_known_version_is_refused(lab: Lab, query: str) -> None:
    """MS-DVRJ 2.2.2.1."""
    reply = lab.send("POST", f"/EnrollmentServer/device/{query}", join_body("one"))
    assert refusal(reply) == (400, "BadRequest", "unknown api-version")


@pytest.mark.parametrize("join_type", [6, 8, 3, -1])
def test_other_join_types_are_refused(lab: Lab, join_type: int) -> None:
    """A computer of the domain joins by PUT; MS-DVRJ 4.2 has this very message."""
    reply = lab.join(join_body("one", JoinType=join_type))
    assert refusal(reply) == (400, "AuthenticationError", "join type not allowed")
    message = f"The enrollment request type ({join_type}) is not allowed."
    assert body_of(reply)["Message"] == message


WEAK: dict[str, tuple[Callable[[], PublicKey], str]] = {
    "1024 bits": (lambda: rsa_key((1 << 1023) + 1, 65537), "the key is too small"),
    "e=1": (lambda: rsa_key(numbers("one").n, 1), "the key's public exponent is not accepted"),
    "ROCA": (lambda: rsa_key(roca_like_modulus(), 65537), "the key has the ROCA fingerprint"),
}


@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_device_key_is_refused(lab: Lab, kind: str) -> None:
    """Rows R10 and K10."""
    make, why = WEAK[kind]
    request = forged_request(make(), key("one"))
    reply = lab.join(join_body("one", CertificateRequest=encoded(request)))
    assert refusal(reply) == (400, "BadRequest", why)


@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_transport_key_is_refused(lab: Lab, kind: str) -> None:
    """Rows R10 and K10: session keys are encrypted to it."""
    make, why = WEAK[kind]
    reply = lab.join(join_body("one", TransportKey=blob(make())))
    assert refusal(reply) == (400, "BadRequest", f"transport key: {why}")


def test_a_key_that_is_not_proven_is_refused(lab: Lab) -> None:
    """Row R10, someone else's key: the CSR is signed with another one."""
    request = forged_request(numbers("two"), key("one"))
    reply = lab.join(join_body("one", CertificateRequest=encoded(request)))
    why = "the certificate request is not signed with its own key"
    assert refusal(reply) == (400, "BadRequest", why)


def test_an_elliptic_curve_device_key_is_refused(lab: Lab) -> None:
    """What roadtx sends for macOS 14: the tenant serves RSA alone, and says so."""
    request = device_request(ec.generate_private_key(ec.SECP256R1()))
    reply = lab.join(join_body("one", CertificateRequest=encoded(request)))
    why = "the key is of a kind that is not accepted"
    assert refusal(reply) == (400, "BadRequest", why)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"CertificateRequest": 5}, "the member CertificateRequest is missing or no object"),
        ({"CertificateRequest": {"Type": "pkcs7", "Data": "AA=="}}, "unknown request type"),
        (
            {"CertificateRequest": {"Type": "pkcs10", "Data": "?"}},
            "CertificateRequest is no Base64, or too long",
        ),
        ({"TransportKey": 5}, "the member TransportKey is missing or no string"),
        ({"TransportKey": "?"}, "TransportKey is no Base64, or too long"),
        ({"TransportKey": "AAAA"}, "transport key: the key is malformed"),
        ({"DeviceDisplayName": ""}, "DeviceDisplayName cannot be shown"),
        ({"DeviceDisplayName": "a\nb"}, "DeviceDisplayName cannot be shown"),
        ({"DeviceDisplayName": "a" * 257}, "DeviceDisplayName cannot be shown"),
        ({"OSVersion": None}, "the member OSVersion is missing or no string"),
        ({"JoinType": "0"}, "the member JoinType is missing or no integer"),
        ({"JoinType": True}, "the member JoinType is missing or no integer"),
        ({"attributes": 5}, "the member attributes is no object"),
        ({"Attributes": {}}, "attributes come twice, in both casings"),
    ],
)
def test_a_body_that_is_not_as_documented_is_refused(
    lab: Lab, members: dict[str, object], why: str
) -> None:
    """MS-DVRJ 3.1.5.1.1.1: types and presence of members."""
    reply = lab.join(join_body("one", **members))
    assert refusal(reply) == (400, "BadRequest", why)
    assert reply.note.user == "alice@lab.test"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the JSON text is malformed"),
        (b"[]", "the JSON text is no object"),
        (b"{" * 10000, "the JSON text is nested too deeply"),
        (b'{"JoinType":0,"JoinType":6}', "a member occurs twice in one object"),
        (b'{"JoinType":"\xff"}', "the JSON text is not UTF-8"),
    ],
)
def test_what_is_no_strict_json_is_refused(lab: Lab, body: bytes, why: str) -> None:
    """Row R11."""
    assert refusal(lab.join(body)) == (400, "BadRequest", why)


def test_a_user_has_so_many_devices_and_no_more(lab: Lab) -> None:
    """A bound on what one user can make the tenant keep."""
    with lab.tenant.database.write() as c:
        for number in range(50):
            devices.insert_device(
                c,
                devices.DeviceRecord(
                    device_id=UUID(int=number + 1),
                    object_id=UUID(int=number + 1),
                    display_name="one of many",
                    join_type=JoinType.JOINED,
                    owner=ALICE.object_id,
                    created=lab.now,
                ),
            )
    why = "too many devices of the user"
    assert refusal(lab.join(join_body("one"))) == (400, "DirectoryError", why)
    assert lab.join(join_body("one"), user=BOB).status == 200


def test_a_user_who_was_disabled_meanwhile_is_refused(lab: Lab) -> None:
    """A token outlives what it says."""
    token = lab.token()
    with lab.tenant.database.write() as c:
        users.delete(c, ALICE.object_id)
    reply = lab.join(join_body("one"), token=token)
    assert refusal(reply)[:2] == (401, "AuthenticationError")


def test_a_nonce_before_any_was_given_out_is_refused(lab: Lab) -> None:
    """A new tenant has no key for nonces yet."""
    nonce = der.encode_octet_string(b"A" * 55)
    body = join_body("one", CertificateRequest=encoded(device_request(key("one"), nonce=nonce)))
    assert refusal(lab.join(body)) == (400, "BadRequest", "the nonce is none of ours")


# -- attestation -----------------------------------------------------------------------------


def attested_body(lab: Lab, name: str = "one", **claim: Any) -> dict[str, object]:
    nonce = lab.nonce()
    request = device_request(key(name), nonce=der.encode_octet_string(nonce.encode()))
    built = Claim(key=key(name).public_key(), nonce=nonce, **claim)
    return join_body(
        name,
        CertificateRequest=encoded(request),
        AttestationData=base64.b64encode(built.build()).decode(),
        AikCertificate=base64.b64encode(soft_tpm.aik_certificate(now=lab.now)).decode(),
    )


@pytest.fixture
def tpm_lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path, roots=soft_tpm.pool())


def test_a_device_that_proves_its_tpm_is_recorded_as_attested(tpm_lab: Lab) -> None:
    """Seed R1 G: attestation data."""
    assert tpm_lab.join(attested_body(tpm_lab)).status == 200
    device = tpm_lab.device("one")
    assert device is not None
    assert device.attested
    assert device.attestation.startswith("AIK ")


def test_what_was_verified_of_a_key_stays(tpm_lab: Lab) -> None:
    """A later request for the same key without an attestation takes nothing back."""
    assert tpm_lab.join(attested_body(tpm_lab)).status == 200
    assert tpm_lab.joined("one", DeviceDisplayName="NEW").attested


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ({"magic": 0xFF544340}, "the attestation was not made by a TPM (magic)"),
        ({"extra": b"x"}, "the attestation's qualifying data is not of the nonce"),
        (
            {"signer": rsa.generate_private_key(65537, 2048)},
            "the attestation's signature does not verify",
        ),
    ],
    ids=["magic", "qualifying data", "AIK"],
)
def test_attestation_games_are_refused(tpm_lab: Lab, claim: dict[str, Any], why: str) -> None:
    """Row R08: 400, and no device."""
    reply = tpm_lab.join(attested_body(tpm_lab, **claim))
    assert refusal(reply) == (400, "BadRequest", why)
    assert tpm_lab.device("one") is None


def test_an_attestation_without_a_nonce_is_refused(tpm_lab: Lab) -> None:
    """Row R08: nothing says when it was made."""
    body = attested_body(tpm_lab)
    body["CertificateRequest"] = encoded(device_request(key("one")))
    why = "the attestation comes without a nonce"
    assert refusal(tpm_lab.join(body)) == (400, "BadRequest", why)


def test_an_aik_without_a_known_root_is_refused(lab: Lab) -> None:
    """Row R08: AIK without a chain; this tenant was given no roots."""
    reply = lab.join(attested_body(lab))
    assert refusal(reply) == (400, "BadRequest", "no roots of attestation are configured")


def test_what_does_not_verify_is_noted_when_the_tenant_says_so(tmp_path: Path) -> None:
    """Row R08: stored unattested only if policy allows, with the reason."""
    lab = make_lab(tmp_path, attestation="noted")
    assert lab.join(attested_body(lab)).status == 200
    device = lab.device("one")
    assert device is not None
    assert not device.attested
    assert device.attestation == "no roots of attestation are configured"


def test_a_device_without_an_attestation_is_refused_when_one_is_required(tmp_path: Path) -> None:
    """The setting `attestation = "required"`."""
    lab = make_lab(tmp_path, roots=soft_tpm.pool(), attestation="required")
    why = "no attestation came, and the tenant requires one"
    assert refusal(lab.join(join_body("one"))) == (400, "BadRequest", why)
    assert lab.join(attested_body(lab)).status == 200


def test_a_failed_join_writes_nothing(tpm_lab: Lab) -> None:
    """One transaction: the nonce of a refused registration is not used up either."""
    body = attested_body(tpm_lab)
    data = body["AttestationData"]
    body["AttestationData"] = base64.b64encode(b"KADS").decode()
    assert tpm_lab.join(body).status == 400
    body["AttestationData"] = data
    assert tpm_lab.join(body).status == 200
