"""Whatever the holder of pat's TGT seals, he gets tickets for pat or none; nothing ends in a bug.

The first octet chooses what the rest is: the authenticator, the KDC-REQ-BODY with the right
authenticator for it, the authorization data, or (who has the krbtgt key may name whom he likes)
the ticket itself.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, encrypt
from kdc.wire.rfc4120 import EncryptedData
from pki import asn1
from tests.fuzz.realm import Tgt, answer, authenticator, new_tgt, tgs_body, tgs_req, ticket_owner
from tests.kdc import builders

_OWN = (None, "pat")


@cache
def _tgt() -> Tgt:
    return new_tgt()


def _as_authenticator(data: bytes) -> None:
    message = tgs_req(_tgt(), asn1.encode(tgs_body()), data)
    assert ticket_owner(answer(message)) in _OWN


def _as_body(data: bytes) -> None:
    message = tgs_req(_tgt(), data, authenticator(_tgt(), data))
    assert ticket_owner(answer(message)) in _OWN


def _as_authorization_data(data: bytes) -> None:
    key = _tgt().session_key
    usage = KeyUsage.TGS_REQ_AUTHORIZATION_DATA_SESSION_KEY
    sealed = EncryptedData(etype=key.enctype, cipher=encrypt(key, usage, data, bytes(16)))
    body = asn1.encode(tgs_body(enc_authorization_data=sealed))
    message = tgs_req(_tgt(), body, authenticator(_tgt(), body))
    assert ticket_owner(answer(message)) in _OWN


def _as_ticket(data: bytes) -> None:
    (key,) = (k for k in builders.random_keys("krbtgt") if k.etype == 18)
    protocol_key = ProtocolKey(EncType(key.etype), key.key)
    cipher = encrypt(protocol_key, KeyUsage.TICKET, data, bytes(16))
    forged = replace(
        _tgt().ticket, enc_part=EncryptedData(etype=key.etype, kvno=key.kvno, cipher=cipher)
    )
    tgt = Tgt(ticket=forged, session_key=_tgt().session_key)
    body = asn1.encode(tgs_body())
    answer(tgs_req(tgt, body, authenticator(tgt, body)))


_PLACES: tuple[Callable[[bytes], None], ...] = (
    _as_authenticator,
    _as_body,
    _as_authorization_data,
    _as_ticket,
)


def one(data: bytes) -> None:
    """Put one input in its place."""
    if data:
        _PLACES[data[0] % len(_PLACES)](data[1:])
