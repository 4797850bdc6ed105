"""Refusals: the KRB-ERROR code a request gets, and the one table from lower faults to codes.

A refusal is raised where its cause is found, with the code its source demands and one fixed phrase
for people (`why`). Nothing else decides a code later: the first cause wins.
"""

from directory.backend import DirectoryError
from kdc.wire.constants import ErrorCode
from pki.errors import (
    ChainFault,
    CmsFault,
    DerFault,
    Fault,
    KeyFault,
    PkiError,
    RevocationFault,
)


class KdcError(Exception):
    """A request is refused with a KRB-ERROR.

    why: fixed text, the same in audit record and explanation. facts: safe values for the audit
    record. e_data: DER for the KRB-ERROR's e-data (METHOD-DATA or TYPED-DATA).
    """

    def __init__(
        self, code: ErrorCode, why: str, *, e_data: bytes | None = None, **facts: object
    ) -> None:
        super().__init__(f"{code.name}: {why}")
        self.code = code
        self.why = why
        self.e_data = e_data
        self.facts = facts


class Discard(Exception):  # noqa: N818 - it is not an error: nothing is sent
    """The message gets no answer at all (RFC 4120 allows it; a reply could start a loop)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Unavailable(KdcError):  # noqa: N818 - the style guide's name for this refusal
    """The directory cannot be asked: KDC_ERR_SVC_UNAVAILABLE, never "unknown principal"."""

    def __init__(self, why: str) -> None:
        super().__init__(ErrorCode.KDC_ERR_SVC_UNAVAILABLE, why)


_FAILED = ErrorCode.KDC_ERR_PREAUTH_FAILED
_BAD_SIG = ErrorCode.KDC_ERR_INVALID_SIG
_NOT_TRUSTED = ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED

FAULT_CODES: dict[Fault, ErrorCode] = {
    # DER inside padata (the outer message is judged in core: 60). RFC 4556 gives no code.
    **dict.fromkeys(DerFault, _FAILED),
    # RFC 4556 3.2.2 has one reason for a key it does not like: the client is not trusted.
    **dict.fromkeys(KeyFault, _NOT_TRUSTED),
    CmsFault.MALFORMED: _FAILED,
    CmsFault.NOT_SIGNED_DATA: _FAILED,
    CmsFault.WRONG_CONTENT_TYPE: _FAILED,
    CmsFault.NO_SIGNER: _FAILED,
    CmsFault.SEVERAL_SIGNERS: _FAILED,
    CmsFault.NO_SIGNER_CERTIFICATE: ErrorCode.KDC_ERR_CANT_VERIFY_CERTIFICATE,
    CmsFault.BAD_SIGNED_ATTRIBUTES: _BAD_SIG,
    CmsFault.DIGEST_MISMATCH: _BAD_SIG,
    CmsFault.DIGEST_NOT_ACCEPTED: ErrorCode.KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED,
    CmsFault.ALGORITHM_MISMATCH: _BAD_SIG,
    CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED: _BAD_SIG,
    CmsFault.BAD_SIGNATURE: _BAD_SIG,
    # 71 but where RFC 4556 3.2.2, or Windows (62: KB5057784), has a code of its own.
    **dict.fromkeys(ChainFault, ErrorCode.KDC_ERR_INVALID_CERTIFICATE),
    ChainFault.UNKNOWN_ISSUER: ErrorCode.KDC_ERR_CANT_VERIFY_CERTIFICATE,
    ChainFault.OVER_BUDGET: ErrorCode.KDC_ERR_CANT_VERIFY_CERTIFICATE,
    ChainFault.DIGEST_NOT_ACCEPTED: ErrorCode.KDC_ERR_DIGEST_IN_CERT_NOT_ACCEPTED,
    ChainFault.WRONG_KEY_USAGE: ErrorCode.KDC_ERR_INCONSISTENT_KEY_PURPOSE,
    ChainFault.WRONG_EKU: ErrorCode.KDC_ERR_INCONSISTENT_KEY_PURPOSE,
    ChainFault.NOT_A_LOGON_CA: _NOT_TRUSTED,
    ChainFault.REVOKED: ErrorCode.KDC_ERR_REVOKED_CERTIFICATE,
    ChainFault.STATUS_UNKNOWN: ErrorCode.KDC_ERR_REVOCATION_STATUS_UNKNOWN,
    # These stay below: a CRL that is no good makes a status unknown, and ends there.
    **dict.fromkeys(RevocationFault, ErrorCode.KDC_ERR_REVOCATION_STATUS_UNKNOWN),
}


def refusal_from_pki(error: PkiError, where: str) -> KdcError:
    """Turn a fault found in padata into its refusal; `where` names the part that was read."""
    why = f"{where}: {error.fault.value}"
    return KdcError(FAULT_CODES[error.fault], why, detail=error.detail)


def refusal_from_directory(error: DirectoryError) -> Unavailable:
    """Turn any directory failure during a request into 29: trouble is never an unknown name."""
    return Unavailable(f"the account store cannot be read ({error.kind.value})")
