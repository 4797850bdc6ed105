"""X.500 names: DER to values and back, and the two text spellings in use.

The RFC 4514 string starts with the LAST relative name of the DER (`CN=alice,DC=lab,DC=test`).
altSecurityIdentities, as Windows writes it and Samba reads it, keeps the order of the DER and has
spellings of its own (`DC=test,DC=lab,CN=alice`; `S=` for a state, `emailAddress=`).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from pki import der, oids
from pki.errors import DerFault, PkiError
from pki.names import MAX_RDNS, MAX_TEXT_BYTES


@dataclass(frozen=True, slots=True)
class NameAttribute:
    """One AttributeTypeAndValue."""

    oid: str
    value: str | bytes
    """Text; or the DER element of a value that is not a string type we know."""


Rdn = tuple[NameAttribute, ...]
Name = tuple[Rdn, ...]
"""RDNSequence in the order of the DER: the root first."""

_DECODERS = {
    der.UTF8_STRING: "utf-8",
    der.PRINTABLE_STRING: "ascii",
    der.IA5_STRING: "ascii",
    0x12: "ascii",  # NumericString
    0x14: "latin-1",  # TeletexString: in practice ISO 8859-1 (RFC 5280 appendix B notes)
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}

_RFC4514 = {
    oids.ID_AT_COMMON_NAME: "CN",
    oids.ID_AT_SURNAME: "SN",
    oids.ID_AT_SERIAL_NUMBER: "serialNumber",
    oids.ID_AT_COUNTRY: "C",
    oids.ID_AT_LOCALITY: "L",
    oids.ID_AT_STATE_OR_PROVINCE: "ST",
    oids.ID_AT_STREET: "STREET",
    oids.ID_AT_ORGANIZATION: "O",
    oids.ID_AT_ORGANIZATIONAL_UNIT: "OU",
    oids.ID_AT_TITLE: "title",
    oids.ID_AT_GIVEN_NAME: "GN",
    oids.ID_UID: "UID",
    oids.ID_DOMAIN_COMPONENT: "DC",
    oids.ID_EMAIL_ADDRESS: "emailAddress",
}
_ALT_SECURITY = _RFC4514 | {oids.ID_AT_STATE_OR_PROVINCE: "S"}
_BY_KEYWORD = {keyword.upper(): oid for oid, keyword in _RFC4514.items()} | {
    "S": oids.ID_AT_STATE_OR_PROVINCE,
    "E": oids.ID_EMAIL_ADDRESS,
    "EMAIL": oids.ID_EMAIL_ADDRESS,
    "G": oids.ID_AT_GIVEN_NAME,
    "T": oids.ID_AT_TITLE,
}
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]+")


def _bad() -> NoReturn:
    raise PkiError(DerFault.BAD_VALUE, "X.500 name")


# -- DER -------------------------------------------------------------------------------------


def _decode_attribute(buf: bytes, start: int, end: int) -> NameAttribute:
    parts = der.children(buf, start, end, 2)
    if len(parts) != 2 or parts[0][0] != der.OID:
        _bad()
    oid = der.decode_oid(buf, parts[0][2], parts[0][3])
    tag, element, content, stop = parts[1]
    if stop - element > MAX_TEXT_BYTES:
        raise PkiError(DerFault.OVER_LIMIT, "X.500 name")
    encoding = _DECODERS.get(tag)
    if encoding is None:
        der.walk(buf, element, stop)
        return NameAttribute(oid, buf[element:stop])
    try:
        return NameAttribute(oid, buf[content:stop].decode(encoding))
    except UnicodeDecodeError:
        _bad()


def decode_name(name: bytes) -> Name:
    """Decode a Name (RFC 5280 4.1.2.4) given as one DER element. Raises PkiError."""
    rdns: list[Rdn] = []
    start, end = der.open_tlv(name, der.SEQUENCE)
    for tag, _, content, stop in der.children(name, start, end, MAX_RDNS):
        attributes: list[NameAttribute] = []
        if tag != der.SET:
            _bad()
        for inner, _, inner_content, inner_stop in der.children(name, content, stop, MAX_RDNS):
            if inner != der.SEQUENCE:
                _bad()
            attributes.append(_decode_attribute(name, inner_content, inner_stop))
        if not attributes:
            _bad()
        rdns.append(tuple(attributes))
    return tuple(rdns)


CanonicalName = tuple[tuple[tuple[str, str | bytes], ...], ...]


def canonical(name: Name) -> CanonicalName:
    """Return the form under which names are compared (RFC 5280 7.1).

    Letters in any case and runs of spaces are equal, as is the same text in another string type;
    the order of attributes in one relative name does not matter.
    """
    return tuple(
        tuple(
            sorted(
                ((a.oid, a.value if isinstance(a.value, bytes) else _folded(a.value)) for a in rdn),
                key=repr,
            )
        )
        for rdn in name
    )


@lru_cache(maxsize=1024)
def canonical_name(name: bytes) -> CanonicalName:
    """Return `canonical` of a Name given as one DER element. Raises PkiError."""
    return canonical(decode_name(name))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _encode_attribute(attribute: NameAttribute) -> bytes:
    if isinstance(attribute.value, bytes):
        element = attribute.value
    elif attribute.oid in (oids.ID_DOMAIN_COMPONENT, oids.ID_EMAIL_ADDRESS):
        element = der.tlv(der.IA5_STRING, attribute.value.encode("ascii"))
    elif attribute.oid in (oids.ID_AT_COUNTRY, oids.ID_AT_SERIAL_NUMBER):
        if _PRINTABLE.fullmatch(attribute.value) is None:
            _bad()
        element = der.tlv(der.PRINTABLE_STRING, attribute.value.encode("ascii"))
    else:
        element = der.tlv(der.UTF8_STRING, attribute.value.encode("utf-8"))
    return der.sequence(der.encode_oid(attribute.oid), element)


def encode_name(name: Name) -> bytes:
    """Encode a Name: UTF8String, but PrintableString and IA5String where RFC 5280 asks for them.

    Raises PkiError for a value that its attribute's string type cannot hold.
    """
    try:
        return der.sequence(
            *(der.tlv(der.SET, b"".join(sorted(map(_encode_attribute, rdn)))) for rdn in name)
        )
    except UnicodeEncodeError:
        _bad()


def simple_name(*attributes: tuple[str, str]) -> Name:
    """Build a Name of single-valued relative names from (attribute type, text), root first."""
    return tuple((NameAttribute(oid, value),) for oid, value in attributes)


# -- text ------------------------------------------------------------------------------------


def _escape(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return "#" + value.hex()
    out = re.sub(r'(["+,;<>\\])', r"\\\1", value).replace("\0", "\\00")
    if out[:1] in (" ", "#"):
        out = "\\" + out
    if out.endswith(" ") and len(value) > 1:
        out = out[:-1] + "\\ "
    return out


def _render(rdns: Name, keywords: dict[str, str]) -> str:
    return ",".join(
        "+".join(f"{keywords.get(a.oid, a.oid)}={_escape(a.value)}" for a in rdn) for rdn in rdns
    )


def render_rfc4514(name: Name) -> str:
    """Render a Name as the string of RFC 4514: the last relative name first."""
    return _render(name[::-1], _RFC4514)


def render_alt_security_identity(name: Name) -> str:
    """Render a Name as altSecurityIdentities spells it: the root first, `S=` for a state."""
    return _render(name, _ALT_SECURITY)


_TOKEN = re.compile(r"\\([0-9A-Fa-f]{2}|.)|(.)", re.DOTALL)
_HEX_VALUE = re.compile(r"#((?:[0-9A-Fa-f]{2})+)")


def _unescape(text: str) -> str | bytes:
    """Turn the attribute value of an RFC 4514 string (section 3) into its value."""
    if text.startswith("#"):
        match = _HEX_VALUE.fullmatch(text)
        if match is None:
            _bad()
        element = bytes.fromhex(match[1])
        der.open_tlv(element, element[0])
        return element
    out = bytearray()
    end = 0
    for match in _TOKEN.finditer(text):
        end = match.end()
        escaped, literal = match[1], match[2]
        if literal is not None:
            if literal in '"+,;<>\\\0':
                _bad()
            out += literal.encode("utf-8")
        elif len(escaped) == 2:
            out.append(int(escaped, 16))
        elif escaped in ' "#+,;<=>\\':
            out += escaped.encode("utf-8")
        else:
            _bad()
    if end != len(text):
        _bad()
    return out.decode("utf-8")


def _split(text: str, separator: str) -> list[str]:
    """Split at separators that no backslash escapes."""
    parts: list[str] = []
    current: list[str] = []
    escaped = False
    for char in text:
        if char == separator and not escaped:
            parts.append("".join(current))
            current = []
        else:
            current.append(char)
        escaped = char == "\\" and not escaped
    return [*parts, "".join(current)]


def _parse_attribute(text: str) -> NameAttribute:
    keyword, equals, value = text.partition("=")
    keyword = keyword.strip().upper().removeprefix("OID.")
    if not equals:
        _bad()
    oid = _BY_KEYWORD.get(keyword)
    if oid is None:
        try:
            # Back and forth: a dotted string is an identifier only if DER can hold it.
            content = der.oid_content(keyword)
        except ValueError:
            _bad()
        oid = der.decode_oid(content, 0, len(content))
    value = value.lstrip(" ")
    stripped = value.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    if backslashes % 2 and stripped != value:
        stripped += " "  # the last space was escaped: it belongs to the value
    return NameAttribute(oid, _unescape(stripped))


def _parse(text: str) -> list[Rdn]:
    if len(text) > MAX_RDNS * MAX_TEXT_BYTES:
        raise PkiError(DerFault.OVER_LIMIT, "X.500 name")
    if not text:
        return []
    rdns = _split(text, ",")
    if len(rdns) > MAX_RDNS:
        raise PkiError(DerFault.OVER_LIMIT, "X.500 name")
    try:
        return [tuple(_parse_attribute(part) for part in _split(rdn, "+")) for rdn in rdns]
    except (UnicodeDecodeError, UnicodeEncodeError):
        _bad()


def parse_rfc4514(text: str) -> Name:
    """Parse an RFC 4514 string; keywords in any case, `S`, `E` and dotted types too.

    Spaces around separators are taken as RFC 2253 lets people write them. Raises PkiError.
    """
    return tuple(reversed(_parse(text)))


def parse_alt_security_identity(text: str) -> Name:
    """Parse a name in the spelling of altSecurityIdentities (root first). Raises PkiError."""
    return tuple(_parse(text))
