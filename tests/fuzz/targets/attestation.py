"""An attestation is believed only as a TPM signed it: what was signed and hashed is unaltered.

Every structure of it is read or refused with one fixed phrase, whatever octets it is made of.
"""

from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec

from pki import ca, oids
from pki.certificate import Certificate
from pki.chain import TrustPool
from pki.x500 import simple_name
from tenant.keys.attestation import AttestationError, judge_attestation
from tenant.keys.tpm import (
    Statement,
    TpmError,
    decode_attest,
    decode_public,
    decode_signature,
    split_statement,
)
from tests.fuzz.targets import recorded
from tests.tenant.soft_tpm import AIK_TEMPLATE

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
NONCE = "the nonce"

# From fixed numbers: recorded attestations are signed with the AIK.
AIK = ec.derive_private_key(0x6B6579747275737400000002, ec.SECP256R1())
_ROOT = ca.create_root("TPM", NOW, ec.derive_private_key(0x6B657974, ec.SECP256R1()))
_CERTIFICATE = ca.issue_client_leaf(
    _ROOT,
    AIK.public_key(),
    simple_name((oids.ID_AT_COMMON_NAME, "AIK")),
    NOW,
    template=AIK_TEMPLATE,
)
_ROOTS = TrustPool((Certificate(_ROOT.certificate_der),))


@cache
def _good() -> tuple[Statement, ...]:
    return tuple(
        split_statement(data)
        for name, data in recorded("attestation").items()
        if name.startswith("good")
    )


def _read(data: bytes) -> None:
    for decode in (decode_attest, decode_public, decode_signature):
        try:
            found: object = decode(data)
        except TpmError as error:
            assert 0 < len(error.why) < 80
        else:
            raw = getattr(found, "raw", data)
            assert raw == data


def one(data: bytes) -> None:
    """Judge one attestation, and read the octets as each of its structures."""
    _read(data)
    key = decode_public(_good()[0].public_area).key
    try:
        believed = judge_attestation(
            data, _CERTIFICATE, key=key, nonce=NONCE, roots=_ROOTS, now=NOW
        )
    except AttestationError as error:
        assert 0 < len(error.why) < 80
        return
    assert believed.key == key
    parts = split_statement(data)
    proven = [(good.attest, good.public_area) for good in _good()]
    assert (parts.attest, parts.public_area) in proven
