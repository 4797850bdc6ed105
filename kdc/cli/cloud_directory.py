"""The objects of a cloud trust in the directory that a realm lives in, as the caller.

Active Directory and Samba choose number, SIDs and key themselves: the krbtgt account is added with
the control of a read-only DC's promotion (LDAP_SERVER_RODC_DCPROMO_OID, MS-ADTS 3.1.1.3.4.1.23),
and a new password makes them draw a new key, which comes to us by the realm's key source. OpenLDAP
chooses nothing: all of it is ours, and the keys are sealed with the master key (ldap-sealed).
"""

import secrets
from dataclasses import dataclass

import click

from directory.backend import DirectoryError, DirectoryFault
from directory.distinguished_name import escape_value
from directory.keysources.sealed import ATTRIBUTE as SEALED_KEYS
from directory.keysources.sealed import OBJECT_CLASS as SEALED_CLASS
from directory.keysources.sealed import seal_keys
from directory.keysources.settings import KeySourceSetting
from directory.ldap.connection import LdapConnection
from directory.ldap.filters import equal, present
from directory.ldap.messages import Change, Control, ModifyOp, Scope
from directory.ldap.write import WritingConnection
from directory.model import (
    MAX_SECONDARY_NUMBER,
    Group,
    PrincipalKey,
    ReadOnlyDc,
    Sid,
)
from directory.store import Store
from kdc.cli.accounts import random_keys
from kdc.cli.cloud_objects import krbtgt_common_name
from kdc.cli.directory_access import Access, Caller, directory_errors, open_directory
from kdc.cli.errors import CliError, ExitCode
from kdc.cli.sealed_keys import set_sealed_keys, settle
from kdc.cli.state import RealmState
from kdc.trust.privileged import READ_ONLY_CONTROLLERS_RID

RODC_PROMOTION = "1.2.840.113556.1.4.1341"
_WAIT_S = 15.0
_FIRST_RANDOM_RID = 1 << 29  # far above what anybody gives out by hand
_NORMAL_ACCOUNT_DISABLED = 0x200 | 0x2
_READ_ONLY_DC = 0x1000 | 0x4000000  # WORKSTATION_TRUST, PARTIAL_SECRETS (MS-ADTS 2.2.16)

Attributes = dict[str, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be made."""

    number: int | None
    """None: any that is free."""
    computer: str
    """Its name without "$"."""
    allow: tuple[Group, ...]
    deny: tuple[Group, ...]


def check_key_source(realm: RealmState) -> None:
    """Refuse where keys of the directory's accounts do not come here. Raises CliError."""
    config = realm.config
    kind = KeySourceSetting.parse(config.directory_key_source).kind
    flavour = config.directory_flavour
    fits = kind == "ldap-sealed" if flavour == "openldap" else kind in ("samba", "keytab")
    if not fits:
        wanted = '"ldap-sealed"' if flavour == "openldap" else '"samba:DIR" or "keytab:F"'
        raise CliError(
            "the cloud trust is not made",
            "this KDC would not know its key: directory.key_source does not bring it",
            f"set directory.key_source to {wanted} in kdc.toml",
            ExitCode.DENIED,
        )


def create(realm: RealmState, caller: Caller, wanted: Wanted) -> int:
    """Write both objects and their links; return the number. Raises CliError."""
    check_key_source(realm)
    for group in (*wanted.allow, *wanted.deny):
        if group.dn is None:
            raise CliError(
                f"{group.name} cannot be listed",
                "it is no group of the directory",
                "name another with --allow or --deny",
            )
    chooses = realm.config.directory_flavour != "openldap"
    if chooses and wanted.number is not None:
        raise click.UsageError("this directory chooses the number itself: leave --number out")
    with open_directory(realm, caller) as access, directory_errors("nothing was made"):
        make = _create_by_promotion if chooses else _create_sealed
        number = make(realm, access, wanted)
    settle(realm, lambda store: _is_whole(store, number), _WAIT_S)
    return number


def rotate(realm: RealmState, caller: Caller, dc: ReadOnlyDc) -> None:
    """Let the krbtgt account have a new key. Raises CliError."""
    check_key_source(realm)
    name = dc.krbtgt.sam_account_name
    if realm.config.directory_flavour == "openldap":
        set_sealed_keys(
            realm,
            caller,
            name,
            lambda _, kvno: random_keys(realm.config, kvno),
            keep=1,
            password=False,
        )
        return
    newest = max((key.kvno for key in dc.krbtgt.keys), default=-1)
    dn = _dn_of(realm, dc.krbtgt.account_id)
    failed = directory_errors(f"{name} has no new key")
    with open_directory(realm, caller) as access, failed:
        _draw_key(access.connection, dn)

    def is_there(store: Store) -> bool:
        found = store.read_only_dc(dc.number)
        return found is not None and any(key.kvno > newest for key in found.krbtgt.keys)

    settle(realm, is_there, _WAIT_S)


def delete(realm: RealmState, caller: Caller, dc: ReadOnlyDc) -> None:
    """Delete the computer, then its krbtgt account. Raises CliError."""
    accounts = [dc.krbtgt] if dc.computer is None else [dc.computer, dc.krbtgt]
    dns = [_dn_of(realm, account.account_id) for account in accounts]
    with open_directory(realm, caller) as access:
        for dn in dns:
            with directory_errors(f"{dn} is still there"):
                access.connection.delete(dn)
    settle(realm, lambda store: dc.number not in store.read_only_dc_numbers(), _WAIT_S)


# -- Active Directory, Samba -----------------------------------------------------------------


def _create_by_promotion(realm: RealmState, access: Access, wanted: Wanted) -> int:
    del realm
    connection, base = access.connection, access.base
    common_name = krbtgt_common_name(wanted.computer, None)
    dn = f"CN={escape_value(common_name)},CN=Users,{base}"
    promotion = Control(RODC_PROMOTION, critical=True)
    connection.add(
        dn,
        {
            "objectClass": (b"user",),
            "userAccountControl": (str(_NORMAL_ACCOUNT_DISABLED).encode(),),
            "showInAdvancedViewOnly": (b"TRUE",),
            "description": (b"Key Distribution Center service account of the cloud trust",),
        },
        controls=(promotion,),
    )
    try:
        number = _number_of(connection, dn)
        _draw_key(connection, dn)
        connection.add(
            f"CN={escape_value(wanted.computer)},OU=Domain Controllers,{base}",
            {
                "objectClass": (b"computer",),
                "sAMAccountName": (f"{wanted.computer}$".encode(),),
                "userAccountControl": (str(_READ_ONLY_DC).encode(),),
                **_links(wanted, dn),
            },
        )
    except BaseException:
        # Half of it would be refused with 12 for ever, under a number that nobody remembers.
        _delete_quietly(connection, dn)
        raise
    return number


def _delete_quietly(connection: WritingConnection, dn: str) -> None:
    try:
        connection.delete(dn)
    except DirectoryError as error:
        click.echo(f"  note: {dn} was made and is still there: {error.detail}", err=True)


def _number_of(connection: LdapConnection, dn: str) -> int:
    name = "msDS-SecondaryKrbTgtNumber"
    found = connection.entries(dn, Scope.BASE, present("objectClass"), (name,))
    values = found[0].values(name.lower()) if found else ()
    try:
        number = int(values[0])
    except (IndexError, ValueError):
        number = 0
    if not 1 <= number <= MAX_SECONDARY_NUMBER:
        raise DirectoryError(DirectoryFault.INVALID, "the directory gave its krbtgt no number")
    return number


def _draw_key(connection: WritingConnection, dn: str) -> None:
    """Set a password, in the place of which the directory draws one of its own."""
    quoted = f'"{secrets.token_urlsafe(48)}"'.encode("utf-16-le")
    connection.modify(dn, (Change(ModifyOp.REPLACE, "unicodePwd", (quoted,)),))


def _links(wanted: Wanted, krbtgt_dn: str) -> Attributes:
    found = {
        "msDS-KrbTgtLink": (krbtgt_dn.encode(),),
        "msDS-RevealOnDemandGroup": tuple((g.dn or "").encode() for g in wanted.allow),
        "msDS-NeverRevealGroup": tuple((g.dn or "").encode() for g in wanted.deny),
    }
    return {name: values for name, values in found.items() if values}


# -- OpenLDAP --------------------------------------------------------------------------------


def _create_sealed(realm: RealmState, access: Access, wanted: Wanted) -> int:
    connection = access.connection
    with realm.store() as store:
        taken = store.read_only_dc_numbers()
        domain = store.domain_sid
        own = store.owner_dn(store.krbtgt().account_id)
    if wanted.number in taken:
        raise DirectoryError(DirectoryFault.EXISTS, f"number {wanted.number} is taken")
    number = wanted.number or secrets.choice(
        [free for free in range(1, MAX_SECONDARY_NUMBER + 1) if free not in taken]
    )
    # Beside the realm's own krbtgt: this directory has no places of its own for such accounts.
    place = own.partition(",")[2]
    master_key = realm.master_key()
    keys: tuple[PrincipalKey, ...] = random_keys(realm.config)
    krbtgt_dn = f"cn={escape_value(krbtgt_common_name(wanted.computer, number))},{place}"
    sids = [_free_sid(access, domain) for _ in range(2)]
    connection.add(
        krbtgt_dn,
        {
            "objectClass": (b"user", b"securityPrincipal", SEALED_CLASS.encode()),
            "sAMAccountName": (f"krbtgt_{number}".encode(),),
            "objectSid": (sids[0].to_bytes(),),
            "userAccountControl": (str(_NORMAL_ACCOUNT_DISABLED).encode(),),
            "msDS-SecondaryKrbTgtNumber": (str(number).encode(),),
            SEALED_KEYS: (seal_keys(master_key, sids[0].to_bytes(), keys),),
        },
    )
    try:
        connection.add(
            f"cn={escape_value(wanted.computer)},{place}",
            {
                "objectClass": (b"computer", b"securityPrincipal"),
                "sAMAccountName": (f"{wanted.computer}$".encode(),),
                "objectSid": (sids[1].to_bytes(),),
                "userAccountControl": (str(_READ_ONLY_DC).encode(),),
                "primaryGroupID": (str(READ_ONLY_CONTROLLERS_RID).encode(),),
                **_links(wanted, krbtgt_dn),
            },
        )
    except BaseException:
        _delete_quietly(connection, krbtgt_dn)
        raise
    return number


def _free_sid(access: Access, domain: Sid) -> Sid:
    """Draw a SID that no entry has."""
    while True:
        sid = domain.with_rid(_FIRST_RANDOM_RID + secrets.randbelow(_FIRST_RANDOM_RID))
        wanted = equal("objectSid", sid.to_bytes())
        if not access.connection.entries(access.base, Scope.SUBTREE, wanted, ("objectSid",)):
            return sid


# -- waiting ---------------------------------------------------------------------------------


def _dn_of(realm: RealmState, account_id: int) -> str:
    with realm.store() as store:
        return store.owner_dn(account_id)


def _is_whole(store: Store, number: int) -> bool:
    found = store.read_only_dc(number)
    return found is not None and found.computer is not None and bool(found.krbtgt.keys)
