"""The tables of devices and keys: what is written is read, and what is unique stays so."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.keymaterial import MaterialForm, encode_key_material
from pki.keys import PublicKey, public_key_from_cryptography
from tenant.state import devices, keys, users
from tenant.state.database import Database
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.keys import RegisteredKey
from tenant.state.users import User
from tests.kdc.builders import NOW

ALICE = UUID(int=1)
BOB = UUID(int=2)


@cache
def public_key(number: int) -> PublicKey:
    assert number >= 0
    return public_key_from_cryptography(rsa.generate_private_key(65537, 2048).public_key())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.create(tmp_path / "tenant.sqlite")
    with made.write() as c:
        for object_id, name in ((ALICE, "alice"), (BOB, "bob")):
            users.add(c, User(object_id=object_id, upn=f"{name}@lab.test", display_name=name))
    yield made
    made.close()


def joined(number: int, **fields: object) -> DeviceRecord:
    spki = public_key(number).spki_der()
    record = DeviceRecord(
        device_id=UUID(int=100 + number),
        object_id=UUID(int=200 + number),
        display_name=f"Desktop-{number}",
        join_type=JoinType.JOINED,
        os_type="Windows",
        os_version="10.0",
        owner=ALICE,
        certificate=b"certificate %d" % number,
        device_key=spki,
        transport_key=spki,
        created=NOW,
    )
    return replace(record, **fields)  # type: ignore[arg-type]  # fields of the record


def hello(number: int, **fields: object) -> RegisteredKey:
    key = RegisteredKey(
        kid=UUID(int=300 + number),
        user=ALICE,
        device_id=UUID(int=101),
        material=encode_key_material(public_key(number), MaterialForm.BCRYPT),
        created=NOW,
    )
    return replace(key, **fields)  # type: ignore[arg-type]  # fields of the key


def test_a_device_is_read_as_it_was_written(database: Database) -> None:
    """Every column, those of the sync as well."""
    record = joined(
        1,
        join_type=JoinType.HYBRID,
        owner=None,
        shared=True,
        onprem_guid=UUID(int=101),
        sid="S-1-5-21-1-2-3-1104",
        user_certificate=b"self-signed",
        proof_time=NOW,
        enabled=False,
        attested=True,
        attestation="AIK 00",
    )
    with database.write() as c:
        devices.insert_device(c, record)
    with database.read() as c:
        assert devices.device_by_id(c, record.device_id) == record
        assert devices.device_by_key(c, public_key(1)) == record
        assert devices.device_by_certificate(c, b"certificate 1") == record
        assert devices.all_devices(c) == (record,)
        assert devices.devices_named(c, "DESKTOP-1") == (record,)


def test_a_certificate_that_was_replaced_speaks_for_nobody(database: Database) -> None:
    """Rule 1: the device has its newest certificate alone."""
    with database.write() as c:
        devices.insert_device(c, joined(1))
        devices.update_device(c, joined(1, certificate=b"a new one"))
        assert devices.device_by_certificate(c, b"certificate 1") is None
        found = devices.device_by_certificate(c, b"a new one")
        assert found is not None
        assert found.device_id == UUID(int=101)


def test_a_devices_key_is_no_other_devices(database: Database) -> None:
    """Rule 2, however the second one comes: the database itself refuses it."""
    with database.write() as c:
        devices.insert_device(c, joined(1))
        devices.insert_device(c, joined(2))
    with pytest.raises(sqlite3.IntegrityError), database.write() as c:
        devices.insert_device(c, joined(3, device_key=joined(1).device_key))
    with pytest.raises(sqlite3.IntegrityError), database.write() as c:
        devices.update_device(c, joined(2, device_key=joined(1).device_key))
    with database.read() as c:
        assert devices.all_devices(c) == (joined(1), joined(2))


def test_devices_are_counted_by_owner_and_listed_in_pages(database: Database) -> None:
    """In order of their ids, so that a page can follow a page."""
    with database.write() as c:
        for number in (3, 1, 2):
            devices.insert_device(c, joined(number, owner=BOB if number == 3 else ALICE))
    with database.read() as c:
        assert [devices.count_devices_of(c, owner) for owner in (ALICE, BOB)] == [2, 1]
        assert devices.all_devices(c, limit=1) == (joined(1),)
        assert devices.all_devices(c, after=UUID(int=101), limit=1) == (joined(2),)


def test_a_deleted_device_takes_its_keys_along(database: Database) -> None:
    """A key is registered on a device: without it, it is nobody's proof of anything."""
    with database.write() as c:
        devices.insert_device(c, joined(1))
        devices.insert_device(c, joined(2))
        keys.insert_key(c, hello(1))
        keys.insert_key(c, hello(2, device_id=UUID(int=102)))
        assert devices.delete_device(c, UUID(int=101))
        assert not devices.delete_device(c, UUID(int=101))
        assert keys.all_keys(c) == (hello(2, device_id=UUID(int=102)),)


def test_a_key_is_found_by_each_of_its_names(database: Database) -> None:
    """Kid is the server's number, key_id the digest that assertions and the directory name."""
    key = hello(1, attested=True, attestation="AIK 00")
    with database.write() as c:
        devices.insert_device(c, joined(1))
        keys.insert_key(c, key)
    with database.read() as c:
        assert keys.key_by_kid(c, key.kid) == key
        assert keys.key_by_key_id(c, sha256(key.material).digest()) == key
        assert keys.key_by_numbers(c, public_key(1)) == key
        assert keys.keys_of_user(c, ALICE) == (key,)
        assert keys.key_by_kid(c, UUID(int=9)) is None


def test_a_key_in_another_encoding_is_the_same_key(database: Database) -> None:
    """Rule 1: a leading zero in the blob makes another digest of the same numbers."""
    key = hello(1)
    blob = key.material
    # cbPublicExp 4 instead of 3, and the exponent with a zero before it.
    longer = blob[:8] + b"\x04\0\0\0" + blob[12:24] + b"\0" + blob[24:]
    with database.write() as c:
        devices.insert_device(c, joined(1))
        keys.insert_key(c, key)
    with pytest.raises(sqlite3.IntegrityError), database.write() as c:
        keys.insert_key(c, replace(key, kid=UUID(int=9), user=BOB, material=longer))


def test_a_deleted_user_leaves_no_key_and_a_device_without_an_owner(database: Database) -> None:
    """And a key is deleted by its number."""
    with database.write() as c:
        devices.insert_device(c, joined(1, owner=BOB))
        for number in range(3):
            created = NOW + timedelta(seconds=number)
            keys.insert_key(c, hello(number, created=created, user=BOB if number else ALICE))
        assert keys.delete_key(c, hello(0).kid)
        assert not keys.delete_key(c, hello(0).kid)
        users.delete(c, BOB)
        assert keys.all_keys(c) == ()
        assert devices.all_devices(c) == (joined(1, owner=None),)


def test_a_changed_device_keeps_its_keys(database: Database) -> None:
    """A new certificate is no new device."""
    with database.write() as c:
        devices.insert_device(c, joined(1))
        keys.insert_key(c, hello(1))
        devices.update_device(c, joined(1, certificate=b"a new one"))
        assert keys.all_keys(c) == (hello(1),)
