"""`kdc key` and `kdc cert`: registering keys in every form, and judging certificates."""

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.keymaterial import MaterialForm, encode_key_material
from kdc.cli.errors import ExitCode
from kdc.cli.state import RealmState, find_account, now
from kdc.state_folder import StateFolder
from pki import ca, names, oids
from pki.keys import PublicKey, public_key_from_cryptography
from pki.x500 import simple_name
from tests.kdc.cli.conftest import Shell, register_anyway

KEY = ca.generate_key(ca.KeyType.RSA_2048)
PUBLIC: PublicKey = public_key_from_cryptography(KEY.public_key())


def certificate() -> bytes:
    name = simple_name((oids.ID_AT_COMMON_NAME, "somebody"))
    return ca.self_signed_hello_certificate(KEY, name, now())


@pytest.mark.filterwarnings("ignore:Attribute's length:UserWarning")  # as long as Windows' own
def test_enrolled_certificate_has_windows_shape(realm: Shell, alice_pem: Path) -> None:
    """Wire facts 2.3: subject with SID and UPN, no SAN; certificate and key in one 0600 file."""
    data = alice_pem.read_bytes()
    found = x509.load_pem_x509_certificate(data)
    name = found.subject.rfc4514_string()
    sid = realm.ok("user", "show", "alice", "--json").json["sid"]
    assert name.startswith(f"CN={sid}/")
    assert "/login.windows.net/" in name
    assert name.endswith("/alice@lab.test")
    assert found.issuer == found.subject
    assert found.not_valid_after_utc.year - found.not_valid_before_utc.year == 30
    assert {e.oid.dotted_string for e in found.extensions} == {
        oids.ID_CE_BASIC_CONSTRAINTS,
        oids.ID_CE_KEY_USAGE,
        oids.ID_CE_EXT_KEY_USAGE,
    }
    key = load_pem_private_key(data, None)
    assert public_key_from_cryptography(key.public_key()) == public_key_from_cryptography(
        found.public_key()
    )
    assert alice_pem.stat().st_mode & 0o777 == 0o600


def test_enrolling_exactly_as_windows(realm: Shell, tmp_path: Path) -> None:
    """--no-key-usage: basicConstraints and EKU only."""
    realm.ok("key", "enroll", "pat", "--out", tmp_path / "pat.pem", "--no-key-usage")
    found = x509.load_pem_x509_certificate((tmp_path / "pat.pem").read_bytes())
    assert oids.ID_CE_KEY_USAGE not in {e.oid.dotted_string for e in found.extensions}


def test_throwaway_issuer_is_written_and_its_key_is_not(realm: Shell, tmp_path: Path) -> None:
    """directories-and-clients section 3: MIT's kinit sends exactly such a leaf."""
    leaf_file, issuer_file = tmp_path / "pat.pem", tmp_path / "issuer.pem"
    realm.ok(
        *("key", "enroll", "pat", "--out", leaf_file),
        *("--days", "7", "--throwaway-issuer", issuer_file),
    )
    issuer = x509.load_pem_x509_certificate(issuer_file.read_bytes())
    leaf = x509.load_pem_x509_certificate(leaf_file.read_bytes())
    leaf.verify_directly_issued_by(issuer)
    assert b"PRIVATE" not in issuer_file.read_bytes()
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 7


def test_key_that_is_not_registered_leaves_no_file(realm: Shell, tmp_path: Path) -> None:
    """A service has no key credentials."""
    realm.ok("service", "add", "host/web.lab.test")
    done = realm("key", "enroll", "host/web.lab.test", "--out", tmp_path / "x.pem")
    assert done.code == ExitCode.DENIED
    assert not (tmp_path / "x.pem").exists()


def dn_binary() -> bytes:
    new = NewKeyCredential(public_key=PUBLIC, created=now())
    return encode_key_credential(new, "CN=pat,CN=Users,DC=LAB,DC=TEST").encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "material"),
    [
        pytest.param(ca.certificate_to_pem(certificate()), "BCRYPT", id="certificate PEM"),
        pytest.param(certificate(), "BCRYPT", id="certificate DER"),
        pytest.param(PUBLIC.spki_der(), "BCRYPT", id="SubjectPublicKeyInfo"),
        pytest.param(
            KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "BCRYPT",
            id="public key PEM",
        ),
        pytest.param(PUBLIC.rsa_public_key_der(), "BCRYPT", id="RSAPublicKey"),
        pytest.param(encode_key_material(PUBLIC, MaterialForm.BCRYPT), "BCRYPT", id="BCRYPT"),
        pytest.param(encode_key_material(PUBLIC, MaterialForm.TPM), "BCRYPT", id="TPM"),
        pytest.param(dn_binary(), "BCRYPT", id="DN-Binary"),
    ],
)
def test_public_key_in_any_form_is_registered(
    realm: Shell, tmp_path: Path, data: bytes, material: str
) -> None:
    """Wire facts 2.2: the same key whatever the file; stored as Windows does for a user."""
    (tmp_path / "key").write_bytes(data)
    realm.ok("key", "add", "pat", tmp_path / "key")
    (shown,) = realm.ok("key", "list", "pat", "--json").json
    assert (shown["usable"], shown["key"], shown["material"]) == (True, "RSA 2048", material)
    (again,) = realm.ok("key", "show", shown["key_id"][:8], "--json").json
    assert again == shown


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"B:4:zz:x",
        ca.private_key_to_pem(KEY),
        dn_binary().replace(b"CN=pat", b"CN=eve"),
    ],
)
def test_file_without_a_usable_key_is_refused(realm: Shell, tmp_path: Path, data: bytes) -> None:
    """Private keys, other accounts' values, and what is no key at all."""
    (tmp_path / "key").write_bytes(data)
    done = realm("key", "add", "pat", tmp_path / "key")
    assert done.code == ExitCode.FAILED
    assert done.error
    assert realm.ok("key", "list", "pat", "--json").json == []


def test_key_is_found_by_hex_and_base64(realm: Shell) -> None:
    """Windows' tools show KeyIDs in Base64."""
    (shown,) = realm.ok("key", "list", "--json").json
    key_id = bytes.fromhex(shown["key_id"])
    for text in (shown["key_id"], shown["key_id"][:6], base64.b64encode(key_id).decode()):
        assert "account: alice" in realm.ok("key", "show", text).out
    assert realm("key", "show", "abc").code == ExitCode.USAGE


def test_removal_is_announced_then_done(realm: Shell) -> None:
    """--dry-run changes nothing."""
    (shown,) = realm.ok("key", "list", "--json").json
    key_id = shown["key_id"]
    assert "would remove" in realm.ok("key", "remove", "alice", "--all", "--dry-run").out
    assert len(realm.ok("key", "list", "--json").json) == 1
    assert "removed" in realm.ok("key", "remove", "alice", key_id[:8]).out
    assert realm.ok("key", "list", "--json").json == []
    assert "has no keys" in realm.ok("key", "remove", "alice", "--all").out
    assert realm("key", "remove", "alice").code == ExitCode.USAGE
    assert realm("key", "remove", "alice", key_id, "--all").code == ExitCode.USAGE


def test_start_of_two_keys_is_not_one_key(
    realm: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is removed on a guess."""
    realm.ok("key", "enroll", "alice", "--out", tmp_path / "second.pem")
    # Two keys that start alike are not to be had: what is asked for is made shorter.
    monkeypatch.setattr("kdc.cli.key.key_id_of", lambda _: b"")
    done = realm("key", "remove", "alice", "00ff")
    assert done.code == ExitCode.USAGE
    assert done.error[1] == "2 keys of alice start so"
    assert len(realm.ok("key", "list", "alice", "--json").json) == 2


@pytest.mark.parametrize("text", ["", " ", "0", "00", "0 0", "00f"])
def test_short_key_id_means_no_key(realm: Shell, text: str) -> None:
    """An empty variable of a script must not remove the only key, or show all."""
    for arguments in (("remove", "alice", text), ("show", text)):
        assert realm("key", *arguments).code == ExitCode.USAGE
    assert len(realm.ok("key", "list", "alice", "--json").json) == 1


# -- cert show -------------------------------------------------------------------------------


def verdict(shell: Shell, file: Path) -> tuple[bool, str | None, str | None, str]:
    shown = shell.ok("cert", "show", file, "--json").json
    assert shown["kind"] == "logon"
    reason = shown["reasons"][0] if shown["reasons"] else ""
    return shown["accepted"], shown["account"], shown["code"], reason


def test_certificate_of_a_registered_key_would_log_on(realm: Shell, alice_pem: Path) -> None:
    """Key trust: in words, and as JSON."""
    accepted, account, code, _ = verdict(realm, alice_pem)
    assert (accepted, account, code) == (True, "alice", None)
    told = realm.ok("cert", "show", alice_pem).out
    assert "A logon with it as alice would be accepted (key trust)." in told
    assert "its issuer, names and dates do not matter" in told


def test_certificate_of_a_key_on_nobody_would_not(realm: Shell, tmp_path: Path) -> None:
    """62; DER as well as PEM."""
    (tmp_path / "c.der").write_bytes(certificate())
    assert verdict(realm, tmp_path / "c.der") == (
        False,
        None,
        "KDC_ERR_CLIENT_NOT_TRUSTED",
        "its key is registered on no account, and it is its own issuer",
    )


def _logon_certificate(realm: Shell, upn: str, sid: str | None) -> bytes:
    folder = StateFolder(realm.state)
    opened = RealmState(folder=folder, loaded=folder.load_config())
    key = ca.generate_key(ca.KeyType.EC_P256)
    name = simple_name((oids.ID_AT_COMMON_NAME, "pat"))
    alternative = (names.upn_name(upn),)
    return ca.issue_client_leaf(
        opened.ca(), key.public_key(), name, now(), alternative_names=alternative, sid=sid
    )


def test_certificate_of_the_realms_ca_would(realm: Shell, tmp_path: Path) -> None:
    """Certificate trust: the chain, and the account by its SID."""
    sid = realm.ok("user", "show", "pat", "--json").json["sid"]
    (tmp_path / "c").write_bytes(_logon_certificate(realm, "pat@lab.test", sid))
    accepted, account, code, reason = verdict(realm, tmp_path / "c")
    assert (accepted, account, code) == (True, "pat", None)
    assert reason == "it maps to pat by: SID"


@pytest.mark.parametrize(
    ("upn", "code", "reason"),
    [
        ("pat@lab.test", "KDC_ERR_CERTIFICATE_MISMATCH", "only weakly"),
        ("nobody@lab.test", "KDC_ERR_CLIENT_NAME_MISMATCH", "no name in it is an account's"),
    ],
)
def test_certificate_of_the_realms_ca_would_not(
    realm: Shell, tmp_path: Path, upn: str, code: str, reason: str
) -> None:
    """Without a SID, or of nobody."""
    (tmp_path / "c").write_bytes(_logon_certificate(realm, upn, None))
    accepted, _, found, why = verdict(realm, tmp_path / "c")
    assert (accepted, found) == (False, code)
    assert reason in why


def test_certificate_of_an_unknown_ca_names_what_is_at_fault(realm: Shell, tmp_path: Path) -> None:
    """70, with the certificate and the rule."""
    other = ca.create_root("OTHER.TEST", now(), KEY)
    key = ca.generate_key(ca.KeyType.EC_P256)
    name = simple_name((oids.ID_AT_COMMON_NAME, "pat"))
    (tmp_path / "c").write_bytes(ca.issue_client_leaf(other, key.public_key(), name, now()))
    assert verdict(realm, tmp_path / "c")[2] == "KDC_ERR_CANT_VERIFY_CERTIFICATE"
    told = realm.ok("cert", "show", tmp_path / "c").out
    assert "unknown issuer: no certificate of the issuer is known" in told
    assert "at fault is the certificate itself: CN=pat" in told


def test_certificate_of_a_key_on_two_accounts_would_not(realm: Shell, alice_pem: Path) -> None:
    """62, and both are named."""
    register_anyway(realm, "pat", alice_pem)
    assert verdict(realm, alice_pem)[2] == "KDC_ERR_CLIENT_NOT_TRUSTED"
    assert "they are: " in realm.ok("cert", "show", alice_pem).out
    for arguments in (("key", "list"), ("key", "list", "pat"), ("user", "show", "alice")):
        assert "on 2 accounts: refused" in realm.ok(*arguments).out, arguments
    for shown in realm.ok("key", "list", "--json").json:
        assert shown["accounts"] == ["pat", "alice"]
    assert "on 2 accounts: refused" in realm.ok("key", "show", shown["key_id"]).out


def test_key_of_another_account_is_not_registered(realm: Shell, alice_pem: Path) -> None:
    """Row K07: it would lock out both; the certificate and the DN-Binary text alike."""
    done = realm("key", "add", "pat", alice_pem)
    assert done.code == ExitCode.EXISTS
    assert done.error[0] == "this key is registered on alice already"
    (shown,) = realm.ok("key", "list", "--json").json
    assert (shown["account"], shown["accounts"]) == ("alice", ["alice"])
    assert realm("key", "add", "alice", alice_pem).error[0] == "alice has this key already"


def test_certificate_of_a_disabled_account_would_not(realm: Shell, alice_pem: Path) -> None:
    """The account's state counts, too."""
    realm.ok("user", "disable", "alice")
    accepted, _, code, reason = verdict(realm, alice_pem)
    assert (accepted, code, reason) == (
        False,
        "KDC_ERR_CLIENT_REVOKED",
        "the account is disabled",
    )


def test_certificate_of_a_small_key_would_not(realm: Shell, tmp_path: Path) -> None:
    """Key policy comes before anything else."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  # the defect under test
    name = simple_name((oids.ID_AT_COMMON_NAME, "small"))
    (tmp_path / "c").write_bytes(ca.self_signed_hello_certificate(key, name, now()))
    accepted, _, code, reason = verdict(realm, tmp_path / "c")
    assert (accepted, code) == (False, "KDC_ERR_CLIENT_NOT_TRUSTED")
    assert reason == "its key is not accepted: too small: RSA modulus"


def test_kdc_certificate_is_judged_as_one(realm: Shell) -> None:
    """What MIT, Heimdal and Windows would say of it."""
    shown = realm.ok("cert", "show", realm.state / "pki/kdc.pem", "--json").json
    assert (shown["kind"], shown["accepted"], shown["reasons"]) == ("kdc", True, [])
    assert shown["principals"] == ["krbtgt/LAB.TEST@LAB.TEST"]
    assert shown["dns_names"] == ["kdc.lab.test", "lab.test", "LAB"]


def test_no_certificate_at_all(realm: Shell) -> None:
    """An error, not a traceback."""
    done = realm("cert", "show", realm.state / "kdc.toml")
    assert done.code == ExitCode.FAILED
    assert done.error


def test_kdc_certificate_is_issued_again_with_the_same_names(realm: Shell) -> None:
    """A new key; the host names are those of the old one."""
    file = realm.state / "pki/kdc.pem"
    before = realm.ok("cert", "show", file, "--json").json
    realm.ok("cert", "issue-kdc")
    after = realm.ok("cert", "show", file, "--json").json
    assert after["dns_names"] == before["dns_names"]
    assert after["key"] == before["key"]
    assert after["sha256"] != before["sha256"]
    realm.ok("cert", "issue-kdc", "--dns", "dc2.lab.test")
    assert realm.ok("cert", "show", file, "--json").json["dns_names"][0] == "dc2.lab.test"


def test_value_that_holds_the_key_but_is_not_usable_is_named(realm: Shell, tmp_path: Path) -> None:
    """A value copied from another account's entry: its DN part is wrong."""
    (tmp_path / "c.der").write_bytes(certificate())
    state = RealmState(
        folder=StateFolder(realm.state), loaded=StateFolder(realm.state).load_config()
    )
    with state.store(write=True) as store:
        alice = find_account(store, "alice")
        store.replace_key_credentials(alice.account_id, [dn_binary().decode().strip()])
    reasons = realm.ok("cert", "show", tmp_path / "c.der", "--json").json["reasons"]
    assert reasons[1] == (
        "a value on alice holds it but is not usable: DN part names another object"
    )


def test_logon_certificate_is_described_in_full(realm: Shell, tmp_path: Path) -> None:
    """SAN forms and the SID extension, as a CA would issue them."""
    issuer = ca.create_root("OTHER.TEST", now())
    leaf = ca.issue_client_leaf(
        issuer,
        KEY.public_key(),
        simple_name((oids.ID_AT_COMMON_NAME, "carol")),
        now(),
        alternative_names=(names.upn_name("carol@lab.test"), names.dns_name("pc1.lab.test")),
        sid="S-1-5-21-1-2-3-1104",
    )
    (tmp_path / "c.der").write_bytes(leaf)
    shown = realm.ok("cert", "show", tmp_path / "c.der", "--json").json
    assert shown["upns"] == ["carol@lab.test"]
    assert shown["dns_names"] == ["pc1.lab.test"]
    assert shown["sid"] == "S-1-5-21-1-2-3-1104"
    assert shown["subject"] == "CN=carol"
    assert oids.ID_MS_KP_SMARTCARD_LOGON in shown["purposes"]
