"""CMS SignedData: made of parts that can each be replaced, and the KDC's read and verified."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.negative.wire import der
from tests.negative.wire.certificate import SignedCertificate
from tests.negative.wire.keys import DIGESTS, SigningKey, digest

SIGNED_DATA = "1.2.840.113549.1.7.2"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
ID_DATA = "1.2.840.113549.1.7.1"


def attribute(oid: str, *values: bytes) -> bytes:
    """Encode an Attribute."""
    return der.sequence(der.oid(oid), der.set_of(*values))


def algorithm(oid: str, parameters: bytes | None = None) -> bytes:
    """Encode an AlgorithmIdentifier."""
    return der.sequence(der.oid(oid), parameters or b"")


@dataclass(kw_only=True)
class Signer:
    """One SignerInfo. What is None takes its honest value when the message is made."""

    key: SigningKey
    certificate: SignedCertificate
    hash: str = "sha256"
    version: int = 1
    sid: bytes | None = None
    digest_algorithm: bytes | None = None
    signature_algorithm: bytes | None = None
    content_type: str | None = None
    """Of the attribute; "": leave the attribute out."""
    message_digest: bytes | None = None
    """b"": leave the attribute out."""
    more_attributes: tuple[bytes, ...] = ()
    order: Callable[[list[bytes]], list[bytes]] = sorted
    """The order in which attributes are sent; what is signed is in DER order."""
    sign_sent_order: bool = False
    unsigned_attributes: bool = False
    """Sign the content itself and send no signedAttrs."""
    signature: Callable[[bytes], bytes] | None = None
    """Makes the signature of the octets to be signed."""
    bend: Callable[[bytes], bytes] = bytes
    """Changes the finished signature."""

    def attributes(self, content_type: str, content: bytes) -> list[bytes]:
        """List the signed attributes in DER order."""
        out = list(self.more_attributes)
        if self.content_type != "":
            out.append(attribute(CONTENT_TYPE, der.oid(self.content_type or content_type)))
        if self.message_digest != b"":
            value = self.message_digest or digest(self.hash, content)
            out.append(attribute(MESSAGE_DIGEST, der.octets(value)))
        return sorted(out)

    def encode(self, content_type: str, content: bytes) -> bytes:
        """Encode the SignerInfo over a content."""
        sid = self.sid or der.sequence(
            self.certificate.issuer, der.integer(self.certificate.serial)
        )
        attributes = self.attributes(content_type, content)
        sent = self.order(list(attributes))
        signed_attrs = der.tlv(0xA0, b"".join(sent))
        to_sign = der.tlv(der.SET, b"".join(sent if self.sign_sent_order else attributes))
        if self.unsigned_attributes:
            signed_attrs, to_sign = b"", content
        make = self.signature or (lambda data: self.key.sign(self.hash, data))
        with_rsa = self.key.algorithm(self.hash).startswith("1.2.840.113549")
        default = algorithm(self.key.algorithm(self.hash), der.null() if with_rsa else None)
        return der.sequence(
            der.integer(self.version),
            sid,
            self.digest_algorithm or algorithm(DIGESTS[self.hash], der.null()),
            signed_attrs,
            self.signature_algorithm or default,
            der.octets(self.bend(make(to_sign))),
        )


def _econtent(content: bytes) -> bytes:
    return der.explicit(0, der.octets(content))


@dataclass(kw_only=True)
class SignedData:
    """A SignedData in its ContentInfo."""

    content_type: str
    signers: list[Signer] = field(default_factory=list)
    certificates: list[bytes] | None = None
    """None: each signer's own."""
    version: int = 3
    digest_algorithms: bytes | None = None
    outer_type: str = SIGNED_DATA
    bend_signed_data: Callable[[bytes], bytes] = bytes
    """Changes the DER of the SignedData before it goes into the ContentInfo."""
    bare: bool = False
    """Leave the ContentInfo out."""
    econtent: Callable[[bytes], bytes] = _econtent

    def encode(self, content: bytes) -> bytes:
        """Encode the message over a content."""
        certificates = self.certificates
        if certificates is None:
            certificates = list(dict.fromkeys(s.certificate.der for s in self.signers))
        algorithms = self.digest_algorithms
        if algorithms is None:
            named = (
                s.digest_algorithm or algorithm(DIGESTS[s.hash], der.null()) for s in self.signers
            )
            algorithms = der.set_of(*dict.fromkeys(named))
        signed = der.sequence(
            der.integer(self.version),
            algorithms,
            der.sequence(der.oid(self.content_type), self.econtent(content)),
            der.tlv(0xA0, b"".join(certificates)) if certificates else b"",
            der.tlv(der.SET, b"".join(s.encode(self.content_type, content) for s in self.signers)),
        )
        signed = self.bend_signed_data(signed)
        if self.bare:
            return signed
        return der.sequence(der.oid(self.outer_type), der.explicit(0, signed))


class BadReplyError(Exception):
    """The KDC's own signature is not right."""


_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    der.oid(DIGESTS["sha256"]): hashes.SHA256(),
    der.oid(DIGESTS["sha384"]): hashes.SHA384(),
    der.oid(DIGESTS["sha512"]): hashes.SHA512(),
    der.oid(DIGESTS["sha1"]): hashes.SHA1(),  # noqa: S303  MIT's KDC signs so
}


def open_signed(data: bytes, content_type: str, anchor: bytes | None) -> bytes:
    """Verify the KDC's SignedData and return its content.

    anchor: DER of the CA that must have issued the KDC's certificate; None: it is not looked at.
    Raises BadReplyError.
    """
    outer_type, outer = der.read(data)
    if outer_type.raw != der.oid(SIGNED_DATA):
        raise BadReplyError("not a SignedData")
    fields = list(outer.inner())
    inner_type, wrapped = fields[2]
    if inner_type.raw != der.oid(content_type):
        raise BadReplyError("another content type")
    content = wrapped.inner().content
    certificates = [node.raw for field in fields[3:] if field.tag == 0xA0 for node in field]
    (info,) = fields[-1]
    parts = list(info)
    hash_oid = next(iter(parts[2])).raw
    attributes, signature = parts[3], parts[5].content
    if attributes.tag != 0xA0:
        raise BadReplyError("no signed attributes")
    kind = _HASHES[hash_oid]
    hasher = hashes.Hash(kind)
    hasher.update(content)
    wanted = attribute(MESSAGE_DIGEST, der.octets(hasher.finalize()))
    if wanted not in [node.raw for node in attributes]:
        raise BadReplyError("messageDigest is not the digest of the content")
    signer = x509.load_der_x509_certificate(certificates[0])
    key = signer.public_key()
    signed = der.tlv(der.SET, attributes.content)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), kind)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(kind))
        else:
            raise BadReplyError("a key of another kind")
        if anchor is not None:
            signer.verify_directly_issued_by(x509.load_der_x509_certificate(anchor))
    except InvalidSignature as error:
        raise BadReplyError("the KDC's signature does not verify") from error
    return content
