"""The ordered list of trust models: one function from evidence to verdict."""

from datetime import datetime

from directory.backend import Directory
from directory.model import Account
from kdc.errors import KdcError
from kdc.trust import SignerEvidence, TrustVerdict
from kdc.trust.cert_trust import CertTrust, judge_certificate_trust
from kdc.trust.device import DevicePolicy
from kdc.trust.key_trust import judge_key_trust
from kdc.wire.constants import ErrorCode


def judge(
    evidence: SignerEvidence,
    account: Account,
    directory: Directory,
    certificates: CertTrust | None,
    devices: DevicePolicy,
    now: datetime,
) -> TrustVerdict:
    """Decide whether this signer may log on as `account`.

    certificates: None in a realm without logon CAs.
    Raises KdcError: the codes of `judge_key_trust` and `judge_certificate_trust`;
    KDC_ERR_CLIENT_NOT_TRUSTED for a key that no account has and no CA stands behind.
    Source: MS-PKCA 3.1.5.2.1.
    """
    verdict = judge_key_trust(evidence, account, directory, devices)
    if verdict is not None:
        return verdict
    if certificates is None or evidence.self_issued:
        # No path can be looked for: 62, whatever the certificate (row K01).
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "the signer's key is registered on no account",
            key_digest=evidence.public_key.digest.hex(),
        )
    return judge_certificate_trust(evidence, account, directory, certificates, now)
