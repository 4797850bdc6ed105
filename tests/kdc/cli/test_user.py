"""`kdc user`: accounts, one at a time and many at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from directory.model import Account, LockoutPolicy
from kdc.cli.errors import ExitCode
from kdc.cli.state import RealmState
from kdc.crypto.etypes import EncType, string_to_key
from kdc.state_folder import StateFolder
from pki.keys import public_key_from_cryptography
from tests.kdc.cli.conftest import Shell


def realm_state(shell: Shell) -> RealmState:
    folder = StateFolder(shell.state)
    return RealmState(folder=folder, loaded=folder.load_config())


def account(shell: Shell, name: str) -> Account:
    with realm_state(shell).store() as store:
        found = store.account_by_name(name)
    assert found is not None
    return found


def key_of(shell: Shell, name: str, etype: int = 18) -> bytes:
    return next(k.key for k in account(shell, name).newest_keys() if k.etype == etype)


def expected_key(password: str, salt: str) -> bytes:
    return string_to_key(EncType.AES256_CTS_HMAC_SHA1_96, password, salt).value


@pytest.mark.parametrize("text", ["päss wörd\n", "päss wörd", "päss wörd\r\n"])
def test_password_from_stdin_makes_keys_of_every_type(realm: Shell, text: str) -> None:
    """RFC 4120 4: the salt is the realm and the name; one line end is not part of a password."""
    realm.ok("user", "add", "Dora", "--password-stdin", stdin=text)
    assert {k.etype for k in account(realm, "dora").keys} == {17, 18, 19, 20}
    assert key_of(realm, "dora") == expected_key("päss wörd", "LAB.TESTDora")


def test_password_from_a_file(realm: Shell, tmp_path: Path) -> None:
    """Two newlines: the first is part of the password."""
    file = tmp_path / "password"
    file.write_text("secret\n\n")
    realm.ok("user", "add", "dora", "--password-file", file)
    assert key_of(realm, "dora") == expected_key("secret\n", "LAB.TESTdora")


@pytest.mark.parametrize("text", ["", "\n", "a\0b", "x" * 5000])
def test_unusable_password_is_refused(realm: Shell, text: str) -> None:
    """Nothing is added then."""
    done = realm("user", "add", "dora", "--password-stdin", stdin=text)
    assert done.code == ExitCode.FAILED
    assert realm("user", "show", "dora").code == ExitCode.NOT_FOUND


def test_two_sources_of_a_password_are_refused(realm: Shell, tmp_path: Path) -> None:
    """Which one counts would be a guess."""
    done = realm("user", "add", "d", "--password-stdin", "--password-file", tmp_path / "x")
    assert done.code == ExitCode.USAGE


def test_password_is_changed_with_a_new_kvno(realm: Shell) -> None:
    """`user password`; also ends "must be changed"."""
    realm.ok("user", "set", "pat", "--must-change-password")
    realm.ok("user", "password", "pat", "--password-stdin", stdin="One of 4 words")
    changed = account(realm, "pat")
    assert {k.kvno for k in changed.keys} == {2}
    assert not changed.must_change_password
    assert key_of(realm, "pat") == expected_key("One of 4 words", "LAB.TESTpat")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Sh0rt", "at least 8 characters"),
        ("lowercase only", "needs 3 of these"),
        ("I am Pat, 42", "user name"),
        ("pat", "at least 8 characters"),
    ],
)
def test_password_against_the_policy_is_denied(realm: Shell, text: str, says: str) -> None:
    """password_min_length, password_min_classes: the same rules as for kpasswd."""
    done = realm("user", "password", "pat", "--password-stdin", stdin=text)
    assert done.code == ExitCode.DENIED
    assert says in done.error[1]
    assert "--ignore-policy" in done.error[2]
    realm.ok("user", "password", "pat", "--password-stdin", "--ignore-policy", stdin=text)
    assert key_of(realm, "pat") == expected_key(text, "LAB.TESTpat")


def test_earlier_password_is_denied_and_a_new_one_expires(realm: Shell) -> None:
    """password_history counts the one in force; password_max_age sets the end."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write('password_history = 2\npassword_max_age = "42d"\n')
    for text in ("First-Passw0rd", "Second-Passw0rd"):
        realm.ok("user", "password", "pat", "--password-stdin", stdin=text)
    for text in ("Second-Passw0rd", "First-Passw0rd"):
        done = realm("user", "password", "pat", "--password-stdin", stdin=text)
        assert (done.code, "last 2" in done.error[1]) == (ExitCode.DENIED, True)
    realm.ok("user", "password", "pat", "--password-stdin", stdin="Third-Passw0rd")
    realm.ok("user", "password", "pat", "--password-stdin", stdin="First-Passw0rd")
    changed = account(realm, "pat")
    assert changed.password_set_at is not None
    assert changed.password_expires_at is not None
    assert (changed.password_expires_at - changed.password_set_at).days in (41, 42)
    assert "password expires" in realm.ok("user", "show", "pat").out


def test_states_are_set_and_shown(realm: Shell) -> None:
    """disable, enable, set, expire."""
    realm.ok("user", "disable", "pat")
    realm.ok("user", "set", "pat", "--smartcard-required", "--upn", "p@lab.test")
    realm.ok("user", "expire", "pat", "--at", "2027-01-31T12:00:00Z")
    shown = realm.ok("user", "show", "pat", "--json").json
    assert shown["disabled"] is True
    assert shown["smartcard_required"] is True
    assert shown["upn"] == "p@lab.test"
    assert shown["expires_at"] == "2027-01-31T12:00:00Z"
    assert "disabled, smart card required" in realm.ok("user", "show", "pat").out
    realm.ok("user", "enable", "pat")
    realm.ok("user", "set", "pat", "--no-smartcard-required", "--upn", "")
    realm.ok("user", "expire", "pat", "--at", "never")
    shown = realm.ok("user", "show", "p" + "at", "--json").json
    assert (shown["disabled"], shown["upn"], shown["expires_at"]) == (False, None, None)


def test_expiry_in_a_duration(realm: Shell) -> None:
    """30d from now."""
    realm.ok("user", "expire", "pat", "--at", "30d")
    found = account(realm, "pat").expires_at
    assert found is not None
    assert abs(found - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert realm("user", "expire", "pat", "--at", "soon").code == ExitCode.USAGE


def test_change_of_nothing_is_wrong_usage(realm: Shell) -> None:
    """A forgotten option is not a success."""
    assert realm("user", "set", "pat").code == ExitCode.USAGE


def test_lock_is_shown_and_ended(realm: Shell) -> None:
    """`user unlock`."""
    moment = datetime.now(UTC)
    policy = LockoutPolicy(threshold=1, duration=timedelta(hours=1))
    number = account(realm, "pat").account_id
    with realm_state(realm).store() as store:
        store.record_password_failure(number, moment, policy)
    assert "locked until" in realm.ok("user", "show", "pat").out
    assert realm.ok("user", "show", "pat", "--json").json["locked_until"] is not None
    realm.ok("user", "unlock", "pat")
    assert realm.ok("user", "show", "pat", "--json").json["locked_until"] is None
    assert "not locked" in realm.ok("user", "unlock", "pat").out


def test_account_is_found_by_upn_and_without_its_dollar(realm: Shell) -> None:
    """As users name it."""
    realm.ok("user", "add", "pc1$")
    for text, name in (("PAT", "pat"), ("pat@corp.example", "pat"), ("pat@lab.test", "pat")):
        assert realm.ok("user", "show", text, "--json").json["name"] == name
    assert realm.ok("user", "show", "pc1", "--json").json["kind"] == "computer"


def test_delete_wants_the_exact_name(realm: Shell) -> None:
    """No implicit "$", no UPN: what is deleted was named."""
    realm.ok("user", "add", "pc1$")
    assert realm("user", "delete", "pc1").code == ExitCode.NOT_FOUND
    realm.ok("user", "delete", "pat")
    assert [u["name"] for u in realm.ok("user", "list", "--json").json] == ["alice", "pc1$"]


def test_list_pages_through_many(realm: Shell) -> None:
    """More users than one page of the store."""
    realm.ok("user", "bulk-add", "--count", "600", "--key-pool", "36")
    listed = realm.ok("user", "list", "--json", "--prefix", "user").json
    assert [u["name"] for u in listed] == [f"user{i:04d}" for i in range(600)]
    assert len(realm.ok("user", "list").out.splitlines()) == 603


# -- CSV -------------------------------------------------------------------------------------


def import_csv(shell: Shell, text: str) -> tuple[int, str]:
    file = shell.state.parent / "users.csv"
    file.write_text(text)
    done = shell("user", "import", file)
    return done.code, done.out if done.code == 0 else done.error[1]


def test_csv_adds_users(realm: Shell) -> None:
    """Every column; a byte order mark, as Excel writes it."""
    code, _ = import_csv(
        realm,
        "\ufeffname,upn,password,disabled,smartcard_required,must_change_password,expires_at\n"
        "dora,dora@lab.test,secret,no,yes,1,2027-01-31\n"
        '"emil",,,TRUE,,,never\n',
    )
    assert code == 0
    dora, emil = account(realm, "dora"), account(realm, "emil")
    assert key_of(realm, "dora") == expected_key("secret", "LAB.TESTdora")
    assert dora.expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert (dora.upn, dora.smartcard_required, dora.must_change_password) == (
        "dora@lab.test",
        True,
        True,
    )
    assert (emil.disabled, emil.keys, emil.upn) == (True, (), None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name,pasword\ndora,x\n", "the columns are name, upn, password, "),
        ("upn\nx\n", "the columns are name, upn, password, "),
        ("name\ndora\nemil,x\n", "there are more values than columns"),
        ("name,upn\ndora,\n,x@y\n", "there is no name"),
        ("name,disabled\ndora,maybe\n", "disabled is yes or no"),
        ("name,expires_at\ndora,soon\n", "expires_at is not a time"),
        ("name\ndora\nalice\n", "alice: name or userPrincipalName in use"),
        ("name\ndora\na/b\n", "a/b: name has a character"),
        ('name\n"dora\n', "unexpected end of data"),
    ],
)
def test_csv_with_a_bad_line_adds_nobody(realm: Shell, text: str, why: str) -> None:
    """All or none."""
    code, found = import_csv(realm, text)
    assert code in (ExitCode.FAILED, ExitCode.EXISTS)
    assert found.startswith(why)
    assert realm("user", "show", "dora").code == ExitCode.NOT_FOUND


# -- bulk-add --------------------------------------------------------------------------------


def test_bulk_users_have_keys_of_their_own(realm: Shell, tmp_path: Path) -> None:
    """Each key file's public key is registered on its user, and usable."""
    realm.ok("user", "bulk-add", "--count", "2", "--keys", tmp_path / "keys")
    for name in ("user0000", "user0001"):
        file = tmp_path / "keys" / f"{name}.key"
        assert file.stat().st_mode & 0o777 == 0o600
        key = load_pem_private_key(file.read_bytes(), None)
        (credential,) = account(realm, name).key_credentials
        assert credential.usable
        assert credential.public_key == public_key_from_cryptography(key.public_key())
        assert credential.public_key is not None
        assert credential.public_key.bits == 2048


def test_bulk_keys_of_a_pool_are_distinct_and_complete(realm: Shell, tmp_path: Path) -> None:
    """M primes give M(M-1)/2 keys; the private keys sign."""
    done = realm("user", "bulk-add", "--count", "7", "--key-pool", "4")
    assert done.code == ExitCode.FAILED
    assert done.error[2] == "use --key-pool 5 or more"
    realm.ok("user", "bulk-add", "--count", "6", "--key-pool", "4", "--keys", tmp_path)
    moduli = set()
    for number in range(6):
        pem = (tmp_path / f"user{number:04d}.key").read_bytes()
        # Loading checks that all the numbers of the key fit together.
        moduli.add(public_key_from_cryptography(load_pem_private_key(pem, None).public_key()).n)
    assert len(moduli) == 6


def test_bulk_does_not_touch_users_that_are_there(realm: Shell) -> None:
    """Found out before any key is made."""
    realm.ok("user", "add", "user0005")
    done = realm("user", "bulk-add", "--count", "6")
    assert done.code == ExitCode.EXISTS
    assert done.error[0] == "user0005 is already there"
