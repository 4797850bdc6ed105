"""What the directory of an LDAP realm needs, looked at with a connection. Nothing is changed here.

A finding that can be mended over LDAP brings its repair; `kdc directory check --fix` runs it with
the caller's credentials.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from directory.backend import DirectoryError
from directory.ldap.connection import NO_ATTRIBUTES, OPEN, LdapConnection
from directory.ldap.filters import all_of, equal, present
from directory.ldap.messages import (
    NOTIFICATION,
    SHOW_DELETED,
    SYNC_REQUEST,
    Control,
    Entry,
    Scope,
)
from directory.ldap.settings import Flavour
from directory.ldap.write import WritingConnection
from directory.model import Sid
from directory.store_create import random_domain_sid
from kdc.cli.checks import directory_repair as repair
from kdc.cli.checks.finding import Finding, fail, listed, ok, warn

_DELETED_LOOKED_AT = 5
MAX_LOOKED_AT = 200
"""Accounts whose attributes are looked at: a right that is missing is missing on most."""
KRBTGT_RID = 502
_LEVEL_2008 = 3  # msDS-Behavior-Version (MS-ADTS 6.1.4.2): from here on there are AES keys
_SCHEMA_2016 = 87  # objectVersion of the schema with msDS-KeyCredentialLink

Repair = Callable[[WritingConnection], str]
"""Mends what was found and says what it did. Raises DirectoryError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finding, and how to mend it over LDAP if that can be done."""

    finding: Finding
    repair: Repair | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An open directory to look at."""

    connection: LdapConnection
    flavour: Flavour
    base: str
    root: Entry
    """What the server says of itself."""
    skew: timedelta
    """The configuration's clockskew."""
    as_follower: bool
    """Whether the connection is bound as the KDC's own follower."""

    def first(self, base: str, *attributes: str) -> Entry | None:
        """Read one entry; None when it is not there, or not to be seen."""
        try:
            found = self.connection.entries(base, Scope.BASE, OPEN, attributes)
        except DirectoryError:
            return None
        return found[0] if found else None


_ROOT = (
    "currentTime",
    "dnsHostName",
    "domainFunctionality",
    "schemaNamingContext",
    "subschemaSubentry",
    "supportedControl",
    "vendorName",
)


def root_of(connection: LdapConnection) -> Entry:
    """Read what a server says of itself. Raises DirectoryError."""
    found = connection.entries("", Scope.BASE, OPEN, _ROOT)
    return found[0] if found else Entry(dn="", attributes={})


def check_site(site: Site, now: datetime) -> Iterator[Found]:
    """Look at everything that one server can be asked."""
    yield from _check_time(site, now)
    yield from _check_domain(site)
    if site.flavour == "openldap":
        yield from _check_subschema(site)
        yield from _check_indexes(site)
    else:
        yield from _check_functional_level(site)
        yield from _check_ad_schema(site)
        yield from _check_back_link(site)
        yield from _check_ldap_spn(site)
        yield from _check_deletions(site)
    yield from _check_push(site)
    yield from _check_krbtgt(site)
    yield from _check_reading(site)


def _fine(check: str, message: str) -> Found:
    return Found(finding=ok(check, message))


def _bad(check: str, message: str, fix: str, mend: Repair | None = None) -> Found:
    return Found(finding=fail(check, message, fix), repair=mend)


def _weak(check: str, message: str, fix: str, mend: Repair | None = None) -> Found:
    return Found(finding=warn(check, message, fix), repair=mend)


def _text(entry: Entry | None, name: str) -> str:
    values = entry.values(name) if entry is not None else ()
    return values[0].decode("utf-8", "replace") if values else ""


# -- the server and the domain ---------------------------------------------------------------


def _check_time(site: Site, now: datetime) -> Iterator[Found]:
    shown = _text(site.root, "currenttime")
    if not shown:
        return  # OpenLDAP tells no time
    try:
        theirs = datetime.strptime(shown[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return
    apart = abs(theirs - now)
    what = f"its clock and ours are {apart.total_seconds():.0f} s apart"
    if apart > site.skew:
        yield _bad("directory.time", what, "set both clocks by NTP: tickets are refused (37)")
    else:
        yield _fine("directory.time", what)


def _check_domain(site: Site) -> Iterator[Found]:
    domain = site.first(site.base, "objectClass", "objectSid", "nETBIOSName")
    if domain is None:
        yield _bad(
            "directory.domain",
            f"{site.base} is not there, or cannot be seen with this bind",
            "correct directory.base, or give the KDC's account the right to read",
        )
        return
    try:
        sid = Sid.from_bytes(domain.values("objectsid")[0])
    except (IndexError, ValueError):
        mend: Repair | None = None
        if site.flavour == "openldap" and not domain.values("objectsid"):
            mend = repair.domain_sid(site.base, domain, random_domain_sid())
        yield _bad(
            "directory.domain",
            f"{site.base} has no objectSid: no account could have a SID of the domain",
            "add objectClass samDomainBase and an objectSid: kdc directory check --fix",
            mend,
        )
        return
    yield _fine("directory.domain", f"{site.base} is domain {sid}")


def _check_functional_level(site: Site) -> Iterator[Found]:
    level = _text(site.root, "domainfunctionality")
    if level.isdecimal() and int(level) < _LEVEL_2008:
        yield _bad(
            "directory.level",
            f"the domain's functional level is {level}: passwords have no AES keys",
            "samba-tool domain level raise --domain-level=2008_R2, then set passwords anew",
        )
    elif level:
        yield _fine("directory.level", f"the domain's functional level is {level}")


def _check_push(site: Site) -> Iterator[Found]:
    controls = {value.decode("ascii", "replace") for value in site.root.values("supportedcontrol")}
    needed, name = NOTIFICATION, "change notification"
    fix = "the follower polls instead (directory.poll_interval); nothing else is lost"
    if site.flavour == "openldap":
        needed, name = SYNC_REQUEST, "syncrepl (RFC 4533)"
        fix = "load and configure the overlay syncprov, as conf/ldap/slapd.ldif does"
    if needed in controls:
        yield _fine("directory.push", f"it pushes changes by {name}")
    elif site.flavour == "openldap":
        yield _bad("directory.push", f"it does not push changes by {name}", fix)
    else:
        yield _weak("directory.push", f"it does not push changes by {name}", fix)


def _check_deletions(site: Site) -> Iterator[Found]:
    """Look whether deleted entries can be seen; every domain but a new one has some.

    Who may not list CN=Deleted Objects is told of no deletion (MS-ADTS 3.1.1.5.5).
    """
    if not site.as_follower:
        return
    gone = equal("isDeleted", "TRUE")
    container = f"cn=deleted objects,{site.base}".lower()
    seen: list[Entry] = []
    try:
        for answer in site.connection.search(
            site.base,
            Scope.SUBTREE,
            gone,
            NO_ATTRIBUTES,
            size_limit=_DELETED_LOOKED_AT,
            controls=(Control(SHOW_DELETED, critical=True),),
        ):
            if isinstance(answer, Entry):
                seen.append(answer)
    except DirectoryError:
        pass  # more than were asked for: what was seen counts
    if any(entry.dn.lower() != container for entry in seen):
        yield _fine("directory.deletions", "the KDC's account sees what is deleted")
    else:
        yield _weak(
            "directory.deletions",
            "the KDC's account sees nothing that was deleted. Unless nothing was yet: a deleted "
            "account logs on until all is compared again (directory.compare_interval)",
            f"grant it List Contents and Read Property on CN=Deleted Objects,{site.base}",
        )


# -- schema ----------------------------------------------------------------------------------

_SEARCHED = ("sAMAccountName", "userPrincipalName", "servicePrincipalName", "objectSid")
_READ = (
    "userAccountControl",
    "primaryGroupID",
    "accountExpires",
    "pwdLastSet",
    "msDS-KeyCredentialLink",
    "altSecurityIdentities",
    "msDS-SupportedEncryptionTypes",
    "keytrustSealedKeys",
)
_NAME = re.compile(r"NAME (?:'([^']+)'|\( *((?:'[^']+' *)+)\))")


def attribute_types(entry: Entry) -> dict[str, str]:
    """Read a subschema's attribute types: name in lower case -> definition (RFC 4512 4.1.2)."""
    found: dict[str, str] = {}
    for value in entry.values("attributetypes"):
        text = value.decode("utf-8", "replace")
        match = _NAME.search(text)
        if match is not None:
            names = [match[1]] if match[1] else re.findall(r"'([^']+)'", match[2])
            found.update({name.lower(): text for name in names})
    return found


def _check_subschema(site: Site) -> Iterator[Found]:
    place = _text(site.root, "subschemasubentry") or "cn=Subschema"
    entry = site.first(place, "attributeTypes")
    if entry is None:
        yield _weak(
            "directory.schema",
            f"{place} cannot be read, so the schema cannot be checked",
            "let everybody read cn=Subschema, as conf/ldap/slapd.ldif does",
        )
        return
    types = attribute_types(entry)
    missing = [name for name in (*_SEARCHED, *_READ) if name.lower() not in types]
    deaf = [name for name in _SEARCHED if "EQUALITY " not in types.get(name.lower(), "EQUALITY ")]
    if missing:
        yield _bad(
            "directory.schema",
            f"its schema lacks {listed(missing)}",
            "ldapadd -Y EXTERNAL -H ldapi:/// -f conf/ldap/keytrust-schema.ldif",
        )
    if deaf:
        yield _bad(
            "directory.equality",
            f"nothing can be found by {listed(deaf)}: no equality rule",
            "use conf/ldap/keytrust-schema.ldif in place of OpenLDAP's msuser.ldif",
        )
    if not missing and not deaf:
        yield _fine("directory.schema", "its schema has what a KDC reads, with equality rules")


def _check_ad_schema(site: Site) -> Iterator[Found]:
    schema = _text(site.root, "schemanamingcontext")
    entry = site.first(schema, "objectVersion") if schema else None
    version = _text(entry, "objectversion")
    try:
        found = site.connection.entries(
            schema, Scope.ONE_LEVEL, equal("lDAPDisplayName", "msDS-KeyCredentialLink"), ("cn",)
        )
    except DirectoryError:
        found = []
    if found:
        yield _fine(
            "directory.schema", f"its schema has msDS-KeyCredentialLink (version {version})"
        )
    else:
        yield _bad(
            "directory.schema",
            f"its schema (version {version or 'unknown'}) has no msDS-KeyCredentialLink",
            f"raise the schema to Windows Server 2016 (version {_SCHEMA_2016}) or newer",
        )


def _check_back_link(site: Site) -> Iterator[Found]:
    """Look for what Samba before 4.19 asks for when a key credential is written."""
    schema = _text(site.root, "schemanamingcontext")
    vendor = _text(site.root, "vendorname")
    if not schema or not vendor.startswith("Samba"):
        return
    top = site.first(f"CN=Top,{schema}", "mayContain", "systemMayContain")
    allowed = {
        value.lower()
        for name in ("maycontain", "systemmaycontain")
        for value in (top.values(name) if top is not None else ())
    }
    if b"msds-keycredentiallink-bl" in allowed:
        yield _fine("directory.back_link", "registered keys can be written: their back link may be")
    else:
        yield _weak(
            "directory.back_link",
            "class top does not allow msDS-KeyCredentialLink-BL: Samba 4.17 then refuses new keys",
            "in Samba's schema, to CN=Top: add mayContain msDS-KeyCredentialLink-BL "
            "(dsdb:schema update allowed = yes, for this change)",
            repair.back_link(f"CN=Top,{schema}"),
        )


def _check_ldap_spn(site: Site) -> Iterator[Found]:
    host = _text(site.root, "dnshostname")
    if not host:
        return
    spn = f"ldap/{host}"
    try:
        holders = site.connection.entries(
            site.base, Scope.SUBTREE, equal("servicePrincipalName", spn), ("sAMAccountName",)
        )
        servers = site.connection.entries(
            site.base,
            Scope.SUBTREE,
            all_of(equal("objectClass", "computer"), equal("dNSHostName", host)),
            ("sAMAccountName",),
        )
    except DirectoryError as error:
        yield _weak("directory.spn", f"{spn} cannot be looked for: {error.detail}", "see above")
        return
    server = _text(servers[0], "samaccountname") if servers else "the server"
    if len(holders) == 1:
        yield _fine("directory.spn", f"{spn} is {_text(holders[0], 'samaccountname')}'s")
    elif holders:
        yield _bad(
            "directory.spn",
            f"{len(holders)} accounts have {spn}: no ticket can be issued for it",
            f"take it off all but {server}",
        )
    else:
        yield _weak(
            "directory.spn",
            f"no account has {spn}: nobody can log on to the directory with a ticket",
            f"samba-tool spn add {spn} {server}",
            repair.add_spn(servers[0].dn, spn) if len(servers) == 1 else None,
        )


# -- OpenLDAP's configuration ----------------------------------------------------------------

_INDEXED = (*_SEARCHED, "altSecurityIdentities", "entryUUID", "entryCSN")


def _check_indexes(site: Site) -> Iterator[Found]:
    try:
        databases = site.connection.entries(
            "cn=config", Scope.SUBTREE, present("olcSuffix"), ("olcSuffix", "olcDbIndex")
        )
    except DirectoryError:
        databases = []
    base = site.base.lower()
    ours = [
        entry
        for entry in databases
        if any(base.endswith(suffix.decode().lower()) for suffix in entry.values("olcsuffix"))
    ]
    if not ours:
        yield _weak(
            "directory.indexes",
            "cn=config cannot be read with this bind, so indexes cannot be checked",
            "run this with --bind-dn or --ldapi as an administrator of slapd",
        )
        return
    indexed = {
        name.strip().lower()
        for value in ours[0].values("olcdbindex")
        for name in value.decode("utf-8", "replace").partition(" ")[0].split(",")
        if "eq" in value.decode("utf-8", "replace").partition(" ")[2]
    }
    missing = [name for name in _INDEXED if name.lower() not in indexed]
    if missing:
        yield _weak(
            "directory.indexes",
            f"no equality index on {listed(missing)}: each search reads every entry",
            f"add to {ours[0].dn}: olcDbIndex: {','.join(missing)} eq",
            repair.add_index(ours[0].dn, missing),
        )
    else:
        yield _fine("directory.indexes", "what is searched for is indexed")


# -- accounts --------------------------------------------------------------------------------


def _check_krbtgt(site: Site) -> Iterator[Found]:
    wanted = ("objectSid", "objectClass", "keytrustSealedKeys")
    try:
        found = site.connection.entries(
            site.base, Scope.SUBTREE, equal("sAMAccountName", "krbtgt"), wanted, size_limit=2
        )
        domain = site.first(site.base, "objectSid")
        sid = Sid.from_bytes(domain.values("objectsid")[0]) if domain is not None else None
    except (DirectoryError, IndexError, ValueError):
        found, sid = [], None
    if len(found) == 1:
        shown = found[0].values("objectsid")
        right = sid is not None and shown == (sid.with_rid(KRBTGT_RID).to_bytes(),)
        if right:
            yield _fine("directory.krbtgt", f"krbtgt is {found[0].dn}")
        else:
            yield _bad(
                "directory.krbtgt",
                f"{found[0].dn} does not have the RID {KRBTGT_RID} of the domain",
                "give krbtgt the SID of the domain with the RID 502",
            )
        return
    mend = None
    if site.flavour == "openldap" and sid is not None:
        mend = repair.add_krbtgt(site.base, sid.with_rid(KRBTGT_RID))
    yield _bad(
        "directory.krbtgt",
        "no account krbtgt is to be seen" if not found else "two entries are called krbtgt",
        "conf/ldap/base.ldif has one; kdc directory check --fix adds it"
        if site.flavour == "openldap"
        else "provision the domain, or let the KDC's account read CN=Users",
        mend,
    )


_EVERY_ACCOUNT = ("objectSid", "userAccountControl")


def _check_reading(site: Site) -> Iterator[Found]:
    """Look whether accounts show what decisions need."""
    number = "entryUUID" if site.flavour == "openldap" else "objectGUID"
    wanted = (*_EVERY_ACCOUNT, number, "objectClass", "groupType", "allowedAttributesEffective")
    seen: list[Entry] = []
    try:
        for answer in site.connection.search(
            site.base, Scope.SUBTREE, present("sAMAccountName"), wanted, size_limit=MAX_LOOKED_AT
        ):
            if isinstance(answer, Entry):
                seen.append(answer)
    except DirectoryError as error:
        if not seen:
            yield _bad("directory.reading", f"no account can be read: {error.detail}", "see above")
            return
    people = [
        e for e in seen if not e.values("grouptype") and b"group" not in e.values("objectclass")
    ]
    if not people:
        yield _bad(
            "directory.reading",
            "no account can be seen",
            "correct directory.base, or give the KDC's account the right to read",
        )
        return
    hidden = [
        name
        for name in (*_EVERY_ACCOUNT, number)
        if sum(1 for entry in people if entry.values(name.lower())) * 2 < len(people)
    ]
    if hidden:
        yield _bad(
            "directory.reading",
            f"{listed(hidden)} cannot be read of most accounts",
            "give the KDC's account the right to read them, or fill them in",
        )
    else:
        yield _fine("directory.reading", "accounts show what decisions need")
    if site.flavour != "openldap" and site.as_follower:
        yield from _check_own_rights(people)


def _is_group(entry: Entry) -> bool:
    classes = {value.lower() for value in entry.values("objectclass")}
    return bool(entry.values("grouptype")) or bool(classes & {b"group", b"groupofnames"})


def _check_own_rights(people: list[Entry]) -> Iterator[Found]:
    able = [
        entry.dn
        for entry in people
        if b"msDS-KeyCredentialLink" in entry.values("allowedattributeseffective")
    ]
    if able:
        yield _weak(
            "directory.rights",
            f"the KDC's account may write registered keys, of {able[0]} for one",
            "let the KDC follow with an account that only reads",
        )
    else:
        yield _fine("directory.rights", "the KDC's account writes no registered keys")
