"""The tenant's database as the sync job reads and changes it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from tenant.state import devices, keys, users
from tenant.state import sync as journal
from tenant.state.database import Database
from tenant.state.devices import DeviceRecord, JoinType
from tenant.state.sync import Journal, WrittenKey
from tenant.state.users import User
from tenant.sync.plan import DeviceChange, Grade, Plan, Problem, UserChange
from tenant.sync.run import Outcome, Unsettled
from tenant.sync.view import TenantDevice, TenantKey, TenantUser, TenantView

_USER_FIELDS = {
    "upn": "upn",
    "display_name": "display_name",
    "enabled": "enabled",
    "guid": "onprem_guid",
    "sid": "onprem_sid",
    "sam_account_name": "onprem_sam",
}
"""Field of TenantUser -> of the table."""
_DEVICE_FIELDS = {
    "guid": "onprem_guid",
    "sid": "sid",
    "user_certificate": "user_certificate",
    "enabled": "enabled",
}


class TenantDatabase:
    """The tenant's side, beside a running server: each change starts from the row as it is now."""

    def __init__(self, database: Database, now: datetime, new_id: Callable[[], UUID]) -> None:
        """now: when devices were made that are added. new_id: draws object ids."""
        self._database = database
        self._now = now
        self._new_id = new_id

    # -- reading -----------------------------------------------------------------------------

    def read(self) -> tuple[TenantView, Journal]:
        """Read users, keys, devices and the journal in one transaction."""
        with self._database.read() as connection:
            view = TenantView(
                users=tuple(_user(user) for user in users.all_users(connection)),
                keys=tuple(
                    TenantKey(
                        kid=key.kid,
                        user=key.user,
                        device_id=key.device_id,
                        material=key.material,
                        created=key.created,
                        attested=key.attested,
                    )
                    for key in keys.all_keys(connection)
                ),
                devices=tuple(_device(device) for device in devices.all_devices(connection)),
            )
            return view, journal.read_journal(connection)

    # -- writing -----------------------------------------------------------------------------

    def intend(self, directory: str, plan: Plan) -> None:
        """Put what will be written into the journal."""
        rows = [
            WrittenKey(account=c.account.guid, kid=c.kid, blob=c.blob, done=False)
            for c in plan.add_keys
        ]
        added = [put.device.device_id for put in plan.put_objects if not put.fields]
        with self._database.write() as connection:
            journal.set_directory(connection, directory)
            journal.intend_keys(connection, rows)
            journal.intend_devices(connection, added)

    def settle(self, plan: Plan, outcome: Outcome) -> tuple[Unsettled, ...]:
        """Change users, devices and the journal; what one row refuses is about that row alone."""
        late: list[Unsettled] = []
        with self._database.write() as connection:
            _settle_journal(connection, plan, outcome)
            for change in plan.users:
                with _refused(late, change, "user", change.user.upn):
                    self._put_user(connection, change)
            for device in plan.devices:
                with _refused(late, device, "computer", device.device.display_name):
                    self._put_device(connection, device)
            for dropped in plan.drop_devices:
                found = devices.device_by_id(connection, dropped.device_id)
                # It may have registered in the meantime: then it is disabled by the next run.
                if found is not None and found.certificate is None:
                    devices.delete_device(connection, dropped.device_id)
        return tuple(late)

    def _put_user(self, connection: sqlite3.Connection, change: UserChange) -> None:
        wanted = change.user
        values: dict[str, object] = {
            column: getattr(wanted, field)
            for field, column in _USER_FIELDS.items()
            if change.new or field in change.fields
        }
        if "display_name" in values:
            name = "".join(c for c in wanted.display_name if c.isprintable())
            values["display_name"] = name[: users.MAX_NAME_CHARS]
        if change.new:
            made = User(object_id=self._new_id(), upn=wanted.upn, display_name="")
            users.add(connection, replace(made, **values))  # type: ignore[arg-type]  # by the table above
            return
        found = users.by_id(connection, wanted.object_id)
        if found is not None:
            users.update(connection, replace(found, **values))  # type: ignore[arg-type]  # as above

    def _put_device(self, connection: sqlite3.Connection, change: DeviceChange) -> None:
        wanted = change.device
        found = devices.device_by_id(connection, wanted.device_id)
        values: dict[str, object] = {
            column: getattr(wanted, field)
            for field, column in _DEVICE_FIELDS.items()
            if change.new or field in change.fields
        }
        if found is not None:
            devices.update_device(connection, replace(found, **values))  # type: ignore[arg-type]  # as above
        elif change.new:
            made = DeviceRecord(
                device_id=wanted.device_id,
                object_id=self._new_id(),
                display_name=wanted.display_name[: devices.MAX_TEXT_CHARS],
                join_type=JoinType.HYBRID,
                created=self._now,
            )
            devices.insert_device(connection, replace(made, **values))  # type: ignore[arg-type]  # as above


def _settle_journal(connection: sqlite3.Connection, plan: Plan, outcome: Outcome) -> None:
    found = [(row.account, row.kid) for row in plan.found_keys]
    journal.mark_keys(connection, [*found, *((c.account.guid, c.kid) for c in outcome.written)])
    gone = [(row.account, row.kid) for row in plan.forget_keys]
    gone += [(c.account.guid, c.kid) for c in (*outcome.removed, *outcome.not_written)]
    journal.forget_keys(connection, gone)
    not_made = [put.device.device_id for put in outcome.not_made]
    journal.forget_devices(connection, [*plan.forget_objects, *outcome.objects_removed, *not_made])
    journal.set_disabled(connection, plan.disabled)


@contextmanager
def _refused(
    late: list[Unsettled], change: UserChange | DeviceChange, what: str, name: str
) -> Iterator[None]:
    """Note what the database refuses about one row: somebody else has its name by now."""
    try:
        yield
    except DirectoryError as error:
        if error.kind not in (DirectoryFault.EXISTS, DirectoryFault.INVALID):
            raise
        why = error.detail
    except sqlite3.IntegrityError:
        why = "another device of the tenant has its number"
    else:
        return
    problem = Problem(what=what, name=name, why=why, grade=Grade.FAILED)
    late.append(Unsettled(change=change, problem=problem))


def _user(user: User) -> TenantUser:
    return TenantUser(
        object_id=user.object_id,
        upn=user.upn,
        display_name=user.display_name,
        enabled=user.enabled,
        guid=user.onprem_guid,
        sid=user.onprem_sid,
        sam_account_name=user.onprem_sam,
    )


def _device(device: DeviceRecord) -> TenantDevice:
    return TenantDevice(
        device_id=device.device_id,
        display_name=device.display_name,
        enabled=device.enabled,
        guid=device.onprem_guid,
        sid=device.sid,
        user_certificate=device.user_certificate,
        owner=device.owner,
        certificate=device.certificate,
        os_type=device.os_type,
        os_version=device.os_version,
    )
