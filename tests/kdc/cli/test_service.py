"""`kdc service` and `kdc keytab`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from directory.keytab import KeytabEntry, decode_keytab
from kdc.cli.errors import ExitCode
from tests.kdc.cli.conftest import Shell

HOST = "host/web.lab.test"


def entries(path: Path) -> tuple[KeytabEntry, ...]:
    return decode_keytab(path.read_bytes())


def test_service_has_random_keys_in_its_keytab(realm: Shell, tmp_path: Path) -> None:
    """--keytab adds to a file that may be there."""
    keytab = tmp_path / "kt"
    realm.ok("service", "add", HOST, "--keytab", keytab)
    realm.ok("service", "add", "HTTP/web.lab.test@LAB.TEST", "--keytab", keytab)
    assert keytab.stat().st_mode & 0o777 == 0o600
    found = entries(keytab)
    assert {e.principal for e in found} == {f"{HOST}@LAB.TEST", "HTTP/web.lab.test@LAB.TEST"}
    assert len({e.key for e in found}) == 8
    names = [s["name"] for s in realm.ok("service", "list", "--json").json]
    assert names == [HOST, "HTTP/web.lab.test", "kadmin/changepw"]
    realm.ok("service", "delete", HOST)
    assert [s["name"] for s in realm.ok("service", "list", "--json").json] == names[1:]


def test_export_never_changes_keys(realm: Shell, tmp_path: Path) -> None:
    """Unlike ktadd: twice the same file, and no overwriting unasked."""
    first, second = tmp_path / "1", tmp_path / "2"
    realm.ok("keytab", "export", "pat", "-o", first)
    realm.ok("keytab", "export", "pat@LAB.TEST", "-o", second)
    assert [e.key for e in entries(first)] == [e.key for e in entries(second)]
    assert realm("keytab", "export", "pat", "-o", first).code == ExitCode.EXISTS
    realm.ok("keytab", "export", "krbtgt/LAB.TEST", "-o", first, "--append")
    assert {e.principal for e in entries(first)} == {"pat@LAB.TEST", "krbtgt/LAB.TEST@LAB.TEST"}


def test_account_without_keys_has_no_keytab(realm: Shell, tmp_path: Path) -> None:
    """A registered key is no long-term key."""
    assert realm("keytab", "export", "alice", "-o", tmp_path / "x").code == ExitCode.NOT_FOUND


def test_rotation_keeps_the_last_generation(realm: Shell, tmp_path: Path) -> None:
    """Tickets under the old key can still be opened with the keytab and by the KDC."""
    keytab = tmp_path / "kt"
    realm.ok("service", "add", HOST, "--keytab", keytab)
    for kvno in (2, 3):
        assert f"kvno {kvno}" in realm.ok("keytab", "rotate", HOST, "--keytab", keytab).out
    assert {e.kvno for e in entries(keytab)} == {1, 2, 3}
    realm.ok("keytab", "export", HOST, "-o", tmp_path / "now")
    assert {e.kvno for e in entries(tmp_path / "now")} == {2, 3}


def test_show_lists_entries_but_no_keys(realm: Shell, tmp_path: Path) -> None:
    """Secrets do not reach the terminal."""
    keytab = tmp_path / "kt"
    realm.ok("service", "add", HOST, "--keytab", keytab)
    shown = realm.ok("keytab", "show", keytab, "--json")
    assert [row["enctype"] for row in shown.json] == [
        "aes256-cts-hmac-sha1-96",
        "aes128-cts-hmac-sha1-96",
        "aes256-cts-hmac-sha384-192",
        "aes128-cts-hmac-sha256-128",
    ]
    printed = shown.out + realm.ok("keytab", "show", keytab).out
    for entry in entries(keytab):
        assert entry.key.hex() not in printed
    (tmp_path / "not").write_bytes(b"no keytab")
    assert realm("keytab", "show", tmp_path / "not").code == ExitCode.FAILED


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("klist") is None, reason="krb5-user is not installed")
def test_mit_klist_reads_the_keytab(realm: Shell, tmp_path: Path) -> None:
    """`klist -ke`."""
    keytab = tmp_path / "kt"
    realm.ok("service", "add", HOST, "--keytab", keytab)
    listed = subprocess.run(
        ["klist", "-ke", f"FILE:{keytab}"], capture_output=True, text=True, check=True
    ).stdout
    assert listed.count(f"{HOST}@LAB.TEST") == 4
    assert "aes256-cts-hmac-sha384-192" in listed
