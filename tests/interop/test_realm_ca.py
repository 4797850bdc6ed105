"""carol logs on with certificates of the realm's own CA: MIT's and Heimdal's kinit."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.rig import clients
from tests.rig.clients import Run
from tests.rig.realm import LiveRealm, free_port, make_realm

pytestmark = pytest.mark.interop

_WATCH_S = 1.2  # a changed CRL counts within a second


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """A realm as `kdc init` makes it, with carol and nothing else."""
    folder = tmp_path_factory.mktemp("realm-ca")
    live = make_realm(folder / "state", "--http", f"127.0.0.1:{free_port()}")
    live.kdc("user", "add", "carol")
    with live.served(workers=2):
        yield live


def issue(realm: LiveRealm, folder: Path, *options: str, stem: str = "carol") -> Path:
    """Issue a certificate for carol as her administrator does."""
    out = folder / f"{stem}.pem"
    realm.kdc("cert", "issue", "carol", "--out", str(out), *options)
    return out


def mit(realm: LiveRealm, folder: Path, identity: str, *options: str) -> Run:
    """Log carol on with MIT's kinit."""
    options = ("-X", f"X509_user_identity={identity}", *options)
    return clients.mit_kinit(realm.client(folder), "carol@LAB.TEST", options=options)


def heimdal(realm: LiveRealm, folder: Path, identity: str, *options: str) -> Run:
    """Log carol on with Heimdal's kinit."""
    options = ("-C", identity, *options)
    return clients.heimdal_kinit(realm.client(folder), "carol@LAB.TEST", options=options)


def logged_on(realm: LiveRealm, run: Run) -> dict[str, object]:
    """Judge a logon; return its audit record."""
    assert run.status == 0, run.explain()
    owner, tickets = clients.klist(run.cache)
    assert (owner, tickets[0].service) == ("carol@LAB.TEST", "krbtgt/LAB.TEST@LAB.TEST")
    # What comes again by TCP, for its reply was too large for a datagram, is answered from memory.
    record = next(r for r in reversed(realm.audit()) if not r.get("retransmit"))
    assert (record["trust"], record["mapping"]) == ("certificate", "SID")
    return record


def test_mit_logs_on_with_an_issued_certificate(realm: LiveRealm, tmp_path: Path) -> None:
    """Certificate and key in one file; the only anchor is the realm's CA."""
    out = issue(realm, tmp_path)
    logged_on(realm, mit(realm, tmp_path, f"FILE:{out}"))


def test_heimdal_logs_on_with_an_issued_certificate(realm: LiveRealm, tmp_path: Path) -> None:
    """The same file."""
    out = issue(realm, tmp_path)
    logged_on(realm, heimdal(realm, tmp_path, f"FILE:{out}"))


def test_mit_logs_on_with_an_ec_key(realm: LiveRealm, tmp_path: Path) -> None:
    """RFC 5349; Heimdal 7.8 signs with RSA keys alone."""
    out = issue(realm, tmp_path, "--key-type", "ec-p256")
    logged_on(realm, mit(realm, tmp_path, f"FILE:{out}"))


def _pkcs12(pem: Path, password: bytes | None) -> Path:
    """Pack certificate and key as users carry them; for a password Heimdal asks a terminal."""
    data = pem.read_bytes()
    key = serialization.load_pem_private_key(data, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    certificate = x509.load_pem_x509_certificate(data)
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        protection = serialization.BestAvailableEncryption(password)
    made = pkcs12.serialize_key_and_certificates(b"carol", key, certificate, None, protection)
    out = pem.with_suffix(".p12")
    out.write_bytes(made)
    return out


def test_heimdal_finds_the_enterprise_name_in_the_certificate(
    realm: LiveRealm, tmp_path: Path
) -> None:
    """--pk-enterprise: the UPN of the SAN is the name that is asked for."""
    out = issue(realm, tmp_path)
    options = ("-C", f"FILE:{out}", "--pk-enterprise")
    run = clients.heimdal_kinit(realm.client(tmp_path), "LAB.TEST", options=options)
    record = logged_on(realm, run)
    assert record["account"] == "carol"


@pytest.mark.parametrize("kind", ["rsa2048", "ec-p256", "both"])
def test_kdc_certificates_of_either_kind_serve(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """MIT takes RSA and EC; Heimdal 7.8 wants RSA and gets it where both are."""
    live = make_realm(tmp_path_factory.mktemp("kdc") / "state", "--kdc-key", kind)
    live.kdc("user", "add", "carol")
    out = issue(live, tmp_path)
    with live.served(workers=1):
        logged_on(live, mit(live, tmp_path, f"FILE:{out}"))
        if kind != "ec-p256":
            logged_on(live, heimdal(live, tmp_path, f"FILE:{out}"))


@pytest.mark.parametrize("kinit", [mit, heimdal])
def test_revoked_within_a_second_at_every_worker(
    realm: LiveRealm, tmp_path: Path, kinit: object
) -> None:
    """Row C03: 72, and kdc explain names the certificate and the reason."""
    assert callable(kinit)
    out = issue(realm, tmp_path)
    logged_on(realm, kinit(realm, tmp_path, f"FILE:{out}"))
    realm.kdc("cert", "revoke", str(out), "--reason", "keyCompromise")
    time.sleep(_WATCH_S)
    before = len(realm.audit())
    # Each logon is another flow, so that both workers are asked.
    for _ in range(4):
        assert kinit(realm, tmp_path, f"FILE:{out}").status != 0
    refused = [r for r in realm.audit()[before:] if r["Status"] not in ("0x19", "0x0")]
    assert {r["Status"] for r in refused} == {"0x48"}
    told = realm.kdc("explain", str(refused[-1]["ref"]), "--no-tree")
    serial = f"{x509.load_pem_x509_certificate(out.read_bytes()).serial_number:x}"
    assert serial in told
    assert "keyCompromise" in told


def test_mit_logs_on_with_pkcs12(realm: LiveRealm, tmp_path: Path) -> None:
    """The form in which most users have their certificate; kinit asks for its password."""
    out = _pkcs12(issue(realm, tmp_path), b"lab")
    run = clients.mit_kinit(
        realm.client(tmp_path),
        "carol@LAB.TEST",
        password="lab",  # noqa: S106  of the file
        options=("-X", f"X509_user_identity=PKCS12:{out}"),
    )
    logged_on(realm, run)


def test_heimdal_logs_on_with_pkcs12(realm: LiveRealm, tmp_path: Path) -> None:
    """The same without a password."""
    out = _pkcs12(issue(realm, tmp_path), None)
    logged_on(realm, heimdal(realm, tmp_path, f"PKCS12:{out}"))


def test_offline_root(tmp_path: Path) -> None:
    """The issuing CA makes the logons; root's key is away; both CRLs are asked."""
    live = make_realm(tmp_path / "state", "--ca", "offline-root")
    (live.state / "pki/root.key").rename(tmp_path / "root.key")
    live.kdc("user", "add", "carol")
    out = issue(live, tmp_path)
    with live.served(workers=1):
        # By TCP: two certificates in request and reply pass the limit of a datagram.
        run = clients.heimdal_kinit(
            live.client(tmp_path, transport="tcp"),
            "carol@LAB.TEST",
            options=("-C", f"FILE:{out}"),
        )
        logged_on(live, run)
        # MIT's client builds the chain of its own certificate out of the anchors that it knows.
        issuing = live.state / "pki/issuing.pem"
        run = clients.mit_kinit(
            live.client(tmp_path, issuing),
            "carol@LAB.TEST",
            options=("-X", f"X509_user_identity=FILE:{out}"),
        )
        logged_on(live, run)
        shown = json.loads(live.kdc("cert", "show", str(out), "--json"))
        assert shown["accepted"]


@pytest.fixture(scope="module")
def rsa_realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRealm]:
    """A realm that gives RSA-encrypted replies."""
    live = make_realm(tmp_path_factory.mktemp("rsa-reply") / "state")
    toml = live.state / "kdc.toml"
    toml.write_text(toml.read_text() + "legacy_rsa_reply = true\n")
    live.kdc("user", "add", "carol")
    with live.served(workers=1):
        yield live


def test_heimdal_reads_an_rsa_encrypted_reply(rsa_realm: LiveRealm, tmp_path: Path) -> None:
    """RFC 4556 3.2.3.2: EnvelopedData, SignedData, ReplyKeyPack with asChecksum."""
    out = issue(rsa_realm, tmp_path)
    run = heimdal(rsa_realm, tmp_path, f"FILE:{out}", "--pk-use-enckey")
    assert logged_on(rsa_realm, run)["kex"] == "rsa"


def test_rsa_encrypted_reply_is_off_by_default(realm: LiveRealm, tmp_path: Path) -> None:
    """81, and what helps."""
    out = issue(realm, tmp_path)
    assert heimdal(realm, tmp_path, f"FILE:{out}", "--pk-use-enckey").status != 0
    record = realm.audit()[-1]
    assert (record["Status"], record["why"]) == (
        "0x51",
        "the client asks for an RSA-encrypted reply, which is off",
    )
    assert "legacy_rsa_reply" in realm.kdc("explain", str(record["ref"]), "--no-tree")
