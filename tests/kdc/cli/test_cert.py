"""`kdc cert`: issue, list, revoke, crl, renew; the files judged by another library."""

import fcntl
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kdc.cli import cert_renew
from kdc.cli.state import now
from kdc.server.key_files import key_file, next_key
from kdc.state_folder import StateFolder
from pki import ca
from tests.kdc.cli.conftest import Shell

SMART_CARD_LOGON = "1.3.6.1.4.1.311.20.2.2"
ENROLMENT_AGENT = "1.3.6.1.4.1.311.20.2.1"
SID_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def crl(realm: Shell) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(_pem(realm)) if b"BEGIN" in _pem(realm) else _der(realm)


def _pem(realm: Shell) -> bytes:
    return (realm.state / "pki/ca.crl").read_bytes()


def _der(realm: Shell) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(_pem(realm))


def number(realm: Shell) -> int:
    return crl(realm).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def purposes(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return {purpose.dotted_string for purpose in found}


def issue(realm: Shell, tmp_path: Path, *options: str, name: str = "alice") -> Path:
    out = tmp_path / f"issued{len(list(tmp_path.glob('issued*')))}.pem"
    realm.ok("cert", "issue", name, "--out", out, *options)
    return out


def test_issued_certificate_has_sid_upn_and_a_long_random_serial(
    realm: Shell, tmp_path: Path
) -> None:
    """MS-PKCA 3.1.5.2.1: what maps strongly; RFC 5280 4.1.2.2 for the serial number."""
    out = issue(realm, tmp_path)
    assert out.stat().st_mode & 0o777 == 0o600
    certificate = leaf(out)
    sid = realm.ok("user", "show", "alice", "--json").json["sid"]
    extension = certificate.extensions.get_extension_for_oid(SID_EXTENSION).value
    assert isinstance(extension, x509.UnrecognizedExtension)
    assert sid.encode() in extension.value
    assert SMART_CARD_LOGON in purposes(certificate)
    assert certificate.serial_number.bit_length() > 64
    root = leaf(realm.state / "pki/ca.pem")
    certificate.verify_directly_issued_by(root)
    key = serialization.load_pem_private_key(out.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    shown = realm.ok("cert", "show", out, "--json").json
    assert (shown["accepted"], shown["account"], shown["upns"]) == (
        True,
        "alice",
        ["alice@lab.test"],
    )


def test_what_was_issued_is_listed_with_the_realms_own(realm: Shell, tmp_path: Path) -> None:
    """Every certificate of the CA is in the ledger."""
    out = issue(realm, tmp_path, "--key-type", "ec-p256", "--days", "3")
    listed = realm.ok("cert", "list", "--json").json
    assert {entry["template"] for entry in listed} == {"logon", "kdc", "http", "ocsp"}
    (own,) = realm.ok("cert", "list", "ALICE", "--json").json
    assert (own["serial_number"], own["status"], own["template"], own["account"]) == (
        f"{leaf(out).serial_number:x}",
        "valid",
        "logon",
        "alice",
    )
    assert "alice" in realm.ok("cert", "list").out


def test_weak_certificate_is_made_on_request_and_said_to_be_weak(
    realm: Shell, tmp_path: Path
) -> None:
    """--no-sid: KB5014754 refuses it under strong_mapping = full."""
    out = tmp_path / "weak.pem"
    done = realm.ok("cert", "issue", "alice", "--out", out, "--no-sid", "--upn", "alice@lab.test")
    assert "maps weakly" in done.out
    shown = realm.ok("cert", "show", out, "--json").json
    assert (shown["sid"], shown["accepted"]) == (None, False)


def test_templates_are_for_their_kind_of_account(realm: Shell, tmp_path: Path) -> None:
    """A device's certificate names its host; an enrolment agent's logs nobody on."""
    done = realm("cert", "issue", "alice", "--out", tmp_path / "d.pem", "--template", "device")
    assert (done.code, done.error[2]) == (2, "use --template logon")
    agent = issue(realm, tmp_path, "--template", "enrolment-agent")
    assert purposes(leaf(agent)) == {ENROLMENT_AGENT}
    shown = realm.ok("cert", "show", agent, "--json").json
    assert (shown["accepted"], shown["code"]) == (False, "KDC_ERR_INCONSISTENT_KEY_PURPOSE")


def test_csr_gives_its_key_and_nothing_else(realm: Shell, tmp_path: Path) -> None:
    """The names of a request do not count; its signature must."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Administrator")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name)
    data = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    file = tmp_path / "request.csr"
    file.write_bytes(data)
    out = issue(realm, tmp_path, "--csr", str(file))
    assert b"PRIVATE KEY" not in out.read_bytes()
    certificate = leaf(out)
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=alice"
    file.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    done = realm("cert", "issue", "alice", "--out", tmp_path / "no.pem", "--csr", file)
    assert done.code == 1
    assert not (tmp_path / "no.pem").exists()


def test_revoked_certificate_is_on_the_crl_with_its_reason(realm: Shell, tmp_path: Path) -> None:
    """RFC 5280 5.3.1; twice is 4 (already there), a stranger 3 (not found)."""
    out = issue(realm, tmp_path)
    before = number(realm)
    realm.ok("cert", "revoke", out, "--reason", "keyCompromise")
    entry = crl(realm).get_revoked_certificate_by_serial_number(leaf(out).serial_number)
    assert entry is not None
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert (number(realm), reason) == (before + 1, x509.ReasonFlags.key_compromise)
    root_key = leaf(realm.state / "pki/ca.pem").public_key()
    assert isinstance(root_key, rsa.RSAPublicKey)
    assert crl(realm).is_signature_valid(root_key)
    again = realm("cert", "revoke", f"{leaf(out).serial_number:x}")
    assert (again.code, again.error[1].endswith("(keyCompromise)")) == (4, True)
    assert realm("cert", "revoke", "1234").code == 3
    assert realm("cert", "revoke", "no such thing").code == 3
    shown = realm.ok("cert", "show", out, "--json").json
    assert shown["code"] == "KDC_ERR_REVOKED_CERTIFICATE"
    (listed,) = realm.ok("cert", "list", "--revoked", "--json").json
    assert (listed["status"], listed["reason"]) == ("revoked", "keyCompromise")


def test_hold_may_become_final(realm: Shell, tmp_path: Path) -> None:
    """CertificateHold is the one reason that another may follow."""
    out = issue(realm, tmp_path)
    realm.ok("cert", "revoke", out, "--reason", "certificateHold")
    realm.ok("cert", "revoke", out, "--reason", "superseded")
    assert realm("cert", "revoke", out, "--reason", "certificateHold").code == 4
    assert realm.ok("cert", "list", "--revoked", "--json").json[0]["reason"] == "superseded"


def test_crl_number_never_falls_when_the_ledger_comes_from_a_backup(
    realm: Shell, tmp_path: Path
) -> None:
    """Row Q04: the published number counts as well."""
    old = (realm.state / "pki/ca.sqlite").read_bytes()
    for _ in range(3):
        realm.ok("cert", "crl")
    last = number(realm)
    (realm.state / "pki/ca.sqlite").write_bytes(old)
    realm.ok("cert", "crl")
    assert number(realm) == last + 1


def test_certificate_from_before_the_ledger_can_be_revoked(realm: Shell, tmp_path: Path) -> None:
    """By its file, which says that our CA made it."""
    out = issue(realm, tmp_path)
    (realm.state / "pki/ca.sqlite").unlink()
    assert realm("cert", "revoke", f"{leaf(out).serial_number:x}").code == 3
    realm.ok("cert", "revoke", out)
    assert crl(realm).get_revoked_certificate_by_serial_number(leaf(out).serial_number) is not None


def test_two_publishers_take_turns(realm: Shell) -> None:
    """A list with a higher number has all that a lower one had: one process at a time."""
    realm.ok("cert", "crl")
    with (realm.state / "pki/ca.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("days", "due"),
    [
        (1, []),
        (3.6, ["crl"]),
        (16, ["ocsp", "crl"]),
        (244, ["kdc", "http", "ocsp", "crl"]),
        (400, ["kdc", "http", "ocsp", "crl"]),
    ],
)
def test_what_is_due_is_renewed(
    realm: Shell, monkeypatch: pytest.MonkeyPatch, days: float, due: list[str]
) -> None:
    """Two thirds of a certificate's life, half of a list's."""
    later = now() + timedelta(days=days)
    monkeypatch.setattr(cert_renew, "now", lambda: later)
    assert realm.ok("cert", "renew", "--due", "--json").json == {"renewed": due}


def test_nothing_due_opens_no_key(realm: Shell, tmp_path: Path) -> None:
    """The CA's key may be away; what is due then says so."""
    (realm.state / "pki/ca.key").rename(tmp_path / "ca.key")
    assert realm.ok("cert", "renew", "--due").out == ""
    done = realm("cert", "renew")
    assert (done.code, "put away" in done.error[1]) == (3, True)


def test_a_revocation_that_was_not_published_is_due(realm: Shell, tmp_path: Path) -> None:
    """A command killed between ledger and list is made good."""
    out = issue(realm, tmp_path)
    old = _pem(realm)
    realm.ok("cert", "revoke", out)
    (realm.state / "pki/ca.crl").write_bytes(old)
    assert realm.ok("cert", "renew", "--due", "--json").json == {"renewed": ["crl"]}
    assert number(realm) == 3


def test_foreign_kdc_certificate_is_not_renewed(
    realm: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an administrator put there is not ours."""
    other = ca.create_root("LAB.TEST", now(), common_name="other")
    made = ca.issue_kdc_certificate(
        other, "LAB.TEST", ("kdc.lab.test",), "LAB", ca.KeyType.EC_P256, now(), 1
    )
    path = realm.state / "pki/kdc.pem"
    path.write_bytes(ca.certificate_to_pem(made.certificate_der))
    later = now() + timedelta(days=2)
    monkeypatch.setattr(cert_renew, "now", lambda: later)
    assert realm.ok("cert", "renew", "--due", "--json").json == {"renewed": []}


def test_renewed_kdc_certificate_keeps_names_and_kind(realm: Shell) -> None:
    """A new key, a new serial number, the same names."""
    path = realm.state / "pki/kdc.pem"
    old = leaf(path)
    realm.ok("cert", "renew")
    new = leaf(path)
    names = x509.SubjectAlternativeName
    assert new.serial_number != old.serial_number
    assert new.public_key() != old.public_key()
    assert (
        new.extensions.get_extension_for_class(names).value
        == old.extensions.get_extension_for_class(names).value
    )


def test_a_key_about_to_be_renamed_is_found(realm: Shell) -> None:
    """A command killed between certificate and key leaves a pair that fits."""
    folder = StateFolder(realm.state)
    realm.ok("cert", "renew")
    key = folder.kdc_key
    current = key.read_bytes()
    realm.ok("cert", "renew")
    assert key_file(folder.kdc_certificate, key, ()) == key
    key.rename(next_key(key))
    key.write_bytes(current)
    assert key_file(folder.kdc_certificate, key, ()) == next_key(key)


def test_certificates_point_to_where_they_are_served(realm: Shell, tmp_path: Path) -> None:
    """CDP, caIssuers and OCSP from http.url; cdp_url for a list that is elsewhere."""
    toml = realm.state / "kdc.toml"
    text = toml.read_text()
    toml.write_text(text + 'http.url = "http://pki.lab.test:8080"\n')
    certificate = leaf(issue(realm, tmp_path))
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert {(d.access_method._name, d.access_location.value) for d in access} == {
        ("OCSP", "http://pki.lab.test:8080/ocsp"),
        ("caIssuers", "http://pki.lab.test:8080/pki/ca.crt"),
    }
    assert _cdp(certificate) == "http://pki.lab.test:8080/pki/ca.crl"
    toml.write_text(text + 'cdp_url = "http://crl.example/x.crl"\n')
    realm.ok("cert", "renew")
    assert _cdp(leaf(realm.state / "pki/kdc.pem")) == "http://crl.example/x.crl"
    toml.write_text(text)
    realm.ok("cert", "renew")
    assert _cdp(leaf(realm.state / "pki/kdc.pem")) == "http://crl.example/x.crl"


def _cdp(certificate: x509.Certificate) -> str:
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    (point,) = points
    assert point.full_name is not None
    return str(point.full_name[0].value)


def test_a_certificate_ends_with_its_ca(realm: Shell, tmp_path: Path) -> None:
    """A leaf that outlives its issuer would be refused while it says that it is valid."""
    issuer = ca.create_root("LAB.TEST", now(), days=2)
    key = ca.generate_key(ca.KeyType.EC_P256)
    data = ca.issue_client_leaf(issuer, key.public_key(), (), now(), 30)
    end = x509.load_der_x509_certificate(issuer.certificate_der).not_valid_after_utc
    assert x509.load_der_x509_certificate(data).not_valid_after_utc == end


def test_renew_says_what_it_did(realm: Shell) -> None:
    """JSON for scripts; words for people."""
    assert json.loads(realm.ok("cert", "renew", "all", "--json").out) == {
        "renewed": ["kdc", "http", "ocsp", "crl"]
    }
    assert isinstance(crl(realm).next_update_utc, datetime)
