"""`kdc doctor`: each fault is found, named by its check, and told with a fix."""

import ast
import os
import re
import resource
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from directory.changes import AccountChanges
from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli import doctor
from kdc.cli.authority import Authority, issue_kdc_certificates, open_ledger
from kdc.cli.checks import accounts, files, logons, machine
from kdc.cli.errors import ExitCode
from kdc.cli.main import root
from kdc.cli.state import RealmState, write_private, write_public
from kdc.state_folder import StateFolder
from pki import ca
from pki.certificate import Certificate
from tests.kdc.cli.conftest import Shell
from tests.kdc.cli.test_logon import served
from tests.rig.realm import free_port

Line = tuple[str, str, str, str]


def examine(shell: Shell, *options: str) -> list[Line]:
    """Run the doctor; return (check, level, message, fix) of each line."""
    done = shell("doctor", "--json", *options)
    report = done.json
    lines = [(c["check"], c["level"], c["message"], c["fix"]) for c in report["checks"]]
    levels = {level for _, level, _, _ in lines}
    assert report["result"] == next(x for x in ("fail", "warn", "ok") if x in levels)
    assert done.code == (ExitCode.FAILED if "fail" in levels else ExitCode.OK)
    for _, level, message, fix in lines:
        assert bool(fix) == (level != "ok"), message
    return lines


@pytest.fixture
def look(realm: Shell) -> Callable[[str], list[Line]]:
    """Give the doctor's lines about one check, without logons: what is not `ok` of it."""

    def run(check: str) -> list[Line]:
        return [
            line for line in examine(realm, "--no-logons") if line[0] == check and line[1] != "ok"
        ]

    return run


Look = Callable[[str], list[Line]]


def store_of(shell: Shell) -> Store:
    """Open the realm's store for writing."""
    folder = StateFolder(shell.state)
    return Store.open(folder.store, MasterKey.load(folder.master_key))


def account_id(store: Store, name: str) -> int:
    account = store.account_by_name(name)
    assert account is not None
    return account.account_id


def realm_of(shell: Shell) -> RealmState:
    folder = StateFolder(shell.state)
    return RealmState(folder=folder, loaded=folder.load_config())


def travel(shell: Shell, days: float) -> None:
    """Let the doctor believe that some days have passed."""
    shell.monkeypatch.setattr(doctor, "now", lambda: datetime.now(UTC) + timedelta(days=days))


# -- a healthy realm -------------------------------------------------------------------------


@pytest.fixture
def healthy(realm: Shell) -> Iterator[str]:
    """Serve the realm on a machine whose clock is kept right; gives the address."""
    realm.monkeypatch.setattr(machine, "_synchronised", lambda: True)
    with served(realm.state) as address:
        yield address


def test_healthy_realm_is_all_ok(realm: Shell, healthy: str) -> None:
    """Exit code 0, and every subject was looked at."""
    lines = examine(realm, "--kdc", healthy)
    assert [line for line in lines if line[1] != "ok"] == []
    assert {line[0] for line in lines} == {
        *("state.folder", "state.secrets", "state.modes", "state.disk", "state.krb5_conf"),
        *("state.memories", "configuration.file", "configuration.weak_forms"),
        *("store.integrity", "store.realm", "store.krbtgt", "store.shared_keys", "store.keys"),
        *("store.unusable_keys", "certificates.kdc", "certificates.kdc_dates"),
        *("certificates.kdc_key", "certificates.chain", "certificates.ca", "certificates.ca_dates"),
        *("certificates.logon_cas",),
        *("certificates.crl", "machine.clock", "machine.workers", "machine.open_files"),
        "machine.form",
        *("server.ports", "logons.account", "logons.disabled", "logons.password", "logons.key"),
        *("logons.stranger", "logons.fast", "logons.wrong_password"),
    }


def test_text_says_the_same_under_heads(realm: Shell, healthy: str) -> None:
    """For people: a head for each subject, a mark, and the fix below."""
    (realm.state / "krb5.conf").unlink()
    out = realm.ok("doctor", "--kdc", healthy).out
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    subjects = ("state", "configuration", "store", "certificates", "machine", "server", "logons")
    assert tuple(heads[:-1]) == subjects
    assert re.fullmatch(r"\d+ ok, 1 warn, 0 fail", heads[-1])
    assert "  warn  there is no readable" in out
    assert "          do: " in out
    assert "\x1b" not in out


def test_json_keys_are_documented(realm: Shell) -> None:
    """Scripts rely on them."""
    assert set(realm("doctor", "--json", "--no-logons").json) == {
        *("realm", "state", "time", "result", "logons", "checks")
    }
    told = " ".join(realm.ok("doctor", "--help").out.split()).partition("JSON: ")[2]
    for key in ("realm", "state", "time", "result", "logons", "check", "level", "message", "fix"):
        assert key in told


def test_without_logons_nothing_is_written(realm: Shell, healthy: str) -> None:
    """--no-logons is safe in a monitoring job."""
    before = (realm.state / "store.sqlite").read_bytes()
    lines = examine(realm, "--kdc", healthy, "--no-logons")
    assert [line for line in lines if line[0].startswith("logons")] == []
    assert (realm.state / "store.sqlite").read_bytes() == before


def test_bad_address_is_a_usage_error(realm: Shell) -> None:
    """--kdc wants an address and a port."""
    assert realm("doctor", "--kdc", "localhost").code == ExitCode.USAGE


# -- state -----------------------------------------------------------------------------------


def test_missing_folder(shell: Shell) -> None:
    """The fix is `kdc init`."""
    ((check, level, message, fix),) = examine(shell)
    assert (check, level) == ("state.folder", "fail")
    assert message == f"there is no state folder {shell.state}"
    assert fix.startswith("kdc init")


def test_bad_configuration_is_named_with_its_line(realm: Shell) -> None:
    """Everything else depends on it, so nothing else is said."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("workes = 2\n")
    *_, (check, level, message, fix) = examine(realm)
    assert (check, level) == ("configuration.file", "fail")
    assert re.search(r"kdc\.toml:\d+: unknown key 'workes'", message)
    assert fix == "did you mean 'workers'?"


@pytest.mark.parametrize("name", ["master.key", "pki/kdc.key", "pki/ca.key"])
def test_secret_that_others_may_read(realm: Shell, look: Look, name: str) -> None:
    """Row S06: the server would not start, or `kdc cert` refuse."""
    path = realm.state / name
    path.chmod(0o640)
    ((_, level, message, fix), *_) = look("state.secrets")
    assert (level, fix) == ("fail", f"chmod 600 {path}")
    assert message == f"{path} can be used by group or others (mode 0640)"


def test_trusted_path_is_exempt(realm: Shell, look: Look) -> None:
    """Row S06: trusted_secret_paths."""
    (realm.state / "master.key").chmod(0o640)
    with (realm.state / "kdc.toml").open("a") as file:
        file.write(f'trusted_secret_paths = ["{realm.state}"]\n')
    assert look("state.secrets") == []


def test_ca_key_may_be_away(realm: Shell, look: Look) -> None:
    """It is best kept where the KDC is not."""
    (realm.state / "pki/ca.key").unlink()
    assert look("state.secrets") == []


def test_short_master_key(realm: Shell, look: Look) -> None:
    """It opens nothing."""
    (realm.state / "master.key").write_bytes(b"short")
    ((_, level, message, _),) = look("state.master_key")
    assert (level, message) == ("fail", f"{realm.state}/master.key does not hold 32 octets")


@pytest.mark.parametrize(("mode", "level"), [(0o755, "warn"), (0o777, "fail"), (0o770, "fail")])
def test_folder_open_to_others(realm: Shell, look: Look, mode: int, level: str) -> None:
    """Who may write it can replace the master key."""
    realm.state.chmod(mode)
    ((_, found, _, fix),) = look("state.folder")
    assert (found, fix) == (level, f"chmod 700 {realm.state}")


def test_store_open_to_others(realm: Shell, look: Look) -> None:
    """Sealed, but nobody else's business."""
    (realm.state / "store.sqlite").chmod(0o644)
    ((_, level, _, fix),) = look("state.modes")
    assert (level, fix) == ("warn", f"chmod 600 {realm.state}/store.sqlite")


@pytest.mark.parametrize(
    ("free", "level"), [(files.FREE_FAIL_BYTES - 1, "fail"), (files.FREE_WARN_BYTES - 1, "warn")]
)
def test_disk_nearly_full(realm: Shell, look: Look, free: int, level: str) -> None:
    """Row S03: before records are lost or logons refused."""
    real = os.statvfs(realm.state)
    values = list(real[:10])
    values[0] = values[1] = 1
    values[4] = free
    realm.monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))
    ((_, found, message, _),) = look("state.disk")
    assert found == level
    assert message.endswith("when it is full, audit records are lost")


def test_memory_removed_under_a_running_server(realm: Shell, healthy: str) -> None:
    """After a restart it would know no replays."""
    examine(realm, "--no-logons", "--kdc", healthy)
    (realm.state / "replay.map").unlink()
    (line,) = (
        line
        for line in examine(realm, "--no-logons", "--kdc", healthy)
        if line[0] == "state.memories" and line[1] != "ok"
    )
    assert (line[1], line[3]) == ("fail", "restart the server")


def test_damaged_memory_left_a_trace(realm: Shell, look: Look) -> None:
    """The server moved it aside and went on."""
    (realm.state / "replay.map.corrupt").touch()
    ((_, level, _, fix),) = look("state.memories")
    assert level == "warn"
    assert fix.endswith(f"rm {realm.state}/replay.map.corrupt")


def test_moved_folder_leaves_krb5_conf_behind(realm: Shell, look: Look) -> None:
    """Its paths are absolute."""
    path = realm.state / "krb5.conf"
    path.write_text(path.read_text().replace("/ca.pem", "/gone.pem"))
    ((_, level, message, fix),) = look("state.krb5_conf")
    assert level == "warn"
    assert "gone.pem" in message
    assert fix == f"put {realm.state}/pki/ca.pem in its place"


# -- configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "check", "words"),
    [
        ("legacy_sha1_cms = true", "configuration.weak_forms", "legacy_sha1_cms"),
        ("lockout_threshold = 0", "configuration.lockout", "guessed without end"),
        ('clockskew = "1h"', "configuration.clockskew", "3600 s off"),
        ('roca_policy = "audit"', "configuration.roca", "CVE-2017-15361"),
    ],
)
def test_weak_settings_are_listed(
    realm: Shell, look: Look, line: str, check: str, words: str
) -> None:
    """Each is a choice that somebody should look at again."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write(line + "\n")
    ((_, level, message, _),) = look(check)
    assert level == "warn"
    assert words in message


# -- store -----------------------------------------------------------------------------------


def test_damaged_store(realm: Shell, look: Look) -> None:
    """PRAGMA quick_check."""
    path = realm.state / "store.sqlite"
    store_of(realm).close()  # folds the log into the file
    data = bytearray(path.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    data[3 * page : 4 * page] = os.urandom(page)
    path.write_bytes(data)
    (line, *_) = look("store.integrity")
    assert line[1] == "fail"
    assert "backup" in line[3]


def test_master_key_of_another_realm(realm: Shell, look: Look) -> None:
    """The store does not open, and it says so."""
    (realm.state / "master.key").unlink()
    MasterKey.create(realm.state / "master.key")
    ((_, level, message, _),) = look("store.realm")
    assert level == "fail"
    assert "the master key does not open" in message


def test_configuration_of_another_realm(realm: Shell, look: Look) -> None:
    """kdc.toml was copied from somewhere else."""
    path = realm.state / "kdc.toml"
    path.write_text(path.read_text().replace("LAB.TEST", "OTHER.TEST"))
    ((_, level, message, fix),) = look("store.realm")
    assert (level, message) == (
        "fail",
        "the store was made for realm LAB.TEST, kdc.toml says OTHER.TEST",
    )
    assert fix.startswith('realm = "LAB.TEST"')


def change(shell: Shell, sql: str) -> None:
    with sqlite3.connect(shell.state / "store.sqlite") as connection:
        connection.execute(sql)
    connection.close()


def test_sealed_key_copied_to_another_row(realm: Shell, look: Look) -> None:
    """Requirement 12: a sealed value opens in its own place only; the rest is looked at."""
    change(
        realm,
        "UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE account_id = 1 LIMIT 1)"
        " WHERE account_id = (SELECT id FROM accounts WHERE name = 'pat')",
    )
    ((_, level, message, _),) = look("store.keys")
    assert (level, message.partition(":")[0]) == ("fail", "the sealed keys of pat do not open")


def test_old_krbtgt_keys(realm: Shell, look: Look) -> None:
    """Half a year."""
    travel(realm, 181)
    ((_, level, message, _),) = look("store.krbtgt")
    assert (level, message) == ("warn", "krbtgt has 4 keys, kvno 1, unchanged for 181 days")


def test_krbtgt_without_a_supported_type(realm: Shell, look: Look) -> None:
    """supported_enctypes was narrowed to types that did not exist when the realm was made."""
    change(realm, "DELETE FROM keys WHERE account_id = 1 AND etype IN (19, 20)")
    with (realm.state / "kdc.toml").open("a") as file:
        file.write('supported_enctypes = ["aes256-sha2"]\n')
    ((_, level, message, _),) = look("store.krbtgt")
    assert level == "fail"
    assert "no ticket can be issued" in message


def test_key_on_two_accounts(realm: Shell, look: Look) -> None:
    """Row K07: nobody logs on with it. A directory's content may be so, whoever wrote it."""
    store = store_of(realm)
    alice, pat = account_id(store, "alice"), account_id(store, "pat")
    (credential,) = realm.ok("key", "list", "alice", "--json").json
    account = store.account_by_id(alice)
    assert account is not None
    text = account.key_credentials[0].text.replace("CN=alice,", "CN=pat,")
    store.replace_key_credentials(pat, (text,))
    store.close()
    ((_, level, message, fix),) = look("store.shared_keys")
    assert level == "fail"
    assert re.search(r"registered on (alice, pat|pat, alice): logons with it are refused", message)
    assert fix.endswith(f"kdc key remove NAME {credential['key_id'][:16]}")
    realm.ok("key", "remove", "pat", credential["key_id"][:16])
    assert look("store.shared_keys") == []


def test_unusable_key_with_its_reason(realm: Shell, look: Look) -> None:
    """A value that a directory holds and no logon can use."""
    store = store_of(realm)
    pat = account_id(store, "pat")
    store.replace_key_credentials(pat, (f"B:8:00020000:{store.owner_dn(pat)}",))
    store.close()
    ((_, level, message, fix),) = look("store.unusable_keys")
    assert level == "warn"
    assert re.fullmatch(r"1 registered key is not usable: .+ \(one is on pat\)", message)
    assert fix == "kdc key list pat"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("user", "add", "dora"), True),
        (("user", "set", "pat", "--smartcard-required"), True),
        (("user", "set", "alice", "--smartcard-required"), False),
        (("key", "remove", "alice", "--all"), True),
    ],
)
def test_account_without_a_way_to_log_on(
    realm: Shell, look: Look, arguments: tuple[str, ...], told: bool
) -> None:
    """Neither password nor usable key, or a password that may not be used."""
    realm.ok(*arguments)
    lines = look("store.no_logon")
    assert bool(lines) == told
    name = arguments[2]
    if told:
        assert lines[0][1:3] == ("warn", f"enabled, but without any way to log on: {name}")
        realm.ok("user", "disable", name)
        assert look("store.no_logon") == []


def test_keys_of_types_that_are_off(realm: Shell, look: Look) -> None:
    """A password set before supported_enctypes was changed, and a service's."""
    realm.ok("service", "add", "host/web.lab.test")
    change(realm, "DELETE FROM keys WHERE etype = 20 AND account_id <> 1")
    with (realm.state / "kdc.toml").open("a") as file:
        file.write('supported_enctypes = ["aes256-sha2"]\n')
    assert look("store.key_types")[0][2].endswith(": host/web.lab.test, kadmin/changepw, pat")
    assert look("store.services")[0][2].endswith(": host/web.lab.test, kadmin/changepw")


def test_large_store_is_looked_at_in_part(realm: Shell, healthy: str) -> None:
    """--all-accounts looks at every one."""
    realm.monkeypatch.setattr(accounts, "MAX_ACCOUNTS", 2)
    said = [line[2] for line in examine(realm, "--kdc", healthy) if line[0] == "store.keys"]
    assert "2 accounts open" in said[0]
    assert "4 are there: --all-accounts" in said[0]
    said = [line[2] for line in examine(realm, "--all-accounts") if line[0] == "store.keys"]
    assert said == ["the keys of 4 accounts open (1 krbtgt, 1 service, 2 user)"]


# -- certificates ----------------------------------------------------------------------------


def test_kdc_without_a_certificate(realm: Shell, look: Look) -> None:
    """Error 16, the most-reported PKINIT error."""
    (realm.state / "pki/kdc.pem").unlink()
    ((_, level, message, fix),) = look("certificates.kdc")
    assert level == "fail"
    assert "refused (16)" in message
    assert fix.startswith("kdc cert issue-kdc --dns kdc.lab.test")


@pytest.mark.parametrize(
    ("days", "check", "level", "words"),
    [
        (340, "certificates.kdc_dates", "warn", "24 days"),
        (366, "certificates.kdc_dates", "fail", "expired on"),
        (-1, "certificates.kdc_dates", "fail", "not valid before"),
        (3600, "certificates.ca_dates", "warn", "ca.pem"),
        (3651, "certificates.ca_dates", "fail", "expired on"),
        (6.5, "certificates.crl", "warn", "expires on"),
        (8, "certificates.crl", "warn", "expired on"),
    ],
)
def test_dates(realm: Shell, look: Look, days: float, check: str, level: str, words: str) -> None:
    """A month for the KDC's, three for the CA's, a day for the CRL (row S04)."""
    travel(realm, days)
    ((_, found, message, _),) = look(check)
    assert found == level
    assert words in message


def test_expired_crl_that_clients_fetch(realm: Shell, look: Look) -> None:
    """With a distribution point in the KDC's certificate, Windows refuses it."""
    realm.ok("cert", "issue-kdc", "--crl-url", "http://crl.lab.test/ca.crl")
    travel(realm, 8)
    assert look("certificates.crl")[0][1] == "fail"


def test_key_of_another_certificate(realm: Shell, look: Look) -> None:
    """The server would not start."""
    key = ca.generate_key(ca.KeyType.RSA_2048)
    write_private(realm.state / "pki/kdc.key", ca.private_key_to_pem(key))
    ((_, level, message, _),) = look("certificates.kdc_key")
    assert (level, message) == ("fail", "kdc.key is not the key of kdc.pem")


def issue_from(shell: Shell, issuer: ca.IssuedCertificate, host: str = "kdc.lab.test") -> None:
    realm = realm_of(shell)
    with open_ledger(realm.folder) as ledger:
        authority = Authority(
            folder=realm.folder, config=realm.config, issuer=issuer, ledger=ledger
        )
        issue_kdc_certificates(authority, (ca.KeyType.EC_P256,), (host,))


def test_certificate_of_another_ca(realm: Shell, look: Look) -> None:
    """Clients have pki/ca.pem as their anchor."""
    issue_from(realm, ca.create_root("LAB.TEST", datetime.now(UTC)))
    ((_, level, message, fix),) = look("certificates.chain")
    assert (level, message) == ("fail", "kdc.pem: its certificate does not chain to the anchor")
    assert fix.startswith("kdc cert issue-kdc")


def test_user_certificate_as_the_kdcs(realm: Shell, look: Look, alice_pem: Path) -> None:
    """No EKU of a KDC, no name of the realm."""
    (certificate,) = ca.certificates_from_pem(alice_pem.read_bytes())
    key = ca.private_key_from_pem(alice_pem.read_bytes())
    write_public(realm.state / "pki/kdc.pem", ca.certificate_to_pem(certificate))
    write_private(realm.state / "pki/kdc.key", ca.private_key_to_pem(key))
    told = " ".join(line[2] for line in look("certificates.kdc"))
    assert "id-pkinit-KPKdc" in told
    assert "no id-pkinit-san krbtgt/LAB.TEST@LAB.TEST" in told


def test_tools_realm_misses_no_krbtgt_san(shell: Shell) -> None:
    """It is made without, on purpose."""
    shell.ok("init", "--realm", "LAB.TEST", "--listen", "127.0.0.1:18888", "--compat", "tools")
    lines = examine(shell, "--no-logons")
    assert [line for line in lines if line[0] == "certificates.kdc" and line[1] != "ok"] == []


def test_unreadable_certificate(realm: Shell, look: Look) -> None:
    """One bad file does not end the examination."""
    (realm.state / "pki/kdc.pem").write_text("nonsense")
    ((_, level, message, _),) = look("certificates.kdc")
    assert (level, message.partition(":")[0]) == ("fail", "certificate PEM")


def test_ca_that_is_none(realm: Shell, look: Look, alice_pem: Path) -> None:
    """A leaf in the CA's place."""
    (certificate,) = ca.certificates_from_pem(alice_pem.read_bytes())
    write_public(realm.state / "pki/ca.pem", ca.certificate_to_pem(certificate))
    assert look("certificates.ca")[0][2] == "ca.pem: it is not a CA's certificate"


def test_crl_of_another_ca(realm: Shell, look: Look) -> None:
    """Row S04: a list that proves nothing."""
    moment = datetime.now(UTC)
    other = ca.create_crl(ca.create_root("LAB.TEST", moment), 1, (), moment)
    write_public(realm.state / "pki/ca.crl", other)
    assert look("certificates.crl")[0][2].endswith("is not signed by the realm's CA")
    (realm.state / "pki/ca.crl").write_bytes(b"nonsense")
    assert look("certificates.crl")[0][2].endswith("is no CRL")
    (realm.state / "pki/ca.crl").unlink()
    assert look("certificates.crl")[0][2].startswith("there is no ")


def test_revoked_kdc_certificate(realm: Shell, look: Look) -> None:
    """Clients that look will refuse it."""
    issuer = realm_of(realm).ca()
    moment = datetime.now(UTC)
    (leaf,) = ca.certificates_from_pem((realm.state / "pki/kdc.pem").read_bytes())
    serial = Certificate(leaf).serial_number
    revoked = ca.RevokedCertificate(serial_number=serial, date=moment)
    write_public(realm.state / "pki/ca.crl", ca.create_crl(issuer, 2, (revoked,), moment))
    assert look("certificates.crl")[0][1:3] == ("fail", "kdc.pem is revoked")


# -- machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "level"), [(False, "warn"), (True, "ok"), (None, "ok")])
def test_clock(realm: Shell, state: bool | None, level: str) -> None:
    """adjtimex(2), where the system has it."""
    realm.monkeypatch.setattr(machine, "_synchronised", lambda: state)
    lines = examine(realm, "--no-logons")
    assert [line[1] for line in lines if line[0] == "machine.clock"] == [level]


def test_clock_that_went_back(realm: Shell, look: Look) -> None:
    """The store was written in the future."""
    ahead = datetime.now(UTC).timestamp() + 86400
    os.utime(realm.state / "store.sqlite", (ahead, ahead))
    ((_, level, message, _),) = look("machine.clock")
    assert level == "fail"
    assert "behind the time at which the store was written" in message


def test_limits(realm: Shell, look: Look) -> None:
    """Too many workers, too few files."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("workers = 255\n")
    assert look("machine.workers")[0][1] == "warn"
    realm.monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 64))
    ((_, level, _, fix),) = look("machine.open_files")
    assert level == "warn"
    assert fix.startswith("LimitNOFILE=80 ")


# -- server ----------------------------------------------------------------------------------


def listen_on(shell: Shell, port: int, host: str = "127.0.0.1") -> None:
    path = shell.state / "kdc.toml"
    path.write_text(path.read_text().replace("127.0.0.1:18888", f"{host}:{port}"))


def test_nothing_listens(realm: Shell) -> None:
    """The ports are free: start the server. No account is made for logons that cannot be."""
    listen_on(realm, free_port())
    lines = examine(realm)
    ports = [line for line in lines if line[0] == "server.ports"]
    assert [(line[1], line[3]) for line in ports] == [("fail", "kdc serve")] * 2
    (logon,) = (line for line in lines if line[0].startswith("logons"))
    assert (logon[0], logon[1]) == ("logons.server", "fail")
    assert "kdc serve" in logon[3]


def test_mute_program_on_the_port(realm: Shell, look: Look) -> None:
    """Somebody else has it."""
    port = free_port()
    listen_on(realm, port)
    realm.monkeypatch.setattr(machine, "TIMEOUT_S", 0.1)
    with (
        socket.create_server(("127.0.0.1", port)),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        datagram.bind(("127.0.0.1", port))
        lines = look("server.ports")
    assert len(lines) == 2
    for _, level, message, fix in lines:
        assert level == "fail"
        assert message.startswith("another program has ")
        assert f"ss -lntup 'sport = :{port}'" in fix


def test_address_of_another_machine(realm: Shell, look: Look) -> None:
    """The configuration names what this machine does not have (a documentation address)."""
    listen_on(realm, 18888, "192.0.2.1")
    realm.monkeypatch.setattr(machine, "TIMEOUT_S", 0.05)
    assert {line[3] for line in look("server.ports")} == {"correct listen in kdc.toml"}


def test_server_of_another_folder(realm: Shell, tmp_path: Path, made_realm: Path) -> None:
    """Same realm, another store: the account made here is unknown there, and deleted here."""
    shutil.copytree(made_realm / "state", tmp_path / "other")
    with served(tmp_path / "other") as address:
        lines = examine(realm, "--kdc", address)
    (first,) = (line for line in lines if line[0] == "logons.disabled")
    assert first[1] == "fail"
    assert f"it serves another folder than {realm.state}" in first[2]
    assert no_visitors(realm)


def test_kdc_of_another_realm(realm: Shell, tmp_path: Path) -> None:
    """The port answers, but not for us."""
    other = Shell(state=tmp_path / "other", monkeypatch=realm.monkeypatch, capsys=realm.capsys)
    other.ok("init", "--realm", "OTHER.TEST", "--listen", "127.0.0.1:18888")
    with served(other.state) as address:
        lines = examine(realm, "--kdc", address)
    ports = [line for line in lines if line[0] == "server.ports"]
    assert {line[1] for line in ports} == {"fail"}
    assert "the KDC of OTHER.TEST answers" in ports[0][2]


# -- logons ----------------------------------------------------------------------------------


def no_visitors(shell: Shell) -> bool:
    names = [user["name"] for user in shell.ok("user", "list", "--json").json]
    return not any(name.startswith(logons.PREFIX) for name in names)


def test_account_is_deleted_whatever_happens(realm: Shell, healthy: str) -> None:
    """Also when a logon ends in an error that nobody expected."""
    examine(realm, "--kdc", healthy)
    assert no_visitors(realm)

    def broken(*_arguments: object) -> None:
        raise RuntimeError("bug")

    realm.monkeypatch.setattr(logons, "run", broken)
    with pytest.raises(RuntimeError):
        realm("doctor", "--kdc", healthy)
    assert no_visitors(realm)


def test_left_over_account_is_deleted_once_it_has_expired(realm: Shell, healthy: str) -> None:
    """One that is in use by another doctor stays."""
    for name in ("kdc-doctor-0ld00000", "kdc-doctor-new00000"):
        realm.ok("user", "add", name)
    store = store_of(realm)
    for name, minutes in (("kdc-doctor-0ld00000", -1), ("kdc-doctor-new00000", 5)):
        end = datetime.now(UTC) + timedelta(minutes=minutes)
        store.update_account(account_id(store, name), AccountChanges(expires_at=end))
    store.close()
    said = [line[2] for line in examine(realm, "--kdc", healthy) if line[0] == "logons.account"]
    assert said[0] == "kdc-doctor-0ld00000, left by an earlier run, is deleted"
    names = [user["name"] for user in realm.ok("user", "list", "--json").json]
    assert [n for n in names if n.startswith(logons.PREFIX)] == ["kdc-doctor-new00000"]


def test_server_with_an_old_certificate(realm: Shell, healthy: str) -> None:
    """It was renewed, but nobody told the server."""
    realm.ok("cert", "issue-kdc")
    (line,) = (x for x in examine(realm, "--kdc", healthy) if x[0] == "logons.certificate")
    assert line[1] == "warn"
    assert line[3].startswith("SIGHUP")


def test_server_with_an_old_untrusted_certificate(realm: Shell, healthy: str) -> None:
    """The anchor was replaced: clients refuse the KDC, and so does the doctor."""
    issuer = ca.create_root("LAB.TEST", datetime.now(UTC))
    write_public(realm.state / "pki/ca.pem", ca.certificate_to_pem(issuer.certificate_der))
    issue_from(realm, issuer)
    (line,) = (x for x in examine(realm, "--kdc", healthy) if x[0] == "logons.key")
    assert line[1] == "fail"
    assert "is not trusted" in line[2]


def test_realm_that_hides_names(realm: Shell) -> None:
    """hide_unknown: a disabled account's password gets 24, and that is as it should be."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("hide_unknown = true\n")
    with served(realm.state) as address:
        lines = examine(realm, "--kdc", address)
    assert [line for line in lines if line[0].startswith("logons") and line[1] != "ok"] == []


def test_realm_that_requires_fast(realm: Shell) -> None:
    """require_fast: the key gives the armor, and the password is tried inside only."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("require_fast = true\n")
    with served(realm.state) as address:
        lines = examine(realm, "--kdc", address)
    tried = [line[:2] for line in lines if line[0].startswith("logons")]
    assert {level for _, level in tried} == {"ok"}
    assert {"logons.key", "logons.fast", "logons.wrong_password"} <= set(dict(tried))
    assert "logons.password" not in dict(tried)


def test_realm_without_certificates_that_requires_fast(realm: Shell) -> None:
    """Nobody can get an armor but by a keytab: the doctor says what it could not try."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("require_fast = true\n")
    (realm.state / "pki/kdc.pem").unlink()
    with served(realm.state) as address:
        lines = examine(realm, "--kdc", address)
    assert ("logons.fast", "warn") in [line[:2] for line in lines]


def test_realm_without_certificates_logs_on_by_password_only(realm: Shell) -> None:
    """The missing certificate is a line of its own."""
    (realm.state / "pki/kdc.pem").unlink()
    with served(realm.state) as address:
        lines = examine(realm, "--kdc", address)
    tried = [line[:2] for line in lines if line[0].startswith("logons")]
    assert ("logons.password", "ok") in tried
    assert "logons.key" not in dict(tried)


def test_ticket_for_a_wrong_password_is_a_failure(realm: Shell, healthy: str) -> None:
    """What must be refused and is not: the worst news there is."""
    realm.monkeypatch.setattr(logons, "run", lambda *_: (None, "udp"))
    realm.monkeypatch.setattr(logons._Attempt, "accepted", lambda *_: iter(()))
    lines = [line for line in examine(realm, "--kdc", healthy) if line[1] == "fail"]
    assert {line[0] for line in lines} == {
        *("logons.disabled", "logons.stranger", "logons.wrong_password")
    }
    assert all(line[2].endswith("got a ticket") for line in lines)


# -- fixes -----------------------------------------------------------------------------------


def commands_named() -> set[tuple[str, ...]]:
    """Find every `kdc NOUN [VERB]` in the texts of the checks."""
    found: set[tuple[str, ...]] = set()
    for path in Path(files.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for match in re.finditer(r"\bkdc ([a-z]+)(?: ([a-z][a-z-]+))?", node.value):
                    found.add(tuple(word for word in match.groups() if word))
    return found


def test_every_command_of_a_fix_exists() -> None:
    """A fix that names a command which is not there is no fix."""
    named = commands_named()
    assert len(named) > 8
    context = click.Context(root)
    for noun, *rest in named:
        if noun == "doctor" or noun in root.list_commands(context):
            command = root.get_command(context, noun)
            if isinstance(command, click.Group) and rest:
                assert rest[0] in command.commands, (noun, rest)
        else:
            raise AssertionError(noun)
