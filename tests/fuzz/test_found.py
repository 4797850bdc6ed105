"""What fuzzing found in pki and directory and was mended, each with its input."""

import base64

import pytest

from pki import ca
from pki.errors import ChainFault, PkiError, RevocationFault
from pki.kdc_certificate import check_kdc_certificate
from pki.ocsp import OcspResponse
from pki.ocsp_responder import failure
from tests.fuzz.realm import kdc_certificate
from tests.fuzz.targets import CORPUS, ocsp_request
from tests.kdc.builders import NOW, REALM


def _of_version(number: int) -> bytes:
    good = kdc_certificate().certificate_der
    at = good.index(b"\xa0\x03\x02\x01\x02") + 4
    return good[:at] + bytes((number - 1,)) + good[at + 1 :]


def test_certificate_of_an_unknown_version_is_said_to_be_malformed() -> None:
    """The library's InvalidVersion is no ValueError."""
    problems = check_kdc_certificate(_of_version(8), REALM, "lab.test", NOW)
    assert problems == ("it is not a well-formed X.509 certificate",)


def test_pem_file_with_a_certificate_of_an_unknown_version_is_malformed() -> None:
    """The same, on the way in from a file."""
    body = base64.encodebytes(_of_version(8))
    with pytest.raises(PkiError) as caught:
        ca.certificates_from_pem(
            b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
        )
    assert caught.value.fault is ChainFault.MALFORMED


def test_ocsp_response_of_the_last_day_of_time_is_malformed() -> None:
    """Without nextUpdate a day is added, which overflowed."""
    data = (CORPUS / "ocsp_response" / "year-9999").read_bytes()
    with pytest.raises(PkiError) as caught:
        OcspResponse(data)
    assert caught.value.fault is RevocationFault.MALFORMED


@pytest.mark.parametrize("name", ["hash-parameters", "hash-unknown"])
def test_ocsp_request_with_a_hash_that_is_none_is_not_signed(name: str) -> None:
    """Its CertID would be repeated in what we sign, with octets that only a client understands."""
    data = (CORPUS / "ocsp_request" / name).read_bytes()
    assert ocsp_request.answered(data) == failure(6)
