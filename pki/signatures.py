"""Signature algorithms of CMS and X.509: reading their identifiers, verifying with them.

Rules
  1. An AlgorithmIdentifier is read into a `SignatureScheme`, or refused: unknown algorithms, wrong
     parameters and mixed hashes never reach a library.
  2. What is verified are octets as they arrived, with a key that `check_key` has agreed to.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from pki import asn1, oids
from pki.cms_syntax import AlgorithmIdentifier, RsassaPssParams
from pki.errors import CmsFault, PkiError
from pki.keys import KeyKind, PublicKey

MAX_PSS_SALT = 512  # no RSA key we accept (4096 bits) has room for more


class Digest(StrEnum):
    """Digest algorithms."""

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


DIGEST_OIDS = {
    Digest.SHA1: oids.SHA1,
    Digest.SHA256: oids.SHA256,
    Digest.SHA384: oids.SHA384,
    Digest.SHA512: oids.SHA512,
}
DIGEST_BY_OID = {oid: digest for digest, oid in DIGEST_OIDS.items()}
_HASH_NEW: dict[Digest, Callable[[bytes], "hashlib._Hash"]] = {
    Digest.SHA1: hashlib.sha1,
    Digest.SHA256: hashlib.sha256,
    Digest.SHA384: hashlib.sha384,
    Digest.SHA512: hashlib.sha512,
}
_HASHES: dict[Digest, hashes.HashAlgorithm] = {
    Digest.SHA1: hashes.SHA1(),  # noqa: S303  # only behind a legacy_ switch
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}
DIGEST_BYTES = {digest: algorithm.digest_size for digest, algorithm in _HASHES.items()}

# Signatures are made and verified over digests of hashlib's: to have the library hash costs 2 us
# more, for it looks up the algorithm by its name.
PKCS1V15 = padding.PKCS1v15()
PREHASHED = {digest: Prehashed(algorithm) for digest, algorithm in _HASHES.items()}
ECDSA = {digest: ec.ECDSA(prehashed) for digest, prehashed in PREHASHED.items()}

RSA_WITH = {
    Digest.SHA1: oids.SHA1_WITH_RSA,
    Digest.SHA256: oids.SHA256_WITH_RSA,
    Digest.SHA384: oids.SHA384_WITH_RSA,
    Digest.SHA512: oids.SHA512_WITH_RSA,
}
ECDSA_WITH = {
    Digest.SHA1: oids.ECDSA_WITH_SHA1,
    Digest.SHA256: oids.ECDSA_WITH_SHA256,
    Digest.SHA384: oids.ECDSA_WITH_SHA384,
    Digest.SHA512: oids.ECDSA_WITH_SHA512,
}
# signatureAlgorithm -> the kind of key it is for, and the OID of the digest it names (if any).
_SIGNATURES: dict[str, tuple[KeyKind, str | None]] = {
    oids.RSA_ENCRYPTION: (KeyKind.RSA, None),
    oids.MD5_WITH_RSA: (KeyKind.RSA, oids.MD5),
    oids.RSASSA_PSS: (KeyKind.RSA, None),
    **{RSA_WITH[digest]: (KeyKind.RSA, oid) for digest, oid in DIGEST_OIDS.items()},
    **{ECDSA_WITH[digest]: (KeyKind.EC, oid) for digest, oid in DIGEST_OIDS.items()},
}
RSA_WITH_OIDS = frozenset(RSA_WITH.values())
NULL_PARAMETERS = b"\x05\x00"


def digest_of(digest: Digest, data: bytes) -> bytes:
    """Return a digest of data."""
    return _HASH_NEW[digest](data).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureScheme:
    """How a signature was made, as far as its AlgorithmIdentifier says."""

    kind: KeyKind
    digest_oid: str | None
    """None: the algorithm names no digest (rsaEncryption in CMS)."""
    pss_salt: int | None = None
    """Octets of salt of RSASSA-PSS; None for the other schemes."""


def _hash_of(identifier: AlgorithmIdentifier | None) -> str:
    """Return the hash OID of an AlgorithmIdentifier inside RSASSA-PSS-params (default SHA-1)."""
    if identifier is None:
        return oids.SHA1
    if identifier.parameters not in (None, NULL_PARAMETERS):
        raise PkiError(CmsFault.MALFORMED, "hash parameters")
    return identifier.algorithm


def _read_pss(parameters: bytes | None) -> SignatureScheme:
    """Read RSASSA-PSS-params: one hash throughout, and MGF1."""
    if parameters is None:
        raise PkiError(CmsFault.MALFORMED, "RSASSA-PSS without parameters")
    pss = asn1.decode(RsassaPssParams, parameters)
    mask_hash = oids.SHA1
    if pss.mask_gen_algorithm is not None:
        if pss.mask_gen_algorithm.algorithm != oids.ID_MGF1:
            raise PkiError(CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED, "mask generation")
        if pss.mask_gen_algorithm.parameters is None:
            raise PkiError(CmsFault.MALFORMED, "MGF1 parameters")
        mask_hash = _hash_of(asn1.decode(AlgorithmIdentifier, pss.mask_gen_algorithm.parameters))
    digest_oid = _hash_of(pss.hash_algorithm)
    if digest_oid != mask_hash:
        raise PkiError(CmsFault.ALGORITHM_MISMATCH, "hash of RSASSA-PSS")
    if pss.trailer_field != 1 or pss.salt_length > MAX_PSS_SALT:
        raise PkiError(CmsFault.MALFORMED, "RSASSA-PSS parameters")
    return SignatureScheme(kind=KeyKind.RSA, digest_oid=digest_oid, pss_salt=pss.salt_length)


def read_scheme(
    identifier: AlgorithmIdentifier, expected_digest_oid: str | None = None
) -> SignatureScheme:
    """Read a signatureAlgorithm.

    expected_digest_oid: what another field says the digest is; None: nothing says so.
    Raises PkiError: CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED, ALGORITHM_MISMATCH, MALFORMED; a
    DerFault. Source: RFC 5754 3.2, 3.3; RFC 4055 3.1.
    """
    known = _SIGNATURES.get(identifier.algorithm)
    if known is None:
        raise PkiError(CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED, "unknown")
    kind, digest_oid = known
    parameters = identifier.parameters
    if identifier.algorithm == oids.RSASSA_PSS:
        scheme = _read_pss(parameters)
        if expected_digest_oid not in (None, scheme.digest_oid):
            raise PkiError(CmsFault.ALGORITHM_MISMATCH, "hash of RSASSA-PSS")
        return scheme
    if digest_oid is not None and expected_digest_oid not in (None, digest_oid):
        raise PkiError(CmsFault.ALGORITHM_MISMATCH, "hash of signatureAlgorithm")
    # RFC 5754 3.2 and 3.3: NULL for RSA (absent is read too), absent for ECDSA.
    if parameters is not None and (kind is not KeyKind.RSA or parameters != NULL_PARAMETERS):
        raise PkiError(CmsFault.MALFORMED, "signatureAlgorithm parameters")
    return SignatureScheme(kind=kind, digest_oid=digest_oid)


def verify_octets(
    key: PublicKey, signature: bytes, signed: bytes, digest: Digest, pss_salt: int | None
) -> None:
    """Verify one signature; the key's kind decides between RSA and ECDSA.

    Assumes `check_key` has passed. Raises PkiError: CmsFault.BAD_SIGNATURE,
    SIGNATURE_ALGORITHM_NOT_ACCEPTED; KeyFault.MALFORMED.
    """
    verifier = key.verifier()
    hashed = digest_of(digest, signed)
    try:
        if key.kind is KeyKind.EC:
            cast(ec.EllipticCurvePublicKey, verifier).verify(signature, hashed, ECDSA[digest])
        else:
            rsa_key = cast(rsa.RSAPublicKey, verifier)
            if pss_salt is None:
                rsa_key.verify(signature, hashed, PKCS1V15, PREHASHED[digest])
            else:
                pss = padding.PSS(padding.MGF1(_HASHES[digest]), pss_salt)
                rsa_key.verify(signature, hashed, pss, PREHASHED[digest])
    except (InvalidSignature, ValueError):
        raise PkiError(CmsFault.BAD_SIGNATURE, "signature") from None
    except UnsupportedAlgorithm:
        raise PkiError(CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED, "by the library") from None
