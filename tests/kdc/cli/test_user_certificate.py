"""`kdc user certificate`: what a computer puts into its userCertificate."""

from pathlib import Path

from kdc.cli.errors import ExitCode
from tests.kdc.cli.conftest import Shell
from tests.rig import certificates


def _file(folder: Path, name: str) -> Path:
    return certificates.self_signed(folder, name, certificates.new_key()).certificate


def test_certificate_is_added_shown_and_removed(realm: Shell, tmp_path: Path) -> None:
    """Flow R3 C, on a realm with a store of its own."""
    realm.ok("user", "add", "PC1$")
    guid = realm.ok("user", "show", "PC1", "--json").json["object_guid"]
    assert guid in realm.ok("user", "show", "PC1").out
    file = _file(tmp_path, guid)
    done = realm.ok("user", "certificate", "PC1", "--add", file, "--json").json
    assert [row["subject"] for row in done] == [f"CN={guid}"]
    assert set(done[0]) == {"subject", "sha256", "not_after"}
    again = realm("user", "certificate", "PC1", "--add", file)
    assert again.code == ExitCode.EXISTS
    assert f"CN={guid}" in realm.ok("user", "certificate", "PC1$").out
    realm.ok("user", "certificate", "PC1", "--remove", file)
    assert realm.ok("user", "certificate", "PC1", "--json").json == []
    gone = realm("user", "certificate", "PC1", "--remove", file)
    assert (gone.code, "no such certificate" in gone.err) == (ExitCode.NOT_FOUND, True)


def test_what_is_no_certificate_is_refused(realm: Shell, tmp_path: Path) -> None:
    """Nothing is put into the attribute that a reader could not read."""
    file = tmp_path / "x.pem"
    file.write_text("no certificate")
    assert realm("user", "certificate", "alice", "--add", file).code == ExitCode.FAILED
    assert realm.ok("user", "certificate", "alice", "--json").json == []
