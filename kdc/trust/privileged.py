"""Who is privileged: the groups of MS-ADTS 3.1.1.6.1.2 and those that come to the same.

The one list of this project: key trust reads it (row K19), and a cloud trust denies them by it.
"""

from typing import Final

from directory.backend import Directory
from directory.model import DOMAIN_ADMINS_RID, DOMAIN_CONTROLLERS_RID, Account, Sid

ADMINISTRATOR_RID: Final = 500
READ_ONLY_CONTROLLERS_RID: Final = 521
ENTERPRISE_READ_ONLY_CONTROLLERS_RID: Final = 498
BUILTIN: Final = Sid(5, (32,))

PRIVILEGED_RIDS: Final = frozenset(
    {
        DOMAIN_ADMINS_RID,
        DOMAIN_CONTROLLERS_RID,
        ENTERPRISE_READ_ONLY_CONTROLLERS_RID,
        517,  # Cert Publishers
        518,  # Schema Admins
        519,  # Enterprise Admins
        520,  # Group Policy Creator Owners
        READ_ONLY_CONTROLLERS_RID,
        526,  # Key Admins
        527,  # Enterprise Key Admins
    }
)
"""Of groups of the domain (MS-DTYP 2.4.2.4)."""
PRIVILEGED_BUILTIN_RIDS: Final = frozenset(
    {
        544,  # Administrators
        548,  # Account Operators
        549,  # Server Operators
        550,  # Print Operators
        551,  # Backup Operators
        552,  # Replicator
    }
)
"""Of groups S-1-5-32-x."""


def is_privileged_group(sid: Sid) -> bool:
    """Tell whether the members of a group are privileged.

    Of whatever domain it is: Enterprise and Schema Admins are groups of the forest's root domain,
    and a RID below 1000 means the same in each (S-1-5-21-x-y-z).
    """
    if sid.rid in PRIVILEGED_BUILTIN_RIDS:
        return sid.is_in(BUILTIN)
    return sid.rid in PRIVILEGED_RIDS and sid.authority == 5 and sid.sub_authorities[0] == 21


def is_privileged(account: Account, directory: Directory) -> bool:
    """Tell whether an account is privileged: by adminCount, its own RID, or its groups.

    Groups are the primary one and all others, nested ones too. Raises DirectoryError.
    """
    if account.admin_count:
        return True
    if account.sid == directory.domain().sid.with_rid(ADMINISTRATOR_RID):
        return True
    return any(map(is_privileged_group, directory.groups_of(account.account_id)))
