"""The files in conf/: the example for clients and the systemd unit."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kdc.cli.client_files import krb5_conf

CONF = Path(__file__).parents[3] / "conf"
UNIT = CONF / "systemd/keytrust-kdc.service"


def without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_example_for_clients_is_what_init_writes() -> None:
    """conf/krb5.conf explains the file that every realm gets."""
    written = krb5_conf(
        realm="LAB.TEST",
        domain="lab.test",
        listen=("127.0.0.1:8888",),
        kpasswd=("127.0.0.1:9264",),
        ca_certificate=Path("/etc/keytrust/ca.pem"),
        kdc_host="kdc.lab.test",
        krbtgt_san=True,
    )
    example = (CONF / "krb5.conf").read_text()
    assert without_comments(example) == without_comments(written)


def service() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in without_comments(UNIT.read_text()):
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def test_unit_drops_what_the_kdc_does_not_need() -> None:
    """Design requirement 14 of the negative rows."""
    unit = service()
    for key, value in (
        ("Type", "notify"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("LimitCORE", "0"),
        ("MemoryMax", "2G"),
        ("RestartPreventExitStatus", "78"),
        ("StateDirectoryMode", "0700"),
    ):
        assert unit[key] == [value], key
    assert unit["SystemCallFilter"][0] == "@system-service"
    assert unit["User"] != ["root"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_unit_is_well_formed(tmp_path: Path) -> None:
    """`systemd-analyze verify`, with a program that exists."""
    text = UNIT.read_text().replace("/usr/bin/kdc", "/bin/true")
    (tmp_path / UNIT.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / UNIT.name],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert complaints == []
