"""SignedData messages assembled from their parts with none of `pki.cms`: valid by default.

Every part can be replaced, so that a test breaks exactly one.
"""

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pki import der, oids
from pki.ca import IssuedCertificate
from pki.certificate import Certificate
from tests.pki import issued

CONTENT = b"an AuthPack, as far as CMS knows"
NULL = b"\x05\x00"
HASHES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "md5": (oids.MD5, hashes.MD5()),  # noqa: S303  # what must be refused
    "sha1": (oids.SHA1, hashes.SHA1()),  # noqa: S303  # what must be refused by default
    "sha256": (oids.SHA256, hashes.SHA256()),
    "sha384": (oids.SHA384, hashes.SHA384()),
    "sha512": (oids.SHA512, hashes.SHA512()),
}


def algorithm(oid: str, parameters: bytes = b"") -> bytes:
    """AlgorithmIdentifier."""
    return der.sequence(der.encode_oid(oid), parameters)


def attribute(oid: str, *values: bytes) -> bytes:
    """Attribute."""
    return der.sequence(der.encode_oid(oid), der.tlv(der.SET, b"".join(values)))


def content_type(oid: str = oids.ID_PKINIT_AUTH_DATA) -> bytes:
    """The contentType attribute."""
    return attribute(oids.ID_CONTENT_TYPE, der.encode_oid(oid))


def message_digest(content: bytes = CONTENT, name: str = "sha256") -> bytes:
    """The messageDigest attribute."""
    value = hashlib.new(name, content).digest()
    return attribute(oids.ID_MESSAGE_DIGEST, der.encode_octet_string(value))


def issuer_and_serial(signer: IssuedCertificate) -> bytes:
    """SignerIdentifier, first choice."""
    certificate = Certificate(signer.certificate_der)
    return der.sequence(certificate.issuer, der.encode_integer(certificate.serial_number))


def key_identifier(signer: IssuedCertificate) -> bytes:
    """SHA-1 of the subjectPublicKey bits: method 1 of RFC 5280 4.2.1.2."""
    bits = Certificate(signer.certificate_der).subject_public_key()
    return hashlib.sha1(bits, usedforsecurity=False).digest()


def signature(
    signer: IssuedCertificate, data: bytes, name: str = "sha256", pss: padding.PSS | None = None
) -> bytes:
    """Sign with the signer's key: PKCS#1 v1.5 unless pss is given, or ECDSA."""
    key = signer.private_key
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, pss or padding.PKCS1v15(), HASHES[name][1])
    return key.sign(data, ec.ECDSA(HASHES[name][1]))


def signer_info(
    signer: IssuedCertificate,
    *,
    attributes: tuple[bytes, ...] | None = None,
    name: str = "sha256",
    digest_algorithm: bytes | None = None,
    signature_algorithm: bytes | None = None,
    sid: bytes | None = None,
    version: int = 1,
    pss: padding.PSS | None = None,
    change_signature: Callable[[bytes], bytes] = lambda s: s,
    signed: bytes | None = None,
    tail: bytes = b"",
) -> bytes:
    """SignerInfo. `attributes=()`: no signedAttrs at all; `signed`: sign these bytes instead."""
    if attributes is None:
        attributes = (content_type(), message_digest(name=name))
    joined = b"".join(attributes)
    made = signature(signer, signed or der.tlv(der.SET, joined), name, pss)
    default = (
        algorithm(oids.RSA_ENCRYPTION, NULL)
        if isinstance(signer.private_key, rsa.RSAPrivateKey)
        else algorithm(oids.ECDSA_WITH_SHA256)
    )
    return der.sequence(
        der.encode_integer(version),
        sid or issuer_and_serial(signer),
        digest_algorithm or algorithm(HASHES[name][0], NULL),
        der.tlv(0xA0, joined) if attributes else b"",
        signature_algorithm or default,
        der.encode_octet_string(change_signature(made)),
        tail,
    )


def signed_data(
    *,
    signer: IssuedCertificate | None = None,
    infos: tuple[bytes, ...] | None = None,
    certificates: tuple[bytes, ...] | None = None,
    e_content_type: str = oids.ID_PKINIT_AUTH_DATA,
    e_content: bytes | None = None,
    version: int = 3,
    crls: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """ContentInfo with SignedData, signed by alice's Hello certificate unless told otherwise."""
    signer = signer or issued.hello()
    if certificates is None:
        certificates = (signer.certificate_der,)
    if infos is None:
        infos = (signer_info(signer),)
    if e_content is None:
        e_content = der.explicit(0, der.encode_octet_string(CONTENT))
    signed = der.sequence(
        der.encode_integer(version),
        der.tlv(der.SET, algorithm(oids.SHA256, NULL)),
        der.sequence(der.encode_oid(e_content_type), e_content),
        der.tlv(0xA0, b"".join(certificates)) if certificates else b"",
        crls,
        der.tlv(der.SET, b"".join(infos)),
        tail,
    )
    return content_info(signed)


def content_info(content: bytes, oid: str = oids.ID_SIGNED_DATA) -> bytes:
    """ContentInfo."""
    return der.sequence(der.encode_oid(oid), der.explicit(0, content))
