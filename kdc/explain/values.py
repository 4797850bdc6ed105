"""Decoded values in human form, and the primitive types to decode them by."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kdc.explain.text import count, quoted
from pki import asn1, der

SHORT_OCTETS = 20  # shown whole: a SHA-1 digest, a nonce

PRIMITIVES: Mapping[str, asn1.Spec[Any]] = {
    spec.name: spec
    for spec in (
        asn1.INTEGER,
        asn1.INT32,
        asn1.UINT32,
        asn1.OCTET_STRING,
        asn1.OID,
        asn1.GENERAL_STRING,
        asn1.UTF8_STRING,
        asn1.IA5_STRING,
        asn1.GENERALIZED_TIME,
    )
}
BY_TAG: Mapping[int, asn1.Spec[Any]] = {
    der.BOOLEAN: asn1.BOOLEAN,
    der.INTEGER: asn1.INTEGER,
    der.NULL: asn1.NULL,
    der.OID: asn1.OID,
    der.UTF8_STRING: asn1.UTF8_STRING,
    der.GENERAL_STRING: asn1.GENERAL_STRING,
    der.GENERALIZED_TIME: asn1.GENERALIZED_TIME,
    der.PRINTABLE_STRING: asn1.IA5_STRING,
    der.IA5_STRING: asn1.IA5_STRING,
}
_TAG_NAMES = {
    der.BOOLEAN: "BOOLEAN",
    der.INTEGER: "INTEGER",
    der.BIT_STRING: "BIT STRING",
    der.OCTET_STRING: "OCTET STRING",
    der.NULL: "NULL",
    der.OID: "OBJECT IDENTIFIER",
    der.UTF8_STRING: "UTF8String",
    der.PRINTABLE_STRING: "PrintableString",
    der.IA5_STRING: "IA5String",
    der.GENERALIZED_TIME: "GeneralizedTime",
    der.GENERAL_STRING: "GeneralString",
    der.SEQUENCE: "SEQUENCE",
    der.SET: "SET",
    0x17: "UTCTime",
}


def tag_name(tag: int) -> str:
    """Name an identifier octet."""
    known = _TAG_NAMES.get(tag)
    if known is not None:
        return known
    kind = {0x40: "APPLICATION ", 0x80: "", 0xC0: "PRIVATE ", 0: "UNIVERSAL "}[tag & 0xC0]
    return f"[{kind}{tag & 31}]"


def show(value: object) -> str:
    """Write a decoded value."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else big_number(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return octets(value)
    if isinstance(value, datetime):
        return time_text(value)
    return "NULL" if value is None else type(value).__name__


def time_text(value: datetime) -> str:
    """Write a time: `2026-05-04 12:00:00Z`; strftime would drop zeros of early years."""
    day = f"{value.year:04}-{value.month:02}-{value.day:02}"
    return f"{day} {value.hour:02}:{value.minute:02}:{value.second:02}Z"


def octets(value: bytes) -> str:
    """Write octets: whole when few, else their number and how they begin."""
    if not value:
        return "(empty)"
    if len(value) <= SHORT_OCTETS:
        return value.hex()
    return f"{value[:8].hex()}... ({count(len(value), 'octet')})"


def big_number(value: int) -> str:
    """Write a large number by its size and how it begins."""
    size = (value.bit_length() + 7) // 8
    head = (abs(value) >> max(0, 8 * (size - 4))) & 0xFFFFFFFF
    return f"{'-' if value < 0 else ''}{head:08x}... ({count(value.bit_length(), 'bit')})"
