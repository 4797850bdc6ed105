"""From entries of a directory to what the store holds of them. Pure.

Rules
  1. Everything a decision reads and nothing else (`attributes.py` says what that is).
  2. Reading an entry never raises. One that cannot be read is an `Unusable` with one fixed phrase
     and the names it has: those are answered with 29, never "unknown", and all others go on.
  3. What the directory restricts is never dropped silently: a restriction that cannot be read makes
     its account unusable. A name that cannot be read (a malformed servicePrincipalName) is left
     out, for it could only be found.
"""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from directory.backend import DirectoryError
from directory.changes import NewAccount
from directory.ldap.attributes import SHOWN, guid_of, version_of
from directory.ldap.messages import Entry
from directory.ldap.records import (
    AccountEntry,
    DeviceEntry,
    DomainFacts,
    Gone,
    GroupEntry,
    Record,
    Unusable,
)
from directory.ldap.settings import Flavour
from directory.lockout import FOREVER
from directory.model import KRBTGT_RID, AccountKind, Device, Sid, match_key
from directory.store_devices import MAX_DEVICE_NAME_CHARS
from directory.store_names import check_spn, check_upn

MAX_NAMES = 4096
"""Of one account that are looked at: a host with 2,000 services has twice as many."""
MAX_MEMBERS = 500_000
MAX_DN_CHARS = 4096

_NEVER = 0x7FFFFFFFFFFFFFFF
FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_MAX_TICKS = (FOREVER - FILETIME_EPOCH) // timedelta(microseconds=1)

# userAccountControl (MS-ADTS 2.2.16).
UF_ACCOUNTDISABLE = 0x2
UF_INTERDOMAIN_TRUST_ACCOUNT = 0x800
UF_WORKSTATION_TRUST_ACCOUNT = 0x1000
UF_SERVER_TRUST_ACCOUNT = 0x2000
UF_DONT_EXPIRE_PASSWD = 0x10000
UF_SMARTCARD_REQUIRED = 0x40000
UF_TRUSTED_FOR_DELEGATION = 0x80000
UF_NOT_DELEGATED = 0x100000
UF_DONT_REQUIRE_PREAUTH = 0x400000
UF_TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION = 0x1000000
UF_NO_AUTH_DATA_REQUIRED = 0x2000000
UF_PARTIAL_SECRETS_ACCOUNT = 0x4000000
UF_COMPUTER = UF_WORKSTATION_TRUST_ACCOUNT | UF_SERVER_TRUST_ACCOUNT
_UF_NEVER_EXPIRES = (
    UF_DONT_EXPIRE_PASSWD | UF_SMARTCARD_REQUIRED | UF_COMPUTER | UF_INTERDOMAIN_TRUST_ACCOUNT
)
_NORMAL_ACCOUNT = 0x200

_SECURITY_ENABLED = 0x80000000  # groupType (MS-ADTS 2.2.12)


class _UnreadableError(Exception):
    """Leaves the reader with the fixed phrase that says why."""


def read_entry(entry: Entry, facts: DomainFacts) -> Record | None:
    """Read an account, group or device. None: it shows no number: nothing can be kept of it."""
    guid = guid_of(entry, facts.flavour)
    if guid is None:
        return None
    if _text(entry, "isdeleted").upper() == "TRUE":
        return Gone(guid=guid)
    version = version_of(entry, facts.flavour)
    try:
        if len(entry.dn) > MAX_DN_CHARS:
            raise _UnreadableError("its DN is too long")
        classes = {value.lower() for value in entry.values("objectclass")}
        if b"msds-device" in classes:
            return _read_device(entry, guid, version, facts.flavour)
        if b"group" in classes or entry.values("grouptype") or b"groupofnames" in classes:
            return _read_group(entry, guid, version)
        return _read_account(entry, guid, version, facts)
    except _UnreadableError as error:
        return Unusable(
            guid=guid, version=version, dn=entry.dn, names=_names(entry), why=str(error)
        )


def _read_group(entry: Entry, guid: UUID, version: str) -> Record:
    kind = _number(entry, "grouptype")
    if kind is not None and not kind & _SECURITY_ENABLED:
        return Gone(guid=guid)  # a distribution list is in nobody's token
    members = entry.values("member")
    if len(members) > MAX_MEMBERS:
        raise _UnreadableError("it has too many members")
    return GroupEntry(
        guid=guid,
        version=version,
        dn=entry.dn,
        name=_name(entry),
        sid=_sid(entry),
        members=tuple(_decoded(value) for value in members),
    )


def _read_device(entry: Entry, guid: UUID, version: str, flavour: Flavour) -> Record:
    values = entry.values("msds-deviceid")
    # Zeros are what a key credential without a device has.
    if len(values) != 1 or len(values[0]) != 16 or not any(values[0]):
        raise _UnreadableError("its msDS-DeviceID is not 16 octets, or zeros")
    owner = _octets(entry, "msds-registeredowner")
    device = Device(
        device_id=UUID(bytes_le=values[0]),
        name=_text(entry, "displayname")[:MAX_DEVICE_NAME_CHARS],
        # What cannot be read does not switch a device on.
        enabled=_text(entry, "msds-isenabled").upper() == "TRUE",
        owner=None if owner is None else _owner_sid(owner),
        dn=entry.dn,
        guid=guid,
        created_at=_created(entry, flavour),
    )
    return DeviceEntry(guid=guid, version=version, dn=entry.dn, device=device)


def _owner_sid(value: bytes) -> Sid | None:
    """Read msDS-RegisteredOwner, for display only: a malformed one is as good as none."""
    try:
        return Sid.from_bytes(value)
    except ValueError:
        return None


def _read_account(entry: Entry, guid: UUID, version: str, facts: DomainFacts) -> Record:
    control = _number(entry, "useraccountcontrol")
    if control is None:
        if facts.flavour != "openldap":
            # Every account has one there: not to see it is not to see who is disabled.
            raise _UnreadableError("its userAccountControl is not shown to us")
        control = _NORMAL_ACCOUNT
    if control & UF_INTERDOMAIN_TRUST_ACCOUNT:
        return Gone(guid=guid)  # a trust's account logs nobody on
    name, sid = _name(entry), _sid(entry)
    if not sid.is_in(facts.sid):
        raise _UnreadableError("its objectSid is of another domain")
    number = _number(entry, "msds-secondarykrbtgtnumber")
    kind = AccountKind.USER
    if number is not None or (sid.rid == KRBTGT_RID and match_key(name) == "krbtgt"):
        kind = AccountKind.KRBTGT
    elif control & UF_COMPUTER or (facts.flavour == "openldap" and name.endswith("$")):
        kind = AccountKind.COMPUTER
    set_at = _number(entry, "pwdlastset")
    expires = not control & _UF_NEVER_EXPIRES and kind is AccountKind.USER
    must_change = expires and set_at == 0
    password_set_at = _moment(set_at) if set_at else None
    account = NewAccount(
        kind=kind,
        name=name,
        upn=_upn(entry),
        spns=_spns(entry),
        created_at=_created(entry, facts.flavour),
        # A domain's krbtgt accounts are all disabled, so that nobody logs on as one.
        disabled=bool(control & UF_ACCOUNTDISABLE) and kind is not AccountKind.KRBTGT,
        expires_at=_moment(_number(entry, "accountexpires")),
        password_expires_at=(
            _password_expiry(entry, password_set_at, facts) if expires and not must_change else None
        ),
        password_set_at=password_set_at,
        must_change_password=must_change,
        smartcard_required=bool(control & UF_SMARTCARD_REQUIRED),
        preauth_not_required=bool(control & UF_DONT_REQUIRE_PREAUTH),
        logon_hours=_logon_hours(entry),
        key_credentials=_texts(entry, "msds-keycredentiallink"),
        sid=sid,
        primary_group_id=_primary_group(entry),
        dn=entry.dn,
        guid=guid,
        supported_enctypes=_number(entry, "msds-supportedencryptiontypes"),
        trusted_for_delegation=bool(control & UF_TRUSTED_FOR_DELEGATION),
        trusted_to_authenticate_for_delegation=bool(
            control & UF_TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION
        ),
        not_delegated=bool(control & UF_NOT_DELEGATED),
        no_auth_data_required=bool(control & UF_NO_AUTH_DATA_REQUIRED),
        admin_count=bool(_number(entry, "admincount")),
        partial_secrets=bool(control & UF_PARTIAL_SECRETS_ACCOUNT),
        allowed_to_delegate_to=_texts(entry, "msds-allowedtodelegateto"),
        allowed_to_act=_octets(entry, "msds-allowedtoactonbehalfofotheridentity"),
        alt_security_identities=_texts(entry, "altsecurityidentities"),
        secondary_krbtgt_number=number,
        krbtgt_link=_text(entry, "msds-krbtgtlink") or None,
        reveal_on_demand=_texts(entry, "msds-revealondemandgroup"),
        never_reveal=_texts(entry, "msds-neverrevealgroup"),
    )
    return AccountEntry(
        guid=guid,
        version=version,
        account=account,
        locked_until=_locked_until(entry, facts),
    )


# -- values ----------------------------------------------------------------------------------


def _decoded(value: bytes) -> str:
    # A value that is no UTF-8 matches nothing; what it says is shown all the same.
    return value.decode("utf-8", "replace")


def _text(entry: Entry, name: str) -> str:
    values = entry.values(name)
    return _decoded(values[0]) if values else ""


def _texts(entry: Entry, name: str) -> tuple[str, ...]:
    return tuple(_decoded(value) for value in entry.values(name))


def _octets(entry: Entry, name: str) -> bytes | None:
    values = entry.values(name)
    return values[0] if values else None


_NUMBER = re.compile(rb"-?[0-9]{1,19}")


def number_of(entry: Entry, name: str) -> int | None:
    """Read an INTEGER or LARGE_INTEGER; None: there is none. Raises ValueError."""
    values = entry.values(name)
    if not values:
        return None
    if not _NUMBER.fullmatch(values[0]):
        raise ValueError("no number")
    return int(values[0])


def _number(entry: Entry, name: str) -> int | None:
    """Read a number of an account; a negative one of 32 bits becomes its unsigned form."""
    try:
        value = number_of(entry, name)
    except ValueError:
        raise _UnreadableError(f"its {SHOWN.get(name, name)} is no number") from None
    return value & 0xFFFFFFFF if value is not None and -(1 << 31) <= value < 0 else value


def _moment(ticks: int | None) -> datetime | None:
    """Read a FILETIME; 0 and the largest number stand for never (MS-ADA1 accountExpires)."""
    if not ticks or ticks >= _NEVER:
        return None
    micros = ticks // 10
    return None if micros > _MAX_TICKS else FILETIME_EPOCH + timedelta(microseconds=micros)


def interval(ticks: int | None) -> timedelta | None:
    """Read a negative interval of the domain object (maxPwdAge); None: for ever, or not set."""
    if ticks is None or ticks >= 0 or ticks <= -_NEVER:
        return None
    return timedelta(microseconds=-ticks // 10)


def generalized_time(text: str) -> datetime | None:
    """Read a GeneralizedTime in UTC, fractions of a second dropped; None when it is none."""
    try:
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _created(entry: Entry, flavour: Flavour) -> datetime:
    name = "createtimestamp" if flavour == "openldap" else "whencreated"
    # An account without it is as old as can be: it refuses nothing for its youth.
    return generalized_time(_text(entry, name)) or FILETIME_EPOCH.replace(year=1970)


def _password_expiry(entry: Entry, set_at: datetime | None, facts: DomainFacts) -> datetime | None:
    computed = _number(entry, "msds-userpasswordexpirytimecomputed")
    if computed is not None:
        return _moment(computed)
    if set_at is None or facts.max_password_age is None:
        return None
    try:
        return set_at + facts.max_password_age
    except OverflowError:
        return None


def _locked_until(entry: Entry, facts: DomainFacts) -> datetime | None:
    locked_at = _moment(_number(entry, "lockouttime"))
    if locked_at is None:
        return None
    if facts.lockout_duration is None:
        return FOREVER
    try:
        return min(FOREVER, locked_at + facts.lockout_duration)
    except OverflowError:
        return FOREVER


def _logon_hours(entry: Entry) -> bytes | None:
    hours = _octets(entry, "logonhours")
    if hours is not None and len(hours) != 21:
        raise _UnreadableError("its logonHours are not 21 octets")
    return hours


def _primary_group(entry: Entry) -> int | None:
    number = _number(entry, "primarygroupid")
    if number is not None and not 1 <= number < 1 << 32:
        raise _UnreadableError("its primaryGroupID is no RID")
    return number


def _sid(entry: Entry) -> Sid:
    values = entry.values("objectsid")
    if not values:
        raise _UnreadableError("it has no objectSid")
    try:
        if values[0][:2] in (b"S-", b"s-"):
            return Sid.parse(values[0].decode("ascii", "replace"))
        return Sid.from_bytes(values[0])
    except ValueError:
        raise _UnreadableError("its objectSid is malformed") from None


def _name(entry: Entry) -> str:
    values = entry.values("samaccountname")
    if len(values) != 1:
        raise _UnreadableError("it has no sAMAccountName, or several")
    return _decoded(values[0])


def _upn(entry: Entry) -> str | None:
    text = _text(entry, "userprincipalname")
    try:
        if text:
            check_upn(text)
    except DirectoryError:
        return None
    return text or None


def _spns(entry: Entry) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for text in _texts(entry, "serviceprincipalname")[:MAX_NAMES]:
        try:
            check_spn(text)
        except DirectoryError:
            continue
        found.setdefault(match_key(text), text)
    return tuple(found.values())


def _names(entry: Entry) -> tuple[str, ...]:
    # Each as its own kind alone: else a service name would stand in the way of an account's.
    named = [("name", _text(entry, "samaccountname")), ("upn", _text(entry, "userprincipalname"))]
    named += [("spn", spn) for spn in _spns(entry)]
    return tuple(f"{kind}:{match_key(text)}" for kind, text in named if text)
