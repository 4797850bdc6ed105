"""MIT's client speaks to us over HTTPS alone: passwords, PKINIT, service tickets (MS-KKDCP)."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig import certificates, clients, peers, services
from tests.rig.certificates import Identity
from tests.rig.clients import ClientRealm, Run
from tests.rig.http import HttpRealm, make_http_realm

pytestmark = pytest.mark.interop

PASSWORD = "Correct-Horse-7"  # noqa: S105  # the test user's own
WEB = "host/web.lab.test"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRealm]:
    """Serve a realm over HTTPS as well."""
    made = make_http_realm(tmp_path_factory.mktemp("https") / "state")
    made.live.kdc("user", "add", "pat", "--password-stdin", stdin=f"{PASSWORD}\n")
    made.live.kdc("user", "add", "alice")
    made.live.kdc("service", "add", WEB)
    with made.live.served(workers=2):
        yield made


def https(realm: HttpRealm, folder: Path, host: str, *own_anchors: Path) -> ClientRealm:
    """Describe the realm as a client knows it that reaches nothing but HTTPS."""
    if not list(Path("/usr/lib").glob("*/krb5/plugins/tls/k5tls.so")):
        peers.missing("MIT's TLS plug-in", "apt-get install --no-install-recommends krb5-k5tls")
    plain = realm.live.client(folder, *own_anchors)
    text = clients.write_mit_config(plain).read_text()
    text = text.replace(
        f"kdc = {plain.address}",
        f"kdc = https://{host}:{realm.kkdcp_port}/KdcProxy\n"
        f"    kpasswd_server = https://{host}:{realm.kkdcp_port}/KdcProxy\n"
        f"    http_anchors = FILE:{realm.live.ca}",
    )
    config = folder / "krb5-https.conf"
    config.write_text(text)
    return replace(plain, config=config)


def check(realm: HttpRealm, run: Run, count: int) -> None:
    """Check that a run succeeded and that its requests came by KKDCP, every one of them."""
    assert run.status == 0, run.explain()
    assert "https" in run.trace
    assert {record["transport"] for record in realm.live.audit()[-count:]} == {"kkdcp"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_mit_logs_on_by_password(realm: HttpRealm, tmp_path: Path, host: str) -> None:
    """`kdc = https://` and `http_anchors`: the certificate is for the name and for the address."""
    client = https(realm, tmp_path, host)
    run = clients.mit_kinit(client, "pat@LAB.TEST", password=PASSWORD)
    check(realm, run, 2)
    kvno = services.mit_kvno(client, run.cache, WEB)
    check(realm, kvno, 1)
    assert WEB in kvno.output


def test_mit_logs_on_by_key(realm: HttpRealm, tmp_path: Path) -> None:
    """PKINIT, key trust: the largest of the requests."""
    throwaway = certificates.throwaway_issuer(tmp_path)
    key = certificates.new_key()
    own = certificates.self_signed(tmp_path, "alice", key)
    leaf: Identity = certificates.leaf(tmp_path, "alice-leaf", key, throwaway)
    realm.live.kdc("key", "add", "alice", str(own.certificate))
    client = https(realm, tmp_path, "localhost", throwaway.certificate)
    run = clients.mit_kinit(client, "alice@LAB.TEST", identity=leaf)
    check(realm, run, 2)
    assert realm.live.audit()[-1]["trust"] == "key"
    check(realm, services.mit_kvno(client, run.cache, WEB), 1)


def test_mit_changes_a_password(realm: HttpRealm, tmp_path: Path) -> None:
    """`kpasswd_server = https://`: RFC 3244 in the same envelope."""
    new = "Battery-Staple-9"
    realm.live.kdc("user", "add", "chris", "--password-stdin", stdin=f"{PASSWORD}\n")
    client = https(realm, tmp_path, "localhost")
    assert client.config is not None
    done = subprocess.run(
        [peers.mit_program("kpasswd").path, "chris@LAB.TEST"],
        env=peers.clean_environment({"KRB5_CONFIG": str(client.config)}),
        input=f"{PASSWORD}\n{new}\n{new}\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Password changed" in done.stdout
    record = realm.live.audit()[-1]
    assert (record["exchange"], record["transport"]) == ("kpasswd", "kkdcp")
    check(realm, clients.mit_kinit(client, "chris@LAB.TEST", password=new), 2)


def test_mit_refuses_a_certificate_of_another_issuer(realm: HttpRealm, tmp_path: Path) -> None:
    """Without the realm's CA among its anchors the client sends nothing."""
    client = https(realm, tmp_path, "localhost")
    assert client.config is not None
    other = certificates.throwaway_issuer(tmp_path)
    text = client.config.read_text()
    client.config.write_text(
        text.replace(
            f"http_anchors = FILE:{realm.live.ca}", f"http_anchors = FILE:{other.certificate}"
        )
    )
    before = len(realm.live.audit())
    run = clients.mit_kinit(client, "pat@LAB.TEST", password=PASSWORD)
    assert run.status != 0
    assert len(realm.live.audit()) == before


def test_wrong_password_is_told_over_https(realm: HttpRealm, tmp_path: Path) -> None:
    """A refusal inside is Kerberos': 24, as over TCP."""
    run = clients.mit_kinit(https(realm, tmp_path, "localhost"), "pat@LAB.TEST", password="wrong")  # noqa: S106
    assert run.kdc_errors[-1] == 24, run.explain()
