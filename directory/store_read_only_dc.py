"""The local store: read-only domain controllers, from the number in a ticket to their accounts.

Rules
  1. The number leads to one krbtgt account; two of one number are a damaged directory.
  2. The computer is the one account whose msDS-KrbTgtLink names that krbtgt account. Nothing is
     concluded from names.
  3. Entries of its two lists are DNs, of groups or accounts; one of the list that denies that leads
     to nothing is kept in `unknown`: whom it meant cannot be told any more.
"""

from collections.abc import Callable
from typing import cast

from directory.backend import DirectoryError, DirectoryFault
from directory.distinguished_name import parse_dn
from directory.model import Account, AccountKind, Group, ReadOnlyDc, Sid, match_key
from directory.store_groups import Query, is_storable, read_group, read_group_by_dn
from directory.store_lists import read_account_id_by_dn
from directory.store_schema import READ_ONLY_DC_VALUES, embedded_dn
from directory.store_values import SINGLE_VALUES

FindById = Callable[[int], Account | None]

_NUMBER = SINGLE_VALUES["secondary_krbtgt_number"]


class ReadOnlyDcs:
    """Which read-only domain controllers there are, read as needed and kept until `forget`.

    Owner: the store's reader. Bound: the directory's own read-only domain controllers.
    """

    __slots__ = ("_found", "_krbtgts", "_links", "_query")

    def __init__(self, query: Query) -> None:
        self._query = query
        self._krbtgts: dict[int, list[int]] | None = None
        self._links: list[tuple[int, str]] = []
        self._found: dict[int, ReadOnlyDc] = {}

    def forget(self) -> None:
        """Drop everything that was read."""
        self._krbtgts = None
        self._found.clear()

    def numbers(self) -> tuple[int, ...]:
        """List all numbers, the lowest first."""
        return tuple(sorted(self._load()))

    def find(self, number: int, account_by_id: FindById, realm: str) -> ReadOnlyDc | None:
        """Find one by its number. Raises DirectoryError(CORRUPT) when two have it."""
        known = self._found.get(number)
        if known is not None:
            return known
        krbtgts = self._load().get(number)
        if krbtgts is None:
            return None
        if len(krbtgts) > 1:
            raise DirectoryError(
                DirectoryFault.CORRUPT, f"two krbtgt accounts have the number {number}"
            )
        krbtgt = account_by_id(krbtgts[0])
        if krbtgt is None or krbtgt.kind is not AccountKind.KRBTGT:
            return None
        linked = [
            account_id
            for account_id, dn in self._links
            if read_account_id_by_dn(self._query, dn, realm) == krbtgt.account_id
        ]
        computer = account_by_id(linked[0]) if len(linked) == 1 else None
        found = ReadOnlyDc(number=number, krbtgt=krbtgt, computer=None)
        if computer is not None:
            denied = {dn: self._sid_of(dn, account_by_id, realm) for dn in computer.never_reveal}
            allowed = (self._sid_of(dn, account_by_id, realm) for dn in computer.reveal_on_demand)
            found = ReadOnlyDc(
                number=number,
                krbtgt=krbtgt,
                computer=computer,
                allowed=frozenset(sid for sid in allowed if sid is not None),
                denied=frozenset(sid for sid in denied.values() if sid is not None),
                unknown=tuple(dn for dn, sid in denied.items() if sid is None),
            )
        self._found[number] = found
        return found

    def _load(self) -> dict[int, list[int]]:
        if self._krbtgts is None:
            krbtgts: dict[int, list[int]] = {}
            links: list[tuple[int, str]] = []
            for account_id, attribute, value in cast(
                "list[tuple[int, str, int | str]]",
                self._query(
                    "SELECT account_id, attribute, value FROM account_values"  # noqa: S608
                    f" WHERE {READ_ONLY_DC_VALUES} ORDER BY account_id"
                ),
            ):
                if attribute == _NUMBER and isinstance(value, int):
                    krbtgts.setdefault(value, []).append(account_id)
                elif isinstance(value, str):
                    links.append((account_id, value))
            self._krbtgts, self._links = krbtgts, links
        return self._krbtgts

    def _sid_of(self, dn: str, account_by_id: FindById, realm: str) -> Sid | None:
        """Find the SID of the group or account that has a DN."""
        group = read_group_by_dn(self._query, dn) or _embedded_group(self._query, dn, realm)
        if group is not None:
            return group.sid
        account_id = read_account_id_by_dn(self._query, dn, realm)
        account = None if account_id is None else account_by_id(account_id)
        return None if account is None else account.sid


def dn_of_group(group: Group, realm: str) -> str:
    """Return a group's DN: the one a directory gave it, or in an embedded realm of its name."""
    return group.dn or embedded_dn(group.name, AccountKind.USER, realm)


def _embedded_group(query: Query, dn: str, realm: str) -> Group | None:
    """Find a group of an embedded realm by the DN that its name makes."""
    try:
        first = parse_dn(dn)[0]
    except (ValueError, IndexError):
        return None
    ((_, name),) = first if len(first) == 1 else (("", ""),)
    group = read_group(query, name) if is_storable(name) else None
    if group is None or match_key(dn_of_group(group, realm)) != match_key(dn):
        return None
    return group
