"""Rows R01 to R06 of the negative tests, as they apply to the JWTs of PRTs.

Each breaks one thing of a request that is right otherwise, and asserts status, error, AADSTS number
and the audit record's reason.
"""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization

from tenant.state import keys
from tests.kdc.cloud_keys import derived_key
from tests.rig import tenant as rig
from tests.tenant.prt import jwts
from tests.tenant.prt.world import (
    ALICE,
    BOB,
    DEVICE_ID,
    DEVICE_KEY,
    HELLO_KEY,
    HeldPrt,
    World,
    refused,
    registered_key,
    world,
)

Refusal = tuple[int, str, int, str]
MOMENT = int(rig.NOW.timestamp())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[World]:
    """A tenant with alice and her device."""
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def held(lab: World) -> HeldPrt:
    """A PRT got with the Hello key."""
    return lab.prt()


def assertion_refused(lab: World, **changes: Any) -> Refusal:
    """Send an assertion with something changed."""
    nonce = changes.pop("nonce", None) or lab.nonce()
    user_key = changes.pop("user_key", HELLO_KEY)
    issuer = changes.pop("iss", ALICE.upn)
    said = jwts.assertion(user_key, issuer, nonce, **changes)
    return refused(lab.post(lab.hello(assertion=said)))


def use_refused(lab: World, held: HeldPrt, **changes: Any) -> Refusal:
    """Use a PRT with something changed."""
    nonce = changes.pop("nonce", None) or lab.nonce()
    jwt = jwts.session_request(held.session_key, held.token, nonce, **changes)
    return refused(lab.post(jwt))


def unproven(number: int, why: str) -> Refusal:
    """Say what a JWT that proves nothing is answered with."""
    return 401, "invalid_grant", number, why


# -- R01: algorithms -------------------------------------------------------------------------

NOT_HERE = "the token's algorithm is not accepted here"
WRONG = "the token's signature is wrong"


@pytest.mark.parametrize("alg", ["none", "None", "HS384", "PS256", "ES256", "RS512", "dir"])
def test_r01_outer_jwt_of_another_algorithm(lab: World, alg: str) -> None:
    """RFC 8725 3.1: the two that are known, and no other whatever its case."""
    assert refused(lab.post(lab.hello(header={"alg": alg}))) == unproven(50013, NOT_HERE)


def test_r01_outer_jwt_without_a_signature(lab: World) -> None:
    """Neither by `none` nor by leaving it out."""
    header, claims, _ = lab.hello().split(".")
    assert refused(lab.post(f"{header}.{claims}."))[:3] == (401, "invalid_grant", 50013)
    unsigned = jwts.part({"typ": "JWT", "alg": "none"})
    assert refused(lab.post(f"{unsigned}.{claims}.")) == unproven(50013, NOT_HERE)


def test_r01_outer_jwt_keyed_with_the_public_key(lab: World) -> None:
    """HS256 means a session key's, and the JWT shows no PRT: the device's key is never one."""
    certificate = jwts.device_certificate(DEVICE_ID)
    public = DEVICE_KEY.public_key()
    for octets in (
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        jwts.spki(DEVICE_KEY),
        certificate,
    ):
        header = {"typ": "JWT", "alg": "HS256", "x5c": base64.b64encode(certificate).decode()}
        claims = {"client_id": jwts.BROKER, "scope": "openid aza", "request_nonce": lab.nonce()}
        reply = lab.post(jwts.sign_hs256(header, claims, octets))
        assert refused(reply)[:3] == (400, "invalid_request", 9002313)


@pytest.mark.parametrize("alg", ["none", "HS256", "ES256", "PS256"])
def test_r01_assertion_of_another_algorithm(lab: World, alg: str) -> None:
    """RS256 alone."""
    assert assertion_refused(lab, header={"alg": alg}) == unproven(130005, NOT_HERE)


def test_r01_assertion_keyed_with_the_public_key(lab: World) -> None:
    """The registered key is no HMAC key."""
    header = {"typ": "JWT", "alg": "HS256", "kid": jwts.kid_of(HELLO_KEY), "use": "ngc"}
    claims = {
        "iss": ALICE.upn,
        "aud": "common",
        "iat": MOMENT,
        "exp": MOMENT + 60,
        "request_nonce": lab.nonce(),
    }
    said = jwts.sign_hs256(header, claims, jwts.spki(HELLO_KEY))
    assert refused(lab.post(lab.hello(assertion=said))) == unproven(130005, NOT_HERE)


@pytest.mark.parametrize("alg", ["none", "HS512", "ES256", "A256GCM"])
def test_r01_use_of_another_algorithm(lab: World, held: HeldPrt, alg: str) -> None:
    """HS256 alone."""
    assert use_refused(lab, held, header={"alg": alg}) == unproven(50013, NOT_HERE)


def test_r01_use_that_says_rs256(lab: World, held: HeldPrt) -> None:
    """Then it is a device's, and names no certificate."""
    assert use_refused(lab, held, header={"alg": "RS256"}) == unproven(
        50155, "the JWT names no device certificate"
    )


def test_r01_use_keyed_with_the_session_key_itself(lab: World, held: HeldPrt) -> None:
    """MS-OAPXBC derives; the bare key, ctx as a key, and nothing as a key sign nothing."""
    for key in (held.session_key, jwts.CTX, bytes(32), jwts.spki(DEVICE_KEY)):
        assert use_refused(lab, held, key=key) == unproven(140001, WRONG)


def test_r01_versions_of_the_derivation_are_kept_apart(lab: World, held: HeldPrt) -> None:
    """A key of version 1 is none of version 2: else a stolen one would sign any payload."""
    derived = derived_key(held.session_key, jwts.CTX)
    assert use_refused(lab, held, key=derived) == unproven(140001, WRONG)
    assert use_refused(lab, held, header={"kdf_ver": ...}) == unproven(140001, WRONG)
    assert use_refused(lab, held, version=1, header={"kdf_ver": 2}) == unproven(140001, WRONG)


@pytest.mark.parametrize("ctx", [..., "", 7, None, "not base64", base64.b64encode(bytes(65))])
def test_r01_use_without_a_ctx(lab: World, held: HeldPrt, ctx: object) -> None:
    """Bounded, and never empty: an empty context would be the same key for ever."""
    value = ctx.decode() if isinstance(ctx, bytes) else ctx
    assert use_refused(lab, held, header={"ctx": value}) == unproven(
        140001, "the JWT's header has no ctx"
    )


# -- R02: header games -----------------------------------------------------------------------

GAMES = [
    {"jku": "https://evil.example/keys"},
    {"x5u": "https://evil.example/cert"},
    {"jwk": {"kty": "oct", "k": "AAAA"}},
    {"crit": ["exp"]},
    {"b64": False},
    {"zip": "DEF"},
]


@pytest.mark.parametrize("game", GAMES)
def test_r02_header_that_leads_elsewhere(
    lab: World, held: HeldPrt, game: dict[str, object]
) -> None:
    """RFC 8725 3.10: refused in all three kinds, nothing is fetched."""
    why = "the token's header has a parameter that is never accepted"
    assert refused(lab.post(lab.hello(header=game))) == unproven(50013, why)
    assert assertion_refused(lab, header=game) == unproven(50013, why)
    assert use_refused(lab, held, header=game) == unproven(50013, why)


@pytest.mark.parametrize(
    "kid",
    [
        "../../etc/passwd",
        "' OR 1=1 --",
        "*)(objectClass=*",
        "key\u0000id",
        "",
        "A" * 43,
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
    ],
)
def test_r02_kid_that_is_no_digest(lab: World, kid: str) -> None:
    """It is decoded to 32 octets before anything is looked up with it."""
    assert assertion_refused(lab, header={"kid": kid}) == unproven(
        130004, "kid of the assertion is no SHA-256 in Base64"
    )


@pytest.mark.parametrize("kid", [7, None, ["a"], "A" * 300])
def test_r02_kid_that_is_no_text(lab: World, kid: object) -> None:
    """Refused with the header."""
    assert assertion_refused(lab, header={"kid": kid})[:2] == (401, "invalid_grant")


def test_r02_assertion_with_a_certificate_in_its_header(lab: World) -> None:
    """The user's key is a registered one."""
    x5c = base64.b64encode(jwts.device_certificate(DEVICE_ID)).decode()
    assert assertion_refused(lab, header={"x5c": [x5c]}) == unproven(
        50013, "the token's header names a key source that is not accepted"
    )


@pytest.mark.parametrize(
    ("x5c", "why"),
    [
        (..., "the JWT names no device certificate"),
        ([], "the JWT names no device certificate"),
        ([7], "the JWT names no device certificate"),
        ({"a": 1}, "the JWT names no device certificate"),
        ("", "the JWT names no device certificate"),
        ("%%%%", "x5c of the JWT is not Base64"),
        ("AAAA", "the certificate is no device's"),
    ],
)
def test_r02_x5c_that_names_no_device(lab: World, x5c: object, why: str) -> None:
    """Only a certificate in the table of devices, octet for octet."""
    assert refused(lab.post(lab.hello(header={"x5c": x5c}))) == unproven(50155, why)


@pytest.mark.parametrize("typ", ["at+jwt", "JWE", 7])
def test_r02_another_type(lab: World, typ: object) -> None:
    """RFC 8725 3.11."""
    why = "typ of the JWT is another's"
    assert refused(lab.post(lab.hello(header={"typ": typ}))) == unproven(50013, why)
    assert assertion_refused(lab, header={"typ": typ}) == unproven(50013, why)


@pytest.mark.parametrize("use", [..., "sig", "enc", 7])
def test_r02_assertion_that_is_not_for_hello(lab: World, use: object) -> None:
    """MS-OAPXBC 3.2.5.1.2.1.2: use is ngc."""
    assert assertion_refused(lab, header={"use": use}) == unproven(
        50013, "use of the assertion's header is not ngc"
    )


# -- R03: times, audience, issuer ------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iat": MOMENT - 7200, "exp": MOMENT - 301}, "the JWT has expired"),
        ({"iat": MOMENT + 301, "exp": MOMENT + 900}, "the JWT is not valid yet"),
        ({"nbf": MOMENT + 301}, "the JWT is not valid yet"),
        ({"iat": MOMENT, "exp": MOMENT + 5 * 3600}, "the JWT is valid for too long"),
    ],
)
def test_r03_jwt_of_another_time(
    lab: World, held: HeldPrt, claims: dict[str, object], why: str
) -> None:
    """Five minutes of skew; in all three kinds."""
    assert assertion_refused(lab, **claims) == unproven(500133, why)
    assert refused(lab.post(lab.hello(**claims))) == unproven(500133, why)
    assert use_refused(lab, held, **claims) == unproven(500133, why)


@pytest.mark.parametrize("name", ["iat", "exp"])
def test_r03_assertion_without_a_time(lab: World, name: str) -> None:
    """Both are REQUIRED (MS-OAPXBC 3.2.5.1.2.1.2)."""
    assert assertion_refused(lab, **{name: ...}) == (
        400,
        "invalid_request",
        9002313,
        "iat or exp is missing",
    )


@pytest.mark.parametrize(
    "aud", ["https://evil.example/", str(UUID(int=9)), "Common", 7, ["common"], "", None, ...]
)
def test_r03_assertion_for_another_audience(lab: World, aud: object) -> None:
    """Another tenant's is none of ours."""
    assert assertion_refused(lab, aud=aud) == unproven(50013, "aud of the JWT is another's")


@pytest.mark.parametrize("aud", ["https://evil.example/", str(UUID(int=9)), 7])
def test_r03_audience_of_the_other_jwts(lab: World, held: HeldPrt, aud: object) -> None:
    """Not required there; a wrong one is refused."""
    why = "aud of the JWT is another's"
    assert refused(lab.post(lab.hello(aud=aud))) == unproven(50013, why)
    assert use_refused(lab, held, aud=aud) == unproven(50013, why)


@pytest.mark.parametrize("iss", ["evil", 7, ""])
def test_r03_use_by_another_issuer(lab: World, held: HeldPrt, iss: object) -> None:
    """Windows' broker, or the broker's client id."""
    assert use_refused(lab, held, iss=iss) == unproven(50013, "iss of the JWT is another's")


@pytest.mark.parametrize(
    "audience", [str(rig.TENANT_ID), f"https://sts.windows.net/{rig.TENANT_ID}/"]
)
def test_r03_assertion_for_this_tenant(lab: World, audience: str) -> None:
    """The issuer as MS-OAPXBC says, or the bare tenant."""
    said = jwts.assertion(HELLO_KEY, ALICE.upn, lab.nonce(), aud=audience)
    assert lab.prt(lab.hello(assertion=said)).token


def test_r03_path_of_another_tenant(lab: World) -> None:
    """The tenant of the path is judged before the JWT."""
    reply = rig.ask(lab.services, "POST", f"/{UUID(int=9)}/oauth2/token", b"grant_type=x")
    assert refused(reply)[:3] == (400, "invalid_request", 90002)


# -- R04: nonces -----------------------------------------------------------------------------


def no_nonce(why: str) -> Refusal:
    """Say what a bad nonce is answered with."""
    return 400, "invalid_grant", 140000, why


USED = "the nonce was used"
NOT_GIVEN = "the nonce was not given to this client"


def test_r04_request_that_comes_again(lab: World, held: HeldPrt) -> None:
    """Each nonce is used up by the first request that shows it, all three kinds."""
    jwt = lab.hello()
    assert lab.post(jwt).status == 200
    assert refused(lab.post(jwt)) == no_nonce(USED)
    use = jwts.session_request(held.session_key, held.token, lab.nonce())
    assert lab.post(use).status == 200
    assert refused(lab.post(use)) == no_nonce(USED)


def test_r04_nonce_is_used_up_though_the_rest_is_refused(lab: World) -> None:
    """Else one would do for many guesses."""
    nonce = lab.nonce()
    wrong = {"grant_type": "password", "username": ALICE.upn, "password": "wrong"}
    assert refused(lab.post(lab.device_request(nonce=nonce, **wrong)))[2] == 50126
    assert refused(lab.post(lab.device_request(nonce=nonce, **wrong))) == no_nonce(USED)


def test_r04_nonce_of_an_unproven_jwt_is_not_used_up(lab: World) -> None:
    """Nobody spends another's nonces by signing nothing."""
    nonce = lab.nonce()
    certificate = jwts.device_certificate(DEVICE_ID)
    forged = jwts.device_request(jwts.rsa_key("other device"), certificate, nonce)
    assert refused(lab.post(forged))[0] == 401
    assert lab.prt(lab.hello(nonce=nonce)).token


def test_r04_assertion_that_comes_again_in_a_new_request(lab: World) -> None:
    """The inner nonce is used up as well: a stolen assertion is worth nothing."""
    said = jwts.assertion(HELLO_KEY, ALICE.upn, lab.nonce())
    assert lab.post(lab.hello(assertion=said)).status == 200
    assert refused(lab.post(lab.hello(assertion=said))) == no_nonce(USED)


def test_r04_expired_nonce(lab: World, held: HeldPrt) -> None:
    """Five minutes; outer, inner and in use."""
    nonce = lab.nonce()
    lab.now += timedelta(seconds=lab.services.config.nonce_life_s)
    expired = no_nonce("the nonce has expired")
    assert refused(lab.post(lab.hello(nonce=nonce))) == expired
    assert assertion_refused(lab, nonce=nonce) == expired
    assert use_refused(lab, held, nonce=nonce) == expired


def test_r04_nonce_of_another_client(lab: World, held: HeldPrt) -> None:
    """It was given to another address."""
    nonce = lab.nonce(peer="127.0.0.9")
    assert refused(lab.post(lab.hello(nonce=nonce))) == no_nonce(NOT_GIVEN)
    assert assertion_refused(lab, nonce=nonce) == no_nonce(NOT_GIVEN)
    assert use_refused(lab, held, nonce=nonce) == no_nonce(NOT_GIVEN)


def test_r04_nonce_of_another_broker(lab: World, held: HeldPrt) -> None:
    """A client that named itself when it asked is the only one that may use it."""
    nonce = lab.nonce(client_id="29d9ed98-a469-4536-ade2-f981bc1d605e")
    assert refused(lab.post(lab.hello(nonce=nonce))) == no_nonce(NOT_GIVEN)
    assert use_refused(lab, held, nonce=nonce) == no_nonce(NOT_GIVEN)
    assert lab.prt(lab.hello(nonce=lab.nonce(client_id=jwts.BROKER))).token


@pytest.mark.parametrize("nonce", ["x", "A" * 55, "é"])
def test_r04_invented_nonce(lab: World, held: HeldPrt, nonce: str) -> None:
    """Only what was given out."""
    for found in (
        refused(lab.post(lab.hello(nonce=nonce))),
        assertion_refused(lab, nonce=nonce),
        use_refused(lab, held, nonce=nonce),
    ):
        assert found[:3] == (400, "invalid_grant", 140000)


def test_r04_jti_that_comes_again(lab: World, held: HeldPrt) -> None:
    """RFC 7519 4.1.7: a JWT that names itself is taken once, also with a fresh nonce."""
    used = no_nonce("the jti was used")
    for jti in ("one", "two"):
        assert lab.post(lab.hello(jti=jti)).status == 200
    assert refused(lab.post(lab.hello(jti="one"))) == used
    said = jwts.assertion(HELLO_KEY, ALICE.upn, lab.nonce(), jti="one")
    assert lab.post(lab.hello(assertion=said)).status == 200
    assert assertion_refused(lab, jti="one") == used
    assert lab.use(held, jti="one")
    assert use_refused(lab, held, jti="one") == used


# -- R05: no nonce (CVE-2023-35348) ----------------------------------------------------------


@pytest.mark.parametrize("nonce", [..., None, ""])
def test_r05_assertion_without_a_nonce(lab: World, nonce: object) -> None:
    """Signed once, it would be good for ever: 400 invalid_grant."""
    assert assertion_refused(lab, request_nonce=nonce) == no_nonce("the JWT has no request_nonce")


@pytest.mark.parametrize("nonce", [..., None, ""])
def test_r05_other_jwts_without_a_nonce(lab: World, held: HeldPrt, nonce: object) -> None:
    """The same of the device's and of the session key's."""
    missing = no_nonce("the JWT has no request_nonce")
    assert refused(lab.post(lab.hello(request_nonce=nonce))) == missing
    assert use_refused(lab, held, request_nonce=nonce) == missing


# -- R06: the key of the assertion -----------------------------------------------------------


def test_r06_kid_of_no_registered_key(lab: World) -> None:
    """A key that nobody registered; its kid is right."""
    assert assertion_refused(lab, user_key=jwts.rsa_key("unregistered")) == unproven(
        130004, "no registered key has the kid of the assertion"
    )


def test_r06_kid_is_not_the_digest_of_the_signing_key(lab: World) -> None:
    """The kid of alice's key over a signature of another one."""
    assert assertion_refused(lab, signer=jwts.rsa_key("unregistered")) == unproven(130005, WRONG)


def test_r06_kid_of_another_registered_key(lab: World) -> None:
    """The digest of bob's key over alice's signature."""
    bobs = jwts.rsa_key("bob")
    with lab.services.database.write() as connection:
        keys.insert_key(connection, registered_key(bobs, BOB, DEVICE_ID, 501))
    assert assertion_refused(lab, header={"kid": jwts.kid_of(bobs)}) == unproven(130005, WRONG)


@pytest.mark.parametrize("issuer", [BOB.upn, "nobody@lab.test"])
def test_r06_key_of_another_user(lab: World, issuer: str) -> None:
    """Alice's key signs for alice."""
    assert assertion_refused(lab, iss=issuer) == unproven(
        130004, "the key is not the one of the assertion's issuer"
    )


# -- bounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{", b'{"a":1,"a":2}', b"[" * 5000, b'{"a":' * 20 + b"1" + b"}" * 20, b"\xff"],
)
def test_claims_that_are_no_strict_json(lab: World, held: HeldPrt, payload: bytes) -> None:
    """Proven or not, they are refused: 400."""
    header = {
        "typ": "JWT",
        "alg": "RS256",
        "x5c": base64.b64encode(jwts.device_certificate(DEVICE_ID)).decode(),
    }
    assert refused(lab.post(jwts.sign_rs256(header, payload, DEVICE_KEY)))[:3] == (
        400,
        "invalid_request",
        9002313,
    )
    header = {"alg": "HS256", "ctx": base64.b64encode(jwts.CTX).decode()}
    key = derived_key(held.session_key, jwts.CTX)
    assert refused(lab.post(jwts.sign_hs256(header, payload, key)))[:3] == (
        400,
        "invalid_request",
        9002313,
    )


def test_jwt_that_is_too_large(lab: World) -> None:
    """64 KiB hold a certificate and another JWT."""
    reply = lab.post(lab.hello(padding="x" * 70_000))
    assert refused(reply) == unproven(50013, "the token is too large")


@pytest.mark.parametrize("text", ["", "x", "a.b", "a.b.c.d", "..", "é.é.é", "{}.{}.{}"])
def test_text_that_is_no_jwt(lab: World, text: str) -> None:
    """Refused without a crash."""
    assert refused(lab.post(text))[0] in (400, 401)


def test_no_refusal_repeats_what_was_sent(lab: World) -> None:
    """Nor does the audit record."""
    secret = "Sehr-geheim-77"  # noqa: S105
    jwt = lab.device_request(grant_type="password", username=secret, password=secret)
    reply = lab.post(jwt)
    assert secret.encode() not in reply.body
    assert secret not in json.dumps(lab.records)
