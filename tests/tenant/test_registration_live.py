"""Registration of devices and keys over the running server, by raw requests and by roadtx.

Rows R07 to R10 with their exact status and error form; flows R1 E to H, R3 D to H and P1 C.
"""

import base64
import http.client
import json
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pki import ca, der
from pki.keys import rsa_key
from pki.oids import ID_AT_COMMON_NAME
from pki.x500 import simple_name
from tenant.services import Services, open_services
from tenant.state import devices, keys, users
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.users import User
from tenant.state_folder import TenantFolder
from tests.pki.test_keys import roca_like_modulus
from tests.rig import tenant as rig
from tests.rig.realm import make_realm
from tests.rig.roadtx import Roadtx
from tests.rig.tenant import LOGIN, REGISTRATION, LiveTenant
from tests.tenant import soft_tpm
from tests.tenant.device_requests import device_request, forged_request
from tests.tenant.login.builders import drs_token
from tests.tenant.registration import blob, join_body, key, numbers
from tests.tenant.soft_tpm import Claim

pytestmark = [pytest.mark.e2e]

DEVICE = "/EnrollmentServer/device/?api-version=2.0"
KEY = "/EnrollmentServer/key/?api-version=1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    def drs(self) -> tuple[int, str]:
        """Status and ErrorType of a refusal in MS-DVRJ's form."""
        assert set(self.json()) == {"ErrorType", "Message", "TraceId", "Time"}
        return self.status, self.json()["ErrorType"]

    def kpp(self) -> tuple[int, str]:
        """Status and code of a refusal in MS-KPP's form."""
        error = self.json()["error"]
        assert error["response"] == "ERROR_FAIL"
        assert error["innererror"] == {"trace": "null", "context": "null"}
        assert UUID(self.headers["request-id"])
        return self.status, error["code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A served tenant with alice and bob, who pass as having a second factor, and carol."""

    tenant: LiveTenant
    services: Services
    """The same folder beside the server, as the tenant's commands open it."""
    password: str
    tpm_root: ca.IssuedCertificate

    def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        host: str = REGISTRATION,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> Answer:
        """Send one request by the proxy, as clients do."""
        context = ssl.create_default_context(cafile=self.tenant.ca)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.tenant.proxy_port, timeout=20, context=context
        )
        connection.set_tunnel(host, 443)
        sent = {"Content-Type": "application/json", "Accept": "application/json"}
        sent |= dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes | str | None) else json.dumps(body)
        try:
            connection.request(method, target, data, sent)
            got = connection.getresponse()
            lower = {name.lower(): value for name, value in got.getheaders()}
            return Answer(status=got.status, headers=lower, body=got.read())
        finally:
            connection.close()

    def signed_in(self, name: str) -> str:
        """An access token by the password grant, from the server itself."""
        form = {
            "grant_type": "password",
            "client_id": "29d9ed98-a469-4536-ade2-f981bc1d605e",
            "resource": "urn:ms-drs:enterpriseregistration.windows.net",
            "username": f"{name}@lab.test",
            "password": self.password,
        }
        answer = self.ask(
            "POST",
            "/common/oauth2/token",
            urlencode(form),
            host=LOGIN,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status == 200, answer.body
        token = answer.json()["access_token"]
        assert isinstance(token, str)
        return token

    def user(self, name: str) -> User:
        """A user as stored."""
        with self.services.database.read() as c:
            found = users.by_upn(c, f"{name}@lab.test")
        assert found is not None
        return found

    def token_on(self, device: DeviceRecord, name: str = "alice", **given: Any) -> str:
        """A token of a sign-in with a device, as a PRT gives it."""
        return drs_token(self.services, user=self.user(name), device_id=device.device_id, **given)

    def join(self, name: str, user: str = "alice", /, **members: object) -> Answer:
        """Join a device with `key(name)`."""
        return self.ask("POST", DEVICE, join_body(name, **members), token=self.signed_in(user))

    def joined(self, user: str = "alice", /, **members: object) -> tuple[str, DeviceRecord]:
        """Join a new device and return the name of its key and its record."""
        name = str(uuid4())
        answer = self.join(name, user, **members)
        assert answer.status == 200, answer.body
        found = self.device(name)
        assert found is not None
        return name, found

    def device(self, name: str) -> DeviceRecord | None:
        """The device that has `key(name)`."""
        with self.services.database.read() as c:
            return devices.device_by_key(c, numbers(name))

    def stored_key(self, name: str) -> keys.RegisteredKey | None:
        """The registration of `key(name)`."""
        with self.services.database.read() as c:
            return keys.key_by_numbers(c, numbers(name))

    def nonce(self) -> str:
        """A nonce of the registration service."""
        answer = self.ask("GET", "/EnrollmentServer/nonce/lab.test/?api-version=1.0")
        assert answer.status == 200
        value = answer.json()["Value"]
        assert isinstance(value, str)
        return value

    def attestation(
        self, claim: Claim, *, issuer: ca.IssuedCertificate | None = None
    ) -> dict[str, str]:
        """The members of a body with an attestation."""
        certificate = soft_tpm.aik_certificate(ca=issuer or self.tpm_root, now=datetime.now(UTC))
        return {
            "AttestationData": base64.b64encode(claim.build()).decode(),
            "AikCertificate": base64.b64encode(certificate).decode(),
        }


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Serve a tenant beside a realm that is not served: registration needs no KDC."""
    folder = tmp_path_factory.mktemp("registration")
    realm = make_realm(folder / "kdc")
    made = rig.make_tenant(folder / "tenant", realm.state)
    tpm_root = ca.create_root("TPM", datetime.now(UTC), common_name="TPM vendor root")
    place = TenantFolder(made.state)
    place.attestation_roots.write_bytes(ca.certificate_to_pem(tpm_root.certificate_der))
    word = rig.password()
    for name, mfa in (("alice", "assumed"), ("bob", "assumed"), ("carol", "none")):
        made.tenant("user", "add", f"{name}@lab.test", "--mfa", mfa, "--password-stdin", stdin=word)
    with made.served():
        services = open_services(place)
        yield Live(tenant=made, services=services, password=word, tpm_root=tpm_root)
        services.database.close()


# -- rows R07 to R10 -------------------------------------------------------------------------


def test_a_key_needs_a_second_factor(live: Live) -> None:
    """Row R07: 401, in MS-KPP's form; the token is the server's own, of a password alone."""
    body = {"kngc": blob(numbers("r07"))}
    answer = live.ask("POST", KEY, body, token=live.signed_in("carol"))
    assert answer.kpp() == (401, "authentication_error")
    assert answer.json()["error"]["message"] == "The access token has no MFA claim."


def test_a_second_factor_that_is_old_is_refused(live: Live) -> None:
    """Row R07: 401."""
    _, device = live.joined()
    token = live.token_on(device, at=datetime.now(UTC) - timedelta(minutes=11))
    answer = live.ask("POST", KEY, {"kngc": blob(numbers("r07"))}, token=token)
    assert answer.kpp() == (401, "authentication_error")
    assert answer.json()["error"]["message"] == "The MFA claim is not current."
    assert live.stored_key("r07") is None


@pytest.mark.parametrize("game", ["magic", "qualifying data", "AIK without a root", "no nonce"])
def test_attestation_games_are_refused(live: Live, game: str) -> None:
    """Row R08: 400 at both services, and nothing is stored."""
    _, device = live.joined()
    nonce = live.nonce()
    fields: dict[str, Any] = {"magic": {"magic": 0xFF544348}, "qualifying data": {"extra": b"x"}}
    issuer = None
    if game == "AIK without a root":
        issuer = ca.create_root("TPM", datetime.now(UTC), common_name="Somebody's")
    name = f"r08 {game}"
    claim = Claim(key=key(name).public_key(), nonce=nonce, **fields.get(game, {}))
    evidence = live.attestation(claim, issuer=issuer)
    named = {} if game == "no nonce" else {"Nonce": nonce}
    body = {"kngc": blob(numbers(name)), **named, **evidence}
    answer = live.ask("POST", KEY, body, token=live.token_on(device))
    assert answer.kpp() == (400, "invalid_request")
    assert live.stored_key(name) is None

    extension = None if game == "no nonce" else der.encode_octet_string(nonce.encode())
    request = base64.b64encode(device_request(key(name), nonce=extension)).decode()
    wanted = {"CertificateRequest": {"Type": "pkcs10", "Data": request}, **evidence}
    assert live.join(name, **wanted).drs() == (400, "BadRequest")
    assert live.device(name) is None


def test_a_key_in_a_tpm_is_recorded_as_attested(live: Live) -> None:
    """Row R08, its control: the same with nothing wrong."""
    _, device = live.joined()
    nonce = live.nonce()
    claim = Claim(key=key("in a TPM").public_key(), nonce=nonce)
    body = {"kngc": blob(numbers("in a TPM")), "Nonce": nonce, **live.attestation(claim)}
    assert live.ask("POST", KEY, body, token=live.token_on(device)).status == 200
    stored = live.stored_key("in a TPM")
    assert stored is not None
    assert stored.attested


def test_a_registration_for_another_user_is_refused(live: Live) -> None:
    """Row R09: 403."""
    _, device = live.joined()
    body = {"kngc": blob(numbers("r09")), "upn": "bob@lab.test"}
    answer = live.ask("POST", KEY, body, token=live.token_on(device))
    assert answer.kpp() == (403, "authorization_error")


def test_a_registration_on_a_foreign_device_is_refused(live: Live) -> None:
    """Row R09: 403."""
    _, device = live.joined("bob")
    body = {"kngc": blob(numbers("r09"))}
    answer = live.ask("POST", KEY, body, token=live.token_on(device))
    assert answer.kpp() == (403, "authorization_error")
    assert live.stored_key("r09") is None


def _files(folder: Path, name: str, device: DeviceRecord) -> tuple[Path, Path]:
    certificate, private = folder / "device.pem", folder / "device.key"
    assert device.certificate is not None
    certificate.write_bytes(ca.certificate_to_pem(device.certificate))
    private.write_bytes(ca.private_key_to_pem(key(name)))
    return certificate, private


def test_a_foreign_device_is_not_deleted(live: Live, tmp_path: Path) -> None:
    """Row R09: 403; its own deletion is the control."""
    name, mine = live.joined()
    _, other = live.joined("bob")
    pair = _files(tmp_path, name, mine)
    target = f"/EnrollmentServer/device/{other.device_id}"
    assert live.ask("DELETE", target, certificate=pair).drs() == (403, "AuthorizationError")
    target = f"/EnrollmentServer/device/{mine.device_id}"
    answer = live.ask("DELETE", target, certificate=pair)
    assert (answer.status, answer.body) == (200, b"")
    assert live.ask("DELETE", target, certificate=pair).drs() == (401, "AuthenticationError")
    assert live.ask("DELETE", target).drs() == (401, "AuthenticationError")


WEAK = {
    "1024 bits": rsa_key((1 << 1023) + 1, 65537),
    "ROCA": rsa_key(roca_like_modulus(), 65537),
    "e=1": rsa_key((1 << 2047) + 1, 1),
}


@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_key_is_refused(live: Live, kind: str) -> None:
    """Row R10: 400, as a Hello key, a device key and a transport key."""
    name, device = live.joined()
    body = {"kngc": blob(WEAK[kind])}
    assert live.ask("POST", KEY, body, token=live.token_on(device)).kpp() == (
        400,
        "invalid_request",
    )
    request = base64.b64encode(forged_request(WEAK[kind], key(name))).decode()
    wanted = {"CertificateRequest": {"Type": "pkcs10", "Data": request}}
    assert live.join(name, **wanted).drs() == (400, "BadRequest")
    assert live.join(name, TransportKey=blob(WEAK[kind])).drs() == (400, "BadRequest")


def test_somebody_elses_key_is_refused(live: Live) -> None:
    """Row R10: 409, as a Hello key and as a device key; 400 when it is not proven."""
    name, device = live.joined()
    _, other = live.joined("bob")
    body = {"kngc": blob(numbers("r10"))}
    assert live.ask("POST", KEY, body, token=live.token_on(device)).status == 200
    answer = live.ask("POST", KEY, body, token=live.token_on(other, "bob"))
    assert answer.kpp() == (409, "directory_error")
    assert live.join(name, "bob").drs() == (409, "DirectoryError")
    request = base64.b64encode(forged_request(numbers("x"), key(name))).decode()
    wanted = {"CertificateRequest": {"Type": "pkcs10", "Data": request}}
    assert live.join(name, **wanted).drs() == (400, "BadRequest")


# -- what was acknowledged stays -------------------------------------------------------------


def test_what_was_acknowledged_is_there_after_a_kill(live: Live) -> None:
    """One transaction, on disk before the answer: the same requests again get the same answers."""
    name = str(uuid4())
    token = live.signed_in("alice")
    first = live.ask("POST", DEVICE, join_body(name), token=token)
    device = live.device(name)
    assert device is not None
    hello = live.ask("POST", KEY, {"kngc": blob(numbers("kill"))}, token=live.token_on(device))
    live.tenant.kill()
    live.tenant.start()
    again = live.ask("POST", DEVICE, join_body(name), token=token)
    assert (again.status, again.body) == (200, first.body)
    body = {"kngc": blob(numbers("kill"))}
    repeated = live.ask("POST", KEY, body, token=live.token_on(device))
    assert repeated.json()["kid"] == hello.json()["kid"]


# -- roadtx ----------------------------------------------------------------------------------


@pytest.fixture
def roadtx(live: Live, tmp_path: Path) -> Roadtx:
    return Roadtx(folder=tmp_path, tenant=live.tenant)


def sign_in(live: Live, roadtx: Roadtx) -> None:
    roadtx.run(
        "gettokens", "-u", "alice@lab.test", "-p", live.password, "-c", "broker", "-r", "drs"
    )


def openssl_text(path: Path, *options: str) -> str:
    command = ["openssl", "x509", "-in", str(path), "-noout", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.mark.interop
@pytest.mark.parametrize(
    ("action", "kind"), [("register", "Windows"), ("join", "macos"), ("register", "android")]
)
def test_roadtx_joins_and_registers_devices_of_each_kind(
    live: Live, roadtx: Roadtx, action: str, kind: str
) -> None:
    """R1 F to H: the blob of Windows and the JWKs of macOS and Android."""
    sign_in(live, roadtx)
    said = roadtx.run("device", "-a", action, "-n", "pc", "-d", "lab.test", "--device-type", kind)
    certificate = x509.load_pem_x509_certificate((roadtx.folder / "pc.pem").read_bytes())
    device_id = UUID(
        str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    )
    assert f"Device ID: {device_id}" in said
    with live.services.database.read() as c:
        device = devices.device_by_id(c, device_id)
    assert device is not None
    assert device.join_type is (JoinType.JOINED if action == "join" else JoinType.REGISTERED)
    assert device.transport_key == roadtx.key("pc.key").public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.interop
def test_openssl_reads_the_device_certificate(live: Live, roadtx: Roadtx) -> None:
    """R1 H, by an independent reader: names, purpose, extensions, and who issued it."""
    sign_in(live, roadtx)
    roadtx.run("device", "-a", "join", "-n", "pc", "-d", "lab.test")
    path = roadtx.folder / "pc.pem"
    text = openssl_text(path, "-text")
    assert "MS-Organization-Access" in openssl_text(path, "-issuer")
    assert "TLS Web Client Authentication" in text
    assert "CA:FALSE" in text
    for arc in (1, 2, 3, 4, 5, 7):
        assert f"1.2.840.113556.1.5.284.{arc}:" in text
    issuer = live.tenant.state / "pki/device-ca.pem"
    command = ["openssl", "verify", "-CAfile", str(issuer), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.stdout.strip().endswith(": OK"), done


@pytest.mark.interop
def test_roadtx_deletes_its_device_with_its_certificate(live: Live, roadtx: Roadtx) -> None:
    """MS-DVRJ 3.1.5.1.2; a second time it is unknown."""
    sign_in(live, roadtx)
    roadtx.run("device", "-a", "join", "-n", "pc", "-d", "lab.test")
    pair = ("-c", "pc.pem", "-k", "pc.key")
    assert "Device was deleted" in roadtx.run("device", "-a", "delete", *pair)
    assert "AuthenticationError" in roadtx.run("device", "-a", "delete", *pair)


@pytest.mark.interop
def test_roadtx_is_told_why_a_key_it_brings_is_not_taken(live: Live, roadtx: Roadtx) -> None:
    """For macOS 14 roadtx brings a P-256 key: refused with an error that it can show."""
    sign_in(live, roadtx)
    said = roadtx.run("device", "-a", "join", "-n", "mac", "--device-type", "macos14")
    assert "BadRequest" in said


@pytest.mark.interop
def test_roadtx_registers_a_hello_key(live: Live, roadtx: Roadtx) -> None:
    """P1 C, with a token that names the device."""
    _, device = live.joined()
    said = roadtx.run("winhello", "-k", "hello.key", "--access-token", live.token_on(device))
    assert "'kid'" in said
    assert "'upn': 'alice@lab.test'" in said
    pem = roadtx.key("hello.key").public_key()
    stored = [k for k in _keys_on(live, device) if k.public_key().n == pem.public_numbers().n]
    assert len(stored) == 1
    assert str(stored[0].kid) in said


def _keys_on(live: Live, device: DeviceRecord) -> tuple[keys.RegisteredKey, ...]:
    with live.services.database.read() as c:
        return tuple(key for key in keys.all_keys(c) if key.device_id == device.device_id)


@pytest.mark.interop
def test_roadtx_joins_a_synced_computer(live: Live, roadtx: Roadtx) -> None:
    """R3 E to H: before the sync it is told so, after it the device object is completed."""
    guid, sid = uuid4(), "S-1-5-21-1-2-3-1201"
    now = datetime.now(UTC)
    private = rsa.generate_private_key(65537, 2048)
    name = simple_name((ID_AT_COMMON_NAME, str(guid)))
    own = ca.self_signed_hello_certificate(private, name, now)
    (roadtx.folder / "onprem.pem").write_bytes(ca.certificate_to_pem(own))
    (roadtx.folder / "onprem.key").write_bytes(ca.private_key_to_pem(private))
    tenant_id = str(live.services.config.tenant_id)
    command = (
        *("hybriddevice", "-c", "onprem.pem", "-k", "onprem.key", "-n", "client1"),
        *("--sid", sid, "-t", tenant_id),
    )
    assert "DirectoryError" in roadtx.run(*command)
    record = DeviceRecord(
        device_id=guid,
        object_id=uuid4(),
        display_name="CLIENT1",
        join_type=JoinType.HYBRID,
        onprem_guid=guid,
        sid=sid,
        user_certificate=own,
        created=now,
    )
    with live.services.database.write() as c:
        devices.insert_device(c, record)
    assert f"AAD device ID: {guid}" in roadtx.run(*command)
    with live.services.database.read() as c:
        joined = devices.device_by_id(c, guid)
    assert joined is not None
    new = roadtx.key("client1_aad.key").public_key().public_numbers().n
    device_key = joined.public_key()
    assert device_key is not None
    assert device_key.n == new
    assert f"CN = {guid}" in openssl_text(roadtx.folder / "client1_aad.pem", "-subject")
