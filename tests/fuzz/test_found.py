"""What fuzzing found in pki and directory and was mended, each with its input."""

import base64

import pytest

from pki import ca
from pki.errors import ChainFault, PkiError
from pki.kdc_certificate import check_kdc_certificate
from tests.fuzz.realm import kdc_certificate
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
