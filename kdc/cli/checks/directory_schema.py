"""What a directory's schema and indexes need."""

import re
from collections.abc import Iterator

from directory.backend import DirectoryError
from directory.ldap.filters import equal, present
from directory.ldap.messages import Entry, Scope
from kdc.cli.checks import directory_repair as repair
from kdc.cli.checks.directory_site import Found, Site, bad, fine, text, weak
from kdc.cli.checks.finding import listed

_SCHEMA_2016 = 87  # objectVersion of the schema with msDS-KeyCredentialLink

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
        definition = value.decode("utf-8", "replace")
        match = _NAME.search(definition)
        if match is not None:
            names = [match[1]] if match[1] else re.findall(r"'([^']+)'", match[2])
            found.update({name.lower(): definition for name in names})
    return found


def check_subschema(site: Site) -> Iterator[Found]:
    """Look for what a KDC reads and searches by in OpenLDAP's schema."""
    place = text(site.root, "subschemasubentry") or "cn=Subschema"
    entry = site.first(place, "attributeTypes")
    if entry is None:
        yield weak(
            "directory.schema",
            f"{place} cannot be read, so the schema cannot be checked",
            "let everybody read cn=Subschema, as conf/ldap/slapd.ldif does",
        )
        return
    types = attribute_types(entry)
    missing = [name for name in (*_SEARCHED, *_READ) if name.lower() not in types]
    deaf = [name for name in _SEARCHED if "EQUALITY " not in types.get(name.lower(), "EQUALITY ")]
    if missing:
        yield bad(
            "directory.schema",
            f"its schema lacks {listed(missing)}",
            "ldapadd -Y EXTERNAL -H ldapi:/// -f conf/ldap/keytrust-schema.ldif",
        )
    if deaf:
        yield bad(
            "directory.equality",
            f"nothing can be found by {listed(deaf)}: no equality rule",
            "use conf/ldap/keytrust-schema.ldif in place of OpenLDAP's msuser.ldif",
        )
    if not missing and not deaf:
        yield fine("directory.schema", "its schema has what a KDC reads, with equality rules")


def check_ad_schema(site: Site) -> Iterator[Found]:
    """Look for key credentials in the schema of Active Directory or Samba."""
    schema = text(site.root, "schemanamingcontext")
    entry = site.first(schema, "objectVersion") if schema else None
    version = text(entry, "objectversion")
    try:
        found = site.connection.entries(
            schema, Scope.ONE_LEVEL, equal("lDAPDisplayName", "msDS-KeyCredentialLink"), ("cn",)
        )
    except DirectoryError:
        found = []
    if found:
        yield fine("directory.schema", f"its schema has msDS-KeyCredentialLink (version {version})")
    else:
        yield bad(
            "directory.schema",
            f"its schema (version {version or 'unknown'}) has no msDS-KeyCredentialLink",
            f"raise the schema to Windows Server 2016 (version {_SCHEMA_2016}) or newer",
        )


def check_back_link(site: Site) -> Iterator[Found]:
    """Look for what Samba before 4.19 asks for when a key credential is written."""
    schema = text(site.root, "schemanamingcontext")
    vendor = text(site.root, "vendorname")
    if not schema or not vendor.startswith("Samba"):
        return
    top = site.first(f"CN=Top,{schema}", "mayContain", "systemMayContain")
    allowed = {
        value.lower()
        for name in ("maycontain", "systemmaycontain")
        for value in (top.values(name) if top is not None else ())
    }
    if b"msds-keycredentiallink-bl" in allowed:
        yield fine("directory.back_link", "registered keys can be written: their back link may be")
    else:
        yield weak(
            "directory.back_link",
            "class top does not allow msDS-KeyCredentialLink-BL: Samba 4.17 then refuses new keys",
            "in Samba's schema, to CN=Top: add mayContain msDS-KeyCredentialLink-BL "
            "(dsdb:schema update allowed = yes, for this change)",
            repair.back_link(f"CN=Top,{schema}"),
        )


# -- OpenLDAP's configuration ----------------------------------------------------------------

_INDEXED = (*_SEARCHED, "altSecurityIdentities", "entryUUID", "entryCSN")


def check_indexes(site: Site) -> Iterator[Found]:
    """Look whether slapd indexes what is searched for."""
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
        yield weak(
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
        yield weak(
            "directory.indexes",
            f"no equality index on {listed(missing)}: each search reads every entry",
            f"add to {ours[0].dn}: olcDbIndex: {','.join(missing)} eq",
            repair.add_index(ours[0].dn, missing),
        )
    else:
        yield fine("directory.indexes", "what is searched for is indexed")
