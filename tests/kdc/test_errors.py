"""The one table from faults to codes: nothing unmapped, nothing mapped that cannot occur."""

import pytest

from directory.backend import DirectoryError, DirectoryFault
from kdc.errors import FAULT_CODES, KdcError, Unavailable, refusal_from_directory, refusal_from_pki
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

FAULTS: tuple[Fault, ...] = (*DerFault, *KeyFault, *CmsFault, *ChainFault, *RevocationFault)


def test_no_two_faults_are_equal() -> None:
    """Members of two StrEnums with one value are one key of the table: the later code would win."""
    assert len(set(FAULTS)) == len(FAULTS)


def test_every_fault_is_mapped() -> None:
    """Style guide, errors: no fault unmapped, and no entry for what is no fault."""
    assert set(FAULT_CODES) == set(FAULTS)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        *((fault, 24) for fault in DerFault),
        *((fault, 62) for fault in KeyFault),
        (CmsFault.MALFORMED, 24),
        (CmsFault.NOT_SIGNED_DATA, 24),
        (CmsFault.WRONG_CONTENT_TYPE, 24),
        (CmsFault.NO_SIGNER, 24),
        (CmsFault.SEVERAL_SIGNERS, 24),
        (CmsFault.NO_SIGNER_CERTIFICATE, 70),
        (CmsFault.BAD_SIGNED_ATTRIBUTES, 64),
        (CmsFault.DIGEST_MISMATCH, 64),
        (CmsFault.DIGEST_NOT_ACCEPTED, 80),
        (CmsFault.ALGORITHM_MISMATCH, 64),
        (CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED, 64),
        (CmsFault.BAD_SIGNATURE, 64),
        (ChainFault.MALFORMED, 71),
        (ChainFault.UNKNOWN_ISSUER, 70),
        (ChainFault.BAD_SIGNATURE, 71),
        (ChainFault.OVER_BUDGET, 70),
        (ChainFault.DIGEST_NOT_ACCEPTED, 78),
        (ChainFault.ALGORITHM_NOT_ACCEPTED, 71),
        (ChainFault.KEY_NOT_ACCEPTED, 71),
        (ChainFault.NOT_YET_VALID, 71),
        (ChainFault.EXPIRED, 71),
        (ChainFault.NOT_A_CA, 71),
        (ChainFault.PATH_TOO_LONG, 71),
        (ChainFault.NAME_CONSTRAINT, 71),
        (ChainFault.UNKNOWN_CRITICAL_EXTENSION, 71),
        (ChainFault.POLICY_CONSTRAINT, 71),
        (ChainFault.WRONG_KEY_USAGE, 77),
        (ChainFault.WRONG_EKU, 77),
        (ChainFault.NOT_A_LOGON_CA, 62),
        (ChainFault.REVOKED, 72),
        (ChainFault.STATUS_UNKNOWN, 73),
    ],
)
def test_fault_has_the_code_of_its_row(fault: Fault, code: int) -> None:
    """Style guide, table of faults; RFC 4556 3.2.2; negative rows P and C."""
    refusal = refusal_from_pki(PkiError(fault, "a place"), "SignedData")
    assert (refusal.code, refusal.why) == (code, f"SignedData: {fault.value}")
    assert refusal.facts == {"detail": "a place"}
    assert refusal.e_data is None


@pytest.mark.parametrize("kind", list(DirectoryFault))
def test_directory_failure_is_29_and_never_an_unknown_name(kind: DirectoryFault) -> None:
    """Row L01: KDC_ERR_SVC_UNAVAILABLE, whatever happened; the detail stays in the log."""
    refusal = refusal_from_directory(DirectoryError(kind, "/var/lib/secret place"))
    assert isinstance(refusal, Unavailable)
    assert refusal.code is ErrorCode.KDC_ERR_SVC_UNAVAILABLE
    assert refusal.why == f"the account store cannot be read ({kind.value})"


def test_refusal_shows_its_code_and_cause() -> None:
    """A KdcError in a traceback says what it is."""
    refusal = KdcError(ErrorCode.KDC_ERR_POLICY, "outside the account's logon hours", hour=3)
    assert str(refusal) == "KDC_ERR_POLICY: outside the account's logon hours"
    assert refusal.facts == {"hour": 3}
