"""The mistakes of newcomers: each is refused before it does harm, with a remedy that helps."""

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from directory.model import LockoutPolicy
from kdc.cli.errors import ExitCode
from kdc.cli.options import is_host_name
from kdc.cli.state import RealmState, find_account
from kdc.state_folder import StateFolder
from tests.kdc.cli.conftest import Shell


def names(shell: Shell, noun: str) -> list[str]:
    return [row["name"] for row in shell.ok(noun, "list", "--json").json]


# -- krbtgt ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "disable", "krbtgt"),
        ("user", "expire", "krbtgt", "--at", "1d"),
        ("user", "set", "krbtgt", "--smartcard-required"),
        ("user", "delete", "krbtgt"),
        ("user", "password", "krbtgt", "--password-stdin"),
        ("keytab", "rotate", "krbtgt"),
        ("service", "delete", "krbtgt/LAB.TEST"),
    ],
)
def test_krbtgt_is_not_changed_like_a_user(realm: Shell, arguments: tuple[str, ...]) -> None:
    """Every ticket hangs on it; the remedy is the command that does rotate it."""
    done = realm(*arguments, stdin="secret\n")
    assert done.code == ExitCode.DENIED
    assert "kdc realm rotate-krbtgt" in done.error[2]
    assert realm.ok("user", "show", "krbtgt", "--json").json["kvno"] == 1


# -- keytabs and key files that cannot be written ---------------------------------------------


def test_service_is_not_added_when_its_keytab_cannot_be(realm: Shell, tmp_path: Path) -> None:
    """The path is looked at before the account is made."""
    for keytab, code in ((tmp_path / "no/k", ExitCode.NOT_FOUND), (tmp_path / "f", 1)):
        (tmp_path / "f").write_text("no keytab")
        done = realm("service", "add", "host/web.lab.test", "--keytab", keytab)
        assert done.code == code
        assert done.error[0].startswith(str(keytab))
    assert names(realm, "service") == ["kadmin/changepw"]


def test_keys_are_not_rotated_when_the_keytab_cannot_be_written(
    realm: Shell, tmp_path: Path
) -> None:
    """A service whose new keys are in no keytab is down."""
    realm.ok("service", "add", "host/web.lab.test")
    done = realm("keytab", "rotate", "host/web.lab.test", "--keytab", tmp_path / "no/k")
    assert done.code == ExitCode.NOT_FOUND
    assert realm.ok("service", "list", "--json").json[0]["kvno"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("key", "enroll", "pat", "--out", "no/f"),
        ("keytab", "export", "pat", "-o", "no/f"),
        ("service", "add", "host/web.lab.test", "--keytab", "no/f"),
        ("logon", "pat", "--password-stdin", "--ccache", "no/f"),
    ],
)
def test_file_in_no_folder_is_named_as_the_user_named_it(
    realm: Shell, arguments: tuple[str, ...]
) -> None:
    """It "cannot be written", and no name of a temporary file is told."""
    done = realm(*arguments, stdin="x\n")
    assert done.code == ExitCode.NOT_FOUND
    assert done.error[:2] == ("no/f cannot be written", "there is no folder no")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_of_somebody_else_is_5(realm: Shell, tmp_path: Path) -> None:
    """Denied, before a key is made."""
    tmp_path.joinpath("shut").mkdir(mode=0o500)
    done = realm("key", "enroll", "pat", "--out", tmp_path / "shut/f")
    assert (done.code, done.error[0]) == (
        ExitCode.DENIED,
        f"{tmp_path}/shut/f cannot be written",
    )


# -- the master key ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("user", "list"), ("serve", "--listen", "127.0.0.1:0")])
def test_master_key_of_another_store(realm: Shell, arguments: tuple[str, ...]) -> None:
    """The remedy is the backup, not somebody's mode bits; and no server starts."""
    (realm.state / "master.key").write_bytes(bytes(32))
    done = realm(*arguments)
    assert done.code == ExitCode.DENIED
    assert done.error == (
        f"the master key does not open {realm.state}/store.sqlite",
        "this is not the master.key of this store",
        "restore the master.key that was backed up with this store",
    )


@pytest.mark.parametrize("arguments", [("user", "list"), ("serve", "--listen", "127.0.0.1:0")])
def test_no_master_key(realm: Shell, arguments: tuple[str, ...]) -> None:
    """It is missing, and says so."""
    (realm.state / "master.key").unlink()
    done = realm(*arguments)
    assert done.code == ExitCode.NOT_FOUND
    assert done.error[:2] == (f"there is no {realm.state}/master.key", "the file is missing")
    assert done.error[2].startswith("restore master.key from the backup")


def test_loose_master_key_names_the_command(realm: Shell) -> None:
    """A remedy to copy."""
    (realm.state / "master.key").chmod(0o644)
    done = realm("user", "list")
    assert (done.code, done.error[2]) == (
        ExitCode.DENIED,
        f"chmod 600 {realm.state}/master.key",
    )


def test_ca_key_under_another_master_key(realm: Shell) -> None:
    """`kdc cert issue-kdc` says which file does not open."""
    (realm.state / "pki/ca.key").write_bytes(bytes(200))
    done = realm("cert", "issue-kdc")
    assert done.code == ExitCode.DENIED
    assert done.error[0] == f"the master key does not open {realm.state}/pki/ca.key"


# -- names and addresses ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["kdc.lab.test", "kdc", "4u.example", "a-b.c", "x" * 63])
def test_host_names(text: str) -> None:
    """RFC 1123 2.1."""
    assert is_host_name(text)


@pytest.mark.parametrize(
    "text",
    ["", "bad host", "-a.test", "a-.test", "a..b", "a.", "10.0.0.1", "*.lab.test", "x" * 64,
     "a/b", "k\u00e4c.test", "a\n", ".".join(["abcdefg"] * 32)],
)  # fmt: skip
def test_what_is_no_host_name(realm: Shell, shell: Shell, text: str) -> None:
    """No certificate is issued for it."""
    assert not is_host_name(text)
    assert realm("cert", "issue-kdc", "--dns", text).code == ExitCode.USAGE
    other = realm.state.parent / "other"
    done = shell("--state", other, "init", "--realm", "B.TEST", "--dns", text)
    assert done.code == ExitCode.USAGE
    assert not other.exists()


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"])
def test_bad_listen_address_is_wrong_usage(realm: Shell, text: str) -> None:
    """The same for `serve` and `init`, and no file is named that nobody wrote."""
    other = realm.state.parent / "other"
    for arguments in (
        ("serve", "--listen", text),
        ("--state", other, "init", "--realm", "B.TEST", "--listen", text),
    ):
        done = realm(*arguments)
        assert done.code == ExitCode.USAGE, arguments
        assert "127.0.0.1:88" in done.error[1]
    assert not other.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "add", ""),
        ("user", "add", "Bad Name/"),
        ("user", "add", "--", "-x"),
        ("user", "add", "dora", "--upn", "dora"),
        ("user", "set", "pat", "--upn", "pat"),
        ("service", "add", ""),
        ("service", "add", "host"),
        ("service", "add", "host/x y"),
        ("service", "add", "host/"),
        ("service", "add", "host/web2@OTHER.TEST"),
        ("service", "add", "--", "-x/y"),
    ],
)
def test_bad_name_is_wrong_usage(realm: Shell, arguments: tuple[str, ...]) -> None:
    """Exit code 2, and nothing is added."""
    done = realm(*arguments)
    assert done.code == ExitCode.USAGE
    assert done.error
    assert names(realm, "user") == ["alice", "pat"]
    assert names(realm, "service") == ["kadmin/changepw"]


def test_service_of_another_realm_names_the_realm(realm: Shell) -> None:
    """What stands after the "@" is what is wrong."""
    done = realm("service", "add", "host/web2@OTHER.TEST")
    assert "leave @REALM out, or say @LAB.TEST" in done.error[1]


def test_kdc_at_a_name_or_nowhere(realm: Shell) -> None:
    """Localhost is known; other names are told that a number is wanted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = realm("probe", "--kdc", f"localhost:{port}", "--tcp")
    assert (done.code, done.error[0]) == (
        ExitCode.UNREACHABLE,
        f"no KDC answers on 127.0.0.1:{port}",
    )
    for command in (("probe",), ("doctor",), ("logon", "pat", "--password-stdin")):
        done = realm(*command, "--kdc", "kdc.lab.test:88", stdin="x\n")
        assert done.code == ExitCode.USAGE
        assert "numeric address" in done.error[1]


def test_udp_and_tcp_at_once_is_wrong_usage(realm: Shell) -> None:
    """They contradict each other."""
    assert realm("logon", "pat", "--password-stdin", "--udp", "--tcp").code == ExitCode.USAGE


def test_password_without_a_terminal_to_ask_on(
    realm: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`</dev/null`: no warning of a library, but the two options that help."""
    monkeypatch.setattr("kdc.cli.options._can_ask", lambda: False)
    done = realm("logon", "alice")
    assert done.code == ExitCode.USAGE
    assert done.error[1:] == (
        "there is no terminal to ask on",
        "use --password-stdin or --password-file",
    )


# -- files that are something else ------------------------------------------------------------


def test_file_that_is_something_else_is_named(realm: Shell, tmp_path: Path) -> None:
    """What was expected there, and the file."""
    other = tmp_path / "other"
    other.write_text("root:x:0:0\n")
    assert realm("keytab", "show", other).error[0] == f"{other} is no keytab"
    for file in (other, realm.state / "master.key", realm.state / "pki/kdc.key"):
        done = realm("cert", "show", file)
        assert (done.code, done.error[0]) == (ExitCode.FAILED, f"{file} is no certificate")


def test_service_has_no_key_credentials(realm: Shell, tmp_path: Path) -> None:
    """Said before a key is made."""
    realm.ok("service", "add", "host/web.lab.test")
    done = realm("key", "enroll", "host/web.lab.test", "--out", tmp_path / "x.pem")
    assert done.code == ExitCode.DENIED
    assert done.error[0] == "host/web.lab.test can have no registered key"
    assert "users and computers" in done.error[1]


def test_unknown_principal_hints_at_services(realm: Shell) -> None:
    """A keytab is mostly a service's."""
    done = realm("keytab", "export", "nope/x", "-o", "f")
    assert done.code == ExitCode.NOT_FOUND
    assert "kdc service list" in done.error[2]


def test_duplicate_in_a_csv_names_line_and_name(realm: Shell, tmp_path: Path) -> None:
    """4, as for one user that is there already."""
    path = tmp_path / "users.csv"
    path.write_text("name\ndora\nALICE\n")
    done = realm("user", "import", path)
    assert done.code == ExitCode.EXISTS
    assert done.error[0] == f"{path}:3 cannot be imported"
    assert done.error[1].startswith("ALICE: ")


def test_state_folder_that_is_none(shell: Shell, tmp_path: Path) -> None:
    """A file, a folder that is not there, and a file to be checked that is not there."""
    file = tmp_path / "file"
    file.write_text("")
    done = shell("--state", file, "user", "list")
    assert (done.code, done.error[2]) == (78, "give a folder with --state")
    assert shell("--state", file, "init", "--realm", "B.TEST").error[2] == "give a folder"
    done = shell("--state", tmp_path / "nowhere", "user", "list")
    assert done.code == 78
    assert "--state DIR or KDC_STATE" in done.error[2]
    done = shell("config", "check", tmp_path / "nowhere")
    assert (done.code, done.error[2]) == (ExitCode.NOT_FOUND, "check the path")


# -- words ------------------------------------------------------------------------------------


def test_list_of_users_says_every_state(realm: Shell) -> None:
    """The words of `user show`: locked and expired, too."""
    for name in ("dora", "eve", "fay"):
        realm.ok("user", "add", name)
    realm.ok("user", "disable", "dora")
    realm.ok("user", "set", "eve", "--smartcard-required")
    realm.ok("user", "expire", "fay", "--at", "2020-01-01")
    folder = StateFolder(realm.state)
    with RealmState(folder=folder, loaded=folder.load_config()).store() as store:
        policy = LockoutPolicy(threshold=1, duration=timedelta(hours=1))
        store.record_password_failure(
            find_account(store, "pat").account_id, datetime.now(UTC), policy
        )
    states = {line.split()[0]: line for line in realm.ok("user", "list").out.splitlines()}
    for name, state in (
        ("alice", "enabled"),
        ("dora", "disabled"),
        ("eve", "smart card required"),
        ("fay", "expired"),
        ("pat", "locked until "),
    ):
        assert state in states[name]
        assert state in realm.ok("user", "show", name).out
    realm.ok("service", "add", "host/web.lab.test")
    assert "enabled" in realm.ok("service", "list").out


def test_change_says_what_changed(realm: Shell) -> None:
    """And who."""
    done = realm.ok("user", "set", "pat", "--smartcard-required", "--upn", "p@lab.test")
    assert done.out == "pat has now: UPN p@lab.test, smart card required\n"
    done = realm.ok("user", "set", "pat", "--no-smartcard-required", "--upn", "")
    assert done.out == "pat has now: no UPN, no smart card required\n"
    assert realm.ok("user", "unlock", "pat").out == "pat was not locked\n"


def test_unknown_command_suggests_the_nearest(shell: Shell) -> None:
    """Of the same noun."""
    assert shell("usr").error[1:] == (
        "there is no command 'usr'",
        "did you mean kdc user? Else: kdc --help",
    )
    assert shell("user", "ad").error[2] == "did you mean kdc user add? Else: kdc user --help"
    assert shell("xyzzy").error[2] == "kdc --help"


@pytest.mark.parametrize("noun", ["user", "key", "cert", "service", "keytab", "config", "realm"])
def test_lists_of_commands_are_not_cut_short(shell: Shell, noun: str) -> None:
    """The first sentence of each fits."""
    listed = shell.ok(noun, "--help").out.partition("Commands:")[2]
    assert "..." not in listed


def test_purposes_are_named(realm: Shell) -> None:
    """Numbers stay for scripts."""
    told = realm.ok("cert", "show", realm.state / "pki/kdc.pem").out
    assert "PKINIT KDC (1.3.6.1.5.2.3.5)" in told
    shown = realm.ok("cert", "show", realm.state / "pki/kdc.pem", "--json").json
    assert "1.3.6.1.5.2.3.5" in shown["purposes"]


def test_tools_realm_says_that_its_certificate_is_meant_so(shell: Shell) -> None:
    """At `init`, in its help, and when the certificate is judged."""
    done = shell.ok("init", "--realm", "LAB.TEST", "--compat", "tools")
    assert "no id-pkinit-san, on purpose: compat = tools" in done.out
    assert "id-pkinit-san" in shell.ok("init", "--help").out
    told = shell.ok("cert", "show", shell.state / "pki/kdc.pem").out
    assert "(left out on purpose: compat = tools)" in told


@pytest.mark.parametrize(("noun", "name"), [("user", "pat"), ("service", "host/web.lab.test")])
def test_what_is_added_twice_is_named(realm: Shell, noun: str, name: str) -> None:
    """The first line says what was not added, not only that some name is in use."""
    if noun == "service":
        realm.ok(noun, "add", name)
    done = realm(noun, "add", name)
    assert done.code == ExitCode.EXISTS
    assert done.error[0] == f"{name} is not added"


def test_options_of_init_are_no_file_with_lines(realm: Shell, tmp_path: Path) -> None:
    """A realm that cannot be is refused without a line number of a file that nobody wrote."""
    done = realm("init", "--realm", "A B", "--state", tmp_path / "new")
    assert done.code == ExitCode.CONFIGURATION
    assert done.error[0].startswith("the options of kdc init: realm ")
    assert not (tmp_path / "new").exists()
