"""What is written to a directory: new accounts, changes to them, and lists to show."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from uuid import UUID

from directory.model import AccountKind, PrincipalKey, Sid


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to add. The store gives it a number and, in an embedded realm, a RID."""

    kind: AccountKind
    name: str
    """sAMAccountName; a computer's ends in "$"."""
    upn: str | None = None
    spns: tuple[str, ...] = ()
    created_at: datetime
    disabled: bool = False
    expires_at: datetime | None = None
    password_expires_at: datetime | None = None
    must_change_password: bool = False
    smartcard_required: bool = False
    preauth_not_required: bool = False
    logon_hours: bytes | None = None
    keys: tuple[PrincipalKey, ...] = ()
    key_credentials: tuple[str, ...] = ()
    """DN-Binary texts, good or bad; bad ones are kept and never log on."""
    sid: Sid | None = None
    """None: the next RID of the domain."""
    primary_group_id: int | None = None
    """RID of the primary group; None: the usual one of its kind."""
    password_set_at: datetime | None = None
    """None: with its creation, when it has keys."""
    nt_hash: bytes | None = field(default=None, repr=False)
    """For a realm with legacy_ntlm."""
    dn: str | None = None
    """None: made from name and realm. A directory's own DN otherwise."""
    guid: UUID | None = None
    supported_enctypes: int | None = None
    trusted_for_delegation: bool = False
    trusted_to_authenticate_for_delegation: bool = False
    not_delegated: bool = False
    no_auth_data_required: bool = False
    admin_count: bool = False
    partial_secrets: bool = False
    allowed_to_delegate_to: tuple[str, ...] = ()
    allowed_to_act: bytes | None = None
    alt_security_identities: tuple[str, ...] = ()
    secondary_krbtgt_number: int | None = None
    krbtgt_link: str | None = None
    reveal_on_demand: tuple[str, ...] = ()
    never_reveal: tuple[str, ...] = ()


class Unchanged(Enum):
    """The mark of a field that a change leaves alone; None is a value of some fields."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanges:
    """Fields to set on an account; what stays UNCHANGED stays as it is."""

    upn: str | Unchanged | None = UNCHANGED
    spns: tuple[str, ...] | Unchanged = UNCHANGED
    disabled: bool | Unchanged = UNCHANGED
    expires_at: datetime | Unchanged | None = UNCHANGED
    password_expires_at: datetime | Unchanged | None = UNCHANGED
    must_change_password: bool | Unchanged = UNCHANGED
    smartcard_required: bool | Unchanged = UNCHANGED
    preauth_not_required: bool | Unchanged = UNCHANGED
    logon_hours: bytes | Unchanged | None = UNCHANGED
    name: str | Unchanged = UNCHANGED
    """After this or `dn`, set the key credentials anew: they hold the owner's DN."""
    dn: str | Unchanged | None = UNCHANGED
    guid: UUID | Unchanged | None = UNCHANGED
    primary_group_id: int | Unchanged | None = UNCHANGED
    supported_enctypes: int | Unchanged | None = UNCHANGED
    trusted_for_delegation: bool | Unchanged = UNCHANGED
    trusted_to_authenticate_for_delegation: bool | Unchanged = UNCHANGED
    not_delegated: bool | Unchanged = UNCHANGED
    no_auth_data_required: bool | Unchanged = UNCHANGED
    admin_count: bool | Unchanged = UNCHANGED
    partial_secrets: bool | Unchanged = UNCHANGED
    allowed_to_delegate_to: tuple[str, ...] | Unchanged = UNCHANGED
    allowed_to_act: bytes | Unchanged | None = UNCHANGED
    alt_security_identities: tuple[str, ...] | Unchanged = UNCHANGED
    secondary_krbtgt_number: int | Unchanged | None = UNCHANGED
    krbtgt_link: str | Unchanged | None = UNCHANGED
    reveal_on_demand: tuple[str, ...] | Unchanged = UNCHANGED
    never_reveal: tuple[str, ...] | Unchanged = UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSummary:
    """A line of a list of accounts."""

    account_id: int
    sam_account_name: str
    kind: AccountKind
    upn: str | None
    disabled: bool
    expires_at: datetime | None
    must_change_password: bool
    smartcard_required: bool
    key_credentials: int
    """How many values the account holds, good or bad."""
