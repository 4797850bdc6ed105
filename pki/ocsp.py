"""OCSP responses (RFC 6960): read strictly, verified, and asked about one certificate.

Rules
  1. A response is signed by the issuer of the certificate itself, or by a responder whose
     certificate that issuer issued directly with the purpose OCSPSigning (4.2.2.2). Nobody else.
  2. A nonce is not demanded: responses are fetched ahead of need, never on a logon.
  3. Only `successful` responses of the basic type are of use; the others say nothing.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki import asn1, der, oids
from pki.certificate import Certificate
from pki.chain import ChainProfile, check_issued_by
from pki.cms_syntax import AlgorithmIdentifier
from pki.crl import ENUMERATED, REASONS, check_signed_by
from pki.errors import ChainError, DerFault, PkiError, RevocationFault
from pki.extensions import (
    KeyUsageBit,
    decode_ext_key_usage,
    decode_extensions,
    decode_key_usage,
)
from pki.x500 import canonical_name

MAX_OCSP_BYTES = 1 << 20
MAX_RESPONSES = 1024  # responders of closed PKIs pre-sign many certificates in one
MAX_RESPONDER_CERTIFICATES = 8
MAX_AGE_WITHOUT_NEXT_UPDATE = timedelta(hours=24)
"""4.2.2.1: without nextUpdate newer information is always available; a day is our patience."""

_SUCCESSFUL = 0
_HASHES = {oids.SHA1: "sha1", oids.SHA256: "sha256", oids.SHA384: "sha384", oids.SHA512: "sha512"}
_NULL = der.tlv(der.NULL, b"")
_GOOD, _REVOKED, _UNKNOWN = 0x80, 0xA1, 0x82


@asn1.sequence
class _ResponseBytes:
    """ResponseBytes ::= SEQUENCE { responseType OID, response OCTET STRING }"""

    response_type: str = asn1.plain(asn1.OID)
    response: bytes = asn1.plain(asn1.OCTET_STRING)


@asn1.sequence
class _OcspResponse:
    """OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED, responseBytes [0] OPTIONAL }"""

    response_status: int = asn1.plain(ENUMERATED)
    response_bytes: _ResponseBytes | None = asn1.explicit(
        0, asn1.nested(_ResponseBytes), default=None
    )


@asn1.sequence
class CertId:
    """CertID ::= SEQUENCE {

    hashAlgorithm AlgorithmIdentifier, issuerNameHash OCTET STRING, issuerKeyHash OCTET STRING,
    serialNumber INTEGER }
    """

    hash_algorithm: AlgorithmIdentifier = asn1.plain(asn1.nested(AlgorithmIdentifier))
    issuer_name_hash: bytes = asn1.plain(asn1.OCTET_STRING)
    issuer_key_hash: bytes = asn1.plain(asn1.OCTET_STRING)
    serial_number: int = asn1.plain(asn1.INTEGER)


@asn1.sequence
class _RevokedInfo:
    """RevokedInfo ::= SEQUENCE { revocationTime, revocationReason [0] CRLReason OPTIONAL }"""

    revocation_time: datetime = asn1.plain(asn1.GENERALIZED_TIME)
    revocation_reason: int | None = asn1.explicit(0, ENUMERATED, default=None)


@asn1.sequence
class _SingleResponse:
    """SingleResponse ::= SEQUENCE {

    certID CertID, certStatus CertStatus, thisUpdate GeneralizedTime,
    nextUpdate [0] GeneralizedTime OPTIONAL, singleExtensions [1] Extensions OPTIONAL }
    """

    cert_id: CertId = asn1.plain(asn1.nested(CertId))
    cert_status: bytes = asn1.plain(asn1.ANY)
    this_update: datetime = asn1.plain(asn1.GENERALIZED_TIME)
    next_update: datetime | None = asn1.explicit(0, asn1.GENERALIZED_TIME, default=None)
    single_extensions: bytes | None = asn1.explicit(1, asn1.ANY, default=None)


@asn1.sequence
class _ResponseData:
    """ResponseData ::= SEQUENCE {

    version [0] DEFAULT v1, responderID ResponderID, producedAt GeneralizedTime,
    responses SEQUENCE OF SingleResponse, responseExtensions [1] Extensions OPTIONAL }
    """

    version: int = asn1.explicit(0, asn1.INT32, default=0)
    responder_id: bytes = asn1.plain(asn1.ANY)
    produced_at: datetime = asn1.plain(asn1.GENERALIZED_TIME)
    responses: tuple[_SingleResponse, ...] = asn1.plain(
        asn1.sequence_of(asn1.nested(_SingleResponse), MAX_RESPONSES)
    )
    response_extensions: bytes | None = asn1.explicit(1, asn1.ANY, default=None)
    raw: bytes = asn1.received()


@asn1.sequence
class _BasicOcspResponse:
    """BasicOCSPResponse ::= SEQUENCE {

    tbsResponseData ResponseData, signatureAlgorithm AlgorithmIdentifier, signature BIT STRING,
    certs [0] SEQUENCE OF Certificate OPTIONAL }
    """

    tbs_response_data: _ResponseData = asn1.plain(asn1.nested(_ResponseData))
    signature_algorithm: AlgorithmIdentifier = asn1.plain(asn1.nested(AlgorithmIdentifier))
    signature: bytes = asn1.plain(asn1.BIT_STRING)
    certs: tuple[bytes, ...] | None = asn1.explicit(
        0, asn1.sequence_of(asn1.ANY, MAX_RESPONDER_CERTIFICATES), default=None
    )


def has_known_hash(cert_id: CertId) -> bool:
    """Tell whether a CertID's hash is one that names issuers, and has no parameters."""
    algorithm = cert_id.hash_algorithm
    return algorithm.algorithm in _HASHES and algorithm.parameters in (None, _NULL)


def is_of_issuer(cert_id: CertId, name: bytes, key: bytes) -> bool:
    """Tell whether a CertID names this issuer; False also when its hash is not a known one.

    name: DER of the issuer's Name. key: content of its subjectPublicKey (RFC 6960 4.1.1).
    """
    algorithm = _HASHES.get(cert_id.hash_algorithm.algorithm)
    if algorithm is None:
        return False
    return (
        hashlib.new(algorithm, name, usedforsecurity=False).digest() == cert_id.issuer_name_hash
        and hashlib.new(algorithm, key, usedforsecurity=False).digest() == cert_id.issuer_key_hash
    )


def encode_ocsp_request(serial_number: int, issuer: Certificate) -> bytes:
    """Encode an OCSPRequest about one certificate of an issuer, without a nonce (RFC 5019 2.1).

    The CertID has SHA-1, which every responder knows; it only names, nothing rests on it.
    """

    def digest(data: bytes) -> bytes:
        return der.encode_octet_string(hashlib.sha1(data, usedforsecurity=False).digest())

    cert_id = der.sequence(
        der.sequence(der.encode_oid(oids.SHA1), der.tlv(der.NULL, b"")),
        digest(issuer.subject),
        digest(issuer.subject_public_key()),
        der.encode_integer(serial_number),
    )
    return der.sequence(der.sequence(der.sequence(der.sequence(cert_id))))


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStatus:
    """What a response says about one certificate."""

    cert_id: CertId
    known: bool
    reason: int | None
    """CRLReason of a revoked certificate; None: good (or not known)."""
    this_update: datetime
    next_update: datetime

    def is_about(self, certificate: Certificate, issuer: Certificate) -> bool:
        """Tell whether the CertID names this certificate of this issuer."""
        return self.cert_id.serial_number == certificate.serial_number and is_of_issuer(
            self.cert_id, certificate.issuer, issuer.subject_public_key()
        )

    def is_about_serial(self, serial_number: int, issuer: Certificate) -> bool:
        """Tell whether the CertID names the certificate of this issuer with this number."""
        return self.cert_id.serial_number == serial_number and is_of_issuer(
            self.cert_id, issuer.subject, issuer.subject_public_key()
        )


def _single(response: _SingleResponse) -> SingleStatus:
    _check_extensions(response.single_extensions)
    status = response.cert_status
    tag, start, end = der.read_tlv(status)
    reason = None
    if tag == _REVOKED:
        info = asn1.decode(_RevokedInfo, der.tlv(der.SEQUENCE, status[start:end]))
        reason = info.revocation_reason or 0
        if reason not in REASONS:
            raise PkiError(RevocationFault.MALFORMED, "CRLReason")
    elif tag not in (_GOOD, _UNKNOWN) or start != end:
        raise PkiError(DerFault.BAD_VALUE, "CertStatus")
    try:
        until = response.next_update or response.this_update + MAX_AGE_WITHOUT_NEXT_UPDATE
    except OverflowError:
        raise PkiError(RevocationFault.MALFORMED, "thisUpdate") from None
    return SingleStatus(
        cert_id=response.cert_id,
        known=tag != _UNKNOWN,
        reason=reason,
        this_update=response.this_update,
        next_update=until,
    )


def _check_extensions(raw: bytes | None) -> None:
    if raw is not None and any(e.critical for e in decode_extensions(raw).values()):
        raise PkiError(RevocationFault.UNSUPPORTED, "critical OCSP extension")


class OcspResponse:
    """An OCSP response, read. Raises PkiError: a DerFault, RevocationFault.UNSUPPORTED."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_OCSP_BYTES:
            raise PkiError(DerFault.OVER_LIMIT, "OCSPResponse")
        outer = asn1.decode(_OcspResponse, data)
        if outer.response_status != _SUCCESSFUL or outer.response_bytes is None:
            raise PkiError(RevocationFault.UNSUPPORTED, "the responder did not answer")
        if outer.response_bytes.response_type != oids.ID_PKIX_OCSP_BASIC:
            raise PkiError(RevocationFault.UNSUPPORTED, "type of OCSP response")
        self._basic = asn1.decode(_BasicOcspResponse, outer.response_bytes.response)
        data_part = self._basic.tbs_response_data
        if data_part.version != 0:
            raise PkiError(RevocationFault.UNSUPPORTED, "version of ResponseData")
        _check_extensions(data_part.response_extensions)
        self.statuses = tuple(map(_single, data_part.responses))

    def responder(self, issuer: Certificate, profile: ChainProfile, now: datetime) -> Certificate:
        """Return the certificate that signed: the issuer's own, or one it delegated to.

        The signature is verified. Whether a delegated certificate is revoked is the caller's to
        ask, unless it has id-pkix-ocsp-nocheck.
        Raises PkiError: RevocationFault.NOT_ALLOWED, BAD_SIGNATURE, UNSUPPORTED.
        """
        signer = issuer
        if not self._is_named(issuer):
            signer = self._delegated(issuer, profile, now)
        check_signed_by(
            signer,
            self._basic.signature_algorithm,
            self._basic.signature,
            self._basic.tbs_response_data.raw,
            profile.digests,
            profile.key_policy,
        )
        return signer

    def _is_named(self, certificate: Certificate) -> bool:
        """Tell whether responderID names this certificate."""
        element = self._basic.tbs_response_data.responder_id
        tag, start, end = der.read_tlv(element)
        if tag == 0xA1:
            return canonical_name(element[start:end]) == canonical_name(certificate.subject)
        if tag == 0xA2:
            key = hashlib.sha1(certificate.subject_public_key(), usedforsecurity=False)
            return asn1.decode_as(asn1.OCTET_STRING, element[start:end]) == key.digest()
        raise PkiError(DerFault.BAD_TAG, "ResponderID")

    def _delegated(self, issuer: Certificate, profile: ChainProfile, now: datetime) -> Certificate:
        refused = "no certificate of the responder"
        for data in self._basic.certs or ():
            certificate = Certificate(data)
            if not self._is_named(certificate):
                continue
            refused = _why_not_responder(certificate, issuer, profile, now)
            if not refused:
                return certificate
        raise PkiError(RevocationFault.NOT_ALLOWED, refused)


def _why_not_responder(
    certificate: Certificate, issuer: Certificate, profile: ChainProfile, now: datetime
) -> str:
    """Return why a certificate may not sign OCSP responses for an issuer, or ""."""
    if canonical_name(certificate.issuer) != canonical_name(issuer.subject):
        return "the responder's certificate is another issuer's"
    try:
        check_issued_by(certificate, issuer, profile, 0)
    except ChainError:
        return "the responder's certificate is not signed by the issuer"
    value = certificate.extension(oids.ID_CE_EXT_KEY_USAGE)
    if value is None or oids.ID_KP_OCSP_SIGNING not in decode_ext_key_usage(value):
        return "the responder's certificate lacks OCSPSigning"
    usage = certificate.extension(oids.ID_CE_KEY_USAGE)
    if usage is not None and not decode_key_usage(usage) & KeyUsageBit.DIGITAL_SIGNATURE:
        return "the responder's keyUsage lacks digitalSignature"
    not_before, not_after = certificate.validity()
    if not not_before <= now <= not_after:
        return "the responder's certificate is not valid now"
    return ""
