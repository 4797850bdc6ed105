"""The buffers of a PAC (MS-PAC 2.4 to 2.14), written by splicing and read strictly.

Names, texts and times are encoded as Windows does, down to the order of the pointers; a real PAC
of a Windows domain controller is the tests' vector.
"""

import struct
from codecs import utf_16_le_encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache

from directory.model import Account, AccountKind, Domain, Sid
from kdc.crypto.etypes import KeyUsage, ProtocolKey, decrypt, encrypt
from kdc.pac.faults import malformed
from kdc.pac.ndr import (
    FIRST_REFERENT,
    HEADER_BYTES,
    REFERENT_STEP,
    NdrReader,
    read_sid,
    serialize,
    sid_referent,
    string_referent,
)


class PacType(IntEnum):
    """ulType of a PAC_INFO_BUFFER (MS-PAC 2.4)."""

    LOGON_INFO = 1
    CREDENTIAL_INFO = 2
    SERVER_CHECKSUM = 6
    KDC_CHECKSUM = 7
    CLIENT_INFO = 10
    DELEGATION_INFO = 11
    UPN_DNS_INFO = 12
    TICKET_CHECKSUM = 16
    ATTRIBUTES_INFO = 17
    REQUESTOR = 18
    FULL_CHECKSUM = 19


# PAC_ATTRIBUTES_INFO (MS-PAC 2.14): whether the client asked for the PAC it got.
PAC_WAS_REQUESTED = 1
PAC_WAS_GIVEN_IMPLICITLY = 2

# Authentication identities (MS-DTYP 2.4.2.4).
AUTHENTICATION_AUTHORITY_ASSERTED = Sid(18, (1,))
SERVICE_ASSERTED = Sid(18, (2,))
FRESH_PUBLIC_KEY = Sid(18, (3,))
KEY_TRUST = Sid(18, (4,))
MULTIFACTOR_KEY = Sid(18, (5,))
ATTESTED_KEY = Sid(18, (6,))

MANDATORY_ENABLED = 7  # SE_GROUP_MANDATORY | ENABLED_BY_DEFAULT | ENABLED (MS-PAC 2.2.1)
_BUILTIN = 32  # S-1-5-32-x (MS-DTYP 2.4.2.4)
EXTRA_SIDS_PRESENT = 0x20  # UserFlags bit D (MS-PAC 2.5)
MAX_NAME_UNITS = 0x7FF0  # a length in octets, with what Windows adds, stays under 2**16

_SEVEN = MANDATORY_ENABLED.to_bytes(4, "little")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


# -- times -----------------------------------------------------------------------------------

FILETIME_BYTES = 8
NEVER = 0x7FFFFFFFFFFFFFFF
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_filetime(value: datetime) -> int:
    """Turn an aware datetime into 100 ns since 1601."""
    past = value - _FILETIME_EPOCH
    return ((past.days * 86400 + past.seconds) * 1_000_000 + past.microseconds) * 10


def encode_filetime(value: datetime) -> bytes:
    """Encode an aware datetime as a FILETIME of FILETIME_BYTES (MS-DTYP 2.3.3)."""
    return to_filetime(value).to_bytes(FILETIME_BYTES, "little")


def from_filetime(value: int) -> datetime | None:
    """Turn 100 ns since 1601 into a datetime; None for zero, "never" and what no datetime holds."""
    if not 0 < value < NEVER:
        return None
    try:
        return _FILETIME_EPOCH + value // 10 * _MICROSECOND
    except OverflowError:
        return None


def _utf16(text: str) -> bytes:
    """Encode as UTF-16LE. What no name of ours can be (surrogates, over-long) raises ValueError."""
    data = utf_16_le_encode(text)[0]
    if len(data) > 2 * MAX_NAME_UNITS:
        raise ValueError("name too long for a PAC")
    return data


# -- LOGON_INFO ------------------------------------------------------------------------------

# KERB_VALIDATION_INFO up to its last field (MS-PAC 2.5); a string is length, maximum, pointer.
_LOGON_INFO = struct.Struct("<6Q" + "HHI" * 6 + "HH5I16s" + "HHI" * 2 + "I8sII16s7I")
LOGON_TIME_AT = HEADER_BYTES + 4
"""Where LogonTime stands in the buffer: first in the structure, behind the top-level pointer."""


def _pointer(number: int) -> int:
    return FIRST_REFERENT + REFERENT_STEP * number


# The strings that a domain may leave empty: FullName, LogonScript, ProfilePath, HomeDirectory and
# HomeDirectoryDrive. Windows writes them as pointers to nothing.
_EMPTY_STRINGS = tuple(field for number in range(2, 7) for field in (0, 0, _pointer(number)))
_EMPTY_REFERENTS = string_referent(b"") * 5

_USER_ACCOUNT_CONTROL = {  # MS-SAMR 2.2.1.12
    AccountKind.USER: 0x10,  # USER_NORMAL_ACCOUNT
    AccountKind.SERVICE: 0x10,
    AccountKind.KRBTGT: 0x10,
    AccountKind.COMPUTER: 0x80,  # USER_WORKSTATION_TRUST_ACCOUNT
}
_SERVER_TRUST_ACCOUNT = 0x100
_ACCOUNT_DISABLED = 0x1
_SMARTCARD_REQUIRED = 0x1000
_DONT_REQUIRE_PREAUTH = 0x10000
_DONT_EXPIRE_PASSWORD = 0x200
_CONTROLLERS = 516


def user_account_control(account: Account) -> int:
    """Return UserAccountControl (MS-SAMR 2.2.1.12), as far as it is known here."""
    control = _USER_ACCOUNT_CONTROL[account.kind]
    if account.kind is AccountKind.COMPUTER and account.primary_group_id == _CONTROLLERS:
        control = _SERVER_TRUST_ACCOUNT
    if account.disabled:
        control |= _ACCOUNT_DISABLED
    if account.smartcard_required:
        control |= _SMARTCARD_REQUIRED
    if account.preauth_not_required:
        control |= _DONT_REQUIRE_PREAUTH
    if account.password_expires_at is None:
        control |= _DONT_EXPIRE_PASSWORD
    return control


@lru_cache(maxsize=64)
def _domain_part(netbios: str, sid: Sid, server: str) -> tuple[int, int, bytes]:
    """Return the octets of the two names, and the referents of names and domain SID."""
    # Windows counts a terminating zero in these two maxima, and does not send it.
    names = [_utf16(server), _utf16(netbios)]
    referents = []
    for name in names:
        units = len(name) // 2
        referents.append(struct.pack("<III", units + 1, 0, units) + name + bytes(-len(name) % 4))
    return len(names[0]), len(names[1]), b"".join(referents) + sid_referent(sid)


def encode_logon_info(
    account: Account,
    domain: Domain,
    groups: tuple[Sid, ...],
    extra_sids: tuple[Sid, ...],
    logon_time: datetime,
    server: str,
) -> bytes:
    """Encode KERB_VALIDATION_INFO (MS-PAC 2.5) in its NDR wrapping.

    groups: flattened, the primary group among them; those of other domains become ExtraSids.
    BUILTIN groups are left out: S-1-5-32-544 is another group on each machine.
    Raises ValueError for an account that has no SID in this domain.
    """
    sid, domain_sid = account.sid, domain.sid
    authority, prefix = domain_sid.authority, domain_sid.sub_authorities
    if sid is None or not sid.is_in(domain_sid):
        raise ValueError("the account has no SID in this domain")
    rids = []
    extra = list(extra_sids)
    for group in groups:
        parts = group.sub_authorities
        if parts[:-1] == prefix and group.authority == authority:
            rids.append(parts[-1].to_bytes(4, "little"))
        elif parts[0] != _BUILTIN or group.authority != authority:
            extra.append(group)
    name = _utf16(account.sam_account_name)
    server_bytes, netbios_bytes, domain_part = _domain_part(domain.netbios, domain_sid, server)
    set_at = to_filetime(account.password_set_at) if account.password_set_at else 0
    expires, password_expires = account.expires_at, account.password_expires_at
    count = len(rids)
    extra_count = len(extra)
    fixed = _LOGON_INFO.pack(
        to_filetime(logon_time),
        NEVER,  # LogoffTime: nobody is forced off
        to_filetime(expires) if expires else NEVER,  # KickOffTime
        set_at,
        set_at,  # PasswordCanChange: at once
        to_filetime(password_expires) if password_expires else NEVER,
        *(len(name), len(name), FIRST_REFERENT + REFERENT_STEP),
        *_EMPTY_STRINGS,
        *(0, 0),  # LogonCount, BadPasswordCount: not kept
        sid.sub_authorities[-1],
        account.primary_group_id,
        count,
        _GROUPS_POINTER if count else 0,
        EXTRA_SIDS_PRESENT if extra_count else 0,
        b"",  # UserSessionKey: zero in Kerberos (MS-PAC 2.5)
        *(server_bytes, server_bytes + 2, _SERVER_POINTER),
        *(netbios_bytes, netbios_bytes + 2, _NETBIOS_POINTER),
        _DOMAIN_POINTER,
        b"",
        user_account_control(account),
        *(0, b"", 0, 0),  # SubAuthStatus, last logons, failures: interactive logons only
        extra_count,
        _EXTRA_POINTER if extra_count else 0,
        *(0, 0, 0),  # resource groups: none
    )
    parts_out = [fixed, string_referent(name), _EMPTY_REFERENTS]
    if count:
        parts_out += (_U32.pack(count), _SEVEN.join(rids), _SEVEN)
    parts_out.append(domain_part)
    if extra_count:
        parts_out.append(_U32.pack(extra_count))
        parts_out += [
            _POINTER_SEVEN.pack(_FIRST_EXTRA_POINTER + REFERENT_STEP * number, MANDATORY_ENABLED)
            for number in range(extra_count)
        ]
        parts_out += [_sid_referent(extra_sid) for extra_sid in extra]
    return serialize(b"".join(parts_out))


(
    _GROUPS_POINTER,
    _SERVER_POINTER,
    _NETBIOS_POINTER,
    _DOMAIN_POINTER,
    _EXTRA_POINTER,
    _FIRST_EXTRA_POINTER,
) = (_pointer(number) for number in range(7, 13))
_POINTER_SEVEN = struct.Struct("<II")
_sid_referent = lru_cache(maxsize=1024)(sid_referent)


@dataclass(slots=True, kw_only=True)
class LogonInfo:
    """What KERB_VALIDATION_INFO says (MS-PAC 2.5), as far as anyone asks."""

    logon_time: datetime | None
    effective_name: str
    user_id: int
    primary_group_id: int
    group_ids: tuple[int, ...]
    user_flags: int
    logon_server: str
    domain_name: str
    domain_sid: Sid | None
    user_account_control: int
    extra_sids: tuple[Sid, ...]
    resource_group_sids: tuple[Sid, ...]

    @property
    def sid(self) -> Sid | None:
        """The client's SID; None when the PAC has no domain SID."""
        return None if self.domain_sid is None else self.domain_sid.with_rid(self.user_id)


def decode_logon_info(data: bytes) -> LogonInfo:
    """Decode LOGON_INFO. Raises PacError(MALFORMED)."""
    reader = NdrReader(data)
    # The struct's fields by their place in it: 6 times, 6 strings of 3 fields, 2 counters ...
    fields = _LOGON_INFO.unpack(reader.take(_LOGON_INFO.size))
    user_id, primary, group_count, groups_at, flags = fields[26:31]
    domain_at, _, control = fields[38:41]
    extra_count, extra_at, resource_at, resource_count, resource_ids_at = fields[45:50]

    def string(place: int) -> str:
        size, maximum, pointer = fields[place : place + 3]
        return reader.string(pointer, size, maximum)

    effective_name = string(6)
    for place in range(9, 24, 3):
        string(place)
    group_ids = _read_groups(reader, groups_at, group_count)
    logon_server, domain_name = string(32), string(35)
    domain_sid = reader.sid() if domain_at else None
    extra = _read_extra_sids(reader, extra_at, extra_count)
    resource_domain = reader.sid() if resource_at else None
    resource_ids = _read_groups(reader, resource_ids_at, resource_count)
    if resource_ids and resource_domain is None:
        raise malformed("resource groups without their domain")
    reader.finish()
    return LogonInfo(
        logon_time=from_filetime(fields[0]),
        effective_name=effective_name,
        user_id=user_id,
        primary_group_id=primary,
        group_ids=group_ids,
        user_flags=flags,
        logon_server=logon_server,
        domain_name=domain_name,
        domain_sid=domain_sid,
        user_account_control=control,
        extra_sids=extra,
        resource_group_sids=tuple(_with_rid(resource_domain, rid) for rid in resource_ids)
        if resource_domain is not None
        else (),
    )


def _with_rid(domain: Sid, rid: int) -> Sid:
    try:
        return domain.with_rid(rid)
    except ValueError:
        raise malformed("SID with too many sub-authorities") from None


def _read_groups(reader: NdrReader, pointer: int, count: int) -> tuple[int, ...]:
    """Take a GROUP_MEMBERSHIP array; the attributes of groups are not looked at."""
    if not pointer:
        if count:
            raise malformed("groups without their array")
        return ()
    reader.count(count, 8)
    return struct.unpack(f"<{2 * count}I", reader.take(8 * count))[::2]


def _read_extra_sids(reader: NdrReader, pointer: int, count: int) -> tuple[Sid, ...]:
    if not pointer:
        if count:
            raise malformed("extra SIDs without their array")
        return ()
    reader.count(count, 8)
    pointers = struct.unpack(f"<{2 * count}I", reader.take(8 * count))[::2]
    if not all(pointers):
        raise malformed("extra SID without its octets")
    return tuple(reader.sid() for _ in pointers)


# -- CLIENT_INFO, ATTRIBUTES_INFO, REQUESTOR -------------------------------------------------


def encode_client_info(authtime: datetime, name: str) -> bytes:
    """Encode PAC_CLIENT_INFO (MS-PAC 2.7): the ticket's authtime and the client's name."""
    text = _utf16(name)
    return encode_filetime(authtime) + _U16.pack(len(text)) + text


@dataclass(slots=True, kw_only=True)
class ClientInfo:
    """What PAC_CLIENT_INFO says: it ties the PAC to a ticket."""

    authtime: datetime | None
    name: str


def decode_client_info(data: bytes) -> ClientInfo:
    """Decode PAC_CLIENT_INFO. Raises PacError(MALFORMED)."""
    if len(data) < 10 or 10 + _U16.unpack_from(data, 8)[0] != len(data):
        raise malformed("CLIENT_INFO of the wrong length")
    return ClientInfo(
        authtime=from_filetime(_U64.unpack_from(data)[0]), name=_text(data[10:], "CLIENT_INFO")
    )


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-16-le")
    except UnicodeDecodeError:
        raise malformed(f"{where} is not UTF-16") from None


def encode_attributes_info(flags: int) -> bytes:
    """Encode PAC_ATTRIBUTES_INFO (MS-PAC 2.14): two flags in use."""
    return _POINTER_SEVEN.pack(2, flags)


def decode_attributes_info(data: bytes) -> int:
    """Decode PAC_ATTRIBUTES_INFO to its flags. Raises PacError(MALFORMED)."""
    if len(data) < 8 or not 1 <= _U32.unpack_from(data)[0] <= 8 * (len(data) - 4):
        raise malformed("ATTRIBUTES_INFO of the wrong length")
    flags: int = _U32.unpack_from(data, 4)[0]
    return flags


def decode_requestor(data: bytes) -> Sid:
    """Decode PAC_REQUESTOR (MS-PAC 2.15), a SID. Raises PacError(MALFORMED)."""
    return read_sid(data)


# -- UPN_DNS_INFO ----------------------------------------------------------------------------

_UPN_DNS_INFO = struct.Struct("<4HI4H")
_UPN_HEAD_BYTES = 24  # the fields, up to a multiple of 8
UPN_CONSTRUCTED = 1  # flag U: the account has no UPN, this one was made from its name
UPN_EXTENDED = 2  # flag S: SAM name and SID follow


def encode_upn_dns_info(account: Account, domain: Domain) -> bytes:
    """Encode UPN_DNS_INFO with the extended form (MS-PAC 2.10): UPN, domain, SAM name, SID."""
    if account.sid is None:
        raise ValueError("the account has no SID")
    name = account.sam_account_name
    flags = UPN_EXTENDED
    upn = account.upn
    if upn is None:
        upn = f"{name}@{domain.dns_name}"
        flags |= UPN_CONSTRUCTED
    fields: list[int] = []
    body = b""
    for value in (
        _utf16(upn),
        _utf16(domain.dns_name.upper()),
        _utf16(name),
        account.sid.to_bytes(),
    ):
        fields += (len(value), _UPN_HEAD_BYTES + len(body))
        body += value + bytes(-len(value) % 8)
    head = _UPN_DNS_INFO.pack(*fields[:4], flags, *fields[4:])
    return head + bytes(_UPN_HEAD_BYTES - len(head)) + body


@dataclass(slots=True, kw_only=True)
class UpnDnsInfo:
    """What UPN_DNS_INFO says; for people, no decision reads it."""

    upn: str
    dns_domain_name: str
    flags: int
    sam_name: str | None
    sid: Sid | None


def decode_upn_dns_info(data: bytes) -> UpnDnsInfo:
    """Decode UPN_DNS_INFO, in its short or extended form. Raises PacError(MALFORMED)."""
    if len(data) < 12:
        raise malformed("UPN_DNS_INFO cut off")
    upn_size, upn_at, dns_size, dns_at, flags = struct.unpack_from("<4HI", data)

    def part(offset: int, size: int) -> bytes:
        if offset + size > len(data):
            raise malformed("UPN_DNS_INFO points past its end")
        return data[offset : offset + size]

    sam_name, sid = None, None
    if flags & UPN_EXTENDED:
        if len(data) < _UPN_DNS_INFO.size:
            raise malformed("UPN_DNS_INFO cut off")
        sam_size, sam_at, sid_size, sid_at = struct.unpack_from("<4H", data, 12)
        sam_name = _text(part(sam_at, sam_size), "UPN_DNS_INFO")
        sid = read_sid(part(sid_at, sid_size))
    return UpnDnsInfo(
        upn=_text(part(upn_at, upn_size), "UPN_DNS_INFO"),
        dns_domain_name=_text(part(dns_at, dns_size), "UPN_DNS_INFO"),
        flags=flags,
        sam_name=sam_name,
        sid=sid,
    )


# -- DELEGATION_INFO -------------------------------------------------------------------------

MAX_TRANSITED = 64  # services that may stand in line; S4U2Proxy adds one each time
_STRING = struct.Struct("<HHI")


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationInfo:
    """S4U_DELEGATION_INFO (MS-PAC 2.9): the chain of a constrained delegation."""

    proxy_target: str
    """The service the ticket is for, `host/web.lab.test`."""
    transited: tuple[str, ...] = ()
    """Services that acted for the client, oldest first, `host/app.lab.test@LAB.TEST`."""


def encode_delegation_info(delegation: DelegationInfo) -> bytes:
    """Encode DELEGATION_INFO. Raises ValueError past MAX_TRANSITED."""
    if len(delegation.transited) > MAX_TRANSITED:
        raise ValueError("too many services in a delegation")
    target = _utf16(delegation.proxy_target)
    services = [_utf16(service) for service in delegation.transited]
    count = len(services)
    parts = [
        _STRING.pack(len(target), len(target), _pointer(1)),
        _POINTER_SEVEN.pack(count, _pointer(2) if count else 0),
        string_referent(target),
    ]
    if count:
        parts.append(_U32.pack(count))
        parts += (
            _STRING.pack(len(text), len(text), _pointer(number))
            for number, text in enumerate(services, 3)
        )
        parts += (string_referent(text) for text in services)
    return serialize(b"".join(parts))


def decode_delegation_info(data: bytes) -> DelegationInfo:
    """Decode DELEGATION_INFO. Raises PacError(MALFORMED)."""
    reader = NdrReader(data)
    size, maximum, at = reader.unpack(_STRING)
    count, services_at = reader.unpack(_POINTER_SEVEN)
    target = reader.string(at, size, maximum)
    strings: list[tuple[int, ...]] = []
    if services_at:
        if count > MAX_TRANSITED:
            raise malformed("too many services in a delegation")
        reader.count(count, _STRING.size)
        strings = [reader.unpack(_STRING) for _ in range(count)]
    elif count:
        raise malformed("delegation without its services")
    services = tuple(reader.string(at, size, maximum) for size, maximum, at in strings)
    reader.finish()
    return DelegationInfo(proxy_target=target, transited=services)


# -- CREDENTIAL_INFO -------------------------------------------------------------------------

NT_HASH_BYTES = 16
_NTLM = "NTLM".encode("utf-16-le")
_NT_HASH_PRESENT = 2  # the other bit, 1, is for the LM hash, which nobody has any more
# NTLM_SUPPLEMENTAL_CREDENTIAL (MS-PAC 2.6.4): version, flags, LM hash, NT hash.
_NTLM_CREDENTIAL = struct.Struct("<II16s16s")
_CREDENTIAL_BYTES = _NTLM_CREDENTIAL.size
_CREDENTIAL_HEAD = (
    _U32.pack(1)  # the conformant array's size stands before the structure
    + _U32.pack(1)  # CredentialCount
    + _STRING.pack(len(_NTLM), len(_NTLM), _pointer(1))
    + _POINTER_SEVEN.pack(_CREDENTIAL_BYTES, _pointer(2))
    + string_referent(_NTLM)
    + _U32.pack(_CREDENTIAL_BYTES)
)


def seal_credential_info(nt_hash: bytes, reply_key: ProtocolKey, confounder: bytes) -> bytes:
    """Make PAC_CREDENTIAL_INFO (MS-PAC 2.6): the NT hash sealed with the AS reply key.

    Only for the TGT of a PKINIT logon: a client that typed no password can then speak NTLM.
    confounder: 16 fresh random octets.
    """
    if len(nt_hash) != NT_HASH_BYTES:
        raise ValueError("an NT hash has 16 octets")
    credential = _NTLM_CREDENTIAL.pack(0, _NT_HASH_PRESENT, b"", nt_hash)
    plain = serialize(_CREDENTIAL_HEAD + credential)
    cipher = encrypt(reply_key, KeyUsage.KERB_NON_KERB_SALT, plain, confounder)
    return _POINTER_SEVEN.pack(0, reply_key.enctype) + cipher


def open_credential_info(data: bytes, reply_key: ProtocolKey) -> bytes:
    """Open PAC_CREDENTIAL_INFO as a client does; return the NT hash.

    Raises PacError(MALFORMED), CryptoError (wrong key).
    """
    if len(data) < 8:
        raise malformed("CREDENTIAL_INFO cut off")
    version, etype = _POINTER_SEVEN.unpack_from(data)
    if version or etype != reply_key.enctype:
        raise malformed("CREDENTIAL_INFO of another version or key")
    reader = NdrReader(decrypt(reply_key, KeyUsage.KERB_NON_KERB_SALT, data[8:]))
    if reader.take(len(_CREDENTIAL_HEAD)) != _CREDENTIAL_HEAD:
        raise malformed("CREDENTIAL_INFO holds something else than one NTLM credential")
    version, flags, _, nt_hash = _NTLM_CREDENTIAL.unpack(reader.take(_CREDENTIAL_BYTES))
    reader.finish()
    if version or flags != _NT_HASH_PRESENT:
        raise malformed("CREDENTIAL_INFO without an NT hash")
    return bytes(nt_hash)
