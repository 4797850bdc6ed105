"""Distinguished names as text: comparing two of them, and writing ours (RFC 4514).

Only as much as a key credential's DN part needs: attribute types and values compare in any case
(ASCII), with white space squeezed and escapes undone (RFC 4518 in its simplest form).
"""

import re
from functools import lru_cache
from uuid import UUID

from directory.model import match_key

MAX_DN_CHARS = 4096
MAX_RDNS = 128

_SPECIAL = frozenset('",+;<>\\=')
_HEX = frozenset("0123456789abcdefABCDEF")
_ATTRIBUTE_TYPE = re.compile(
    r"(?:OID\.)?([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)", re.IGNORECASE
)
_SPACES = re.compile(r" +")
_GUID = re.compile(r"<GUID=([0-9A-Fa-f-]{32,36})>;?", re.IGNORECASE)
_SID = re.compile(r"<SID=[0-9A-Za-z-]{1,184}>;?", re.IGNORECASE)

Rdn = tuple[tuple[str, str], ...]


def escape_value(value: str) -> str:
    """Escape an attribute value for a DN (RFC 4514 2.4)."""
    if value.isalnum():
        return value
    out = "".join(f"\\{c}" if c in _SPECIAL else c for c in value).replace("\0", "\\00")
    if value[:1] in (" ", "#"):
        out = "\\" + out
    if value.endswith(" ") and len(value) > 1:
        out = out[:-1] + "\\ "
    return out


def parse_dn(text: str) -> tuple[Rdn, ...]:
    """Parse a DN into RDNs in normal form: types and ASCII letters lowered, escapes undone.

    Raises ValueError.
    """
    if len(text) > MAX_DN_CHARS:
        raise ValueError("DN too long")
    if not text.strip(" "):
        return ()
    rdns: list[Rdn] = []
    for rdn in _split(text, ",;"):
        parts = sorted(_parse_attribute(part) for part in _split(rdn, "+"))
        rdns.append(tuple(parts))
        if len(rdns) > MAX_RDNS:
            raise ValueError("DN with too many components")
    return tuple(rdns)


def _split(text: str, separators: str) -> list[str]:
    """Split at separators that are neither escaped nor inside quotes."""
    out: list[str] = []
    start = 0
    quoted = False
    pos = 0
    while pos < len(text):
        char = text[pos]
        if char == "\\":
            pos += 1
        elif char == '"':
            quoted = not quoted
        elif char in separators and not quoted:
            out.append(text[start:pos])
            start = pos + 1
        pos += 1
    if quoted:
        raise ValueError("DN with an open quote")
    out.append(text[start:])
    return out


def _parse_attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    found = _ATTRIBUTE_TYPE.fullmatch(name.strip(" "))
    if not equals or not found:
        raise ValueError("DN component is not type=value")
    return found[1].lower(), _normal_value(value)


def _normal_value(text: str) -> str:
    value = text.lstrip(" ")
    if len(value) >= 2 and value[0] == '"' and value.rstrip(" ")[-1] == '"':
        value = value.rstrip(" ")[1:-1]
    return _SPACES.sub(" ", match_key(_unescape(value))).strip(" ")


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    out = bytearray()
    pos = 0
    while pos < len(value):
        char = value[pos]
        if char != "\\":
            out += char.encode("utf-8", "surrogatepass")
            pos += 1
            continue
        pair = value[pos + 1 : pos + 3]
        if len(pair) == 2 and pair[0] in _HEX and pair[1] in _HEX:
            out.append(int(pair, 16))
            pos += 3
        elif pair:
            out += pair[0].encode("utf-8", "surrogatepass")
            pos += 2
        else:
            raise ValueError("DN ends in a backslash")
    try:
        return out.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError("DN escape is not UTF-8") from None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[Rdn, ...] | None:
    try:
        return parse_dn(text)
    except ValueError:
        return None


def _guid_of(text: str) -> UUID | None:
    found = _GUID.search(text)
    if found is None:
        return None
    digits = found[1]
    try:
        # AD shows the GUID as hex of its octets (extended DN option 0) or in dashed form.
        return UUID(digits) if "-" in digits else UUID(bytes_le=bytes.fromhex(digits))
    except ValueError:
        return None


def same_object(dn: str, owner_dn: str, owner_guid: UUID | None = None) -> bool:
    """Tell whether a DN, plain or extended (`<GUID=...>;<SID=...>;CN=...`), names the owner.

    When both sides have a GUID it alone decides; a renamed object keeps it.
    """
    if dn == owner_dn:
        return True
    if dn[:1] == "<":
        guid = _guid_of(dn)
        if guid is not None and owner_guid is not None:
            return guid == owner_guid
        dn = _SID.sub("", _GUID.sub("", dn, count=1), count=1)
    parsed = _parsed(dn)
    return parsed is not None and parsed == _parsed(owner_dn)
