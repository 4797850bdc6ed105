"""What is asked of a directory: attributes, filters, and what tells one entry from another. Pure.

Attribute names are those of MS-ADA1..3; the OpenLDAP schema of conf/ldap/ has the same ones, so the
flavours differ in a few names only.
"""

from uuid import UUID

from directory.ldap import filters
from directory.ldap.filters import Filter
from directory.ldap.messages import Entry
from directory.ldap.settings import Flavour

_COMMON = (
    "objectClass",
    "sAMAccountName",
    "userPrincipalName",
    "servicePrincipalName",
    "objectSid",
    "userAccountControl",
    "accountExpires",
    "pwdLastSet",
    "logonHours",
    "lockoutTime",
    "primaryGroupID",
    "groupType",
    "member",
    "msDS-KeyCredentialLink",
    "altSecurityIdentities",
    "msDS-AllowedToDelegateTo",
    "msDS-AllowedToActOnBehalfOfOtherIdentity",
    "msDS-SupportedEncryptionTypes",
    "msDS-SecondaryKrbTgtNumber",
    "msDS-KrbTgtLink",
    "msDS-RevealOnDemandGroup",
    "msDS-NeverRevealGroup",
    "adminCount",
    "msDS-DeviceID",
    "msDS-IsEnabled",
    "msDS-RegisteredOwner",
    "displayName",
)
_ACTIVE_DIRECTORY = (
    "objectGUID",
    "uSNChanged",
    "whenCreated",
    "isDeleted",
    "msDS-UserPasswordExpiryTimeComputed",
)
_OPENLDAP = ("entryUUID", "entryCSN", "createTimestamp")
SHOWN = {name.lower(): name for name in (*_COMMON, *_ACTIVE_DIRECTORY)}
"""How a name in small letters is shown."""


def attributes_of(flavour: Flavour) -> tuple[str, ...]:
    """List the attributes that are read of each account, group and device."""
    return _COMMON + (_OPENLDAP if flavour == "openldap" else _ACTIVE_DIRECTORY)


def version_attributes(flavour: Flavour) -> tuple[str, str]:
    """Name the attributes with an entry's own number and the version it is in."""
    return ("entryUUID", "entryCSN") if flavour == "openldap" else ("objectGUID", "uSNChanged")


def entries_filter(flavour: Flavour) -> Filter:
    """Match accounts, groups and devices."""
    device = filters.equal("objectClass", "msDS-Device")
    if flavour == "openldap":
        return filters.any_of(filters.present("sAMAccountName"), device)
    # A computer is a user as well, and so is a managed service account.
    return filters.any_of(
        filters.equal("objectClass", "user"), filters.equal("objectClass", "group"), device
    )


def guid_filter(flavour: Flavour, guid: UUID) -> Filter:
    """Match the one entry with this number."""
    if flavour == "openldap":
        return filters.equal("entryUUID", str(guid))
    return filters.equal("objectGUID", guid.bytes_le)


def guid_of(entry: Entry, flavour: Flavour) -> UUID | None:
    """Return the number that an entry keeps for its life, or None when it shows none."""
    name = version_attributes(flavour)[0].lower()
    value = (entry.values(name) or (b"",))[0]
    try:
        return UUID(value.decode("ascii")) if flavour == "openldap" else UUID(bytes_le=value)
    except ValueError:
        return None


def version_of(entry: Entry, flavour: Flavour) -> str:
    """Return the version an entry is in, as text; "" when it shows none."""
    value = (entry.values(version_attributes(flavour)[1].lower()) or (b"",))[0]
    return value[:64].decode("ascii", "replace")
