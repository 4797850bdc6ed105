"""What the sync job sees of both sides, as values. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from directory.model import AccountKind, Sid


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAccount:
    """A user or computer of the directory."""

    guid: UUID
    """objectGUID: the account's number for its life."""
    sid: Sid
    kind: AccountKind
    sam_account_name: str
    upn: str
    """userPrincipalName, or the implicit one: sAMAccountName@domain."""
    display_name: str = ""
    dn: str
    enabled: bool
    protected: bool = False
    """Privileged: adminCount, or what comes to the same (MS-ADTS 3.1.1.6.1.2)."""
    in_scope: bool = True
    """Whether the settings take this account up into the tenant."""
    key_values: tuple[str, ...] = ()
    """msDS-KeyCredentialLink, as it stands there."""
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    """userCertificate (DER)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceObject:
    """A device object, msDS-Device, as it is or is to be written."""

    device_id: UUID
    name: str
    enabled: bool
    owner: Sid | None = None
    """msDS-RegisteredOwner."""
    computer: Sid | None = None
    """msDS-ComputerSID: of a domain-joined computer."""
    alt_security_identity: str = ""
    """X509:<SHA1-TP-PUBKEY>..., of the device certificate."""
    os_type: str = ""
    os_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryView:
    """Everything that the sync job reads of a directory, read to its end."""

    directory: str
    """Which one it is: the SID of its domain."""
    accounts: tuple[DirectoryAccount, ...]
    unreadable: frozenset[UUID] = frozenset()
    """objectGUIDs of entries that are there and cannot be read: nobody may be taken for gone."""
    devices: tuple[DeviceObject, ...] = ()
    device_place: str = ""
    """Where device objects are written; "": there is no such place."""
    device_fields: frozenset[str] = frozenset(("name", "enabled", "owner"))
    """Which fields of a device object this directory keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantUser:
    """A user of the tenant."""

    object_id: UUID
    upn: str
    display_name: str = ""
    enabled: bool
    guid: UUID | None = None
    """objectGUID of the account it is synced with; None: it is the tenant's alone."""
    sid: str | None = None
    sam_account_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKey:
    """A key that a user registered."""

    kid: UUID
    """The registration's number in the tenant."""
    user: UUID
    device_id: UUID | None
    material: bytes
    """BCRYPT_RSAKEY_BLOB as it was registered."""
    created: datetime
    attested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDevice:
    """A device of the tenant."""

    device_id: UUID
    display_name: str
    enabled: bool
    guid: UUID | None = None
    """objectGUID of the computer it is synced with."""
    sid: str | None = None
    user_certificate: bytes | None = field(default=None, repr=False)
    """DER of the userCertificate that came from the directory."""
    owner: UUID | None = None
    """object_id of the user who registered it."""
    certificate: bytes | None = field(default=None, repr=False)
    """DER of the device certificate."""
    os_type: str = ""
    os_version: str = ""

    @property
    def registered(self) -> bool:
        """Whether it has a device certificate; else it is only known from the directory."""
        return self.certificate is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantView:
    """Everything that the sync job reads of the tenant, in one transaction."""

    users: tuple[TenantUser, ...] = ()
    keys: tuple[TenantKey, ...] = ()
    devices: tuple[TenantDevice, ...] = ()
