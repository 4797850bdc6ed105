"""A connection together with what its server says of itself and of the domain."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from directory.backend import DirectoryError, DirectoryFault
from directory.ldap import filters
from directory.ldap.connection import OPEN, LdapConnection, SaslClient
from directory.ldap.messages import Entry, Scope
from directory.ldap.reach import LdapError
from directory.ldap.records import DomainFacts
from directory.ldap.schema import interval, number_of
from directory.ldap.settings import LdapSettings, LdapUrl
from directory.model import Sid

FIRST_WAIT_S = 0.1
SHORT_S = 5.0
"""A session that ended sooner did no good: the wait before the next grows."""
MAX_WAIT_S = 1.0
"""So that full service is back two seconds after the directory is."""

_ROOT = (
    "namingContexts",
    "defaultNamingContext",
    "configurationNamingContext",
    "supportedControl",
    "supportedExtension",
    "supportedSASLMechanisms",
    "dsServiceName",
    "highestCommittedUSN",
    "dnsHostName",
)
_DOMAIN = ("objectClass", "objectSid", "nETBIOSName", "maxPwdAge", "lockoutDuration", "contextCSN")

SaslFactory = Callable[[LdapUrl], SaslClient]


@dataclass(slots=True, kw_only=True)
class Session:
    """One bound connection and the domain behind it."""

    connection: LdapConnection
    base: str
    facts: DomainFacts
    netbios: str | None
    controls: frozenset[str]
    server: str
    """What numbers of changes belong to: the invocation of a domain controller's database."""

    @property
    def url(self) -> LdapUrl:
        """Which server this is."""
        return self.connection.url


def root_entry(connection: LdapConnection, timeout_s: float | None = None) -> Entry:
    """Read what a server says of itself. Raises LdapError."""
    found = connection.entries("", Scope.BASE, OPEN, _ROOT, timeout_s=timeout_s)
    if len(found) != 1:
        raise LdapError(connection.url, "shows no root entry")
    return found[0]


def highest_usn(connection: LdapConnection, timeout_s: float | None = None) -> int:
    """Read the number of the last change that a domain controller made. Raises LdapError."""
    found = connection.entries("", Scope.BASE, OPEN, ("highestCommittedUSN",), timeout_s=timeout_s)
    try:
        number = number_of(found[0], "highestcommittedusn") if found else None
    except ValueError:
        number = None
    if number is None:
        raise LdapError(connection.url, "shows no highestCommittedUSN")
    return number


def open_session(
    url: LdapUrl,
    settings: LdapSettings,
    sasl: SaslFactory | None = None,
    timeout_s: float | None = None,
) -> Session:
    """Connect, and learn where the domain's entries are and what its SID is.

    Raises DirectoryError: UNAVAILABLE, DENIED, INVALID (no domain with a SID there).
    """
    end = time.monotonic() + (timeout_s or settings.connect_timeout_s)
    connection = LdapConnection.open(url, settings, sasl(url) if sasl else None, timeout_s)
    try:
        return _learn(connection, settings, end)
    except BaseException:
        connection.close()
        raise


def _learn(connection: LdapConnection, settings: LdapSettings, end: float) -> Session:
    left = max(0.1, end - time.monotonic())
    root = root_entry(connection, left)
    contexts = root.values("defaultnamingcontext") or root.values("namingcontexts")
    base = settings.base or (contexts[0].decode("utf-8", "replace") if contexts else "")
    if not base:
        raise DirectoryError(
            DirectoryFault.INVALID, f"{connection.url}: shows no naming context: set directory.base"
        )
    found = connection.entries(base, Scope.BASE, OPEN, _DOMAIN, timeout_s=left)
    domain = found[0] if found else Entry(dn=base, attributes={})
    sids = domain.values("objectsid")
    try:
        sid = Sid.from_bytes(sids[0])
        age, duration = number_of(domain, "maxpwdage"), number_of(domain, "lockoutduration")
    except (IndexError, ValueError):
        raise DirectoryError(
            DirectoryFault.INVALID,
            f"{connection.url}: {base} has no objectSid, or it cannot be read with this bind",
        ) from None
    server = ""
    netbios = (domain.values("netbiosname") or (b"",))[0]
    if settings.flavour != "openldap":
        server = _invocation(connection, root, left)
        netbios = _partition_name(connection, root, base, left)
    return Session(
        connection=connection,
        base=base,
        facts=DomainFacts(
            flavour=settings.flavour,
            sid=sid,
            max_password_age=interval(age),
            lockout_duration=interval(duration),
        ),
        netbios=netbios.decode("ascii", "replace").upper() or None,
        controls=frozenset(
            oid.decode("ascii", "replace") for oid in root.values("supportedcontrol")
        ),
        server=server,
    )


def _invocation(connection: LdapConnection, root: Entry, left: float) -> str:
    """Return what a domain controller's numbers belong to; new after a restore."""
    service = (root.values("dsservicename") or (b"",))[0].decode("utf-8", "replace")
    found = connection.entries(service, Scope.BASE, OPEN, ("invocationId",), timeout_s=left)
    values = found[0].values("invocationid") if found else ()
    if not values:
        raise LdapError(connection.url, "shows no invocationId of its database")
    return values[0].hex()


def _partition_name(connection: LdapConnection, root: Entry, base: str, left: float) -> bytes:
    configuration = (root.values("configurationnamingcontext") or (b"",))[0]
    found = connection.entries(
        f"CN=Partitions,{configuration.decode('utf-8', 'replace')}",
        Scope.ONE_LEVEL,
        filters.equal("nCName", base),
        ("nETBIOSName",),
        timeout_s=left,
    )
    return (found[0].values("netbiosname") or (b"",))[0] if found else b""


class Servers:
    """Opens sessions with whichever server answers; knows how long to wait when none does.

    Owner: one thread.
    """

    def __init__(self, settings: LdapSettings, sasl: SaslFactory | None = None) -> None:
        self.settings = settings
        self.sasl = sasl
        self._first = 0
        self._failures = 0

    def open(self, timeout_s: float | None = None) -> Session:
        """Open a session with the last server that worked, or the first of the others that does.

        timeout_s: for each. Raises the DirectoryError of the last one tried.
        """
        last: DirectoryError | None = None
        count = len(self.settings.urls)
        for step in range(count):
            place = (self._first + step) % count
            try:
                session = open_session(
                    self.settings.urls[place], self.settings, self.sasl, timeout_s
                )
            except DirectoryError as error:
                last = error
                continue
            self._first = place
            return session
        # The next attempt begins with another one: a server that accepts and then fails must not
        # keep the others out.
        self._first = (self._first + 1) % count
        self._failures += 1
        raise last or DirectoryError(DirectoryFault.INVALID, "no directory.url is set")

    def move_on(self, *, lasted_s: float) -> None:
        """Begin with the next server: this one broke off, after that many seconds."""
        self._first = (self._first + 1) % len(self.settings.urls)
        self._failures = self._failures + 1 if lasted_s < SHORT_S else 0

    def wait_s(self) -> float:
        """Return how long to wait before trying again: longer each time, and never the same."""
        longest = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures, 8))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads nodes, hides nothing
