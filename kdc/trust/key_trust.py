"""Key trust: the signer's key is registered in the account's msDS-KeyCredentialLink.

The account is found by the key, then compared with the one that the request names
(MS-PKCA 3.1.5.2.1.4). The other way round, comparing only the named account's keys, could not tell
a key of somebody else (75) from a key of nobody (62).
"""

import hmac

from directory.backend import Directory
from directory.model import Account
from kdc.errors import KdcError
from kdc.trust import KINDS, SignerEvidence, TrustVerdict
from kdc.trust.device import DevicePolicy, check_device
from kdc.wire.constants import ErrorCode


def judge_key_trust(
    evidence: SignerEvidence, account: Account, directory: Directory, devices: DevicePolicy
) -> TrustVerdict | None:
    """Judge a signer by the keys registered on accounts; None: the key is registered nowhere.

    account: the one the request names.
    Raises KdcError: KDC_ERR_CLIENT_NOT_TRUSTED when the key is on two accounts,
    KDC_ERR_CLIENT_NAME_MISMATCH when it is on another account than the named one; that of
    `check_device`.
    """
    digest = evidence.public_key.digest
    owners = directory.accounts_by_key(digest)
    if not owners:
        return None
    if len(owners) > 1:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "the signer's key is registered on several accounts",
            alarm="duplicate key credential",
            key_digest=digest.hex(),
            account_ids=owners,
        )
    if owners[0] != account.account_id or account.kind not in KINDS:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
            "the signer's key is registered on another account than the one named",
            key_digest=digest.hex(),
        )
    for credential in account.key_credentials:
        key = credential.public_key
        if credential.usable and key is not None and hmac.compare_digest(key.digest, digest):
            check_device(credential, account, directory, devices)
            return TrustVerdict(
                model="key",
                account_id=account.account_id,
                key_id=credential.key_id.hex(),
                multifactor=credential.multifactor,
                attested=credential.attested,
                warnings=credential.warnings,
            )
    # Reached when the key was registered or removed between two reads of this request, or the
    # store is damaged; it must not become a ticket.
    raise KdcError(
        ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
        "the key index and the account's key credentials disagree",
        alarm="key index inconsistent",
    )
