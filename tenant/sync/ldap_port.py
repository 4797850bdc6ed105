"""A directory behind LDAP as the one that the sync job works on: Samba, Active Directory, OpenLDAP.

As an account of its own, never as the follower or an administrator: what it may write is the
directory's decision. It needs to read all accounts, and to write msDS-KeyCredentialLink of users
and, for device objects, below the place where those are. A protected account takes no rights from
above (AdminSDHolder), so that its write is refused with insufficientAccessRights.
"""

from collections.abc import Collection, Iterable
from typing import Final
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.distinguished_name import escape_value
from directory.ldap.attributes import guid_filter, guid_of, version_attributes
from directory.ldap.connection import OPEN
from directory.ldap.filters import Filter, equal, present
from directory.ldap.messages import Change, Entry, ModifyOp, ResultCode
from directory.ldap.messages import Scope as SearchScope
from directory.ldap.reach import LdapError
from directory.ldap.schema import UF_ACCOUNTDISABLE, UF_COMPUTER
from directory.ldap.session import root_entry
from directory.ldap.settings import Flavour
from directory.ldap.write import KEY_CREDENTIALS, WriteError, WritingConnection
from directory.model import KRBTGT_RID, AccountKind, Sid
from tenant.sync.port import Scope
from tenant.sync.view import DeviceObject, DirectoryAccount, DirectoryView

_VALUE_EXISTS: Final = 20

_ACCOUNT: Final = (
    "objectClass",
    "sAMAccountName",
    "userPrincipalName",
    "displayName",
    "objectSid",
    "userAccountControl",
    "groupType",
    "adminCount",
    KEY_CREDENTIALS,
)
_DEVICE_CLASS: Final = "msDS-Device"
_DEVICE: Final = {
    "name": "displayName",
    "enabled": "msDS-IsEnabled",
    "owner": "msDS-RegisteredOwner",
    "computer": "msDS-ComputerSID",
    "alt_security_identity": "altSecurityIdentities",
    "os_type": "msDS-DeviceOSType",
    "os_version": "msDS-DeviceOSVersion",
}
"""Field of DeviceObject -> attribute (MS-ADSC msDS-Device)."""
_OPENLDAP_FIELDS: Final = ("name", "enabled", "owner", "alt_security_identity")
"""Those of conf/ldap/keytrust-schema.ldif."""
_DEVICE_ID: Final = "msDS-DeviceID"
_OBJECT_VERSION: Final = b"2"
"""msDS-DeviceObjectVersion (MS-DVRJ 3.1.5.1.1.3)."""


def device_container(base: str, flavour: Flavour) -> str:
    """Return the DN of the place where device objects are: Active Directory has one for them."""
    return f"ou=devices,{base}" if flavour == "openldap" else f"CN=RegisteredDevices,{base}"


class LdapPort:
    """A directory over one connection, bound as the account of the sync job."""

    def __init__(self, connection: WritingConnection, flavour: Flavour, base: str = "") -> None:
        """base: where the domain's entries are; "": what the server calls its default."""
        self._connection = connection
        self._flavour = flavour
        self._base = base
        self._domain = ""
        """DNS name of the domain: the suffix of implicit userPrincipalNames."""
        self._device_dns: dict[UUID, str] = {}
        self._device_place = ""

    @property
    def where(self) -> str:
        """Name the server."""
        return str(self._connection.url)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # -- reading -----------------------------------------------------------------------------

    def read(self, scope: Scope, also: Collection[UUID]) -> DirectoryView:
        """Read all users, computers and device objects, page by page to the end."""
        connection = self._connection
        if not self._base:
            root = root_entry(connection)
            contexts = root.values("defaultnamingcontext") or root.values("namingcontexts")
            if not contexts:
                raise DirectoryError(DirectoryFault.INVALID, "the server shows no naming context")
            self._base = _text(contexts[0])
        sid = self._domain_sid()
        self._domain = _dns_domain(self._base)
        accounts: dict[UUID, DirectoryAccount] = {}
        unreadable: set[UUID] = set()
        for page in connection.pages(self._base, self._accounts(), self._wanted()):
            for entry in page:
                self._sort(entry, scope, sid, accounts, unreadable)
        for guid in set(also) - accounts.keys() - unreadable:
            # Not among the accounts: gone, or not an account any more. Its values are ours still.
            for entry in connection.entries(
                self._base, SearchScope.SUBTREE, guid_filter(self._flavour, guid), self._wanted()
            ):
                self._sort(entry, scope, sid, accounts, unreadable)
        devices = self._read_devices()
        return DirectoryView(
            directory=str(sid),
            accounts=tuple(accounts.values()),
            unreadable=frozenset(unreadable),
            devices=tuple(devices),
            device_place=self._device_place,
            device_fields=frozenset(self._device_fields()),
        )

    def _domain_sid(self) -> Sid:
        found = self._connection.entries(self._base, SearchScope.BASE, OPEN, ("objectSid",))
        try:
            return Sid.from_bytes(found[0].values("objectsid")[0])
        except (IndexError, ValueError):
            raise DirectoryError(
                DirectoryFault.INVALID,
                f"{self._base} has no objectSid, or it cannot be read with this bind",
            ) from None

    def _accounts(self) -> Filter:
        if self._flavour == "openldap":
            return present("sAMAccountName")
        # A computer is a user as well.
        return equal("objectClass", "user")

    def _wanted(self) -> tuple[str, ...]:
        return (*_ACCOUNT, self._certificate(), version_attributes(self._flavour)[0])

    def _certificate(self) -> str:
        # RFC 4523 2.1: asked for and given as ;binary. Active Directory does without.
        return "userCertificate;binary" if self._flavour == "openldap" else "userCertificate"

    def _sort(
        self,
        entry: Entry,
        scope: Scope,
        domain: Sid,
        accounts: dict[UUID, DirectoryAccount],
        unreadable: set[UUID],
    ) -> None:
        """Put an entry where it belongs; one without a number of its own nowhere."""
        guid = guid_of(entry, self._flavour)
        classes = {value.lower() for value in entry.values("objectclass")}
        if guid is None or entry.values("grouptype") or classes & {b"group", b"groupofnames"}:
            return
        try:
            account = self._account(entry, guid, classes, scope)
        except ValueError:
            unreadable.add(guid)
            return
        if account.sid.is_in(domain) and account.sid.rid != KRBTGT_RID:
            accounts[guid] = account

    def _account(
        self, entry: Entry, guid: UUID, classes: set[bytes], scope: Scope
    ) -> DirectoryAccount:
        """Read an account. Raises ValueError when it cannot be read."""
        (name,) = map(_text, entry.values("samaccountname"))
        (sid,) = map(Sid.from_bytes, entry.values("objectsid"))
        # Without it nobody can tell whether the account is disabled.
        control = int((entry.values("useraccountcontrol") or (self._no_control(),))[0])
        count = int((entry.values("admincount") or (b"0",))[0])
        computer = b"computer" in classes or control & UF_COMPUTER or name.endswith("$")
        kind = AccountKind.COMPUTER if computer else AccountKind.USER
        upns = entry.values("userprincipalname")
        return DirectoryAccount(
            guid=guid,
            sid=sid,
            kind=kind,
            sam_account_name=name,
            upn=_text(upns[0]) if upns else f"{name}@{self._domain}",
            display_name=_text((entry.values("displayname") or (b"",))[0]),
            dn=entry.dn,
            enabled=not control & UF_ACCOUNTDISABLE,
            protected=bool(count),
            in_scope=scope.holds(kind, name, sid, entry.dn),
            key_values=tuple(map(_text, entry.values(KEY_CREDENTIALS.lower()))),
            certificates=entry.values(self._certificate().lower()) if computer else (),
        )

    def _no_control(self) -> bytes:
        # OpenLDAP's accounts may do without; Active Directory's all have one, so it is hidden.
        return b"512" if self._flavour == "openldap" else b""

    # -- keys --------------------------------------------------------------------------------

    def add_key(self, account: DirectoryAccount, text: str) -> None:
        """Add exactly this value; when it is there already, by whatever way, it is there."""
        try:
            self._change(account.dn, ModifyOp.ADD, text)
        except WriteError as error:
            if error.code != _VALUE_EXISTS:
                raise

    def remove_key(self, account: DirectoryAccount, text: str) -> None:
        """Remove exactly this value."""
        self._change(account.dn, ModifyOp.DELETE, text)

    def _change(self, dn: str, how: ModifyOp, text: str) -> None:
        self._connection.modify(dn, (Change(how, KEY_CREDENTIALS, (text.encode(),)),))

    # -- device objects ----------------------------------------------------------------------

    def _device_fields(self) -> tuple[str, ...]:
        return _OPENLDAP_FIELDS if self._flavour == "openldap" else tuple(_DEVICE)

    def _read_devices(self) -> list[DeviceObject]:
        place = device_container(self._base, self._flavour)
        self._device_place = place if self._exists(place) else ""
        self._device_dns.clear()
        names = tuple(_DEVICE[field] for field in self._device_fields())
        found = []
        # Of the whole domain: one that somebody put elsewhere counts as well.
        for page in self._connection.pages(
            self._base, equal("objectClass", _DEVICE_CLASS), (_DEVICE_ID, *names)
        ):
            for entry in page:
                device = _device(entry)
                if device is not None:
                    self._device_dns[device.device_id] = entry.dn
                    found.append(device)
        return found

    def _exists(self, dn: str) -> bool:
        try:
            return bool(self._connection.entries(dn, SearchScope.BASE, OPEN, ("objectClass",)))
        except LdapError as error:
            if error.code == ResultCode.NO_SUCH_OBJECT:
                return False
            raise

    def put_device(self, device: DeviceObject, fields: tuple[str, ...]) -> None:
        """Add a device object, or replace these attributes of one."""
        if fields:
            self._connection.modify(
                self._device_dn(device.device_id),
                [Change(ModifyOp.REPLACE, _DEVICE[name], _values(device, name)) for name in fields],
            )
            return
        name = str(device.device_id)
        attributes = {
            "objectClass": (b"top", _DEVICE_CLASS.encode()),
            "cn": (name.encode(),),
            _DEVICE_ID: (device.device_id.bytes_le,),
        }
        for field in self._device_fields():
            if values := _values(device, field):
                attributes[_DEVICE[field]] = values
        if self._flavour != "openldap":
            attributes["msDS-DeviceObjectVersion"] = (_OBJECT_VERSION,)
            if device.owner is not None:
                attributes["msDS-RegisteredUsers"] = (device.owner.to_bytes(),)
        dn = f"cn={escape_value(name)},{self._device_place}"
        self._connection.add(dn, attributes)
        self._device_dns[device.device_id] = dn

    def remove_device(self, device_id: UUID) -> None:
        """Remove a device object."""
        self._connection.delete(self._device_dn(device_id))

    def _device_dn(self, device_id: UUID) -> str:
        dn = self._device_dns.get(device_id)
        if dn is None:
            raise DirectoryError(DirectoryFault.NOT_FOUND, "no device object has this DeviceId")
        return dn


def _device(entry: Entry) -> DeviceObject | None:
    """Read a device object; None: it has no DeviceId that reads."""

    def text(field: str) -> str:
        return _text((entry.values(_DEVICE[field].lower()) or (b"",))[0])

    def sid(field: str) -> Sid | None:
        values = entry.values(_DEVICE[field].lower())
        try:
            return Sid.from_bytes(values[0]) if values else None
        except ValueError:
            return None

    numbers = entry.values(_DEVICE_ID.lower())
    if len(numbers) != 1 or len(numbers[0]) != 16:
        return None
    return DeviceObject(
        device_id=UUID(bytes_le=numbers[0]),
        name=text("name"),
        enabled=text("enabled").upper() == "TRUE",
        owner=sid("owner"),
        computer=sid("computer"),
        alt_security_identity=text("alt_security_identity"),
        os_type=text("os_type"),
        os_version=text("os_version"),
    )


def _values(device: DeviceObject, field: str) -> tuple[bytes, ...]:
    """Return an attribute's values; none for one that is empty."""
    value: object = getattr(device, field)
    if isinstance(value, bool):
        return (b"TRUE" if value else b"FALSE",)
    if isinstance(value, Sid):
        return (value.to_bytes(),)
    return (value.encode(),) if isinstance(value, str) and value else ()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _dns_domain(base: str) -> str:
    """Return the DNS name that the DC components of a base make."""
    parts: Iterable[str] = (part.strip() for part in base.split(","))
    return ".".join(part[3:].lower() for part in parts if part[:3].lower() == "dc=")
