"""Reply keys of PKINIT: octetstring2key of RFC 4556 and the KDFs of RFC 8636.

Both hash a one-word counter with the shared secret until there are enough bytes for the key.
"""

from collections.abc import Callable
from hashlib import sha1, sha256, sha384, sha512

from kdc.crypto.aes_cts import Hash
from kdc.crypto.etypes import KEY_BYTES, EncType, ProtocolKey, random_to_key
from kdc.crypto.faults import CryptoError, CryptoFault

ID_PKINIT_KDF_AH_SHA1 = "1.3.6.1.5.2.3.6.1"
ID_PKINIT_KDF_AH_SHA256 = "1.3.6.1.5.2.3.6.2"
ID_PKINIT_KDF_AH_SHA512 = "1.3.6.1.5.2.3.6.3"
ID_PKINIT_KDF_AH_SHA384 = "1.3.6.1.5.2.3.6.4"

_HASHES: dict[str, Callable[[bytes], Hash]] = {
    ID_PKINIT_KDF_AH_SHA1: sha1,
    ID_PKINIT_KDF_AH_SHA256: sha256,
    ID_PKINIT_KDF_AH_SHA384: sha384,
    ID_PKINIT_KDF_AH_SHA512: sha512,
}

KDFS: tuple[str, ...] = tuple(_HASHES)
"""Every KDF of RFC 8636 we can run; which ones are used, and in what order, is policy."""

_octetstring_hash: Callable[[bytes], Hash] = sha1


def octetstring2key(enctype: EncType, data: bytes) -> ProtocolKey:
    """Make a reply key of an octet string (RFC 4556 section 3.2.3.1).

    data: for Diffie-Hellman the shared secret, left-padded to the length of p, followed by
    clientDHNonce and serverDHNonce when both were sent.
    """
    size = _key_bytes(enctype)
    out = b""
    counter = 0
    while len(out) < size:
        out += _octetstring_hash(bytes((counter,)) + data).digest()
        counter += 1
    return random_to_key(enctype, out[:size])


def kdf_octets(kdf_oid: str, secret: bytes, other_info: bytes, size: int) -> bytes:
    """Return `size` bytes of the KDF of RFC 8636 section 6 (single-step KDF of SP 800-56A).

    Raises CryptoError: UNSUPPORTED for an identifier not in KDFS.
    """
    hash_new = _HASHES.get(kdf_oid)
    if hash_new is None:
        raise CryptoError(CryptoFault.UNSUPPORTED)
    out = b""
    counter = 1
    while len(out) < size:
        out += hash_new(counter.to_bytes(4, "big") + secret + other_info).digest()
        counter += 1
    return out[:size]


def rfc8636_kdf(kdf_oid: str, secret: bytes, other_info: bytes, enctype: EncType) -> ProtocolKey:
    """Make a reply key by the KDF the client offered (RFC 8636 section 6).

    secret: the Diffie-Hellman shared secret, left-padded to the length of p. Nonces are not
    mixed in here: they are part of the messages that other_info holds.
    other_info: DER of OtherInfo.
    """
    return random_to_key(enctype, kdf_octets(kdf_oid, secret, other_info, _key_bytes(enctype)))


def _key_bytes(enctype: EncType) -> int:
    size = KEY_BYTES.get(enctype)
    if size is None:
        raise CryptoError(CryptoFault.UNSUPPORTED)
    return size
