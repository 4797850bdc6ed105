"""The local store: what is written is what is read, by everyone, from the next request on."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from directory.backend import Directory, DirectoryError, DirectoryFault
from directory.changes import AccountChanges, NewAccount
from directory.keycredential import MAX_VALUES
from directory.keymaterial import MaterialForm, encode_key_material
from directory.model import AccountKind, Sid
from directory.sealing import MasterKey
from directory.store import Store
from tests.directory.builders import (
    NOW,
    blob,
    hello_key,
    link,
    make_store,
    master_key,
    minimal_entries,
    secret_keys,
    user,
    value,
)

LATER = NOW.replace(year=2030)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    yield made
    made.close()


def reader_of(store: Store, *, check_keyid: bool = True) -> Store:
    return Store.open(store.path, master_key(), read_only=True, check_keyid=check_keyid)


def fault_of(error: pytest.ExceptionInfo[DirectoryError]) -> tuple[DirectoryFault, str]:
    return error.value.kind, error.value.detail


# -- reading back ----------------------------------------------------------------------------


def test_new_realm_has_its_krbtgt(store: Store) -> None:
    """MS-ADTS 6.1.1.6.5: krbtgt has RID 502; both domain names are its service names."""
    krbtgt = store.krbtgt()
    assert krbtgt.keys == tuple(sorted(secret_keys("krbtgt"), key=lambda k: -k.etype))
    assert (krbtgt.kind, krbtgt.sid) == (AccountKind.KRBTGT, store.domain_sid.with_rid(502))
    for spn in ("krbtgt/LAB.TEST", "KRBTGT/lab.test", "krbtgt/lab"):
        assert store.account_by_spn(spn) == krbtgt
    assert (store.realm, store.netbios) == ("LAB.TEST", "LAB")
    assert len(store.domain_sid.with_rid(1).to_bytes()) == 28


def test_account_reads_back_whole(store: Store) -> None:
    """Every field that a decision reads."""
    account_id = store.add_account(
        NewAccount(
            kind=AccountKind.USER,
            name="Alice",
            upn="Alice@Sales.Example",
            spns=("HTTP/alice.lab.test", "HTTP/alice"),
            created_at=NOW,
            disabled=True,
            expires_at=LATER,
            password_expires_at=LATER,
            must_change_password=True,
            smartcard_required=True,
            preauth_not_required=True,
            logon_hours=bytes(range(21)),
            keys=secret_keys("alice"),
            key_credentials=(link(),),
        )
    )
    account = reader_of(store).account_by_id(account_id)
    assert account is not None
    assert (account.sam_account_name, account.upn) == ("Alice", "Alice@Sales.Example")
    assert account.spns == ("HTTP/alice", "HTTP/alice.lab.test")
    assert account.sid == store.domain_sid.with_rid(1000)
    assert (account.created_at, account.expires_at, account.password_expires_at) == (
        NOW,
        LATER,
        LATER,
    )
    assert account.disabled
    assert account.must_change_password
    assert account.smartcard_required
    assert account.preauth_not_required
    assert account.logon_hours == bytes(range(21))
    assert {(k.etype, k.key, k.salt) for k in account.keys} == {
        (k.etype, k.key, k.salt) for k in secret_keys("alice")
    }
    assert account.locked_until is None
    (credential,) = account.key_credentials
    assert (credential.usable, credential.text) == (True, link())
    assert credential.public_key == hello_key()


def test_store_is_a_directory(store: Store) -> None:
    """The seam to the core."""
    directory: Directory = store
    assert directory.account_by_name("nobody") is None


@pytest.mark.parametrize("name", ["alice", "ALICE", "aLiCe"])
def test_name_matches_in_any_ascii_case(store: Store, name: str) -> None:
    """Wire facts 2.6."""
    store.add_account(user("Alice", upn="Alice@Other.Example"))
    found = store.account_by_name(name)
    assert found is not None
    assert store.account_by_upn(f"{name}@OTHER.example") == found


@pytest.mark.parametrize(
    "name",
    [
        "аlice",
        "al\u0131ce",
        "ALİCE",
        "alice\u0301",
        "alice ",
        " alice",
        "alice\0",
        "alice$",
        "",
        "*",
        "al%",
        "al_ce",
        "alice' OR '1'='1",
        "\udcff",
        "a" * 200_000,
    ],
)
def test_other_name_does_not_match(store: Store, name: str) -> None:
    """Rows N02 to N04: not this account, and no error either."""
    store.add_account(user())
    assert store.account_by_name(name) is None
    assert store.account_by_upn(f"{name}@lab.test") is None
    assert store.account_by_spn(name) is None


def test_names_that_differ_outside_ascii_are_two_accounts(store: Store) -> None:
    """Row N03, the other way round: both may exist and neither is the other."""
    first = store.add_account(user("kate"))
    second = store.add_account(user("\u212aate", upn="kelvin@lab.test"))
    found = store.account_by_name("\u212aate")
    assert found is not None
    assert found.account_id == second != first


# -- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["ALICE", "alice"])
def test_name_in_use_exists(store: Store, other: str) -> None:
    """The sAMAccountName is unique in the domain (MS-SAMR 3.1.1.6)."""
    store.add_account(user("alice"))
    with pytest.raises(DirectoryError) as caught:
        store.add_account(user(other, upn="other@lab.test"))
    assert fault_of(caught) == (DirectoryFault.EXISTS, "name or userPrincipalName in use")


def test_upn_in_use_exists(store: Store) -> None:
    """The userPrincipalName is unique in the forest (MS-ADTS 3.1.1.5.1.3)."""
    store.add_account(user("alice", upn="a@example.com"))
    with pytest.raises(DirectoryError) as caught:
        store.add_account(user("bob", upn="A@EXAMPLE.COM"))
    assert caught.value.kind is DirectoryFault.EXISTS


def test_upn_that_is_another_accounts_implicit_one_exists(store: Store) -> None:
    """CVE-2021-42282: alice may not take bob@LAB.TEST, whoever comes first."""
    store.add_account(user("bob", upn="robert@example.com"))
    with pytest.raises(DirectoryError) as caught:
        store.add_account(user("alice", upn="BOB@lab.test"))
    assert caught.value.kind is DirectoryFault.EXISTS
    alice = store.add_account(user("alice", upn="carol@lab.test"))
    with pytest.raises(DirectoryError) as caught:
        store.add_account(user("carol", upn="c@example.com"))
    assert caught.value.kind is DirectoryFault.EXISTS
    with pytest.raises(DirectoryError) as caught:
        store.update_account(alice, AccountChanges(upn="bob@lab.test"))
    assert caught.value.kind is DirectoryFault.EXISTS
    store.update_account(alice, AccountChanges(upn="alice@lab.test"))


def test_spn_in_use_exists_and_nothing_of_the_account_stays(store: Store) -> None:
    """The servicePrincipalName is unique (MS-ADTS 3.1.1.5.1.3); a change is all or nothing."""
    web = NewAccount(
        kind=AccountKind.SERVICE, name="web", spns=("host/web.lab.test",), created_at=NOW
    )
    store.add_account(web)
    with pytest.raises(DirectoryError) as caught:
        store.add_account(replace(web, name="web2", spns=("host/new", "HOST/WEB.lab.test")))
    assert caught.value.kind is DirectoryFault.EXISTS
    assert store.account_by_name("web2") is None
    assert store.account_by_spn("host/new") is None


@pytest.mark.parametrize(
    "bad",
    [
        user(""),
        user("a/b"),
        user("a@b"),
        user("a\nb"),
        user("a\0b"),
        user(" a"),
        user("a" * 257),
        user("x\udcff"),
        user(upn="alice"),
        user(upn="a@b@c"),
        user(upn="@b"),
        replace(user(), spns=("host/",)),
        replace(user(), spns=("host/x@LAB.TEST",)),
        replace(user(), logon_hours=b"short"),
        replace(user(), keys=secret_keys("a") * 2),
        replace(user("pc"), kind=AccountKind.COMPUTER),
    ],
)
def test_value_not_acceptable_is_invalid(store: Store, bad: NewAccount) -> None:
    """Names that would be mistaken for another form, and fields of the wrong shape."""
    with pytest.raises(DirectoryError) as caught:
        store.add_account(bad)
    assert caught.value.kind is DirectoryFault.INVALID
    assert store.count_accounts() == 1


def test_rids_and_numbers_are_never_used_again(store: Store) -> None:
    """A deleted account's SID and number name nobody else (MS-SAMR 3.1.1.9.2)."""
    first = store.add_account(user("alice"))
    store.delete_account(first)
    second = store.add_account(user("alice"))
    assert second > first
    account = store.account_by_id(second)
    assert account is not None
    assert account.sid == store.domain_sid.with_rid(1001)


def test_sid_given_by_a_directory_is_kept(store: Store) -> None:
    """An LDAP realm brings its own SIDs."""
    sid = Sid.parse("S-1-5-21-1-2-3-4711")
    account = store.account_by_id(store.add_account(replace(user(), sid=sid)))
    assert account is not None
    assert account.sid == sid


def test_update_sets_what_it_names_and_nothing_else(store: Store) -> None:
    """UNCHANGED is not None."""
    account_id = store.add_account(replace(user(), expires_at=LATER, smartcard_required=True))
    store.update_account(account_id, AccountChanges(disabled=True, upn=None, spns=("host/a",)))
    account = store.account_by_id(account_id)
    assert account is not None
    assert (account.disabled, account.smartcard_required, account.upn) == (True, True, None)
    assert (account.expires_at, account.spns) == (LATER, ("host/a",))
    store.update_account(account_id, AccountChanges(disabled=False, expires_at=None, spns=()))
    account = store.account_by_id(account_id)
    assert account is not None
    assert (account.disabled, account.expires_at, account.spns) == (False, None, ())
    assert store.account_by_spn("host/a") is None
    assert len(account.keys) == 4


def test_deleted_account_is_gone_with_its_names_and_keys(store: Store) -> None:
    """Every row of it."""
    account_id = store.add_account(
        replace(user(), spns=("host/a",), key_credentials=(link(),)),
    )
    assert store.accounts_by_key(hello_key().digest) == (account_id,)
    store.delete_account(account_id)
    assert store.account_by_id(account_id) is None
    assert store.account_by_name("alice") is None
    assert store.account_by_upn("alice@lab.test") is None
    assert store.account_by_spn("host/a") is None
    assert store.accounts_by_key(hello_key().digest) == ()
    store.close()
    raw = sqlite3.connect(store.path)
    counts = [raw.execute(f"SELECT count(*) FROM {t}").fetchone() for t in ("spns", "keys")]  # noqa: S608
    raw.close()
    assert counts == [(2,), (4,)]


def test_krbtgt_cannot_be_deleted(store: Store) -> None:
    """A realm without it is dead."""
    with pytest.raises(DirectoryError) as caught:
        store.delete_account(store.krbtgt().account_id)
    assert caught.value.kind is DirectoryFault.DENIED


def test_unknown_account_is_not_found_on_every_change(store: Store) -> None:
    """Only changes say NOT_FOUND; lookups return None."""
    for change in (
        lambda: store.delete_account(99),
        lambda: store.update_account(99, AccountChanges(disabled=True)),
        lambda: store.set_keys(99, secret_keys("x")),
        lambda: store.add_key_credential(99, link()),
        lambda: store.replace_key_credentials(99, []),
        lambda: store.remove_key_credential(99),
        lambda: store.owner_dn(99),
    ):
        with pytest.raises(DirectoryError) as caught:
            change()
        assert caught.value.kind is DirectoryFault.NOT_FOUND


def test_new_generation_of_keys_keeps_as_many_as_asked(store: Store) -> None:
    """Design requirement 12: two krbtgt generations are kept."""
    account_id = store.krbtgt().account_id
    for kvno in (2, 3):
        store.set_keys(account_id, secret_keys("krbtgt", kvno), keep_generations=1)
        krbtgt = store.krbtgt()
        assert [key.kvno for key in krbtgt.keys] == [kvno] * 4 + [kvno - 1] * 4
        assert {key.kvno for key in krbtgt.newest_keys()} == {kvno}
    for keys in (secret_keys("x", 3), secret_keys("x", 4)[:1] + secret_keys("x", 5)[1:]):
        with pytest.raises(DirectoryError) as caught:
            store.set_keys(account_id, keys)
        assert caught.value.kind is DirectoryFault.INVALID
    store.set_keys(account_id, ())
    assert store.krbtgt().newest_keys() == ()


# -- key credentials -------------------------------------------------------------------------


def test_key_finds_the_users_and_computers_that_hold_it(store: Store) -> None:
    """Architecture section 4: several rows per key are allowed (row K04)."""
    alice = store.add_account(user("alice"))
    computer = store.add_account(NewAccount(kind=AccountKind.COMPUTER, name="PC1$", created_at=NOW))
    store.add_key_credential(alice, link())
    pc_dn = store.owner_dn(computer)
    assert pc_dn == "CN=PC1,CN=Computers,DC=LAB,DC=TEST"
    assert store.shared_keys() == ()
    store.add_key_credential(computer, link(dn=pc_dn))
    assert store.accounts_by_key(hello_key().digest) == (alice, computer)
    assert store.shared_keys() == ((hello_key().digest, (alice, computer)),)
    assert store.accounts_by_key(bytes(32)) == ()
    assert store.remove_key_credential(alice) == 1
    assert store.accounts_by_key(hello_key().digest) == (computer,)


def test_same_key_twice_on_one_account_exists(store: Store) -> None:
    """In whatever form it comes the second time."""
    alice = store.add_account(user("alice"))
    store.add_key_credential(alice, link())
    with pytest.raises(DirectoryError) as caught:
        store.add_key_credential(alice, link(form=MaterialForm.SPKI))
    assert fault_of(caught) == (DirectoryFault.EXISTS, "the account has this key")


def test_unusable_value_cannot_be_registered(store: Store) -> None:
    """The administrator learns the reason at once."""
    alice = store.add_account(user("alice"))
    for text, reason in (
        ("nonsense", "key credential: not a DN-Binary value"),
        (link(dn="CN=bob"), "key credential: DN part names another object"),
    ):
        with pytest.raises(DirectoryError) as caught:
            store.add_key_credential(alice, text)
        assert fault_of(caught) == (DirectoryFault.INVALID, reason)


def test_service_holds_no_key_credentials(store: Store) -> None:
    """Only users and computers log on with registered keys."""
    web = store.add_account(NewAccount(kind=AccountKind.SERVICE, name="web", created_at=NOW))
    with pytest.raises(DirectoryError) as caught:
        store.add_key_credential(web, link(dn=store.owner_dn(web)))
    assert caught.value.kind is DirectoryFault.DENIED
    store.replace_key_credentials(web, [link(dn=store.owner_dn(web))])
    assert store.accounts_by_key(hello_key().digest) == ()


def test_values_of_a_directory_are_kept_good_and_bad(store: Store) -> None:
    """Rows K08 and K09: neighbours unharmed, the first 512 of any number, texts as they came."""
    alice = store.add_account(user("alice"))
    odd = link(hello_key(1), dn="cn=ALICE, cn=users,dc=lab,dc=test")
    store.replace_key_credentials(alice, ["broken", link(), odd, *["x"] * 10_000])
    account = reader_of(store).account_by_id(alice)
    assert account is not None
    assert len(account.key_credentials) == MAX_VALUES
    assert [c.text for c in account.key_credentials[:3]] == ["broken", link(), odd]
    assert [c.usable for c in account.key_credentials[:4]] == [False, True, True, False]
    assert store.accounts_by_key(hello_key(1).digest) == (alice,)
    with pytest.raises(DirectoryError) as caught:
        store.add_key_credential(alice, link(hello_key(2)))
    assert caught.value.kind is DirectoryFault.INVALID


def test_value_with_a_wrong_key_id_counts_only_with_the_check_off(store: Store) -> None:
    """Row K05: in the index as on the account."""
    alice = store.add_account(user("alice"))
    entries = minimal_entries(encode_key_material(hello_key(), MaterialForm.BCRYPT))
    entries[0] = (1, bytes(32))
    store.replace_key_credentials(alice, [value(blob(entries))])
    for check, usable in ((True, False), (False, True)):
        reader = reader_of(store, check_keyid=check)
        account = reader.account_by_id(alice)
        assert account is not None
        assert account.key_credentials[0].usable is usable
        assert bool(reader.accounts_by_key(hello_key().digest)) is usable


def test_removal_by_key_id_takes_that_value_only(store: Store) -> None:
    """`kdc key remove USER KEYID` and `--all`."""
    alice = store.add_account(replace(user(), key_credentials=(link(), link(hello_key(1)))))
    account = store.account_by_id(alice)
    assert account is not None
    key_id = account.key_credentials[0].key_id
    assert store.accounts_by_key_id(key_id[:4]) == (alice,)
    assert store.remove_key_credential(alice, key_id) == 1
    assert store.remove_key_credential(alice, key_id) == 0
    assert store.accounts_by_key(hello_key(1).digest) == (alice,)
    assert store.remove_key_credential(alice) == 1


# -- many ------------------------------------------------------------------------------------


def test_many_accounts_are_added_and_listed_in_pages(store: Store) -> None:
    """Paging by name; prefix in any case; progress as it goes."""
    seen: list[int] = []
    people = (user(f"user{i:04}") for i in range(1200))
    assert store.add_accounts(people, seen.append) == 1200
    assert seen == [1000, 1200]
    names: list[str] = []
    while page := store.list_accounts(prefix="USER", after=names[-1] if names else "", limit=500):
        names += [summary.sam_account_name for summary in page]
    assert names == [f"user{i:04}" for i in range(1200)]
    assert [s.sam_account_name for s in store.list_accounts(prefix="user001", limit=2)] == [
        "user0010",
        "user0011",
    ]
    assert (store.count_accounts(), store.count_accounts(AccountKind.USER)) == (1201, 1200)
    assert [s.kind for s in store.list_accounts(kind=AccountKind.KRBTGT)] == [AccountKind.KRBTGT]


def test_bulk_with_one_bad_account_adds_none(store: Store) -> None:
    """All or none."""
    with pytest.raises(DirectoryError) as caught:
        store.add_accounts([user("alice"), user("bob"), user("ALICE", upn="x@lab.test")])
    assert caught.value.kind is DirectoryFault.EXISTS
    assert store.count_accounts() == 1
    store.add_account(user("alice"))


def test_cache_of_accounts_is_bounded(store: Store) -> None:
    """Row S07: by number, and by the octets of their values."""
    store.add_accounts(user(f"u{i}") for i in range(40))
    reader = Store.open(store.path, master_key(), read_only=True)
    reader._cached_accounts = 8
    for _ in range(2):
        for i in range(40):
            assert reader.account_by_name(f"u{i}") is not None
            assert reader.account_by_name(f"v{i}") is None
    assert len(reader._accounts) == 8
    assert reader._weight == sum(weight for _, weight in reader._accounts.values())


# -- realm secrets ---------------------------------------------------------------------------


def test_realm_settings_and_secrets(store: Store) -> None:
    """What the core keeps for the realm, such as the freshness key."""
    store.set_setting("colour", "blue")
    store.set_secret("freshness", b"topsecret-token-key")
    reader = reader_of(store)
    assert reader.setting("colour") == "blue"
    assert reader.secret("freshness") == b"topsecret-token-key"
    assert (reader.setting("none"), reader.secret("none")) == (None, None)


def test_reader_cannot_write(store: Store) -> None:
    """Design requirement 13: `kdc serve` has read-only rights."""
    reader = reader_of(store)
    with pytest.raises(DirectoryError) as caught:
        reader.add_account(user())
    assert caught.value.kind is DirectoryFault.DENIED
    with pytest.raises(sqlite3.OperationalError):
        reader._open().execute("DELETE FROM accounts")


def test_existing_store_is_not_replaced(store: Store) -> None:
    """`kdc init` is safe to run twice."""
    with pytest.raises(DirectoryError) as caught:
        make_store(store.path.parent)
    assert caught.value.kind is DirectoryFault.EXISTS


def test_wrong_master_key_is_denied(store: Store) -> None:
    """Said at the start, not at the first logon."""
    with pytest.raises(DirectoryError) as caught:
        Store.open(store.path, MasterKey(bytes(32)))
    kind, detail = fault_of(caught)
    assert kind is DirectoryFault.DENIED
    assert "master key does not open" in detail
