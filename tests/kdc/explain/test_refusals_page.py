"""docs/refusals.md is what the command prints, and shows no secret."""

import base64

from kdc.explain.redact import is_blank
from kdc.wire.constants import PaType
from kdc.wire.rfc4120 import AsReq, EncryptedData
from pki import asn1
from tests.kdc.explain.refusals_page import PAGE, make_page, read_vectors


def test_the_page_is_what_the_command_prints() -> None:
    """If not: python -m tests.kdc.explain.refusals_page, and look at the difference."""
    assert PAGE.read_text() == make_page()


def test_ten_refusals_of_ten_kinds_are_explained() -> None:
    """Each with a reason of its own."""
    reasons = [case["record"]["why"] for case in read_vectors()["cases"]]
    assert len(set(reasons)) == len(reasons) == 10


def test_no_timestamp_of_the_recording_can_be_attacked() -> None:
    """The vectors are public: their ciphers are zeros."""
    timestamps = 0
    for case in read_vectors()["cases"]:
        message = base64.b64decode(str(case["record"]["message"]))
        for pa in asn1.decode(AsReq, message).padata or ():
            if pa.padata_type == PaType.ENC_TIMESTAMP:
                timestamps += 1
                assert is_blank(asn1.decode(EncryptedData, pa.padata_value).cipher)
    assert timestamps
