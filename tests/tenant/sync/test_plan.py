"""The difference of two sides: what a sync run would do, and what it leaves alone."""

from dataclasses import replace
from datetime import timedelta

from directory.keycredential import format_dn_binary
from tenant.state.sync import Journal, WrittenKey
from tenant.sync.mapping import key_blob
from tenant.sync.plan import Plan, make_plan
from tenant.sync.view import (
    DeviceObject,
    DirectoryAccount,
    DirectoryView,
    TenantKey,
    TenantView,
)
from tests.tenant.sync.builders import (
    DOMAIN,
    NOW,
    account,
    certificate,
    computer,
    device,
    key,
    number,
    user,
    view,
)

ALICE = account()
LINKED = user(of=ALICE)


def _plan(directory: DirectoryView, tenant: TenantView, journal: Journal | None = None) -> Plan:
    return make_plan(directory, tenant, journal or Journal(), NOW)


def _row(
    registered: TenantKey, owner: DirectoryAccount = ALICE, *, done: bool = True
) -> WrittenKey:
    return WrittenKey(account=owner.guid, kid=registered.kid, blob=key_blob(registered), done=done)


def _value(registered: TenantKey, owner: DirectoryAccount = ALICE) -> str:
    return format_dn_binary(key_blob(registered), owner.dn)


# -- users -----------------------------------------------------------------------------------


def test_an_account_becomes_a_user() -> None:
    """Users go up with UPN, objectGUID, objectSid, sAMAccountName and whether they are enabled."""
    (change,) = _plan(view(ALICE), TenantView()).users
    assert change.new
    assert (change.user.upn, change.user.guid, change.user.sid) == (
        "alice@lab.test",
        ALICE.guid,
        str(ALICE.sid),
    )
    assert (change.user.sam_account_name, change.user.enabled) == ("alice", True)


def test_a_user_in_step_does_not_change() -> None:
    """A second run finds nothing to do."""
    plan = _plan(view(ALICE), TenantView(users=(LINKED,)))
    assert plan == Plan()


def test_a_user_of_the_tenant_is_taken_by_its_upn() -> None:
    """Entra's soft match: in any case of ASCII letters, and it keeps its number."""
    (change,) = _plan(view(ALICE), TenantView(users=(user(upn="Alice@LAB.test"),))).users
    assert not change.new
    assert change.user.object_id == number("oid alice")
    assert "guid" in change.fields


def test_a_renamed_account_keeps_its_user() -> None:
    """Its objectGUID says who it is."""
    renamed = replace(ALICE, sam_account_name="asmith", upn="asmith@lab.test")
    (change,) = _plan(view(renamed), TenantView(users=(LINKED,))).users
    assert change.user.object_id == LINKED.object_id
    assert change.fields == ("upn", "sam_account_name")


def test_a_upn_of_another_synced_user_is_not_taken() -> None:
    """Two accounts never share a user."""
    plan = _plan(view(ALICE, account("bob", 1102, upn="alice@lab.test")), TenantView())
    assert plan.users == ()
    assert {problem.name for problem in plan.problems} == {"alice", "bob"}
    plan = _plan(view(account("bob", 1102, upn="alice@lab.test")), TenantView(users=(LINKED,)))
    assert [problem.why for problem in plan.problems] == [
        "another user of the tenant has its userPrincipalName"
    ]


def test_an_account_that_is_gone_disables_its_user() -> None:
    """Nothing is deleted: its keys were acknowledged."""
    (change,) = _plan(view(), TenantView(users=(LINKED, user("cloud")))).users
    assert (change.user.object_id, change.user.enabled) == (LINKED.object_id, False)
    assert _plan(view(), TenantView(users=(replace(LINKED, enabled=False),))).users == ()


def test_an_account_that_cannot_be_read_changes_nothing() -> None:
    """What is there and unreadable is not gone."""
    plan = _plan(
        view(unreadable=frozenset((ALICE.guid,))),
        TenantView(users=(LINKED,), keys=(key(),)),
        Journal(keys=(_row(key()),)),
    )
    assert (plan.users, plan.forget_keys, plan.remove_keys) == ((), (), ())
    assert [problem.what for problem in plan.problems] == ["user"]


# -- keys ------------------------------------------------------------------------------------


def test_a_registered_key_is_written() -> None:
    """Flow P4 D."""
    (change,) = _plan(view(ALICE), TenantView(users=(LINKED,), keys=(key(),))).add_keys
    assert (change.account, change.kid, change.blob) == (ALICE, key().kid, key_blob(key()))


def test_a_key_of_a_user_that_is_only_now_matched_is_written() -> None:
    """A user that the tenant made itself needs one run, not two."""
    plan = _plan(view(ALICE), TenantView(users=(user(),), keys=(key(),)))
    assert [change.kid for change in plan.add_keys] == [key().kid]


def test_a_key_of_the_tenants_own_user_stays_up() -> None:
    """There is no account to write it to."""
    assert (
        _plan(view(ALICE), TenantView(users=(user("bob"),), keys=(key(owner="bob"),))).add_keys
        == ()
    )


def test_a_written_key_is_left_alone() -> None:
    """By value: the account's name in it does not matter."""
    renamed = replace(ALICE, dn="CN=asmith,DC=lab", key_values=(_value(key()),))
    plan = _plan(
        view(renamed), TenantView(users=(LINKED,), keys=(key(),)), Journal(keys=(_row(key()),))
    )
    assert (plan.add_keys, plan.remove_keys, plan.unchanged) == ((), (), 1)


def test_a_key_found_after_a_kill_is_marked() -> None:
    """Killed between the write and the mark."""
    there = replace(ALICE, key_values=(_value(key()),))
    row = _row(key(), done=False)
    plan = _plan(view(there), TenantView(users=(LINKED,), keys=(key(),)), Journal(keys=(row,)))
    assert (plan.add_keys, plan.found_keys) == ((), (row,))


def test_a_key_that_was_not_written_before_a_kill_is_written_with_the_same_octets() -> None:
    """Killed between the journal and the write; the journal's octets are the value."""
    row = WrittenKey(account=ALICE.guid, kid=key().kid, blob=b"as it was", done=False)
    plan = _plan(view(ALICE), TenantView(users=(LINKED,), keys=(key(),)), Journal(keys=(row,)))
    assert [change.blob for change in plan.add_keys] == [b"as it was"]


def test_a_key_of_ours_that_somebody_took_away_is_written_again() -> None:
    """The tenant says which keys there are."""
    plan = _plan(
        view(ALICE), TenantView(users=(LINKED,), keys=(key(),)), Journal(keys=(_row(key()),))
    )
    assert [change.kid for change in plan.add_keys] == [key().kid]


def test_a_key_that_is_gone_from_the_tenant_is_removed_as_it_stands_there() -> None:
    """The text in the directory is removed, with the DN that it has now."""
    there = replace(ALICE, key_values=(_value(key()), _value(key("other"))))
    plan = _plan(view(there), TenantView(users=(LINKED,)), Journal(keys=(_row(key()),)))
    assert [change.text for change in plan.remove_keys] == [_value(key())]


def test_a_key_that_somebody_else_registered_is_never_touched() -> None:
    """Neither removed nor written a second time; it is reported."""
    theirs = replace(ALICE, key_values=(_value(key(device_id=None)),))
    plan = _plan(view(theirs), TenantView(users=(LINKED,), keys=(key(),)))
    assert (plan.add_keys, plan.remove_keys) == ((), ())
    assert [problem.why for problem in plan.problems] == [
        "somebody else registered this key there: it is left as it is"
    ]
    assert _plan(view(theirs), TenantView(users=(LINKED,))) == Plan()


def test_a_key_of_another_account_is_not_written() -> None:
    """Row K04: whoever registers somebody else's public key would end that one's logons."""
    bob = account("bob", 1102, key_values=(_value(key(device_id=None)),))
    plan = _plan(view(ALICE, bob), TenantView(users=(LINKED,), keys=(key(),)))
    assert plan.add_keys == ()
    assert [(problem.name, problem.why) for problem in plan.problems] == [
        ("alice", "another account of the directory has this key")
    ]


def test_a_key_that_goes_from_one_account_may_go_to_another() -> None:
    """Removed from bob's account by this run, before it is added to alice's."""
    bob = account("bob", 1102, key_values=(_value(key()),))
    again = key(kid=number("second kid"))
    plan = _plan(
        view(ALICE, bob),
        TenantView(users=(LINKED, user("bob", of=bob)), keys=(again,)),
        Journal(keys=(_row(key(), bob),)),
    )
    assert [change.account.sam_account_name for change in plan.remove_keys] == ["bob"]
    assert [change.kid for change in plan.add_keys] == [again.kid]


def test_a_key_that_is_registered_anew_takes_the_place_of_its_old_value() -> None:
    """Removed and registered again between two runs: one run is enough."""
    there = replace(ALICE, key_values=(_value(key()),))
    again = key(kid=number("second kid"), created=NOW + timedelta(hours=1))
    plan = _plan(
        view(there), TenantView(users=(LINKED,), keys=(again,)), Journal(keys=(_row(key()),))
    )
    assert [change.kid for change in plan.remove_keys] == [key().kid]
    assert [change.kid for change in plan.add_keys] == [again.kid]
    assert plan.problems == ()


def test_a_key_gone_from_both_sides_is_forgotten() -> None:
    """Killed between the removal and the journal. Other values are seen: so it would be."""
    row = _row(key())
    bob = account("bob", 1102, key_values=(_value(key("other")),), in_scope=False)
    plan = _plan(view(ALICE, bob), TenantView(users=(LINKED,)), Journal(keys=(row,)))
    assert (plan.remove_keys, plan.forget_keys) == ((), (row,))


def test_a_key_is_not_forgotten_where_no_value_is_shown_at_all() -> None:
    """The right to read the attribute may be gone: the key must not log on for ever."""
    plan = _plan(view(ALICE), TenantView(users=(LINKED,)), Journal(keys=(_row(key()),)))
    assert (plan.remove_keys, plan.forget_keys) == ((), ())


def test_a_key_of_an_account_that_is_not_shown_stays_ours() -> None:
    """It may be hidden for a day: its value must then be known as ours, to be removed."""
    row = _row(key())
    for tenant in (TenantView(users=(LINKED,)), TenantView(users=(LINKED,), keys=(key(),))):
        plan = _plan(view(), tenant, Journal(keys=(row,)))
        assert (plan.add_keys, plan.remove_keys, plan.forget_keys) == ((), (), ())


def test_nothing_is_added_to_an_account_out_of_scope() -> None:
    """Its keys stay; its user is disabled."""
    outside = replace(ALICE, in_scope=False, key_values=(_value(key()),))
    plan = _plan(
        view(outside),
        TenantView(users=(LINKED,), keys=(key(), key("second"))),
        Journal(keys=(_row(key()),)),
    )
    assert (plan.add_keys, plan.remove_keys, plan.forget_keys) == ((), (), ())
    assert [change.user.enabled for change in plan.users] == [False]


# -- computers -------------------------------------------------------------------------------

PC = computer()


def test_a_computer_with_a_certificate_becomes_a_device() -> None:
    """Flow R3 D: DeviceId is the objectGUID; the key is the certificate's."""
    (change,) = _plan(view(PC), TenantView()).devices
    made = change.device
    assert change.new
    assert (made.device_id, made.guid, made.sid) == (PC.guid, PC.guid, str(PC.sid))
    assert (made.display_name, made.registered, made.enabled) == ("PC1", False, True)
    assert made.user_certificate == PC.certificates[0]


def test_a_computer_without_a_certificate_is_no_device() -> None:
    """It has not asked to be registered."""
    assert _plan(view(replace(PC, certificates=())), TenantView()) == Plan()


def _registered() -> TenantView:
    (change,) = _plan(view(PC), TenantView()).devices
    return TenantView(devices=(replace(change.device, certificate=b"of the device"),))


def test_a_new_certificate_replaces_the_key_alone() -> None:
    """A computer registers anew; its device keeps what it has until then."""
    again = replace(PC, certificates=(certificate("new key", str(PC.guid)),))
    tenant = TenantView(devices=(replace(_registered().devices[0], certificate=None),))
    (change,) = _plan(view(again), tenant).devices
    assert change.fields == ("user_certificate",)


def test_a_device_of_a_computer_that_is_gone() -> None:
    """One that never registered goes; a registered one is disabled."""
    tenant = _registered()
    waiting = TenantView(devices=(replace(tenant.devices[0], certificate=None),))
    assert _plan(view(), waiting).drop_devices == waiting.devices
    plan = make_plan(view(), tenant, Journal(), NOW, device_writeback=False)
    assert [change.device.enabled for change in plan.devices] == [False]
    assert plan.disabled == {PC.guid}


def test_a_device_is_enabled_again_only_by_who_disabled_it() -> None:
    """What an administrator of the tenant disabled stays disabled."""
    off = TenantView(devices=(replace(_registered().devices[0], enabled=False),))
    assert make_plan(view(PC), off, Journal(), NOW, device_writeback=False).devices == ()
    ours = Journal(disabled=frozenset((PC.guid,)))
    plan = make_plan(view(PC), off, ours, NOW, device_writeback=False)
    assert [change.device.enabled for change in plan.devices] == [True]
    assert plan.disabled == frozenset()


# -- device objects --------------------------------------------------------------------------

LAPTOP = device()


def _object(**more: object) -> DeviceObject:
    made = DeviceObject(
        device_id=LAPTOP.device_id, name="laptop", enabled=True, owner=DOMAIN.with_rid(1101)
    )
    return replace(made, **more)  # type: ignore[arg-type]  # the test names fields that are there


def test_a_registered_device_is_written_back() -> None:
    """Flow R4 G: name, state, owner's SID."""
    tenant = TenantView(users=(LINKED,), devices=(LAPTOP,))
    (put,) = _plan(view(ALICE), tenant).put_objects
    assert (put.device.device_id, put.device.owner, put.fields) == (
        LAPTOP.device_id,
        ALICE.sid,
        (),
    )


def test_a_disabled_device_is_disabled_in_the_directory() -> None:
    """Row K11: then its keys log nobody on."""
    tenant = TenantView(users=(LINKED,), devices=(replace(LAPTOP, enabled=False),))
    ours = Journal(devices=frozenset((LAPTOP.device_id,)))
    (put,) = _plan(view(ALICE, devices=(_object(),)), tenant, ours).put_objects
    assert put.fields == ("enabled",)


def test_a_device_object_of_somebody_elses_is_left_alone() -> None:
    """Its DeviceId is ours, the object is not."""
    tenant = TenantView(users=(LINKED,), devices=(LAPTOP,))
    plan = _plan(view(ALICE, devices=(_object(enabled=False),)), tenant)
    assert plan.put_objects == ()
    assert [problem.what for problem in plan.problems] == ["device object"]
    assert _plan(view(ALICE, devices=(_object(),)), TenantView(users=(LINKED,))) == Plan()


def test_a_device_that_is_gone_takes_its_object_along() -> None:
    """If it is ours; what is gone already is forgotten."""
    ours = Journal(devices=frozenset((LAPTOP.device_id,)))
    tenant = TenantView(users=(LINKED,))
    assert _plan(view(ALICE, devices=(_object(),)), tenant, ours).remove_objects == (
        LAPTOP.device_id,
    )
    assert _plan(view(ALICE), tenant, ours).forget_objects == (LAPTOP.device_id,)


def test_without_a_place_device_objects_are_reported_once() -> None:
    """Active Directory needs the container RegisteredDevices."""
    tenant = TenantView(users=(LINKED,), devices=(LAPTOP, device("second")))
    plan = _plan(view(ALICE, device_place=""), tenant)
    assert plan.put_objects == ()
    assert [problem.why for problem in plan.problems] == [
        "the directory has no place for device objects"
    ]
