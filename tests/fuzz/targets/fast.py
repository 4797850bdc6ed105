"""Whatever stands in an armored request, there is a ticket for pat or none, and nowhere a bug.

The armor is pat's TGT; the first octet chooses what the rest is: PA-FX-FAST, the armor's AP-REQ,
its authenticator, the request inside an AS-REQ or a TGS-REQ, the time in an encrypted challenge, or
a cookie. What is sealed is sealed with the right key.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from kdc.crypto.etypes import KeyUsage, decrypt, encrypt
from kdc.crypto.rfc6113 import client_challenge_key
from kdc.exchange.fast_cookie import HEADER
from kdc.wire.constants import PaType
from kdc.wire.rfc4120 import EncryptedData, EncTicketPart, PaData
from kdc.wire.rfc6113 import KrbFastArmoredReq
from pki import asn1
from tests.fuzz.realm import answer, new_tgt, tgs_body, ticket_owner
from tests.kdc import builders, fast_builders, tgs_builders
from tests.kdc.builders import NOW, padata
from tests.kdc.fast_builders import Armor, FastAsRequest, FastTgsRequest, Wrapping

_OWN = (None, "pat")


@cache
def pats_tgt() -> tgs_builders.Tgt:
    """Get pat's TGT once; what its client knows of the inside are the names."""
    made = new_tgt()
    (key,) = (k for k in builders.random_keys("krbtgt") if k.etype == made.ticket.enc_part.etype)
    plain = decrypt(tgs_builders.ready(key), KeyUsage.TICKET, made.ticket.enc_part.cipher)
    part = asn1.decode(EncTicketPart, plain)
    return tgs_builders.Tgt(ticket=made.ticket, part=part, session=made.session_key)


def _armor() -> Armor:
    return Armor(tgt=pats_tgt(), ctime=NOW)


def _check(message: bytes) -> None:
    assert ticket_owner(answer(message)) in _OWN


def _ask(wrapping: Wrapping, armor: Armor | None = None, *inside: PaData) -> None:
    request = FastAsRequest(armor=armor or _armor(), inside=inside, wrapping=wrapping)
    _check(request.build().message)


def _as_value(data: bytes) -> None:
    _ask(Wrapping(change_value=lambda _: data))


def _as_armor(data: bytes) -> None:
    def with_armor(made: KrbFastArmoredReq) -> KrbFastArmoredReq:
        armor = made.armor
        return made if armor is None else replace(made, armor=replace(armor, armor_value=data))

    _ask(Wrapping(change_armored=with_armor))


def _as_authenticator(data: bytes) -> None:
    armor = _armor()
    session = armor.tgt.session
    cipher = encrypt(session, KeyUsage.AP_REQ_AUTHENTICATOR, data, bytes(16))
    sealed = EncryptedData(etype=session.enctype, cipher=cipher)
    armor.change_ap_req = lambda made: replace(made, authenticator=sealed)
    _ask(Wrapping(), armor)


def _inside_as(data: bytes) -> None:
    _ask(Wrapping(change_inner=lambda _: data))


def _inside_tgs(data: bytes) -> None:
    wrapping = Wrapping(change_inner=lambda _: data)
    body, tgt = tgs_body(), pats_tgt()
    request = FastTgsRequest(tgt=tgt, body=body, outer_body=body, wrapping=wrapping, ctime=NOW)
    _check(request.build().message)


def _as_challenge(data: bytes) -> None:
    armor = _armor()
    key = client_challenge_key(armor.key, fast_builders.pat_key())
    cipher = encrypt(key, KeyUsage.ENC_CHALLENGE_CLIENT, data, bytes(16))
    sealed = asn1.encode(EncryptedData(etype=key.enctype, cipher=cipher))
    _ask(Wrapping(), armor, padata(PaType.ENCRYPTED_CHALLENGE, sealed))


def _as_cookie(data: bytes) -> None:
    _ask(Wrapping(), None, padata(PaType.FX_COOKIE, HEADER + data))


_PLACES: tuple[Callable[[bytes], None], ...] = (
    _as_value,
    _as_armor,
    _as_authenticator,
    _inside_as,
    _inside_tgs,
    _as_challenge,
    _as_cookie,
)


def one(data: bytes) -> None:
    """Put one input in its place."""
    if data:
        _PLACES[data[0] % len(_PLACES)](data[1:])
