"""Certificate requests as devices make them, with one thing wrong where a test asks for it."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from pki import der, oids
from pki.keys import PublicKey
from pki.x500 import encode_name, simple_name

DEVICE_NAME = "7E980AD9-B86D-4306-9425-9AC066FB014A"
NONCE_EXTENSION = "1.2.840.113556.1.5.284.2.1"
SHA256_WITH_RSA = der.sequence(der.encode_oid(oids.SHA256_WITH_RSA), der.tlv(der.NULL, b""))


def device_request(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    name: str = DEVICE_NAME,
    digest: hashes.SHA256 | hashes.SHA512 | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """Make a request with the library that roadtx uses. nonce: DER of the extension."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if nonce is not None:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(NONCE_EXTENSION), nonce)
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(key, digest or hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def forged_request(
    key: PublicKey, signer: rsa.RSAPrivateKey, *, version: int = 0, attributes: bytes = b""
) -> bytes:
    """Make a request for a key that the signer need not have, of any numbers at all."""
    info = der.sequence(
        der.encode_integer(version),
        encode_name(simple_name((oids.ID_AT_COMMON_NAME, DEVICE_NAME))),
        key.spki_der(),
        der.tlv(0xA0, attributes),
    )
    signature = signer.sign(info, padding.PKCS1v15(), hashes.SHA256())
    return der.sequence(info, SHA256_WITH_RSA, der.encode_bit_string(signature))
