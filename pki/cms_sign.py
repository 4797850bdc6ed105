"""CMS SignedData as PKINIT uses it: making one.

Everything that is the same for every message is encoded once, when the signer is made. What
varies (content, digest, signature) is spliced between. The tests compare the result with the
declared types of `pki.cms` and have openssl verify it.
"""

import hashlib
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki import der, oids
from pki.certificate import Certificate
from pki.errors import KeyFault, PkiError
from pki.keys import public_key_from_cryptography
from pki.signatures import DIGEST_OIDS, ECDSA, ECDSA_WITH, HASHES, PKCS1V15, RSA_WITH, Digest

_VERSION_1 = der.encode_integer(1)
_VERSION_3 = der.encode_integer(3)
_SIGNED_DATA = der.encode_oid(oids.ID_SIGNED_DATA)
_MESSAGE_DIGEST = der.encode_oid(oids.ID_MESSAGE_DIGEST)
_NULL = der.tlv(der.NULL, b"")


@lru_cache(maxsize=16)
def _content_type_attribute(content_type: str) -> bytes:
    """Encode the contentType attribute. It sorts before messageDigest, being shorter."""
    return der.sequence(
        der.encode_oid(oids.ID_CONTENT_TYPE), der.tlv(der.SET, der.encode_oid(content_type))
    )


class CmsSigner:
    """Signs content with one key; certificates and algorithm identifiers are encoded in advance.

    chain: intermediate CAs, the leaf's issuer first, never the root. Raises PkiError when a
    certificate is malformed (DerFault), or its key not the private key's (KeyFault.MALFORMED).
    """

    __slots__ = ("_certificates", "_constants", "_identifier", "_private_key", "certificate")

    def __init__(
        self,
        private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        certificate_der: bytes,
        chain: tuple[bytes, ...] = (),
        *,
        allow_sha1: bool = False,
    ) -> None:
        self.certificate = Certificate(certificate_der)
        if self.certificate.public_key() != public_key_from_cryptography(private_key.public_key()):
            raise PkiError(KeyFault.MALFORMED, "private key is not the certificate's")
        self._private_key = private_key
        # X.690 11.6 sorts a SET OF; receivers may not care, but DER is DER.
        self._certificates = der.tlv(0xA0, b"".join(sorted((certificate_der, *chain))))
        self._identifier = der.sequence(
            self.certificate.issuer, der.encode_integer(self.certificate.serial_number)
        )
        self._constants: dict[Digest, tuple[bytes, bytes, bytes]] = {}
        for digest, oid in DIGEST_OIDS.items():
            if digest is Digest.SHA1 and not allow_sha1:
                continue
            # RFC 5754 2: digest parameters SHOULD be absent; deployed clients send and expect
            # NULL, which MUST be accepted. 3.2: for RSA signatures NULL is a MUST.
            algorithm = der.sequence(der.encode_oid(oid), _NULL)
            if isinstance(private_key, rsa.RSAPrivateKey):
                signature = der.sequence(der.encode_oid(RSA_WITH[digest]), _NULL)
            else:
                signature = der.sequence(der.encode_oid(ECDSA_WITH[digest]))
            digests = der.tlv(der.SET, algorithm)
            head = _VERSION_1 + self._identifier + algorithm
            self._constants[digest] = (_VERSION_3 + digests, head, signature)

    @property
    def digests(self) -> tuple[Digest, ...]:
        """The digests this signer may use."""
        return tuple(self._constants)

    def sign(self, content_type: str, content: bytes, digest: Digest = Digest.SHA256) -> bytes:
        """Sign content and return the DER of a ContentInfo with a SignedData.

        Shape: version 3, one digestAlgorithm, the certificates, one SignerInfo version 1 by
        issuerAndSerialNumber with exactly contentType and messageDigest as signedAttrs.
        digest: one of `digests`; another is a ValueError.
        """
        constants = self._constants.get(digest)
        if constants is None:
            raise ValueError(f"digest not allowed: {digest}")
        front, head, signature_algorithm = constants
        message_digest = hashlib.new(digest, content).digest()
        attributes = _content_type_attribute(content_type) + der.tlv(
            der.SEQUENCE,
            _MESSAGE_DIGEST + der.tlv(der.SET, der.tlv(der.OCTET_STRING, message_digest)),
        )
        signature = self._signature(der.tlv(der.SET, attributes), digest)
        signer_info = (
            head
            + der.tlv(0xA0, attributes)
            + signature_algorithm
            + der.tlv(der.OCTET_STRING, signature)
        )
        encapsulated = der.encode_oid(content_type) + der.tlv(
            0xA0, der.tlv(der.OCTET_STRING, content)
        )
        signed_data = (
            front
            + der.tlv(der.SEQUENCE, encapsulated)
            + self._certificates
            + der.tlv(der.SET, der.tlv(der.SEQUENCE, signer_info))
        )
        wrapped = der.tlv(0xA0, der.tlv(der.SEQUENCE, signed_data))
        return der.tlv(der.SEQUENCE, _SIGNED_DATA + wrapped)

    def _signature(self, data: bytes, digest: Digest) -> bytes:
        if isinstance(self._private_key, rsa.RSAPrivateKey):
            return self._private_key.sign(data, PKCS1V15, HASHES[digest])
        return self._private_key.sign(data, ECDSA[digest])

    def __repr__(self) -> str:
        return f"CmsSigner({self.certificate!r})"


def sign_signed_data(
    content_type: str, content: bytes, signer: CmsSigner, digest: Digest = Digest.SHA256
) -> bytes:
    """Sign content with a signer; see `CmsSigner.sign`."""
    return signer.sign(content_type, content, digest)
