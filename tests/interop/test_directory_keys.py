"""Long-term keys out of real directories: Samba's private socket, and sealed in OpenLDAP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.keysources.keytab import KeytabSource
from directory.keysources.samba_ldapi import SambaSource
from directory.keysources.sealed import SealedSource, seal_keys
from directory.ldap.write import find_account, write_sealed_keys
from directory.model import PrincipalKey
from directory.sealing import MasterKey
from tests.rig import directories, slapd
from tests.rig.samba_dc import REALM, USER_PASSWORD, SambaDc
from tests.rig.slapd import Slapd

pytestmark = pytest.mark.interop

MASTER = MasterKey(bytes(range(32)))
PAT = f"uid=pat,{slapd.PEOPLE}"


# -- Samba ---------------------------------------------------------------------------------------


@pytest.fixture
def samba_source(samba_dc: SambaDc) -> Iterator[SambaSource]:
    source = SambaSource(samba_dc.folder / "private", nt_hashes=True)
    yield source
    source.close()


def test_sambas_socket_and_its_own_export_agree(
    samba_dc: SambaDc, samba_source: SambaSource, tmp_path: Path
) -> None:
    """Each key of `samba-tool domain exportkeytab` is read with its kvno, and krbtgt's as well."""
    path = samba_dc.exported_keytab(tmp_path / "all.keytab")
    exported = KeytabSource(path, REALM, nt_hashes=True).load()
    loaded = samba_source.load()
    for name in ("krbtgt", "pat", "dc1$", "svc-web", "administrator"):
        ours = {(key.kvno, key.etype): key.key for key in loaded[name]}
        assert exported[name], name
        for key in exported[name]:
            assert ours[key.kvno, key.etype] == key.key, (name, key)


def test_a_new_password_is_read_at_once_and_the_last_is_kept(
    samba_dc: SambaDc, samba_source: SambaSource
) -> None:
    """MS-SAMR 3.1.1.8.11.6: the old keys stay one generation behind; the salt is kept."""
    before = samba_source.keys_of("svc-web")
    samba_dc.tool("user", "setpassword", "svc-web", f"--newpassword={USER_PASSWORD}x")
    after = samba_source.keys_of("SVC-WEB")
    assert after[0].kvno == before[0].kvno + 1
    assert after[0].salt == "LAB.EXAMPLEsvc-web"
    kept = {(key.kvno, key.etype): key.key for key in after}
    for key in before:
        if key.etype in (17, 18) and key.kvno == before[0].kvno:
            assert kept[key.kvno, key.etype] == key.key


def test_an_account_without_keys_has_none(samba_source: SambaSource) -> None:
    """A group, and a name that is nobody's, with characters of filters in it."""
    assert samba_source.keys_of("Domain Users") == ()
    assert samba_source.keys_of("pat)(objectClass=*") == ()


def test_without_legacy_ntlm_no_nt_hash_is_given(samba_dc: SambaDc) -> None:
    """A secret that nothing needs is not copied."""
    source = SambaSource(samba_dc.folder / "private")
    assert {key.etype for key in source.keys_of("pat")} == {17, 18}
    source.close()


def test_a_socket_that_is_away_is_trouble(tmp_path: Path) -> None:
    """The follower keeps what it has; nothing is read as "no keys"."""
    with pytest.raises(DirectoryError) as error:
        SambaSource(tmp_path).load()
    assert error.value.kind is DirectoryFault.UNAVAILABLE


# -- OpenLDAP ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    made = Slapd.make(tmp_path_factory.mktemp("ldap") / "slapd", more=slapd.person("pat", 1200))
    with made.running():
        yield made


def _keys(kvno: int) -> tuple[PrincipalKey, ...]:
    return (PrincipalKey(etype=18, kvno=kvno, key=bytes([kvno]) * 32, salt="LAB.TESTpat"),)


def test_sealed_keys_are_written_and_read_live(server: Slapd) -> None:
    """Written with the administrator's credentials, read with the follower's."""
    source = SealedSource(lambda: (directories.on_slapd(server, None), slapd.BASE), MASTER)
    writer = directories.on_slapd(server)
    for kvno in (1, 2):
        account = find_account(writer, slapd.BASE, "openldap", "pat")
        write_sealed_keys(writer, account, seal_keys(MASTER, account.sid.to_bytes(), _keys(kvno)))
        assert source.keys_of("PAT") == _keys(kvno)
    assert source.load() == {"pat": _keys(2)}
    source.close()
    writer.close()


def test_of_two_writers_the_second_is_told(server: Slapd) -> None:
    """Who read before the other wrote changes nothing: EXISTS, not a lost password."""
    writer = directories.on_slapd(server)
    first = find_account(writer, slapd.BASE, "openldap", "user0001")
    second = find_account(writer, slapd.BASE, "openldap", "user0001")
    sid = first.sid.to_bytes()
    write_sealed_keys(writer, first, seal_keys(MASTER, sid, _keys(1)))
    with pytest.raises(DirectoryError) as error:
        write_sealed_keys(writer, second, seal_keys(MASTER, sid, _keys(2)))
    assert error.value.kind is DirectoryFault.EXISTS
    writer.close()


def test_a_value_copied_from_another_entry_gives_no_key(server: Slapd) -> None:
    """An administrator of the directory cannot give one account the key of another."""
    writer = directories.on_slapd(server)
    for name in ("user0000", "user0002"):
        account = find_account(writer, slapd.BASE, "openldap", name)
        foreign = seal_keys(MASTER, slapd.sid(1200), _keys(1))
        write_sealed_keys(writer, account, foreign)
    source = SealedSource(lambda: (directories.on_slapd(server, None), slapd.BASE), MASTER)
    assert source.keys_of("user0000") == ()
    assert "user0002" not in source.load()
    source.close()
    writer.close()
