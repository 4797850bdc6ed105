"""Groups and nested members, and NT hashes."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from directory import store_groups
from directory.backend import DirectoryError, DirectoryFault
from directory.model import AccountKind, Sid
from directory.store import Store
from directory.store_groups import MAX_GROUPS, MAX_NESTING
from tests.directory.builders import NOW, make_store, master_key, secret_keys, user
from tests.directory.test_store_processes import other_process, script


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    yield made
    made.close()


def group_of(store: Store, name: str) -> int:
    found = store.group_by_name(name)
    assert found is not None
    return found.group_id


def nest(store: Store, inner: str, *outer: str) -> None:
    """Make groups that each hold the one before."""
    for name in outer:
        store.add_group(name)
        store.add_member(group_of(store, name), member_group=group_of(store, inner))
        inner = name


def names_of(store: Store, account_id: int) -> list[str]:
    """Name the groups of an account, in the order they are given."""
    names = {group.sid: group.name for group in store.list_groups()}
    return [names.get(sid, str(sid)) for sid in store.groups_of(account_id)]


def fault(caught: pytest.ExceptionInfo[DirectoryError]) -> tuple[DirectoryFault, str]:
    return caught.value.kind, caught.value.detail


# -- membership ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "rid"),
    [
        (AccountKind.USER, "alice", 513),
        (AccountKind.COMPUTER, "pc1$", 515),
        (AccountKind.SERVICE, "web", 513),
    ],
)
def test_primary_group_follows_from_the_kind(
    store: Store, kind: AccountKind, name: str, rid: int
) -> None:
    """MS-ADTS primaryGroupID: Domain Users, or Domain Computers."""
    number = store.add_account(replace(user(name), kind=kind, upn=None))
    assert store.groups_of(number) == (store.domain().sid.with_rid(rid),)


def test_primary_group_of_a_domain_controller_is_its_own(store: Store) -> None:
    """516 instead of 515."""
    new = replace(user("dc1$"), kind=AccountKind.COMPUTER, upn=None, primary_group_id=516)
    number = store.add_account(new)
    account = store.account_by_id(number)
    assert account is not None
    assert account.primary_group_id == 516
    assert names_of(store, number) == ["Domain Controllers"]


def test_nested_groups_are_flattened_with_the_primary_first(store: Store) -> None:
    """MS-KILE 3.3.5.6.4: direct or not makes no difference; each group is there once."""
    alice = store.add_account(user())
    store.add_group("Staff")
    store.add_member(group_of(store, "Staff"), account_id=alice)
    nest(store, "Staff", "Floor 1", "Building")
    store.add_member(group_of(store, "Building"), account_id=alice)
    assert names_of(store, alice) == ["Domain Users", "Staff", "Building", "Floor 1"]


def test_groups_of_the_primary_group_count(store: Store) -> None:
    """A group that holds Domain Users holds every user."""
    alice = store.add_account(user())
    nest(store, "Domain Users", "Everybody")
    assert names_of(store, alice) == ["Domain Users", "Everybody"]


def test_cycle_of_groups_is_harmless(store: Store) -> None:
    """A in B in C in A: three groups."""
    alice = store.add_account(user())
    store.add_group("A")
    nest(store, "A", "B", "C")
    store.add_member(group_of(store, "A"), member_group=group_of(store, "C"))
    store.add_member(group_of(store, "B"), account_id=alice)
    assert sorted(names_of(store, alice)) == ["A", "B", "C", "Domain Users"]


def test_other_accounts_groups_are_not_mine(store: Store) -> None:
    """One membership is one account's."""
    alice, bob = store.add_account(user()), store.add_account(user("bob"))
    store.add_member(group_of(store, "Domain Admins"), account_id=alice)
    assert names_of(store, bob) == ["Domain Users"]


def test_group_of_another_domain_keeps_its_sid(store: Store) -> None:
    """A directory may have groups of trusted domains."""
    alice = store.add_account(user())
    foreign = Sid.parse("S-1-5-21-9-9-9-1234")
    store.add_member(store.add_group("Guests of B", foreign), account_id=alice)
    assert store.groups_of(alice)[1:] == (foreign,)


def test_as_many_groups_as_a_token_holds_and_one_more(store: Store) -> None:
    """MAX_GROUPS: one too many is an error, never a shorter list."""
    alice = store.add_account(user())
    _many_groups(store, alice, MAX_GROUPS - 1)
    assert len(store.groups_of(alice)) == MAX_GROUPS
    store.add_member(group_of(store, "Domain Admins"), account_id=alice)
    with pytest.raises(DirectoryError) as caught:
        store.groups_of(alice)
    assert fault(caught) == (DirectoryFault.CORRUPT, "an account is in more than 1015 groups")


def test_endless_nesting_is_cut_off_early(store: Store) -> None:
    """50,000 groups in a row are not walked to their end."""
    alice = store.add_account(user())
    with store._transaction() as connection:  # the public way would take minutes
        connection.executemany(
            "INSERT INTO groups (id, name, name_key, sid) VALUES (?, ?, ?, ?)",
            (
                (n, f"g{n}", f"g{n}", store.domain().sid.with_rid(n).to_bytes())
                for n in range(10_000, 60_000)
            ),
        )
        connection.executemany(
            "INSERT INTO group_members VALUES (?, ?)", ((n, n + 1) for n in range(10_000, 59_999))
        )
        connection.execute("INSERT INTO account_members VALUES (?, 10000)", (alice,))
    asked: list[str] = []
    store._open().set_trace_callback(asked.append)
    with pytest.raises(DirectoryError) as caught:
        store.groups_of(alice)
    assert fault(caught) == (DirectoryFault.CORRUPT, "groups are nested more than 64 deep")
    assert len(asked) < 3 * MAX_NESTING


def test_groups_nested_as_deep_as_is_followed(store: Store) -> None:
    """MAX_NESTING levels: the last one is still there."""
    alice = store.add_account(user())
    store.add_group("g1")
    store.add_member(group_of(store, "g1"), account_id=alice)
    nest(store, "g1", *(f"g{n}" for n in range(2, MAX_NESTING + 1)))
    assert len(store.groups_of(alice)) == MAX_NESTING + 1


def _many_groups(store: Store, account_id: int, count: int) -> None:
    domain = store.domain().sid
    with store._transaction() as connection:
        for number in range(count):
            group = store_groups.insert_group(
                connection, f"g{number}", domain.with_rid(9000 + number)
            )
            store_groups.insert_member(connection, group, account_id, None)


# -- changes ---------------------------------------------------------------------------------


def test_membership_changed_by_another_process_is_seen_at_the_next_refresh(store: Store) -> None:
    """Architecture section 4: groups are cached with the account, and dropped with it."""
    alice = store.add_account(user())
    reader = Store.open(store.path, master_key(), read_only=True)
    reader.refresh()
    before = reader.groups_of(alice)
    other_process(
        store,
        f"store.add_member(store.group_by_name('Domain Admins').group_id, account_id={alice})\n",
    )
    assert reader.groups_of(alice) is before, "one request sees one state"
    reader.refresh()
    assert [sid.rid for sid in reader.groups_of(alice)] == [513, 512]
    reader.close()


def test_deleted_group_leaves_no_membership(store: Store) -> None:
    """And its RID is not given out again."""
    alice = store.add_account(user())
    first = store.add_group("Staff")
    store.add_member(first, account_id=alice)
    sid = store.groups_of(alice)[1]
    store.delete_group(first)
    assert names_of(store, alice) == ["Domain Users"]
    store.add_group("Staff")
    found = store.group_by_name("staff")
    assert found is not None
    assert found.sid.rid > sid.rid


def test_group_deleted_while_it_is_read_is_left_out(store: Store) -> None:
    """Another process may commit between two queries of one request."""
    alice = store.add_account(user())
    staff = store.add_group("Staff")
    store.add_member(staff, account_id=alice)
    other = Store.open(store.path, master_key())

    def delete(sql: str) -> None:
        if sql.startswith("SELECT sid FROM groups") and other.group_by_name("Staff"):
            other.delete_group(staff)

    store._open().set_trace_callback(delete)
    assert names_of(store, alice) == ["Domain Users"]
    other.close()


def test_deleted_account_leaves_no_membership(store: Store) -> None:
    """ON DELETE CASCADE, of memberships and NT hash."""
    alice = store.add_account(replace(user(), nt_hash=bytes(16)))
    store.add_member(group_of(store, "Domain Admins"), account_id=alice)
    store.delete_account(alice)
    assert store.group_members(group_of(store, "Domain Admins")) == ()
    assert store.groups_of(alice) == ()
    assert store.nt_hash(alice) is None


def test_members_are_listed_by_name(store: Store) -> None:
    """Direct ones, accounts and groups."""
    admins = group_of(store, "Domain Admins")
    store.add_member(admins, account_id=store.add_account(user("zoe")))
    store.add_member(admins, member_group=store.add_group("Helpers"))
    assert store.group_members(admins) == ("Helpers", "zoe")
    assert store.count_group_members(admins) == 2
    store.remove_member(admins, member_group=group_of(store, "Helpers"))
    assert store.group_members(admins) == ("zoe",)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.add_group("Domain Users"), DirectoryFault.EXISTS),
        (lambda s: s.add_group("ALICE"), DirectoryFault.EXISTS),
        (lambda s: s.add_group("x", s.domain().sid.with_rid(513)), DirectoryFault.EXISTS),
        (lambda s: s.add_group(""), DirectoryFault.INVALID),
        (lambda s: s.add_group("a=b"), DirectoryFault.INVALID),
        (lambda s: s.add_account(user("domain users")), DirectoryFault.EXISTS),
        (lambda s: s.delete_group(99), DirectoryFault.NOT_FOUND),
        (lambda s: s.delete_group(group_of(s, "Domain Users")), DirectoryFault.DENIED),
        (lambda s: s.add_member(99, account_id=1), DirectoryFault.NOT_FOUND),
        (lambda s: s.add_member(1, account_id=99), DirectoryFault.NOT_FOUND),
        (lambda s: s.add_member(1, member_group=99), DirectoryFault.NOT_FOUND),
        (lambda s: s.add_member(1, member_group=1), DirectoryFault.INVALID),
        (lambda s: s.remove_member(1, account_id=1), DirectoryFault.NOT_FOUND),
        (lambda s: s.remove_member(1, member_group=2), DirectoryFault.NOT_FOUND),
        (lambda s: s.set_keys(1, secret_keys("x", 2), nt_hash=b"short"), DirectoryFault.INVALID),
    ],
)
def test_change_that_cannot_be_made(store: Store, change: object, expected: DirectoryFault) -> None:
    """Each fault for its cause, and nothing is changed."""
    store.add_account(user())
    assert callable(change)
    with pytest.raises(DirectoryError) as caught:
        change(store)
    assert caught.value.kind is expected


# -- NT hashes -------------------------------------------------------------------------------


def test_nt_hash_is_sealed_and_bound_to_its_account(store: Store) -> None:
    """A row copied to another account does not open."""
    alice = store.add_account(replace(user(), nt_hash=b"0123456789abcdef"))
    bob = store.add_account(user("bob"))
    assert store.nt_hash(alice) == b"0123456789abcdef"
    assert b"0123456789abcdef" not in store.path.read_bytes()
    with store._transaction() as connection:
        connection.execute(
            "INSERT INTO nt_hashes SELECT ?, sealed FROM nt_hashes WHERE account_id = ?",
            (bob, alice),
        )
    with pytest.raises(DirectoryError) as caught:
        store.nt_hash(bob)
    assert caught.value.kind is DirectoryFault.CORRUPT


def test_new_keys_without_an_nt_hash_remove_the_old_one(store: Store) -> None:
    """It would be the hash of a password that is no longer valid."""
    alice = store.add_account(replace(user(), nt_hash=bytes(16)))
    store.set_keys(alice, secret_keys("alice", 2), now=NOW)
    assert store.nt_hash(alice) is None


def test_nt_hash_is_in_no_repr() -> None:
    """Nothing secret has a printable repr."""
    assert "0123456789abcdef" not in repr(replace(user(), nt_hash=b"0123456789abcdef"))


# -- violence and age ------------------------------------------------------------------------


def test_kill_during_changes_of_groups_loses_nothing_acknowledged(store: Store) -> None:
    """Row S02, for groups: what was acknowledged survives SIGKILL, nothing is half-written."""
    alice = store.add_account(user())
    code = (
        "for i in range(10_000):\n"
        "    g = store.add_group(f'group {i}')\n"
        f"    store.add_member(g, account_id={alice})\n"
        "    print(i, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script(store, code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 5:
            break
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    last = int(rest.split()[-1]) if rest.split() else 5
    again = Store.open(store.path, master_key())
    names = {group.name for group in again.list_groups(limit=20_000)}
    assert {f"group {i}" for i in range(last + 1)} <= names
    assert len(again.groups_of(alice)) in (last + 2, last + 3)
    assert again._one("PRAGMA integrity_check") == ("ok",)
    again.add_group("after")
    again.close()
