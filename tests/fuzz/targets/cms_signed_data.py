"""A SignedData is refused with a PkiError, or verifies and then holds what a real client signed.

The inputs to start from are messages of MIT's and Heimdal's clients and our own.
"""

from functools import cache, partial

from pki import cms, oids
from pki.errors import PkiError
from pki.keys import KeyPolicy, check_key
from tests.fuzz.targets import corpus

_POLICY = cms.CmsPolicy(accept_sha1=True, require_content_type_attribute=False)
_check_key = partial(check_key, policy=KeyPolicy())


def _verify(data: bytes) -> cms.VerifiedSigner:
    return cms.verify_signature(
        cms.parse_signed_data(data),
        expected_content_type=oids.ID_PKINIT_AUTH_DATA,
        policy=_POLICY,
        check_key=_check_key,
    )


@cache
def _signed() -> frozenset[tuple[bytes, bytes]]:
    """List (content, digest of the key) of every recorded message that verifies."""
    found = set()
    for data in corpus("cms_signed_data"):
        try:
            signer = _verify(data)
        except PkiError:
            continue
        found.add((signer.content, signer.public_key.digest))
    return frozenset(found)


def one(data: bytes) -> None:
    """Parse and verify one message."""
    recorded = _signed()
    try:
        signer = _verify(data)
    except PkiError:
        return
    assert (signer.content, signer.public_key.digest) in recorded
    assert signer.content in data
