"""CMS EnvelopedData for one RSA recipient (RFC 5652 section 6): what an RSA PKINIT reply is in.

Shape: version 0, one KeyTransRecipientInfo version 0 by issuerAndSerialNumber with rsaEncryption
(RSAES-PKCS1-v1_5, which every PKINIT client of this form reads; none reads OAEP), AES-CBC content.

The padding of RSAES-PKCS1-v1_5 is an oracle only for who decrypts; here we encrypt.
"""

from collections.abc import Callable, Iterable

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pki import der, oids
from pki.certificate import Certificate
from pki.keys import KeyKind

BLOCK_BYTES = 16
CIPHERS = {oids.AES256_CBC: 32, oids.AES192_CBC: 24, oids.AES128_CBC: 16}
"""Content encryption -> octets of its key; the best first."""
OTHER_CIPHERS = frozenset((oids.DES_EDE3_CBC, oids.RC2_CBC, oids.DES_CBC))
"""Content encryption that clients may list and that we do not do."""

_VERSION_0 = der.encode_integer(0)
_RSA = der.sequence(der.encode_oid(oids.RSA_ENCRYPTION), der.tlv(der.NULL, b""))


def choose_cipher(offered: Iterable[str]) -> str | None:
    """Choose the content encryption for a client; None: it lists some, and none that we do.

    offered: algorithms of supportedCMSTypes, best first, signatures and others among them.
    """
    known = [oid for oid in offered if oid in CIPHERS or oid in OTHER_CIPHERS]
    if not known:
        return oids.AES256_CBC
    return next((oid for oid in CIPHERS if oid in known), None)


def envelop(
    content_type: str,
    content: bytes,
    recipient: Certificate,
    cipher_oid: str,
    entropy: Callable[[int], bytes],
) -> bytes:
    """Encrypt content for a certificate's RSA key; return the DER of a ContentInfo.

    Raises PkiError (the key cannot be read); ValueError when it is not an RSA key.
    """
    found = recipient.public_key()
    if found.kind is not KeyKind.RSA:
        raise ValueError("the recipient's key is not an RSA key")
    key, iv = entropy(CIPHERS[cipher_oid]), entropy(BLOCK_BYTES)
    count = BLOCK_BYTES - len(content) % BLOCK_BYTES  # RFC 5652 6.3: always padded
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(content + bytes((count,)) * count) + encryptor.finalize()
    public_key = rsa.RSAPublicNumbers(found.e, found.n).public_key()
    identifier = der.sequence(recipient.issuer, der.encode_integer(recipient.serial_number))
    transport = der.encode_octet_string(public_key.encrypt(key, padding.PKCS1v15()))
    info = der.sequence(_VERSION_0, identifier, _RSA, transport)
    algorithm = der.sequence(der.encode_oid(cipher_oid), der.encode_octet_string(iv))
    body = der.sequence(der.encode_oid(content_type), algorithm, der.tlv(0x80, encrypted))
    enveloped = der.sequence(_VERSION_0, der.tlv(der.SET, info), body)
    return der.sequence(der.encode_oid(oids.ID_ENVELOPED_DATA), der.explicit(0, enveloped))
