"""One sync run: read both sides, plan, write down, then up.

The order makes it safe to be killed anywhere:
  1. what will be written down is put into the journal (on disk), so that it is ours from now on;
  2. each value is removed from the directory or written into it: removals first, for a key that was
     taken from a user shall not live longer than it has to;
  3. the tenant's users and devices and the marks of the journal change in one transaction.
A run that dies before 3 leaves the tenant's users and devices as they were. The next run compares
the journal with what the directory holds, by value, and goes on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.keycredential import format_dn_binary
from tenant.state.sync import Journal
from tenant.sync.plan import (
    DeviceChange,
    Grade,
    KeyChange,
    ObjectChange,
    Plan,
    Problem,
    UserChange,
    make_plan,
)
from tenant.sync.port import DirectoryPort, Scope
from tenant.sync.report import Act, Done, SyncReport
from tenant.sync.view import (
    DirectoryView,
    TenantView,
)

_ABOUT_ONE_OBJECT = (
    DirectoryFault.DENIED,
    DirectoryFault.EXISTS,
    DirectoryFault.INVALID,
    DirectoryFault.NOT_FOUND,
)

Progress = Callable[[int], None]


class OtherDirectoryError(Exception):
    """The tenant is in step with another directory: all its users would be disabled."""


class ManyGoneError(Exception):
    """More would be disabled than one run may, because the directory does not show them."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of the changes in the directory; filled while they are made."""

    written: list[KeyChange] = field(default_factory=list)
    not_written: list[KeyChange] = field(default_factory=list)
    """Refused, and not there from before: not ours, and tried again in the next run."""
    removed: list[KeyChange] = field(default_factory=list)
    objects: list[ObjectChange] = field(default_factory=list)
    not_made: list[ObjectChange] = field(default_factory=list)
    objects_removed: list[UUID] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """A change of the tenant that was not made: somebody was faster."""

    change: UserChange | DeviceChange
    problem: Problem


class TenantSide(Protocol):
    """The tenant's database, as far as a sync run reads and changes it. Raises DirectoryError."""

    def read(self) -> tuple[TenantView, Journal]:
        """Read the tenant and the journal in one transaction."""

    def intend(self, directory: str, plan: Plan) -> None:
        """Put what will be written into the journal; on disk when it returns."""

    def settle(self, plan: Plan, outcome: Outcome) -> tuple["Unsettled", ...]:
        """Change users, devices and journal in one transaction; on disk when it returns.

        Returns the changes that one row refused, each about that row alone.
        """


def sync_once(
    port: DirectoryPort,
    tenant: TenantSide,
    *,
    scope: Scope,
    now: datetime,
    device_writeback: bool = True,
    disable_limit: int = 100,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring both sides in step; dry_run: only say what would be done.

    Assumes that no other run of this tenant is under way. disable_limit: how many of a hundred
    synced users, or devices, may be disabled because the directory does not show them.
    progress: called with the number of changes made in the directory.
    Raises DirectoryError (UNAVAILABLE, CORRUPT; DENIED, INVALID: the directory cannot be read),
    OtherDirectoryError, ManyGoneError.
    """
    view, plan = _planned(port, tenant, scope, now, device_writeback, disable_limit)
    if dry_run:
        return _report(port, view, plan, _as_planned(plan), (), dry_run=True)
    tenant.intend(view.directory, plan)
    outcome = _write_down(port, plan, progress or (lambda done: None))
    late = tenant.settle(plan, outcome)
    return _report(port, view, plan, outcome, late, dry_run=False)


def _planned(
    port: DirectoryPort,
    tenant: TenantSide,
    scope: Scope,
    now: datetime,
    device_writeback: bool,
    disable_limit: int,
) -> tuple[DirectoryView, Plan]:
    _, before = tenant.read()
    view = port.read(scope, {row.account for row in before.keys})
    # Again, for reading a large directory takes a while: a key that was taken from a user in the
    # meantime is not written any more.
    sides, journal = tenant.read()
    if journal.directory not in (None, view.directory):
        raise OtherDirectoryError(
            f"it was in step with the domain {journal.directory}, and this is {view.directory}"
        )
    plan = make_plan(view, sides, journal, now, device_writeback=device_writeback)
    _check_gone(view, sides, plan, disable_limit)
    return view, plan


def _check_gone(view: DirectoryView, sides: TenantView, plan: Plan, limit: int) -> None:
    """Refuse to disable many at once for being gone.

    So it looks when the sync job's account loses its right to read, or a setting is mistyped. One
    alone passes in the smallest tenant. Who is disabled in the directory itself does not count:
    that was somebody's decision, and it has to arrive. Raises ManyGoneError.
    """
    off = {account.guid for account in view.accounts if not account.enabled}
    users = [change.user for change in plan.users if "enabled" in change.fields]
    devices = [change.device for change in plan.devices if "enabled" in change.fields]
    registered = [device for device in sides.devices if device.registered]
    for what, changed, known in (("users", users, sides.users), ("devices", devices, registered)):
        gone = sum(not each.enabled and each.guid not in off for each in changed)
        synced = sum(each.enabled and each.guid is not None for each in known)
        if gone > 1 and gone * 100 > limit * synced:
            raise ManyGoneError(
                f"the directory does not show {gone} of {synced} synced {what}, which would be "
                f"disabled; more than {limit} % at once are not"
            )


def _write_down(port: DirectoryPort, plan: Plan, progress: Progress) -> Outcome:
    outcome = Outcome()
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        progress(steps)

    for change in plan.remove_keys:
        with _refusals(outcome, "key", change) as refused:
            port.remove_key(change.account, change.text)
        # NOT_FOUND may be an account that was renamed since it was read: the next run sees.
        if not refused:
            outcome.removed.append(change)
        step()
    for change in plan.add_keys:
        with _refusals(outcome, "key", change) as refused:
            port.add_key(change.account, format_dn_binary(change.blob, change.account.dn))
        if not refused:
            outcome.written.append(change)
        elif not change.ours:
            outcome.not_written.append(change)
        step()
    for device_id in plan.remove_objects:
        with _refusals(outcome, "device object", device_id) as refused:
            port.remove_device(device_id)
        if not refused or refused[0].kind is DirectoryFault.NOT_FOUND:
            outcome.objects_removed.append(device_id)
        step()
    for put in plan.put_objects:
        with _refusals(outcome, "device object", put.device.device_id) as refused:
            port.put_device(put.device, put.fields)
        if not refused:
            outcome.objects.append(put)
        elif not put.ours:
            outcome.not_made.append(put)
        step()
    return outcome


@contextmanager
def _refusals(
    outcome: Outcome, what: str, whom: KeyChange | UUID
) -> Iterator[list[DirectoryError]]:
    """Note what the directory refuses about one object; what is about all of it passes."""
    refused: list[DirectoryError] = []
    try:
        yield refused
    except DirectoryError as error:
        if error.kind not in _ABOUT_ONE_OBJECT:
            raise
        refused.append(error)
        if error.kind is DirectoryFault.NOT_FOUND and isinstance(whom, UUID):
            return
        account = whom.account if isinstance(whom, KeyChange) else None
        grade = Grade.REFUSED if error.kind is DirectoryFault.DENIED else Grade.FAILED
        if grade is Grade.REFUSED and account is not None and account.protected:
            grade = Grade.PROTECTED
        name = account.sam_account_name if account is not None else str(whom)
        why = _WHY.get(grade, "{}").format(error.detail or error.kind.value)
        outcome.problems.append(Problem(what=what, name=name, why=why, grade=grade))


_WHY = {
    Grade.PROTECTED: "the account is protected, and the directory refuses the write: {}",
    Grade.REFUSED: "the directory refuses the write: {}",
}


# -- the report ------------------------------------------------------------------------------


def _as_planned(plan: Plan) -> Outcome:
    return Outcome(
        written=list(plan.add_keys),
        removed=list(plan.remove_keys),
        objects=list(plan.put_objects),
        objects_removed=list(plan.remove_objects),
    )


def _report(
    port: DirectoryPort,
    view: DirectoryView,
    plan: Plan,
    outcome: Outcome,
    late: tuple[Unsettled, ...],
    *,
    dry_run: bool,
) -> SyncReport:
    not_done = [unsettled.change for unsettled in late]
    done = [
        Done(act=_user_act(change), name=change.user.upn, detail=", ".join(change.fields))
        for change in plan.users
        if change not in not_done
    ]
    for device in plan.devices:
        if device not in not_done:
            act = Act.DEVICE_ADDED if device.new else Act.DEVICE_CHANGED
            name, detail = device.device.display_name, ", ".join(device.fields)
            done.append(Done(act=act, name=name, detail=detail))
    done += [Done(act=Act.DEVICE_DROPPED, name=d.display_name) for d in plan.drop_devices]
    done += [_key_done(Act.KEY_REMOVED, change) for change in outcome.removed]
    done += [_key_done(Act.KEY_WRITTEN, change) for change in outcome.written]
    done += [Done(act=Act.OBJECT_REMOVED, name=str(d)) for d in outcome.objects_removed]
    done += [
        Done(act=Act.OBJECT_WRITTEN, name=str(o.device.device_id), detail=", ".join(o.fields))
        for o in outcome.objects
    ]
    return SyncReport(
        directory=view.directory,
        where=port.where,
        dry_run=dry_run,
        keys=plan.unchanged + len(plan.found_keys) + len(outcome.written),
        done=tuple(done),
        problems=(*plan.problems, *outcome.problems, *(each.problem for each in late)),
    )


def _user_act(change: UserChange) -> Act:
    if change.new:
        return Act.USER_ADDED
    return Act.USER_DISABLED if change.account is None else Act.USER_CHANGED


def _key_done(act: Act, change: KeyChange) -> Done:
    return Done(act=act, name=change.account.sam_account_name, detail=str(change.kid))
