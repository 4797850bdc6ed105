"""What the accounts of a directory need: krbtgt, the directory's own name, rights to read them."""

from collections.abc import Iterator

from directory.backend import DirectoryError
from directory.ldap.filters import all_of, equal, present
from directory.ldap.messages import Entry, Scope
from directory.model import KRBTGT_RID, Sid
from kdc.cli.checks import directory_repair as repair
from kdc.cli.checks.directory_site import Found, Site, bad, fine, text, weak
from kdc.cli.checks.finding import listed

MAX_LOOKED_AT = 200
"""Accounts whose attributes are looked at: a right that is missing is missing on most."""


def check_ldap_spn(site: Site) -> Iterator[Found]:
    """Look who has the directory's own service principal name: one account, and no more."""
    host = text(site.root, "dnshostname")
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
        yield weak("directory.spn", f"{spn} cannot be looked for: {error.detail}", "see above")
        return
    server = text(servers[0], "samaccountname") if servers else "the server"
    if len(holders) == 1:
        yield fine("directory.spn", f"{spn} is {text(holders[0], 'samaccountname')}'s")
    elif holders:
        yield bad(
            "directory.spn",
            f"{len(holders)} accounts have {spn}: no ticket can be issued for it",
            f"take it off all but {server}",
        )
    else:
        yield weak(
            "directory.spn",
            f"no account has {spn}: nobody can log on to the directory with a ticket",
            f"samba-tool spn add {spn} {server}",
            repair.add_spn(servers[0].dn, spn) if len(servers) == 1 else None,
        )


def check_krbtgt(site: Site) -> Iterator[Found]:
    """Look for the realm's krbtgt account, with its RID."""
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
            yield fine("directory.krbtgt", f"krbtgt is {found[0].dn}")
        else:
            yield bad(
                "directory.krbtgt",
                f"{found[0].dn} does not have the RID {KRBTGT_RID} of the domain",
                "give krbtgt the SID of the domain with the RID 502",
            )
        return
    mend = None
    if site.flavour == "openldap" and sid is not None:
        mend = repair.add_krbtgt(site.base, sid.with_rid(KRBTGT_RID))
    yield bad(
        "directory.krbtgt",
        "no account krbtgt is to be seen" if not found else "two entries are called krbtgt",
        "conf/ldap/base.ldif has one; kdc directory check --fix adds it"
        if site.flavour == "openldap"
        else "provision the domain, or let the KDC's account read CN=Users",
        mend,
    )


_EVERY_ACCOUNT = ("objectSid", "userAccountControl")


def check_reading(site: Site) -> Iterator[Found]:
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
            yield bad("directory.reading", f"no account can be read: {error.detail}", "see above")
            return
    people = [
        e for e in seen if not e.values("grouptype") and b"group" not in e.values("objectclass")
    ]
    if not people:
        yield bad(
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
        yield bad(
            "directory.reading",
            f"{listed(hidden)} cannot be read of most accounts",
            "give the KDC's account the right to read them, or fill them in",
        )
    else:
        yield fine("directory.reading", "accounts show what decisions need")
    if site.flavour != "openldap" and site.as_follower:
        yield from _check_own_rights(people)


def _check_own_rights(people: list[Entry]) -> Iterator[Found]:
    able = [
        entry.dn
        for entry in people
        if b"msDS-KeyCredentialLink" in entry.values("allowedattributeseffective")
    ]
    if able:
        yield weak(
            "directory.rights",
            f"the KDC's account may write registered keys, of {able[0]} for one",
            "let the KDC follow with an account that only reads",
        )
    else:
        yield fine("directory.rights", "the KDC's account writes no registered keys")
