"""Registered keys whose DN part does not name their own entry, and values that do not read."""

from collections.abc import Iterator

from directory.backend import DirectoryError
from directory.distinguished_name import same_object
from directory.keycredential import decode_key_credential, format_dn_binary, parse_dn_binary
from directory.ldap.connection import OPEN
from directory.ldap.filters import present
from directory.ldap.messages import Scope
from directory.ldap.write import KEY_CREDENTIALS
from kdc.cli.checks import directory_repair as repair
from kdc.cli.checks.directory_site import Found, Site
from kdc.cli.checks.finding import fail, ok, warn

MAX_SHOWN = 20


def check_links(site: Site) -> Iterator[Found]:
    """Look at every registered key of the directory.

    Active Directory and Samba keep the DN part in step with the entry by themselves; OpenLDAP
    keeps the text as it was written, so that a renamed entry's keys name what is not there.
    """
    keys = unreadable = renamed = foreign = 0
    shown = 0
    for page in site.connection.pages(site.base, present(KEY_CREDENTIALS), (KEY_CREDENTIALS,)):
        for entry in page:
            for value in entry.values(KEY_CREDENTIALS.lower()):
                keys += 1
                text = value.decode("utf-8", "replace")
                try:
                    blob, dn = parse_dn_binary(text)
                except ValueError:
                    unreadable += 1
                    continue
                if not decode_key_credential(text).usable:
                    unreadable += 1
                if same_object(dn, entry.dn):
                    continue
                gone = not _exists(site, dn)
                renamed, foreign = renamed + gone, foreign + (not gone)
                shown += 1
                if shown <= MAX_SHOWN:
                    yield _other_name(entry.dn, dn, text, blob, gone=gone)
    if unreadable:
        yield Found(
            finding=warn(
                "directory.unusable_keys",
                f"{unreadable} of {keys} registered keys are not usable",
                "kdc key list names them",
            )
        )
    if not renamed and not foreign:
        yield Found(finding=ok("directory.links", f"{keys} registered keys name their own entry"))


def _other_name(owner: str, dn: str, text: str, blob: bytes, *, gone: bool) -> Found:
    if gone:
        return Found(
            finding=fail(
                "directory.links",
                f"a key of {owner} names {dn}, which is not there: the entry was renamed",
                "write it with the present DN: kdc directory check --fix",
            ),
            repair=repair.rewrite_link(owner, text, format_dn_binary(blob, owner)),
        )
    return Found(
        finding=fail(
            "directory.links",
            f"a key of {owner} names another entry, {dn}: it is not used",
            "find out who wrote it, and remove it",
        )
    )


def _exists(site: Site, dn: str) -> bool:
    try:
        return bool(site.connection.entries(dn, Scope.BASE, OPEN, ("objectClass",)))
    except DirectoryError as error:
        # What cannot be asked for is not called gone: a repair would follow.
        return getattr(error, "code", -1) != _NO_SUCH_OBJECT


_NO_SUCH_OBJECT = 32
