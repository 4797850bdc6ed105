"""A new password: is it good enough, and which keys it makes.

Rules
  1. What may be a password is told by `password_*` in kdc.toml. An owner who changes it also waits
     for the minimum age; who sets it for somebody else does not.
  2. An earlier password is known by its key: the new one is put through string-to-key with the old
     salt and compared. Passwords themselves are kept nowhere.
  3. Cheap checks come first: string-to-key takes milliseconds.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hmac import compare_digest

from directory.changes import AccountChanges
from directory.model import Account, PrincipalKey, match_key
from kdc.config import KdcConfig
from kdc.crypto.etypes import EncType, string_to_key
from kdc.crypto.md4 import nt_hash
from kdc.errors import KdcError
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc3244 import ResultCode

MAX_PASSWORD_CHARS = 1024  # nobody types more; what is longer only costs time
MIN_NAME_CHARS = 3  # a shorter name is in many words (Windows' rule for complexity)
_COMPARED_ETYPE = EncType.AES256_CTS_HMAC_SHA1_96  # 4,096 rounds where RFC 8009 has 32,768


class ChangeRefused(KdcError):  # noqa: N818 - named for what happens, as Unavailable
    """A password is not changed; the client learns why under protection (RFC 3244 2)."""

    def __init__(
        self,
        why: str,
        text: str,
        *,
        result: ResultCode = ResultCode.SOFTERROR,
        code: ErrorCode = ErrorCode.KDC_ERR_POLICY,
        detail: str = "",
    ) -> None:
        """`text` is shown to the user: what to do. detail: for the audit record."""
        facts = {"detail": detail} if detail else {}
        super().__init__(code, why, e_data=None, kpasswd_result=int(result), **facts)
        self.result = result
        self.text = text


def check_new_password(
    account: Account,
    password: str,
    history: Sequence[PrincipalKey],
    config: KdcConfig,
    now: datetime,
    *,
    by_owner: bool,
) -> None:
    """Compare a new password with the realm's policy; raise ChangeRefused.

    history: one key of each earlier password, the latest first. by_owner: whether the account's
    own user changes it, for whom there is a minimum age.
    """
    if by_owner:
        _check_age(account, config, now)
    if len(password) > MAX_PASSWORD_CHARS:
        raise ChangeRefused(
            "the new password is too long",
            f"A password has at most {MAX_PASSWORD_CHARS} characters. Choose a shorter one.",
        )
    if not password or len(password) < config.password_min_length:
        raise ChangeRefused(
            "the new password is too short",
            f"The new password needs at least {max(1, config.password_min_length)} characters.",
        )
    if _classes(password) < config.password_min_classes:
        raise ChangeRefused(
            "the new password has too few kinds of characters",
            f"The new password needs {config.password_min_classes} of these: lower-case letters,"
            " upper-case letters, digits, other letters, punctuation or spaces.",
        )
    name = match_key(account.sam_account_name)
    if config.password_min_classes and len(name) >= MIN_NAME_CHARS and name in match_key(password):
        raise ChangeRefused(
            "the new password contains the account's name",
            "The new password may not contain your user name.",
        )
    _check_history(account, password, history, config)


def _check_age(account: Account, config: KdcConfig, now: datetime) -> None:
    """Compare the age of the password in force with the minimum, unless it must be changed."""
    expired = account.password_expires_at is not None and now >= account.password_expires_at
    if account.must_change_password or expired or account.password_set_at is None:
        return
    ready = account.password_set_at + timedelta(seconds=config.password_min_age_s)
    if now < ready:
        raise ChangeRefused(
            "the password was changed too recently",
            f"The password may be changed again after {ready:%Y-%m-%d %H:%M} UTC.",
        )


def _classes(password: str) -> int:
    """Count the kinds of characters, as Windows does for complexity."""
    kinds = set()
    for c in password:
        if c.islower():
            kinds.add("lower")
        elif c.isupper():
            kinds.add("upper")
        elif c.isdigit():
            kinds.add("digit")
        elif c.isalpha():
            kinds.add("letter")
        else:
            kinds.add("other")
    return len(kinds)


def _check_history(
    account: Account, password: str, history: Sequence[PrincipalKey], config: KdcConfig
) -> None:
    """Compare with the password in force and with those remembered, `password_history` in all."""
    current = account.newest_keys()
    of_current = [k for k in current if k.etype == _COMPARED_ETYPE] or list(current[:1])
    remembered = [*of_current, *history][: config.password_history]
    made: dict[tuple[int, str], bytes] = {}
    for key in remembered:
        place = (key.etype, key.salt)
        if place not in made:
            made[place] = string_to_key(EncType(key.etype), password, key.salt).value
        if compare_digest(made[place], key.key):
            raise ChangeRefused(
                "the new password was used before",
                f"The new password may not be one of the last {config.password_history}."
                " Choose another one.",
            )


# -- keys ------------------------------------------------------------------------------------


def next_kvno(account: Account) -> int:
    """Return the key version number that an account's next keys have."""
    return account.keys[0].kvno + 1 if account.keys else 1


def password_keys(
    config: KdcConfig, name: str, password: str, kvno: int = 1
) -> tuple[PrincipalKey, ...]:
    """Derive a user's keys from a password; the salt is the realm and the name (RFC 4120 4)."""
    salt = config.realm + name
    return tuple(
        PrincipalKey(
            etype=etype,
            kvno=kvno,
            key=string_to_key(EncType(etype), password, salt).value,
            salt=salt,
        )
        for etype in config.supported_enctypes
    )


def password_nt_hash(config: KdcConfig, password: str | None) -> bytes | None:
    """Return what the store keeps of a password for NTLM: nothing, unless legacy_ntlm is on."""
    return nt_hash(password) if password is not None and config.legacy_ntlm else None


def remembered_passwords(config: KdcConfig) -> int:
    """Return how many earlier passwords the store keeps: the one in force counts as well."""
    return max(0, config.password_history - 1)


def password_expiry(config: KdcConfig, now: datetime) -> datetime | None:
    """Return when a password set now expires; None: never."""
    if not config.password_max_age_s:
        return None
    return now.replace(microsecond=0) + timedelta(seconds=config.password_max_age_s)


def changes_with_a_password(config: KdcConfig, now: datetime) -> AccountChanges:
    """Return what else is set on an account together with its new password."""
    return AccountChanges(
        must_change_password=False, password_expires_at=password_expiry(config, now)
    )
