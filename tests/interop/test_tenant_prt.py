"""Primary refresh tokens and what they lead to, with roadtx and MIT's client; none of our clients.

roadtx is unmodified and verifies TLS; roadlib's own functions open what the tenant seals.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig.realm import LiveRealm, make_realm
from tests.rig.roadtx import Roadtx
from tests.rig.services import mit_kvno
from tests.rig.tenant import LiveTenant, make_tenant

pytestmark = [pytest.mark.interop, pytest.mark.slow]

PASSWORD = "Correct-Horse-7"  # noqa: S105  of a realm that lives as long as the test
USER = "wendy@lab.test"
WEB = "host/web.lab.test"
DEVICE = ("-c", "pc1.pem", "-k", "pc1.key")
HELLO = ("prt", "-u", USER, "-hk", "hello.key", *DEVICE)
DRS = "urn:ms-drs:enterpriseregistration.windows.net"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
FOLDER_FILES = ("pc1.pem", "pc1.key", "hello.key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A served realm with a cloud trust, a served tenant, and a device with a Hello key."""

    live: LiveRealm
    tenant: LiveTenant
    device_id: str
    folder: Path
    """Where the device's and the Hello key's files are."""

    def client(self, folder: Path) -> Roadtx:
        """Give a client those files in a folder of its own."""
        for name in FOLDER_FILES:
            (folder / name).write_bytes((self.folder / name).read_bytes())
        return Roadtx(tenant=self.tenant, folder=folder)

    def audit(self) -> list[dict[str, Any]]:
        """Read the tenant's audit records."""
        return [json.loads(x) for x in (self.tenant.state / "audit.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Bring realm and tenant up; roadtx joins a device and registers a Hello key."""
    folder = tmp_path_factory.mktemp("prt")
    live = make_realm(folder / "state")
    live.kdc("user", "add", "wendy", "--upn", USER)
    live.kdc("service", "add", WEB)
    live.kdc("cloud-trust", "create", "--number", "40000")
    key = folder / "cloud.key"
    live.kdc("cloud-trust", "export-key", "-o", str(key))
    tenant = make_tenant(folder / "tenant", live.state, "--cloud-key", str(key))
    tenant.tenant("sync", "--once")
    tenant.tenant("user", "password", "wendy", "--password-stdin", stdin=f"{PASSWORD}\n")
    tenant.tenant("user", "mfa", "wendy", "assumed")
    (folder / "client").mkdir()
    client = Roadtx(tenant=tenant, folder=folder / "client")
    with live.served(), tenant.served():
        client.run("gettokens", "-u", USER, "-p", PASSWORD, "-c", "broker", "-r", "drs")
        said = client.run("device", "-a", "join", "-n", "pc1", "-d", "lab.test")
        device_id = said.partition("Device ID: ")[2].split()[0]
        client.run("prt", "-u", USER, "-p", PASSWORD, *DEVICE)
        client.run("prtauth", "-c", "broker", "-r", "drs")
        client.run("winhello", "-k", "hello.key")
        yield Site(live=live, tenant=tenant, device_id=device_id, folder=client.folder)


def access_token_claims(client: Roadtx) -> dict[str, Any]:
    """Read the claims of the access token that roadtx keeps."""
    part = client.tokens()["accessToken"].split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_hello_key_to_service_ticket(site: Site, tmp_path: Path) -> None:
    """Seed A5: nonce, PRT by the Hello key with the partial TGT, full TGT, MIT's kvno."""
    client = site.client(tmp_path)
    client.run(*HELLO)
    kept = client.prt()
    assert len(bytes.fromhex(kept["tgt_ad_sessionkey"])) == 32
    cache = tmp_path / "cc"
    said = site.live.kdc(
        *("cloud-trust", "redeem", "--prt", str(tmp_path / "roadtx.prt")),
        *("--ccache", str(cache), "--json"),
    )
    found = json.loads(said)
    assert (found["client"], found["tgt"]["kvno"]) == ("wendy@LAB.TEST", 1)
    run = mit_kvno(site.live.client(tmp_path), cache, WEB)
    assert run.status == 0, run.explain()
    assert site.live.audit()[-1]["TargetUserName"]


def test_renewed_prt_is_redeemed(site: Site, tmp_path: Path) -> None:
    """After a renewal nobody has unwrapped clientKey: it is opened with the session key."""
    client = site.client(tmp_path)
    client.run(*HELLO)
    first = client.prt()
    assert "Renewing PRT" in client.run("prt", "-a", "renew")
    second = client.prt()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["session_key"] == first["session_key"]
    assert "tgt_ad_sessionkey" not in second
    cache = tmp_path / "cc"
    site.live.kdc(
        *("cloud-trust", "redeem", "--prt", str(tmp_path / "roadtx.prt")),
        *("--ccache", str(cache), "--service", WEB),
    )
    run = mit_kvno(site.live.client(tmp_path), cache, WEB)
    assert run.status == 0, run.explain()


@pytest.mark.parametrize(
    "proof",
    [("-u", USER, "-p", PASSWORD), ("-r", "file"), ("-u", USER, "-hk", "hello.key")],
    ids=["password", "refresh token", "Hello key"],
)
def test_each_proof_gets_a_prt_that_works(
    site: Site, tmp_path: Path, proof: tuple[str, ...]
) -> None:
    """MS-OAPXBC 3.2.5.1.2.1.1 to .3: got, used for an application, and renewed."""
    client = site.client(tmp_path)
    client.run("gettokens", "-u", USER, "-p", PASSWORD, "-c", "broker", "-r", "drs")
    assert "Obtained PRT" in client.run("prt", *proof, *DEVICE)
    client.run("prt", "-a", "renew")
    client.run("prtauth", "-c", "azcli", "-r", "drs")
    claims = access_token_claims(client)
    assert (claims["aud"], claims["appid"], claims["deviceid"]) == (DRS, AZURE_CLI, site.device_id)
    assert "mfa" in claims["amr"]


def test_third_version_of_the_protocol(site: Site, tmp_path: Path) -> None:
    """What macOS' broker speaks: the v2.0 endpoint, and no kdf_ver in the device's JWT."""
    client = site.client(tmp_path)
    client.run("gettokens", "-u", USER, "-p", PASSWORD, "-c", "broker", "-r", "drs")
    assert "Obtained PRT" in client.run("prt", "-v3", "-r", "file", *DEVICE)
    assert "Saved PRT" in client.run("prt", "-v3", "-a", "renew")
    client.run("prtauth", "-v3", "-c", "azcli", "-r", "msgraph")
    assert access_token_claims(client)["deviceid"] == site.device_id


_ROADLIB = """
import base64, hashlib, json, os, sys
import jwt
from roadtools.roadlib.auth import Authentication
from roadtools.roadlib.deviceauth import DeviceAuthentication
auth = Authentication()
device = DeviceAuthentication(auth)
assert device.loadcert("pc1.pem", "pc1.key")
held = json.load(open("roadtx.prt"))
key = bytes.fromhex(held["session_key"])
assert device.decrypt_jwe_with_transport_key(held["session_key_jwe"]) == key
found = {}
for version in (1, 2):
    claims = {"client_id": sys.argv[1], "scope": "openid", "grant_type": "refresh_token",
              "refresh_token": held["refresh_token"], "iss": "aad:brokerplugin",
              "request_nonce": auth.get_srv_challenge_nonce()}
    context = os.urandom(24)
    headers = {"ctx": base64.b64encode(context).decode()}
    if version == 2:
        headers["kdf_ver"] = 2
        part = jwt.encode(claims, b"x" * 32, algorithm="HS256", headers=headers).split(".")[1]
        body = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        _, derived = auth.calculate_derived_key_v2(key, context, body)
    else:
        _, derived = auth.calculate_derived_key(key, context)
    form = {"windows_api_version": "2.2", "client_info": "1",
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "request": jwt.encode(claims, derived, algorithm="HS256", headers=headers)}
    url = auth.get_authority_url() + "/oauth2/token"
    text = auth.requests_post(url, data=form).text
    opened = auth.decrypt_auth_response(text, key, asjson=True)
    iv = text.split(".")[2]
    found[version] = [len(base64.urlsafe_b64decode(iv + "==")), sorted(opened)]
print(json.dumps(found))
"""


def test_roadlib_opens_what_the_tenant_seals(site: Site, tmp_path: Path) -> None:
    """session_key_jwe with the transport key, and the answers to both versions of the KDF."""
    client = site.client(tmp_path)
    client.run(*HELLO)
    found = client.python(_ROADLIB, AZURE_CLI)
    assert {version: seen[0] for version, seen in found.items()} == {"1": 16, "2": 12}
    assert all("refresh_token" in seen[1] for seen in found.values())


def test_roadtx_is_refused_with_the_numbers_of_entra(site: Site, tmp_path: Path) -> None:
    """A disabled device, a foreign key, a used PRT of a removed key."""
    client = site.client(tmp_path)
    client.run(*HELLO)
    site.tenant.tenant("device", "disable", site.device_id)
    try:
        assert "AADSTS135011" in client.refused("prt", "-a", "renew")
        assert "AADSTS135011" in client.refused("prtauth", "-c", "azcli", "-r", "drs")
        assert "AADSTS135011" in client.refused(*HELLO)
    finally:
        site.tenant.tenant("device", "enable", site.device_id)
    assert "Saved PRT" in client.run("prt", "-a", "renew")
    (tmp_path / "hello.key").write_bytes((tmp_path / "pc1.key").read_bytes())
    assert "AADSTS130004" in client.refused(*HELLO)
    reasons = [record.get("reason") for record in site.audit()]
    assert "the device is disabled" in reasons
    assert "no registered key has the kid of the assertion" in reasons


def test_session_key_and_prt_are_nowhere_in_the_tenant(site: Site, tmp_path: Path) -> None:
    """Neither in its files nor in its log: hashes and sealed values alone."""
    client = site.client(tmp_path)
    client.run(*HELLO)
    held = client.prt()
    key = bytes.fromhex(held["session_key"])
    files = [path for path in site.tenant.state.rglob("*") if path.is_file()]
    octets = b"".join(path.read_bytes() for path in (*files, site.tenant.log))
    for secret in (held["refresh_token"].encode(), key, key.hex().encode(), base64.b64encode(key)):
        assert secret not in octets
