"""Whether a key is in a TPM: the judgement of an attestation.

Rules
  1. An attestation is believed whole or not at all; the refusal says which step failed.
  2. It is believed because the attestation identity key's certificate leads to a root that this
     tenant was given (`pki/attestation-roots.pem`). Without one nothing is believed.
  3. It is fresh because its qualifying data is the digest of a nonce that this tenant issued for
     this registration and takes once.

What an attestation proves is that a key was made in a TPM and cannot leave it.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime
from hashlib import new as new_hash
from hashlib import sha256
from typing import Final, NoReturn

from pki.certificate import Certificate
from pki.chain import ChainProfile, TrustPool, find_chain
from pki.errors import ChainError, PkiError
from pki.keys import KeyKind, PublicKey
from pki.signatures import Digest, verify_octets
from tenant.keys.tpm import (
    ObjectAttributes,
    Statement,
    TpmError,
    TpmSignature,
    decode_attest,
    decode_public,
    decode_signature,
    split_statement,
)

TCG_KP_AIK_CERTIFICATE: Final = "2.23.133.8.3"
"""extKeyUsage of an attestation identity key (TCG credential profiles for TPM 2.0, 3.3)."""

_AIK: Final = ChainProfile(purposes=frozenset((TCG_KP_AIK_CERTIFICATE,)), purpose_required=True)

_IN_TPM: Final = (
    ObjectAttributes.FIXED_TPM
    | ObjectAttributes.FIXED_PARENT
    | ObjectAttributes.SENSITIVE_DATA_ORIGIN
)


class AttestationError(Exception):
    """An attestation is not believed; `why` is one fixed phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """An attestation that was believed. Only `judge_attestation` makes one."""

    key: PublicKey
    aik_thumbprint: str
    """SHA-256 of the AIK's certificate, in hexadecimal."""
    firmware_version: int


def _fail(why: str) -> NoReturn:
    raise AttestationError(why)


def qualifying_data(nonce: str) -> bytes:
    """Return what TPM2_Certify is to be given as qualifying data for a nonce: its SHA-256."""
    return sha256(nonce.encode()).digest()


def judge_attestation(
    statement: bytes,
    aik_certificate: bytes,
    *,
    key: PublicKey,
    nonce: str,
    roots: TrustPool,
    now: datetime,
) -> Attestation:
    """Judge the attestation of a key that is to be registered.

    statement: a KeyAttestation (MS-WCCE 2.2.2.5). aik_certificate: DER. key: the one that is
    registered. nonce: one that was issued and is used up by the caller.
    Raises AttestationError. Source: TPM 2.0 part 1, 31.3 and 36; part 2, 10.12.
    """
    try:
        parts = split_statement(statement)
        certified = decode_attest(parts.attest)
        area = decode_public(parts.public_area)
    except TpmError as error:
        _fail(error.why)
    if not hmac.compare_digest(certified.extra_data, qualifying_data(nonce)):
        _fail("the attestation's qualifying data is not of the nonce")
    digest = new_hash(area.name_digest.value, area.raw).digest()
    if not hmac.compare_digest(certified.name, area.name_algorithm.to_bytes(2, "big") + digest):
        _fail("the attestation certifies another key than the one it contains")
    if (area.key.n, area.key.e) != (key.n, key.e):
        _fail("the attestation certifies another key than the one to register")
    if area.attributes & _IN_TPM != _IN_TPM:
        _fail("the certified key can leave its TPM")
    # A restricted key signs only what the TPM made, an unrestricted one whatever it is given. The
    # one to register signs nonces, so it is of the second kind; the AIK is of the first.
    signs = area.attributes & (ObjectAttributes.SIGN | ObjectAttributes.RESTRICTED)
    if signs != ObjectAttributes.SIGN:
        _fail("the certified key is no key for signing")
    aik = _aik(aik_certificate, roots, now)
    _verify(parts, aik.public_key())
    return Attestation(
        key=key,
        aik_thumbprint=sha256(aik.der).hexdigest(),
        firmware_version=certified.firmware_version,
    )


def _aik(data: bytes, roots: TrustPool, now: datetime) -> Certificate:
    """Take the certificate of an attestation identity key that leads to one of the roots."""
    if not roots:
        _fail("no roots of attestation are configured")
    try:
        certificate = Certificate(data)
        # What certifies the AIK may be an endorsement key's CA or the vendor's privacy CA: it is
        # in the pool either way, for a client's word on who certifies it is worth nothing.
        return find_chain(certificate, (), roots, _AIK, now).leaf
    except ChainError:
        _fail("the attestation key's certificate does not lead to a configured root")
    except PkiError:
        _fail("the attestation key's certificate cannot be read")


def _verify(parts: Statement, aik: PublicKey) -> None:
    try:
        signature = _signature(parts.signature, aik)
        if signature.ecdsa != (aik.kind is KeyKind.EC):
            _fail("the attestation's signature is of another kind than its key")
        verify_octets(aik, signature.value, parts.attest, signature.digest, signature.pss_salt)
    except TpmError as error:
        _fail(error.why)
    except PkiError:
        _fail("the attestation's signature does not verify")


def _signature(data: bytes, aik: PublicKey) -> TpmSignature:
    # MS-WCCE does not say which form the frame has. Tools over the Windows API put in the bare
    # octets of RSASSA (SHA-256), as long as the modulus; a TPMT_SIGNATURE has six octets more.
    if aik.kind is KeyKind.RSA and len(data) == (aik.bits + 7) // 8:
        return TpmSignature(digest=Digest.SHA256, pss_salt=None, value=data)
    return decode_signature(data)
