"""`kdc cert trust`, `issuing-ca`, `import-ca`: which CAs the realm has and trusts."""

from pathlib import Path

import pytest

from kdc.cli.state import now
from pki import ca
from tests.kdc.cli.conftest import Shell


def write(path: Path, *certificates: bytes) -> Path:
    path.write_bytes(b"".join(map(ca.certificate_to_pem, certificates)))
    return path


def issue(realm: Shell, out: Path) -> Path:
    realm.ok("cert", "issue", "alice", "--out", out)
    return out


def verdict(realm: Shell, file: Path) -> str | None:
    shown = realm.ok("cert", "show", file, "--json").json
    code: str | None = shown["code"]
    return code


@pytest.fixture
def other() -> ca.IssuedCertificate:
    """A CA of somebody else."""
    return ca.create_root("OTHER.TEST", now(), ca.generate_key(ca.KeyType.EC_P256))


def test_added_ca_is_listed_and_removed(
    realm: Shell, tmp_path: Path, other: ca.IssuedCertificate
) -> None:
    """By name; a second of the name is 4, an unknown one 3."""
    file = write(tmp_path / "other.pem", other.certificate_der)
    realm.ok("cert", "trust", "add", file)
    assert realm("cert", "trust", "add", file).code == 4
    listed = realm.ok("cert", "trust", "list", "--json").json
    assert {(e["name"], e["use"]) for e in listed} == {("other", "logon"), ("realm-ca", "logon")}
    realm.ok("cert", "trust", "remove", "other")
    assert realm("cert", "trust", "remove", "other").code == 3
    assert len(realm.ok("cert", "trust", "list", "--json").json) == 1


def test_leaf_is_no_ca(realm: Shell, tmp_path: Path) -> None:
    """What was issued cannot be trusted to issue."""
    done = realm("cert", "trust", "add", issue(realm, tmp_path / "leaf.pem"))
    assert (done.code, done.error[0].endswith("is no CA's certificate")) == (1, True)


def test_crl_must_be_of_that_ca(realm: Shell, tmp_path: Path, other: ca.IssuedCertificate) -> None:
    """A list of another CA is refused before anything is trusted."""
    file = write(tmp_path / "other.pem", other.certificate_der)
    done = realm("cert", "trust", "add", file, "--crl", realm.state / "pki/ca.crl")
    assert done.code == 1
    assert not (realm.state / "pki/logon-cas/other.pem").exists()
    (tmp_path / "other.crl").write_bytes(ca.create_crl(other, 1, (), now()))
    realm.ok("cert", "trust", "add", file, "--crl", tmp_path / "other.crl")
    assert (realm.state / "pki/crls/other.crl").exists()


def test_removed_realm_ca_logs_nobody_on(realm: Shell, tmp_path: Path) -> None:
    """Without any logon CA there is key trust alone."""
    out = issue(realm, tmp_path / "a.pem")
    assert verdict(realm, out) is None
    realm.ok("cert", "trust", "remove", "realm-ca")
    assert verdict(realm, out) == "KDC_ERR_CLIENT_NOT_TRUSTED"


def test_imported_root_is_the_realms_ca(
    realm: Shell, tmp_path: Path, other: ca.IssuedCertificate
) -> None:
    """KDC certificate, CRL and logons are the imported CA's; the old one's logons end."""
    old = issue(realm, tmp_path / "old.pem")
    write(tmp_path / "ca.pem", other.certificate_der)
    (tmp_path / "ca.key").write_bytes(ca.private_key_to_pem(other.private_key))
    realm.ok("cert", "import-ca", tmp_path / "ca.pem", tmp_path / "ca.key")
    assert verdict(realm, issue(realm, tmp_path / "new.pem")) is None
    assert verdict(realm, old) == "KDC_ERR_CANT_VERIFY_CERTIFICATE"
    assert realm.ok("cert", "show", realm.state / "pki/kdc.pem", "--json").json["accepted"]
    assert b"PRIVATE" not in (realm.state / "pki/ca.key").read_bytes()
    done = realm("cert", "revoke", old)
    assert "earlier CA" in done.error[0]


def test_import_refuses_a_key_of_another(
    realm: Shell, tmp_path: Path, other: ca.IssuedCertificate
) -> None:
    """Nothing is changed."""
    before = (realm.state / "pki/ca.pem").read_bytes()
    write(tmp_path / "ca.pem", other.certificate_der)
    key = ca.generate_key(ca.KeyType.EC_P256)
    (tmp_path / "ca.key").write_bytes(ca.private_key_to_pem(key))
    done = realm("cert", "import-ca", tmp_path / "ca.pem", tmp_path / "ca.key")
    assert (done.code, done.error[1].endswith("is not its key")) == (1, True)
    assert (realm.state / "pki/ca.pem").read_bytes() == before


def test_root_crl_of_an_imported_ca_is_its_roots(shell: Shell, tmp_path: Path) -> None:
    """A file that is no list of that root, or a root of its own: nothing is changed."""
    shell.ok("init", "--realm", "LAB.TEST")
    before = (shell.state / "pki/ca.pem").read_bytes()
    root = ca.create_root("CORP.TEST", now())
    issuing = ca.issue_issuing_ca(root, "CORP.TEST", now())
    pems = [ca.certificate_to_pem(made.certificate_der) for made in (issuing, root)]
    (tmp_path / "ca.pem").write_bytes(b"".join(pems))
    (tmp_path / "ca.key").write_bytes(ca.private_key_to_pem(issuing.private_key))
    other = shell.state / "pki/ca.crl"
    pair = (tmp_path / "ca.pem", tmp_path / "ca.key")
    done = shell("cert", "import-ca", *pair, "--root-crl", other)
    assert (done.code, done.error[0]) == (1, f"{other} is no revocation list of this CA")
    (tmp_path / "ca.pem").write_bytes(pems[1])
    (tmp_path / "ca.key").write_bytes(ca.private_key_to_pem(root.private_key))
    assert shell("cert", "import-ca", *pair, "--root-crl", other).code == 2
    assert (shell.state / "pki/ca.pem").read_bytes() == before


def test_offline_root_makes_another_issuing_ca(shell: Shell, tmp_path: Path) -> None:
    """Its key is needed for that alone; clients keep their anchor."""
    shell.ok("init", "--realm", "LAB.TEST", "--ca", "offline-root")
    shell.ok("user", "add", "alice")
    key = tmp_path / "root.key"
    (shell.state / "pki/root.key").rename(key)
    anchor = (shell.state / "pki/ca.pem").read_bytes()
    first = issue(shell, tmp_path / "first.pem")
    assert verdict(shell, first) is None
    assert shell("cert", "issuing-ca").code == 3
    shell.ok("cert", "issuing-ca", "--root-key", key, "--crl-only")
    assert verdict(shell, first) is None
    shell.ok("cert", "issuing-ca", "--root-key", key)
    assert (shell.state / "pki/ca.pem").read_bytes() == anchor
    assert verdict(shell, issue(shell, tmp_path / "second.pem")) is None
    assert verdict(shell, first) is not None


def test_realm_without_an_offline_root_has_no_issuing_ca(realm: Shell) -> None:
    """Three lines that say what makes one."""
    assert realm("cert", "issuing-ca").error[2].startswith("kdc init --ca offline-root")
