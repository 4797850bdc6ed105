"""Readers of the values of `kdc.toml`: what TOML gave in, what a field of KdcConfig holds out.

A reader raises BadValueError(why, remedy), two texts for the author of the file.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, get_args

from directory.keysources.settings import KeySourceError, KeySourceSetting
from directory.ldap.settings import LdapUrl, LdapUrlError

ENCTYPE_NAMES: Mapping[str, int] = {
    "aes128-cts-hmac-sha1-96": 17,
    "aes128-cts": 17,
    "aes128-sha1": 17,
    "aes256-cts-hmac-sha1-96": 18,
    "aes256-cts": 18,
    "aes256-sha1": 18,
    "aes128-cts-hmac-sha256-128": 19,
    "aes128-sha2": 19,
    "aes256-cts-hmac-sha384-192": 20,
    "aes256-sha2": 20,
}
"""MIT's names of the encryption types that exist here; the first of each number is its own."""


DN = re.compile(r"[^=,\0]+=[^\0]+")
DN_HELP = ("it is a distinguished name", 'write it as "dc=lab,dc=test"')


class BadValueError(Exception):
    """A value that its key does not take; (why, remedy)."""


def bad_value(why: str, remedy: str) -> NoReturn:
    """Refuse a value, with two texts for its author."""
    raise BadValueError(why, remedy)


_DURATION = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s?)?", re.ASCII)
_CLOCK = re.compile(r"(\d+):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
REALM = re.compile(r"[A-Z0-9]([A-Z0-9._-]{0,253}[A-Z0-9])?", re.ASCII)
DOMAIN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?", re.ASCII)
NETBIOS = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,14}", re.ASCII)


def parse_duration(text: str) -> int:
    """Read a duration as MIT writes it: `10h`, `7d`, `1d12h`, `5m`, `90s`, `90`, `10:30`; seconds.

    Raises ValueError.
    """
    text = text.strip().lower()
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError("not a duration")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def format_duration(seconds: int) -> str:
    """Write seconds in the largest unit that divides them: 36000 is `10h`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def parse_address(text: str) -> tuple[str, int]:
    """Read `127.0.0.1:88`, `[::1]:88` or `*:88` (every address) as (address, port).

    Raises ValueError.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError("no port between 1 and 65535")
    if host == "*":
        return host, int(port)
    if host.startswith("[") and host.endswith("]"):
        return str(ipaddress.IPv6Address(host[1:-1])), int(port)
    return str(ipaddress.IPv4Address(host)), int(port)


def format_address(host: str, port: int) -> str:
    """Write an address and a port as `parse_address` reads them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def enctype_name(etype: int) -> str:
    """Give MIT's name of an encryption type, or its number."""
    return next((name for name, number in ENCTYPE_NAMES.items() if number == etype), str(etype))


HTTP_URL = re.compile(r"http://[^\s/?#@]{1,255}(/[^\s?#]*)?")
HTTP_URL_HELP = (
    "it is a URL of plain HTTP: what is fetched is signed, and TLS would need it first",
    'write it as "http://pki.lab.test/ca.crl"',
)


FETCH_URL = re.compile(
    r"http://(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?(?:/[!-~]*)?"
)
"""What is ever fetched: plain HTTP, printable ASCII, no user, no password."""
MAX_FETCH_URLS = 64


def boolean(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        bad_value("it is true or false", "write true or false, without quotes")
    return value


def number(low: int, high: int) -> Callable[[object], int]:
    """Make a reader of whole numbers within bounds, both included."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            bad_value(f"it is a number from {low} to {high}", "write such a number, without quotes")
        return value

    return read


def zero_or(read: Callable[[object], int]) -> Callable[[object], int]:
    """Read a number that may also be 0, which turns its key off."""
    return lambda value: 0 if value == 0 and not isinstance(value, bool) else read(value)


def duration(low: int, high: int) -> Callable[[object], int]:
    """Make a reader of durations within bounds; seconds."""

    def read(value: object) -> int:
        remedy = 'write it as "10h", "7d", "5m", "90s" or a number of seconds'
        if isinstance(value, bool) or not isinstance(value, int | str):
            bad_value("it is a duration", remedy)
        try:
            seconds = value if isinstance(value, int) else parse_duration(value)
        except ValueError:
            bad_value("it is a duration", remedy)
        if not low <= seconds <= high:
            bad_value(f"it lies between {format_duration(low)} and {format_duration(high)}", remedy)
        return seconds

    return read


def text_like(pattern: re.Pattern[str], why: str, remedy: str) -> Callable[[object], str]:
    """Make a reader of texts that match a pattern as a whole."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            bad_value(why, remedy)
        return value

    return read


def one_of(kind: Any) -> Callable[[object], str]:
    """Make a reader of the words of a Literal type."""
    allowed: tuple[str, ...] = get_args(kind)

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            bad_value("it is one of " + ", ".join(allowed), f'write for example "{allowed[0]}"')
        return value

    return read


def strings(value: object, remedy: str) -> tuple[str, ...]:
    """Read a list of strings, or one string alone."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        bad_value("it is a list of strings", remedy)
    return tuple(value)


def listen_addresses(value: object) -> tuple[str, ...]:
    """Read addresses with ports, each once and in one form."""
    remedy = 'write it as ["127.0.0.1:88", "[::1]:88"]'
    found = strings(value, remedy)
    if not found:
        bad_value("a KDC listens on at least one address", remedy)
    out = []
    for item in found:
        try:
            out.append(format_address(*parse_address(item)))
        except ValueError:
            bad_value(f"{item!r} is not an address and a port", remedy)
    return tuple(dict.fromkeys(out))


def none_or(read: Callable[[object], tuple[str, ...]]) -> Callable[[object], tuple[str, ...]]:
    """Read a list that may also be empty, which turns its key off."""
    return lambda value: () if value == [] else read(value)


def ldap_urls(value: object) -> tuple[str, ...]:
    """Read the URLs of LDAP servers, in order of preference, each once."""
    remedy = 'write it as ["ldaps://dc1.lab.test", "ldaps://dc2.lab.test"]'
    found = strings(value, remedy)
    out = []
    for item in found:
        try:
            out.append(str(LdapUrl.parse(item)))
        except LdapUrlError as error:
            bad_value(f"{item!r}: {error}", remedy)
    return tuple(dict.fromkeys(out))


def fetch_urls(value: object) -> tuple[str, ...]:
    """Read URLs of plain HTTP, each once."""
    remedy = 'write it as ["http://pki.example.com/issuing.crl"]'
    found = strings(value, remedy)
    for item in found:
        if not FETCH_URL.fullmatch(item):
            bad_value(f"{item!r} is no address of plain HTTP", remedy)
    if len(found) > MAX_FETCH_URLS:
        bad_value(f"it has at most {MAX_FETCH_URLS} addresses", "name fewer of them")
    return tuple(dict.fromkeys(found))


def key_source(value: object) -> str:
    """Read where an LDAP realm's long-term keys come from."""
    remedy = 'write it as "samba:/var/lib/samba/private" or "keytab:/etc/keytrust/keys.keytab"'
    if not isinstance(value, str):
        bad_value("it is a text in quotes", remedy)
    try:
        return str(KeySourceSetting.parse(value))
    except KeySourceError as error:
        bad_value(str(error), remedy)


def enctypes(value: object) -> tuple[int, ...]:
    """Read names of encryption types, as a list or in the one string that MIT writes."""
    remedy = "choose among " + ", ".join(enctype_name(etype) for etype in (18, 17, 20, 19))
    # MIT's own form is one string, each name with an optional ":salttype".
    names = value.split() if isinstance(value, str) else strings(value, remedy)
    out = []
    for name in names:
        etype = ENCTYPE_NAMES.get(name.partition(":")[0].lower())
        if etype is None:
            bad_value(f"{name!r} is not an encryption type of this KDC", remedy)
        out.append(etype)
    if not out:
        bad_value("a KDC needs at least one encryption type", remedy)
    return tuple(dict.fromkeys(out))


def networks(value: object) -> tuple[str, ...]:
    """Read networks and addresses in their usual text forms."""
    remedy = 'write it as ["192.0.2.0/24", "2001:db8::/32"]'
    try:
        return tuple(str(ipaddress.ip_network(item)) for item in strings(value, remedy))
    except ValueError:
        bad_value("it is a list of networks", remedy)


def absolute_paths(value: object) -> tuple[str, ...]:
    """Read absolute paths."""
    remedy = 'write it as ["/run/credentials/keytrust-kdc.service"]'
    found = strings(value, remedy)
    if not all(os.path.isabs(item) for item in found):
        bad_value("it is a list of absolute paths", remedy)
    return found


def path_texts(value: object) -> tuple[str, ...]:
    """Read a list of paths, absolute or not."""
    remedy = 'write it as ["/etc/keytrust/issuing-ca.pem"]'
    found = strings(value, remedy)
    if not all(found):
        bad_value("it is a list of paths", remedy)
    return found


def path_text(value: object) -> str:
    """Read one path, absolute or not."""
    if not isinstance(value, str) or not value:
        bad_value("it is a path", 'write it as "/etc/keytrust/ca.key"')
    return value
