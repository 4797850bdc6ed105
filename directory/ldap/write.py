"""Writing to the directory: registered keys one value at a time, sealed keys, an entry's repair.

Rules
  1. With the caller's own credentials. The follower's are for reading; nothing here has rights that
     its caller lacks, and what he may is the directory's decision (MS-ADTS 3.1.1.5.3.1.1.6).
  2. A registered key is added or deleted as exactly that one value: never a replacement of the
     attribute, which would undo what a neighbour wrote in the meantime.
  3. A value that must change (sealed keys) is deleted as it was read and added as it shall be, in
     one operation: when somebody else was faster, nothing happens and EXISTS is raised.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from directory.backend import DirectoryError, DirectoryFault
from directory.distinguished_name import same_object
from directory.keycredential import KeySource, decode_values
from directory.keysources.sealed import ATTRIBUTE as SEALED_KEYS
from directory.keysources.sealed import OBJECT_CLASS as SEALED_CLASS
from directory.ldap import messages
from directory.ldap.attributes import guid_of, version_attributes
from directory.ldap.connection import LdapConnection
from directory.ldap.filters import any_of, equal, present
from directory.ldap.messages import Change, Control, Entry, ModifyOp, ResultCode, Scope
from directory.ldap.schema import FILETIME_EPOCH, UF_COMPUTER
from directory.ldap.settings import Flavour
from directory.model import KRBTGT_RID, AccountKind, KeyCredential, Sid

KEY_CREDENTIALS = "msDS-KeyCredentialLink"
_MAX_BYTES = 1024 * 1024
_ROOT_SIDS = "tokenGroups"

_NO_SUCH_ATTRIBUTE = 16
_UNDEFINED_TYPE = 17
_CONSTRAINT_VIOLATION = 19
_VALUE_EXISTS = 20
_INVALID_SYNTAX = 21
_INVALID_DN_SYNTAX = 34
_OBJECT_CLASS_VIOLATION = 65
_ENTRY_EXISTS = 68

_FAULTS = {
    ResultCode.NO_SUCH_OBJECT: DirectoryFault.NOT_FOUND,
    _NO_SUCH_ATTRIBUTE: DirectoryFault.NOT_FOUND,
    _UNDEFINED_TYPE: DirectoryFault.INVALID,
    _CONSTRAINT_VIOLATION: DirectoryFault.INVALID,
    _VALUE_EXISTS: DirectoryFault.EXISTS,
    _ENTRY_EXISTS: DirectoryFault.EXISTS,
    _INVALID_SYNTAX: DirectoryFault.INVALID,
    _INVALID_DN_SYNTAX: DirectoryFault.INVALID,
    _OBJECT_CLASS_VIOLATION: DirectoryFault.INVALID,
    ResultCode.UNWILLING_TO_PERFORM: DirectoryFault.INVALID,
    ResultCode.INSUFFICIENT_ACCESS_RIGHTS: DirectoryFault.DENIED,
    ResultCode.CONFIDENTIALITY_REQUIRED: DirectoryFault.DENIED,
}


class WritingConnection(LdapConnection):
    """A connection that may change entries; bound as the caller."""

    def modify(self, dn: str, changes: Iterable[Change]) -> None:
        """Change an entry: all of it or nothing. Raises DirectoryError by the result's code."""
        self._begin(self._settings.operation_timeout_s, _MAX_BYTES)
        self._done(self._ask(messages.modify(self._next_number(), dn, changes)))

    def add(
        self,
        dn: str,
        attributes: Mapping[str, tuple[bytes, ...]],
        controls: Iterable[Control] = (),
    ) -> None:
        """Add an entry. Raises DirectoryError by the result's code."""
        self._begin(self._settings.operation_timeout_s, _MAX_BYTES)
        self._done(self._ask(messages.add(self._next_number(), dn, attributes, controls)))

    def delete(self, dn: str) -> None:
        """Delete an entry. Raises DirectoryError by the result's code."""
        self._begin(self._settings.operation_timeout_s, _MAX_BYTES)
        self._done(self._ask(messages.delete(self._next_number(), dn)))

    def who_am_i(self) -> str:
        """Ask who the server takes us for (RFC 4532): `dn:...`, `u:...`, or "" (not told)."""
        self._begin(self._settings.operation_timeout_s, _MAX_BYTES)
        result = self._ask(messages.extended(self._next_number(), messages.WHO_AM_I))
        if result.code != ResultCode.SUCCESS:
            return ""
        return (result.value or b"").decode("utf-8", "replace")

    def caller_sids(self) -> frozenset[bytes]:
        """List the SIDs of the caller and his groups (rootDSE's tokenGroups, AD and Samba)."""
        roots = self.entries("", Scope.BASE, present("objectClass"), (_ROOT_SIDS,))
        return frozenset(sid for root in roots for sid in root.values(_ROOT_SIDS.lower()))

    def _done(self, result: messages.Result) -> None:
        if result.code == ResultCode.SUCCESS:
            return
        kind = _FAULTS.get(result.code, DirectoryFault.UNAVAILABLE)
        text = "".join(c if c.isprintable() else " " for c in result.diagnostic)[:160].strip()
        if result.code == ResultCode.REFERRAL:
            text = "it refers to another server, which is not followed"
        name = next((code.name for code in ResultCode if code == result.code), "")
        said = " ".join(part for part in (f"result {result.code}", name.lower(), text) if part)
        raise WriteError(kind, f"{self.url}: {said}", result.code)


class WriteError(DirectoryError):
    """A change that the directory did not make."""

    def __init__(self, kind: DirectoryFault, detail: str, code: int) -> None:
        super().__init__(kind, detail)
        self.code = code
        """The LDAP result code."""


# -- accounts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WritableAccount:
    """An account's entry, as far as who writes to it must know it."""

    dn: str
    guid: UUID | None
    name: str
    """sAMAccountName."""
    upn: str | None
    sid: Sid
    kind: AccountKind
    credentials: tuple[KeyCredential, ...]
    """All values of msDS-KeyCredentialLink, good or bad."""
    sealed_keys: bytes | None = field(repr=False)
    can_seal: bool
    """Whether its classes allow sealed keys."""


def find_account(
    connection: LdapConnection, base: str, flavour: Flavour, name: str
) -> WritableAccount:
    """Find an account by sAMAccountName or UPN, a computer without its "$".

    Raises DirectoryError: NOT_FOUND; CORRUPT when two entries answer to the name, or the one that
    does is no account.
    """
    wanted = (*_ACCOUNT_ATTRIBUTES, version_attributes(flavour)[0])
    for match in (
        any_of(equal("sAMAccountName", name), equal("userPrincipalName", name)),
        equal("sAMAccountName", f"{name}$"),
    ):
        found = connection.entries(base, Scope.SUBTREE, match, wanted, size_limit=3)
        if len(found) > 1:
            raise DirectoryError(
                DirectoryFault.CORRUPT, f"two entries of the directory answer to {name}"
            )
        if found:
            return _account(found[0], flavour)
    raise DirectoryError(DirectoryFault.NOT_FOUND, f"no account named {name} in the directory")


_ACCOUNT_ATTRIBUTES = (
    "objectClass",
    "sAMAccountName",
    "userPrincipalName",
    "objectSid",
    "userAccountControl",
    "groupType",
    KEY_CREDENTIALS,
    SEALED_KEYS,
)


def _account(entry: Entry, flavour: Flavour) -> WritableAccount:
    classes = {value.lower() for value in entry.values("objectclass")}
    names = [value.decode("utf-8", "replace") for value in entry.values("samaccountname")]
    try:
        (sid,) = (Sid.from_bytes(value) for value in entry.values("objectsid"))
        control = int((entry.values("useraccountcontrol") or (b"0",))[0])
        (name,) = names
    except ValueError:
        raise DirectoryError(
            DirectoryFault.CORRUPT, f"{entry.dn} has no sAMAccountName and objectSid that read"
        ) from None
    if b"group" in classes or b"groupofnames" in classes or entry.values("grouptype"):
        raise DirectoryError(DirectoryFault.INVALID, f"{name} is a group")
    kind = AccountKind.USER
    if sid.rid == KRBTGT_RID:
        kind = AccountKind.KRBTGT
    elif b"computer" in classes or control & UF_COMPUTER or name.endswith("$"):
        kind = AccountKind.COMPUTER
    guid = guid_of(entry, flavour)
    texts = [value.decode("utf-8", "replace") for value in entry.values(KEY_CREDENTIALS.lower())]
    upns = entry.values("userprincipalname")
    return WritableAccount(
        dn=entry.dn,
        guid=guid,
        name=name,
        upn=upns[0].decode("utf-8", "replace") if upns else None,
        sid=sid,
        kind=kind,
        credentials=decode_values(texts, owner_dn=entry.dn, owner_guid=guid),
        sealed_keys=(entry.values(SEALED_KEYS.lower()) or (None,))[0],
        can_seal=SEALED_CLASS.lower().encode() in classes,
    )


# -- registered keys -------------------------------------------------------------------------


def is_caller(connection: WritingConnection, account: WritableAccount, flavour: Flavour) -> bool:
    """Tell whether the caller is the account itself (MS-ADTS: the requestor is SELF)."""
    if flavour != "openldap":
        return account.sid.to_bytes() in connection.caller_sids()
    who = connection.who_am_i()
    return who.startswith("dn:") and same_object(who[3:], account.dn)


def check_own_write(account: WritableAccount, credential: KeyCredential) -> None:
    """Refuse what an account may not write to itself.

    Active Directory enforces the same; other directories may not, and then an account that only
    shows its own key could plant one that outlives it.
    Raises DirectoryError(DENIED). Source: MS-ADTS 3.1.1.5.3.1.1.6.
    """
    why = ""
    if account.kind is not AccountKind.COMPUTER:
        why = "only a computer registers a key for itself"
    elif account.credentials:
        why = "a computer registers its first key itself, and no second one"
    elif not credential.usable:
        why = f"a computer registers a key that can be used: {credential.reason}"
    elif credential.source != KeySource.AD:
        why = "a computer's own key has KeySource AD"
    elif credential.custom_key_information is not None:
        why = "a computer's own key has no CustomKeyInformation"
    elif credential.last_logon is not None:
        why = "a computer's own key has no time of its last use"
    if why:
        raise DirectoryError(DirectoryFault.DENIED, why)


def add_key(connection: WritingConnection, account: WritableAccount, text: str) -> None:
    """Add one value of msDS-KeyCredentialLink. Raises DirectoryError."""
    connection.modify(account.dn, (Change(ModifyOp.ADD, KEY_CREDENTIALS, (text.encode(),)),))


def remove_key(connection: WritingConnection, account: WritableAccount, text: str) -> None:
    """Delete exactly one value. Raises DirectoryError: NOT_FOUND when it is gone already."""
    connection.modify(account.dn, (Change(ModifyOp.DELETE, KEY_CREDENTIALS, (text.encode(),)),))


# -- sealed keys -----------------------------------------------------------------------------


def write_sealed_keys(
    connection: WritingConnection,
    account: WritableAccount,
    sealed: bytes,
    *,
    password: bool = False,
) -> None:
    """Put an account's sealed keys in the place of those it was read with.

    password: they are of a new password: pwdLastSet says when, and nobody must change it any more.
    Raises DirectoryError: EXISTS when somebody else wrote them in the meantime.
    """
    changes = []
    if not account.can_seal:
        changes.append(Change(ModifyOp.ADD, "objectClass", (SEALED_CLASS.encode(),)))
    if account.sealed_keys is not None:
        changes.append(Change(ModifyOp.DELETE, SEALED_KEYS, (account.sealed_keys,)))
    changes.append(Change(ModifyOp.ADD, SEALED_KEYS, (sealed,)))
    if password:
        ticks = str((datetime.now(UTC) - FILETIME_EPOCH) // timedelta(microseconds=1) * 10)
        changes.append(Change(ModifyOp.REPLACE, "pwdLastSet", (ticks.encode(),)))
    try:
        connection.modify(account.dn, changes)
    except WriteError as error:
        # The old value is not there any more, or a first one is there by now.
        if error.code in (_NO_SUCH_ATTRIBUTE, _VALUE_EXISTS, _CONSTRAINT_VIOLATION):
            raise WriteError(
                DirectoryFault.EXISTS,
                f"somebody else changed the keys of {account.name} in this moment",
                error.code,
            ) from None
        raise
