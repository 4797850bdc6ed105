"""Why a logon failed, in three lines."""

import re

from kdc.cli.errors import CliError, ExitCode
from kdc.client.errors import ClientError, ClientFault, RefusedError, error_name
from kdc.client.transport import KdcAddress
from kdc.config_values import format_address
from kdc.wire.constants import ErrorCode

MAX_E_TEXT = 256

_REFERENCE = re.compile(r"\[ref ([0-9A-Z]{4,8})\]")

# What a refusal most often means. The KDC's audit record has the precise reason.
_ADVICE: dict[int, str] = {
    ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN: "check the name; kdc user list shows the accounts",
    ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN: "check the service; kdc service list shows them",
    ErrorCode.KDC_ERR_POLICY: "check the account's logon hours",
    ErrorCode.KDC_ERR_ETYPE_NOSUPP: "check supported_enctypes in kdc.toml",
    ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP: "the KDC has no certificate: kdc cert issue-kdc",
    ErrorCode.KDC_ERR_CLIENT_REVOKED: "the account is disabled, locked or expired: kdc user show",
    ErrorCode.KDC_ERR_TGT_REVOKED: "log on again; kdc user show: is it still the same account?",
    ErrorCode.KDC_ERR_MUST_USE_USER2USER: "a user is no service; kdc service list shows them",
    ErrorCode.KDC_ERR_KEY_EXPIRED: "the password must be changed: kdc user password",
    ErrorCode.KDC_ERR_PREAUTH_FAILED: "wrong password, or it may not be used: kdc user show",
    ErrorCode.KRB_AP_ERR_SKEW: "set the clocks: client and KDC differ by more than clockskew",
    ErrorCode.KRB_AP_ERR_REPEAT: "log on again: this request was used before",
    ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED: (
        "kdc explain {ref} says why; kdc key list {user} shows its keys"
    ),
    ErrorCode.KDC_ERR_INVALID_SIG: "certificate and private key do not belong together",
    ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED: "use a larger group: --kex modp14 or p256",
    ErrorCode.KDC_ERR_WRONG_REALM: "this KDC serves another realm",
    ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH: (
        "the key is another account's: kdc key list {user}, kdc cert show"
    ),
    ErrorCode.KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED: "sign with SHA-256",
    ErrorCode.KDC_ERR_SVC_UNAVAILABLE: "the KDC cannot read its accounts; see its log",
}


def reference_in(error: RefusedError) -> str | None:
    """Return the reference in the text of a refusal: ours ends with one."""
    named = _REFERENCE.search(error.e_text)
    return None if named is None else named[1]


def explain_client_error(error: ClientError, user: str, address: KdcAddress) -> CliError:
    """Turn a failed exchange into what, why and what to do."""
    place = format_address(address.host, address.port)
    if isinstance(error, RefusedError):
        name = error_name(error.code)
        # Ours begins with the name again, and ends with the reference.
        text = error.e_text[:MAX_E_TEXT].removeprefix(name).strip()
        why = f"{name} ({error.code}) {text}".rstrip()
        remedy = _ADVICE.get(error.code, "kdc explain {ref} says why")
        remedy = remedy.format(user=user, ref=reference_in(error) or "--last")
        return CliError(f"the KDC refused {user}", why, remedy, ExitCode.DENIED)
    if error.fault is ClientFault.UNREACHABLE:
        return CliError(
            f"no KDC answers on {place}",
            error.detail or error.fault.value,
            "check the address, and that kdc serve runs there",
            ExitCode.UNREACHABLE,
        )
    if error.fault is ClientFault.WRONG_KEY:
        return CliError(
            f"{user} is not logged on",
            "the KDC's answer cannot be opened: the password is wrong",
            "check the password",
            ExitCode.DENIED,
        )
    if error.fault is ClientFault.NOT_OFFERED:
        return CliError(
            f"{user} cannot log on this way",
            f"the KDC does not offer it: {error.detail}",
            "kdc user show: has the account a password? kdc cert show: has the KDC a certificate?",
            ExitCode.DENIED,
        )
    if error.fault is ClientFault.KDC_NOT_TRUSTED:
        return CliError(
            f"the KDC on {place} is not trusted",
            error.detail or error.fault.value,
            "check the anchor, and the KDC's certificate with kdc cert show",
        )
    return CliError(
        f"{user} is not logged on",
        str(error),
        "check the clocks, and that the KDC is the one you mean",
    )
