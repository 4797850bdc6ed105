"""CMS SignedData as PKINIT uses it: making one.

Everything that is the same for every message is encoded once, when the signer is made. What
varies (content, digest, signature) is spliced between. The tests compare the result with the
declared types of `pki.cms` and have openssl verify it.
"""

from functools import lru_cache
from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki import der, oids
from pki.certificate import Certificate
from pki.errors import KeyFault, PkiError
from pki.keys import KeyKind, public_key_from_cryptography
from pki.signatures import (
    DIGEST_BYTES,
    DIGEST_OIDS,
    ECDSA,
    ECDSA_WITH,
    PKCS1V15,
    PREHASHED,
    RSA_WITH,
    Digest,
    digest_of,
)

_VERSION_1 = der.encode_integer(1)
_VERSION_3 = der.encode_integer(3)
_SIGNED_DATA = der.encode_oid(oids.ID_SIGNED_DATA)
_MESSAGE_DIGEST = der.encode_oid(oids.ID_MESSAGE_DIGEST)
_NULL = der.tlv(der.NULL, b"")


@lru_cache(maxsize=16)
def _attributes_to_digest(content_type: str, digest: Digest) -> bytes:
    """Encode signedAttrs as a SET OF, up to the octets of the messageDigest, which end it."""
    # contentType sorts before messageDigest, being shorter.
    kind = der.sequence(
        der.encode_oid(oids.ID_CONTENT_TYPE), der.tlv(der.SET, der.encode_oid(content_type))
    )
    empty = bytes(DIGEST_BYTES[digest])
    value = der.tlv(der.SET, der.encode_octet_string(empty))
    whole = der.tlv(der.SET, kind + der.sequence(_MESSAGE_DIGEST, value))
    return whole[: -len(empty)]


class CmsSigner:
    """Signs content with one key; certificates and algorithm identifiers are encoded in advance.

    chain: intermediate CAs, the leaf's issuer first, never the root. Raises PkiError when a
    certificate is malformed (DerFault), or its key not the private key's (KeyFault.MALFORMED).
    """

    __slots__ = (
        "_certificates",
        "_constants",
        "_identifier",
        "_kind",
        "_private_key",
        "certificate",
    )

    def __init__(
        self,
        private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        certificate_der: bytes,
        chain: tuple[bytes, ...] = (),
        *,
        allow_sha1: bool = False,
    ) -> None:
        self.certificate = Certificate(certificate_der)
        public_key = self.certificate.public_key()
        if public_key != public_key_from_cryptography(private_key.public_key()):
            raise PkiError(KeyFault.MALFORMED, "private key is not the certificate's")
        self._private_key = private_key
        self._kind = public_key.kind
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
            if self._kind is KeyKind.RSA:
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
        attributes = _attributes_to_digest(content_type, digest) + digest_of(digest, content)
        signature = self._signature(attributes, digest)
        signer_info = (
            head
            # RFC 5652 5.4: signed with the tag of a SET OF, sent with [0] in its place.
            + b"\xa0"
            + attributes[1:]
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
        hashed = digest_of(digest, data)
        if self._kind is KeyKind.EC:
            key = cast(ec.EllipticCurvePrivateKey, self._private_key)
            return key.sign(hashed, ECDSA[digest])
        rsa_key = cast(rsa.RSAPrivateKey, self._private_key)
        return rsa_key.sign(hashed, PKCS1V15, PREHASHED[digest])

    def __repr__(self) -> str:
        return f"CmsSigner({self.certificate!r})"


def sign_signed_data(
    content_type: str, content: bytes, signer: CmsSigner, digest: Digest = Digest.SHA256
) -> bytes:
    """Sign content with a signer; see `CmsSigner.sign`."""
    return signer.sign(content_type, content, digest)
