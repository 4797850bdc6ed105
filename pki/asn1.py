"""ASN.1 types declared once, as dataclasses, and compiled to strict DER readers and writers.

    @asn1.sequence
    class EncryptionKey:
        '''EncryptionKey ::= SEQUENCE { keytype [0] Int32, keyvalue [1] OCTET STRING }'''

        keytype: int = asn1.explicit(0, asn1.INT32)
        keyvalue: bytes = asn1.explicit(1, asn1.OCTET_STRING)

Rules
  1. A field with `default=None` is OPTIONAL; with another default it is DEFAULT, and DER forbids
     that value on the wire.
  2. `received()` is filled with the element's bytes exactly as they arrived. Signatures and
     checksums are taken over that slice, never over a re-encoding.
  3. Only a type declared `extensible` (a `...` in its ASN.1) accepts fields it does not know:
     context-tagged, after the known ones, well-formed; they are skipped.
  4. Objects are slotted and treated as frozen. They are not `frozen=True`: that costs a
     microsecond a field on the path of every request.

Theory of operation. Each class becomes two generated functions: one that reads the content of its
SEQUENCE from a buffer range field by field (no intermediate tree), one that writes it. A reader has
the signature `(buf, element start, content start, content end, budget)`; `budget` is a one-item
list counting down the elements that lists may still hold, so that nested lists cannot multiply.
"""

import dataclasses
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, NoReturn, TypeVar, dataclass_transform, overload

from pki import der
from pki.errors import DerFault, PkiError

T = TypeVar("T")
C = TypeVar("C")

_ANY_TAG = -1
_MISSING = object()
_TWO_HEADERS = struct.Struct("BBBB").pack


class Spec(Generic[T]):
    """How one ASN.1 type is read and written."""

    __slots__ = ("bounds", "constructed", "item", "limit", "name", "read", "tag", "write")

    name: str
    tag: int
    """Identifier octet; -1 for ANY."""
    read: Callable[..., T]
    """(buf, content start, content end) -> value, or the five-argument form when constructed."""
    write: Callable[[T], bytes]
    """value -> content octets (for ANY: the whole element)."""
    constructed: bool
    item: "Spec[Any] | None"
    """Of what this is a list, of at most `limit`."""
    limit: int
    bounds: tuple[int, int] | None
    """The least and the greatest value of a bounded INTEGER."""

    def __init__(
        self,
        name: str,
        tag: int,
        read: Callable[..., T],
        write: Callable[[T], bytes],
        constructed: bool = False,
        item: "Spec[Any] | None" = None,
        limit: int = 0,
        bounds: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self.tag = tag
        self.read = read
        self.write = write
        self.constructed = constructed
        self.item = item
        self.limit = limit
        self.bounds = bounds


def _ranged(low: int, high: int, name: str) -> Spec[int]:
    if low > 0 or high < 0x7F:
        raise ValueError("the range must hold every positive number of one octet")

    def read(buf: bytes, start: int, end: int) -> int:
        # Most numbers in a request are types and versions.
        if end - start == 1 and buf[start] < 0x80:
            return buf[start]
        return der.decode_number(buf, start, end, low, high, name)

    def write(value: int) -> bytes:
        return der.number_content(value, low, high, name)

    return Spec(name, der.INTEGER, read, write, bounds=(low, high))


def _slice(buf: bytes, start: int, end: int) -> bytes:
    return buf[start:end]


def _same(value: bytes) -> bytes:
    return value


def _text(tag: int, name: str, encoding: str) -> Spec[str]:
    def read(buf: bytes, start: int, end: int) -> str:
        try:
            return buf[start:end].decode(encoding)
        except UnicodeDecodeError:
            der.fail(DerFault.BAD_VALUE, name)

    def write(value: str) -> bytes:
        return value.encode(encoding)

    return Spec(name, tag, read, write)


def _read_null(_buf: bytes, start: int, end: int) -> None:
    if end != start:
        der.fail(DerFault.BAD_VALUE, "NULL")


INTEGER: Spec[int] = Spec("INTEGER", der.INTEGER, der.decode_integer, der.integer_content)
INT32: Spec[int] = _ranged(-(2**31), 2**31 - 1, "Int32")
UINT32: Spec[int] = _ranged(0, 2**32 - 1, "UInt32")
MICROSECONDS: Spec[int] = _ranged(0, 999_999, "Microseconds")
NONCE: Spec[int] = _ranged(-(2**31), 2**32 - 1, "nonce")
"""UInt32 in RFC 4120, but deployed clients send it as Int32: both, echoed as received."""
BOOLEAN: Spec[bool] = Spec(
    "BOOLEAN", der.BOOLEAN, der.decode_boolean, lambda v: b"\xff" if v else b"\x00"
)
OCTET_STRING: Spec[bytes] = Spec("OCTET STRING", der.OCTET_STRING, _slice, _same)
BIT_STRING: Spec[bytes] = Spec(
    "BIT STRING", der.BIT_STRING, der.decode_bit_string, lambda v: b"\x00" + v
)
FLAGS32: Spec[int] = Spec("KerberosFlags", der.BIT_STRING, der.decode_flags, der.flags_content)
OID: Spec[str] = Spec("OBJECT IDENTIFIER", der.OID, der.decode_oid, der.oid_content)
GENERAL_STRING: Spec[str] = Spec(
    "GeneralString",
    der.GENERAL_STRING,
    der.decode_general_string,
    der.general_string_content,
)
"""KerberosString. RFC 4120 says IA5; clients send UTF-8. Other bytes survive as surrogates."""
UTF8_STRING: Spec[str] = _text(der.UTF8_STRING, "UTF8String", "utf-8")
IA5_STRING: Spec[str] = _text(der.IA5_STRING, "IA5String", "ascii")
GENERALIZED_TIME: Spec[datetime] = Spec(
    "GeneralizedTime",
    der.GENERALIZED_TIME,
    der.decode_generalized_time,
    der.generalized_time_content,
)
NULL: Spec[None] = Spec("NULL", der.NULL, _read_null, lambda _v: b"")
ANY: Spec[bytes] = Spec("ANY", _ANY_TAG, _slice, _same)
"""One element of any type, kept as the received bytes. Only its header is checked."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What `sequence` knows of a class: kept on it as `__asn1__`."""

    name: str
    tag: int
    read: Callable[[bytes, int, int, int, list[int]], Any]
    write: Callable[[Any], bytes]
    """object -> content octets of the element with `tag`."""
    fields: tuple[tuple[str, int | None, Spec[Any]], ...]
    """(name, context tag number, spec) for display."""
    extensible: bool


def _declared(cls: type) -> Declared:
    declared: Declared = cls.__dict__["__asn1__"]
    return declared


def nested(cls: type[T]) -> Spec[T]:
    """Spec of a type declared with `sequence`."""
    spec: Spec[T] = cls.__dict__["__asn1_spec__"]
    return spec


def _list_of(tag: int, name: str, item: Spec[T], limit: int) -> Spec[tuple[T, ...]]:
    item_tag, item_read, item_nested = item.tag, item.read, item.constructed

    def read(buf: bytes, _element: int, start: int, end: int, budget: list[int]) -> tuple[T, ...]:
        out: list[T] = []
        pos = start
        while pos < end:
            # As der.read_tlv, without the cost of a call.
            got, length = buf[pos], buf[pos + 1]
            if length < 0x80:
                content = pos + 2
                stop = content + length
            else:
                content, stop = der.long_length(buf, pos + 1)
            if stop > end:
                der.fail(DerFault.TRUNCATED, name)
            if got != item_tag and (item_tag != _ANY_TAG or got & 0x1F == 0x1F):
                der.fail(DerFault.BAD_TAG, name)
            if len(out) >= limit or budget[0] <= 0:
                der.fail(DerFault.OVER_LIMIT, name)
            budget[0] -= 1
            if item_nested:
                out.append(item_read(buf, pos, content, stop, budget))
            elif item_tag == _ANY_TAG:
                out.append(item_read(buf, pos, stop))
            else:
                out.append(item_read(buf, content, stop))
            pos = stop
        return tuple(out)

    def write(values: tuple[T, ...]) -> bytes:
        parts = [encode_as(item, v) for v in values]
        return b"".join(sorted(parts) if tag == der.SET else parts)

    return Spec(name, tag, read, write, True, item, limit)


def sequence_of(item: Spec[T], limit: int = 64) -> Spec[tuple[T, ...]]:
    """SEQUENCE OF with at most `limit` elements (no list of a legitimate request has more)."""
    return _list_of(der.SEQUENCE, f"SEQUENCE OF {item.name}", item, limit)


def set_of(item: Spec[T], limit: int = 64) -> Spec[tuple[T, ...]]:
    """SET OF; written in DER order, read in any (CMS producers do not sort certificate sets)."""
    return _list_of(der.SET, f"SET OF {item.name}", item, limit)


def _field(number: int | None, mode: str, spec: Spec[Any], default: Any) -> Any:
    metadata = {"asn1": (number, mode, spec)}
    if default is _MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def explicit(number: int, spec: Spec[Any], *, default: Any = _MISSING) -> Any:
    """Field with [number] EXPLICIT around it. default=None: OPTIONAL."""
    return _field(number, "explicit", spec, default)


def implicit(number: int, spec: Spec[Any], *, default: Any = _MISSING) -> Any:
    """Field whose tag is replaced by [number]. default=None: OPTIONAL."""
    return _field(number, "implicit", spec, default)


def plain(spec: Spec[Any], *, default: Any = _MISSING) -> Any:
    """Field with its universal tag. default=None: OPTIONAL."""
    return _field(None, "plain", spec, default)


def received(*, init: Literal[False] = False) -> Any:
    """Field that holds the element's bytes as they arrived; not part of the encoding."""
    return dataclasses.field(
        default=b"", init=init, repr=False, compare=False, metadata={"asn1_received": True}
    )


# -- compiling -------------------------------------------------------------------------------

# Generated code for one element header. {p} is where it starts, {z} the bound; it leaves {s}, {e}.
# Reading past the buffer is an IndexError, which `decode` turns into TRUNCATED. The length forms of
# messages that fit a datagram are read here; the others, and every malformed one, in `_long`.
_HEADER = """
{i}_t = buf[{p} + 1]
{i}if _t < 128: {s} = {p} + 2; {e} = {s} + _t
{i}elif _t == 130 and buf[{p} + 2]: {s} = {p} + 4; {e} = {s} + (buf[{p} + 2] << 8 | buf[{p} + 3])
{i}elif _t == 129 and buf[{p} + 2] > 127: {s} = {p} + 3; {e} = {s} + buf[{p} + 2]
{i}else: {s}, {e} = _long(buf, {p} + 1)
{i}if {e} > {z}: _fail(_TRUNCATED, {w})"""


def _value_code(indent: str, var: str, key: str, spec: Spec[Any], at: str, s: str, e: str) -> str:
    if spec.tag == _ANY_TAG:
        return f"{indent}{var} = buf[{at}:{e}]\n"
    if spec.read is _slice:
        return f"{indent}{var} = buf[{s}:{e}]\n"
    if spec.constructed:
        return f"{indent}{var} = {key}(buf, {at}, {s}, {e}, budget)\n"
    return f"{indent}{var} = {key}(buf, {s}, {e})\n"


def _reader_source(cls_name: str, rows: list[Any], application: bool, extensible: bool) -> str:
    out = ["def read(buf, element, start, end, budget):\n"]
    if application:
        out.append("    if start >= end or buf[start] != 0x30: _fail(_BAD_TAG, NAME)")
        out.append(_HEADER.format(i="    ", p="start", z="end", s="_s", e="_e", w="NAME"))
        out.append("\n    if _e != end: _fail(_TRAILING, NAME)\n    start = _s\n")
    out.append("    p = start\n    o = _new(CLS)\n")
    for index, (name, number, mode, spec, default) in enumerate(rows):
        where, key = repr(f"{cls_name}.{name}"), f"_r{index}"
        if mode == "explicit":
            tag = 0xA0 | number
        elif mode == "implicit":
            tag = (0xA0 if spec.constructed else 0x80) | number
        else:
            tag = spec.tag
        condition = "p < end" if tag == _ANY_TAG else f"p < end and buf[p] == {tag}"
        out.append(f"    if {condition}:")
        out.append(_HEADER.format(i="        ", p="p", z="end", s="_s", e="_e", w=where) + "\n")
        if tag == _ANY_TAG:
            out.append(f"        if buf[p] & 31 == 31: _fail(_BAD_TAG, {where})\n")
        if mode == "explicit":
            if spec.tag == _ANY_TAG:
                out.append(f"        if _s >= _e or buf[_s] & 31 == 31: _fail(_BAD_TAG, {where})")
            else:
                out.append(
                    f"        if _s >= _e or buf[_s] != {spec.tag}: _fail(_BAD_TAG, {where})"
                )
            out.append(_HEADER.format(i="        ", p="_s", z="_e", s="_s2", e="_e2", w=where))
            out.append(f"\n        if _e2 != _e: _fail(_TRAILING, {where})\n")
            out.append(_value_code("        ", f"o.{name}", key, spec, "_s", "_s2", "_e2"))
        else:
            out.append(_value_code("        ", f"o.{name}", key, spec, "p", "_s", "_e"))
        if default is not _MISSING and default is not None:
            out.append(f"        if o.{name} == _d{index}: _fail(_BAD_VALUE, {where})\n")
        out.append("        p = _e\n")
        if default is _MISSING:
            out.append(f"    else: _absent(buf, p, end, {where})\n")
        else:
            out.append(f"    else: o.{name} = _d{index}\n")
    if extensible:
        out.append("    if p != end: _skip(buf, p, end, LAST, NAME)\n")
    else:
        out.append("    if p != end: _fail(_TRAILING, NAME)\n")
    return "".join(out)


def _writer_source(rows: list[Any], application: bool) -> str:
    out = ["def write(o):\n    out = b''\n"]
    for index, (name, number, mode, spec, default) in enumerate(rows):
        out.append(f"    v = o.{name}\n")
        pad = "    "
        if default is None:
            out.append("    if v is not None:\n")
            pad = "        "
        elif default is not _MISSING:
            out.append(f"    if v != _d{index}:\n")
            pad = "        "
        tag = (
            (0xA0 if spec.constructed else 0x80) | (number or 0) if mode == "implicit" else spec.tag
        )
        if mode != "explicit":
            value = f"_w{index}(v)"
            out.append(f"{pad}out += {value if tag == _ANY_TAG else f'_tlv({tag}, {value})'}\n")
        elif tag == _ANY_TAG:
            out.append(f"{pad}out += _tlv({0xA0 | (number or 0)}, _w{index}(v))\n")
        else:
            # Both headers at once while they are two octets each: most fields are short.
            outer = 0xA0 | (number or 0)
            content = "v" if spec.write is _same else f"_w{index}(v)"
            out.append(f"{pad}v = {content}\n{pad}n = len(v)\n")
            out.append(f"{pad}if n < 126: out += _two({outer}, n + 2, {tag}, n) + v\n")
            out.append(f"{pad}else: out += _tlv({outer}, _tlv({tag}, v))\n")
    out.append("    return _tlv(0x30, out)\n" if application else "    return out\n")
    return "".join(out)


def absent(buf: bytes, pos: int, end: int, where: str) -> NoReturn:
    """Say whether a required field is missing or something else stands in its place."""
    der.fail(DerFault.MISSING_FIELD if pos >= end else DerFault.BAD_TAG, where)


def skip_unknown(buf: bytes, pos: int, end: int, last: int, name: str) -> None:
    """Skip the extension fields of an extensible type; `last` is the highest tag it knows."""
    for tag, _, _, _ in der.children(buf, pos, end, 16):
        if tag & 0xC0 != 0x80 or tag & 0x1F <= last:
            der.fail(DerFault.BAD_TAG, name)
        last = tag & 0x1F
    der.walk(buf, pos, end)


Row = tuple[str, int | None, str, Spec[Any], Any]
"""A field: its name, context tag number, mode ("explicit", "implicit", "plain"), spec, default."""

NO_DEFAULT = _MISSING


def field_rows(cls: type[Any]) -> tuple[list[Row], str | None]:
    """List the fields of a declared type, and name the one that keeps the received bytes."""
    rows: list[Row] = []
    raw_field = None
    for field in dataclasses.fields(cls):
        if "asn1_received" in field.metadata:
            raw_field = field.name
            continue
        number, mode, spec = field.metadata["asn1"]
        default = _MISSING if field.default is dataclasses.MISSING else field.default
        rows.append((field.name, number, mode, spec, default))
    return rows, raw_field


def bind(
    cls: type[Any],
    application: int | None,
    extensible: bool,
    read: Callable[[bytes, int, int, int, list[int]], Any],
    write: Callable[[Any], bytes],
) -> None:
    """Tell `decode`, `encode` and `nested` how a dataclass is read and written."""
    tag = der.SEQUENCE if application is None else 0x60 | application
    shown = tuple((name, number, spec) for name, number, _, spec, _ in field_rows(cls)[0])
    name = cls.__name__
    cls.__asn1_spec__ = Spec(name, tag, read, write, True)
    cls.__asn1__ = Declared(name, tag, read, write, shown, extensible)


@overload
def sequence(cls: type[C], /) -> type[C]: ...
@overload
def sequence(
    *, extensible: bool = False, application: int | None = None
) -> Callable[[type[C]], type[C]]: ...
@dataclass_transform(kw_only_default=True, field_specifiers=(explicit, implicit, plain, received))
def sequence(
    cls: type[Any] | None = None, /, *, extensible: bool = False, application: int | None = None
) -> Any:
    """Declare a SEQUENCE: make the class a slotted dataclass and compile its reader and writer.

    application: put [APPLICATION n] EXPLICIT around the SEQUENCE.
    """

    def declare(plain_class: type[Any]) -> type[Any]:
        made = dataclass(slots=True, kw_only=True)(plain_class)
        rows, raw_field = field_rows(made)
        scope: dict[str, Any] = {
            "CLS": made,
            "NAME": made.__name__,
            "LAST": max((n for _, n, _, _, _ in rows if n is not None), default=-1),
            "_new": object.__new__,
            "_long": der.long_length,
            "_tlv": der.tlv,
            "_two": _TWO_HEADERS,
            "_fail": der.fail,
            "_absent": absent,
            "_skip": skip_unknown,
            "_TRUNCATED": DerFault.TRUNCATED,
            "_TRAILING": DerFault.TRAILING_DATA,
            "_BAD_TAG": DerFault.BAD_TAG,
            "_BAD_VALUE": DerFault.BAD_VALUE,
        }
        for index, (_, _, _, spec, default) in enumerate(rows):
            scope[f"_r{index}"], scope[f"_w{index}"] = spec.read, spec.write
            scope[f"_d{index}"] = default
        source = _reader_source(made.__name__, rows, application is not None, extensible)
        if raw_field is not None:
            source += f"    o.{raw_field} = buf[element:end]\n"
        source += "    return o\n\n" + _writer_source(rows, application is not None)
        # The source is built from class declarations in this repository, never from input.
        exec(compile(source, f"<asn1 {made.__name__}>", "exec"), scope)  # noqa: S102
        bind(made, application, extensible, scope["read"], scope["write"])
        return made

    return declare if cls is None else declare(cls)


# -- use -------------------------------------------------------------------------------------


def decode_as(spec: Spec[T], data: bytes) -> T:
    """Decode `data`, which must be exactly one element of this spec. Raises PkiError."""
    try:
        tag, start, end = der.read_tlv(data)
        if tag != spec.tag and spec.tag != _ANY_TAG:
            der.fail(DerFault.BAD_TAG, spec.name)
        if end != len(data):
            der.fail(DerFault.TRAILING_DATA, spec.name)
        if spec.constructed:
            return spec.read(data, 0, start, end, [der.MAX_NODES])
        return spec.read(data, 0 if spec.tag == _ANY_TAG else start, end)
    except IndexError:
        raise PkiError(DerFault.TRUNCATED, spec.name) from None


def decode(cls: type[T], data: bytes) -> T:
    """Decode `data`, which must be exactly one element of a declared type. Raises PkiError."""
    return decode_as(nested(cls), data)


def encode_as(spec: Spec[T], value: T) -> bytes:
    """Encode a value as one element of this spec."""
    content = spec.write(value)
    return content if spec.tag == _ANY_TAG else der.tlv(spec.tag, content)


def encode(value: object) -> bytes:
    """Encode an object of a declared type."""
    info = _declared(type(value))
    return der.tlv(info.tag, info.write(value))


def declared_fields(cls: type) -> tuple[tuple[str, int | None, Spec[Any]], ...]:
    """List a declared type's fields as (name, context tag number or None, spec)."""
    return _declared(cls).fields
