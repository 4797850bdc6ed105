"""Device objects of the local store."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.model import Device
from directory.store import Store
from tests.directory.builders import DEVICE, NOW, make_store

LAPTOP = Device(device_id=DEVICE, name="Laptop", enabled=True, guid=UUID(int=1), created_at=NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    yield made
    made.close()


def test_device_is_added_disabled_and_deleted(store: Store) -> None:
    """Each change is seen at once by the process that made it."""
    owner = store.domain_sid.with_rid(1000)
    laptop = replace(LAPTOP, owner=owner, dn="CN=x")
    assert store.device(DEVICE) is None
    store.add_device(laptop)
    assert store.device(DEVICE) == laptop
    assert store.list_devices() == store.devices_named("LAPTOP") == (laptop,)
    assert store.list_devices(after=laptop.guid) == ()
    store.set_device_enabled(DEVICE, enabled=False)
    assert store.device(DEVICE) == replace(laptop, enabled=False)
    assert store.device(UUID(int=7)) is None
    store.delete_device(DEVICE)
    assert store.device(DEVICE) is None


def test_another_process_sees_a_change_with_its_next_request(store: Store, tmp_path: Path) -> None:
    """That there was no device at all is remembered until a commit, not longer."""
    reader = Store.open(store.path, store._master_key, read_only=True)
    reader.refresh()
    assert reader.device(DEVICE) is None
    store.add_device(LAPTOP)
    reader.refresh()
    assert reader.device(DEVICE) == LAPTOP
    reader.close()


def test_realm_without_devices_is_asked_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A logon's DeviceId costs no query where no device can be."""
    asked: list[str] = []
    found = store._all

    def counted(sql: str, *values: object) -> list[tuple[object, ...]]:
        asked.append(sql)
        return found(sql, *values)

    monkeypatch.setattr(store._devices, "_query", counted)
    for number in range(10):
        assert store.device(UUID(int=number)) is None
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        (replace(LAPTOP, device_id=UUID(int=0)), DirectoryFault.INVALID),
        (replace(LAPTOP, device_id=UUID(int=3), name=""), DirectoryFault.INVALID),
        (replace(LAPTOP, device_id=UUID(int=3), name="a\nb"), DirectoryFault.INVALID),
        (replace(LAPTOP, guid=UUID(int=2)), DirectoryFault.EXISTS),
        (replace(LAPTOP, device_id=UUID(int=3)), DirectoryFault.EXISTS),
    ],
)
def test_device_that_is_not_added(store: Store, device: Device, kind: DirectoryFault) -> None:
    """Its number and GUID are its own, its name can be shown."""
    store.add_device(LAPTOP)
    with pytest.raises(DirectoryError) as caught:
        store.add_device(device)
    assert caught.value.kind is kind
    assert store.list_devices() == (LAPTOP,)


def test_unknown_device_is_not_found(store: Store) -> None:
    """Nothing is changed without a word."""
    with pytest.raises(DirectoryError) as caught:
        store.set_device_enabled(DEVICE, enabled=True)
    assert caught.value.kind is DirectoryFault.NOT_FOUND
    with pytest.raises(DirectoryError) as caught:
        store.delete_device(DEVICE)
    assert caught.value.kind is DirectoryFault.NOT_FOUND
