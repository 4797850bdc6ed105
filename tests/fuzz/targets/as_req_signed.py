"""Whatever alice signs as an AuthPack gets a ticket for alice, or for nobody.

The attacker has a registered key. The input is the AuthPack; CMS and request around it are right.
A ticket needs the SHA-1 of the body in it.
"""

import hashlib
from functools import cache

from kdc.wire.constants import PaType
from kdc.wire.rfc4556 import ID_PKINIT_AUTH_DATA, PaPkAsReq
from pki import asn1
from pki.cms_sign import CmsSigner
from tests.fuzz.realm import answer, hello, ticket_owner
from tests.kdc import builders


@cache
def _signer() -> CmsSigner:
    alice = hello("alice")
    return CmsSigner(alice.private_key, alice.certificate_der)


_BODY_SHA1 = hashlib.sha1(asn1.encode(builders.BODY), usedforsecurity=False).digest()


def one(data: bytes) -> None:
    """Sign one AuthPack and ask for a ticket with it."""
    signed = _signer().sign(ID_PKINIT_AUTH_DATA, data)
    value = asn1.encode(PaPkAsReq(signed_auth_pack=signed))
    message = builders.as_req(builders.BODY, builders.padata(PaType.PK_AS_REQ, value))
    owner = ticket_owner(answer(message))
    assert owner in (None, "alice")
    assert owner is None or _BODY_SHA1 in data
