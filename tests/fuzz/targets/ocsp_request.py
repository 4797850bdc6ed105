"""Any octets get an OCSP response; a signed one only for what names our CA, and it says what is so.

Never an exception, never "good" for a certificate that was not issued or is revoked.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from pki import ca
from pki.certificate import Certificate
from pki.ocsp_responder import MAX_CERTIDS, Known, OcspSigner, answer_request

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
GOOD, REVOKED = 7, 8
"""Serial numbers that were issued; no other was."""

# From a fixed number: recorded requests name this key.
_KEY = ec.derive_private_key(0x6B6579747275737400000001, ec.SECP256R1())
_ROOT = ca.create_root("LAB.TEST", NOW, _KEY)
ISSUER = Certificate(_ROOT.certificate_der)
_RESPONDER = ca.issue_ocsp_certificate(_ROOT, "LAB.TEST", NOW)
_OWN_KEY = _RESPONDER.private_key
assert isinstance(_OWN_KEY, ec.EllipticCurvePrivateKey)
_SIGNER = OcspSigner(_RESPONDER.certificate_der, _OWN_KEY)


def _lookup(serial_number: int) -> Known | None:
    if serial_number == GOOD:
        return Known()
    return Known(revoked_at=NOW, reason=1) if serial_number == REVOKED else None


def answered(data: bytes) -> bytes:
    """Answer one request."""
    return answer_request(data, ISSUER, _lookup, _SIGNER, NOW)


def one(data: bytes) -> None:
    """Answer one request and read the answer with another library."""
    answer = answered(data)
    assert len(answer) < 8192
    found = ocsp.load_der_ocsp_response(answer)
    status = found.response_status
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        unsigned = (
            ocsp.OCSPResponseStatus.MALFORMED_REQUEST,
            ocsp.OCSPResponseStatus.UNAUTHORIZED,
        )
        assert status in unsigned
        assert len(answer) == 5
        return
    responder = x509.load_der_x509_certificate(_RESPONDER.certificate_der)
    assert found.certificates == [responder]
    singles = list(found.responses)
    assert 0 < len(singles) <= MAX_CERTIDS
    for single in singles:
        if single.certificate_status is ocsp.OCSPCertStatus.GOOD:
            assert single.serial_number == GOOD
        elif single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            assert single.serial_number == REVOKED
