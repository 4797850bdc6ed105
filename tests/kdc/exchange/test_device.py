"""Devices of registered keys: rows K11 and K19, and tickets after the device is disabled."""

from uuid import UUID

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountChanges
from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.keymaterial import MaterialForm
from directory.model import Device, Sid
from directory.store import Store
from kdc.outcome import Outcome
from kdc.trust.privileged import is_privileged, is_privileged_group
from kdc.wire.constants import ErrorCode
from tests.directory.builders import DEVICE
from tests.kdc.builders import (
    NOW,
    Kdc,
    PkinitRequest,
    add_hello_key,
    hello_key,
    issued_ticket,
    refused,
)
from tests.kdc.tgs_builders import TgsRequest, ask_tgs, key_tgt, service_ticket

NOT_TRUSTED = ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED
DISABLED = (NOT_TRUSTED, "the device of the signer's key is disabled")
NO_OBJECT = (NOT_TRUSTED, "the signer's key has no device object")
PRIVILEGED = (NOT_TRUSTED, "a privileged account's key has no device object")
TGT_ENDED = (
    ErrorCode.KDC_ERR_TGT_REVOKED,
    "the devices of a key-trust logon were disabled since",
)
LAPTOP = Device(device_id=DEVICE, name="laptop", enabled=True, guid=UUID(int=1), created_at=NOW)


def register_on(kdc: Kdc, device: UUID | None) -> None:
    """Give alice her key anew, on this device."""
    alice = kdc.account_id("alice")
    kdc.store.remove_key_credential(alice)
    new = NewKeyCredential(
        public_key=hello_key("alice"), material=MaterialForm.BCRYPT, created=NOW, device_id=device
    )
    text = encode_key_credential(new, kdc.store.owner_dn(alice))
    kdc.store.add_key_credential(alice, text)


def add_laptop(kdc: Kdc, *, enabled: bool) -> None:
    """Put the device object into the store."""
    kdc.store.add_device(LAPTOP)
    kdc.store.set_device_enabled(DEVICE, enabled=enabled)


def log_on(kdc: Kdc) -> Outcome:
    """Log on as alice with her key."""
    return kdc.ask(PkinitRequest().build().message)


# -- row K11 ---------------------------------------------------------------------------------


def test_key_of_a_disabled_device_is_not_trusted(kdc: Kdc) -> None:
    """Row K11, ADV190026: whatever the policy."""
    register_on(kdc, DEVICE)
    add_laptop(kdc, enabled=False)
    outcome = log_on(kdc)
    assert refused(outcome) == DISABLED
    assert outcome.facts["device_id"] == str(DEVICE)
    assert "alarm" not in outcome.facts
    kdc.store.set_device_enabled(DEVICE, enabled=True)
    issued_ticket(log_on(kdc))


@pytest.mark.parametrize("named", [None, DEVICE, UUID(int=0)])
def test_key_without_a_device_object_logs_on_by_default(kdc: Kdc, named: UUID | None) -> None:
    """Row K11: no DeviceId, an unknown one or zeros say nothing, whatever other devices are."""
    register_on(kdc, named)
    issued_ticket(log_on(kdc))
    kdc.store.add_device(
        Device(device_id=UUID(int=7), name="another", enabled=False, guid=UUID(int=2))
    )
    issued_ticket(log_on(kdc))


@pytest.mark.parametrize("named", [None, DEVICE, UUID(int=0)])
def test_key_without_a_device_object_where_one_is_required(kdc: Kdc, named: UUID | None) -> None:
    """Row K11: require_device_object."""
    kdc.configure(require_device_object=True)
    register_on(kdc, named)
    assert refused(log_on(kdc)) == NO_OBJECT


def test_key_of_an_enabled_device_where_one_is_required(kdc: Kdc) -> None:
    """Row K11: the control; and a disabled one keeps its own reason."""
    kdc.configure(require_device_object=True, privileged_keys="device")
    register_on(kdc, DEVICE)
    add_laptop(kdc, enabled=True)
    issued_ticket(log_on(kdc))
    kdc.store.set_device_enabled(DEVICE, enabled=False)
    assert refused(log_on(kdc)) == DISABLED


def test_devices_that_cannot_be_read_are_29(kdc: Kdc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed: a directory in trouble is neither a ticket nor a verdict on the key."""
    register_on(kdc, DEVICE)

    def broken(device_id: UUID) -> Device | None:
        raise DirectoryError(DirectoryFault.UNAVAILABLE, "no store")

    monkeypatch.setattr(kdc.store, "device", broken)
    assert refused(log_on(kdc))[0] == ErrorCode.KDC_ERR_SVC_UNAVAILABLE


# -- tickets after the logon -----------------------------------------------------------------


def test_tgt_ends_when_the_device_is_disabled(kdc: Kdc) -> None:
    """Row K11: and works again when the device does."""
    register_on(kdc, DEVICE)
    add_laptop(kdc, enabled=True)
    tgt = key_tgt(kdc)
    service_ticket(kdc, TgsRequest(tgt=tgt))
    kdc.store.set_device_enabled(DEVICE, enabled=False)
    assert refused(ask_tgs(kdc, TgsRequest(tgt=tgt))) == TGT_ENDED
    kdc.store.set_device_enabled(DEVICE, enabled=True)
    service_ticket(kdc, TgsRequest(tgt=tgt))


def test_tgt_lives_while_another_key_of_the_account_could_be_its_own(kdc: Kdc) -> None:
    """Which key made a TGT is not in it, so it ends with the last one that may log on."""
    register_on(kdc, DEVICE)
    add_laptop(kdc, enabled=True)
    tgt = key_tgt(kdc)
    add_hello_key(kdc.store, "alice", hello_key("another"))
    kdc.store.set_device_enabled(DEVICE, enabled=False)
    service_ticket(kdc, TgsRequest(tgt=tgt))
    assert refused(log_on(kdc)) == DISABLED


# -- row K19 ---------------------------------------------------------------------------------


def make_privileged(kdc: Kdc, how: str) -> None:
    """Make alice privileged, by her mark, a group, or a group in a group."""
    store = kdc.store
    alice = kdc.account_id("alice")
    if how == "adminCount":
        store.update_account(alice, AccountChanges(admin_count=True))
        return
    if how == "primary group":
        store.update_account(alice, AccountChanges(primary_group_id=516))
        return
    if how == "nested":
        inner = store.add_group("Helpdesk")
        store.add_member(_group(store, "Domain Admins"), member_group=inner)
        store.add_member(inner, account_id=alice)
        return
    sid = Sid.parse(how) if how.startswith("S-") else store.domain_sid.with_rid(int(how))
    known = [g.group_id for g in store.list_groups() if g.sid == sid]
    store.add_member(known[0] if known else store.add_group("tier 0", sid), account_id=alice)


def _group(store: Store, name: str) -> int:
    found = store.group_by_name(name)
    assert found is not None
    return found.group_id


BUILTIN = [f"S-1-5-32-{rid}" for rid in (544, 548, 549, 550, 551)]
PRIVILEGES = ["adminCount", "primary group", "nested", "S-1-5-21-9-9-9-519", *BUILTIN]
PRIVILEGES += [str(rid) for rid in (498, 512, 516, 518, 519, 521, 526, 527)]


@pytest.mark.parametrize("how", PRIVILEGES)
def test_privileged_account_needs_a_device_where_the_policy_says_so(kdc: Kdc, how: str) -> None:
    """Row K19: a key without a device object is refused, and the operator is alarmed."""
    make_privileged(kdc, how)
    issued_ticket(log_on(kdc))
    kdc.configure(privileged_keys="device")
    outcome = log_on(kdc)
    assert refused(outcome) == PRIVILEGED
    assert outcome.facts["alarm"] == "key without a device on a privileged account"
    assert outcome.facts["account_ids"] == (kdc.account_id("alice"),)
    register_on(kdc, DEVICE)
    assert refused(log_on(kdc)) == PRIVILEGED
    add_laptop(kdc, enabled=True)
    issued_ticket(log_on(kdc))


@pytest.mark.parametrize("how", ["525", "1500", "S-1-5-32-545", "S-1-5-32-512", "S-1-18-512"])
def test_other_accounts_log_on_as_ever_under_the_policy(kdc: Kdc, how: str) -> None:
    """Row K19: Protected Users protects and gives nothing; numbers count with their authority."""
    kdc.configure(privileged_keys="device")
    make_privileged(kdc, how)
    issued_ticket(log_on(kdc))


def test_administrator_is_privileged_without_any_group(kdc: Kdc) -> None:
    """MS-ADTS 3.1.1.6.1.2: RID 500."""
    sid = kdc.store.domain_sid.with_rid(500)
    kdc.add_user("administrator", sid=sid)
    found = kdc.store.account_by_name("administrator")
    alice = kdc.store.account_by_name("alice")
    assert found is not None and is_privileged(found, kdc.store)
    assert alice is not None and not is_privileged(alice, kdc.store)


def test_privileged_groups_are_of_a_domain_or_built_in() -> None:
    """MS-DTYP 2.4.2.4: a RID alone is no privilege."""
    assert is_privileged_group(Sid.parse("S-1-5-21-1-2-3-512"))
    assert is_privileged_group(Sid.parse("S-1-5-32-544"))
    assert not is_privileged_group(Sid.parse("S-1-5-21-1-2-3-544"))
    assert not is_privileged_group(Sid.parse("S-1-16-512"))
