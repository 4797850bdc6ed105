"""OCSP responder (RFC 6960, RFC 5019): one request in, one signed response out.

Rules
  1. Pure: who knows certificates (`lookup`), the key and the time come in.
  2. What the CA has issued and not revoked is good; what it has never issued is unknown, so that a
     forged certificate of a stolen key is not called good (4.4.8 of CA/B's rules; RFC 6960 2.2).
  3. A request that is no request gets `malformedRequest`, one about other CAs `unauthorized`; both
     are unsigned, as the RFC has them, and cost no signature.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pki import asn1, der, oids
from pki.certificate import Certificate
from pki.crl import ENUMERATED
from pki.errors import DerFault, PkiError
from pki.extensions import decode_extensions
from pki.ocsp import CertId, has_known_hash, is_of_issuer

MAX_REQUEST_BYTES = 4096  # a CertID has some 80; RFC 5019 2.1.1 has one in a request
MAX_CERTIDS = 16
MAX_NONCE_BYTES = 128  # RFC 9654 2.1
LIFE = timedelta(hours=1)
"""nextUpdate: how long a client may believe an answer. A revocation must not wait in a cache."""
BACKDATE = timedelta(minutes=5)

_MALFORMED, _UNAUTHORIZED = 1, 6


@asn1.sequence
class _Request:
    """Request ::= SEQUENCE { reqCert CertID, singleRequestExtensions [0] Extensions OPTIONAL }"""

    req_cert: CertId = asn1.plain(asn1.nested(CertId))
    single_request_extensions: bytes | None = asn1.explicit(0, asn1.ANY, default=None)


@asn1.sequence
class _TbsRequest:
    """TBSRequest ::= SEQUENCE {

    version [0] DEFAULT v1, requestorName [1] GeneralName OPTIONAL,
    requestList SEQUENCE OF Request, requestExtensions [2] Extensions OPTIONAL }
    """

    version: int = asn1.explicit(0, asn1.INT32, default=0)
    requestor_name: bytes | None = asn1.explicit(1, asn1.ANY, default=None)
    request_list: tuple[_Request, ...] = asn1.plain(
        asn1.sequence_of(asn1.nested(_Request), MAX_CERTIDS)
    )
    request_extensions: bytes | None = asn1.explicit(2, asn1.ANY, default=None)


@asn1.sequence
class _OcspRequest:
    """OCSPRequest ::= SEQUENCE { tbsRequest, optionalSignature [0] OPTIONAL }"""

    tbs_request: _TbsRequest = asn1.plain(asn1.nested(_TbsRequest))
    optional_signature: bytes | None = asn1.explicit(0, asn1.ANY, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the CA knows of a certificate that it has issued."""

    revoked_at: datetime | None = None
    reason: int = 0


Lookup = Callable[[int], Known | None]
"""serial number -> what is known; None: never issued."""


class OcspSigner:
    """The responder's certificate and key."""

    def __init__(
        self, certificate: bytes, private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    ) -> None:
        self.certificate = Certificate(certificate)
        self._key = private_key
        key_hash = hashlib.sha1(self.certificate.subject_public_key(), usedforsecurity=False)
        self._id = der.explicit(2, der.encode_octet_string(key_hash.digest()))
        self.not_after = self.certificate.validity()[1]

    def respond(self, singles: list[bytes], nonce: bytes | None, now: datetime) -> bytes:
        """Sign a response that holds these SingleResponses."""
        extensions = b""
        if nonce is not None:
            one = der.sequence(
                der.encode_oid(oids.ID_PKIX_OCSP_NONCE), der.encode_octet_string(nonce)
            )
            extensions = der.explicit(1, der.sequence(one))
        data = der.sequence(self._id, _time(now), der.sequence(*singles), extensions)
        if isinstance(self._key, rsa.RSAPrivateKey):
            null = der.tlv(der.NULL, b"")
            algorithm = der.sequence(der.encode_oid(oids.SHA256_WITH_RSA), null)
            signature = self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        else:
            algorithm = der.sequence(der.encode_oid(oids.ECDSA_WITH_SHA256))
            signature = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        certificates = der.explicit(0, der.sequence(self.certificate.der))
        basic = der.sequence(data, algorithm, der.encode_bit_string(signature), certificates)
        body = der.sequence(der.encode_oid(oids.ID_PKIX_OCSP_BASIC), der.encode_octet_string(basic))
        return der.sequence(_enumerated(0), der.explicit(0, body))

    def __repr__(self) -> str:
        return f"OcspSigner({self.certificate!r})"


def _enumerated(value: int) -> bytes:
    return asn1.encode_as(ENUMERATED, value)


def _time(moment: datetime) -> bytes:
    return asn1.encode_as(asn1.GENERALIZED_TIME, moment.replace(microsecond=0))


def failure(status: int) -> bytes:
    """Encode an OCSPResponse that is only a responseStatus."""
    return der.sequence(_enumerated(status))


def answer_request(
    data: bytes, issuer: Certificate, lookup: Lookup, signer: OcspSigner, now: datetime
) -> bytes:
    """Answer an OCSPRequest; return the DER of an OCSPResponse. Never raises for its content."""
    try:
        if len(data) > MAX_REQUEST_BYTES:
            return failure(_MALFORMED)
        request = asn1.decode(_OcspRequest, data).tbs_request
        nonce = _nonce(request.request_extensions)
        wanted = [one.req_cert for one in request.request_list]
    except PkiError:
        return failure(_MALFORMED)
    if request.version != 0 or not wanted:
        return failure(_MALFORMED)
    if not all(map(has_known_hash, wanted)):
        # The CertIDs are repeated, and we sign nobody's octets that we do not understand.
        return failure(_UNAUTHORIZED)
    key = issuer.subject_public_key()
    ours = [is_of_issuer(one, issuer.subject, key) for one in wanted]
    if not any(ours):
        return failure(_UNAUTHORIZED)
    until = min(now + LIFE, signer.not_after)
    singles = [
        _single(one, lookup(one.serial_number) if mine else None, now, until)
        for one, mine in zip(wanted, ours, strict=True)
    ]
    return signer.respond(singles, nonce, now)


def _nonce(extensions: bytes | None) -> bytes | None:
    """Take the nonce to be repeated. Raises PkiError, also for a critical extension not known."""
    found = {} if extensions is None else decode_extensions(extensions)
    nonce = found.pop(oids.ID_PKIX_OCSP_NONCE, None)
    if any(extension.critical for extension in found.values()):
        der.fail(DerFault.BAD_VALUE, "critical OCSP extension")
    if nonce is None:
        return None
    if not 0 < len(nonce.value) <= MAX_NONCE_BYTES + 2:
        der.fail(DerFault.OVER_LIMIT, "nonce")
    return nonce.value


def _single(wanted: CertId, known: Known | None, now: datetime, until: datetime) -> bytes:
    if known is None:
        status = der.tlv(0x82, b"")
    elif known.revoked_at is None:
        status = der.tlv(0x80, b"")
    else:
        reason = der.explicit(0, _enumerated(known.reason)) if known.reason else b""
        status = der.tlv(0xA1, _time(known.revoked_at) + reason)
    cert_id = der.sequence(
        asn1.encode(wanted.hash_algorithm),
        der.encode_octet_string(wanted.issuer_name_hash),
        der.encode_octet_string(wanted.issuer_key_hash),
        der.encode_integer(wanted.serial_number),
    )
    return der.sequence(cert_id, status, _time(now - BACKDATE), der.explicit(0, _time(until)))
