"""Is this the KDC of the realm? Its certificate judged as Windows clients judge it.

Rules (MS-PKCA 3.1.5.1, RFC 4556 3.2.4)
  1. The chain ends at an anchor given for this realm; nothing else is trusted, in particular not
     the anchors of TLS.
  2. The extended key usage says id-pkinit-KPKdc.
  3. The subjectAltName names this realm's domain as dNSName, or holds krbtgt/REALM@REALM. Both are
     in a certificate of ours; other KDCs have one or the other.
"""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.verification import (
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from kdc.client.errors import ClientError, ClientFault
from pki import names, oids
from pki.certificate import Certificate
from pki.errors import PkiError

MAX_CHAIN = 8  # intermediates; real ones have at most three


def _load(data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion):
        raise ClientError(ClientFault.KDC_NOT_TRUSTED, "malformed certificate") from None


def verify_kdc_certificate(
    certificate: bytes,
    intermediates: tuple[bytes, ...],
    *,
    anchors: tuple[bytes, ...],
    realm: str,
    domain: str,
    now: datetime,
) -> bytes:
    """Verify that a certificate is the realm's KDC's, and return it.

    certificate, intermediates, anchors: DER. domain: the DNS name that must be in the certificate.
    Assumes that the signature over the reply was verified with this certificate's key.
    Raises ClientError(KDC_NOT_TRUSTED).
    """
    if not anchors:
        raise ClientError(ClientFault.KDC_NOT_TRUSTED, "no anchor to judge its certificate by")
    _verify_chain(certificate, intermediates, anchors, now)
    try:
        _check_names(certificate, realm, domain)
    except PkiError:
        raise ClientError(ClientFault.KDC_NOT_TRUSTED, "malformed certificate") from None
    return certificate


def _verify_chain(
    certificate: bytes, intermediates: tuple[bytes, ...], anchors: tuple[bytes, ...], now: datetime
) -> None:
    # What a KDC's certificate must hold is judged by `_check_names`; the web's rules about
    # subscriber certificates do not apply to it.
    builder = (
        PolicyBuilder()
        .store(Store([_load(anchor) for anchor in anchors]))
        .time(now)
        .max_chain_depth(MAX_CHAIN)
        .extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
        )
    )
    others = [_load(other) for other in intermediates[:MAX_CHAIN]]
    try:
        builder.build_client_verifier().verify(_load(certificate), others)
    # ValueError: the library reads a name only for the text of its own error, and may fail there.
    except (VerificationError, UnsupportedAlgorithm, ValueError) as error:
        reason = "its certificate does not chain to the anchor"
        if "validity" in str(error) or "not valid at" in str(error):
            reason = "its certificate, or one above it, is not valid now"
        raise ClientError(ClientFault.KDC_NOT_TRUSTED, reason) from None


def _check_names(certificate: bytes, realm: str, domain: str) -> None:
    try:
        usage = _load(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        purposes = {purpose.dotted_string for purpose in usage}
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        purposes = set()
    if oids.ID_PKINIT_KP_KDC not in purposes:
        raise ClientError(
            ClientFault.KDC_NOT_TRUSTED, "its certificate is not for a KDC (id-pkinit-KPKdc)"
        )
    value = Certificate(certificate).extension(oids.ID_CE_SUBJECT_ALT_NAME)
    found = names.SubjectAltNames() if value is None else names.decode_subject_alt_name(value)
    krbtgt = names.krbtgt_name(realm)
    by_principal = any(
        name.realm == krbtgt.realm and name.components == krbtgt.components for name in found.pkinit
    )
    by_domain = any(name.lower() == domain.lower() for name in found.dns)
    if not (by_principal or by_domain):
        raise ClientError(ClientFault.KDC_NOT_TRUSTED, "its certificate names another realm")
