"""AS requests of replaceable parts, and what comes back."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.negative.wire import der

PA_ENC_TIMESTAMP, PA_PK_AS_REQ_14, PA_PK_AS_REP_15, PA_PK_AS_REQ, PA_PK_AS_REP = 2, 14, 15, 16, 17
PA_ETYPE_INFO2, PA_PAC_REQUEST, PA_AS_FRESHNESS = 19, 128, 150
NT_PRINCIPAL, NT_SRV_INST, NT_SRV_HST, NT_ENTERPRISE, NT_WELLKNOWN = 1, 2, 3, 10, 11

FORWARDABLE, RENEWABLE, CANONICALIZE = 1 << 30, 1 << 23, 1 << 16
FORWARDED, CNAME_IN_ADDL_TKT, ENC_TKT_IN_SKEY = 1 << 29, 1 << 17, 1 << 3
RENEW, VALIDATE = 1 << 1, 1 << 0
INVALID, INITIAL = 1 << 24, 1 << 22  # flags of a ticket
PA_TGS_REQ, PA_FOR_USER, PA_PAC_OPTIONS = 1, 129, 167


@dataclass(frozen=True)
class Name:
    """A PrincipalName; parts may be any octets."""

    kind: int
    parts: tuple[str | bytes, ...]

    def encode(self) -> bytes:
        """Encode it."""
        strings = der.sequence(*(der.string(part) for part in self.parts))
        return der.sequence(der.explicit(0, der.integer(self.kind)), der.explicit(1, strings))

    @classmethod
    def read(cls, node: der.Node) -> "Name":
        """Read a PrincipalName of a reply."""
        return cls(node.field(0).number(), tuple(part.text() for part in node.field(1)))


def user(name: str | bytes) -> Name:
    """Make the name of a user."""
    return Name(NT_PRINCIPAL, (name,))


def enterprise(name: str | bytes) -> Name:
    """Make an enterprise name (RFC 6806)."""
    return Name(NT_ENTERPRISE, (name,))


def krbtgt(realm: str) -> Name:
    """Make the name of the ticket-granting service."""
    return Name(NT_SRV_INST, ("krbtgt", realm))


@dataclass(kw_only=True)
class Body:
    """A KDC-REQ-BODY."""

    realm: str | bytes
    cname: Name | None
    sname: Name | None
    options: int = FORWARDABLE | RENEWABLE
    from_: datetime | bytes | None = None
    till: datetime | bytes = field(
        default_factory=lambda: datetime.now(UTC).replace(microsecond=0) + timedelta(hours=8)
    )
    rtime: datetime | bytes | None = None
    nonce: int = field(default_factory=lambda: secrets.randbits(31))
    etypes: tuple[int, ...] = (18, 17)
    addresses: tuple[bytes, ...] | None = None
    replace: dict[int, bytes | None] = field(default_factory=dict)
    """Field number -> the element to put inside its tag; None: leave the field out."""
    order: tuple[int, ...] = tuple(range(12))
    """Field numbers in the order sent; a repeated number repeats the field."""

    def fields(self) -> dict[int, bytes]:
        """Return the elements inside the context tags."""
        out: dict[int, bytes | None] = {
            0: der.bits(self.options.to_bytes(4, "big")),
            1: self.cname.encode() if self.cname else None,
            2: der.string(self.realm),
            3: self.sname.encode() if self.sname else None,
            4: None if self.from_ is None else der.time(self.from_),
            5: der.time(self.till),
            6: None if self.rtime is None else der.time(self.rtime),
            7: der.integer(self.nonce),
            8: der.sequence(*(der.integer(etype) for etype in self.etypes)),
            9: None if self.addresses is None else der.sequence(*self.addresses),
        }
        out.update(self.replace)
        return {number: element for number, element in out.items() if element is not None}

    def encode(self) -> bytes:
        """Encode it."""
        fields = self.fields()
        return der.sequence(*(der.explicit(n, fields[n]) for n in self.order if n in fields))


def padata(kind: int, value: bytes) -> bytes:
    """Encode a PA-DATA."""
    return der.sequence(der.explicit(1, der.integer(kind)), der.explicit(2, der.octets(value)))


def kdc_req(
    body: bytes,
    entries: list[bytes] | None,
    *,
    tag: int = 10,
    pvno: int = 5,
    msg_type: int = 10,
) -> bytes:
    """Encode a KDC-REQ; entries: encoded PA-DATA, None for no padata field at all."""
    parts = [der.explicit(1, der.integer(pvno)), der.explicit(2, der.integer(msg_type))]
    if entries is not None:
        parts.append(der.explicit(3, der.sequence(*entries)))
    parts.append(der.explicit(4, body))
    return der.tlv(0x60 | tag, der.sequence(*parts))


def encrypted_data(etype: int, cipher: bytes, kvno: int | None = None) -> bytes:
    """Encode an EncryptedData."""
    version = b"" if kvno is None else der.explicit(1, der.integer(kvno))
    return der.sequence(
        der.explicit(0, der.integer(etype)), version, der.explicit(2, der.octets(cipher))
    )


def timestamp(when: datetime) -> bytes:
    """Encode a PA-ENC-TS-ENC."""
    return der.sequence(
        der.explicit(0, der.time(when)), der.explicit(1, der.integer(when.microsecond))
    )


# -- replies ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class KrbError:
    """A KRB-ERROR."""

    code: int
    e_text: str
    e_data: bytes
    realm: str
    cname: Name | None

    @property
    def reference(self) -> str:
        """The reference in the e-text, or "" where there is none."""
        head, mark, tail = self.e_text.partition("[ref ")
        return tail.partition("]")[0] if mark else head[:0]

    def typed_data(self) -> dict[int, bytes]:
        """Read e-data as TYPED-DATA: type -> value."""
        out: dict[int, bytes] = {}
        for element in der.read(self.e_data):
            value = element.optional(1)
            out[element.field(0).number()] = b"" if value is None else value.content
        return out

    def method_data(self) -> dict[int, bytes]:
        """Read e-data as METHOD-DATA: type -> value."""
        return {
            element.field(1).number(): element.field(2).content for element in der.read(self.e_data)
        }


@dataclass(frozen=True, kw_only=True)
class AsRep:
    """An AS-REP or TGS-REP, not decrypted yet."""

    crealm: str
    cname: Name
    padata: dict[int, bytes]
    ticket: bytes
    """DER, as it came."""
    ticket_sname: Name
    ticket_etype: int
    ticket_kvno: int | None
    ticket_cipher: bytes
    etype: int
    cipher: bytes


def read_reply(data: bytes) -> AsRep | KrbError:
    """Read a reply. Raises UnreadableError for anything but a KDC-REP or a KRB-ERROR."""
    outer = der.read(data)
    if outer.tag == 0x7E:
        body = outer.inner()
        text, e_data, cname = body.optional(11), body.optional(12), body.optional(8)
        if body.field(0).number() != 5 or body.field(1).number() != 30:
            raise der.UnreadableError("pvno or msg-type of a KRB-ERROR")
        return KrbError(
            code=body.field(6).number(),
            e_text="" if text is None else text.text(),
            e_data=b"" if e_data is None else e_data.content,
            realm=body.field(9).text(),
            cname=None if cname is None else Name.read(cname),
        )
    if outer.tag not in (0x6B, 0x6D):
        raise der.UnreadableError(f"a reply of tag {outer.tag:#x}")
    body = outer.inner()
    if body.field(0).number() != 5 or body.field(1).number() != outer.tag & 0x1F:
        raise der.UnreadableError("pvno or msg-type of a KDC-REP")
    entries = body.optional(2)
    ticket = body.field(5).inner()
    sealed = ticket.field(3)
    kvno = sealed.optional(1)
    own = body.field(6)
    return AsRep(
        crealm=body.field(3).text(),
        cname=Name.read(body.field(4)),
        padata={pa.field(1).number(): pa.field(2).content for pa in entries or ()},
        ticket=body.field(5).raw,
        ticket_sname=Name.read(ticket.field(2)),
        ticket_etype=sealed.field(0).number(),
        ticket_kvno=None if kvno is None else kvno.number(),
        ticket_cipher=sealed.field(2).content,
        etype=own.field(0).number(),
        cipher=own.field(2).content,
    )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An EncKDCRepPart or EncTicketPart, decrypted."""

    key_type: int
    key: bytes = field(repr=False)
    flags: int
    nonce: int | None
    crealm: str | None
    cname: Name | None
    sname: Name | None
    authtime: datetime
    endtime: datetime
    padata: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)
    """encrypted-pa-data, in order."""


def _time(node: der.Node) -> datetime:
    return datetime.strptime(node.text(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _flags(node: der.Node) -> int:
    return int.from_bytes(node.content[1:5], "big")


def read_client_part(plain: bytes) -> Opened:
    """Read an EncASRepPart (or, as some KDCs write it, an EncTGSRepPart)."""
    outer = der.read(plain)
    if outer.tag not in (0x79, 0x7A):
        raise der.UnreadableError("not an EncASRepPart")
    part = outer.inner()
    return Opened(
        key_type=part.field(0).field(0).number(),
        key=part.field(0).field(1).content,
        nonce=part.field(2).number(),
        flags=_flags(part.field(4)),
        authtime=_time(part.field(5)),
        endtime=_time(part.field(7)),
        crealm=None,
        cname=None,
        sname=Name.read(part.field(10)),
        padata=tuple((pa.field(1).number(), pa.field(2).content) for pa in part.optional(12) or ()),
    )


def read_ticket_part(plain: bytes) -> Opened:
    """Read an EncTicketPart."""
    outer = der.read(plain)
    if outer.tag != 0x63:
        raise der.UnreadableError("not an EncTicketPart")
    part = outer.inner()
    return Opened(
        flags=_flags(part.field(0)),
        key_type=part.field(1).field(0).number(),
        key=part.field(1).field(1).content,
        crealm=part.field(2).text(),
        cname=Name.read(part.field(3)),
        sname=None,
        nonce=None,
        authtime=_time(part.field(5)),
        endtime=_time(part.field(7)),
    )
