"""A device's certificate request is accepted only as its key signed it; no body of a join crashes.

Octets that start with a brace are the JSON of a join, a hybrid join and a JWK; others are a request
and a key blob.
"""

from functools import cache

from pki import der
from pki.errors import PkiError
from tenant.drs.csr import CsrError, read_device_request
from tenant.drs.device_body import read_device_body, read_hybrid_body
from tenant.errors import DrsError
from tenant.keys.public_key import KEY_POLICY, key_reason, read_public_key
from tests.fuzz.targets import recorded


def signed_part(request: bytes) -> bytes:
    """Return the CertificationRequestInfo of a request."""
    start, _ = der.open_tlv(request, der.SEQUENCE)
    _, _, end = der.read_tlv(request, start)
    return request[start:end]


@cache
def _proofs() -> tuple[bytes, ...]:
    return tuple(
        signed_part(data) for name, data in recorded("device_request").items() if "csr" in name
    )


def _body(data: bytes) -> None:
    for read in (read_device_body, read_hybrid_body):
        try:
            read(data)
        except DrsError as error:
            assert error.status == 400
            assert 0 < len(error.why) < 100


def _key(data: bytes) -> None:
    try:
        key = read_public_key(data)
    except PkiError as error:
        assert 0 < len(key_reason(error)) < 80
        return
    assert KEY_POLICY.min_rsa_bits <= key.bits <= KEY_POLICY.max_rsa_bits


def one(data: bytes) -> None:
    """Read one request, or one body."""
    _key(data)
    if data[:1] == b"{":
        _body(data)
        return
    try:
        request = read_device_request(data)
    except CsrError as error:
        assert 0 < len(error.why) < 100
        return
    assert request.key.bits >= KEY_POLICY.min_rsa_bits
    assert signed_part(data) in _proofs()
