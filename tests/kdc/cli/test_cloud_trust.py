"""`kdc cloud-trust`: the objects of a cloud trust, its keys, and tickets under them."""

import base64
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from directory.sealing import MasterKey
from directory.store import Store
from kdc.cli.errors import ExitCode
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, decrypt
from kdc.formats.ccache import decode_ccache
from kdc.formats.cloud_key import CloudKey, CloudKeyError, decode_cloud_key, encode_cloud_key
from kdc.pac import parse_pac, verify_partial_pac
from kdc.state_folder import StateFolder
from kdc.wire.rfc4120 import AsRep, EncAsRepPart, EncTicketPart, Ticket
from pki import asn1
from tests.kdc.cli.conftest import Shell
from tests.kdc.tgs_builders import pac_of


@pytest.fixture
def cloud(realm: Shell) -> Shell:
    """Make a cloud trust of number 40000."""
    realm.ok("cloud-trust", "create", "--number", "40000")
    return realm


def store_of(shell: Shell) -> Store:
    folder = StateFolder(shell.state)
    return Store.open(folder.store, MasterKey.load(folder.master_key))


def exported(shell: Shell, name: str = "cloud.key", *options: str) -> tuple[Path, CloudKey]:
    """Export the key and read it."""
    file = shell.state.parent / name
    shell.ok("cloud-trust", "export-key", "-o", file, *options)
    return file, decode_cloud_key(file.read_bytes())


def test_create_makes_both_accounts_and_their_links(cloud: Shell) -> None:
    """MS-ADTS 6.1.1.3.2, as Entra's own tool makes them."""
    store = store_of(cloud)
    dc = store.read_only_dc(40000)
    assert dc is not None
    assert dc.computer is not None
    assert dc.computer.sam_account_name == "AzureADKerberos$"
    assert (dc.computer.partial_secrets, dc.computer.primary_group_id) == (True, 521)
    assert dc.computer.keys == ()
    assert dc.computer.krbtgt_link == "CN=krbtgt_AzureAD,CN=Users,DC=LAB,DC=TEST"
    assert dc.computer.reveal_on_demand == ("CN=Domain Users,CN=Users,DC=LAB,DC=TEST",)
    assert dc.allowed == {store.domain_sid.with_rid(513)}
    assert dc.denied == {store.domain_sid.with_rid(512), store.domain_sid.with_rid(516)}
    assert dc.krbtgt.sam_account_name == "krbtgt_40000"
    assert {key.etype for key in dc.krbtgt.keys} == {17, 18, 19, 20}
    assert store.krbtgt().sam_account_name == "krbtgt"
    store.close()


def test_number_is_free_and_random_when_none_is_given(realm: Shell) -> None:
    """1 to 65535."""
    realm.ok("cloud-trust", "create")
    (shown,) = realm.ok("cloud-trust", "show", "--json").json
    assert 1 <= shown["number"] <= 0xFFFF
    assert shown["problems"] == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--number", "40000", "--computer", "Other"), ExitCode.EXISTS),
        (("--number", "7"), ExitCode.EXISTS),  # the computer's name
        (("--number", "0"), ExitCode.USAGE),
        (("--number", "65536"), ExitCode.USAGE),
        (("--number", "7", "--computer", "a/b"), ExitCode.USAGE),
        (("--number", "7", "--computer", "B", "--allow", "Nobody"), ExitCode.NOT_FOUND),
        (("--number", "7", "--computer", "B", "--deny", "Nobody"), ExitCode.NOT_FOUND),
    ],
)
def test_create_refuses(cloud: Shell, options: tuple[str, ...], code: ExitCode) -> None:
    """And nothing is there afterwards."""
    done = cloud("cloud-trust", "create", *options)
    assert done.code == code
    assert done.error
    assert len(cloud.ok("cloud-trust", "show", "--json").json) == 1


def test_lists_can_be_named(realm: Shell) -> None:
    """Any group of the domain."""
    realm.ok("group", "add", "Cloud Users")
    realm.ok("cloud-trust", "create", "--allow", "Cloud Users", "--deny", "Protected Users")
    (shown,) = realm.ok("cloud-trust", "show", "--json").json
    assert (shown["allow"], shown["deny"]) == (["Cloud Users"], ["Protected Users"])
    assert "Cloud Users" in realm.ok("cloud-trust", "show").out


def test_show_says_what_is_wrong(cloud: Shell) -> None:
    """A group of the deny list that was deleted refuses everybody."""
    cloud.ok("group", "add", "Gone")
    cloud.ok("cloud-trust", "create", "--number", "7", "--computer", "B", "--deny", "Gone")
    store = store_of(cloud)
    group = store.group_by_name("Gone")
    assert group is not None
    store.delete_group(group.group_id)
    store.close()
    (shown,) = cloud.ok("cloud-trust", "show", "--number", "7", "--json").json
    assert shown["deny"] == ["CN=Gone,CN=Users,DC=LAB,DC=TEST"]
    (problem,) = shown["problems"]
    assert "everybody is refused (12)" in problem


def test_several_need_a_number(cloud: Shell) -> None:
    """Which one is meant is never guessed."""
    cloud.ok("cloud-trust", "create", "--number", "7", "--computer", "Branch")
    done = cloud("cloud-trust", "rotate")
    assert done.code == ExitCode.USAGE
    assert "7, 40000" in done.error[1]
    cloud.ok("cloud-trust", "rotate", "--number", "7")
    assert cloud("cloud-trust", "rotate", "--number", "8").code == ExitCode.NOT_FOUND


def test_none_is_not_found(realm: Shell) -> None:
    """Each command says how to make one."""
    assert "kdc cloud-trust create" in realm.ok("cloud-trust", "show").out
    assert realm.ok("cloud-trust", "show", "--json").json == []
    for command in (("rotate",), ("delete",), ("export-key", "-o", str(realm.state / "k"))):
        done = realm("cloud-trust", *command)
        assert (done.code, done.error[2]) == (ExitCode.NOT_FOUND, "kdc cloud-trust create")


def test_rotation_keeps_the_last_key(cloud: Shell) -> None:
    """For the old tickets' life: until the next rotation."""
    assert "void" not in cloud.ok("cloud-trust", "rotate").err
    (shown,) = cloud.ok("cloud-trust", "show", "--json").json
    assert (shown["kvno"], shown["kvnos"]) == (2, [2, 1])
    assert "kvno 1 and older are void" in cloud.ok("cloud-trust", "rotate").err
    (shown,) = cloud.ok("cloud-trust", "show", "--json").json
    assert shown["kvnos"] == [3, 2]


def test_exported_key_is_the_newest_and_for_the_owner_only(cloud: Shell) -> None:
    """Mode 0600, never over another file, never on the terminal."""
    file, first = exported(cloud)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (first.realm, first.domain, first.netbios) == ("LAB.TEST", "lab.test", "LAB")
    assert (first.number, first.kvno, first.key.enctype) == (40000, 1, 18)
    assert cloud("cloud-trust", "export-key", "-o", file).code == ExitCode.EXISTS
    cloud.ok("cloud-trust", "rotate")
    _, second = exported(cloud, "second.key")
    assert second.kvno == 2
    assert second.key.value != first.key.value
    done = cloud.ok("cloud-trust", "export-key", "-o", cloud.state.parent / "third.key")
    assert second.key.value.hex() not in done.out + done.err
    assert second.key.value.hex() not in repr(second)


def test_delete_removes_both(cloud: Shell) -> None:
    """And the realm's own krbtgt stays."""
    assert "AzureADKerberos$ and krbtgt_40000" in cloud.ok("cloud-trust", "delete").out
    assert cloud.ok("cloud-trust", "show", "--json").json == []
    cloud.ok("cloud-trust", "create", "--number", "40000")


def test_krbtgt_of_a_cloud_trust_is_no_user(cloud: Shell) -> None:
    """No command for users or keytabs changes it."""
    for arguments in (("user", "delete", "krbtgt_40000"), ("keytab", "rotate", "krbtgt_40000")):
        assert cloud(*arguments).code == ExitCode.DENIED


# -- mint ------------------------------------------------------------------------------------


def mint(shell: Shell, *options: str | Path) -> EncTicketPart:
    """Mint a ticket for pat with the key file alone, and open it."""
    file, key = exported(shell, f"{len(list(shell.state.parent.iterdir()))}.key")
    cache = shell.state.parent / "cc"
    elsewhere = replace(shell, state=shell.state.parent / "there is no realm here")
    elsewhere.ok(
        *("cloud-trust", "mint", "pat", "--key-file", file, "--sid", "1107"),
        *("--ccache", cache, *options),
    )
    (credential,) = decode_ccache(cache.read_bytes()).credentials
    sealed = asn1.decode(Ticket, credential.ticket).enc_part
    return asn1.decode(EncTicketPart, decrypt(key.key, KeyUsage.TICKET, sealed.cipher))


def test_minted_ticket_holds_little_more_than_the_sid(cloud: Shell) -> None:
    """No store is read: the state folder does not exist."""
    part = mint(cloud)
    store = store_of(cloud)
    krbtgt = store.read_only_dc(40000)
    assert krbtgt is not None
    key = next(key for key in krbtgt.krbtgt.keys if key.etype == 18)
    pac = verify_partial_pac(
        parse_pac(pac_of(part)), key=ProtocolKey(EncType(18), key.key), number=40000
    )
    assert pac.requestor == pac.logon_sid == store.domain_sid.with_rid(1107)
    store.close()


def test_kvno_of_a_minted_ticket(cloud: Shell) -> None:
    """MS-KILE 3.1.5.8: number and version, as Int32."""
    mint(cloud)
    (credential,) = decode_ccache((cloud.state.parent / "cc").read_bytes()).credentials
    assert asn1.decode(Ticket, credential.ticket).enc_part.kvno == (40000 << 16 | 1) - (1 << 32)
    mint(cloud, "--kvno-low", "0", "--no-rodc-identifier")
    (credential,) = decode_ccache((cloud.state.parent / "cc").read_bytes()).credentials
    assert asn1.decode(Ticket, credential.ticket).enc_part.kvno == (40000 << 16) - (1 << 32)


def test_message_buffer_opens_with_the_client_key(cloud: Shell) -> None:
    """What the cloud hands to a device: an AS-REP, sealed with a key of its own (usage 3)."""
    out = cloud.state.parent / "tgt_ad.json"
    part = mint(cloud, "--out", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = json.loads(out.read_text())
    assert (found["keyType"], found["sessionKeyType"], found["error"]) == (18, 18, None)
    assert (found["realm"], found["cn"]) == ("LAB.TEST", "pat")
    message = asn1.decode(AsRep, base64.b64decode(found["messageBuffer"]))
    client_key = ProtocolKey(EncType(18), base64.b64decode(found["clientKey"]))
    plain = decrypt(client_key, KeyUsage.AS_REP_ENC_PART, message.enc_part.cipher)
    assert asn1.decode(EncAsRepPart, plain).key == part.key


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--sid", "1107"), ExitCode.USAGE),  # nowhere to write it
        (("--sid", "S-1-5-21-1-2-3-1107", "--ccache", "cc"), ExitCode.USAGE),
        (("--sid", "pat", "--ccache", "cc"), ExitCode.USAGE),
        (("--sid", "99999999999", "--ccache", "cc"), ExitCode.USAGE),
        (("--sid", "1107", "--ccache", "cc", "--end", "2001-01-01"), ExitCode.USAGE),
    ],
)
def test_mint_refuses(
    cloud: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: ExitCode,
) -> None:
    """Wrong usage, in three lines."""
    monkeypatch.chdir(tmp_path)
    file, _ = exported(cloud)
    done = cloud("cloud-trust", "mint", "pat", "--key-file", file, *options)
    assert done.code == code
    assert done.error


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("realm"),
        lambda found: found.update(format="another"),
        lambda found: found.update(number=0),
        lambda found: found.update(number=True),
        lambda found: found.update(number="7"),
        lambda found: found.update(etype=23),
        lambda found: found.update(key="00"),
        lambda found: found.update(key=7),
        lambda found: found.update(domain_sid="S-1"),
        lambda found: found.update(realm="x" * 5000),
    ],
)
def test_file_that_is_no_key_is_refused(cloud: Shell, change: object) -> None:
    """In three lines, and nothing of it is shown."""
    file, key = exported(cloud)
    found = json.loads(file.read_text())
    assert callable(change)
    change(found)
    file.write_text(json.dumps(found))
    with pytest.raises(CloudKeyError):
        decode_cloud_key(file.read_bytes()[:4096])
    done = cloud("cloud-trust", "mint", "pat", "--key-file", file, "--sid", "1", "--ccache", "cc")
    assert done.code == ExitCode.FAILED
    assert key.key.value.hex() not in done.err
    assert done.error


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"[" * 4000, b"\xff", b"null"])
def test_octets_that_are_no_key_file(data: bytes) -> None:
    """One error for all of them."""
    with pytest.raises(CloudKeyError):
        decode_cloud_key(data)


def test_key_file_is_read_as_it_was_written(cloud: Shell) -> None:
    """The format is documented in `kdc.formats.cloud_key`."""
    file, key = exported(cloud)
    assert encode_cloud_key(key) == file.read_bytes()


# -- a realm in LDAP -------------------------------------------------------------------------


def test_ldap_realm_whose_keys_would_not_come_here_is_refused(cloud: Shell) -> None:
    """In three lines, before anything is asked of the directory."""
    config = cloud.state / "kdc.toml"
    config.write_text(config.read_text() + '\ndirectory.url = ["ldap://127.0.0.1:1"]\n')
    for command in (("create", "--computer", "B"), ("rotate",)):
        done = cloud("cloud-trust", *command, "--bind-dn", "cn=x")
        assert done.code == ExitCode.DENIED
        assert "key_source" in done.error[2]
    assert cloud("cloud-trust", "export-key", "-o", cloud.state.parent / "k").code == 0


def test_options_of_a_directory_need_one(cloud: Shell) -> None:
    """An embedded realm asks no directory."""
    done = cloud("cloud-trust", "rotate", "--bind-dn", "cn=x")
    assert done.code == ExitCode.USAGE
