"""Readers and writers of `asn1.sequence` types as text: what `asn1` makes at import, but typed.

Each type gets `read_Name` and `write_Name`, which call those of the types inside directly. What a
single value may be is still decided by its `Spec`, in `pki.asn1` alone; only the short forms of
numbers are read in place.
"""

import inspect
from types import ModuleType
from typing import Any

from pki import asn1, der

HELPERS = '''
def header(buf: bytes, pos: int, bound: int, where: str) -> tuple[int, int]:
    """Read an element's length at pos + 1; return its content's range, which ends by `bound`."""
    length = buf[pos + 1]
    if length < 128:
        start = pos + 2
        end = start + length
    elif length == 130 and buf[pos + 2]:
        start = pos + 4
        end = start + (buf[pos + 2] << 8 | buf[pos + 3])
    elif length == 129 and buf[pos + 2] > 127:
        start = pos + 3
        end = start + buf[pos + 2]
    else:
        start, end = der.long_length(buf, pos + 1)
    if end > bound:
        der.fail(DerFault.TRUNCATED, where)
    return start, end


def both(outer: int, inner: int, content: bytes) -> bytes:
    """Write an element within an explicit tag."""
    length = len(content)
    if length < 126:
        return _TWO_HEADERS(outer, length + 2, inner, length) + content
    return der.tlv(outer, der.tlv(inner, content))
'''
"""What is added to `pki.asn1`, for all types."""

_ANY_TAG = -1
_PYTHON_TYPES = {
    "OBJECT IDENTIFIER": "str",
    "GeneralString": "str",
    "UTF8String": "str",
    "IA5String": "str",
    "OCTET STRING": "bytes",
    "BIT STRING": "bytes",
    "ANY": "bytes",
    "GeneralizedTime": "datetime",
    "BOOLEAN": "bool",
    "NULL": "None",
}


class _Names:
    """How the text of a module calls things of other modules; collects the imports it needs."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.imports: set[str] = set()
        self.lists: dict[str, str] = {}
        self.in_asn1 = module is asn1

    def of_asn1(self, name: str) -> str:
        self.imports.add("from pki import asn1 as _asn1")
        return f"_asn1.{name}"

    def of_der(self, name: str) -> str:
        self.imports.add("from pki import der as _der")
        return f"_der.{name}"

    def fault(self, name: str) -> str:
        self.imports.add("from pki.errors import DerFault as _DerFault")
        return f"_DerFault.{name}"

    def of_type(self, cls: type, what: str) -> str:
        """Name the reader or writer of a declared type."""
        if cls.__module__ != self.module.__name__:
            self.imports.add(f"from {cls.__module__} import {what}_{cls.__name__}")
        return f"{what}_{cls.__name__}"

    def spec(self, spec: asn1.Spec[Any]) -> str:
        """Name a spec that is a constant of a module."""
        for name, value in vars(asn1).items():
            if value is spec:
                return self.of_asn1(name)
        for name, value in vars(self.module).items():
            if value is spec:
                return name
        raise ValueError(f"{self.module.__name__}: a spec without a name: {spec.name}")


def _declared_class(spec: asn1.Spec[Any]) -> type | None:
    """Return the class that a spec reads; None for values and lists."""
    read: Any = spec.read
    cls = getattr(read, "__globals__", {}).get("CLS")
    return cls if isinstance(cls, type) else None


def type_text(module: ModuleType, classes: list[type]) -> str:
    """Return readers and writers of a module's types, with the imports that they need."""
    names = _Names(module)
    parts: list[str] = []
    for cls in classes:
        parts += [_reader(cls, names), _writer(cls, names)]
    parts += names.lists.values()
    return "\n".join(sorted(names.imports)) + "\n\n\n" + "\n\n\n".join(parts)


def _value(spec: asn1.Spec[Any], at: str, s: str, e: str, names: _Names) -> str:
    """Return the expression that reads a value whose element starts at `at`."""
    read: Any = spec.read
    if spec.tag == _ANY_TAG:
        return f"buf[{at}:{e}]"
    if read is asn1.OCTET_STRING.read:
        return f"buf[{s}:{e}]"
    cls = _declared_class(spec)
    if cls is not None:
        return f"{names.of_type(cls, 'read')}(buf, {at}, {s}, {e}, budget)"
    if spec.item is not None:
        return f"{_list_reader(spec, spec.item, names)}(buf, {s}, {e}, budget)"
    if read.__module__ == der.__name__:
        return f"{names.of_der(read.__name__)}(buf, {s}, {e})"
    if spec.bounds is not None:
        low, high = spec.bounds
        read_number = names.of_der("decode_number")
        called = f"{read_number}(buf, {s}, {e}, {low}, {high}, {spec.name!r})"
        return f"buf[{s}] if {e} - {s} == 1 and buf[{s}] < 128 else {called}"
    return f"{names.spec(spec)}.read(buf, {s}, {e})"


def _python_type(spec: asn1.Spec[Any], names: _Names) -> str:
    cls = _declared_class(spec)
    if cls is None:
        found = _PYTHON_TYPES.get(spec.name, "int")
        if found == "datetime":
            names.imports.add("from datetime import datetime")
        return found
    if cls.__module__ != names.module.__name__:
        names.imports.add(f"from {cls.__module__} import {cls.__name__}")
    return cls.__name__


def _list_key(spec: asn1.Spec[Any], item: asn1.Spec[Any]) -> str:
    kind = "set" if spec.tag == der.SET else "list"
    name = "".join(c if c.isalnum() else "_" for c in item.name)
    return f"{kind}_{name}_{spec.limit}"


def _list_reader(spec: asn1.Spec[Any], item: asn1.Spec[Any], names: _Names) -> str:
    """Return the name of a list's reader, which is made when it is asked for the first time."""
    key = f"_read_{_list_key(spec, item)}"
    if key in names.lists:
        return key
    names.lists[key] = ""
    where = repr(spec.name)
    wrong = "got & 31 == 31" if item.tag == _ANY_TAG else f"got != {item.tag}"
    kind = _python_type(item, names)
    names.lists[key] = f"""\
def {key}(buf: bytes, start: int, end: int, budget: list[int]) -> tuple[{kind}, ...]:
    out: list[{kind}] = []
    pos = start
    while pos < end:
        got = buf[pos]
        length = buf[pos + 1]
        if length < 128:
            s = pos + 2
            e = s + length
        else:
            s, e = {names.of_der("long_length")}(buf, pos + 1)
        if e > end:
            {names.of_der("fail")}({names.fault("TRUNCATED")}, {where})
        if {wrong}:
            {names.of_der("fail")}({names.fault("BAD_TAG")}, {where})
        if len(out) >= {spec.limit} or budget[0] <= 0:
            {names.of_der("fail")}({names.fault("OVER_LIMIT")}, {where})
        budget[0] -= 1
        out.append({_value(item, "pos", "s", "e", names)})
        pos = e
    return tuple(out)"""
    return key


def _reader(cls: type, names: _Names) -> str:
    rows, raw_field = asn1.field_rows(cls)
    declared: asn1.Declared = cls.__dict__["__asn1__"]
    name = cls.__name__
    fail = names.of_der("fail")
    header = names.of_asn1("header")
    bad_tag, trailing = names.fault("BAD_TAG"), names.fault("TRAILING_DATA")
    out = [
        f"def read_{name}(",
        "    buf: bytes, element: int, start: int, end: int, budget: list[int]",
        f") -> {name}:",
    ]
    if declared.tag != der.SEQUENCE:
        out += [
            f"    if start >= end or buf[start] != 48: {fail}({bad_tag}, {name!r})",
            f"    s, e = {header}(buf, start, end, {name!r})",
            f"    if e != end: {fail}({trailing}, {name!r})",
            "    start = s",
        ]
    out.append("    p = start")
    for field, number, mode, spec, default in rows:
        where = repr(f"{name}.{field}")
        tag = spec.tag
        if mode == "explicit":
            tag = 0xA0 | (number or 0)
        elif mode == "implicit":
            tag = (0xA0 if spec.constructed else 0x80) | (number or 0)
        condition = "p < end" if tag == _ANY_TAG else f"p < end and buf[p] == {tag}"
        var = f"v_{field}"
        out += [f"    if {condition}:", f"        s, e = {header}(buf, p, end, {where})"]
        if tag == _ANY_TAG:
            out.append(f"        if buf[p] & 31 == 31: {fail}({bad_tag}, {where})")
        if default is asn1.NO_DEFAULT:
            declare = var
        else:
            kind = _annotation(cls, field)
            declare = f"{var}: {kind}"
        if mode == "explicit":
            if spec.tag == _ANY_TAG:
                out.append(f"        if s >= e or buf[s] & 31 == 31: {fail}({bad_tag}, {where})")
            else:
                out.append(f"        if s >= e or buf[s] != {spec.tag}: {fail}({bad_tag}, {where})")
            out += [
                f"        s2, e2 = {header}(buf, s, e, {where})",
                f"        if e2 != e: {fail}({trailing}, {where})",
                f"        {declare} = {_value(spec, 's', 's2', 'e2', names)}",
            ]
        else:
            out.append(f"        {declare} = {_value(spec, 'p', 's', 'e', names)}")
        if default is asn1.NO_DEFAULT:
            out += ["        p = e", f"    else: {names.of_asn1('absent')}(buf, p, end, {where})"]
            continue
        if default is not None:
            bad = names.fault("BAD_VALUE")
            out.append(f"        if {var} == {default!r}: {fail}({bad}, {where})")
        out += ["        p = e", f"    else: {var} = {default!r}"]
    if declared.extensible:
        last = max((n for _, n, _, _, _ in rows if n is not None), default=-1)
        skip = names.of_asn1("skip_unknown")
        out.append(f"    if p != end: {skip}(buf, p, end, {last}, {name!r})")
    else:
        out.append(f"    if p != end: {fail}({trailing}, {name!r})")
    given = ", ".join(f"{row[0]}=v_{row[0]}" for row in rows)
    if raw_field is None:
        out.append(f"    return {name}({given})")
    else:
        out += [
            f"    o = {name}({given})",
            f"    o.{raw_field} = buf[element:end]",
            "    return o",
        ]
    return "\n".join(out)


def _annotation(cls: type, field: str) -> str:
    for base in cls.__mro__:
        found = inspect.get_annotations(base).get(field)
        if found is not None:
            return _shown(found)
    raise ValueError(f"{cls.__name__}.{field} has no annotation")


def _shown(kind: Any) -> str:
    """Write a type as an annotation."""
    if isinstance(kind, str):
        return kind
    text = repr(kind) if not isinstance(kind, type) or "[" in repr(kind) else kind.__name__
    # tuple[kdc.wire.rfc4120.PaData, ...] | None
    words = text.replace("[", " [ ").replace("]", " ] ").split(" ")
    return "".join(
        f" {word} " if word == "|" else word.rpartition(".")[2] if word[-1:] != "." else word
        for word in words
    ).replace(",...", ", ...")


def _writer(cls: type, names: _Names) -> str:
    rows, _ = asn1.field_rows(cls)
    declared: asn1.Declared = cls.__dict__["__asn1__"]
    tlv = names.of_der("tlv")
    out = [f"def write_{cls.__name__}(o: {cls.__name__}) -> bytes:", "    out = b''"]
    for field, number, mode, spec, default in rows:
        pad = "    "
        var = f"v_{field}"
        out.append(f"    {var} = o.{field}")
        if default is None:
            out.append(f"    if {var} is not None:")
            pad = "        "
        elif default is not asn1.NO_DEFAULT:
            out.append(f"    if {var} != {default!r}:")
            pad = "        "
        content = _content(spec, var, names)
        if mode == "explicit":
            outer = 0xA0 | (number or 0)
            if spec.tag == _ANY_TAG:
                out.append(f"{pad}out += {tlv}({outer}, {content})")
            else:
                out.append(f"{pad}out += {names.of_asn1('both')}({outer}, {spec.tag}, {content})")
        elif spec.tag == _ANY_TAG:
            out.append(f"{pad}out += {content}")
        else:
            tag = spec.tag
            if mode == "implicit":
                tag = (0xA0 if spec.constructed else 0x80) | (number or 0)
            out.append(f"{pad}out += {tlv}({tag}, {content})")
    out.append(f"    return {tlv}(48, out)" if declared.tag != der.SEQUENCE else "    return out")
    return "\n".join(out)


def _content(spec: asn1.Spec[Any], value: str, names: _Names) -> str:
    """Return the expression that writes the content octets of a value."""
    write: Any = spec.write
    if write is asn1.OCTET_STRING.write:
        return value
    cls = _declared_class(spec)
    if cls is not None:
        return f"{names.of_type(cls, 'write')}({value})"
    if spec.item is not None:
        item = spec.item
        each = _content(item, "x", names)
        element = each if item.tag == _ANY_TAG else f"{names.of_der('tlv')}({item.tag}, {each})"
        parts = f"[{element} for x in {value}]"
        return f"b''.join(sorted({parts}))" if spec.tag == der.SET else f"b''.join({parts})"
    if write.__module__ == der.__name__:
        return f"{names.of_der(write.__name__)}({value})"
    if spec.bounds is not None:
        low, high = spec.bounds
        return f"{names.of_der('number_content')}({value}, {low}, {high}, {spec.name!r})"
    return f"{names.spec(spec)}.write({value})"
