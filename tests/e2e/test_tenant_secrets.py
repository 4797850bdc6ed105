"""Row S08 for the tenant: no password, token or key is in a file or a log it does not belong in.

A tenant lives a short life: users, sign-ins good and bad, a device, a Hello key, PRTs with partial
TGTs, refusals of every kind, a crash. Then everything it left behind is searched.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from directory.sealing import MasterKey
from pki.ca import private_key_from_pem
from tenant.client import windows
from tenant.client.https import LogonError, Place, post_form, post_json
from tenant.services import DEVICE_CA_AAD, MAX_SECRET_BYTES, SIGNING_KEY_AAD, utc_now
from tenant.state_folder import TenantFolder
from tests.rig.leaks import Secrets
from tests.rig.realm import make_realm
from tests.rig.tenant import LOGIN, REGISTRATION, LiveTenant, make_tenant

PASSWORD = "Kärnten-Blau-7391"  # noqa: S105  a test user's
WRONG = "never-the-right-one-8"
UPN = "kim@lab.test"
TOKEN = "/common/oauth2/token"  # noqa: S105  a path

pytestmark = [pytest.mark.slow]


@dataclass(slots=True, kw_only=True)
class Life:
    """A tenant, and the secrets that it met."""

    top: Path
    tenant: LiveTenant
    secrets: Secrets = field(default_factory=Secrets)
    said: str = ""
    """All that its commands printed."""

    @property
    def place(self) -> Place:
        """Where it listens."""
        return Place(address="127.0.0.1", port=self.tenant.https_port, ca_bundle=self.tenant.ca)

    def run(self, *arguments: str, stdin: str = "", ok: tuple[int, ...] = (0,)) -> None:
        """Run one command."""
        self.said += self.tenant.tenant(*arguments, stdin=stdin, ok=ok)


def _own_keys(life: Life) -> None:
    """Note what the tenant itself holds."""
    folder = TenantFolder(life.tenant.state)
    life.secrets.add("master key", folder.master_key.read_bytes())
    master = MasterKey.load(folder.master_key)
    for name, place, aad in (
        ("signing key", folder.signing_key[1], SIGNING_KEY_AAD),
        ("device CA key", folder.device_ca[1], DEVICE_CA_AAD),
    ):
        life.secrets.add_private_key(
            name, private_key_from_pem(master.open_file(place, aad, MAX_SECRET_BYTES))
        )
    life.secrets.add_pem("TLS key", folder.tls[1])


def _sign_ins(life: Life) -> None:
    """Go the whole way, and note each token and key that comes back."""
    place, add = life.place, life.secrets.add
    token = windows.password_token(place, UPN, PASSWORD)
    life.secrets.add_text("access token", token)
    key = windows.new_key()
    device = windows.join(place, token, "PC1", "lab.test", key)
    life.secrets.add_private_key("device key", key)
    prt = windows.prt_by_password(place, device, UPN, PASSWORD)
    access = windows.use_prt(place, prt, windows.DRS, utc_now())
    life.secrets.add_text("access token of the PRT", access)
    hello = windows.new_key()
    life.secrets.add_private_key("hello key", hello)
    windows.register_key(place, access, hello)
    by_key = windows.prt_by_hello_key(place, device, UPN, hello, utc_now())
    for name, found in (("first PRT", prt), ("second PRT", by_key)):
        life.secrets.add_text(name, found.token)
        add(f"session key of the {name}", found.session_key)
        file = json.loads(found.file())
        add(f"reply key of the {name}", bytes.fromhex(file["tgt_ad_sessionkey"]))
    form = {"grant_type": "password", "resource": windows.DRS, "client_id": windows.BROKER}
    text = post_form(place, LOGIN, TOKEN, {**form, "username": UPN, "password": PASSWORD})
    refresh = json.loads(text)["refresh_token"]
    life.secrets.add_text("refresh token", refresh)
    renewed = {**form, "grant_type": "refresh_token", "refresh_token": refresh}
    life.secrets.add_text(
        "second refresh token", json.loads(post_form(place, LOGIN, TOKEN, renewed))["refresh_token"]
    )
    life.secrets.add_text("nonce", windows.nonce(place))


def _refusals(life: Life) -> None:
    """Be refused with secrets in every place that a client can put one."""
    place = life.place
    form = {"grant_type": "password", "resource": windows.DRS, "client_id": windows.BROKER}
    for more in (
        {"username": UPN, "password": WRONG},
        {"username": WRONG, "password": PASSWORD},
        {"username": f"{WRONG}@lab.test", "password": PASSWORD},
        {"grant_type": "refresh_token", "refresh_token": WRONG},
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "request": WRONG},
    ):
        with contextlib.suppress(LogonError):
            post_form(place, LOGIN, TOKEN, {**form, **more})
    for path in (
        "/EnrollmentServer/device/?api-version=2.0",
        "/EnrollmentServer/key/?api-version=1.0",
    ):
        with contextlib.suppress(LogonError):
            post_json(
                place, REGISTRATION, path, {"kngc": WRONG, "CertificateRequest": WRONG}, WRONG
            )


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Let the tenant live, once."""
    top = tmp_path_factory.mktemp("tenant-life")
    realm = make_realm(top / "kdc")
    realm.kdc("user", "add", "kim", "--upn", UPN)
    realm.kdc("cloud-trust", "create")
    key = top / "cloud.key"
    realm.kdc("cloud-trust", "export-key", "-o", str(key))
    tenant = make_tenant(top / "tenant", realm.state, "--cloud-key", str(key))
    lived = Life(top=top, tenant=tenant)
    lived.secrets.add("cloud key", bytes.fromhex(json.loads(key.read_text())["key"]))
    key.unlink()
    for name, text in (("password", PASSWORD), ("wrong password", WRONG)):
        lived.secrets.add_text(name, text)
    _own_keys(lived)
    lived.run("sync", "--once")
    lived.run("user", "password", "kim", "--password-stdin", stdin=PASSWORD)
    lived.run("user", "mfa", "kim", "assumed")
    tenant.start()
    try:
        _sign_ins(lived)
        _refusals(lived)
        for noun in ("user", "device", "key"):
            lived.run(noun, "list", "--json")
        lived.run("show", "--json")
        lived.run("sync", "--once", "--json")
        lived.run("user", "add", "max", "--password-stdin", stdin="x" * 5000, ok=(1, 2))
        tenant.kill()
        tenant.start()
        yield lived
    finally:
        tenant.stop()


def test_no_file_holds_a_secret_it_is_not_meant_to_hold(life: Life) -> None:
    """Row S08: database and its write-ahead log, audit, server log; each search finds its own."""
    allowed = {"master.key": ["master key"], "pki/tls.key": ["TLS key"]}
    assert len(life.secrets.names) >= 16
    assert life.secrets.leaks(life.tenant.state, allowed) == {}
    assert life.secrets.found_in(life.tenant.log.read_bytes()) == set()


def test_no_command_printed_a_secret(life: Life) -> None:
    """Row S08: neither as text nor as JSON."""
    assert life.secrets.found_in(life.said.encode()) == set()


def test_what_is_secret_is_its_owners_alone(life: Life) -> None:
    """0600, but for certificates."""
    open_to_all = {
        path.name
        for path in life.tenant.state.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077
    }
    assert open_to_all == {"ca.pem", "tls.pem", "device-ca.pem", "signing.pem"}
