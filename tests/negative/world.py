"""What a case needs to know of the KDC it attacks: realm, address, people and, for ours, keys."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.negative.pki import LogonPki
from tests.negative.wire import crypto, kerberos
from tests.negative.wire.cloud import CloudKeys
from tests.negative.wire.kerberos import Body, Name
from tests.negative.wire.logon import Identity, PasswordLogon, PkinitLogon, Plain


class NotApplicableError(Exception):
    """The KDC has no such account, key or switch: the case says nothing about it."""


@dataclass(kw_only=True)
class Person:
    """An account of the realm, with what its owner holds."""

    name: str
    identity: Identity | None = None
    password: str | None = field(default=None, repr=False)
    etype: int = 18


@dataclass(kw_only=True)
class World:
    """A realm under attack."""

    realm: str
    netbios: str | None
    address: tuple[str, int]
    people: dict[str, Person]
    """By role: what the cases call them."""
    service: tuple[str, ...] | None = None
    """The parts of a service's name."""
    anchor: bytes | None = None
    """DER of the CA of the KDC's certificate."""
    key_trust: bool = True
    """Whether registered keys are trusted; else certificates of the realm's CA are."""
    krbtgt: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False)
    """(etype, kvno) -> key: to open tickets and to forge freshness tokens."""
    pki: LogonPki | None = None
    """The CAs of a realm whose cases are about certificates."""
    cloud: CloudKeys | None = None
    """Keys of read-only DCs, in a realm whose cases are about them."""
    spare: Callable[[str], Identity] | None = None
    """Gives an identity that is registered nowhere, made anew for each name."""

    def person(self, role: str) -> Person:
        """Return a person. Raises NotApplicableError."""
        found = self.people.get(role)
        if found is None:
            raise NotApplicableError(role)
        return found

    def identity(self, role: str) -> Identity:
        """Return what a person signs with. Raises NotApplicableError."""
        found = self.person(role).identity
        if found is None:
            raise NotApplicableError(f"key of {role}")
        return found

    def stranger(self, name: str) -> Identity:
        """Return an identity that this KDC does not know."""
        if self.spare is None:
            raise NotApplicableError("unregistered keys")
        return self.spare(name)

    def service_name(self) -> Name:
        """Return the name of a service. Raises NotApplicableError."""
        if self.service is None:
            raise NotApplicableError("a service")
        return Name(kerberos.NT_SRV_HST, self.service)

    def netbios_name(self) -> str:
        """Return the realm's other name. Raises NotApplicableError."""
        if self.netbios is None:
            raise NotApplicableError("a NetBIOS name")
        return self.netbios

    def krbtgt_key(self) -> tuple[int, int, bytes]:
        """Return (etype, kvno, key) of the realm's own key. Raises NotApplicableError."""
        for (etype, kvno), key in self.krbtgt.items():
            return etype, kvno, key
        raise NotApplicableError("the krbtgt key")

    def body(self, cname: Name | None, **changes: Any) -> Body:
        """Make an honest KDC-REQ-BODY."""
        parts: dict[str, Any] = {
            "realm": self.realm,
            "cname": cname,
            "sname": kerberos.krbtgt(self.realm),
            **changes,
        }
        return Body(**parts)

    def plain(self, role: str, **changes: Any) -> Plain:
        """Make a request without any proof."""
        return Plain(body=self.body(kerberos.user(self.person(role).name), **changes))

    def password(self, role: str = "pat", *, wrong: bool = False, **changes: Any) -> PasswordLogon:
        """Make a logon by password; changes: of the body."""
        person = self.person(role)
        if person.password is None:
            raise NotApplicableError(f"password of {role}")
        text = person.password + ("x" if wrong else "")
        key = crypto.string_to_key(person.etype, text, self.realm + person.name)
        body = self.body(kerberos.user(person.name), **changes)
        return PasswordLogon(body=body, key=key, etype=person.etype, owner=person.name)

    def pkinit(
        self, role: str = "alice", *, by: Identity | str | None = None, **changes: Any
    ) -> PkinitLogon:
        """Make a logon by PKINIT; by: who signs, if not the one who is named."""
        if isinstance(by, Identity):
            identity, owner = by, ""
        else:
            identity, owner = self.identity(by or role), self.person(by or role).name
        body = self.body(kerberos.user(self.person(role).name), **changes)
        logon = PkinitLogon(body=body, identity=identity, anchor=self.anchor, owner=owner)
        logon.auth.nonce = body.nonce
        return logon
