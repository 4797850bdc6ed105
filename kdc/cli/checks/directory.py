"""What the directory of an LDAP realm needs, looked at with a connection. Nothing is changed here.

A finding that can be mended over LDAP brings its repair; `kdc directory check --fix` runs it with
the caller's credentials.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from directory.backend import DirectoryError
from directory.ldap.connection import NO_ATTRIBUTES, OPEN, LdapConnection
from directory.ldap.filters import equal
from directory.ldap.messages import (
    NOTIFICATION,
    SHOW_DELETED,
    SYNC_REQUEST,
    Control,
    Entry,
    Scope,
)
from directory.model import Sid
from directory.store_create import random_domain_sid
from kdc.cli.checks import directory_repair as repair
from kdc.cli.checks.directory_accounts import check_krbtgt, check_ldap_spn, check_reading
from kdc.cli.checks.directory_repair import Repair
from kdc.cli.checks.directory_schema import (
    check_ad_schema,
    check_back_link,
    check_indexes,
    check_subschema,
)
from kdc.cli.checks.directory_site import Found, Site, bad, fine, text, weak

_DELETED_LOOKED_AT = 5
_LEVEL_2008 = 3  # msDS-Behavior-Version (MS-ADTS 6.1.4.2): from here on there are AES keys

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
        yield from check_subschema(site)
        yield from check_indexes(site)
    else:
        yield from _check_functional_level(site)
        yield from check_ad_schema(site)
        yield from check_back_link(site)
        yield from check_ldap_spn(site)
        yield from _check_deletions(site)
    yield from _check_push(site)
    yield from check_krbtgt(site)
    yield from check_reading(site)


# -- the server and the domain ---------------------------------------------------------------


def _check_time(site: Site, now: datetime) -> Iterator[Found]:
    shown = text(site.root, "currenttime")
    if not shown:
        return  # OpenLDAP tells no time
    try:
        theirs = datetime.strptime(shown[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return
    apart = abs(theirs - now)
    what = f"its clock and ours are {apart.total_seconds():.0f} s apart"
    if apart > site.skew:
        yield bad("directory.time", what, "set both clocks by NTP: tickets are refused (37)")
    else:
        yield fine("directory.time", what)


def _check_domain(site: Site) -> Iterator[Found]:
    domain = site.first(site.base, "objectClass", "objectSid", "nETBIOSName")
    if domain is None:
        yield bad(
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
        yield bad(
            "directory.domain",
            f"{site.base} has no objectSid: no account could have a SID of the domain",
            "add objectClass samDomainBase and an objectSid: kdc directory check --fix",
            mend,
        )
        return
    yield fine("directory.domain", f"{site.base} is domain {sid}")


def _check_functional_level(site: Site) -> Iterator[Found]:
    level = text(site.root, "domainfunctionality")
    if level.isdecimal() and int(level) < _LEVEL_2008:
        yield bad(
            "directory.level",
            f"the domain's functional level is {level}: passwords have no AES keys",
            "samba-tool domain level raise --domain-level=2008_R2, then set passwords anew",
        )
    elif level:
        yield fine("directory.level", f"the domain's functional level is {level}")


def _check_push(site: Site) -> Iterator[Found]:
    controls = {value.decode("ascii", "replace") for value in site.root.values("supportedcontrol")}
    needed, name = NOTIFICATION, "change notification"
    fix = "the follower polls instead (directory.poll_interval); nothing else is lost"
    if site.flavour == "openldap":
        needed, name = SYNC_REQUEST, "syncrepl (RFC 4533)"
        fix = "load and configure the overlay syncprov, as conf/ldap/slapd.ldif does"
    if needed in controls:
        yield fine("directory.push", f"it pushes changes by {name}")
    elif site.flavour == "openldap":
        yield bad("directory.push", f"it does not push changes by {name}", fix)
    else:
        yield weak("directory.push", f"it does not push changes by {name}", fix)


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
        yield fine("directory.deletions", "the KDC's account sees what is deleted")
    else:
        yield weak(
            "directory.deletions",
            "the KDC's account sees nothing that was deleted. Unless nothing was yet: a deleted "
            "account logs on until all is compared again (directory.compare_interval)",
            f"grant it List Contents and Read Property on CN=Deleted Objects,{site.base}",
        )
