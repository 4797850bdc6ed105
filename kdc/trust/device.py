"""The device of a registered key: may the key still log on? Rows K11 and K19.

Rules
  1. A key credential's DeviceId names the device object (msDS-Device) that was there when the key
     was made. If the object is disabled, so is the key, whatever the policy (ADV190026).
  2. No DeviceId, or one that leads to no object, means nothing by itself: keys made by local tools
     have none, and not every realm has its device objects written back. `DevicePolicy` can demand
     an enabled object, of everybody or of privileged accounts. Who may write an account's
     msDS-KeyCredentialLink can add a key of his own ("shadow credentials"), and usually no device.
  3. A DeviceId proves nothing: it is part of the value, and who can read the directory can copy
     one. The demand makes a planted key harder and louder, not impossible.
"""

from dataclasses import dataclass

from directory.backend import Directory
from directory.model import Account, KeyCredential
from kdc.config import KdcConfig, PrivilegedKeys
from kdc.errors import KdcError
from kdc.trust.privileged import is_privileged
from kdc.wire.constants import ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePolicy:
    """Which keys need an enabled device object."""

    require_object: bool = False
    """All (require_device_object)."""
    privileged_keys: PrivilegedKeys = "any"
    """Those of privileged accounts: "device"; or none of them in particular: "any"."""


def device_policy(config: KdcConfig) -> DevicePolicy:
    """Take the policy out of the configuration."""
    return DevicePolicy(
        require_object=config.require_device_object, privileged_keys=config.privileged_keys
    )


def is_on_disabled_device(credential: KeyCredential, directory: Directory) -> bool:
    """Tell whether a key's device object exists and is disabled. Raises DirectoryError."""
    if credential.device_id is None:
        return False
    device = directory.device(credential.device_id)
    return device is not None and not device.enabled


def check_device(
    credential: KeyCredential, account: Account, directory: Directory, policy: DevicePolicy
) -> None:
    """Check that a registered key's device lets it log on to this account.

    Raises KdcError(KDC_ERR_CLIENT_NOT_TRUSTED), and DirectoryError.
    """
    named = credential.device_id
    device = None if named is None else directory.device(named)
    if device is not None and device.enabled:
        return
    key = credential.public_key
    key_id, device_id = credential.key_id.hex(), None if named is None else str(named)
    if device is not None:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "the device of the signer's key is disabled",
            key_id=key_id,
            device_id=device_id,
        )
    if policy.privileged_keys == "device" and is_privileged(account, directory):
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "a privileged account's key has no device object",
            alarm="key without a device on a privileged account",
            key_digest=key.digest.hex() if key is not None else None,
            account_ids=(account.account_id,),
            key_id=key_id,
            device_id=device_id,
        )
    if policy.require_object:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            "the signer's key has no device object",
            key_id=key_id,
            device_id=device_id,
        )
