"""`kdc serve`: how it starts, what it says, and the exit codes when it cannot start."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kdc.cli.errors import ExitCode
from tests.kdc.cli.conftest import Shell

pytestmark = pytest.mark.e2e

READY_S = 20.0


@contextmanager
def serving(shell: Shell, *options: str) -> Iterator[tuple[str, Path]]:
    """Run `kdc serve` on some free port; yields its first line and the file of its stderr."""
    log = shell.state.parent / "serve.err"
    with log.open("wb") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "kdc", "--state", str(shell.state), "serve"),
                *("--listen", "127.0.0.1:0", "--kpasswd-listen", "127.0.0.1:0"),
                *("--workers", "1", *options),
            ],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    try:
        assert process.stdout is not None
        yield process.stdout.readline(), log
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_S) == 0, log.read_text()
        assert process.stdout is not None
        assert process.stdout.read() == "", "one line, no more"
        process.stdout.close()


def test_one_line_when_ready_then_a_logon(realm: Shell, alice_pem: Path) -> None:
    """The line names the realm and the addresses; SIGTERM ends with 0."""
    with serving(realm) as (line, _):
        found = re.search(r"realm LAB\.TEST ready on (127\.0\.0\.1:\d+) \(udp, tcp\)", line)
        assert found is not None, line
        address = found[1]
        realm.ok("probe", "--kdc", address)
        realm.ok("logon", "alice", "--identity", alice_pem, "--kdc", address)
        realm.ok("key", "remove", "alice", "--all")
        done = realm("logon", "alice", "--identity", alice_pem, "--kdc", address)
        assert done.code == ExitCode.DENIED
    records = [json.loads(r) for r in (realm.state / "audit.jsonl").read_text().splitlines()]
    assert [r["Status"] for r in records] == ["0x6", "0x19", "0x0", "0x19", "0x3e"]


def test_weak_forms_are_listed_at_start(realm: Shell) -> None:
    """Each one that is on, with where it comes from."""
    with (realm.state / "kdc.toml").open("a") as file:
        file.write("legacy_dh_group2 = true\nlegacy_rc4 = true\n")
    with serving(realm) as (_, log):
        said = log.read_text()
    assert re.search(r"weak form accepted: legacy_dh_group2 \(.*kdc\.toml:\d+\)", said)
    assert "weak form accepted: legacy_rc4" not in said
    assert re.search(r"no effect in this version: legacy_rc4 \(.*kdc\.toml:\d+\)", said)


def test_log_as_json(realm: Shell) -> None:
    """--log-json: every line of stderr is an object."""
    text = (realm.state / "kdc.toml").read_text().replace('"strict"', '"windows"')
    (realm.state / "kdc.toml").write_text(text)
    with serving(realm, "--log-json") as (_, log):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    warning = next(line for line in lines if line["level"] == "warning")
    assert warning["message"] == "weak form accepted: legacy_sha1_cms (compat = windows)"
    assert set(warning) == {"time", "level", "logger", "pid", "message"}


def test_new_certificate_is_taken_on_sighup(realm: Shell, alice_pem: Path) -> None:
    """`kdc cert issue-kdc`, then SIGHUP."""
    with serving(realm) as (line, log):
        address, pid = re.findall(r"(127\.0\.0\.1:\d+) .*pid (\d+)", line)[0]
        logon = ("logon", "alice", "--identity", alice_pem, "--kdc", address, "--json")
        before = realm.ok(*logon).json["kdc_certificate_sha256"]
        realm.ok("cert", "issue-kdc")
        subprocess.run(["kill", "-HUP", pid], check=True)
        end = time.monotonic() + READY_S
        while realm.ok(*logon).json["kdc_certificate_sha256"] == before:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)


def test_port_in_use_is_1(realm: Shell) -> None:
    """Three lines, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = realm("serve", "--listen", address)
    assert done.code == ExitCode.FAILED
    assert done.error[0] == f"cannot listen on {address}"


# It failed once beside other tests, in a run whose output was cut; never alone.
@pytest.mark.alone
def test_loose_keys_are_5(realm: Shell) -> None:
    """Row S06: the master key, and the KDC's own."""
    for name in ("pki/kdc.key", "master.key"):
        (realm.state / name).chmod(0o640)
        done = realm("serve", "--listen", "127.0.0.1:0", "--workers", "1")
        assert done.code == ExitCode.DENIED, name
        assert "0640" in done.error[0] + done.error[1]


def test_bad_configuration_is_78(realm: Shell) -> None:
    """Nothing is bound before the file is judged."""
    (realm.state / "kdc.toml").write_text("realm = 1\n")
    done = realm("serve")
    assert done.code == ExitCode.CONFIGURATION
    assert done.error[0].startswith(f"{realm.state}/kdc.toml:1: ")


def test_passwords_are_changed_on_a_port_of_their_own(realm: Shell) -> None:
    """The line names it, and both transports are there."""
    with serving(realm) as (line, _):
        found = re.search(r"kpasswd on 127\.0\.0\.1:(\d+) \(udp, tcp\)", line)
        assert found is not None, line
        kdc = re.search(r"ready on 127\.0\.0\.1:(\d+) \(udp, tcp\)", line)
        assert kdc is not None, line
        assert kdc[1] != found[1]
        with socket.create_connection(("127.0.0.1", int(found[1])), 5) as connection:
            connection.sendall(b"\0\0\0\1x")
            answer = connection.recv(4096)
    assert answer[4 + 2 : 4 + 6] == bytes((0, 1, 0, 0))  # version 1, no AP-REP
    (record,) = [json.loads(r) for r in (realm.state / "audit.jsonl").read_text().splitlines()]
    assert (record["EventID"], record["exchange"], record["Status"]) == (4723, "kpasswd", "0x29")


def test_realm_from_before_kpasswd_gets_its_service_when_it_is_served(realm: Shell) -> None:
    """kadmin/changepw with random keys; the second start adds nothing."""
    realm.ok("service", "delete", "kadmin/changepw")
    for _ in range(2):
        with serving(realm):
            pass
        names = [s["name"] for s in realm.ok("service", "list", "--json").json]
        assert names == ["kadmin/changepw"]
