"""`kdc init`: what it makes, and that it never destroys what is there."""

import os
import stat
from pathlib import Path

import pytest
from cryptography import x509

from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.errors import ExitCode
from kdc.state_folder import StateFolder
from pki.kdc_certificate import check_kdc_certificate
from tests.kdc.cli.conftest import Shell

INIT = ("init", "--realm", "LAB.TEST", "--listen", "127.0.0.1:18888")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def der_of(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def test_secrets_are_private(realm: Shell) -> None:
    """Row S06: 0600 for secrets, 0700 for the folders they are in."""
    folder = StateFolder(realm.state)
    for path in (folder.root, folder.pki):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (folder.master_key, folder.ca_key(), folder.kdc_key, folder.store):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert path.stat().st_uid == os.getuid()


def test_ca_key_is_sealed(realm: Shell) -> None:
    """The CA's key is not in the folder in the clear; it opens under the master key alone."""
    folder = StateFolder(realm.state)
    for path, data in snapshot(realm.state).items():
        own = (folder.kdc_key, folder.own_http_tls[1], folder.ocsp_responder[1])
        if path not in map(str, own):
            assert b"PRIVATE KEY" not in data, path
    assert realm("cert", "issue-kdc").code == 0
    folder.master_key.unlink()
    MasterKey.create(folder.master_key)
    assert realm("cert", "issue-kdc").code != 0


def test_krbtgt_has_a_random_key_of_each_type(realm: Shell) -> None:
    """Etypes 18, 17, 20, 19."""
    folder = StateFolder(realm.state)
    store = Store.open(folder.store, MasterKey.load(folder.master_key), read_only=True)
    keys = store.krbtgt().keys
    store.close()
    assert {key.etype for key in keys} == {17, 18, 19, 20}
    assert len({key.key for key in keys}) == 4


def test_second_run_changes_nothing(realm: Shell) -> None:
    """Safe to run twice."""
    before = snapshot(realm.state)
    done = realm(*INIT)
    assert done.code == 0
    assert "already" in done.out
    assert snapshot(realm.state) == before


def test_part_of_a_realm_is_not_overwritten(realm: Shell) -> None:
    """A kdc.toml that somebody moved away must not cost the store."""
    (realm.state / "kdc.toml").unlink()
    before = snapshot(realm.state)
    done = realm(*INIT)
    assert done.code == ExitCode.EXISTS
    assert done.error[2] == "put kdc.toml back, or replace everything with --force"
    assert snapshot(realm.state) == before


def test_force_replaces_the_realm_and_keeps_the_audit_log(realm: Shell) -> None:
    """--force is the only way to lose accounts."""
    (realm.state / "audit.jsonl").write_text("{}\n")
    old = (realm.state / "master.key").read_bytes()
    realm.ok("init", "--realm", "OTHER.TEST", "--force")
    assert (realm.state / "master.key").read_bytes() != old
    assert (realm.state / "audit.jsonl").read_text() == "{}\n"
    assert realm.ok("user", "list", "--json").json == []


def test_wrong_option_makes_nothing(shell: Shell) -> None:
    """Everything is judged before the first file is written."""
    for arguments in (
        ("init", "--realm", "LAB TEST"),
        ("init", "--realm", "LAB.TEST", "--listen", "localhost"),
        ("init", "--realm", "LAB.TEST", "--netbios", "A.B"),
        ("init", "--realm", "LAB.TEST", "--compat", "none"),
        ("init",),
    ):
        assert shell(*arguments).code in (ExitCode.USAGE, ExitCode.CONFIGURATION)
        assert not shell.state.exists()


def test_options_are_in_the_configuration(shell: Shell) -> None:
    """--netbios, --listen (twice), --compat; a realm in lower case is meant in upper case."""
    shell.ok(
        *("init", "--realm", "lab.test", "--netbios", "corp", "--compat", "tools"),
        *("--listen", "127.0.0.1:18888", "--listen", "[::1]:18888"),
    )
    shown = shell.ok("config", "show", "--json").json
    assert shown["realm"] == "LAB.TEST"
    assert shown["netbios"] == "CORP"
    assert shown["listen"] == ["127.0.0.1:18888", "[::1]:18888"]
    assert shown["legacy_dh_group2"] is True


def test_kdc_certificates_of_each_kind(shell: Shell) -> None:
    """--kdc-key both: the RSA certificate is kdc.pem, the EC one kdc-ec.pem; all clients agree."""
    shell.ok(*INIT, "--kdc-key", "both", "--dns", "dc1.lab.test")
    folder = StateFolder(shell.state)
    kinds = []
    for path, _ in folder.kdc_certificates():
        certificate = der_of(path)
        assert check_kdc_certificate(certificate, "LAB.TEST", "dc1.lab.test") == ()
        kinds.append(type(x509.load_der_x509_certificate(certificate).public_key()).__name__)
    assert kinds == ["RSAPublicKey", "ECPublicKey"]
    shell.ok("cert", "issue-kdc", "--kdc-key", "ec-p256")
    assert folder.kdc_certificates() == ((folder.kdc_certificate, folder.kdc_key),)
    assert check_kdc_certificate(der_of(folder.kdc_certificate), "LAB.TEST", "dc1.lab.test") == ()


def test_krb5_conf_is_for_mit_and_heimdal(shell: Shell) -> None:
    """directories-and-clients section 3: what each client needs, a wildcard made reachable."""
    shell.ok("init", "--realm", "LAB.TEST", "--listen", "*:18888", "--listen", "[::]:18889")
    text = (shell.state / "krb5.conf").read_text()
    anchor = f"pkinit_anchors = FILE:{shell.state}/pki/ca.pem"
    assert text.count(anchor) == 2
    for line in (
        "default_realm = LAB.TEST",
        "kdc = 127.0.0.1:18888",
        "kdc = [::1]:18889",
        "pkinit_kdc_hostname = kdc.lab.test",
        "pkinit_dh_min_bits = 1536",
        "rdns = false",
    ):
        assert line in text


def test_tools_realm_has_a_certificate_like_a_domain_controllers(shell: Shell) -> None:
    """The impacket family cannot read id-pkinit-san; Heimdal is told not to miss it."""
    shell.ok(*INIT, "--compat", "tools")
    shown = shell.ok("cert", "show", shell.state / "pki/kdc.pem", "--json").json
    assert shown["principals"] == []
    assert "lab.test" in shown["dns_names"]
    text = (shell.state / "krb5.conf").read_text()
    assert "  pkinit_require_krbtgt_otherName = false\n }" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--listen", "127.0.0.1:8888"], ["127.0.0.1:9264"]),
        (
            ["--listen", "127.0.0.1:65300", "--listen", "[::1]:65000"],
            ["127.0.0.1:64924", "[::1]:65376"],
        ),
        (["--listen", "127.0.0.1:88", "--listen", "[::1]:8888"], ["127.0.0.1:464"]),
        (
            ["--listen", "127.0.0.1:88", "--kpasswd-listen", "127.0.0.1:4464"],
            ["127.0.0.1:4464"],
        ),
    ],
)
def test_kpasswd_has_a_port_of_its_own(
    shell: Shell, options: list[str], expected: list[str]
) -> None:
    """464 beside 88, else as far off; krb5.conf names it."""
    shell.ok("init", "--realm", "LAB.TEST", *options)
    config = StateFolder(shell.state).load_config().config
    assert list(config.kpasswd_addresses()) == expected
    lines = (shell.state / "krb5.conf").read_text().splitlines()
    assert [line.split(" = ")[1] for line in lines if "kpasswd_server" in line] == expected


@pytest.mark.parametrize(
    "options",
    [
        ("--directory-starttls",),
        ("--directory-key-source", "ldap-sealed"),
        ("--directory-bind-password-file", "F"),
        ("--directory", "ldapi://", "--flavour", "openldap", "--kpasswd-listen", "127.0.0.1:464"),
        ("--directory", "ldapi://", "--flavour", "ad", "--directory-bind-password-file", "F"),
    ],
)
def test_option_that_would_do_nothing_is_wrong_usage(
    shell: Shell, options: tuple[str, ...]
) -> None:
    """Nobody is to believe that it was heeded; nothing is made."""
    assert shell("init", "--realm", "LAB.TEST", *options).code == ExitCode.USAGE
    assert not shell.state.exists()
