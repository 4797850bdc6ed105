"""What clients find out first, and nonces."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import RSAKey

from tenant.errors import LoginError
from tenant.http.message import Request
from tenant.jose.jws import open_jws, verify
from tenant.login.nonce import use_jti, use_login_nonce
from tenant.services import Services
from tests.rig import tenant as rig
from tests.tenant.login.builders import CLIENT, OTHER_CLIENT, add_user, body, drs_token, later, post


@pytest.fixture
def tenant(tmp_path: Path) -> Services:
    """A tenant with alice."""
    made = rig.services(tmp_path)
    add_user(made)
    return made


@pytest.mark.parametrize("name", ["common", "organizations", "LAB.TEST", str(rig.TENANT_ID)])
@pytest.mark.parametrize("v2", [False, True])
def test_the_openid_configuration_leads_to_the_endpoints(
    tenant: Services, name: str, v2: bool
) -> None:
    """Seed R1 A; MS-OIDCE 3.2.5.3: the tenant's own addresses, whichever name was asked by."""
    version, endpoints = ("v2.0/", "oauth2/v2.0") if v2 else ("", "oauth2")
    found = body(rig.ask(tenant, "GET", f"/{name}/{version}.well-known/openid-configuration"))
    base = f"https://login.microsoftonline.com/{rig.TENANT_ID}"
    assert found["issuer"] == (
        f"{base}/v2.0" if v2 else f"https://sts.windows.net/{rig.TENANT_ID}/"
    )
    assert found["authorization_endpoint"] == f"{base}/{endpoints}/authorize"
    assert found["token_endpoint"] == f"{base}/{endpoints}/token"
    assert found["device_authorization_endpoint"] == f"{base}/{endpoints}/devicecode"
    assert found["capabilities"] == ["kdf_ver2"]
    path = found["jwks_uri"].removeprefix("https://login.microsoftonline.com")
    assert rig.ask(tenant, "GET", path).status == 200


def test_another_tenants_configuration_is_not_here(tenant: Services) -> None:
    """AADSTS90002."""
    reply = rig.ask(tenant, "GET", "/contoso.test/.well-known/openid-configuration")
    assert (reply.status, body(reply)["error_codes"]) == (400, [90002])


def test_the_published_key_proves_tokens(tenant: Services) -> None:
    """With a JWK reader that is not ours; x5c holds the same key."""
    (jwk,) = body(rig.ask(tenant, "GET", "/common/discovery/keys"))["keys"]
    jws = open_jws(drs_token(tenant))
    key = RSAKey.import_key(jwk).public_key
    assert jws.kid == jwk["kid"] == jwk["x5t"]
    assert verify(jws, key, {"RS256"}).claims()["upn"] == "alice@lab.test"
    pem = f"-----BEGIN CERTIFICATE-----\n{jwk['x5c'][0]}\n-----END CERTIFICATE-----\n"
    published = x509.load_pem_x509_certificate(pem.encode()).public_key()
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert published.public_bytes(*spki) == key.public_bytes(*spki)
    assert "d" not in jwk


def test_the_clouds_names_are_one(tenant: Services) -> None:
    """What MSAL asks before it believes an authority."""
    found = body(rig.ask(tenant, "GET", "/common/discovery/instance?api-version=1.1"))
    assert "login.windows.net" in found["metadata"][0]["aliases"]


def test_a_realm_is_managed_and_says_nothing_of_users(tenant: Services) -> None:
    """Seed R1 C: roadtx reads account_type before each password."""
    first = "/common/UserRealm/{}?api-version=1.0"
    known = body(rig.ask(tenant, "GET", first.format("alice%40lab.test")))
    assert known == {
        "ver": "1.0",
        "account_type": "Managed",
        "domain_name": "lab.test",
        "cloud_audience_urn": "urn:federation:MicrosoftOnline",
        "cloud_instance_name": "microsoftonline.com",
    }
    assert body(rig.ask(tenant, "GET", first.format("nobody%40LAB.test"))) == known
    for name in ("a%40other.test", "lab.test", "%40lab.test"):
        found = body(rig.ask(tenant, "GET", first.format(name)))
        assert found["account_type"] == "Unknown"
    second = body(rig.ask(tenant, "GET", "/common/userrealm/?user=a@lab.test&api-version=2.1"))
    assert (second["NameSpaceType"], second["DomainName"]) == ("Managed", "lab.test")
    for query in ("", "?api-version=9", "?api-version=1.0&api-version=2.0"):
        assert rig.ask(tenant, "GET", f"/common/UserRealm/a%40lab.test{query}").status == 400


# -- nonces: row R04 --------------------------------------------------------------------------


def nonce(tenant: Services, **form: str) -> str:
    """Ask for a nonce as clients do."""
    found = body(post(tenant, "/common/oauth2/token", grant_type="srv_challenge", **form))
    assert set(found) == {"Nonce"}
    value = found["Nonce"]
    assert isinstance(value, str)
    return value


def _refused(
    tenant: Services, value: str | None, *, peer: str = "127.0.0.1", client: str | None = None
) -> str:
    request = Request(method="POST", host=rig.LOGIN, path="/", peer=peer)
    with pytest.raises(LoginError) as refusal:
        use_login_nonce(tenant, request, value, tenant.now(), client_id=client)
    assert (refusal.value.status, refusal.value.error) == (400, "invalid_grant")
    assert refusal.value.number == 140000
    return refusal.value.why


def test_r04_a_nonce_serves_once(tenant: Services) -> None:
    """Row R04: reused, expired, from another client: 400 invalid_grant."""
    request = Request(method="POST", host=rig.LOGIN, path="/")
    value = nonce(tenant)
    use_login_nonce(tenant, request, value, tenant.now(), client_id=CLIENT)
    assert _refused(tenant, value, client=CLIENT) == "the nonce was used"
    assert _refused(later(tenant, seconds=300), nonce(tenant)) == "the nonce has expired"
    foreign = "the nonce was not given to this client"
    assert _refused(tenant, nonce(tenant), peer="127.0.0.9") == foreign
    assert _refused(tenant, nonce(tenant, client_id=CLIENT), client=OTHER_CLIENT) == foreign
    assert _refused(tenant, None) == "the request has no nonce"
    assert _refused(tenant, "A" * 55) == foreign
    assert _refused(tenant, "x") == "the nonce is none of ours"


def test_a_nonce_without_content_type_or_client_is_given(tenant: Services) -> None:
    """Libhimmelblau sends the bare body; no two nonces are the same."""
    reply = rig.ask(tenant, "POST", "/common/oauth2/token", b"grant_type=srv_challenge")
    assert (reply.status, len(body(reply)["Nonce"])) == (200, 55)
    assert len({nonce(tenant) for _ in range(20)}) == 20


def test_r04_a_jti_serves_once(tenant: Services) -> None:
    """Row R04: jti replayed; another issuer's is another one."""
    ends = datetime(2026, 6, 1, 13, tzinfo=UTC)
    issuer = str(UUID(int=1))
    use_jti(tenant, issuer, "a", ends, tenant.now())
    use_jti(tenant, str(UUID(int=2)), "a", ends, tenant.now())
    with pytest.raises(LoginError) as refusal:
        use_jti(tenant, issuer, "a", ends, tenant.now())
    assert (refusal.value.status, refusal.value.error, refusal.value.why) == (
        400,
        "invalid_grant",
        "the jti was used",
    )
