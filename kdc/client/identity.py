"""A client's identity for PKINIT: a private key and the certificate that belongs to it."""

from pki import ca
from pki.cms_sign import CmsSigner
from pki.errors import KeyFault, PkiError
from pki.keys import public_key_from_certificate, public_key_from_cryptography


def identity_from_pem(data: bytes) -> CmsSigner:
    """Read a private key, its certificate and perhaps intermediates, in any order.

    data: PEM. Raises PkiError: MALFORMED also when the key belongs to none of the certificates.
    """
    key = ca.private_key_from_pem(data)
    public = public_key_from_cryptography(key.public_key())
    certificates = ca.certificates_from_pem(data)
    for certificate in certificates:
        if public_key_from_certificate(certificate) == public:
            chain = tuple(other for other in certificates if other != certificate)
            return CmsSigner(key, certificate, chain)
    raise PkiError(KeyFault.MALFORMED, "the private key belongs to no certificate beside it")
