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
    OVER_BUDGET = "too many certificates or signatures to follow"
    BAD_SIGNATURE = "certificate signature does not verify"
    DIGEST_NOT_ACCEPTED = "certificate signed with a digest that is not accepted"
    ALGORITHM_NOT_ACCEPTED = "certificate signed with an algorithm that is not accepted"
    KEY_NOT_ACCEPTED = "certificate key not accepted"
    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    NOT_A_CA = "issued by a certificate that is no CA's"
    PATH_TOO_LONG = "more intermediate CAs than a pathLenConstraint allows"
    NAME_CONSTRAINT = "a name outside the CA's name constraints"
    UNKNOWN_CRITICAL_EXTENSION = "critical extension not known"
    POLICY_CONSTRAINT = "no certificate policy that the CAs' constraints allow"
    WRONG_KEY_USAGE = "key usage does not allow signatures"
    WRONG_EKU = "extended key usage does not allow this use"
    NOT_A_LOGON_CA = "issued by a CA that may not issue logon certificates"
    REVOKED = "certificate revoked"
    STATUS_UNKNOWN = "revocation status not known"


class RevocationFault(StrEnum):
    """Why a CRL or an OCSP response says nothing (RFC 5280 section 5, RFC 6960)."""

    MALFORMED = "malformed revocation data"
    UNSUPPORTED = "revocation data of a kind that is not supported"
    WRONG_ISSUER = "revocation data of another issuer"
    BAD_SIGNATURE = "revocation data's signature does not verify"
    NOT_ALLOWED = "signer may not sign revocation data"


# Members of two StrEnums are equal when their values are: a test keeps the values distinct, since
# one table maps them all.
Fault = DerFault | KeyFault | CmsFault | ChainFault | RevocationFault


class PkiError(Exception):
    """A fault with the place it was found; `detail` is fixed text, never bytes of the message."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault
        self.detail = detail


class ChainError(PkiError):
    """A fault of one certificate of a chain.

    `detail` is fixed text, the rule that failed. The other fields come from the certificate and
    are for people: whoever logs them escapes them.
    """

    def __init__(
        self,
        fault: ChainFault,
        rule: str,
        *,
        index: int,
        subject: str,
        serial_number: int,
        certificate: bytes,
    ) -> None:
        super().__init__(fault, rule)
        self.chain_fault = fault
        self.index = index
        """0: the client's own certificate, 1: its issuer, and so on."""
        self.subject = subject
        self.serial_number = serial_number
        self.certificate = certificate
        """DER of the certificate at fault."""
