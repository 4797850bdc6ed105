"""SignedData that real clients sent: each is read and verified as it came off the wire."""

import json
from pathlib import Path
from typing import TypedDict

import pytest

from pki import cms, oids
from pki.errors import CmsFault, PkiError


class _Case(TypedDict):
    id: str
    source: str
    catches: str
    signed_data: str
    digest: str | None
    certificate: str | None


_FILE = Path(__file__).resolve().parents[1] / "vectors" / "cms_clients.json"
_CASES: list[_Case] = json.loads(_FILE.read_text())


def _verify(case: _Case) -> cms.VerifiedSigner:
    return cms.verify_signature(
        cms.parse_signed_data(bytes.fromhex(case["signed_data"])),
        expected_content_type=oids.ID_PKINIT_AUTH_DATA,
        policy=cms.CmsPolicy(),
        check_key=lambda _: (),
    )


@pytest.mark.parametrize(
    "case", [c for c in _CASES if c["digest"] is not None], ids=lambda c: c["id"]
)
def test_message_of_a_real_client_verifies(case: _Case) -> None:
    """Both identifier forms, Heimdal's tagging, MIT's name for an EC signature."""
    verified = _verify(case)
    assert verified.digest == case["digest"]
    assert verified.certificate.der.hex() == case["certificate"]
    assert verified.content


@pytest.mark.parametrize("case", [c for c in _CASES if c["digest"] is None], ids=lambda c: c["id"])
def test_message_that_a_real_client_did_not_sign_is_refused(case: _Case) -> None:
    """Heimdal sends an unsigned AuthPack when it can use none of its certificates."""
    with pytest.raises(PkiError) as caught:
        _verify(case)
    assert caught.value.fault is CmsFault.NO_SIGNER


def test_every_way_of_naming_the_signer_is_among_them() -> None:
    """The captures cover the tags 30 (issuer and serial) and A0 (Heimdal's key identifier)."""
    forms = {_verify(case).identifier.form for case in _CASES if case["digest"] is not None}
    assert forms == set(cms.SignerIdentifierForm)
