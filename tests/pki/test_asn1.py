"""Declared types: what the compiled readers accept, refuse and keep."""

from datetime import UTC, datetime

import pytest

from pki import asn1, der
from pki.errors import DerFault, PkiError


@asn1.sequence
class Inner:
    """Inner ::= SEQUENCE { number [0] Int32, text [1] GeneralString OPTIONAL }."""

    number: int = asn1.explicit(0, asn1.INT32)
    text: str | None = asn1.explicit(1, asn1.GENERAL_STRING, default=None)


@asn1.sequence(application=10)
class Outer:
    """Outer ::= [APPLICATION 10] SEQUENCE { items [1] SEQUENCE OF Inner, flag BOOLEAN }."""

    items: tuple[Inner, ...] = asn1.explicit(1, asn1.sequence_of(asn1.nested(Inner), 4))
    flag: bool = asn1.plain(asn1.BOOLEAN, default=False)
    raw: bytes = asn1.received()


@asn1.sequence(extensible=True)
class Open:
    """Open ::= SEQUENCE { number [0] Int32, ... }."""

    number: int = asn1.explicit(0, asn1.INT32)


@asn1.sequence
class Holder:
    """Holder ::= SEQUENCE { anything ANY, octets [0] IMPLICIT OCTET STRING OPTIONAL }."""

    anything: bytes = asn1.plain(asn1.ANY)
    octets: bytes | None = asn1.implicit(0, asn1.OCTET_STRING, default=None)


SAMPLE = Outer(items=(Inner(number=-7, text="caf\u00e9"), Inner(number=300)), flag=True)


def fault_of(cls: type, data: bytes) -> object:
    with pytest.raises(PkiError) as caught:
        asn1.decode(cls, data)
    return caught.value.fault


def test_a_value_survives_encoding_and_decoding() -> None:
    """Decoding what was encoded gives an equal object."""
    assert asn1.decode(Outer, asn1.encode(SAMPLE)) == SAMPLE


def test_received_bytes_are_the_whole_element() -> None:
    """The raw field holds the element with its tag and length, as it arrived."""
    data = asn1.encode(SAMPLE)
    assert asn1.decode(Outer, data).raw == data


@pytest.mark.parametrize("cut", range(len(asn1.encode(SAMPLE))))
def test_every_truncation_is_refused(cut: int) -> None:
    """No prefix of a message is a message (row E03)."""
    with pytest.raises(PkiError):
        asn1.decode(Outer, asn1.encode(SAMPLE)[:cut])


def test_trailing_octets_are_refused() -> None:
    """Nothing may follow the element (row E02)."""
    assert fault_of(Outer, asn1.encode(SAMPLE) + b"\x00") is DerFault.TRAILING_DATA


def test_an_unknown_field_is_refused_in_a_closed_type() -> None:
    """A type without `...` takes no further fields."""
    body = der.explicit(0, der.encode_integer(1)) + der.explicit(5, der.encode_integer(1))
    assert fault_of(Inner, der.tlv(0x30, body)) is DerFault.TRAILING_DATA


def test_an_unknown_field_is_skipped_in_an_extensible_type() -> None:
    """A type with `...` skips later context-tagged fields it does not know."""
    body = der.explicit(0, der.encode_integer(1)) + der.explicit(5, der.encode_integer(1))
    assert asn1.decode(Open, der.tlv(0x30, body)).number == 1


def test_extension_fields_out_of_order_are_refused() -> None:
    """Even skipped fields must come in tag order (row E05)."""
    body = b"".join(der.explicit(n, der.encode_integer(1)) for n in (0, 6, 5))
    assert fault_of(Open, der.tlv(0x30, body)) is DerFault.BAD_TAG


def test_a_repeated_field_is_refused_in_an_extensible_type() -> None:
    """A known field cannot come again as an extension (row E05)."""
    body = der.explicit(0, der.encode_integer(1)) * 2
    assert fault_of(Open, der.tlv(0x30, body)) is DerFault.BAD_TAG


def test_nesting_inside_a_skipped_extension_is_bounded() -> None:
    """Depth is bounded in parts nobody reads, too (row E04)."""
    deep = b""
    for _ in range(der.MAX_DEPTH + 1):
        deep = der.tlv(0x30, deep)
    body = der.explicit(0, der.encode_integer(1)) + der.explicit(5, deep)
    assert fault_of(Open, der.tlv(0x30, body)) is DerFault.OVER_LIMIT


def test_a_missing_field_is_named() -> None:
    """The detail names type and field, never content."""
    with pytest.raises(PkiError) as caught:
        asn1.decode(Inner, b"\x30\x00")
    assert (caught.value.fault, caught.value.detail) == (DerFault.MISSING_FIELD, "Inner.number")


def test_a_list_over_its_limit_is_refused() -> None:
    """SEQUENCE OF has a bound of its own."""
    data = asn1.encode(Outer(items=(Inner(number=1),) * 5))
    assert fault_of(Outer, data) is DerFault.OVER_LIMIT


def test_a_default_value_on_the_wire_is_refused() -> None:
    """DER leaves out a field that has its default value (X.690 11.5)."""
    items = der.explicit(1, der.tlv(0x30, b""))
    data = der.tlv(0x6A, der.tlv(0x30, items + b"\x01\x01\x00"))
    assert fault_of(Outer, data) is DerFault.BAD_VALUE


def test_an_explicit_tag_must_be_filled_by_its_value() -> None:
    """Nothing may follow the value inside [n] EXPLICIT."""
    two = der.tlv(0xA0, der.encode_integer(1) + der.encode_integer(2))
    assert fault_of(Inner, der.tlv(0x30, two)) is DerFault.TRAILING_DATA


def test_any_keeps_the_element_as_received() -> None:
    """ANY is the whole element; an implicit tag replaces the universal one."""
    data = der.tlv(0x30, der.encode_integer(5) + der.tlv(0x80, b"xy"))
    held = asn1.decode(Holder, data)
    assert (held.anything, held.octets) == (der.encode_integer(5), b"xy")


@pytest.mark.parametrize(
    "element",
    [
        b"\x02\x00",  # empty
        b"\x02\x02\x00\x01",  # leading zero
        b"\x02\x02\xff\xff",  # leading ones
        b"\x02\x81\x01\x05",  # long form below 128
        b"\x02\x05\x01\x00\x00\x00\x00",  # past Int32
    ],
)
def test_an_integer_in_another_form_is_refused(element: bytes) -> None:
    """INTEGER and lengths have one encoding only (row E01)."""
    with pytest.raises(PkiError):
        asn1.decode(Inner, der.tlv(0x30, der.tlv(0xA0, element)))


@pytest.mark.parametrize("octets", [b"\x01", b"\x00\x00", b""])
def test_a_boolean_other_than_00_or_ff_is_refused(octets: bytes) -> None:
    """BOOLEAN TRUE is FF in DER (row E01)."""
    data = der.tlv(0x6A, der.tlv(0x30, der.explicit(1, der.tlv(0x30, b"")) + der.tlv(1, octets)))
    assert fault_of(Outer, data) is DerFault.BAD_VALUE


@pytest.mark.parametrize(
    "text",
    [
        b"20260102030405",
        b"20260102030405.5Z",
        b"20260102030460Z",
        b"20261302030405Z",
        b"20260102030405+0100",
        b"2026010203040\xb2Z",
    ],
)
def test_a_time_in_another_form_is_refused(text: bytes) -> None:
    """KerberosTime has no fraction, no offset and no leap second (row E07)."""
    with pytest.raises(PkiError) as caught:
        asn1.decode_as(asn1.GENERALIZED_TIME, der.tlv(der.GENERALIZED_TIME, text))
    assert caught.value.fault is DerFault.BAD_VALUE


def test_a_time_is_read_in_utc() -> None:
    """YYYYMMDDHHMMSSZ is UTC."""
    data = der.encode_generalized_time(datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC))
    assert asn1.decode_as(asn1.GENERALIZED_TIME, data) == datetime(
        2026, 11, 22, 1, 2, 3, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\x00\x40\x00\x00\x00", 0x40000000),
        (b"\x00\x40", 0x40000000),
        (b"\x00\x40\x00\x00\x00\xff", 0x40000000),
        (b"\x04\x40\x00\x00\x00", 0x40000000),
        (b"\x07\x40\x00\x00\x80", 0x40000080),
    ],
)
def test_flags_are_read_as_32_bits(content: bytes, value: int) -> None:
    """Short and long KerberosFlags mean the same 32 bits (RFC 4120 5.2.8)."""
    assert asn1.decode_as(asn1.FLAGS32, der.tlv(3, content)) == value


def test_strings_that_are_not_utf8_survive() -> None:
    """A name of any octets is kept, so that it can be refused as a name and audited."""
    data = der.tlv(der.GENERAL_STRING, b"a\xff\xfe")
    text = asn1.decode_as(asn1.GENERAL_STRING, data)
    assert asn1.encode_as(asn1.GENERAL_STRING, text) == data


@pytest.mark.parametrize("content", [b"\x06\x00", b"\x06\x02\x80\x01", b"\x06\x02\x2a\x86"])
def test_an_object_identifier_in_another_form_is_refused(content: bytes) -> None:
    """Arcs are minimal and complete (X.690 8.19)."""
    with pytest.raises(PkiError):
        asn1.decode_as(asn1.OID, content)


def test_a_huge_object_identifier_is_refused() -> None:
    """Length bounds the work (row E04: asn1crypto needs seconds for 100 KB)."""
    with pytest.raises(PkiError) as caught:
        asn1.decode_as(asn1.OID, der.tlv(6, b"\x2a" + b"\x81" * 100_000))
    assert caught.value.fault is DerFault.OVER_LIMIT


@pytest.mark.parametrize(
    "dotted", ["1.2.840.113549.1.1.11", "2.999.3", "2.16.840.1.101.3.4.2.1", "0.9", "1.39.1"]
)
def test_object_identifiers_survive(dotted: str) -> None:
    """Encoding and decoding agree, the joint arcs 2.x included."""
    assert asn1.decode_as(asn1.OID, der.encode_oid(dotted)) == dotted


@pytest.mark.parametrize("value", [0, 1, -1, 127, 128, -128, -129, 255, 256, 2**31, -(2**40)])
def test_integers_survive(value: int) -> None:
    """Two's complement at every boundary."""
    assert asn1.decode_as(asn1.INTEGER, der.encode_integer(value)) == value


@pytest.mark.parametrize("prefix", [b"\x30\x80", b"\x30\x84\x00\x00\x00\x01", b"\x3f\x01", b"\x30"])
def test_headers_outside_der_are_refused(prefix: bytes) -> None:
    """Indefinite and padded lengths, high tag numbers and stumps are refused (row E01, E05)."""
    with pytest.raises(PkiError):
        der.walk(prefix + b"\x00\x00")


def test_the_number_of_elements_is_bounded() -> None:
    """A wide message is as bad as a deep one (row E04)."""
    with pytest.raises(PkiError) as caught:
        der.walk(der.tlv(0x30, b"\x05\x00" * (der.MAX_NODES + 1)))
    assert caught.value.fault is DerFault.OVER_LIMIT


def test_flags_with_unused_bits_set_are_refused() -> None:
    """DER wants the unused bits of a BIT STRING zero (X.690 11.2.1)."""
    with pytest.raises(PkiError) as caught:
        asn1.decode_as(asn1.FLAGS32, der.tlv(3, b"\x04\x40\x00\x00\x08"))
    assert caught.value.fault is DerFault.BAD_VALUE
