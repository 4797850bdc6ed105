"""Sync runs between a tenant's database and the store of an embedded realm, all of it real."""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from directory.backend import DirectoryError, DirectoryFault
from directory.changes import AccountChanges, NewAccount
from directory.model import Account, AccountKind, Device
from directory.store import Store
from tenant.state import devices, keys, users
from tenant.state.database import Database
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.keys import RegisteredKey
from tenant.state.users import User
from tenant.sync.database import TenantDatabase
from tenant.sync.mapping import blobs_of
from tenant.sync.plan import Grade
from tenant.sync.port import Scope
from tenant.sync.report import Act, SyncReport
from tenant.sync.run import ManyGoneError, OtherDirectoryError, sync_once
from tenant.sync.store_port import StorePort
from tenant.sync.view import DirectoryAccount, DirectoryView
from tests.directory.builders import link, make_store
from tests.tenant.sync.builders import NOW, certificate, material, number


class Sides:
    """A store and a tenant's database, and a sync run between them."""

    def __init__(self, folder: Path) -> None:
        self.store = make_store(folder)
        self.database = Database.create(folder / "tenant.sqlite")
        self.port = StorePort(self.store, NOW)

    def run(
        self, *, dry_run: bool = False, scope: Scope | None = None, disable_limit: int = 100
    ) -> SyncReport:
        """Do one run."""
        tenant = TenantDatabase(self.database, NOW, uuid4)
        return sync_once(
            self.port,
            tenant,
            scope=scope or Scope(),
            now=NOW,
            disable_limit=disable_limit,
            dry_run=dry_run,
        )

    def account(self, name: str = "alice", **more: object) -> int:
        """Add an account to the store."""
        new = NewAccount(kind=AccountKind.USER, name=name, created_at=NOW)
        return self.store.add_account(replace(new, **more))  # type: ignore[arg-type]  # as the test says

    def read(self, name: str = "alice") -> Account:
        """Read an account from the store."""
        self.store.refresh()
        account = self.store.account_by_name(name)
        assert account is not None
        return account

    def user(self, name: str = "alice") -> User:
        """Read a user of the tenant."""
        with self.database.read() as connection:
            found = users.by_upn(connection, f"{name}@lab.test")
        assert found is not None
        return found

    def device(self, name: str = "laptop", owner: str | None = "alice") -> UUID:
        """Join a device as the device service does."""
        device_id = number(f"device {name}")
        made = DeviceRecord(
            device_id=device_id,
            object_id=uuid4(),
            display_name=name,
            join_type=JoinType.JOINED,
            owner=self.user(owner).object_id if owner else None,
            certificate=certificate(name, str(device_id)),
            created=NOW,
        )
        with self.database.write() as connection:
            devices.insert_device(connection, made)
        return device_id

    def register(self, name: str = "alice", device_id: UUID | None = None) -> UUID:
        """Register a key as the key service does; return its kid."""
        key = RegisteredKey(
            kid=uuid4(),
            user=self.user(name).object_id,
            device_id=device_id or self.device(f"device of {name} {uuid4()}", name),
            material=material(name),
            created=NOW,
        )
        with self.database.write() as connection:
            keys.insert_key(connection, key)
        return key.kid

    def remove_key(self, kid: UUID) -> None:
        """Remove a key from the tenant."""
        with self.database.write() as connection:
            keys.delete_key(connection, kid)


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    made = Sides(tmp_path)
    yield made
    made.store.close()
    made.database.close()


def _acts(report: SyncReport) -> list[Act]:
    return [done.act for done in report.done]


def test_users_go_up_and_keys_go_down(sides: Sides) -> None:
    """Flow P4 D: what was registered above is a usable value below; a second run does nothing."""
    sides.account()
    assert _acts(sides.run()) == [Act.USER_ADDED]
    user = sides.user()
    assert user.onprem_sid == str(sides.read().sid)
    assert (user.onprem_sam, user.password) == ("alice", None)
    sides.register()
    report = sides.run()
    assert _acts(report) == [Act.KEY_WRITTEN, Act.OBJECT_WRITTEN]
    assert (report.keys, report.problems) == (1, ())
    (credential,) = sides.read().key_credentials
    assert credential.usable
    assert credential.warnings == ()
    again = sides.run()
    assert (again.done, again.problems, again.keys) == ((), (), 1)


def test_a_dry_run_changes_nothing(sides: Sides) -> None:
    """It says what would be done, and the next one says it again."""
    sides.account()
    first, second = sides.run(dry_run=True), sides.run(dry_run=True)
    assert first == second
    assert _acts(first) == [Act.USER_ADDED]


def test_a_removed_key_is_removed_and_another_one_stays(sides: Sides) -> None:
    """By value: what an administrator registered is never touched."""
    alice = sides.account()
    sides.run()
    theirs = link(dn=sides.store.owner_dn(alice))
    sides.store.add_key_credential(alice, theirs)
    kid = sides.register()
    sides.run()
    assert len(sides.read().key_credentials) == 2
    sides.remove_key(kid)
    assert _acts(sides.run())[0] is Act.KEY_REMOVED
    assert [credential.text for credential in sides.read().key_credentials] == [theirs]
    assert sides.run().done == ()


def test_a_key_that_somebody_else_registered_first_stays_theirs(sides: Sides) -> None:
    """It is reported, and not removed when it goes from the tenant."""
    alice = sides.account()
    sides.run()
    kid = sides.register()
    sides.run()
    (ours,) = sides.read().key_credentials
    # As another tool would have written it: the same key without a device.
    theirs = link(key=ours.public_key, dn=sides.store.owner_dn(alice))
    sides.store.replace_key_credentials(alice, (theirs,))
    for _ in range(2):  # with the journal's row, and without
        assert [problem.grade for problem in sides.run().problems] == [Grade.LEFT]
    sides.remove_key(kid)
    sides.run()
    assert [credential.text for credential in sides.read().key_credentials] == [theirs]


def test_a_renamed_account_keeps_the_key_that_is_ours(sides: Sides) -> None:
    """The DN in a value follows the name: it is the same value to us."""
    alice = sides.account()
    sides.run()
    kid = sides.register()
    sides.run()
    old = [credential.text for credential in sides.read().key_credentials]
    sides.store.update_account(alice, AccountChanges(name="asmith"))
    dn = sides.store.owner_dn(alice)
    texts = [text.rpartition(":")[0] + f":{dn}" for text in old]
    sides.store.replace_key_credentials(alice, texts)
    assert _acts(sides.run()) == [Act.USER_CHANGED]
    sides.remove_key(kid)
    assert Act.KEY_REMOVED in _acts(sides.run())
    assert sides.read("asmith").key_credentials == ()


def test_a_protected_account_stays_unsynced_and_the_rest_goes_on(sides: Sides) -> None:
    """AdminSDHolder: the write is refused; each run says so."""
    boss = sides.account("boss")
    sides.account("zoe")
    sides.run()
    group = sides.store.group_by_name("Domain Admins")
    assert group is not None
    sides.store.add_member(group.group_id, account_id=boss)
    sides.register("boss")
    sides.register("zoe")
    report = sides.run()
    assert [(p.name, p.grade) for p in report.problems] == [("boss", Grade.PROTECTED)]
    assert "the account is protected" in report.problems[0].why
    assert sides.read("boss").key_credentials == ()
    assert len(sides.read("zoe").key_credentials) == 1
    assert [p.grade for p in sides.run().problems] == [Grade.PROTECTED]
    sides.store.remove_member(group.group_id, account_id=boss)
    assert Act.KEY_WRITTEN in _acts(sides.run())


def test_a_key_of_an_account_that_became_protected_is_still_removed(sides: Sides) -> None:
    """What the tenant took away must not log on as an administrator."""
    boss = sides.account("boss")
    sides.run()
    kid = sides.register("boss")
    sides.run()
    group = sides.store.group_by_name("Domain Admins")
    assert group is not None
    sides.store.add_member(group.group_id, account_id=boss)
    sides.remove_key(kid)
    sides.run()
    assert sides.read("boss").key_credentials == ()


def test_a_disabled_account_is_disabled_above_and_enabled_again(sides: Sides) -> None:
    """The directory says who may sign in."""
    alice = sides.account()
    sides.run()
    for disabled in (True, False):
        sides.store.update_account(alice, AccountChanges(disabled=disabled))
        sides.run()
        assert sides.user().enabled is not disabled


def test_only_accounts_in_scope_come_up(sides: Sides) -> None:
    """By name and by place; what the domain was made with never does."""
    for name in ("alice", "bob", "lab-one"):
        sides.account(name)
    sides.store.add_account(
        NewAccount(kind=AccountKind.USER, name="eve", created_at=NOW, dn="CN=eve,OU=X,DC=LAB")
    )
    sides.run(scope=Scope.of(("ALICE", "lab-*"), None))
    with sides.database.read() as connection:
        found = {user.onprem_sam for user in users.all_users(connection)}
    assert found == {"alice", "lab-one"}
    report = sides.run(scope=Scope.of(("*",), "ou=x, dc=lab"))
    assert {d.name for d in report.done if d.act is Act.USER_ADDED} == {"eve@lab.test"}
    assert {d.name for d in report.done if d.act is Act.USER_DISABLED} == {
        "alice@lab.test",
        "lab-one@lab.test",
    }


def test_a_computers_certificate_goes_up(sides: Sides) -> None:
    """Flow R3 C and D: the certificate makes a device that waits for its hybrid join."""
    pc = sides.store.add_account(NewAccount(kind=AccountKind.COMPUTER, name="PC1$", created_at=NOW))
    assert sides.run().done == ()
    guid = sides.store.object_guid(pc)
    own = certificate("pc", str(guid))
    sides.store.add_user_certificate(pc, certificate("tls", "pc1.lab.test"))
    sides.store.add_user_certificate(pc, own)
    assert _acts(sides.run()) == [Act.DEVICE_ADDED]
    with sides.database.read() as connection:
        found = devices.device_by_id(connection, guid)
    assert found is not None
    assert (found.user_certificate, found.onprem_guid) == (own, guid)
    assert (found.sid, found.join_type, found.certificate, found.enabled) == (
        str(sides.read("PC1$").sid),
        JoinType.HYBRID,
        None,
        True,
    )
    assert sides.run().done == ()
    sides.store.remove_user_certificates(pc, [own])
    assert _acts(sides.run()) == [Act.DEVICE_DROPPED]


def test_a_device_comes_back_and_its_state_follows(sides: Sides) -> None:
    """Flow R4 G; row K11: a device disabled in the tenant stops its keys at the KDC."""
    sides.account()
    sides.run()
    device_id = sides.device()
    sides.run()
    sides.store.refresh()
    found = sides.store.device(device_id)
    assert found is not None
    assert (found.name, found.enabled, found.owner) == ("laptop", True, sides.read().sid)
    with sides.database.write() as connection:
        record = devices.device_by_id(connection, device_id)
        assert record is not None
        devices.update_device(connection, replace(record, enabled=False))
    assert _acts(sides.run()) == [Act.OBJECT_WRITTEN]
    sides.store.refresh()
    changed = sides.store.device(device_id)
    assert changed == replace(found, enabled=False)
    with sides.database.write() as connection:
        devices.delete_device(connection, device_id)
    assert _acts(sides.run()) == [Act.OBJECT_REMOVED]
    sides.store.refresh()
    assert sides.store.device(device_id) is None


def test_a_device_object_of_somebody_else_is_left_alone(sides: Sides) -> None:
    """Kdc device add made it first."""
    sides.account()
    sides.run()
    device_id = number("device laptop")
    theirs = Device(device_id=device_id, name="theirs", enabled=False, guid=uuid4())
    sides.store.add_device(theirs)
    sides.device()
    assert [problem.grade for problem in sides.run().problems] == [Grade.LEFT]
    sides.store.refresh()
    assert sides.store.device(device_id) == theirs


def test_another_directory_is_refused_before_anything_changes(sides: Sides, tmp_path: Path) -> None:
    """All users would be disabled."""
    sides.account()
    sides.run()
    (tmp_path / "other").mkdir()
    other = make_store(tmp_path / "other")
    sides.port = StorePort(other, NOW)
    with pytest.raises(OtherDirectoryError, match="it was in step with the domain"):
        sides.run()
    assert sides.user().enabled
    other.close()


# -- a directory that shows less than it did ---------------------------------------------------


class _Changed(StorePort):
    """A directory that shows something else than what is in it."""

    change: Callable[[DirectoryView], DirectoryView]

    def read(self, scope: Scope, also: Collection[UUID]) -> DirectoryView:
        return self.change(super().read(scope, also))


def _show(sides: Sides, change: Callable[[DirectoryView], DirectoryView]) -> None:
    sides.port = _Changed(sides.store, NOW)
    sides.port.change = change


def _blind(sides: Sides, hidden: Callable[[DirectoryAccount], bool]) -> None:
    """Show some accounts no more, as when a right to read was taken away."""
    _show(
        sides,
        lambda view: replace(view, accounts=tuple(a for a in view.accounts if not hidden(a))),
    )


def test_a_directory_that_shows_no_user_any_more_disables_nobody(sides: Sides) -> None:
    """It answers as an empty one does; nothing changes, below neither, until a flag says so."""
    for name in ("alice", "bob"):
        sides.account(name)
    sides.run()
    sides.register()
    _blind(sides, lambda account: True)
    with pytest.raises(ManyGoneError, match="does not show 2 of 2 synced users"):
        sides.run(disable_limit=99)
    assert sides.user("alice").enabled and sides.user("bob").enabled
    assert sides.read().key_credentials == ()
    assert _acts(sides.run(disable_limit=100)).count(Act.USER_DISABLED) == 2


@pytest.mark.parametrize(("hidden", "refused"), [(1, False), (2, False), (3, True)])
def test_the_limit_is_a_share_of_the_synced_users(sides: Sides, hidden: int, refused: bool) -> None:
    """Of ten, two are 20 %; the tenant's own users do not count."""
    names = [f"user{n}" for n in range(10)]
    for name in names:
        sides.account(name)
    with sides.database.write() as connection:
        for n in range(10):
            made = User(object_id=uuid4(), upn=f"cloud{n}@lab.test", display_name="")
            users.add(connection, made)
    sides.run()
    _blind(sides, lambda account: account.sam_account_name in names[:hidden])
    with pytest.raises(ManyGoneError) if refused else nullcontext():
        sides.run(disable_limit=20)
    assert sides.user("user0").enabled is refused


def test_one_user_that_is_gone_is_always_disabled(sides: Sides) -> None:
    """Of a tenant of two it is half."""
    for name in ("alice", "bob"):
        sides.account(name)
    sides.run()
    _blind(sides, lambda account: account.sam_account_name == "alice")
    assert _acts(sides.run(disable_limit=1)) == [Act.USER_DISABLED]


def test_however_many_the_directory_disables_are_disabled(sides: Sides) -> None:
    """That is a decision, not a view that is lost: after a break-in it has to arrive."""
    for name in ("alice", "bob"):
        sides.store.update_account(sides.account(name), AccountChanges(disabled=False))
    sides.run()
    for name in ("alice", "bob"):
        sides.store.update_account(sides.read(name).account_id, AccountChanges(disabled=True))
    sides.run(disable_limit=1)
    assert not sides.user("alice").enabled and not sides.user("bob").enabled


def test_computers_that_are_not_shown_keep_their_devices(sides: Sides) -> None:
    """Registered ones: their primary refresh tokens would end. Those that wait do not count."""
    found = []
    for name in [f"PC{n}$" for n in range(12)]:
        new = NewAccount(kind=AccountKind.COMPUTER, name=name, created_at=NOW)
        pc = sides.store.add_account(new)
        guid = sides.store.object_guid(pc)
        sides.store.add_user_certificate(pc, certificate(name, str(guid)))
        found.append(guid)
    sides.run()
    with sides.database.write() as connection:
        for guid in found[:2]:
            record = devices.device_by_id(connection, guid)
            assert record is not None
            joined = replace(record, certificate=certificate("device", str(guid)))
            devices.update_device(connection, joined)
    _blind(sides, lambda account: account.kind is AccountKind.COMPUTER)
    with pytest.raises(ManyGoneError, match="does not show 2 of 2 synced devices"):
        sides.run(disable_limit=20)


def test_a_device_object_that_was_hidden_for_a_run_is_still_ours(sides: Sides) -> None:
    """Row K11: adding it again is refused, and what is disabled later has to arrive below."""
    sides.account()
    sides.run()
    device_id = sides.device()
    sides.run()
    _show(sides, lambda view: replace(view, devices=()))
    assert [(p.what, p.grade) for p in sides.run().problems] == [("device object", Grade.FAILED)]
    sides.port = StorePort(sides.store, NOW)
    with sides.database.write() as connection:
        record = devices.device_by_id(connection, device_id)
        assert record is not None
        devices.update_device(connection, replace(record, enabled=False))
    assert _acts(sides.run()) == [Act.OBJECT_WRITTEN]
    sides.store.refresh()
    below = sides.store.device(device_id)
    assert below is not None and not below.enabled


def test_a_key_that_was_hidden_for_a_run_is_still_ours(sides: Sides) -> None:
    """Neither shown nor to be written for a while: removed above, it is removed below later."""
    sides.account()
    sides.run()
    kid = sides.register()
    sides.run()
    _show(
        sides,
        lambda view: replace(
            view, accounts=tuple(replace(a, key_values=()) for a in view.accounts)
        ),
    )
    with _broken(sides.port, "add_key", DirectoryFault.DENIED):
        assert [(p.what, p.grade) for p in sides.run().problems] == [("key", Grade.REFUSED)]
    sides.remove_key(kid)
    assert sides.run().done == ()
    sides.port = StorePort(sides.store, NOW)
    assert _acts(sides.run()) == [Act.KEY_REMOVED]
    assert sides.read().key_credentials == ()


def test_an_account_renamed_while_a_run_reads_loses_its_key_in_the_next(sides: Sides) -> None:
    """Its entry is not found under the name it had: the value may still be there."""
    alice = sides.account()
    sides.run()
    kid = sides.register()
    sides.run()
    sides.remove_key(kid)

    def renamed_meanwhile(view: DirectoryView) -> DirectoryView:
        sides.store.update_account(alice, AccountChanges(name="asmith"))
        return view

    _show(sides, renamed_meanwhile)
    assert [(p.what, p.grade) for p in sides.run().problems] == [("key", Grade.FAILED)]
    sides.port = StorePort(sides.store, NOW)
    assert Act.KEY_REMOVED in _acts(sides.run())
    assert sides.read("asmith").key_credentials == ()


# -- trouble ---------------------------------------------------------------------------------


@contextmanager
def _broken(port: StorePort, method: str, fault: DirectoryFault) -> Iterator[None]:
    def fails(*_: object) -> None:
        raise DirectoryError(fault, "it broke")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(port, method, fails)
        yield


@pytest.mark.parametrize("method", ["read", "add_key", "put_device"])
def test_a_directory_in_trouble_leaves_the_tenant_as_it_was(sides: Sides, method: str) -> None:
    """While it is read or written: no user and no device changes; the next run goes on."""
    sides.account()
    sides.run()
    sides.register()
    sides.account("bob")

    def dump() -> str:
        with sides.database.read() as connection:
            return json.dumps(
                [
                    [repr(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608  # names of ours
                    for table in ("users", "devices", "registered_keys")
                ]
            )

    before = dump()
    with _broken(sides.port, method, DirectoryFault.UNAVAILABLE), pytest.raises(DirectoryError):
        sides.run()
    assert dump() == before
    report = sides.run()
    assert Act.USER_ADDED in _acts(report)
    assert report.keys == 1
    assert len(sides.read().key_credentials) == 1


def test_a_refused_write_is_about_that_key_alone(sides: Sides) -> None:
    """The directory denies it to an account that is not protected: a right is missing."""
    sides.account()
    sides.run()
    sides.register()
    with _broken(sides.port, "add_key", DirectoryFault.DENIED):
        report = sides.run()
    assert [(p.what, p.grade) for p in report.problems] == [("key", Grade.REFUSED)]
    assert sides.run().keys == 1


def test_a_run_that_dies_between_journal_and_mark_ends_with_one_value(sides: Sides) -> None:
    """Killed after the write: the value is ours, is not written twice, and can be removed."""
    sides.account()
    sides.run()
    kid = sides.register()
    with (
        _broken(sides.port, "put_device", DirectoryFault.UNAVAILABLE),
        pytest.raises(DirectoryError),
    ):
        sides.run()
    (written,) = blobs_of(c.text for c in sides.read().key_credentials)
    sides.run()
    assert list(blobs_of(c.text for c in sides.read().key_credentials)) == [written]
    sides.remove_key(kid)
    sides.run()
    assert sides.read().key_credentials == ()


def test_a_name_taken_in_the_meantime_is_about_that_user_alone(sides: Sides) -> None:
    """Somebody adds a user of that name while the directory is written to."""
    sides.account("alice")
    sides.account("bob")

    class Late(TenantDatabase):
        def settle(self, plan, outcome):  # type: ignore[no-untyped-def]  # as the one it replaces
            with sides.database.write() as connection:
                made = User(object_id=uuid4(), upn="alice@lab.test", display_name="")
                users.add(connection, made)
            return super().settle(plan, outcome)

    tenant = Late(sides.database, NOW, uuid4)
    report = sync_once(sides.port, tenant, scope=Scope(), now=NOW)
    assert [(p.what, p.grade) for p in report.problems] == [("user", Grade.FAILED)]
    assert [done.name for done in report.done] == ["bob@lab.test"]
    assert sides.user("bob").onprem_sam == "bob"
    sides.run()
    assert sides.user("alice").onprem_sam == "alice"


def test_the_store_is_named(sides: Sides) -> None:
    """A report says where it was."""
    assert sides.run().where == "the store of LAB.TEST"
    assert isinstance(sides.store, Store)
