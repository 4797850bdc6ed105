"""An AuthPack is read or refused with a PkiError; what was read is written as it arrived.

Only fields of a later version are lost: then the writing is shorter, and reads to the same. Its
clientPublicValue is agreed on or refused with the group's error.
"""

from functools import cache

from kdc.crypto.key_agreement import GROUPS, AgreementError, KeyPair, generate
from kdc.errors import KdcError
from kdc.exchange.pkinit import choose_group
from kdc.wire.rfc4556 import AuthPack
from pki import asn1
from pki.errors import PkiError
from tests.fuzz.realm import kdc


@cache
def _pair(group: str) -> KeyPair:
    return generate(GROUPS[group])


def one(data: bytes) -> None:
    """Read one AuthPack and agree on a key with it."""
    try:
        auth_pack = asn1.decode(AuthPack, data)
    except PkiError:
        return
    written = asn1.encode(auth_pack)
    assert written == data or len(written) < len(data)
    assert asn1.decode(AuthPack, written) == auth_pack
    spki = auth_pack.client_public_value
    if spki is None:
        return
    try:
        group = choose_group(spki, kdc().realm)
        secret = _pair(group.name).agree(spki.subject_public_key)
    except (KdcError, AgreementError):
        return
    assert len(secret) == (group.bits + 7) // 8
