"""An OCSP response is read or refused with a PkiError; none that was damaged is ever believed.

Nor is one found in a damaged bundle that was not put there.
"""

from datetime import UTC, datetime

from pki.chain import ChainProfile
from pki.errors import PkiError
from pki.ocsp import OcspResponse
from pki.ocsp_bundle import OcspBundle
from tests.fuzz.targets.ocsp_request import GOOD, ISSUER

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
_PROFILE = ChainProfile()


def one(data: bytes) -> None:
    """Read one response, and the same octets as a bundle."""
    try:
        for digest, body in OcspBundle(data).items().items():
            assert len(digest) == 32
            assert body in data
    except PkiError as error:
        assert len(error.detail) < 80
    try:
        response = OcspResponse(data)
    except PkiError as error:
        assert len(error.detail) < 80
        return
    for status in response.statuses:
        status.is_about_serial(GOOD, ISSUER)
        assert status.reason is None or 0 <= status.reason <= 10
    try:
        response.responder(ISSUER, _PROFILE, NOW)
    except PkiError as error:
        assert len(error.detail) < 80
