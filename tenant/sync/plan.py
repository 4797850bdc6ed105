"""What a sync run is to do: the difference of the two sides and the journal. Pure.

Rules
  1. An account is one with a user of the tenant by its objectGUID; a user that the tenant has made
     itself is taken for an account's once, by the userPrincipalName (Entra's soft match).
  2. A user or device whose account is gone is disabled, not deleted: its keys were acknowledged. A
     device that never registered is nothing but its computer's certificate, and goes with it.
  3. A key goes down once, as a value that then stays as it is. A value of ours that somebody took
     away is written again, for the tenant says which keys there are. A value that is not ours
     stays, and a key that somebody else registered, on this account or another, is not written a
     second time. Nothing is added to an account that the settings leave out.
  4. Who is disabled in the directory is disabled in the tenant. A device that the tenant disabled
     itself stays so.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from directory.model import AccountKind, Sid, match_key
from directory.store_devices import MAX_DEVICE_NAME_CHARS
from tenant.state.sync import Journal, WrittenKey
from tenant.sync.mapping import (
    MappingError,
    alt_security_identity,
    blobs_of,
    device_certificate,
    key_blob,
    key_of,
)
from tenant.sync.view import (
    DeviceObject,
    DirectoryAccount,
    DirectoryView,
    TenantDevice,
    TenantKey,
    TenantUser,
    TenantView,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """A value to add to an account's msDS-KeyCredentialLink, or to remove from it."""

    account: DirectoryAccount
    kid: UUID
    blob: bytes = field(repr=False)
    text: str = field(default="", repr=False)
    """To be removed: the value as it stands there."""
    ours: bool = False
    """To be added: it was written before, so that it stays ours when the write is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """A user of the tenant as it shall be."""

    user: TenantUser
    account: DirectoryAccount | None
    new: bool = False
    """There is none yet: the tenant gives it a number of its own."""
    fields: tuple[str, ...] = ()
    """Which fields change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """A device of the tenant as it shall be."""

    device: TenantDevice
    new: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectChange:
    """A device object of the directory as it shall be."""

    device: DeviceObject
    fields: tuple[str, ...] = ()
    """Which fields change; none: it is to be added."""
    ours: bool = False
    """In the journal already: it stays ours when the write is refused."""


class Grade(StrEnum):
    """How bad it is that something stays unsynced."""

    LEFT = "left alone"
    """By a rule of ours: both sides are as somebody else made them."""
    PROTECTED = "protected"
    """A privileged account, to which the directory lets the sync job write nothing."""
    REFUSED = "refused"
    """The directory refuses the write: the sync job's account lacks a right."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that stays unsynced, and why in one phrase. Each run tries it again."""

    what: str
    """`user`, `key`, `computer` or `device object`."""
    name: str
    why: str
    grade: Grade = Grade.LEFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that one run does."""

    add_keys: tuple[KeyChange, ...] = ()
    remove_keys: tuple[KeyChange, ...] = ()
    found_keys: tuple[WrittenKey, ...] = ()
    """In the directory, but not yet so in the journal."""
    forget_keys: tuple[WrittenKey, ...] = ()
    """In the journal, and neither in the directory nor wanted any more."""
    users: tuple[UserChange, ...] = ()
    devices: tuple[DeviceChange, ...] = ()
    drop_devices: tuple[TenantDevice, ...] = ()
    disabled: frozenset[UUID] = frozenset()
    """Journal.disabled as it shall be."""
    put_objects: tuple[ObjectChange, ...] = ()
    remove_objects: tuple[UUID, ...] = ()
    forget_objects: tuple[UUID, ...] = ()
    problems: tuple[Problem, ...] = ()
    unchanged: int = 0
    """Keys that are written down already."""


def make_plan(
    view: DirectoryView,
    tenant: TenantView,
    journal: Journal,
    now: datetime,
    *,
    device_writeback: bool = True,
) -> Plan:
    """Compare both sides. now: which certificates have expired."""
    why = "its entry in the directory cannot be read: nothing of it changes"
    problems = [Problem(what="user", name=str(guid), why=why) for guid in sorted(view.unreadable)]
    changes, links = _users(view, tenant, problems)
    keys = _Keys(view, tenant, journal, links, problems)
    devices, drop, disabled = _devices(view, tenant, journal, now)
    put, remove, forget = (
        _objects(view, tenant, journal, changes, problems) if device_writeback else ((), (), ())
    )
    return Plan(
        add_keys=tuple(keys.add),
        remove_keys=tuple(keys.remove),
        found_keys=tuple(keys.found),
        forget_keys=tuple(keys.forget),
        users=tuple(changes),
        devices=tuple(devices),
        drop_devices=tuple(drop),
        disabled=disabled,
        put_objects=put,
        remove_objects=remove,
        forget_objects=forget,
        problems=tuple(problems),
        unchanged=keys.unchanged,
    )


# -- users up --------------------------------------------------------------------------------

_NOBODY = UUID(int=0)


def _users(
    view: DirectoryView, tenant: TenantView, problems: list[Problem]
) -> tuple[list[UserChange], dict[UUID, DirectoryAccount]]:
    """Compare users; also return the account of each user of the tenant, by object_id."""
    accounts = [account for account in view.accounts if account.kind is AccountKind.USER]
    by_guid = {user.guid: user for user in tenant.users if user.guid is not None}
    by_upn = {match_key(user.upn): user for user in tenant.users}
    shared = Counter(match_key(account.upn) for account in accounts if account.in_scope)
    changes: list[UserChange] = []
    links: dict[UUID, DirectoryAccount] = {}
    seen: set[UUID] = set()
    for account in accounts:
        user = by_guid.get(account.guid)
        if not account.in_scope:
            if user is not None:
                links[user.object_id] = account
            continue
        holder = by_upn.get(match_key(account.upn))
        if user is None and holder is not None and holder.guid is None:
            user = holder
        taken = holder is not None and (user is None or holder.object_id != user.object_id)
        if shared[match_key(account.upn)] > 1 or taken:
            why = (
                "another user of the tenant has its userPrincipalName"
                if taken
                else "two accounts of the directory have its userPrincipalName"
            )
            problems.append(Problem(what="user", name=account.sam_account_name, why=why))
            if user is not None and user.guid == account.guid:
                seen.add(account.guid)
                links[user.object_id] = account
            continue
        seen.add(account.guid)
        wanted = _wanted_user(user, account)
        if user is None:
            changes.append(UserChange(user=wanted, account=account, new=True))
            continue
        links[user.object_id] = account
        fields = _changed(user, wanted, _USER_FIELDS)
        if fields:
            changes.append(UserChange(user=wanted, account=account, fields=fields))
    for user in tenant.users:
        if user.guid is None or user.guid in seen or user.guid in view.unreadable:
            continue
        if user.enabled:
            changes.append(
                UserChange(user=replace(user, enabled=False), account=None, fields=("enabled",))
            )
    return changes, links


_USER_FIELDS = ("upn", "display_name", "enabled", "guid", "sid", "sam_account_name")


def _wanted_user(user: TenantUser | None, account: DirectoryAccount) -> TenantUser:
    return TenantUser(
        object_id=user.object_id if user is not None else _NOBODY,
        upn=account.upn,
        display_name=account.display_name or (user.display_name if user is not None else ""),
        enabled=account.enabled,
        guid=account.guid,
        sid=str(account.sid),
        sam_account_name=account.sam_account_name,
    )


def _changed(old: object, new: object, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))


# -- keys down -------------------------------------------------------------------------------


class _Keys:
    """Compares the keys of the tenant, the journal and the directory."""

    def __init__(
        self,
        view: DirectoryView,
        tenant: TenantView,
        journal: Journal,
        links: dict[UUID, DirectoryAccount],
        problems: list[Problem],
    ) -> None:
        self.add: list[KeyChange] = []
        self.remove: list[KeyChange] = []
        self.found: list[WrittenKey] = []
        self.forget: list[WrittenKey] = []
        self.unchanged = 0
        self._problems = problems
        self._written = {(row.account, row.kid): row for row in journal.keys}
        self._there: dict[UUID, dict[bytes, str]] = {}
        self._accounts = view.accounts
        self._shown = any(account.key_values for account in view.accounts)
        self._keys: dict[bytes, set[UUID]] | None = None
        owned = [(key, links[key.user]) for key in tenant.keys if key.user in links]
        wanted = {(account.guid, key.kid) for key, account in owned}
        leaving = [
            row
            for place, row in self._written.items()
            if place not in wanted and row.account not in view.unreadable
        ]
        self._leaving = {(row.account, row.blob) for row in leaving}
        accounts = {account.guid: account for account in view.accounts}
        for key, account in owned:
            self._down(key, account)
        for row in leaving:
            self._away(row, accounts.get(row.account))

    def _blobs(self, account: DirectoryAccount) -> dict[bytes, str]:
        if account.guid not in self._there:
            self._there[account.guid] = blobs_of(account.key_values)
        return self._there[account.guid]

    def _down(self, key: TenantKey, account: DirectoryAccount) -> None:
        there = self._blobs(account)
        row = self._written.get((account.guid, key.kid))
        if row is not None and row.blob in there:
            self.unchanged += row.done
            self.found += () if row.done else (row,)
            return
        try:
            blob = row.blob if row is not None else key_blob(key)
        except MappingError as error:
            self._refuse(account, str(error))
            return
        owners = self._owners(key_of(blob))
        if account.guid in owners:
            self._refuse(account, "somebody else registered this key there: it is left as it is")
            self.forget += () if row is None else (row,)
        elif owners:
            # Row K04: on two accounts it would log on to neither, and anybody can learn a public
            # key of somebody else's.
            self._refuse(account, "another account of the directory has this key")
            self.forget += () if row is None else (row,)
        elif account.in_scope:
            ours = row is not None and row.done
            self.add.append(KeyChange(account=account, kid=key.kid, blob=blob, ours=ours))

    def _owners(self, key: bytes | None) -> set[UUID]:
        """Return who has a key, however it is written. Read once, and only when one is to be added.

        A value of ours that goes in this run, before anything is added, is in nobody's way.
        """
        if self._keys is None:
            self._keys = {}
            for account in self._accounts:
                for blob in self._blobs(account):
                    found = key_of(blob)
                    if found is not None and (account.guid, blob) not in self._leaving:
                        self._keys.setdefault(found, set()).add(account.guid)
        return self._keys.get(key, set()) if key is not None else set()

    def _away(self, row: WrittenKey, account: DirectoryAccount | None) -> None:
        if account is None:
            # Gone, or not shown to us today: should it come back, its value must still be ours.
            return
        text = self._blobs(account).get(row.blob)
        if text is not None:
            self.remove.append(KeyChange(account=account, kid=row.kid, blob=row.blob, text=text))
        elif self._shown:
            # Where not one value is shown of anybody, the attribute may be hidden from us, and the
            # key still log on: it is forgotten by a run that sees what is there.
            self.forget.append(row)

    def _refuse(self, account: DirectoryAccount, why: str) -> None:
        self._problems.append(Problem(what="key", name=account.sam_account_name, why=why))


# -- computers up ----------------------------------------------------------------------------


def _devices(
    view: DirectoryView, tenant: TenantView, journal: Journal, now: datetime
) -> tuple[list[DeviceChange], list[TenantDevice], frozenset[UUID]]:
    """Compare computers with devices; also return Journal.disabled as it shall be."""
    devices = {device.device_id: device for device in tenant.devices}
    changes: list[DeviceChange] = []
    drop: list[TenantDevice] = []
    disabled = set(journal.disabled)
    alive: set[UUID] = set()
    for account in view.accounts:
        if account.kind is not AccountKind.COMPUTER:
            continue
        certificate = device_certificate(account.certificates, account.guid, now)
        if certificate is None:
            continue
        alive.add(account.guid)
        # The DeviceId of a hybrid joined computer is its objectGUID: so Entra Connect makes it.
        device = devices.get(account.guid)
        enabled = account.enabled
        if device is None:
            name = account.sam_account_name.removesuffix("$")
            device = TenantDevice(device_id=account.guid, display_name=name, enabled=True)
            new = True
        else:
            new = False
            enabled = enabled and (device.enabled or account.guid in disabled)
        wanted = replace(
            device,
            guid=account.guid,
            sid=str(account.sid),
            user_certificate=certificate.der,
            enabled=enabled,
        )
        fields = _changed(device, wanted, ("guid", "sid", "user_certificate", "enabled"))
        if new or fields:
            changes.append(DeviceChange(device=wanted, new=new, fields=fields))
        if not account.enabled and device.enabled:
            disabled.add(account.guid)
        elif enabled:
            disabled.discard(account.guid)
    for device in tenant.devices:
        if device.guid is None or device.guid in alive or device.guid in view.unreadable:
            continue
        if not device.registered:
            drop.append(device)
            disabled.discard(device.guid)
        elif device.enabled:
            gone = replace(device, enabled=False)
            changes.append(DeviceChange(device=gone, fields=("enabled",)))
            disabled.add(device.guid)
    return changes, drop, frozenset(disabled)


# -- device objects back ---------------------------------------------------------------------

_Objects = tuple[tuple[ObjectChange, ...], tuple[UUID, ...], tuple[UUID, ...]]


def _objects(
    view: DirectoryView,
    tenant: TenantView,
    journal: Journal,
    users: Iterable[UserChange],
    problems: list[Problem],
) -> _Objects:
    """Compare registered devices with device objects: what to put, to remove, to forget."""
    owners = {user.object_id: user.sid for user in tenant.users}
    owners |= {change.user.object_id: change.user.sid for change in users}
    there = {device.device_id: device for device in view.devices}
    registered = [device for device in tenant.devices if device.registered]
    if not view.device_place:
        if registered:
            why = "the directory has no place for device objects"
            problems.append(Problem(what="device object", name="", why=why))
        return (), (), ()
    put: list[ObjectChange] = []
    for device in registered:
        try:
            wanted = device_object(device, owners)
        except MappingError as error:
            problems.append(_object_problem(device, str(error)))
            continue
        old = there.get(device.device_id)
        ours = device.device_id in journal.devices
        if old is None:
            put.append(ObjectChange(device=wanted, ours=ours))
        elif not ours:
            why = "somebody else made a device object with its DeviceId: it is left as it is"
            problems.append(_object_problem(device, why))
        elif fields := _changed(old, wanted, sorted(view.device_fields)):
            put.append(ObjectChange(device=wanted, fields=fields, ours=True))
    away = journal.devices - {device.device_id for device in registered}
    remove = tuple(sorted(away & there.keys()))
    return tuple(put), remove, tuple(sorted(away - there.keys()))


def _object_problem(device: TenantDevice, why: str) -> Problem:
    return Problem(what="device object", name=str(device.device_id), why=why)


def device_object(device: TenantDevice, owners: dict[UUID, str | None]) -> DeviceObject:
    """Make the device object of a registered device. owners: users' SIDs. Raises MappingError."""
    name = "".join(c for c in device.display_name if c.isprintable())[:MAX_DEVICE_NAME_CHARS]
    owner = owners.get(device.owner) if device.owner is not None else None
    return DeviceObject(
        device_id=device.device_id,
        name=name.strip() or str(device.device_id),
        enabled=device.enabled,
        owner=Sid.parse(owner) if owner else None,
        computer=Sid.parse(device.sid) if device.sid else None,
        alt_security_identity=alt_security_identity(device.certificate or b""),
        os_type=device.os_type,
        os_version=device.os_version,
    )
