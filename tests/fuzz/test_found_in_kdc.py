"""What fuzzing found in kdc and was mended, each with the input that showed it."""

import pytest

from kdc.client.errors import ClientError
from kdc.client.kdc_certificate import verify_kdc_certificate
from kdc.config import ConfigError
from kdc.config_read import parse_config
from kdc.formats.ccache import Principal, parse_principal
from tests.fuzz.realm import kdc_certificate, root
from tests.kdc.builders import NOW, REALM


def test_kdc_certificate_of_an_unknown_version_is_not_trusted() -> None:
    """A KDC, or whoever stands between, must not end the client with a traceback."""
    good = kdc_certificate().certificate_der
    at = good.index(b"\xa0\x03\x02\x01\x02") + 4
    with pytest.raises(ClientError):
        verify_kdc_certificate(
            good[:at] + b"\x07" + good[at + 1 :],
            (),
            anchors=(root().certificate_der,),
            realm=REALM,
            domain="lab.test",
            now=NOW,
        )


def test_kdc_certificate_not_yet_valid_whose_subject_is_not_utf8_is_not_trusted() -> None:
    """The library reads the subject only for the text of its own error."""
    good = kdc_certificate().certificate_der
    organization = b"\x0c\x08LAB.TEST"
    at = good.rindex(organization) + 2
    not_before = good.index(b"\x17\x0d26") + 2
    good = good[:not_before] + b"36" + good[not_before + 2 :]
    with pytest.raises(ClientError):
        verify_kdc_certificate(
            good[:at] + b"\xcc" + good[at + 1 :],
            (),
            anchors=(root().certificate_der,),
            realm=REALM,
            domain="lab.test",
            now=NOW,
        )


def test_number_of_5000_digits_is_a_config_error() -> None:
    """The ValueError of int() leaves tomllib, and then us."""
    with pytest.raises(ConfigError):
        parse_config('realm = "LAB.TEST"\nworkers = ' + "9" * 5000)


def test_deeply_nested_list_is_a_config_error() -> None:
    """The tomllib of Python 3.11 and 3.12 has no bound of its own."""
    with pytest.raises(ConfigError):
        parse_config('realm = "LAB.TEST"\nlisten = ' + "[" * 5000 + "]" * 5000)


def test_principal_whose_realm_ends_in_a_backslash_survives_its_text_form() -> None:
    """`Setting.principal` of a credential cache is written and read as text."""
    principal = Principal(realm="LAB\\", components=("alice",))
    assert parse_principal(str(principal)) == principal
