"""The store of an embedded realm as the directory that the sync job works on.

The store has no access control: who may open it may write it. What Active Directory's AdminSDHolder
does for privileged accounts (MS-ADTS 3.1.1.6.1.2: nobody but administrators writes to them, the
sync job's account neither) is a rule here: their keys stay unsynced.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID, uuid5

from directory.backend import DirectoryError, DirectoryFault
from directory.model import Account, AccountKind, Device
from directory.store import Store
from kdc.trust.privileged import is_privileged
from tenant.sync.port import Scope
from tenant.sync.view import DeviceObject, DirectoryAccount, DirectoryView

_PAGE = 500
_DEVICES = UUID("5b1f7a3e-2a4c-4a0e-8f63-9f0c7d1b6e24")
"""The name space of the objectGUIDs of device objects written back. A number of our own."""


class StorePort:
    """An embedded realm's store; what is written counts at the KDC's next request."""

    def __init__(self, store: Store, now: datetime) -> None:
        """now: when device objects that are added were made."""
        self._store = store
        self._now = now

    @property
    def where(self) -> str:
        """Name the store."""
        return f"the store of {self._store.realm}"

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    # -- reading -----------------------------------------------------------------------------

    def read(self, scope: Scope, also: Collection[UUID]) -> DirectoryView:
        """Read all users and computers and all device objects."""
        del also  # all are read
        store = self._store
        store.refresh()
        accounts: list[DirectoryAccount] = []
        after = ""
        while page := store.list_accounts(after=after, limit=_PAGE):
            after = page[-1].sam_account_name
            for summary in page:
                if summary.kind in (AccountKind.USER, AccountKind.COMPUTER):
                    account = store.account_by_id(summary.account_id)
                    if account is not None and account.sid is not None:
                        accounts.append(self._account(account, scope))
        devices: list[DeviceObject] = []
        last: UUID | None = None
        while found := store.list_devices(after=last, limit=_PAGE):
            last = found[-1].guid
            devices += [
                DeviceObject(
                    device_id=device.device_id,
                    name=device.name,
                    enabled=device.enabled,
                    owner=device.owner,
                )
                for device in found
            ]
        return DirectoryView(
            directory=str(store.domain_sid),
            accounts=tuple(accounts),
            devices=tuple(devices),
            device_place="the store",
        )

    def _account(self, account: Account, scope: Scope) -> DirectoryAccount:
        store, name, kind, sid = self._store, account.sam_account_name, account.kind, account.sid
        if sid is None:
            raise DirectoryError(DirectoryFault.CORRUPT, f"{name} has no SID")
        computer = kind is AccountKind.COMPUTER
        dn = store.owner_dn(account.account_id)
        return DirectoryAccount(
            guid=store.object_guid(account.account_id),
            sid=sid,
            kind=kind,
            sam_account_name=name,
            upn=account.upn or f"{name}@{store.realm.lower()}",
            dn=dn,
            enabled=not account.disabled,
            protected=not computer and is_privileged(account, store),
            in_scope=scope.holds(kind, name, sid, dn),
            key_values=tuple(credential.text for credential in account.key_credentials),
            certificates=store.user_certificates(account.account_id) if computer else (),
        )

    # -- writing -----------------------------------------------------------------------------

    def add_key(self, account: DirectoryAccount, text: str) -> None:
        """Register a value, unless the account is privileged or the key is somebody's already."""
        if account.protected:
            raise DirectoryError(DirectoryFault.DENIED, "a privileged account's keys are its own")
        self._store.add_key_credential(self._id(account), text, unshared=True)

    def remove_key(self, account: DirectoryAccount, text: str) -> None:
        """Remove exactly this value; also of an account that has become privileged."""
        self._store.remove_key_value(self._id(account), text)

    def put_device(self, device: DeviceObject, fields: tuple[str, ...]) -> None:
        """Add a device object, or set name, state and owner of one."""
        row = Device(
            device_id=device.device_id,
            name=device.name,
            enabled=device.enabled,
            owner=device.owner,
            guid=uuid5(_DEVICES, str(device.device_id)),
            created_at=self._now,
        )
        if fields:
            self._store.update_device(row)
        else:
            self._store.add_device(row)

    def remove_device(self, device_id: UUID) -> None:
        """Remove a device object."""
        self._store.delete_device(device_id)

    def _id(self, account: DirectoryAccount) -> int:
        """Find the account's row again, by its number and not by its name."""
        found = self._store.account_by_name(account.sam_account_name)
        if found is None or self._store.object_guid(found.account_id) != account.guid:
            raise DirectoryError(DirectoryFault.NOT_FOUND, "the account is gone, or was renamed")
        return found.account_id
