"""Which account does a certificate stand for? MS-PKCA 3.1.5.2.1 and KB5014754, as one table.

Rules
  1. The account is the one the request names. A certificate never finds an account; it proves to be
     that account's, or not.
  2. A strong mapping names something that nobody can give himself: the account's SID in the
     certificate, or a value of altSecurityIdentities that points at this one certificate or key.
     Names (UPN, dNSName, id-pkinit-san) and the other values are weak: whoever may write names into
     a directory or a request could make them point at somebody else (CVE-2022-26923, -26931).
  3. A certificate that says another SID is refused whatever else matches, unless a strong value of
     altSecurityIdentities says that it is this account's.
  4. `DECISIONS` is the whole policy: the first row whose condition holds decides. A test prints it
     into docs/security.md.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from directory.backend import Directory
from directory.model import Account, AccountKind, match_key
from kdc.errors import KdcError
from kdc.trust.alt_security import match_alt_security_identities, strong_keys
from kdc.trust.logon_names import LogonNames
from kdc.wire.constants import ErrorCode
from pki.names import PkinitName

StrongMapping = Literal["full", "compatibility", "none"]
Strength = Literal["strong", "weak"]

MAX_UPN_CHARS = 1024
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)

_MISMATCH = ErrorCode.KDC_ERR_CERTIFICATE_MISMATCH
_NAME_MISMATCH = ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingPolicy:
    """What the realm accepts as a mapping."""

    strong_mapping: StrongMapping = "full"
    backdating: timedelta = timedelta(minutes=10)
    """How much older than the account a certificate may be in compatibility mode (KB5014754)."""
    realm: str
    netbios: str
    domain: str
    """DNS name of the domain, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """How a certificate maps to the account."""

    by: str
    """Fixed text for the audit record: "SID", "X509:<SKI>", "UPN"..."""
    strength: Strength


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingFacts:
    """What is known about one certificate and one account: what the table's conditions ask."""

    suspicious_name: bool
    """Two UPNs, or a name with a NUL, a control character or a trailing dot (row C21)."""
    sid_conflict: bool
    """The SID extension is malformed, or it and a SID URI, or two of them, differ."""
    sid_matches: bool | None
    """None: the certificate says no SID."""
    strong_value: str
    """The strong form of altSecurityIdentities that matches, or ""."""
    strong_owners: tuple[int, ...]
    """When a strong value matches: every account that has one that does."""
    weak_value: str
    """The weak form of altSecurityIdentities that matches, or ""."""
    name: str
    """The form of name by which the certificate names the account, or ""."""
    names_present: bool
    """The certificate has a name of a form that could name an account of this kind."""
    name_ambiguous: bool
    """A UPN that is one account's by its attribute and another's by its name (CVE-2022-26931)."""
    account_has_sid: bool
    older_than_account: bool

    @property
    def weak(self) -> bool:
        """Whether anything weak maps the certificate to the account."""
        return bool(self.name or self.weak_value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One row of the table."""

    condition: str
    holds: Callable[[MappingFacts], bool]
    outcome: dict[StrongMapping, "Strength | ErrorCode"]
    """By mode: accepted with this strength, or refused with this code. A mode that is not listed
    goes on to the next row."""
    why: str = ""
    """The reason of a refusal."""


def _always(outcome: "Strength | ErrorCode") -> dict[StrongMapping, "Strength | ErrorCode"]:
    return {"full": outcome, "compatibility": outcome, "none": outcome}


DECISIONS: tuple[Decision, ...] = (
    Decision(
        condition="two UPNs, or a name with a NUL, a control character or a trailing dot",
        holds=lambda f: f.suspicious_name,
        outcome=_always(_NAME_MISMATCH),
        why="the certificate's names are not ones a logon certificate may have",
    ),
    Decision(
        condition="its SIDs are malformed or differ",
        holds=lambda f: f.sid_conflict,
        outcome=_always(_MISMATCH),
        why="the certificate's SID is malformed or there are two",
    ),
    Decision(
        condition="strong values of altSecurityIdentities of two accounts match",
        holds=lambda f: len(f.strong_owners) > 1,
        outcome=_always(ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED),
        why="the certificate is mapped to several accounts",
    ),
    Decision(
        condition="a strong value of altSecurityIdentities matches",
        holds=lambda f: bool(f.strong_value),
        outcome=_always("strong"),
    ),
    Decision(
        condition="it says the SID of another account",
        holds=lambda f: f.sid_matches is False,
        outcome=_always(_MISMATCH),
        why="the certificate's SID is another account's",
    ),
    Decision(
        condition="its UPN is one account's userPrincipalName and another account's name",
        holds=lambda f: f.name_ambiguous,
        outcome=_always(_NAME_MISMATCH),
        why="the certificate's UPN names two accounts",
    ),
    Decision(
        condition="it says the account's SID, and names the account or has no name",
        holds=lambda f: f.sid_matches is True and (bool(f.name) or not f.names_present),
        outcome=_always("strong"),
    ),
    Decision(
        condition="nothing in it names the account",
        holds=lambda f: not f.weak,
        outcome=_always(_NAME_MISMATCH),
        why="the certificate does not name the account",
    ),
    Decision(
        condition="it says the account's SID, and a weak value of altSecurityIdentities matches",
        holds=lambda f: f.sid_matches is True,
        outcome=_always("strong"),
    ),
    Decision(
        condition="only a weak mapping, in a realm whose accounts have no SIDs",
        holds=lambda f: not f.account_has_sid,
        outcome=_always("strong"),
    ),
    Decision(
        condition="only a weak mapping, and the certificate is older than the account",
        holds=lambda f: f.older_than_account,
        outcome={"compatibility": _MISMATCH},
        why="the certificate maps to the account only weakly and is older than it",
    ),
    Decision(
        condition="only a weak mapping",
        holds=lambda f: True,
        outcome={"full": _MISMATCH, "compatibility": "weak", "none": "weak"},
        why="the certificate maps to the account only weakly",
    ),
)


# -- gathering the facts ---------------------------------------------------------------------


def _is_suspicious(text: str) -> bool:
    return (
        not text
        or len(text) > MAX_UPN_CHARS
        or text.endswith((".", " "))
        or text.startswith(" ")
        or not text.isprintable()
    )


def _suspicious(names: LogonNames) -> bool:
    if len(names.upns) > 1:
        return True
    texts = (*names.upns, *names.dns)
    parts = [part for name in names.pkinit for part in (*name.components, name.realm)]
    return any(map(_is_suspicious, texts)) or any(map(_is_suspicious, parts))


def is_of_realm(suffix: str, policy: MappingPolicy) -> bool:
    """Tell whether a suffix or realm is ours: DNS or NetBIOS name, in any ASCII case."""
    return match_key(suffix) in {
        match_key(policy.realm),
        match_key(policy.netbios),
        match_key(policy.domain),
    }


def accounts_of_upn(upn: str, directory: Directory, policy: MappingPolicy) -> Iterator[Account]:
    """Find whom a UPN names: by the attribute, and by name@realm without any implicit "$".

    Raises DirectoryError.
    """
    by_attribute = directory.account_by_upn(upn)
    if by_attribute is not None:
        yield by_attribute
    local, at, suffix = upn.rpartition("@")
    if at and local and "@" not in local and is_of_realm(suffix, policy):
        by_name = directory.account_by_name(local)
        if by_name is not None:
            yield by_name


def account_of_pkinit_name(
    name: PkinitName, directory: Directory, policy: MappingPolicy
) -> Account | None:
    """Find whom an id-pkinit-san names: an account or, with several components, a service.

    Raises DirectoryError.
    """
    if not is_of_realm(name.realm, policy) or not name.components or not all(name.components):
        return None
    if len(name.components) == 1:
        return directory.account_by_name(name.components[0])
    return directory.account_by_spn("/".join(name.components))


def _pkinit_names(
    names: LogonNames, account: Account, directory: Directory, policy: MappingPolicy
) -> bool:
    for name in names.pkinit:
        found = account_of_pkinit_name(name, directory, policy)
        if found is not None and found.account_id == account.account_id:
            return True
    return False


def gather(
    names: LogonNames, account: Account, directory: Directory, policy: MappingPolicy
) -> MappingFacts:
    """Collect what the table asks. Raises DirectoryError."""
    somebody = account.account_id >= 0  # the stand-in of `hide_unknown` is nobody
    computer = account.kind is AccountKind.COMPUTER
    name, ambiguous = "", False
    if names.upns and somebody and not _is_suspicious(names.upns[0]):
        owners = {a.account_id for a in accounts_of_upn(names.upns[0], directory, policy)}
        ambiguous = len(owners) > 1
        if account.account_id in owners:
            name = "UPN"
    if not name and computer:
        host = f"{match_key(account.sam_account_name).removesuffix('$')}.{policy.domain}"
        if host in map(match_key, names.dns):
            name = "dNSName"
    if not name and somebody and _pkinit_names(names, account, directory, policy):
        name = "id-pkinit-san"
    strong_value = weak_value = ""
    if account.alt_security_identities:
        strong_value, weak_value = match_alt_security_identities(
            account.alt_security_identities, names
        )
    sid_matches = None
    if names.sids:
        sid_matches = account.sid is not None and names.sids == (str(account.sid),)
    return MappingFacts(
        suspicious_name=_suspicious(names),
        sid_conflict=names.sid_malformed or len(names.sids) > 1,
        sid_matches=sid_matches,
        strong_value=strong_value,
        strong_owners=_strong_owners(names, account, directory) if strong_value else (),
        weak_value=weak_value,
        name=name,
        names_present=bool(names.upns or names.pkinit or (computer and names.dns)),
        name_ambiguous=ambiguous,
        account_has_sid=account.sid is not None or not somebody,
        older_than_account=_is_older(names.not_before, account.created_at, policy.backdating),
    )


def _strong_owners(names: LogonNames, account: Account, directory: Directory) -> tuple[int, ...]:
    """List the accounts with a strong value that points at the certificate, this one first."""
    owners = [account.account_id]
    for owner in directory.accounts_by_alt_security_identity(strong_keys(names)):
        other = directory.account_by_id(owner) if owner != account.account_id else None
        if other is None or other.kind is AccountKind.KRBTGT:
            continue
        strong, _ = match_alt_security_identities(other.alt_security_identities, names)
        if strong:
            owners.append(owner)
    return tuple(owners)


def _is_older(not_before: datetime, created_at: datetime, backdating: timedelta) -> bool:
    # A directory that does not show when an account was made gives it the epoch: nothing is known,
    # so every certificate may be older.
    return created_at <= _UNKNOWN or not_before + backdating < created_at


def judge_mapping(
    names: LogonNames, account: Account, directory: Directory, policy: MappingPolicy
) -> Mapping:
    """Decide whether a certificate is the account's, by the table.

    Raises KdcError: KDC_ERR_CERTIFICATE_MISMATCH, KDC_ERR_CLIENT_NAME_MISMATCH; DirectoryError.
    Source: MS-PKCA 3.1.5.2.1.1 to .6; KB5014754.
    """
    facts = gather(names, account, directory, policy)
    mode = policy.strong_mapping
    decision = next(row for row in DECISIONS if mode in row.outcome and row.holds(facts))
    outcome = decision.outcome[mode]
    if isinstance(outcome, ErrorCode):
        by = facts.strong_value or facts.name or facts.weak_value or "none"
        refusal = KdcError(outcome, decision.why, mapping=by)
        if len(facts.strong_owners) > 1:
            refusal.facts["alarm"] = "certificate mapped to several accounts"
            refusal.facts["account_ids"] = facts.strong_owners
        raise refusal
    by = facts.strong_value or ("SID" if facts.sid_matches else facts.name or facts.weak_value)
    return Mapping(by=by, strength=outcome)
