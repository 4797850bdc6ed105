"""Keys from a keytab: whose they are, which are taken, and when the file is read again."""

import os
from pathlib import Path

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.keysources import keys_of_account
from directory.keysources.keytab import KeytabSource
from directory.keytab import KeytabEntry, encode_keytab

KEYS = {18: bytes(range(32)), 17: bytes(range(16)), 23: bytes(16), 3: bytes(8)}


def _entry(name: str, etype: int = 18, kvno: int = 2, realm: str = "LAB.TEST") -> KeytabEntry:
    return KeytabEntry(
        realm=realm, components=tuple(name.split("/")), kvno=kvno, etype=etype, key=KEYS[etype]
    )


def _write(path: Path, *entries: KeytabEntry) -> Path:
    path.write_bytes(encode_keytab(entries))
    path.chmod(0o600)
    return path


def test_principals_become_accounts(tmp_path: Path) -> None:
    """By sAMAccountName in any case, krbtgt of the realm, and services by SPN."""
    path = _write(
        tmp_path / "k",
        *(_entry(name) for name in ("Alice", "PC1$", "krbtgt/LAB.TEST", "HTTP/web.lab.test")),
    )
    loaded = KeytabSource(path, "LAB.TEST").load()
    assert set(loaded) == {"alice", "pc1$", "krbtgt", "http/web.lab.test"}
    assert loaded["alice"][0].salt == "LAB.TESTAlice"
    assert loaded["pc1$"][0].salt == "LAB.TESThostpc1.lab.test"
    assert loaded["krbtgt"][0].salt == ""


def test_a_service_is_found_by_its_spn(tmp_path: Path) -> None:
    """An account's own name comes first, then its SPNs."""
    source = KeytabSource(_write(tmp_path / "k", _entry("HTTP/web.lab.test")), "LAB.TEST")
    loaded = source.load()
    assert keys_of_account(loaded, "svc-web", ("host/x", "http/WEB.lab.test"))
    assert not keys_of_account(loaded, "svc-web", ("host/x",))
    assert source.keys_of("HTTP/web.lab.test")


@pytest.mark.parametrize("spn", ["alice", "krbtgt", "krbtgt/LAB.TEST", "kadmin/changepw"])
def test_an_spn_that_is_an_accounts_name_brings_no_keys(tmp_path: Path, spn: str) -> None:
    """Whoever may write SPNs takes nobody's password, nor krbtgt's keys, for an account."""
    names = ("alice", "krbtgt/LAB.TEST", "kadmin/changepw")
    loaded = KeytabSource(_write(tmp_path / "k", *map(_entry, names)), "LAB.TEST").load()
    assert not keys_of_account(loaded, "mallory", (spn,))


def test_foreign_realms_and_old_etypes_are_passed_over(tmp_path: Path) -> None:
    """Only keys that this KDC could use for its own realm are taken."""
    path = _write(
        tmp_path / "k",
        _entry("alice", realm="OTHER.TEST"),
        _entry("krbtgt/OTHER.TEST"),
        _entry("bob", etype=3),
        _entry("carol", etype=23),
    )
    assert not KeytabSource(path, "LAB.TEST").load()
    with_hashes = KeytabSource(path, "LAB.TEST", nt_hashes=True).load()
    assert [key.etype for key in with_hashes["carol"]] == [23]


def test_the_newest_generation_comes_first(tmp_path: Path) -> None:
    """Accounts list their keys newest kvno first, the strongest of each first."""
    path = _write(
        tmp_path / "k",
        _entry("a", 17, 3),
        _entry("a", 18, 2),
        _entry("a", 18, 4),
        _entry("a", 17, 4),
    )
    keys = KeytabSource(path, "LAB.TEST").load()["a"]
    assert [(key.kvno, key.etype) for key in keys] == [(4, 18), (4, 17), (3, 17), (2, 18)]


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    """By inode, time of change and size; one that is gone is a change, too."""
    path = _write(tmp_path / "k", _entry("a"))
    source = KeytabSource(path, "LAB.TEST")
    assert source.poll()
    source.load()
    assert not source.poll()
    other = _write(tmp_path / "new", _entry("a"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    assert source.poll()
    source.load()
    path.unlink()
    assert source.poll()


def test_a_keytab_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """A secret is for its owner alone."""
    path = _write(tmp_path / "k", _entry("a"))
    path.chmod(0o644)
    with pytest.raises(DirectoryError) as error:
        KeytabSource(path, "LAB.TEST").load()
    assert error.value.kind is DirectoryFault.DENIED


def test_a_missing_keytab_is_trouble_not_an_empty_realm(tmp_path: Path) -> None:
    """The follower keeps what it has; nobody loses his keys for a file that is away."""
    with pytest.raises(DirectoryError) as error:
        KeytabSource(tmp_path / "none", "LAB.TEST").load()
    assert error.value.kind is DirectoryFault.UNAVAILABLE


def test_no_key_is_in_a_repr(tmp_path: Path) -> None:
    """House rule."""
    source = KeytabSource(_write(tmp_path / "k", _entry("a")), "LAB.TEST")
    assert KEYS[18].hex() not in repr((source, source.load()))
    assert repr(KEYS[18]) not in repr((source, source.load()))
