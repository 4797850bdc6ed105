"""The ordered list of trust models: one function from evidence to verdict."""

from directory.backend import Directory
from directory.model import Account
from kdc.errors import KdcError
from kdc.trust import SignerEvidence, TrustVerdict
from kdc.trust.key_trust import judge_key_trust
from kdc.wire.constants import ErrorCode


def judge(evidence: SignerEvidence, account: Account, directory: Directory) -> TrustVerdict:
    """Decide whether this signer may log on as `account`.

    Raises KdcError: KDC_ERR_CLIENT_NAME_MISMATCH, KDC_ERR_CLIENT_NOT_TRUSTED.
    Source: MS-PKCA 3.1.5.2.1.
    """
    verdict = judge_key_trust(evidence, account, directory)
    if verdict is None:
        # A realm without logon CAs cannot verify any certificate: 62 for all of them (row K01).
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "the signer's key is registered on no account",
            key_digest=evidence.public_key.digest.hex(),
        )
    return verdict
