"""The credential cache file of MIT krb5, version 4: bytes to credentials and back.

Layout (MIT krb5, doc/formats/ccache_file_format.rst), all big-endian: 05 04, uint16 length of the
header's fields (uint16 tag, uint16 length, value; tag 1 is the KDC's clock offset), the default
principal, then credentials up to the end. A credential is client, server, key (uint16 enctype,
data), four uint32 times, is_skey, uint32 ticket flags, addresses, authorization data, ticket and
second ticket. Settings are kept as credentials whose server is in the realm `X-CACHECONF:`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from kdc.wire.rfc4120 import AuthorizationDataElement, HostAddress, PrincipalName

VERSION_4 = b"\x05\x04"
MAX_FILE_BYTES = 4 * 1024 * 1024  # a cache with 1,000 service tickets
MAX_COMPONENTS = 16
MAX_ELEMENTS = 64  # addresses or authorization data of one ticket
CONFIG_REALM = "X-CACHECONF:"
CONFIG_NAME = "krb5_ccache_conf_data"
_TIME_OFFSET = 1
_NT_PRINCIPAL = 1


class CcacheError(Exception):
    """The bytes are not a credential cache that we read; the text is fixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A name in its realm."""

    realm: str
    components: tuple[str, ...]
    name_type: int = _NT_PRINCIPAL

    @classmethod
    def of(cls, realm: str, name: PrincipalName) -> "Principal":
        """Make one of the two parts that Kerberos messages hold."""
        return cls(realm=realm, components=name.name_string, name_type=name.name_type)

    def __str__(self) -> str:
        parts = (
            c.replace("\\", "\\\\").replace("/", "\\/").replace("@", "\\@") for c in self.components
        )
        realm = self.realm.replace("\\", "\\\\")
        return f"{'/'.join(parts)}@{realm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A ticket, its session key and what is known of it. Times are UTC in whole seconds."""

    client: Principal
    server: Principal
    etype: int
    session_key: bytes = field(repr=False)
    authtime: datetime | None
    starttime: datetime | None
    endtime: datetime | None
    renew_till: datetime | None
    flags: int
    """TicketFlags as a 32-bit value, bit 0 the highest."""
    ticket: bytes = field(repr=False)
    """DER of the Ticket."""
    second_ticket: bytes = field(default=b"", repr=False)
    is_session_key: bool = False
    """Whether the ticket is sealed with another ticket's session key (user to user)."""
    addresses: tuple[HostAddress, ...] = ()
    authorization_data: tuple[AuthorizationDataElement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of the cache, about one service principal or (None) the whole cache."""

    name: str
    principal: Principal | None
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ccache:
    """The content of a credential cache."""

    default_principal: Principal
    credentials: tuple[Credential, ...] = ()
    settings: tuple[Setting, ...] = ()
    clock_offset_us: int = 0
    """The KDC's clock minus ours, in microseconds."""


def _fail(detail: str) -> NoReturn:
    raise CcacheError(detail)


# -- writing ---------------------------------------------------------------------------------


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _data(value: bytes) -> bytes:
    return _u32(len(value)) + value


def _text(value: str) -> bytes:
    return _data(value.encode("utf-8", "surrogateescape"))


def _time(value: datetime | None) -> bytes:
    return _u32(0 if value is None else int(value.timestamp()))


def _principal(value: Principal) -> bytes:
    head = value.name_type.to_bytes(4, "big", signed=True) + _u32(len(value.components))
    return head + _text(value.realm) + b"".join(map(_text, value.components))


def _elements(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    # The types are 16 bits in this format; negative ones keep their low half.
    parts = [_u16(kind & 0xFFFF) + _data(value) for kind, value in pairs]
    return _u32(len(parts)) + b"".join(parts)


def _credential(value: Credential) -> bytes:
    return b"".join(
        (
            _principal(value.client),
            _principal(value.server),
            _u16(value.etype & 0xFFFF),
            _data(value.session_key),
            _time(value.authtime),
            _time(value.starttime or value.authtime),
            _time(value.endtime),
            _time(value.renew_till),
            bytes((value.is_session_key,)),
            _u32(value.flags),
            _elements((a.addr_type, a.address) for a in value.addresses),
            _elements((a.ad_type, a.ad_data) for a in value.authorization_data),
            _data(value.ticket),
            _data(value.second_ticket),
        )
    )


def _setting(client: Principal, value: Setting) -> bytes:
    about = () if value.principal is None else (str(value.principal),)
    return _credential(
        Credential(
            client=client,
            server=Principal(realm=CONFIG_REALM, components=(CONFIG_NAME, value.name, *about)),
            etype=0,
            session_key=b"",
            authtime=None,
            starttime=None,
            endtime=None,
            renew_till=None,
            flags=0,
            ticket=value.value,
        )
    )


def encode_ccache(cache: Ccache) -> bytes:
    """Encode a credential cache file. Raises CcacheError for a value that does not fit."""
    try:
        seconds, microseconds = divmod(cache.clock_offset_us, 1_000_000)
        offset = seconds.to_bytes(4, "big", signed=True) + _u32(microseconds)
        header = _u16(_TIME_OFFSET) + _u16(len(offset)) + offset
        return b"".join(
            (
                VERSION_4,
                _u16(len(header)),
                header,
                _principal(cache.default_principal),
                *(_setting(cache.default_principal, s) for s in cache.settings),
                *map(_credential, cache.credentials),
            )
        )
    except OverflowError:
        _fail("number out of range")


# -- reading ---------------------------------------------------------------------------------


class _Reader:
    """Reads fields and never past the end."""

    __slots__ = ("buf", "pos")

    def __init__(self, buf: bytes) -> None:
        self.buf = buf
        self.pos = 0

    def take(self, size: int) -> bytes:
        start, self.pos = self.pos, self.pos + size
        if self.pos > len(self.buf):
            _fail("cut short")
        return self.buf[start : self.pos]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)

    def data(self) -> bytes:
        return self.take(self.number(4))

    def text(self) -> str:
        return self.data().decode("utf-8", "surrogateescape")

    def time(self) -> datetime | None:
        seconds = self.number(4)
        return datetime.fromtimestamp(seconds, UTC) if seconds else None

    def principal(self) -> Principal:
        name_type, count = self.number(4, signed=True), self.number(4)
        if count > MAX_COMPONENTS:
            _fail("too many name components")
        realm = self.text()
        components = tuple(self.text() for _ in range(count))
        return Principal(realm=realm, components=components, name_type=name_type)

    def elements(self) -> list[tuple[int, bytes]]:
        count = self.number(4)
        if count > MAX_ELEMENTS:
            _fail("too many addresses or authorization data")
        return [(self.number(2, signed=True), self.data()) for _ in range(count)]

    def credential(self) -> Credential:
        client, server = self.principal(), self.principal()
        etype, key = self.number(2, signed=True), self.data()
        authtime, starttime, endtime, renew_till = (self.time() for _ in range(4))
        is_session_key, flags = self.number(1) != 0, self.number(4)
        addresses = tuple(HostAddress(addr_type=t, address=v) for t, v in self.elements())
        authorization_data = tuple(
            AuthorizationDataElement(ad_type=t, ad_data=v) for t, v in self.elements()
        )
        return Credential(
            client=client,
            server=server,
            etype=etype,
            session_key=key,
            authtime=authtime,
            starttime=starttime,
            endtime=endtime,
            renew_till=renew_till,
            is_session_key=is_session_key,
            flags=flags,
            addresses=addresses,
            authorization_data=authorization_data,
            ticket=self.data(),
            second_ticket=self.data(),
        )


def _header(reader: _Reader) -> int:
    offset = 0
    end = reader.number(2) + reader.pos
    while reader.pos < end:
        tag, size = reader.number(2), reader.number(2)
        value = reader.take(size)
        if tag == _TIME_OFFSET:
            if size != 8:
                _fail("bad clock offset")
            seconds = int.from_bytes(value[:4], "big", signed=True)
            offset = seconds * 1_000_000 + int.from_bytes(value[4:], "big", signed=True)
    if reader.pos != end:
        _fail("bad header")
    return offset


def _as_setting(credential: Credential) -> Setting | None:
    """Read back what `_setting` writes; the principal it is about is parsed from its text."""
    server = credential.server
    if server.realm != CONFIG_REALM or server.components[:1] != (CONFIG_NAME,):
        return None
    if len(server.components) < 2:
        _fail("setting without a name")
    about = parse_principal(server.components[2]) if len(server.components) > 2 else None
    return Setting(name=server.components[1], principal=about, value=credential.ticket)


def parse_principal(text: str) -> Principal:
    """Read the text form `a/b@REALM`; a backslash escapes the next character. CcacheError."""
    parts, current, realm_from, escaped = [], "", -1, False
    for character in text:
        if escaped:
            current, escaped = current + character, False
        elif character == "\\":
            escaped = True
        elif character == "@" and realm_from < 0:
            parts.append(current)
            current, realm_from = "", len(parts)
        elif character == "/" and realm_from < 0:
            parts.append(current)
            current = ""
        else:
            current += character
    if escaped or realm_from < 0 or not current:
        _fail("not a principal with its realm")
    return Principal(realm=current, components=tuple(parts))


def decode_ccache(data: bytes) -> Ccache:
    """Decode a credential cache file of version 4. Raises CcacheError."""
    if len(data) > MAX_FILE_BYTES:
        _fail("too large")
    if data[:2] != VERSION_4:
        _fail("not version 4")
    reader = _Reader(data)
    reader.pos = 2
    offset = _header(reader)
    default = reader.principal()
    credentials, settings = [], []
    while reader.pos < len(data):
        credential = reader.credential()
        setting = _as_setting(credential)
        if setting is None:
            credentials.append(credential)
        else:
            settings.append(setting)
    return Ccache(
        default_principal=default,
        credentials=tuple(credentials),
        settings=tuple(settings),
        clock_offset_us=offset,
    )
