"""What a KDC of the realm seals for itself or another: the DER of EncryptedData under krbtgt's key.

Freshness tokens (RFC 8070) and FX-COOKIEs (RFC 6113 5.2) are such: stateless, so that any KDC of
the realm can open any other's, also after krbtgt's keys were changed once.
"""

from directory.model import Account
from kdc.crypto.etypes import (
    CONFOUNDER_BYTES,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
)
from kdc.exchange.realm import Entropy
from kdc.wire.rfc4120 import EncryptedData
from pki import asn1


def seal(krbtgt: Account, usage: KeyUsage, plain: bytes, entropy: Entropy) -> bytes:
    """Seal octets with krbtgt's newest key."""
    key = krbtgt.newest_keys()[0]
    protocol_key = ProtocolKey(EncType(key.etype), key.key)
    cipher = encrypt(protocol_key, usage, plain, entropy(CONFOUNDER_BYTES))
    return asn1.encode(EncryptedData(etype=key.etype, kvno=key.kvno, cipher=cipher))


def unseal(krbtgt: Account, usage: KeyUsage, sealed: bytes) -> bytes | None:
    """Open what `seal` made; None: by a key that krbtgt does not have (any more).

    Raises PkiError or CryptoError when it is garbled.
    """
    read = asn1.decode(EncryptedData, sealed)
    for key in krbtgt.keys:
        if key.kvno == read.kvno and key.etype == read.etype:
            return decrypt(ProtocolKey(EncType(key.etype), key.key), usage, read.cipher)
    return None
