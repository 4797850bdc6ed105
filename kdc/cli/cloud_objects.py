"""The objects of a cloud trust in the realm's own store."""

from dataclasses import dataclass, field
from datetime import datetime

from directory.changes import NewAccount
from directory.model import (
    AccountKind,
    Group,
    PrincipalKey,
    ReadOnlyDc,
)
from directory.store import Store
from directory.store_read_only_dc import dn_of_group
from directory.store_schema import embedded_dn
from kdc.trust.privileged import READ_ONLY_CONTROLLERS_RID, is_privileged_group

COMPUTER = "AzureADKerberos"
"""What Entra's own tool calls it."""
KEPT_GENERATIONS = 1  # tickets under the last key live on until they expire

_PAGE = 500
# The groups that a new read-only DC is denied in Windows: the privileged ones, and this one.
_DENIED_REPLICATION_RID = 572  # Denied RODC Password Replication Group


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudObjects:
    """A cloud trust that is to be made."""

    number: int
    computer: str
    """Its name without "$"."""
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    keys: tuple[PrincipalKey, ...] = field(repr=False)
    created_at: datetime


def krbtgt_common_name(computer: str, number: int | None) -> str:
    """Name the krbtgt account of a computer as Entra's tool does; number: None: not known yet."""
    if computer == COMPUTER:
        return "krbtgt_AzureAD"
    return f"krbtgt_{computer if number is None else number}"


def add_cloud_objects(store: Store, new: CloudObjects) -> None:
    """Write both accounts in one transaction. Raises DirectoryError: EXISTS, INVALID."""
    domain_dn = embedded_dn("x", AccountKind.USER, store.realm).partition(",CN=Users,")[2]
    krbtgt_dn = f"CN={krbtgt_common_name(new.computer, new.number)},CN=Users,{domain_dn}"
    store.add_accounts(
        (
            NewAccount(
                kind=AccountKind.KRBTGT,
                name=f"krbtgt_{new.number}",
                created_at=new.created_at,
                keys=new.keys,
                secondary_krbtgt_number=new.number,
                dn=krbtgt_dn,
            ),
            NewAccount(
                kind=AccountKind.COMPUTER,
                name=f"{new.computer}$",
                created_at=new.created_at,
                partial_secrets=True,
                krbtgt_link=krbtgt_dn,
                primary_group_id=READ_ONLY_CONTROLLERS_RID,
                dn=f"CN={new.computer},OU=Domain Controllers,{domain_dn}",
                reveal_on_demand=new.allow,
                never_reveal=new.deny,
            ),
        )
    )


def all_groups(store: Store) -> list[Group]:
    """List every group of the store."""
    found: list[Group] = []
    after = ""
    while page := store.list_groups(after=after, limit=_PAGE):
        after = page[-1].name
        found += page
    return found


def default_deny(store: Store) -> list[Group]:
    """List the groups of the domain that a new read-only DC is denied."""
    domain = store.domain_sid
    return [
        group
        for group in all_groups(store)
        if is_privileged_group(group.sid) or group.sid == domain.with_rid(_DENIED_REPLICATION_RID)
    ]


def names_of(store: Store, dns: tuple[str, ...]) -> list[str]:
    """Name the groups and accounts of a list; a DN of nobody's stays as it is."""
    names = {dn_of_group(group, store.realm).lower(): group.name for group in all_groups(store)}
    out = []
    for dn in dns:
        name = names.get(dn.lower())
        if name is None:
            account_id = store.account_id_by_dn(dn)
            account = None if account_id is None else store.account_by_id(account_id)
            name = dn if account is None else account.sam_account_name
        out.append(name)
    return out


def problems_of(dc: ReadOnlyDc) -> list[str]:
    """Say in words what keeps tickets of a read-only DC from being taken."""
    found = []
    if not dc.krbtgt.keys:
        found.append("its krbtgt has no key here")
    if dc.computer is None:
        return [*found, "no one computer links to its krbtgt: everybody is refused (12)"]
    if not dc.computer.partial_secrets:
        found.append("its computer has not the flag of read-only DCs: everybody is refused (12)")
    if not dc.allowed:
        found.append("its list of those who are allowed is empty: everybody is refused (20)")
    if dc.unknown:
        found.append(
            f"its deny list names what is not there: everybody is refused (12): {dc.unknown[0]}"
        )
    return found
