"""TGS requests of replaceable parts, and tickets forged by whoever has their key."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tests.negative.wire import crypto, der, kerberos, pac
from tests.negative.wire.kerberos import AsRep, Name
from tests.negative.wire.logon import Plain, Ticket, WrongTicketError

AD_IF_RELEVANT, AD_WIN2K_PAC = 1, 128
_AUTHORIZATION_DATA = 10  # of EncTicketPart


@dataclass(frozen=True, kw_only=True)
class Held:
    """A ticket in its client's hands."""

    ticket: bytes
    etype: int
    key: bytes = field(repr=False)
    """Session key."""
    crealm: str
    cname: Name
    owner: str


def held(ticket: Ticket, owner: str) -> Held:
    """Keep what a logon got."""
    return Held(
        ticket=ticket.reply.ticket,
        etype=ticket.part.key_type,
        key=ticket.part.key,
        crealm=ticket.crealm,
        cname=ticket.cname,
        owner=owner,
    )


def checksum_element(kind: int, value: bytes) -> bytes:
    """Encode a Checksum."""
    return der.sequence(der.explicit(0, der.integer(kind)), der.explicit(1, der.octets(value)))


@dataclass(kw_only=True)
class TgsRequest(Plain):
    """A TGS-REQ without a subkey."""

    held: Held
    tag: int = 12
    msg_type: int = 12
    cname: Name | None = None
    """In the authenticator; None: the ticket's."""
    crealm: str | None = None
    when: datetime = field(default_factory=lambda: datetime.now(UTC))
    cksumtype: int | None = None
    checksum: Callable[[bytes], bytes] = bytes
    """Changes the checksum's octets; what gives b"" leaves the checksum out."""
    kept: bytes | None = field(default=None, repr=False)
    """The AP-REQ, kept so that a second message can repeat it."""

    def authenticator(self, body: bytes) -> bytes:
        """Encode an Authenticator over a body."""
        held = self.held
        mac = self.checksum(crypto.checksum(held.etype, held.key, crypto.USAGE_TGS_CHECKSUM, body))
        kind = crypto.CHECKSUM_TYPES[held.etype] if self.cksumtype is None else self.cksumtype
        return der.tlv(
            0x62,
            der.sequence(
                der.explicit(0, der.integer(5)),
                der.explicit(1, der.string(self.crealm or held.crealm)),
                der.explicit(2, (self.cname or held.cname).encode()),
                der.explicit(3, checksum_element(kind, mac)) if mac else b"",
                der.explicit(4, der.integer(self.when.microsecond)),
                der.explicit(5, der.time(self.when)),
            ),
        )

    def proof(self, body: bytes) -> list[bytes]:
        """Make the PA-TGS-REQ."""
        if self.kept is None:
            held = self.held
            plain = self.authenticator(body)
            cipher = crypto.encrypt(held.etype, held.key, crypto.USAGE_TGS_AUTHENTICATOR, plain)
            self.kept = der.tlv(
                0x6E,
                der.sequence(
                    der.explicit(0, der.integer(5)),
                    der.explicit(1, der.integer(14)),
                    der.explicit(2, der.bits(bytes(4))),
                    der.explicit(3, held.ticket),
                    der.explicit(4, kerberos.encrypted_data(held.etype, cipher)),
                ),
            )
        return [kerberos.padata(kerberos.PA_TGS_REQ, self.kept)]

    def open(self, reply: AsRep) -> Ticket:
        """Open a TGS-REP with the session key. Raises WrongTicketError."""
        held = self.held
        try:
            plain = crypto.decrypt(held.etype, held.key, crypto.USAGE_TGS_REP, reply.cipher)
            part = kerberos.read_client_part(plain)
        except (crypto.WrongKeyError, der.UnreadableError) as error:
            raise WrongTicketError(f"a TGS-REP that its client cannot open: {error}") from error
        if part.nonce != self.body.nonce or part.sname != reply.ticket_sname:
            raise WrongTicketError("a TGS-REP of another request")
        return Ticket(
            crealm=reply.crealm,
            cname=reply.cname,
            sname=reply.ticket_sname,
            part=part,
            reply=reply,
        )


def for_user(held: Held, name: Name, realm: str, *, cksumtype: int = crypto.HMAC_MD5) -> bytes:
    """Encode a PA-FOR-USER (MS-SFU 2.2.1) with a checksum of the session key, or an unkeyed one."""
    texts = "".join((*(str(part) for part in name.parts), realm, "Kerberos")).encode()
    octets = name.kind.to_bytes(4, "little", signed=True) + texts
    value = crypto.hmac_md5(held.key, crypto.USAGE_PAC, octets)
    if cksumtype == crypto.CHECKSUM_TYPES[held.etype]:
        value = crypto.checksum(held.etype, held.key, crypto.USAGE_PAC, octets)
    elif cksumtype != crypto.HMAC_MD5:
        value = pac.unkeyed(cksumtype, octets)
    return der.sequence(
        der.explicit(0, name.encode()),
        der.explicit(1, der.string(realm)),
        der.explicit(2, checksum_element(cksumtype, value)),
        der.explicit(3, der.string("Kerberos")),
    )


# -- tickets ---------------------------------------------------------------------------------


def edited(element: bytes, fields: dict[int, bytes | None]) -> bytes:
    """Put other elements into the EXPLICIT fields of a SEQUENCE; None: leave one out."""
    outer = der.read(element)
    inner = outer.inner() if outer.tag != der.SEQUENCE else outer
    kept = {node.tag & 0x1F: node.raw for node in inner}
    for number, value in fields.items():
        if value is None:
            kept.pop(number, None)
        else:
            kept[number] = der.explicit(number, value)
    body = der.sequence(*(kept[number] for number in sorted(kept)))
    return body if outer.tag == der.SEQUENCE else der.tlv(outer.tag, body)


def pac_in(part: bytes) -> bytes:
    """Return the PAC in an EncTicketPart."""
    for element in der.read(part).inner().field(_AUTHORIZATION_DATA):
        if element.field(0).number() == AD_IF_RELEVANT:
            for inner in der.read(element.field(1).content):
                if inner.field(0).number() == AD_WIN2K_PAC:
                    return inner.field(1).content
    raise der.UnreadableError("no PAC in the ticket")


def _element(kind: int, value: bytes) -> bytes:
    return der.sequence(der.explicit(0, der.integer(kind)), der.explicit(1, der.octets(value)))


def with_pac(part: bytes, value: bytes) -> bytes:
    """Put another PAC into an EncTicketPart, alone."""
    wrapped = _element(AD_IF_RELEVANT, der.sequence(_element(AD_WIN2K_PAC, value)))
    return edited(part, {_AUTHORIZATION_DATA: der.sequence(wrapped)})


def without_pac(part: bytes) -> bytes:
    """Take the authorization data out of an EncTicketPart."""
    return edited(part, {_AUTHORIZATION_DATA: None})


Change = Callable[[bytes], bytes]


def forged(held: Held, key: tuple[int, bytes], change: Change, *, kvno: int | None = None) -> Held:
    """Change a ticket as whoever has its key can. key: (etype, key); kvno: said instead."""
    etype, octets = key
    ticket = der.read(held.ticket)
    sealed = ticket.inner().field(3)
    plain = crypto.decrypt(etype, octets, crypto.USAGE_TICKET, sealed.field(2).content)
    cipher = crypto.encrypt(etype, octets, crypto.USAGE_TICKET, change(plain))
    number = sealed.field(1).number() if kvno is None else kvno
    data = kerberos.encrypted_data(etype, cipher, number)
    return replace(held, ticket=edited(held.ticket, {3: data}))


def renamed(held: Held, sname: Name) -> Held:
    """Write another service's name on a ticket: in the clear, where anybody can."""
    return replace(held, ticket=edited(held.ticket, {2: sname.encode()}))


def sealing_of(held: Held) -> tuple[int, int]:
    """Return (etype, kvno) of the key that a ticket says seals it."""
    sealed = der.read(held.ticket).inner().field(3)
    return sealed.field(0).number(), sealed.field(1).number()
