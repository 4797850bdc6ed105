"""A PAC and each of its buffers is read or refused with a PacError; only what we signed verifies.

So is the inside of a ticket in which a PAC is looked for.
"""

from collections.abc import Callable
from functools import cache

from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.pac import PacError, parse_pac, split_ticket, verify_pac
from kdc.pac.buffers import (
    decode_attributes_info,
    decode_client_info,
    decode_delegation_info,
    decode_logon_info,
    decode_requestor,
    decode_upn_dns_info,
)
from pki.errors import PkiError
from tests.fuzz.targets import corpus
from tests.kdc import builders

_READERS: tuple[Callable[[bytes], object], ...] = (
    decode_attributes_info,
    decode_client_info,
    decode_delegation_info,
    decode_logon_info,
    decode_requestor,
    decode_upn_dns_info,
)


@cache
def _key() -> ProtocolKey:
    (key,) = (k for k in builders.random_keys("krbtgt") if k.etype == 18)
    return ProtocolKey(EncType(key.etype), key.key)


def _read_pac(data: bytes) -> None:
    pac = parse_pac(data)
    for place, size in pac.buffers.values():
        assert place + size <= len(data)
        _each_reader(data[place : place + size])
    verified = verify_pac(pac, server_key=_key(), krbtgt_keys=(_key(),), ticket=None)
    assert verified.carried
    assert data in corpus("pac")


def _read_ticket(data: bytes) -> None:
    try:
        found = split_ticket(data)
    except PkiError:
        return
    assert found.pac is None or found.pac in data


def _each_reader(data: bytes) -> None:
    for read in _READERS:
        try:
            assert repr(read(data))
        except PacError as error:
            assert len(error.detail) < 80


def one(data: bytes) -> None:
    """Read one input as a PAC, as each buffer and as the inside of a ticket."""
    for read in (_read_pac, _each_reader, _read_ticket):
        try:
            read(data)
        except PacError as error:
            assert len(error.detail) < 80
