"""What an entry of a directory is read as: an account, a group, a device, or none of them. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from directory.changes import NewAccount
from directory.ldap.settings import Flavour
from directory.model import Device, Sid


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainFacts:
    """What the domain object says about all accounts."""

    flavour: Flavour
    sid: Sid
    max_password_age: timedelta | None = None
    """maxPwdAge; None: passwords do not expire."""
    lockout_duration: timedelta | None = timedelta(minutes=30)
    """lockoutDuration; None: until an administrator unlocks."""


@dataclass(slots=True, kw_only=True)
class AccountEntry:
    """An account as a directory holds it; its long-term keys come from elsewhere."""

    guid: UUID
    version: str
    account: NewAccount
    locked_until: datetime | None
    """Until when lockoutTime locks it."""


@dataclass(slots=True, kw_only=True)
class GroupEntry:
    """A security group."""

    guid: UUID
    version: str
    dn: str
    name: str
    sid: Sid
    members: tuple[str, ...]
    """The DNs of its direct members, whatever they are."""


@dataclass(slots=True, kw_only=True)
class DeviceEntry:
    """A device object."""

    guid: UUID
    version: str
    dn: str
    device: Device


@dataclass(slots=True, kw_only=True)
class Unusable:
    """An entry that cannot be read."""

    guid: UUID
    version: str
    dn: str
    names: tuple[str, ...]
    """By which it would be found, as far as they can be read, as `kind:key`."""
    why: str
    """One fixed phrase."""


@dataclass(slots=True, kw_only=True)
class Gone:
    """An entry that is deleted, or is nothing that the KDC looks at."""

    guid: UUID


Record = AccountEntry | GroupEntry | DeviceEntry | Unusable | Gone
