"""Accounts and their keys, as far as a decision of the KDC reads them.

Account and KeyCredential are built on every cache miss of a logon: they are treated as frozen but
not declared so, which would cost 4 us each (`object.__setattr__` per field).
"""

import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from pki.keys import PublicKey

MAX_SUB_AUTHORITIES = 15  # MS-DTYP 2.4.2.2

# Well-known groups of a domain (MS-DTYP 2.4.2.4).
KRBTGT_RID = 502
DOMAIN_ADMINS_RID = 512
DOMAIN_USERS_RID = 513
DOMAIN_COMPUTERS_RID = 515
DOMAIN_CONTROLLERS_RID = 516
PROTECTED_USERS_RID = 525


def match_key(name: str) -> str:
    """Return the form under which a name is stored and looked up: ASCII letters lowered.

    Nothing else is folded. Unicode case folding and normalisation would make a dotless i, a
    Kelvin sign, a ligature or a decomposed letter match another account's name.
    """
    if name.isascii():
        return name.lower()
    return "".join(c.lower() if c < "\x80" else c for c in name)


@dataclass(frozen=True, slots=True, order=True)
class Sid:
    """A security identifier (MS-DTYP 2.4.2), revision 1."""

    authority: int
    """48-bit identifier authority; 5 is NT AUTHORITY."""
    sub_authorities: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.authority < 1 << 48:
            raise ValueError("identifier authority out of range")
        if not 1 <= len(self.sub_authorities) <= MAX_SUB_AUTHORITIES:
            raise ValueError("a SID has 1 to 15 sub-authorities")
        if min(self.sub_authorities) < 0 or max(self.sub_authorities) >> 32:
            raise ValueError("sub-authority out of range")

    @classmethod
    def parse(cls, text: str) -> "Sid":
        """Parse `S-1-5-21-...`. Raises ValueError."""
        head, *parts = text.split("-")
        if head not in ("S", "s") or len(parts) < 3 or parts[0] != "1":
            raise ValueError("not a SID")
        if len(text) > 200 or not text.isascii() or not all(p.isdigit() for p in parts[2:]):
            raise ValueError("not a SID")
        # MS-DTYP 2.4.2.1: an authority of 2**32 and up is written in hexadecimal.
        base = 16 if parts[1][:2] in ("0x", "0X") else 10
        return cls(int(parts[1], base), tuple(int(p) for p in parts[2:]))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Sid":
        """Decode the binary form; a domain account's has 28 octets. Raises ValueError."""
        if len(data) < 8 or data[0] != 1 or len(data) != 8 + 4 * data[1]:
            raise ValueError("not a SID")
        parts = struct.unpack_from(f"<{data[1]}I", data, 8)
        return cls(int.from_bytes(data[2:8], "big"), parts)

    def to_bytes(self) -> bytes:
        """Encode the binary form: revision, count, authority (big-endian), sub-authorities."""
        parts = self.sub_authorities
        count = len(parts)
        head = bytes((1, count)) + self.authority.to_bytes(6, "big")
        return head + struct.pack(f"<{count}I", *parts)

    def __str__(self) -> str:
        authority = str(self.authority) if self.authority < 1 << 32 else f"0x{self.authority:012X}"
        return "-".join(("S-1", authority, *(str(part) for part in self.sub_authorities)))

    @property
    def rid(self) -> int:
        """The last sub-authority: the account's number in its domain."""
        return self.sub_authorities[-1]

    def is_in(self, domain: "Sid") -> bool:
        """Tell whether this is the SID of an account or group of that domain."""
        return self.sub_authorities[:-1] == domain.sub_authorities and (
            self.authority == domain.authority
        )

    @property
    def domain(self) -> "Sid":
        """The SID of the domain this account's SID is in."""
        return Sid(self.authority, self.sub_authorities[:-1])

    def with_rid(self, rid: int) -> "Sid":
        """Return the SID of an account in this domain."""
        return Sid(self.authority, (*self.sub_authorities, rid))


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The domain that a realm's accounts belong to."""

    sid: Sid
    netbios: str
    dns_name: str
    """In lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of the domain."""

    group_id: int
    """Number in the local store."""
    name: str
    sid: Sid
    dn: str | None = None
    """As a directory gave it; None in an embedded realm."""
    guid: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device object: msDS-Device, made when a device is registered (MS-ADSC msDS-Device)."""

    device_id: UUID
    """msDS-DeviceID: what the DeviceId of a key credential names."""
    name: str
    """displayName."""
    enabled: bool
    """msDS-IsEnabled."""
    owner: Sid | None = None
    """msDS-RegisteredOwner: the account that registered it."""
    dn: str | None = None
    """As a directory gave it; None in an embedded realm."""
    guid: UUID
    """objectGUID."""
    created_at: datetime | None = None


class AccountKind(StrEnum):
    """What an account stands for."""

    USER = "user"
    COMPUTER = "computer"
    SERVICE = "service"
    KRBTGT = "krbtgt"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalKey:
    """One long-term key of an account."""

    etype: int
    kvno: int
    key: bytes = field(repr=False)
    salt: str = ""
    """The salt of string-to-key; "" for a random key."""

    def __repr__(self) -> str:
        return f"PrincipalKey(etype={self.etype}, kvno={self.kvno}, key=***)"


# Flags of CUSTOM_KEY_INFORMATION, version 1.
_ATTESTATION = 1
_MFA_NOT_USED = 2


@dataclass(slots=True, kw_only=True)
class KeyCredential:
    """One value of msDS-KeyCredentialLink (MS-ADTS 2.2.20), good or bad."""

    text: str
    """The value as it arrived: `B:<n>:<hex>:<DN>`."""
    usable: bool
    """Whether this value's key may log on to the account that holds it."""
    reason: str = ""
    """One fixed phrase: why it is not usable."""
    warnings: tuple[str, ...] = ()
    """Fixed phrases: what is odd about it without deciding anything."""
    key_id: bytes = b""
    public_key: PublicKey | None = None
    material: str = ""
    """The form of the key material: "BCRYPT", "RSAPublicKey", "SubjectPublicKeyInfo", "TPM",
    "FIDO" or ""."""
    usage: int | None = None
    source: int | None = None
    device_id: UUID | None = None
    custom_key_information: bytes | None = None
    last_logon: datetime | None = None
    created: datetime | None = None
    fido: str = ""
    """The JSON text of a FIDO key, for display only."""

    @property
    def multifactor(self) -> bool:
        """Whether the value says that its key was made after a logon with several factors.

        MS-ADTS 2.2.20.5.1: the flag says the opposite, so a value without flags says nothing.
        """
        flags = self._key_flags()
        return flags is not None and not flags & _MFA_NOT_USED

    @property
    def attested(self) -> bool:
        """Whether the value says that its key was attested (MS-ADTS 2.2.20.5.1)."""
        flags = self._key_flags()
        return flags is not None and bool(flags & _ATTESTATION)

    def _key_flags(self) -> int | None:
        information = self.custom_key_information
        if information is None or len(information) < 2 or information[0] != 1:
            return None
        return information[1]

    def __repr__(self) -> str:
        state = "usable" if self.usable else f"not usable: {self.reason}"
        return f"KeyCredential({self.key_id.hex()[:16]}, {self.material or 'no key'}, {state})"


NOBODY = -1
"""Account number of nobody: a name of no account is judged under it where names are hidden. Its
wrong passwords are counted, at the same cost, and never lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockoutPolicy:
    """When wrong passwords lock an account (MS-SAMR 3.1.1.8.5: lockoutThreshold and so on)."""

    threshold: int = 0
    """Wrong passwords that lock; 0: never."""
    duration: timedelta = timedelta(minutes=30)
    """How long it stays locked; zero: until an administrator unlocks it."""
    window: timedelta = timedelta(minutes=30)
    """A wrong password older than this is forgotten."""


@dataclass(slots=True, kw_only=True)
class Account:
    """An account of the realm: what a decision reads, nothing else."""

    account_id: int
    """Number in the local store; never used again after the account is deleted."""
    sam_account_name: str
    kind: AccountKind
    upn: str | None = None
    sid: Sid | None = None
    spns: tuple[str, ...] = ()
    created_at: datetime
    disabled: bool = False
    locked_until: datetime | None = None
    expires_at: datetime | None = None
    password_expires_at: datetime | None = None
    password_set_at: datetime | None = None
    must_change_password: bool = False
    smartcard_required: bool = False
    preauth_not_required: bool = False
    logon_hours: bytes | None = None
    """21 octets, a bit per hour of the week from Sunday 00:00 UTC (MS-SAMR 2.2.6.5)."""
    keys: tuple[PrincipalKey, ...] = ()
    """Newest kvno first."""
    key_credentials: tuple[KeyCredential, ...] = ()
    primary_group_id: int = DOMAIN_USERS_RID
    """RID of the primary group, which no list of members names (MS-ADA3 primaryGroupID)."""
    supported_enctypes: int | None = None
    """Bit mask of msDS-SupportedEncryptionTypes (MS-KILE 2.2.7); None: not set."""
    trusted_for_delegation: bool = False
    """UF_TRUSTED_FOR_DELEGATION: may be given forwarded TGTs (MS-ADTS 2.2.16)."""
    trusted_to_authenticate_for_delegation: bool = False
    """UF_TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION: S4U2self gives forwardable tickets."""
    not_delegated: bool = False
    """UF_NOT_DELEGATED: nobody acts for this account."""
    no_auth_data_required: bool = False
    """UF_NO_AUTH_DATA_REQUIRED: tickets for this service carry no PAC."""
    admin_count: bool = False
    """adminCount: a member of a protected group, now or once."""
    partial_secrets: bool = False
    """UF_PARTIAL_SECRETS_ACCOUNT: the computer of a read-only domain controller."""
    allowed_to_delegate_to: tuple[str, ...] = ()
    """msDS-AllowedToDelegateTo: service names."""
    allowed_to_act: bytes | None = None
    """msDS-AllowedToActOnBehalfOfOtherIdentity: a security descriptor as it is stored."""
    alt_security_identities: tuple[str, ...] = ()
    """altSecurityIdentities, as they are stored."""
    secondary_krbtgt_number: int | None = None
    """msDS-SecondaryKrbTgtNumber: of the krbtgt account of a read-only DC or of the cloud."""
    krbtgt_link: str | None = None
    """msDS-KrbTgtLink: the DN of a read-only DC's own krbtgt account."""
    reveal_on_demand: tuple[str, ...] = ()
    """msDS-RevealOnDemandGroup: DNs of those whose secrets a read-only DC may have."""
    never_reveal: tuple[str, ...] = ()
    """msDS-NeverRevealGroup: DNs of those whose secrets it may never have."""

    def newest_keys(self) -> tuple[PrincipalKey, ...]:
        """Return the keys of the newest kvno."""
        keys = self.keys
        # All of one generation: so it is with every account whose password never changed.
        if not keys or keys[-1].kvno == keys[0].kvno:
            return keys
        return self.keys_of(keys[0].kvno)

    def living_keys(self) -> tuple[PrincipalKey, ...]:
        """Return the keys of the newest kvno and of the one before it.

        A directory may remember older ones; what was rotated away twice opens nothing.
        """
        alive = sorted({key.kvno for key in self.keys}, reverse=True)[:2]
        return tuple(key for key in self.keys if key.kvno in alive)

    def keys_of(self, kvno: int) -> tuple[PrincipalKey, ...]:
        """Return the keys of one generation."""
        return tuple(key for key in self.keys if key.kvno == kvno)


MAX_OWN_KVNO = 0xFFFF
"""Of the realm's own krbtgt: what has more bits names a read-only DC's key (MS-KILE 3.1.5.8)."""
MAX_SECONDARY_NUMBER = 0xFFFF
"""msDS-SecondaryKrbTgtNumber is 1 to 65535: it is the upper half of a 32-bit kvno (MS-KILE
3.1.5.8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnlyDc:
    """A read-only domain controller, or the cloud that stands in for one (MS-ADTS 6.1.1.3.2)."""

    number: int
    """msDS-SecondaryKrbTgtNumber."""
    krbtgt: Account
    """Its own krbtgt account; `living_keys` open its tickets."""
    computer: Account | None
    """The one account that links to it by msDS-KrbTgtLink; None: none does, or several do."""
    allowed: frozenset[Sid] = frozenset()
    """Those of the computer's msDS-RevealOnDemandGroup."""
    denied: frozenset[Sid] = frozenset()
    """Those of its msDS-NeverRevealGroup."""
    unknown: tuple[str, ...] = ()
    """DNs in the latter that no account and no group has."""
