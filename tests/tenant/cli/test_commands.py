"""The commands: what they make, what they print, what they refuse, their exit codes."""

import io
import json
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from directory.keymaterial import MaterialForm, encode_key_material
from directory.sealing import MasterKey
from kdc.cli import main as kdc_main
from pki import ca
from pki.keys import public_key_from_cryptography
from tenant.cli import main
from tenant.cli.errors import explain
from tenant.state import devices, keys, prts, tokens, users
from tenant.state.database import Database
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.keys import RegisteredKey
from tenant.state.prts import Prt
from tenant.state.sign_in import SignIn

DEVICE_ID = UUID("11111111-aaaa-4bbb-8ccc-000000000001")
KID = UUID("22222222-aaaa-4bbb-8ccc-000000000002")
NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Runs commands on one tenant in this process."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def run(self, *arguments: str, stdin: str = "", ok: int = 0) -> str:
        """Run `tenant`; return what it printed on both streams."""
        self.patch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        )
        self.capture.readouterr()
        code = main.run(["--state", str(self.folder / "t"), *arguments])
        said = self.capture.readouterr()
        assert code == ok, said
        return said.out + said.err

    def init(self, *options: str, ok: int = 0) -> str:
        """Run `tenant init` for lab.test."""
        kdc = str(self.folder / "k")
        return self.run("init", "--domain", "lab.test", "--kdc-state", kdc, *options, ok=ok)

    def database(self) -> Database:
        """Open the tenant's database."""
        return Database.open(self.folder / "t/tenant.sqlite")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a realm in k; each test has a copy."""
    folder = tmp_path_factory.mktemp("made")
    assert kdc_main.run(["--state", str(folder / "k"), "init", "--realm", "LAB.TEST"]) == 0
    return folder


@pytest.fixture
def empty(
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    """A realm, and no tenant yet."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Shell(folder=tmp_path, capture=capsys, patch=monkeypatch)


@pytest.fixture(scope="module")
def made_tenant(made: Path) -> Path:
    """The same with a tenant in t and its user pat."""
    kdc, tenant = str(made / "k"), str(made / "t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Weit-und-breit-9\n")))
        init = ["--state", tenant, "init", "--domain", "lab.test", "--kdc-state", kdc]
        assert main.run(init) == 0
        assert main.run(["--state", tenant, "user", "add", "pat", "--password-stdin"]) == 0
    kept = made.with_name(f"{made.name}-tenant")
    shutil.copytree(made, kept)
    shutil.rmtree(made / "t")
    return kept


@pytest.fixture
def shell(made_tenant: Path, empty: Shell) -> Shell:
    """A tenant with user pat."""
    shutil.copytree(made_tenant / "t", empty.folder / "t")
    return empty


def _device_and_key(shell: Shell) -> None:
    """What a client registers."""
    key = ca.generate_key(ca.KeyType.RSA_2048)
    material = encode_key_material(
        public_key_from_cryptography(key.public_key()), MaterialForm.BCRYPT
    )
    database = shell.database()
    with database.write() as connection:
        pat = users.by_upn(connection, "pat@lab.test")
        assert pat is not None
        device = DeviceRecord(
            device_id=DEVICE_ID,
            object_id=UUID(int=5),
            display_name="PC1",
            join_type=JoinType.JOINED,
            owner=pat.object_id,
            created=NOW,
        )
        devices.insert_device(connection, device)
        registered = RegisteredKey(
            kid=KID, user=pat.object_id, device_id=DEVICE_ID, material=material, created=NOW
        )
        keys.insert_key(connection, registered)
    database.close()


# -- init ------------------------------------------------------------------------------------


def test_init_makes_secrets_that_are_their_owners_alone(empty: Shell) -> None:
    """0600, but for certificates; the folders 0700."""
    empty.init()
    modes = {
        str(path.relative_to(empty.folder / "t")): path.stat().st_mode & 0o777
        for path in (empty.folder / "t").rglob("*")
    }
    public = {name for name, mode in modes.items() if mode & 0o077}
    assert public == {"pki/ca.pem", "pki/tls.pem", "pki/device-ca.pem", "pki/signing.pem"}
    assert modes["pki"] == 0o700


def test_init_twice_changes_nothing(shell: Shell) -> None:
    """A tenant that is there stays."""
    before = {path: path.read_bytes() for path in (shell.folder / "t").rglob("*.key")}
    assert "nothing was changed" in shell.init()
    assert {path: path.read_bytes() for path in before} == before


def test_init_makes_a_missing_certificate_anew(shell: Shell) -> None:
    """As one near its end."""
    (shell.folder / "t/pki/tls.key").unlink()
    assert "it has a new certificate" in shell.init()
    assert (shell.folder / "t/pki/tls.key").stat().st_mode & 0o777 == 0o600


def test_init_for_another_domain_is_refused(shell: Shell) -> None:
    """Exit 4: the folder is another tenant's."""
    kdc = str(shell.folder / "k")
    said = shell.run("init", "--domain", "other.test", "--kdc-state", kdc, ok=4)
    assert "it is lab.test's" in said


def test_what_is_left_of_a_tenant_is_not_written_over(shell: Shell) -> None:
    """Exit 4: its keys may be somebody's."""
    key = (shell.folder / "t/master.key").read_bytes()
    (shell.folder / "t/tenant.toml").unlink()
    assert "holds part of a tenant" in shell.init(ok=4)
    assert (shell.folder / "t/master.key").read_bytes() == key


def test_init_without_a_realm_is_bad_configuration(empty: Shell) -> None:
    """Exit 78, and nothing is made."""
    none = str(empty.folder / "none")
    empty.run("init", "--domain", "lab.test", "--kdc-state", none, ok=78)
    assert not (empty.folder / "t").exists()


def test_any_name_of_the_realms_folder_is_kept(empty: Shell) -> None:
    """Quotes and backslashes mean something in TOML."""
    odd = empty.folder / 'a\\tb "c"'
    (empty.folder / "k").rename(odd)
    empty.run("init", "--domain", "lab.test", "--kdc-state", str(odd))
    assert json.loads(empty.run("show", "--json"))["kdc_state"] == str(odd)


def test_init_takes_no_file_that_is_no_cloud_key(shell: Shell) -> None:
    """The old key stays."""
    path = shell.folder / "odd"
    path.write_text("{}")
    assert "is no key of a cloud trust" in shell.init("--cloud-key", str(path), ok=1)
    assert not (shell.folder / "t/cloud.key").exists()


def test_an_init_that_is_refused_leaves_nothing_in_the_way_of_the_next(empty: Shell) -> None:
    """A file that is no cloud key; a CA whose key is put away."""
    path = empty.folder / "odd"
    path.write_text("{}")
    assert "is no key of a cloud trust" in empty.init("--cloud-key", str(path), ok=1)
    key = empty.folder / "k/pki/ca.key"
    key.rename(path)
    empty.init(ok=3)
    path.rename(key)
    assert not (empty.folder / "t").exists()
    assert "next: tenant sync --once" in empty.init()


def test_a_sign_in_where_no_tenant_answers_is_unreachable(shell: Shell) -> None:
    """Exit 6, and why."""
    dead = ("--tenant", "127.0.0.1:1", "--password-stdin")
    folder = str(shell.folder / "pc")
    said = shell.run("logon", "pat", "--folder", folder, *dead, stdin="x\n", ok=6)
    assert "does not answer on 127.0.0.1:1" in said
    assert "why: connection refused" in said
    below = str(shell.folder / "k/kdc.toml/pc")
    said = shell.run("logon", "pat", "--folder", below, *dead, stdin="x\n", ok=1)
    assert f"{below} cannot be written" in said


def test_the_cloud_key_is_kept_sealed(shell: Shell) -> None:
    """Who has it can be any user of the realm."""
    kdc = ["--state", str(shell.folder / "k"), "cloud-trust"]
    out = str(shell.folder / "cloud.key")
    assert kdc_main.run([*kdc, "create"]) == 0
    assert kdc_main.run([*kdc, "export-key", "-o", out]) == 0
    assert "it has the key of the cloud trust" in shell.init("--cloud-key", out)
    exported = json.loads(Path(out).read_text())
    assert json.loads(shell.run("show", "--json"))["cloud_trust"] == {
        "realm": "LAB.TEST",
        "number": exported["number"],
        "kvno": exported["kvno"],
    }
    sealed = (shell.folder / "t/cloud.key").read_bytes()
    assert exported["key"].encode() not in sealed
    assert bytes.fromhex(exported["key"]) not in sealed


# -- serve -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["0.0.0.0:8443", "*:8443", "192.0.2.1:8443", "[::]:8443"])
@pytest.mark.parametrize("option", ["--listen", "--proxy"])
def test_serve_refuses_other_addresses_than_the_loopbacks(
    shell: Shell, option: str, place: str
) -> None:
    """Exit 5: it stands in for somebody else's sign-in."""
    assert "--i-expose-this" in shell.run("serve", option, place, ok=5)


def test_the_flag_says_what_it_means(shell: Shell) -> None:
    """In its help."""
    assert "guess passwords" in " ".join(shell.run("serve", "--help").split())


def test_without_a_tenant_every_command_says_so(empty: Shell) -> None:
    """Exit 78 with the way out."""
    for command in (("show",), ("serve",), ("user", "list"), ("device", "list"), ("key", "list")):
        assert "tenant init" in empty.run(*command, ok=78)


@pytest.mark.parametrize("command", [("user", "list"), ("serve",), ("sync", "--once")])
def test_a_tenant_without_its_database_is_told_what_to_restore(
    shell: Shell, command: tuple[str, ...]
) -> None:
    """Exit 3; neither a name nor the directory is at fault."""
    (shell.folder / "t/tenant.sqlite").unlink()
    said = shell.run(*command, ok=3)
    assert "do: restore tenant.sqlite from a backup of this folder" in said


# -- users -----------------------------------------------------------------------------------


def test_a_user_is_added_listed_changed_and_deleted(shell: Shell) -> None:
    """A name without @ is of the tenant's domain."""
    (pat,) = json.loads(shell.run("user", "list", "--json"))
    assert (pat["upn"], pat["password"], pat["mfa"]) == ("pat@lab.test", True, "none")
    shell.run("user", "mfa", "PAT@LAB.TEST", "required")
    shell.run("user", "disable", "pat")
    shown = json.loads(shell.run("user", "show", pat["object_id"], "--json"))
    assert (shown["mfa"], shown["enabled"]) == ("required", False)
    shell.run("user", "enable", "pat")
    shell.run("user", "delete", "pat")
    assert json.loads(shell.run("user", "list", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (("add", "pat"), "", 4),
        (("add", "-x"), "", 2),
        (("add", "a@b@c"), "", 2),
        (("add", "x", "--password-stdin"), "", 1),
        (("show", "nobody"), "", 3),
        (("password", "pat"), "", 2),
        (("password", "nobody", "--password-stdin"), "Weit-und-breit-9", 3),
        (("mfa", "pat", "perhaps"), "", 2),
        (("delete", "nobody"), "", 3),
    ],
)
def test_what_is_wrong_has_its_exit_code(
    shell: Shell, arguments: tuple[str, ...], stdin: str, code: int
) -> None:
    """2 usage, 3 not found, 4 already there."""
    assert "error: " in shell.run("user", *arguments, stdin=stdin, ok=code)


def test_a_new_password_replaces_the_old_hash(shell: Shell) -> None:
    """And no password is printed or kept in the clear."""
    said = shell.run("user", "password", "pat", "--password-stdin", stdin="Hin-und-weg-44\n")
    assert "Hin-und-weg" not in said
    for path in (shell.folder / "t").rglob("*"):
        if path.is_file():
            assert b"Hin-und-weg-44" not in path.read_bytes()
            assert b"Weit-und-breit-9" not in path.read_bytes()


# -- devices and keys ------------------------------------------------------------------------


def test_devices_are_shown_disabled_and_deleted_with_their_keys(shell: Shell) -> None:
    """DEVICE is the id or the name."""
    _device_and_key(shell)
    (device,) = json.loads(shell.run("device", "list", "--json"))
    assert (device["device_id"], device["owner"]) == (str(DEVICE_ID), "pat@lab.test")
    shell.run("device", "disable", "pc1")
    assert json.loads(shell.run("device", "show", str(DEVICE_ID), "--json"))["enabled"] is False
    shell.run("device", "enable", "PC1")
    shell.run("device", "delete", "PC1")
    assert json.loads(shell.run("key", "list", "--json")) == []
    shell.run("device", "show", "PC1", ok=3)


def test_disabling_a_device_leaves_its_keys_registered(shell: Shell) -> None:
    """They are good again when it is enabled."""
    _device_and_key(shell)
    shell.run("device", "disable", "PC1")
    assert len(json.loads(shell.run("key", "list", "--json"))) == 1


def test_keys_are_listed_and_removed(shell: Shell) -> None:
    """By the number of the registration."""
    _device_and_key(shell)
    (key,) = json.loads(shell.run("key", "list", "pat", "--json"))
    assert (key["kid"], key["user"], key["device"], key["bits"]) == (
        str(KID),
        "pat@lab.test",
        "PC1",
        2048,
    )
    shell.run("key", "remove", str(KID))
    shell.run("key", "remove", str(KID), ok=3)
    shell.run("key", "remove", "no-guid", ok=2)


def test_deleting_a_user_deletes_its_keys(shell: Shell) -> None:
    """Nobody is left to sign in with them."""
    _device_and_key(shell)
    shell.run("user", "delete", "pat")
    assert json.loads(shell.run("key", "list", "--json")) == []


def test_signing_a_user_out_ends_tokens_and_codes(shell: Shell) -> None:
    """What is stolen is worth nothing any more; the user signs in anew."""
    _device_and_key(shell)
    database, master_key = shell.database(), MasterKey.load(shell.folder / "t/master.key")
    with database.write() as connection:
        pat = users.by_upn(connection, "pat@lab.test")
        assert pat is not None
        sign_in = SignIn(
            user_id=pat.object_id,
            client_id=str(UUID(int=7)),
            methods=frozenset({"rsa"}),
            auth_time=NOW,
            device_id=DEVICE_ID,
        )
        prt = Prt(
            sign_in=sign_in,
            device_key=bytes(32),
            session_key=bytes(32),
            issued=NOW,
            expires=NOW + timedelta(days=1),
        )
        prts.insert_prt(connection, "1.prt", prt, master_key)
        tokens.keep_refresh_token(connection, "0.token", sign_in, NOW, 3600)
    said = shell.run("user", "sign-out", "pat")
    assert said == "signed pat@lab.test out everywhere; primary refresh tokens ended: 1\n"
    with database.read() as connection:
        assert prts.prt_by_token(connection, "1.prt", master_key) is None
        with pytest.raises(tokens.GrantError) as error:
            tokens.find_refresh_token(connection, "0.token", sign_in.client_id, NOW)
        assert error.value.fault is tokens.GrantFault.UNKNOWN
    database.close()
    shell.run("user", "sign-out", "nobody", ok=3)


def test_show_says_how_clients_are_pointed_here(shell: Shell) -> None:
    """The two variables, ready to be copied."""
    said = shell.run("show")
    assert "HTTPS_PROXY=http://127.0.0.1:8444" in said
    assert f"REQUESTS_CA_BUNDLE={(shell.folder / 't/pki/ca.pem').resolve()}" in said


def test_lists_of_commands_are_not_cut_short(empty: Shell) -> None:
    """The first sentence of each fits."""
    for noun in ("", *main.NOUNS):
        listed = empty.run(*filter(None, (noun,)), "--help").partition("Commands:")[2]
        assert "..." not in listed, noun


def test_a_mistyped_command_is_told_the_nearest(empty: Shell) -> None:
    """As `kdc` does: exit 2 and the name that was meant."""
    assert "did you mean tenant device?" in empty.run("devise", ok=2)
    assert "did you mean tenant user add?" in empty.run("user", "ad", ok=2)


def test_a_missing_extra_is_said_with_what_installs_it() -> None:
    """The tenant's packages are an extra of the project; any other missing module is a bug."""
    told = explain(ModuleNotFoundError("no", name="joserfc"))
    assert told is not None
    assert "keytrust-kdc[tenant]" in told.remedy
    assert explain(ModuleNotFoundError("no", name="pki.frob")) is None
