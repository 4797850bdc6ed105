"""An open directory that is looked at, and what is found there."""

from dataclasses import dataclass
from datetime import timedelta

from directory.backend import DirectoryError
from directory.ldap.connection import OPEN, LdapConnection
from directory.ldap.messages import Entry, Scope
from directory.ldap.settings import Flavour
from kdc.cli.checks.directory_repair import Repair
from kdc.cli.checks.finding import Finding, fail, ok, warn


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


def fine(check: str, message: str) -> Found:
    """Report that something is as it should be."""
    return Found(finding=ok(check, message))


def bad(check: str, message: str, fix: str, mend: Repair | None = None) -> Found:
    """Report what stops logons; mend: what corrects it over LDAP."""
    return Found(finding=fail(check, message, fix), repair=mend)


def weak(check: str, message: str, fix: str, mend: Repair | None = None) -> Found:
    """Report what is weak; mend: what corrects it over LDAP."""
    return Found(finding=warn(check, message, fix), repair=mend)


def text(entry: Entry | None, name: str) -> str:
    """Return an attribute's first value as text; "" when there is none."""
    values = entry.values(name) if entry is not None else ()
    return values[0].decode("utf-8", "replace") if values else ""
