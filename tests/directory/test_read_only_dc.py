"""Read-only domain controllers in the store: found by number, with their links and lists."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountChanges, NewAccount
from directory.ldap.keys import KeyFeed
from directory.model import AccountKind, PrincipalKey
from directory.store import Store
from tests.directory.builders import NOW, make_store, secret_keys, user

LINK = "CN=krbtgt_7,CN=Users,DC=LAB,DC=TEST"
KRBTGT = NewAccount(
    kind=AccountKind.KRBTGT,
    name="krbtgt_7",
    created_at=NOW,
    keys=secret_keys("krbtgt_7"),
    secondary_krbtgt_number=7,
    dn=LINK,
)
COMPUTER = NewAccount(
    kind=AccountKind.COMPUTER,
    name="Cloud$",
    created_at=NOW,
    partial_secrets=True,
    krbtgt_link=LINK,
    reveal_on_demand=("CN=Domain Users,CN=Users,DC=LAB,DC=TEST",),
    never_reveal=("cn=domain admins,cn=users,dc=lab,dc=test", "CN=alice,CN=Users,DC=LAB,DC=TEST"),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    made.add_account(user())
    made.add_accounts((KRBTGT, COMPUTER))
    yield made
    made.close()


def test_number_leads_to_both_accounts_and_their_lists(store: Store) -> None:
    """Groups and accounts by DN, in any case."""
    found = store.read_only_dc(7)
    alice = store.account_by_name("alice")
    assert found is not None
    assert found.computer is not None
    assert alice is not None
    assert (found.krbtgt.sam_account_name, found.computer.sam_account_name) == (
        "krbtgt_7",
        "Cloud$",
    )
    assert found.allowed == {store.domain_sid.with_rid(513)}
    assert found.denied == {store.domain_sid.with_rid(512), alice.sid}
    assert found.unknown == ()
    assert store.read_only_dc(8) is None
    assert store.read_only_dc_numbers() == (7,)


def test_what_the_deny_list_names_and_is_not_there_is_told(store: Store) -> None:
    """Nobody can say any more whom it meant; in the other list it allows nobody."""
    gone = "CN=Gone,CN=Users,DC=LAB,DC=TEST"
    computer = store.account_by_name("Cloud$")
    assert computer is not None
    change = AccountChanges(never_reveal=(gone, "not a DN"), reveal_on_demand=(gone,))
    store.update_account(computer.account_id, change)
    found = store.read_only_dc(7)
    assert found is not None
    assert (found.allowed, found.denied) == (frozenset(), frozenset())
    assert found.unknown == (gone, "not a DN")


def test_two_computers_are_none(store: Store) -> None:
    """Whose lists would count?"""
    store.add_account(replace(COMPUTER, name="Other$"))
    found = store.read_only_dc(7)
    assert found is not None
    assert found.computer is None


def test_two_krbtgts_of_one_number_are_a_damaged_directory(store: Store) -> None:
    """29, never a guess."""
    store.add_account(replace(KRBTGT, name="krbtgt_07", dn="CN=other,DC=LAB,DC=TEST"))
    with pytest.raises(DirectoryError) as caught:
        store.read_only_dc(7)
    assert caught.value.kind is DirectoryFault.CORRUPT


def test_index_is_used(store: Store) -> None:
    """A realm with a million altSecurityIdentities does not read them for a partial TGT."""
    from directory.store_schema import READ_ONLY_DC_VALUES

    sql = f"SELECT value FROM account_values WHERE {READ_ONLY_DC_VALUES}"  # noqa: S608  constant
    plan = str(store.rows(f"EXPLAIN QUERY PLAN {sql}"))
    assert "read_only_dcs" in plan


def test_own_krbtgt_is_never_one_of_them(store: Store) -> None:
    """By its place: the store's first."""
    assert store.krbtgt().sam_account_name == "krbtgt"
    with pytest.raises(DirectoryError) as caught:
        store.delete_accounts((store.krbtgt().account_id,), read_only_dc=True)
    assert caught.value.kind is DirectoryFault.DENIED
    krbtgt = store.account_by_name("krbtgt_7")
    assert krbtgt is not None
    with pytest.raises(DirectoryError):
        store.delete_account(krbtgt.account_id)
    store.delete_accounts((krbtgt.account_id,), read_only_dc=True)
    assert store.read_only_dc(7) is None


class _Source:
    """Gives one key of a kvno with more than 16 bits to everybody."""

    live = True

    def load(self) -> dict[str, tuple[PrincipalKey, ...]]:
        return {}

    def keys_of(self, name: str) -> tuple[PrincipalKey, ...]:
        del name
        return (PrincipalKey(etype=18, kvno=0x20005, key=bytes(32)),)

    def poll(self) -> bool:
        return False

    def close(self) -> None:
        pass


def test_own_krbtgts_number_of_a_directory_has_16_bits() -> None:
    """MS-KILE 3.1.5.8: the upper half would name a read-only DC."""
    feed = KeyFeed(_Source())
    (own,) = feed.keys_of("krbtgt", ()) or ()
    (other,) = feed.keys_of("krbtgt_2", ()) or ()
    assert (own.kvno, other.kvno) == (5, 0x20005)
