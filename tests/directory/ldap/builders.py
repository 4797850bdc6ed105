"""Entries as directories give them, and the store they go to."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from directory.ldap.apply import ReplicaWriter
from directory.ldap.messages import Entry
from directory.ldap.records import AccountEntry, DomainFacts, GroupEntry, Record
from directory.ldap.schema import read_entry
from directory.ldap.settings import Flavour
from directory.model import PrincipalKey, Sid
from directory.sealing import MasterKey
from directory.store import Store

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DOMAIN = Sid(5, (21, 1, 2, 3))
BASE = "dc=lab,dc=test"
KEY = MasterKey(bytes(32))


def facts(flavour: Flavour = "openldap") -> DomainFacts:
    """The domain's."""
    return DomainFacts(flavour=flavour, sid=DOMAIN)


def guid(number: int) -> UUID:
    """The GUID of an entry."""
    return UUID(int=0xABC0_0000_0000_0000_0000_0000_0000_0000 + number)


def openldap(number: int, dn: str, **attributes: str | bytes | list[str] | list[bytes]) -> Entry:
    """Make an entry of OpenLDAP; `_` for `-` in names."""
    values: dict[str, tuple[bytes, ...]] = {
        "entryuuid": (str(guid(number)).encode(),),
        "entrycsn": (b"20261122120000.000001Z#000000#000#000000",),
        "createtimestamp": (b"20260101000000Z",),
    }
    for name, given in attributes.items():
        listed = given if isinstance(given, list) else [given]
        values[name.replace("_", "-").lower()] = tuple(
            item.encode() if isinstance(item, str) else item for item in listed
        )
    return Entry(dn=dn, attributes=values)


def user(number: int, name: str, **attributes: str | bytes | list[str] | list[bytes]) -> Entry:
    """Make a user's entry."""
    base: dict[str, str | bytes | list[str] | list[bytes]] = {
        "objectClass": ["inetOrgPerson", "securityPrincipal"],
        "sAMAccountName": name,
        "objectSid": DOMAIN.with_rid(1000 + number).to_bytes(),
    }
    return openldap(number, f"uid={name},ou=people,{BASE}", **(base | attributes))


def group(number: int, name: str, *members: str) -> Entry:
    """Make a group's entry; members: DNs."""
    return openldap(
        number,
        f"cn={name},ou=groups,{BASE}",
        objectClass=["groupOfNames"],
        sAMAccountName=name,
        objectSid=DOMAIN.with_rid(1000 + number).to_bytes(),
        groupType="-2147483646",
        member=list(members),
    )


def record(entry: Entry, flavour: Flavour = "openldap") -> Record:
    """Read an entry."""
    found = read_entry(entry, facts(flavour))
    assert found is not None
    return found


def account(entry: Entry, flavour: Flavour = "openldap") -> AccountEntry:
    """Read an entry that is an account."""
    found = record(entry, flavour)
    assert isinstance(found, AccountEntry), found
    return found


def as_group(entry: Entry) -> GroupEntry:
    """Read an entry that is a group."""
    found = record(entry)
    assert isinstance(found, GroupEntry), found
    return found


def new_store(folder: Path) -> Store:
    """Make the store of a realm on the directory."""
    return Store.create(
        folder / "store.sqlite",
        KEY,
        realm="LAB.TEST",
        netbios="LAB",
        krbtgt_keys=(PrincipalKey(etype=18, kvno=1, key=bytes(32)),),
        now=NOW,
        domain_sid=DOMAIN,
    )


def new_writer(store: Store, *, links_follow_names: bool = False) -> ReplicaWriter:
    """Make the writer of that store."""
    return ReplicaWriter(store, links_follow_names=links_follow_names)
