"""Facts about alice of LAB.TEST, and PACs changed after they were signed."""

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

from directory.model import Account, AccountKind, Domain, Sid
from kdc.crypto.etypes import KEY_BYTES, EncType, ProtocolKey
from kdc.pac import KEY_TRUST, PacFacts, PacType, parse_pac
from kdc.pac.buffers import AUTHENTICATION_AUTHORITY_ASSERTED
from kdc.pac.signatures import make_signature

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DOMAIN = Domain(
    sid=Sid.parse("S-1-5-21-1111111111-2222222222-3333333333"), netbios="LAB", dns_name="lab.test"
)
FOREIGN = Sid.parse("S-1-5-21-9-9-9-1234")
ALICE = Account(
    account_id=7,
    sam_account_name="alice",
    kind=AccountKind.USER,
    upn="Alice.Adams@corp.example",
    sid=DOMAIN.sid.with_rid(1105),
    created_at=NOW,
    password_set_at=datetime(2026, 11, 1, 8, 30, tzinfo=UTC),
    password_expires_at=datetime(2027, 1, 1, tzinfo=UTC),
    expires_at=datetime(2028, 1, 1, tzinfo=UTC),
)
TICKET = b"\x63\x03\x30\x01\x00"  # what a ticket signature covers is octets, nothing more


def key(name: str, etype: EncType = EncType.AES256_CTS_HMAC_SHA1_96) -> ProtocolKey:
    """Return a key, the same for the same name and type."""
    return ProtocolKey(etype, sha256(f"{name} {etype}".encode()).digest()[: KEY_BYTES[etype]])


KRBTGT = key("krbtgt")
SERVICE = key("service", EncType.AES128_CTS_HMAC_SHA256_128)


def facts() -> PacFacts:
    """Return alice's facts: three groups of the domain, one of another, key trust."""
    return PacFacts(
        account=replace(ALICE),
        domain=DOMAIN,
        groups=(*(DOMAIN.sid.with_rid(rid) for rid in (513, 1200, 1201)), FOREIGN),
        logon_time=NOW,
        name="alice",
        extra_sids=(AUTHENTICATION_AUTHORITY_ASSERTED, KEY_TRUST),
    )


def place(pac: bytes, kind: PacType) -> tuple[int, int]:
    """Return offset and size of a buffer."""
    return parse_pac(pac).buffers[kind]


def with_buffer(pac: bytes, kind: PacType, value: bytes) -> bytes:
    """Write other octets, at most as many, over the beginning of a buffer."""
    offset, size = place(pac, kind)
    assert len(value) <= size
    return pac[:offset] + value + pac[offset + len(value) :]


def without(pac: bytes, kind: PacType) -> bytes:
    """Rename a buffer to a type that nobody reads; nothing else moves."""
    number = list(parse_pac(pac).buffers).index(kind)
    at = 8 + 16 * number
    return pac[:at] + struct.pack("<I", 9999) + pac[at + 4 :]


def sign_again(pac: bytes, server_key: ProtocolKey, krbtgt_key: ProtocolKey | None = None) -> bytes:
    """Make a PAC's server signature anew, and its KDC signature when that key is known.

    A service can do the first for a ticket of its own.
    """
    zeroed = pac
    for kind in (PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM):
        offset, size = place(pac, kind)
        zeroed = zeroed[: offset + 4] + bytes(size - 4) + zeroed[offset + size :]
    server = make_signature(server_key, zeroed)
    offset, _ = place(pac, PacType.SERVER_CHECKSUM)
    pac = pac[: offset + 4] + server + pac[offset + 4 + len(server) :]
    if krbtgt_key is not None:
        offset, _ = place(pac, PacType.KDC_CHECKSUM)
        kdc = make_signature(krbtgt_key, server)
        pac = pac[: offset + 4] + kdc + pac[offset + 4 + len(kdc) :]
    return pac


def flip(octets: bytes, at: int) -> bytes:
    """Flip one bit."""
    return octets[:at] + bytes((octets[at] ^ 1,)) + octets[at + 1 :]


Change = Callable[[bytes], bytes]
