"""Reading a message tolerantly, beside the declarations of its types, into a tree of nodes.

Rules
  1. Nothing is refused and nothing raises: what does not decode is a node with the fault and the
     offset where it is, and reading goes on behind it as far as its length can be trusted.
  2. Offsets are octets from the start of the message, at any depth: what stands inside an OCTET
     STRING is read in place.
  3. Bounded: MAX_NODES nodes, MAX_DEPTH levels, MAX_TEXT_CHARS of a text.

Theory of operation. The types declared for the wire are the schema: a `Reader` walks an element
beside the declaration of its type and reads each field on its own, so that one bad field spoils no
other. What a type alone cannot say (which type is inside an OCTET STRING, what a number means)
is looked up in a `Schema`: the tables of `kdc.explain.contents`, `field_text` and `tree`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kdc.explain.names import field_name, type_name
from kdc.explain.node import Node
from kdc.explain.values import BY_TAG, PRIMITIVES, octets, show, tag_name
from pki import asn1, der
from pki.errors import PkiError

MAX_NODES = 1500  # a PKINIT request with a chain of three certificates has about 400
MAX_DEPTH = 48
MAX_INLINE_ITEMS = 24

_CONTEXT = 0x80
_CONSTRUCTED = 0x20


@dataclass(frozen=True, slots=True)
class Element:
    """Where an element is in the message: header, content, end."""

    pos: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a declared type."""

    name: str
    shown: str
    number: int | None
    mode: str
    spec: asn1.Spec[Any]
    required: bool

    @property
    def tag(self) -> int:
        """The identifier octet this field starts with; -1 for ANY."""
        if self.number is None:
            return self.spec.tag
        if self.mode == "explicit":
            return _CONTEXT | _CONSTRUCTED | self.number
        return _CONTEXT | (_CONSTRUCTED if self.spec.constructed else 0) | self.number


@cache
def rows_of(cls: type) -> tuple[Row, ...]:
    """List the fields of a declared type in their order."""
    out = []
    for declared in dataclasses.fields(cls):
        if "asn1" not in declared.metadata:
            continue
        number, mode, spec = declared.metadata["asn1"]
        out.append(
            Row(
                name=declared.name,
                shown=field_name(cls.__module__, declared.name),
                number=number,
                mode=mode,
                spec=spec,
                required=declared.default is dataclasses.MISSING,
            )
        )
    return tuple(out)


class _FullError(Exception):
    """The tree has as many nodes as it may have."""


Content = Callable[["Reader", Node, Element, Mapping[str, object]], None]
"""Fills a node from the content of its element; the mapping holds the fields read before it."""
Text = Callable[[Any], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What is known beyond the declarations."""

    classes: Mapping[str, type]
    """Declared types by their name, as lists and nested fields refer to them."""
    contents: Mapping[tuple[str, str], Content]
    """(type, field) -> what is inside."""
    texts: Mapping[tuple[str, str], Text]
    """(type, field) -> how its value (or each item of its list) is written."""
    summaries: Mapping[str, Callable[[Node], str]]
    """Type -> the value its node gets when its fields are read."""


class Reader:
    """One pass over one message."""

    def __init__(self, message: bytes, schema: Schema) -> None:
        self.message = message
        self.schema = schema
        self._left = MAX_NODES
        self._depth = 0
        self._odd: dict[int, str] = {}

    def node(self, parent: Node, name: str, offset: int | None) -> Node:
        """Add a child."""
        if self._left <= 0:
            raise _FullError
        self._left -= 1
        made = Node(name=name, offset=offset)
        self.blame(made, offset)
        parent.children.append(made)
        return made

    def blame(self, node: Node, offset: int | None) -> None:
        """Put what is wrong with the header at this offset on a node."""
        if offset in self._odd and not node.fault:
            node.fault = self._odd.pop(offset)

    def fail(self, parent: Node, name: str, offset: int, error: PkiError | str) -> None:
        """Add a child that says what does not decode."""
        self.node(parent, name, offset).fault = _fault(error)

    def run(self, root: Node, read: Callable[[Node], None]) -> None:
        """Fill the root, and say so when it gets too large."""
        try:
            read(root)
        except _FullError:
            root.children.append(Node(name="...", fault=f"only {MAX_NODES:,} fields are shown"))

    def header(self, parent: Node, name: str, pos: int, end: int) -> tuple[int, Element] | None:
        """Read an element's header; when nothing can be made of it, add a node that says so.

        What is wrong with it otherwise ends on the node that is made for this position.
        """
        try:
            tag, start, stop = der.read_tlv(self.message, pos, end)
            return tag, Element(pos, start, stop)
        except (PkiError, IndexError) as error:
            read = _lenient_header(self.message, pos, end)
            if read is None:
                self.fail(parent, name, pos, _fault(error))
                return None
            self._odd[pos] = _fault(error)
            return read

    # -- declared types --------------------------------------------------------------------

    def declared(self, node: Node, cls: type, at: Element) -> None:
        """Read the content of a declared type into a node's children."""
        rows = rows_of(cls)
        info_tag = asn1.nested(cls).tag
        start, end = at.start, at.end
        if self._depth >= MAX_DEPTH:
            node.fault = "nested too deeply to be shown"
            return
        if info_tag != der.SEQUENCE:  # [APPLICATION n] around the SEQUENCE
            inner = self.header(node, "SEQUENCE", start, end)
            if inner is None:
                return
            self.blame(node, start)
            if inner[0] != der.SEQUENCE:
                self.fail(node, "SEQUENCE", start, f"unexpected tag {inner[0]:#04x}")
                return
            if inner[1].end != end:
                self.fail(node, "(trailing)", inner[1].end, "trailing data")
            start, end = inner[1].start, inner[1].end
        self._depth += 1
        seen: dict[str, object] = {}
        pos = start
        for index, row in enumerate(rows):
            pos = self._field(node, cls.__name__, rows[index:], row, pos, end, seen)
            if pos < 0:
                break
        self._unknown(node, pos, end)
        self._depth -= 1
        summary = self.schema.summaries.get(cls.__name__)
        if summary is not None and not node.value:
            node.value = summary(node)

    def _unknown(self, node: Node, pos: int, end: int) -> None:
        while 0 <= pos < end:
            got = self.header(node, "(trailing)", pos, end)
            if got is None:
                return
            tag, element = got
            context = tag & 0xC0 == _CONTEXT
            extra = self.node(node, f"[{tag & 31}]" if context else "(trailing)", pos)
            extra.fault = "" if context else "trailing data"
            self.any(extra, element, tag)
            pos = element.end

    def _field(
        self,
        node: Node,
        cls_name: str,
        rest: tuple[Row, ...],
        row: Row,
        pos: int,
        end: int,
        seen: dict[str, object],
    ) -> int:
        """Read one field; return where the next one starts, -1 when that cannot be said."""
        if pos >= end:
            if row.required:
                self.fail(node, row.shown, pos, "required field missing")
            return pos
        tag = self.message[pos]
        if row.tag not in (-1, tag):
            if not row.required:
                return pos
            if any(other.tag == tag for other in rest):
                self.fail(node, row.shown, pos, "required field missing")
                return pos
            got = self.header(node, row.shown, pos, end)
            if got is None:
                return -1
            child = self.node(node, row.shown, pos)
            child.fault = f"unexpected tag {tag:#04x}"
            self.any(child, got[1], tag)
            return got[1].end
        got = self.header(node, row.shown, pos, end)
        if got is None:
            return -1
        element = got[1]
        child = self.node(node, row.shown, pos)
        inner = self._inside_explicit(child, row, element)
        if inner is not None:
            self._value(child, cls_name, row, inner, seen)
        return element.end

    def _inside_explicit(self, child: Node, row: Row, outer: Element) -> Element | None:
        if row.mode != "explicit":
            return outer
        got = self.header(child, row.spec.name, outer.start, outer.end)
        if got is None:
            return None
        self.blame(child, outer.start)
        tag, inner = got
        if row.spec.tag not in (-1, tag):
            child.fault = f"unexpected tag {tag:#04x}"
            self.any(child, inner, tag)
            return None
        if inner.end != outer.end:
            self.fail(child, "(trailing)", inner.end, "trailing data")
        return inner

    def _value(
        self, node: Node, cls_name: str, row: Row, at: Element, seen: dict[str, object]
    ) -> None:
        place = (cls_name, row.name)
        content = self.schema.contents.get(place)
        spec = row.spec
        if not spec.constructed:
            try:
                where = at.pos if spec.tag == -1 else at.start
                seen[row.name] = value = spec.read(self.message, where, at.end)
            except (PkiError, IndexError) as error:
                node.fault = _fault(error)
                return
            if content is None:
                node.value = self.schema.texts.get(place, show)(value)
                return
        if content is not None:
            content(self, node, at, seen)
            return
        kind, of, item = spec.name.partition(" OF ")
        if of:
            self._list(node, item, at, self.schema.texts.get(place))
        elif kind in self.schema.classes:
            self.declared(node, self.schema.classes[kind], at)
        else:
            self.any(node, at, self.message[at.pos])

    def _list(self, node: Node, item: str, at: Element, text: Text | None) -> None:
        cls = self.schema.classes.get(item)
        if cls is not None:
            name = type_name(item)
            self.each(node, at, lambda child, got: self.declared(child, cls, got), name)
            return
        spec = PRIMITIVES.get(item)
        if spec is None:
            self.each(node, at, lambda child, got: self.any(child, got), item)
            return
        shown: list[str] = []
        pos = at.start
        while pos < at.end:
            got = self.header(node, item, pos, at.end)
            if got is None:
                break
            self.blame(node, pos)
            try:
                value = spec.read(self.message, got[1].start, got[1].end)
                shown.append((text or show)(value))
            except (PkiError, IndexError) as error:
                self.fail(node, item, pos, _fault(error))
            pos = got[1].end
        more = len(shown) - MAX_INLINE_ITEMS
        node.value = ", ".join(shown[:MAX_INLINE_ITEMS])
        if more > 0:
            node.value += f", and {more} more"
        if not shown and not node.children:
            node.value = "(empty)"

    # -- for the tables ----------------------------------------------------------------------

    def each(
        self, node: Node, at: Element, read: Callable[[Node, Element], None], name: str
    ) -> None:
        """Read the elements of a SEQUENCE OF or SET OF into children of one name."""
        pos = at.start
        if pos == at.end:
            node.value = "(empty)"
        while pos < at.end:
            got = self.header(node, name, pos, at.end)
            if got is None:
                return
            read(self.node(node, name, pos), got[1])
            pos = got[1].end

    def nested(self, node: Node, cls: type, name: str, start: int, end: int) -> None:
        """Read the element of a declared type that fills [start, end) into a child."""
        got = self.header(node, name, start, end)
        if got is None:
            return
        tag, element = got
        child = self.node(node, name, start)
        if tag != asn1.nested(cls).tag:
            child.fault = f"unexpected tag {tag:#04x}"
            self.any(child, element, tag)
        else:
            self.declared(child, cls, element)
        if element.end != end:
            self.fail(node, "(trailing)", element.end, "trailing data")

    def any(self, node: Node, at: Element, tag: int | None = None) -> None:
        """Show an element of unknown type: its kind, and what is inside it."""
        tag = self.message[at.pos] if tag is None else tag
        value = self.message[at.start : at.end]
        if not tag & _CONSTRUCTED:
            spec = BY_TAG.get(tag)
            try:
                shown = octets(value) if spec is None else show(spec.read(value, 0, len(value)))
            except (PkiError, IndexError):
                shown = octets(value)
            node.value = node.value or shown
            return
        if self._depth >= MAX_DEPTH:
            node.fault = node.fault or "nested too deeply to be shown"
            return
        self._depth += 1
        pos = at.start
        while pos < at.end:
            got = self.header(node, "(element)", pos, at.end)
            if got is None:
                break
            inner, element = got
            self.any(self.node(node, tag_name(inner), pos), element, inner)
            pos = element.end
        self._depth -= 1


def _lenient_header(message: bytes, pos: int, end: int) -> tuple[int, Element] | None:
    """Read a header that is not DER as BER would, cut off at `end`; None: there is none."""
    if pos + 2 > end or message[pos] & 31 == 31:
        return None
    tag, first = message[pos], message[pos + 1]
    if first == 0x80:  # indefinite: how long it is, its content would tell
        return tag, Element(pos, pos + 2, end)
    start = pos + 2 + (first & 0x7F if first > 0x80 else 0)
    if start > end:
        return None
    length = int.from_bytes(message[pos + 2 : start], "big") if first > 0x80 else first
    return tag, Element(pos, start, min(start + length, end))


def _fault(error: Exception | str) -> str:
    if isinstance(error, str):
        return error
    return error.fault.value if isinstance(error, PkiError) else "truncated"
