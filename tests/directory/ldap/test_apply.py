"""What a directory holds, written to the store: renames, groups, names that two have (row L04)."""

from pathlib import Path

import pytest

from directory.backend import DirectoryError, NeedsFetch
from directory.ldap.apply import ReplicaWriter, problem_names
from directory.ldap.messages import Entry
from directory.ldap.records import Gone
from directory.ldap.replica import ReplicaDirectory
from directory.model import PrincipalKey
from directory.store import Store
from tests.directory.builders import DEVICE
from tests.directory.ldap.builders import (
    BASE,
    DOMAIN,
    account,
    group,
    guid,
    new_store,
    new_writer,
    openldap,
    record,
    user,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Make an empty store."""
    return new_store(tmp_path)


@pytest.fixture
def writer(store: Store) -> ReplicaWriter:
    """Make its writer, for OpenLDAP."""
    return new_writer(store)


def rids(store: Store, name: str) -> list[int]:
    found = store.account_by_name(name)
    assert found is not None
    return [sid.rid for sid in store.groups_of(found.account_id)]


def test_same_version_is_left_alone_and_commits_nothing(
    store: Store, writer: ReplicaWriter
) -> None:
    """Workers drop their accounts at every commit: an entry that is there already causes none."""
    writer.apply([record(user(1, "alice"))])
    store.refresh()
    version = store.version
    done = writer.apply([record(user(1, "alice"))])
    assert (done.unchanged, done.written) == (1, 0)
    store.refresh()
    assert store.version == version


def test_renamed_account_keeps_its_number(store: Store, writer: ReplicaWriter) -> None:
    """The GUID is who it is."""
    writer.apply([record(user(1, "alice"))])
    before = store.account_by_name("alice")
    writer.apply([record(user(1, "alicia", entryCSN="2"))])
    store.refresh()
    after = store.account_by_name("alicia")
    assert before is not None and after is not None
    assert before.account_id == after.account_id
    assert store.account_by_name("alice") is None


def test_member_that_comes_later_joins(store: Store, writer: ReplicaWriter) -> None:
    """Groups may come before their members, nested ones too."""
    people = f"ou=people,{BASE}"
    writer.apply([record(group(10, "Staff", f"cn=Crew,ou=groups,{BASE}"))])
    writer.apply([record(group(11, "Crew", f"uid=alice,{people}", "cn=printer"))])
    writer.apply([record(user(1, "alice"))])
    assert rids(store, "alice") == [513, 1011, 1010]


def test_member_that_leaves_is_out(store: Store, writer: ReplicaWriter) -> None:
    """The group's entry is the truth."""
    alice = f"uid=alice,ou=people,{BASE}"
    writer.apply([record(user(1, "alice")), record(group(10, "Staff", alice))])
    writer.apply([record(group(10, "Staff"))], force=True)
    store.refresh()
    assert rids(store, "alice") == [513]


@pytest.mark.parametrize("follows", [True, False])
def test_renamed_member_stays_where_links_follow(tmp_path: Path, follows: bool) -> None:
    """Active Directory's links follow their object; OpenLDAP's `member` is a text that stays."""
    store = new_store(tmp_path)
    writer = new_writer(store, links_follow_names=follows)
    alice = f"uid=alice,ou=people,{BASE}"
    writer.apply([record(user(1, "alice")), record(group(10, "Staff", alice))])
    moved = user(1, "alice", entryCSN="2")
    moved.dn = f"uid=alice,ou=elsewhere,{BASE}"
    writer.apply([record(moved)])
    assert rids(store, "alice") == ([513, 1010] if follows else [513])
    if not follows:
        writer.apply([record(user(1, "alice", entryCSN="3"))])
        store.refresh()
        assert rids(store, "alice") == [513, 1010]


def test_deleted_account_is_gone(store: Store, writer: ReplicaWriter) -> None:
    """With its names, and its place in groups unless a new entry takes its DN (OpenLDAP)."""
    alice = f"uid=alice,ou=people,{BASE}"
    writer.apply([record(user(1, "alice")), record(group(10, "Staff", alice))])
    writer.apply([Gone(guid=guid(1))])
    store.refresh()
    assert store.account_by_name("alice") is None
    writer.apply([record(user(2, "alice"))])
    assert rids(store, "alice") == [513, 1010]


def test_new_account_inherits_no_links_of_active_directory(tmp_path: Path) -> None:
    """There a deletion takes the links with it, without a word."""
    store = new_store(tmp_path)
    writer = new_writer(store, links_follow_names=True)
    alice = f"uid=alice,ou=people,{BASE}"
    writer.apply([record(user(1, "alice")), record(group(10, "Staff", alice))])
    writer.apply([Gone(guid=guid(1))])
    writer.apply([record(user(2, "alice"))])
    assert rids(store, "alice") == [513]


def test_two_entries_with_one_name_have_neither(store: Store, writer: ReplicaWriter) -> None:
    """Row L04: the name is a problem until one of them goes, and then the other has it."""
    other = user(2, "ALICE")
    other.dn = f"uid=other,{BASE}"
    done = writer.apply([record(user(1, "alice")), record(other)])
    assert done.problems == [(other.dn, "another account has its sAMAccountName")]
    assert "name:alice" in problem_names(store.rows)
    done = writer.apply([Gone(guid=guid(1))])
    assert done.retry == {guid(2)}
    writer.apply([record(other)], force=True)
    store.refresh()
    assert problem_names(store.rows) == frozenset()
    assert store.account_by_name("alice") is not None


def test_shared_service_name_is_nobodys_and_both_accounts_work(
    store: Store, writer: ReplicaWriter
) -> None:
    """Two accounts with one servicePrincipalName: only that name is the problem."""
    writer.apply(
        [
            record(user(1, "web1", servicePrincipalName=["HTTP/www.lab.test", "HTTP/one"])),
            record(user(2, "web2", servicePrincipalName=["http/WWW.lab.test", "HTTP/two"])),
        ]
    )
    assert problem_names(store.rows) == {"spn:http/www.lab.test"}
    for spn, name in (("HTTP/one", "web1"), ("HTTP/two", "web2")):
        found = store.account_by_spn(spn)
        assert found is not None and found.sam_account_name == name


def test_upn_that_is_anothers_implicit_one_is_nobodys(store: Store, writer: ReplicaWriter) -> None:
    """CVE-2021-42282, whichever of the two comes first."""
    writer.apply([record(user(1, "mallory", userPrincipalName="root@LAB.TEST"))])
    writer.apply([record(user(2, "root"))])
    assert "upn:root@lab.test" in problem_names(store.rows)
    store.refresh()
    assert store.account_by_upn("root@lab.test") is None
    found = store.account_by_name("root")
    assert found is not None and found.sid == DOMAIN.with_rid(1002)
    # When the account of that name goes, the other may have its UPN.
    done = writer.apply([Gone(guid=guid(2))])
    assert done.retry == {guid(1)}


def test_unusable_entry_takes_its_account_away(store: Store, writer: ReplicaWriter) -> None:
    """One that was good and cannot be read any more logs nobody on, and its names are 29."""
    writer.apply([record(user(1, "alice"))])
    done = writer.apply([record(user(1, "alice", userAccountControl="?", entryCSN="2"))])
    assert done.problems[0][1] == "its userAccountControl is no number"
    store.refresh()
    assert store.account_by_name("alice") is None
    assert "name:alice" in problem_names(store.rows)
    writer.apply([record(user(1, "alice", entryCSN="3"))])
    store.refresh()
    assert store.account_by_name("alice") is not None
    assert problem_names(store.rows) == frozenset()


def test_one_bad_entry_does_not_stop_the_others(store: Store, writer: ReplicaWriter) -> None:
    """A name that no account may have, in the middle of a batch."""
    done = writer.apply([record(user(1, "a")), record(user(2, "b/c")), record(user(3, "d"))])
    assert (done.added, len(done.problems)) == (3, 1)
    assert store.account_by_name("d") is not None


def test_krbtgt_of_the_directory_becomes_the_realms(store: Store, writer: ReplicaWriter) -> None:
    """Its keys and its own names stay, and it cannot be deleted from there."""
    entry = user(5, "krbtgt", objectSid=DOMAIN.with_rid(502).to_bytes(), userAccountControl="514")
    before = store.krbtgt()
    writer.apply([record(entry)])
    store.refresh()
    assert store.krbtgt().account_id == before.account_id
    assert store.krbtgt().spns == before.spns
    assert store.krbtgt().keys == before.keys
    writer.apply([Gone(guid=guid(5))])
    store.refresh()
    assert store.krbtgt().account_id == before.account_id


def test_well_known_group_of_the_directory_becomes_the_stores(
    store: Store, writer: ReplicaWriter
) -> None:
    """Domain Users is there from the start; its entry is found by its SID."""
    entry = group(6, "Benutzer")
    entry.attributes = {**entry.attributes, "objectsid": (DOMAIN.with_rid(513).to_bytes(),)}
    assert not writer.apply([record(entry)]).problems
    found = store.group_by_name("Benutzer")
    assert found is not None and found.sid == DOMAIN.with_rid(513)
    assert store.group_by_name("Domain Users") is None


def test_unusable_entry_with_many_service_names_hides_all_of_them(
    store: Store, writer: ReplicaWriter
) -> None:
    """Row L04: a service of an entry that cannot be read is 29, never unknown."""
    spns = [f"http/w{number:03d}.lab.test" for number in range(100)]
    writer.apply([record(user(1, "web", servicePrincipalName=spns, logonHours=b"x"))])
    assert {f"spn:{spn}" for spn in spns} <= problem_names(store.rows)


def test_unusable_entry_stands_in_the_way_of_its_own_kind_alone(
    store: Store, writer: ReplicaWriter
) -> None:
    """Row L04: who may write service names on a broken entry makes nobody's logon fail."""
    broken = user(2, "mallory", servicePrincipalName=["alice", "bob@lab.test"], logonHours=b"x")
    writer.apply([record(user(1, "alice")), record(broken)])
    assert problem_names(store.rows) == {"name:mallory", "spn:alice"}


def test_second_account_of_one_sid_is_unusable(store: Store, writer: ReplicaWriter) -> None:
    """Services know an account by its SID: who may write entries takes nobody else's (row T03)."""
    writer.apply([record(user(1, "alice"))])
    sid = DOMAIN.with_rid(1001).to_bytes()
    done = writer.apply([record(user(2, "mallory", objectSid=sid))])
    assert [why for _, why in done.problems] == ["another account has its objectSid"]
    store.refresh()
    assert store.account_by_name("mallory") is None
    assert "name:mallory" in problem_names(store.rows)
    assert store.account_by_name("alice") is not None
    done = writer.apply([Gone(guid=guid(1))])
    assert done.retry == {guid(2)}


def test_account_with_the_sid_of_a_group_is_unusable(store: Store, writer: ReplicaWriter) -> None:
    """Else its user SID would make it a member of Domain Admins."""
    admins = DOMAIN.with_rid(512).to_bytes()
    done = writer.apply([record(user(2, "mallory", objectSid=admins))])
    assert [why for _, why in done.problems] == ["a group has its objectSid"]
    assert store.account_by_name("mallory") is None


def test_group_with_the_sid_of_an_account_is_unusable(store: Store, writer: ReplicaWriter) -> None:
    """Else its members would have the administrator's SID among their groups'."""
    writer.apply([record(user(1, "alice"))])
    entry = group(6, "Crew", f"uid=mallory,ou=people,{BASE}")
    entry.attributes = {**entry.attributes, "objectsid": (DOMAIN.with_rid(1001).to_bytes(),)}
    done = writer.apply([record(entry)])
    assert [why for _, why in done.problems] == ["an account has its objectSid"]
    assert store.group_by_name("Crew") is None


def test_keys_come_from_the_source_and_stay_without_one(tmp_path: Path) -> None:
    """None leaves an account's keys alone; () takes them away."""
    store = new_store(tmp_path)
    writer = new_writer(store)
    key = PrincipalKey(etype=18, kvno=3, key=bytes(32))
    given: dict[str, tuple[PrincipalKey, ...] | None] = {"alice": (key,)}
    writer.keys_of = lambda name, spns: given.get(name)
    writer.apply([record(user(1, "alice"))])
    found = store.account_by_name("alice")
    assert found is not None and found.keys == (key,)
    given["alice"] = None
    assert writer.set_keys() == 0
    given["alice"] = ()
    assert writer.set_keys() == 1
    store.refresh()
    found = store.account_by_name("alice")
    assert found is not None and found.keys == ()


def test_lock_of_the_directory_comes_and_goes(store: Store, writer: ReplicaWriter) -> None:
    """LockoutTime locks; when it is cleared the lock ends, and ours alone would stay."""
    locked = user(1, "alice", lockoutTime="134388000000000000")
    writer.apply([record(locked)])
    found = store.account_by_name("alice")
    assert found is not None
    assert found.locked_until == account(locked).locked_until
    writer.apply([record(user(1, "alice", entryCSN="2"))])
    assert store.locked_until(found.account_id) is None


def test_key_credential_of_another_object_is_not_usable(
    store: Store, writer: ReplicaWriter
) -> None:
    """A directory takes a DN part that names anybody: only the entry's own counts (row K07)."""
    value = f"B:8:deadbeef:uid=bob,ou=people,{BASE}"
    writer.apply([record(user(1, "alice", msDS_KeyCredentialLink=[value]))])
    found = store.account_by_name("alice")
    assert found is not None
    (credential,) = found.key_credentials
    assert not credential.usable
    assert credential.text == value


def test_store_that_cannot_be_written_says_so(store: Store, writer: ReplicaWriter) -> None:
    """A transaction that fails writes nothing and is an error, never silence."""
    store.close()
    store.path.rename(store.path.with_name("gone.sqlite"))
    with pytest.raises(DirectoryError):
        writer.apply([record(user(1, "alice"))])


def device(number: int, **attributes: str | bytes | list[str] | list[bytes]) -> Entry:
    base: dict[str, str | bytes | list[str] | list[bytes]] = {
        "objectClass": ["msDS-Device"],
        "msDS-DeviceID": DEVICE.bytes_le,
        "msDS-IsEnabled": "TRUE",
        "displayName": "laptop",
    }
    return openldap(number, f"cn={number},cn=RegisteredDevices,{BASE}", **(base | attributes))


def test_device_comes_is_disabled_and_goes(store: Store, writer: ReplicaWriter) -> None:
    """MS-ADSC msDS-Device; the number is in the octets of a Windows GUID."""
    assert store.device(DEVICE) is None
    owner = DOMAIN.with_rid(1001)
    writer.apply([record(device(20, **{"msDS-RegisteredOwner": owner.to_bytes()}))])
    store.refresh()
    found = store.device(DEVICE)
    assert found is not None
    assert (found.enabled, found.name, found.owner) == (True, "laptop", owner)
    assert found.guid == guid(20) and found.dn == f"cn=20,cn=RegisteredDevices,{BASE}"
    done = writer.apply([record(device(20, **{"msDS-IsEnabled": "FALSE"}, entryCSN="2"))])
    assert done.changed == 1
    store.refresh()
    found = store.device(DEVICE)
    assert found is not None and not found.enabled
    assert writer.guids_of_device(DEVICE) == [guid(20)]
    assert writer.apply([Gone(guid=guid(20))]).removed == 1
    store.refresh()
    assert store.device(DEVICE) is None


def test_device_of_two_objects_is_enabled_only_if_both_are(
    store: Store, writer: ReplicaWriter
) -> None:
    """A directory does not keep msDS-DeviceID unique: a copy must not switch a device on."""
    off = device(20, **{"msDS-IsEnabled": "FALSE"})
    for entries in ([off, device(21)], [device(22)]):
        writer.apply([record(entry) for entry in entries])
        store.refresh()
        found = store.device(DEVICE)
        assert found is not None and not found.enabled


@pytest.mark.parametrize("value", ["false", "", "1", []])
def test_device_that_does_not_say_true_is_disabled(
    store: Store, writer: ReplicaWriter, value: str | list[str]
) -> None:
    """What cannot be read does not switch a device on."""
    writer.apply([record(device(20, **{"msDS-IsEnabled": value}))])
    store.refresh()
    found = store.device(DEVICE)
    assert found is not None and not found.enabled


@pytest.mark.parametrize("value", [bytes(16), b"short", []])
def test_device_without_a_number_is_a_problem_and_no_device(
    store: Store, writer: ReplicaWriter, value: bytes | list[bytes]
) -> None:
    """Zeros are what a key credential without a device has; a device that had one loses it."""
    writer.apply([record(device(20))])
    done = writer.apply([record(device(20, **{"msDS-DeviceID": value}, entryCSN="2"))])
    assert [why for _, why in done.problems] == ["its msDS-DeviceID is not 16 octets, or zeros"]
    store.refresh()
    assert not store.has_devices()


def test_worker_asks_the_follower_about_a_device(
    store: Store, writer: ReplicaWriter, tmp_path: Path
) -> None:
    """Before a refusal that rests on a device is believed; with read_through before any answer."""
    directory = ReplicaDirectory(store, tmp_path, max_staleness_s=0)
    question = ("device", DEVICE.hex)
    directory.begin()
    assert directory.device(DEVICE) is None
    assert directory.questions() == (question,)
    through = ReplicaDirectory(store, tmp_path, max_staleness_s=0, read_through=True)
    through.begin()
    assert through.device(DEVICE) is None  # a realm without devices asks nobody first
    writer.apply([record(device(20))])
    through.refresh()
    through.begin()
    with pytest.raises(NeedsFetch):
        through.device(DEVICE)
    assert through.questions() == (question,) and through.is_interrupted
    through.begin({question})
    assert through.device(DEVICE) is not None
    directory.refresh()
    directory.begin()
    assert directory.device(DEVICE) is not None
    assert directory.questions() == ()
