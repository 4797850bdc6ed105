"""What few accounts have, DNs and GUIDs, and the history of passwords."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from uuid import UUID

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountChanges, NewAccount
from directory.model import Account, AccountKind
from directory.store import Store
from directory.store_groups import read_group_by_dn
from directory.store_values import MANY_VALUES, MAX_VALUES_OF_ATTRIBUTE, RARE_FLAGS, SINGLE_VALUES
from tests.directory.builders import NOW, make_store, master_key, secret_keys, user

GUID = UUID("5b3c1f1e-3f54-4f0c-8f5e-6d2f1e0a9b8c")
OTHER_GUID = UUID("aaaaaaaa-3f54-4f0c-8f5e-6d2f1e0a9b8c")
EVERYTHING: dict[str, object] = {
    "supported_enctypes": 0x1C,
    "trusted_for_delegation": True,
    "trusted_to_authenticate_for_delegation": True,
    "not_delegated": True,
    "no_auth_data_required": True,
    "admin_count": True,
    "partial_secrets": True,
    "allowed_to_delegate_to": ("HTTP/web.lab.test", "cifs/file.lab.test", "HTTP/a"),
    "allowed_to_act": bytes(range(256)) * 3,
    "alt_security_identities": ("X509:<SKI>0102", "X509:<I>CN=a<SR>01"),
    "secondary_krbtgt_number": 4711,
    "krbtgt_link": "CN=krbtgt_4711,CN=Users,DC=LAB,DC=TEST",
    "reveal_on_demand": ("CN=Allowed,CN=Users,DC=LAB,DC=TEST",),
    "never_reveal": ("CN=Admins,CN=Users,DC=LAB,DC=TEST", "CN=Denied,CN=Users,DC=LAB,DC=TEST"),
}
NOTHING = {f.name: f.default for f in fields(Account) if f.name in EVERYTHING}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    yield made
    made.close()


def values_of(store: Store, account_id: int) -> dict[str, object]:
    account = store.account_by_id(account_id)
    assert account is not None
    return {name: getattr(account, name) for name in EVERYTHING}


def queries_of(store: Store, account_id: int) -> int:
    store.forget()
    seen: list[str] = []
    store._open().set_trace_callback(seen.append)
    store.account_by_id(account_id)
    store._open().set_trace_callback(None)
    return len(seen)


def test_every_rare_field_is_covered() -> None:
    """A field that is added to the store is added here."""
    assert set(EVERYTHING) == {*SINGLE_VALUES, *MANY_VALUES, *RARE_FLAGS, "supported_enctypes"}


@pytest.mark.parametrize("field", EVERYTHING)
def test_rare_field_reads_back_alone(store: Store, field: str) -> None:
    """MS-ADA1, MS-ADA2: as it was stored, in its order, and no other field with it."""
    alice = store.add_account(replace(user(), **{field: EVERYTHING[field]}))  # type: ignore[arg-type]  # one field of many types
    assert values_of(store, alice) == NOTHING | {field: EVERYTHING[field]}


@pytest.mark.parametrize("field", EVERYTHING)
def test_rare_field_is_set_and_taken_away_by_a_change(store: Store, field: str) -> None:
    """What a change does not name stays."""
    alice = store.add_account(user())
    store.update_account(alice, AccountChanges(**EVERYTHING))  # type: ignore[arg-type]  # as above
    assert values_of(store, alice) == EVERYTHING
    empty = {field: NOTHING[field]}
    store.update_account(alice, AccountChanges(**empty))  # type: ignore[arg-type]  # as above
    assert values_of(store, alice) == EVERYTHING | empty
    store.update_account(alice, AccountChanges(**NOTHING))  # type: ignore[arg-type]  # as above
    assert values_of(store, alice) == NOTHING


def test_account_without_rare_values_costs_no_query_more(store: Store) -> None:
    """The path of nearly every logon: the account and its keys; flags cost nothing either."""
    alice = store.add_account(user())
    flagged = store.add_account(replace(user("bob"), not_delegated=True, supported_enctypes=0x18))
    rich = store.add_account(replace(user("carol"), krbtgt_link="CN=x"))
    plain = queries_of(store, alice)
    assert (plain, queries_of(store, flagged), queries_of(store, rich)) == (2, 2, 3)
    store.update_account(rich, AccountChanges(krbtgt_link=None))
    assert queries_of(store, rich) == 2


def test_deleted_account_leaves_no_value_and_no_history(store: Store) -> None:
    """Rows go with their account."""
    alice = store.add_account(replace(user(), allowed_to_delegate_to=("HTTP/web",)))
    store.set_keys(alice, secret_keys("second", 2), history=3)
    store.delete_account(alice)
    for table in ("account_values", "password_history"):
        assert store._one(f"SELECT count(*) FROM {table}") == (0,)  # noqa: S608  # ours


@pytest.mark.parametrize(
    "bad",
    [
        {"supported_enctypes": 1 << 32},
        {"allowed_to_act": bytes(64 * 1024 + 1)},
        {"alt_security_identities": ("x",) * (MAX_VALUES_OF_ATTRIBUTE + 1)},
    ],
    ids=["enctypes", "descriptor", "identities"],
)
def test_value_out_of_bounds_is_invalid_and_changes_nothing(
    store: Store, bad: dict[str, object]
) -> None:
    """A bound on everything."""
    alice = store.add_account(user())
    with pytest.raises(DirectoryError) as caught:
        store.update_account(alice, AccountChanges(disabled=True, **bad))  # type: ignore[arg-type]  # as above
    assert caught.value.kind is DirectoryFault.INVALID
    account = store.account_by_id(alice)
    assert account is not None
    assert not account.disabled


def test_negative_mask_of_a_directory_is_the_same_32_bits(store: Store) -> None:
    """LDAP gives integers with a sign; bit 31 is one of them."""
    alice = store.add_account(replace(user(), supported_enctypes=-0x7FFFFFE4))
    assert values_of(store, alice)["supported_enctypes"] == 0x8000001C


# -- DN and GUID -----------------------------------------------------------------------------


def test_account_of_a_directory_is_found_by_dn(store: Store) -> None:
    """DNs match by `match_key`, like names."""
    dn = "CN=Alice Ä,OU=Staff,DC=lab,DC=test"
    alice = store.add_account(replace(user(), dn=dn, guid=GUID))
    assert store.account_id_by_dn("cn=alice Ä,ou=STAFF,dc=LAB,dc=TEST") == alice
    assert store.account_id_by_dn("cn=alice ä,ou=STAFF,dc=LAB,dc=TEST") is None
    # Its name makes no DN any more.
    assert store.account_id_by_dn("CN=alice,CN=Users,DC=LAB,DC=TEST") is None
    store.update_account(alice, AccountChanges(dn="CN=A,DC=lab", guid=OTHER_GUID))
    assert store.account_id_by_dn("CN=a,DC=LAB") == alice
    assert store.account_id_by_dn(dn) is None
    assert store.rows("SELECT guid FROM accounts WHERE id = ?", alice) == [(OTHER_GUID.bytes,)]


@pytest.mark.parametrize(
    ("name", "kind", "dn"),
    [
        ("alice", AccountKind.USER, "cn=Alice,cn=users,dc=lab,dc=test"),
        ("WS1$", AccountKind.COMPUTER, "CN=ws1,CN=Computers,DC=LAB,DC=TEST"),
        ("a#b/c", AccountKind.SERVICE, "CN=a#b/c,CN=Users,DC=LAB,DC=TEST"),
    ],
)
def test_account_of_an_embedded_realm_is_found_by_the_dn_its_name_makes(
    store: Store, name: str, kind: AccountKind, dn: str
) -> None:
    """Nothing is stored for it."""
    account_id = store.add_account(NewAccount(kind=kind, name=name, created_at=NOW))
    assert store.account_id_by_dn(dn) == account_id
    assert store.account_id_by_dn(dn.replace("LAB", "OTHER").replace("lab", "other")) is None


@pytest.mark.parametrize(
    "dn", ["", "CN", "=", "CN=\udcff", "CN=a+SN=b,DC=LAB,DC=TEST", "x" * 99_999]
)
def test_odd_dn_is_nobodys(store: Store, dn: str) -> None:
    """No error either."""
    store.add_account(user())
    assert store.account_id_by_dn(dn) is None
    assert read_group_by_dn(store.rows, dn) is None


def test_two_accounts_or_groups_of_one_dn_are_corrupt(store: Store) -> None:
    """A directory that is followed may hand out a DN again before its first owner is gone."""
    for name in ("alice", "bob"):
        store.add_account(replace(user(name), dn="CN=x,DC=lab"))
        store.add_group(f"of {name}", dn="CN=g,DC=lab")
    with pytest.raises(DirectoryError) as caught:
        store.account_id_by_dn("CN=x,DC=lab")
    assert caught.value.kind is DirectoryFault.CORRUPT
    with pytest.raises(DirectoryError) as caught:
        read_group_by_dn(store.rows, "CN=g,DC=lab")
    assert caught.value.kind is DirectoryFault.CORRUPT


def test_guid_in_use_exists(store: Store) -> None:
    """An objectGUID is one object's."""
    store.add_account(replace(user(), guid=GUID))
    with pytest.raises(DirectoryError) as caught:
        store.add_account(replace(user("bob"), guid=GUID))
    assert caught.value.kind is DirectoryFault.EXISTS


def test_group_has_dn_and_guid(store: Store) -> None:
    """Those that a directory gave it; DNs match by `match_key`."""
    group_id = store.add_group("Staff", dn="CN=Staff,OU=G,DC=lab", guid=GUID)
    found = read_group_by_dn(store.rows, "cn=staff,ou=g,dc=LAB")
    assert found is not None
    assert (found.group_id, found.dn, found.guid) == (group_id, "CN=Staff,OU=G,DC=lab", GUID)


def test_renamed_account_is_found_by_the_new_name_only(store: Store) -> None:
    """Its UPN may then not be another's implicit one (CVE-2021-42282)."""
    alice = store.add_account(user())
    store.add_account(user("bob"))
    store.add_group("Staff")
    store.update_account(alice, AccountChanges(name="Alina", upn="alina@lab.test"))
    found = store.account_by_name("alina")
    assert found is not None
    assert (found.account_id, found.upn) == (alice, "alina@lab.test")
    assert store.account_by_name("alice") is None
    for change in (AccountChanges(name="Bob"), AccountChanges(name="staff")):
        with pytest.raises(DirectoryError) as caught:
            store.update_account(alice, change)
        assert caught.value.kind is DirectoryFault.EXISTS
    store.update_account(alice, AccountChanges(upn="bert@lab.test"))
    with pytest.raises(DirectoryError) as caught:
        store.add_account(user("bert", upn="b@x.test"))
    assert caught.value.kind is DirectoryFault.EXISTS


# -- history of passwords --------------------------------------------------------------------


def test_history_keeps_one_key_of_each_earlier_password(store: Store) -> None:
    """The latest first, as many as asked, also when fewer are asked later."""
    alice = store.add_account(user())
    assert store.password_history(alice) == ()
    for kvno in (2, 3, 4):
        store.set_keys(alice, secret_keys("alice", kvno), history=2, now=NOW)

    def remembered() -> list[bytes]:
        return [key.key for key in store.password_history(alice)]

    aes256 = [secret_keys("alice", kvno)[0].key for kvno in (1, 2, 3, 4)]
    assert remembered() == [aes256[2], aes256[1]]
    assert {(key.etype, key.salt) for key in store.password_history(alice)} == {
        (18, "LAB.TESTalice")
    }
    store.set_keys(alice, secret_keys("alice", 5), history=1)
    assert remembered() == [aes256[3]]
    store.set_keys(alice, secret_keys("alice", 6))
    assert remembered() == [aes256[3]], "keys that are no password leave it alone"
    store.set_keys(alice, secret_keys("alice", 7), history=0)
    assert remembered() == []


def test_first_password_has_no_history(store: Store) -> None:
    """There was nothing before it."""
    alice = store.add_account(replace(user(), keys=()))
    store.set_keys(alice, secret_keys("alice"), history=5)
    assert store.password_history(alice) == ()


def test_history_is_sealed_and_bound_to_its_account(store: Store) -> None:
    """A row moved to another account opens for nobody."""
    alice, bob = store.add_account(user()), store.add_account(user("bob"))
    store.set_keys(alice, secret_keys("alice", 2), history=5)
    with store._transaction() as connection:
        connection.execute("UPDATE password_history SET account_id = ?", (bob,))
    with pytest.raises(DirectoryError) as caught:
        store.password_history(bob)
    assert caught.value.kind is DirectoryFault.CORRUPT
    assert secret_keys("alice")[0].key not in store.path.read_bytes()


def test_keys_and_fields_are_set_in_one_transaction(store: Store) -> None:
    """A new password and its expiry come together, or neither."""
    alice = store.add_account(replace(user(), must_change_password=True))
    changes = AccountChanges(must_change_password=False, password_expires_at=NOW)
    store.set_keys(alice, secret_keys("alice", 2), now=NOW, changes=changes)
    reader = Store.open(store.path, master_key(), read_only=True)
    account = reader.account_by_id(alice)
    assert account is not None
    assert (account.must_change_password, account.password_expires_at) == (False, NOW)
    assert account.newest_keys()[0].kvno == 2
    with pytest.raises(DirectoryError):
        store.set_keys(
            alice, secret_keys("alice", 3), changes=AccountChanges(upn="not a UPN"), history=3
        )
    again = store.account_by_id(alice)
    assert again is not None
    assert (again.newest_keys()[0].kvno, store.password_history(alice)) == (2, ())
    reader.close()
