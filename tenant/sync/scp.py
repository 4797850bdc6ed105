"""The service connection point by which a domain's computers find their tenant (flow R3 B).

A serviceConnectionPoint in the configuration partition, always of the same name. Its `keywords`
hold azureADName:<domain> and azureADId:<tenant>. Windows reads it as the computer's account;
everybody who has logged on may.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap.connection import OPEN, LdapConnection
from directory.ldap.messages import Change, ModifyOp, ResultCode, Scope
from directory.ldap.reach import LdapError
from directory.ldap.session import root_entry
from directory.ldap.write import WritingConnection

SCP_NAME: Final = "62a0ff2e-97b9-4513-943f-0d221bd30080"
_CONTAINER: Final = "CN=Device Registration Configuration,CN=Services"
_KEYWORDS: Final = "keywords"
_NAME: Final = "azureADName:"
_ID: Final = "azureADId:"


def scp_dn(configuration: str) -> str:
    """Return the object's DN. configuration: the DN of the configuration partition."""
    return f"CN={SCP_NAME},{_CONTAINER},{configuration}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scp:
    """What the object says."""

    dn: str
    keywords: tuple[str, ...]

    def values(self, name: str) -> tuple[str, ...]:
        """Return what stands behind a name such as azureADId: in any case of its letters."""
        return tuple(
            word[len(name) :] for word in self.keywords if word.lower().startswith(name.lower())
        )

    def problems(self, domain: str, tenant_id: UUID) -> tuple[str, ...]:
        """Say in words why computers would not find this tenant by it; nothing: they would."""
        found = []
        for name, wanted in ((_NAME, domain), (_ID, str(tenant_id))):
            values = self.values(name)
            if len(values) != 1:
                found.append(f"it has {len(values) or 'no'} {name[:-1]}, and one is read")
            elif values[0].lower() != wanted.lower():
                found.append(f"its {name[:-1]} is {values[0]}, and this tenant's is {wanted}")
        return tuple(found)


def keywords_of(domain: str, tenant_id: UUID) -> tuple[str, str]:
    """Return what the object of a tenant says."""
    return f"{_NAME}{domain}", f"{_ID}{tenant_id}"


def configuration_of(connection: LdapConnection) -> str:
    """Return the DN of the configuration partition; "": the directory has none (OpenLDAP)."""
    values = root_entry(connection).values("configurationnamingcontext")
    return values[0].decode("utf-8", "replace") if values else ""


def read_scp(connection: LdapConnection, configuration: str) -> Scp | None:
    """Read the object as whoever the connection is bound as. Raises DirectoryError."""
    dn = scp_dn(configuration)
    try:
        found = connection.entries(dn, Scope.BASE, OPEN, (_KEYWORDS,))
    except LdapError as error:
        if error.code == ResultCode.NO_SUCH_OBJECT:
            return None
        raise
    if not found:
        return None
    words = tuple(word.decode("utf-8", "replace") for word in found[0].values(_KEYWORDS))
    return Scp(dn=found[0].dn, keywords=words)


def write_scp(
    connection: WritingConnection, configuration: str, domain: str, tenant_id: UUID
) -> bool:
    """Make the object, or let it name this tenant; tell whether anything changed.

    Keywords of others (enterpriseDrsName) stay. Raises DirectoryError.
    """
    words = keywords_of(domain, tenant_id)
    old = read_scp(connection, configuration)
    if old is None:
        _make_container(connection, f"{_CONTAINER},{configuration}")
        connection.add(
            scp_dn(configuration),
            {
                "objectClass": (b"serviceConnectionPoint",),
                "cn": (SCP_NAME.encode(),),
                _KEYWORDS: tuple(word.encode() for word in words),
            },
        )
        return True
    if not old.problems(domain, tenant_id):
        return False
    kept = [
        word for word in old.keywords if not word.lower().startswith((_NAME.lower(), _ID.lower()))
    ]
    values = tuple(word.encode() for word in (*words, *kept))
    connection.modify(old.dn, (Change(ModifyOp.REPLACE, _KEYWORDS, values),))
    return True


def make_device_container(connection: WritingConnection, dn: str) -> bool:
    """Make the place of device objects in Active Directory; False: it is there already."""
    try:
        connection.add(dn, {"objectClass": (b"msDS-DeviceContainer",)})
    except DirectoryError as error:
        if error.kind is not DirectoryFault.EXISTS:
            raise
        return False
    return True


def _make_container(connection: WritingConnection, dn: str) -> None:
    try:
        connection.add(dn, {"objectClass": (b"container",)})
    except DirectoryError as error:
        if error.kind is not DirectoryFault.EXISTS:
            raise
