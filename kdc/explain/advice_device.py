"""Advice on the devices that registered keys are on."""

from collections.abc import Mapping

from kdc.explain.advice_text import SHOW_ACCOUNT, Advice
from kdc.explain.steps import Step

_SHOW_KEYS = "kdc key list {client}               (device: what the value names)"
_SHOW_DEVICES = "kdc device list                     (which are there, and enabled)"
_ENROLL = (
    "kdc key enroll {client} --device ID --out {client}.pem     (a new key of an enabled device)"
)

DEVICE_ADVICE: Mapping[str, Advice] = {
    "the device of the signer's key is disabled": Advice(
        step=Step.DEVICE,
        rule="A key whose DeviceId names a device object with msDS-IsEnabled = FALSE logs nobody "
        "on.",
        source="ADV190026; MS-ADTS 2.2.20.6; row K11 (KDC_ERR_CLIENT_NOT_TRUSTED)",
        causes=(
            "the device was retired, lost or disabled, and is still in use",
            "the device was registered anew under another number, and the old key is still used",
        ),
        fixes=(
            _SHOW_DEVICES,
            "kdc device enable ID                (if it may be used again)",
            "kdc key remove {client} KEYID       (if it is gone for good)",
        ),
    ),
    "the signer's key has no device object": Advice(
        step=Step.DEVICE,
        rule="With require_device_object a key logs on only when its DeviceId names a device "
        "object that is enabled.",
        source="own rule, off by default; row K11 (KDC_ERR_CLIENT_NOT_TRUSTED)",
        causes=(
            "the key was made by a tool that writes no DeviceId",
            "the device object was deleted, or is not written back to this directory",
        ),
        fixes=(
            _SHOW_KEYS,
            _SHOW_DEVICES,
            _ENROLL,
            "kdc config show --origin            (require_device_object)",
        ),
    ),
    "a privileged account's key has no device object": Advice(
        step=Step.DEVICE,
        rule="With privileged_keys = device a key of an administrator, of an operator or of a "
        "domain controller logs on only when its DeviceId names an enabled device object.",
        source="own rule, off by default; row K19 (KDC_ERR_CLIENT_NOT_TRUSTED)",
        causes=(
            "somebody wrote a key of his own onto the account (shadow credentials): look who may "
            "write msDS-KeyCredentialLink, and who did",
            "the administrator's key was made by a tool that writes no DeviceId",
            "the device object is not written back to this directory",
        ),
        fixes=(
            _SHOW_KEYS,
            SHOW_ACCOUNT,
            "kdc key remove {client} KEYID       (a key that nobody knows)",
            _ENROLL,
        ),
    ),
    "the devices of a key-trust logon were disabled since": Advice(
        step=Step.TGT_CURRENT,
        rule="A TGT that was got with a registered key ends when every usable key of its account "
        "is on a disabled device.",
        source="own rule; rows K11, T20 (KDC_ERR_TGT_REVOKED)",
        causes=("the device was retired, lost or disabled after the logon",),
        fixes=(
            _SHOW_DEVICES,
            _SHOW_KEYS,
            "kdc device enable ID                (if it may be used)",
        ),
    ),
}
