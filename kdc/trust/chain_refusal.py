"""From a fault of a certificate chain to the KRB-ERROR, with the typed data of RFC 4556 3.2.2.

70 lists whom the KDC would believe (TD-TRUSTED-CERTIFIERS), 71, 72 and 73 name the certificate at
fault (TD-INVALID-CERTIFICATES), 78 lists the digests accepted (TD-CERT-DIGEST-ALGORITHMS, RFC 8636
section 5). 62 and 77 have none.
"""

from kdc.errors import FAULT_CODES, KdcError
from kdc.wire.constants import ErrorCode, TypedData
from kdc.wire.rfc4556 import (
    MAX_CERTIFIERS,
    TD_EXTERNAL_IDENTIFIERS,
    AlgorithmIdentifier,
    ExternalPrincipalIdentifier,
    TdCertDigestAlgorithms,
    typed_data,
)
from pki import asn1, der
from pki.certificate import Certificate
from pki.chain import ChainProfile
from pki.errors import ChainError, ChainFault, PkiError
from pki.signatures import ECDSA_WITH, RSA_WITH

_NAMES_THE_CERTIFICATE = frozenset(
    (
        ErrorCode.KDC_ERR_INVALID_CERTIFICATE,
        ErrorCode.KDC_ERR_REVOKED_CERTIFICATE,
        ErrorCode.KDC_ERR_REVOCATION_STATUS_UNKNOWN,
    )
)


def trusted_certifiers(certifiers: tuple[Certificate, ...]) -> bytes:
    """Encode the e-data that lists CAs: subject, and key identifier where there is one."""
    listed = []
    for certificate in certifiers[:MAX_CERTIFIERS]:
        own = certificate.subject_key_identifier()
        listed.append(
            ExternalPrincipalIdentifier(
                subject_name=certificate.subject,
                subject_key_identifier=None if own is None else der.encode_octet_string(own),
            )
        )
    value = asn1.encode_as(TD_EXTERNAL_IDENTIFIERS, tuple(listed))
    return typed_data(TypedData.TRUSTED_CERTIFIERS, value)


def invalid_certificates(certificate: Certificate) -> bytes:
    """Encode the e-data that names one certificate by issuer and serial number."""
    named = der.sequence(certificate.issuer, der.encode_integer(certificate.serial_number))
    identifier = ExternalPrincipalIdentifier(issuer_and_serial_number=named)
    value = asn1.encode_as(TD_EXTERNAL_IDENTIFIERS, (identifier,))
    return typed_data(TypedData.INVALID_CERTIFICATES, value)


def accepted_cert_digests(profile: ChainProfile) -> bytes:
    """Encode the e-data that lists the algorithms certificates may be signed with."""
    allowed = tuple(
        AlgorithmIdentifier(algorithm=oid, parameters=None)
        for table in (RSA_WITH, ECDSA_WITH)
        for digest, oid in table.items()
        if digest in profile.digests
    )
    value = asn1.encode(TdCertDigestAlgorithms(allowed_algorithms=allowed))
    return typed_data(TypedData.CERT_DIGEST_ALGORITHMS, value)


def refusal_from_chain(
    error: ChainError, certifiers: tuple[Certificate, ...], profile: ChainProfile
) -> KdcError:
    """Turn a fault of a chain into its refusal; the facts name certificate and rule."""
    code = FAULT_CODES[error.chain_fault]
    e_data = None
    if code is ErrorCode.KDC_ERR_CANT_VERIFY_CERTIFICATE:
        e_data = trusted_certifiers(certifiers)
    elif code in _NAMES_THE_CERTIFICATE:
        try:
            e_data = invalid_certificates(Certificate(error.certificate))
        except PkiError:
            e_data = None  # so malformed that it cannot be named
    elif code is ErrorCode.KDC_ERR_DIGEST_IN_CERT_NOT_ACCEPTED:
        e_data = accepted_cert_digests(profile)
    alarm = {}
    if error.chain_fault is ChainFault.NOT_A_LOGON_CA:
        # Event 45 or 21 of a Windows KDC (KB5057784): somebody's CA can make logon certificates.
        alarm = {"alarm": "a CA that is no logon CA issued a certificate used for a logon"}
    return KdcError(
        code,
        f"certificate chain: {error.chain_fault.value}",
        e_data=e_data,
        rule=error.detail,
        certificate_index=error.index,
        certificate_subject=error.subject,
        certificate_serial=f"{error.serial_number:x}",
        **alarm,
    )
