"""UserCertificate, objectGUIDs of embedded accounts, and the removal of exactly one value."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountChanges, NewAccount
from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.model import AccountKind, Device
from directory.store import Store
from directory.store_certificates import MAX_CERTIFICATES
from tests.directory.builders import DEVICE, NOW, hello_key, make_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    yield made
    made.close()


def _computer(store: Store) -> int:
    return store.add_account(NewAccount(kind=AccountKind.COMPUTER, name="PC1$", created_at=NOW))


def test_certificates_of_a_computer_are_kept_in_their_order(store: Store) -> None:
    """Flow R3 C: the computer adds its certificate; the account itself reads as before."""
    pc = _computer(store)
    before = store.account_by_id(pc)
    store.add_user_certificate(pc, b"first")
    store.add_user_certificate(pc, b"second")
    assert store.user_certificates(pc) == (b"first", b"second")
    assert store.account_by_id(pc) == before
    assert store.remove_user_certificates(pc, [b"first", b"never"]) == 1
    store.add_user_certificate(pc, b"third")
    assert store.user_certificates(pc) == (b"second", b"third")


def test_certificates_have_bounds(store: Store) -> None:
    """The same one twice, too long a one, too many."""
    pc = _computer(store)
    for number in range(MAX_CERTIFICATES):
        store.add_user_certificate(pc, bytes((number,)))
    for value, kind in ((b"\x00", "EXISTS"), (b"more", "INVALID"), (bytes(70_000), "INVALID")):
        with pytest.raises(DirectoryError) as caught:
            store.add_user_certificate(pc, value)
        assert caught.value.kind is DirectoryFault[kind]
    with pytest.raises(DirectoryError) as caught:
        store.add_user_certificate(99, b"x")
    assert caught.value.kind is DirectoryFault.NOT_FOUND


def test_certificates_go_with_their_account(store: Store) -> None:
    """A deleted computer leaves nothing behind."""
    pc = _computer(store)
    store.add_user_certificate(pc, b"first")
    store.delete_account(pc)
    assert store.user_certificates(pc) == ()


def test_rare_values_and_certificates_stand_beside_each_other(store: Store) -> None:
    """Setting altSecurityIdentities leaves the certificates of an account alone."""
    pc = _computer(store)
    store.add_user_certificate(pc, b"first")
    mapping = ("X509:<SKI>00112233",)
    store.update_account(pc, AccountChanges(alt_security_identities=mapping))
    store.update_account(pc, AccountChanges(alt_security_identities=()))
    assert store.user_certificates(pc) == (b"first",)


def test_an_object_guid_is_an_accounts_for_its_life(store: Store) -> None:
    """The same after a rename, another one's never, and a directory's own where there is one."""
    pc = _computer(store)
    guid = store.object_guid(pc)
    store.update_account(pc, AccountChanges(name="PC2$"))
    assert store.object_guid(pc) == guid
    store.delete_account(pc)
    assert store.object_guid(_computer(store)) != guid
    given = UUID(int=5)
    alice = NewAccount(kind=AccountKind.USER, name="alice", created_at=NOW, guid=given)
    assert store.object_guid(store.add_account(alice)) == given
    with pytest.raises(DirectoryError):
        store.object_guid(99)


def _value(store: Store, account_id: int, device_id: UUID | None) -> str:
    new = NewKeyCredential(public_key=hello_key(), created=NOW, device_id=device_id)
    return encode_key_credential(new, store.owner_dn(account_id))


def test_one_value_of_two_with_one_key_is_removed(store: Store) -> None:
    """By value: what somebody else registered stays, the same KeyID or not."""
    alice = store.add_account(NewAccount(kind=AccountKind.USER, name="alice", created_at=NOW))
    ours, theirs = _value(store, alice, DEVICE), _value(store, alice, None)
    store.replace_key_credentials(alice, (ours, theirs))
    store.remove_key_value(alice, ours)
    found = store.account_by_id(alice)
    assert found is not None
    assert [credential.text for credential in found.key_credentials] == [theirs]
    with pytest.raises(DirectoryError) as caught:
        store.remove_key_value(alice, ours)
    assert caught.value.kind is DirectoryFault.NOT_FOUND


def test_a_device_keeps_its_guid_when_it_changes(store: Store) -> None:
    """Name, state and owner are set; which object it is stays."""
    laptop = Device(device_id=DEVICE, name="Laptop", enabled=True, guid=UUID(int=1), created_at=NOW)
    store.add_device(laptop)
    changed = replace(laptop, name="Desk", enabled=False, owner=store.domain_sid.with_rid(1000))
    store.update_device(replace(changed, guid=UUID(int=2)))
    assert store.device(DEVICE) == changed
    for bad, kind in ((replace(laptop, name=""), "INVALID"), (None, "NOT_FOUND")):
        with pytest.raises(DirectoryError) as caught:
            store.update_device(bad or replace(laptop, device_id=UUID(int=9)))
        assert caught.value.kind is DirectoryFault[kind]
