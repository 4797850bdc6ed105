"""The master key: its file, and what is sealed under it."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.backend import DirectoryError, DirectoryFault
from directory.sealing import MasterKey, SecretFileError
from tests.directory.builders import master_key


def fault_of_load(path: Path, trusted: tuple[Path, ...] = ()) -> tuple[DirectoryFault, str]:
    with pytest.raises(DirectoryError) as caught:
        MasterKey.load(path, trusted_paths=trusted)
    return caught.value.kind, caught.value.detail


def test_created_file_is_for_its_owner_only_and_loads(tmp_path: Path) -> None:
    """Design requirement 12: a 0600 file of 32 octets."""
    path = tmp_path / "master.key"
    sealed = MasterKey.create(path).seal(b"place", b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == 32
    assert MasterKey.load(path).open(b"place", sealed) == b"secret"


def test_existing_file_is_not_replaced(tmp_path: Path) -> None:
    """A new master key would make every sealed secret unreadable."""
    path = tmp_path / "master.key"
    MasterKey.create(path)
    before = path.read_bytes()
    with pytest.raises(DirectoryError) as caught:
        MasterKey.create(path)
    assert caught.value.kind is DirectoryFault.EXISTS
    assert path.read_bytes() == before


def test_half_written_draft_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """A killed `kdc init` leaves no key of the wrong size under the key's name."""
    (tmp_path / "master.key.new").write_bytes(b"half")
    MasterKey.create(tmp_path / "master.key")
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


def test_folder_that_is_not_there_is_denied(tmp_path: Path) -> None:
    """Said with the path and the system's words."""
    with pytest.raises(DirectoryError) as caught:
        MasterKey.create(tmp_path / "none" / "master.key")
    assert caught.value.kind is DirectoryFault.DENIED


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o610])
def test_mode_that_lets_others_in_is_denied(tmp_path: Path, mode: int) -> None:
    """Row S06."""
    path = tmp_path / "master.key"
    MasterKey.create(path)
    path.chmod(mode)
    kind, detail = fault_of_load(path)
    assert kind is DirectoryFault.DENIED
    assert "group or others" in detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_denied(tmp_path: Path) -> None:
    """Row S06: the owner is the service user or root."""
    path = tmp_path / "master.key"
    MasterKey.create(path)
    os.chown(path, 12345, -1)
    kind, detail = fault_of_load(path)
    assert kind is DirectoryFault.DENIED
    assert "belongs to neither" in detail


def test_trusted_path_is_exempt(tmp_path: Path) -> None:
    """Row S06: systemd credentials and trusted_secret_paths, a file or its folder."""
    path = tmp_path / "master.key"
    MasterKey.create(path)
    path.chmod(0o440)
    MasterKey.load(path, trusted_paths=(tmp_path,))
    MasterKey.load(path, trusted_paths=(path,))
    assert fault_of_load(path, (tmp_path / "elsewhere",))[0] is DirectoryFault.DENIED


def test_link_out_of_a_trusted_folder_is_not_exempt(tmp_path: Path) -> None:
    """Row S06: what counts is where the file really is."""
    trusted = tmp_path / "credentials"
    trusted.mkdir()
    path = tmp_path / "master.key"
    MasterKey.create(path)
    path.chmod(0o444)
    (trusted / "master.key").symlink_to(path)
    assert fault_of_load(trusted / "master.key", (trusted,))[0] is DirectoryFault.DENIED


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    """Told apart from a bad one."""
    assert fault_of_load(tmp_path / "none")[0] is DirectoryFault.NOT_FOUND


def test_folder_or_fifo_is_denied(tmp_path: Path) -> None:
    """A regular file only; a fifo does not hang the start."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert fault_of_load(fifo)[0] is DirectoryFault.DENIED
    assert fault_of_load(tmp_path)[0] is DirectoryFault.DENIED


@pytest.mark.parametrize("size", [0, 31, 33, 4096])
def test_wrong_size_is_invalid(tmp_path: Path, size: int) -> None:
    """32 octets exactly."""
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_bytes(bytes(size))
    assert fault_of_load(path)[0] is DirectoryFault.INVALID


def test_value_opens_only_in_its_place() -> None:
    """The additional data binds a value to what it is and whose."""
    key = master_key()
    sealed = key.seal(b"alice", b"secret")
    for aad, blob in ((b"bob", sealed), (b"alice", sealed[:-1]), (b"alice", b"")):
        with pytest.raises(DirectoryError) as caught:
            key.open(aad, blob)
        assert caught.value.kind is DirectoryFault.CORRUPT


def test_same_value_seals_differently() -> None:
    """A fresh nonce each time."""
    key = master_key()
    assert key.seal(b"a", b"secret") != key.seal(b"a", b"secret")


def test_master_key_does_not_show() -> None:
    """Row S08."""
    assert repr(MasterKey(b"x" * 32)) == "MasterKey(***)"


@given(st.binary(max_size=100))
def test_any_octets_open_to_corrupt(blob: bytes) -> None:
    """Fuzz: nothing but DirectoryError."""
    with pytest.raises(DirectoryError):
        master_key().open(b"place", blob)


@pytest.mark.parametrize("aad", [b"another place", b"its place"])
def test_sealed_file_opens_only_with_its_key_in_its_place(tmp_path: Path, aad: bytes) -> None:
    """Whose file it is and what to restore is said; a file sealed elsewhere stays shut."""
    key = MasterKey.create(tmp_path / "master.key")
    path = tmp_path / "ca.key"
    path.touch(0o600)
    path.write_bytes(key.seal(b"its place", b"secret"))
    assert key.open_file(path, b"its place", 1024) == b"secret"
    other = MasterKey(bytes(32)) if aad == b"its place" else key
    with pytest.raises(SecretFileError) as caught:
        other.open_file(path, aad, 1024)
    assert caught.value.kind is DirectoryFault.DENIED
    assert caught.value.remedy == "restore ca.key and master.key from one backup"
