"""OCSP responses in one block: found by certificate, and nothing else is."""

import hashlib
import random

import pytest

from pki.errors import PkiError, RevocationFault
from pki.ocsp_bundle import OcspBundle, encode_bundle


def _random(count: int) -> dict[bytes, bytes]:
    generator = random.Random(count)  # noqa: S311  # reproducible, not secret
    return {
        generator.randbytes(32): generator.randbytes(generator.randrange(1, 90))
        for _ in range(count)
    }


@pytest.mark.parametrize("count", [0, 1, 2, 3, 500])
def test_what_is_in_a_bundle_is_found_and_nothing_else(count: int) -> None:
    """Every response by its certificate; a mark that differs where the response does."""
    responses = _random(count)
    bundle = OcspBundle(encode_bundle(responses))
    assert len(bundle) == count
    assert bundle.items() == responses
    for digest, body in responses.items():
        assert bundle.response(digest) == body
        assert bundle.mark(digest) == hashlib.sha256(body).digest()[:16]
    assert bundle.response(bytes(32)) is None
    assert bundle.mark(b"\xff" * 32) is None


@pytest.mark.parametrize("cut", [1, 8, 11, 12, 40, 67])
def test_a_bundle_that_is_cut_or_bent_is_malformed(cut: int) -> None:
    """A count without room, another magic, a record that points outside."""
    whole = encode_bundle({b"a" * 32: b"response"})
    with pytest.raises(PkiError) as caught:
        OcspBundle(whole[:cut]).response(b"a" * 32)
    assert caught.value.fault is RevocationFault.MALFORMED
    with pytest.raises(PkiError):
        OcspBundle(b"X" + whole[1:])
