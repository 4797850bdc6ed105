"""What can be wrong with DER, keys, CMS messages and certificate chains.

No Kerberos codes here: `kdc.errors` maps each fault to one in a single table.
"""

from enum import StrEnum


class DerFault(StrEnum):
    """Why bytes are not the DER of the expected type (X.690 clauses 8 and 10)."""

    TRUNCATED = "truncated"
    TRAILING_DATA = "trailing data"
    BAD_LENGTH = "length not minimal or not definite"
    BAD_TAG = "unexpected tag"
    BAD_VALUE = "value not in its canonical form or out of range"
    MISSING_FIELD = "required field missing"
    OVER_LIMIT = "over a limit"


class KeyFault(StrEnum):
    """Why a public key is refused before it is used."""

    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported algorithm or curve"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    BAD_EXPONENT = "public exponent not accepted"
    ROCA = "ROCA fingerprint (CVE-2017-15361)"


class CmsFault(StrEnum):
    """Why a SignedData is refused (RFC 5652 section 5)."""

    MALFORMED = "malformed CMS"
    NOT_SIGNED_DATA = "not a SignedData"
    WRONG_CONTENT_TYPE = "wrong eContentType"
    NO_SIGNER = "no SignerInfo"
    SEVERAL_SIGNERS = "more than one SignerInfo"
    NO_SIGNER_CERTIFICATE = "signer's certificate not in the message"
    BAD_SIGNED_ATTRIBUTES = "signedAttrs missing, repeated or out of order"
    DIGEST_MISMATCH = "messageDigest is not the digest of the content"
    DIGEST_NOT_ACCEPTED = "digest algorithm not accepted"
    ALGORITHM_MISMATCH = "signatureAlgorithm and digestAlgorithm disagree"
    SIGNATURE_ALGORITHM_NOT_ACCEPTED = "signature algorithm not accepted"
    BAD_SIGNATURE = "signature does not verify"


class ChainFault(StrEnum):
    """Why a certificate is not trusted (RFC 5280 section 6)."""

    MALFORMED = "malformed certificate"
    UNKNOWN_ISSUER = "unknown issuer"
    BAD_SIGNATURE = "certificate signature does not verify"
    EXPIRED = "expired or not yet valid"
    WRONG_EKU = "extended key usage does not allow this use"


# Members of two StrEnums are equal when their values are: a test keeps the values distinct, since
# one table maps them all.
Fault = DerFault | KeyFault | CmsFault | ChainFault


class PkiError(Exception):
    """A fault with the place it was found; `detail` is fixed text, never bytes of the message."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault
        self.detail = detail
