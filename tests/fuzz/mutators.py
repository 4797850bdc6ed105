"""Damage to messages: one seeded mutator for the replays in CI, for atheris and for the wire.

Theory of operation. A flip of one bit seldom passes the first length that it makes wrong. So most
mutations are made in the tree of the DER: one element is changed, dropped, doubled, moved, replaced
by another or by one of another message, and the lengths above it are mended. What stands inside an
OCTET STRING or a BIT STRING (signedAuthPack, the AuthPack in it) belongs to the tree. The others
spoil the lengths on purpose, or know nothing of DER.
"""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from pki import der

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]

MAX_NODES = 2000
MAX_NESTING = 64
MAX_GROWTH = 70  # one more than the longest list that any type of ours may have

_NUMBERS = (0, 5, 10, 30, 127, 128, 255, 32767, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64)
_INTEGERS = (
    *map(der.integer_content, _NUMBERS),
    *(der.integer_content(-number) for number in _NUMBERS),
    # Not minimal, empty, long, and over the limit.
    *(b"\0\0", b"\xff\xff", b"", b"\x7f" * 300, b"\x01" + bytes(2100)),
)
_TIMES = (
    b"19700101000000Z",
    b"00010101000000Z",
    b"99991231235959Z",
    b"20260504120000Z",
    b"20260230120000Z",
    b"20260504120060Z",
    b"20260504120000.5Z",
    b"20260504120000+0000",
    b"00000000000000Z",
    b"2026050412000\xb2Z",
)
_STRINGS = (
    b"",
    b"\0",
    b"LAB",
    b"lab.test",
    b"LAB.TEST",
    b"EVIL.TEST",
    b"krbtgt",
    b"alice",
    b"bob",
    b"pat",
    b"pc1$",
    b"administrator",
    b"alice@LAB.TEST",
    b"alice\0",
    b"host/web.lab.test",
    b"\xff\xfe\xed\xa0\x80",
    "аlice".encode(),
    b"a" * 5000,
)
_EDGES: dict[int, tuple[bytes, ...]] = {
    der.BOOLEAN: (b"\x00", b"\x01", b"\xff", b"", b"\xff\xff"),
    der.INTEGER: _INTEGERS,
    der.BIT_STRING: (
        b"",
        b"\x00",
        b"\x07",
        b"\x08\x00",
        b"\x00\xff\xff\xff\xff",
        b"\x07\x80",
        b"\x00\x40\x80\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\x01",
    ),
    der.OID: (
        b"",
        b"\x80\x01",
        b"\xff" * 30,
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
        b"\x2b\x06\x01\x05\x02\x03\x01",
        b"\x2b\x06\x01\x05\x02\x03\x02",
        b"\x2b\x0e\x03\x02\x1a",
        b"\xff" * 70 + b"\x01",
    ),
    der.GENERALIZED_TIME: _TIMES,
    der.GENERAL_STRING: _STRINGS,
    der.UTF8_STRING: _STRINGS,
    der.OCTET_STRING: (b"", b"\x00", b"\x30\x00", b"\x00" * 16, b"\xff" * 3000),
    der.NULL: (b"\x00",),
}
_STRINGS_OF_OCTETS = frozenset((der.OCTET_STRING, der.BIT_STRING, *range(0x80, 0xA0)))
"""What other DER may stand in; [n] IMPLICIT may be an OCTET STRING."""
_TAGS = (0x02, 0x04, 0x30, 0x31, 0x05, 0x80, 0xA0, 0xA1, 0x6A, 0x6B, 0x6C, 0x7E, 0x1F, 0x24, 0x00)


class Node(NamedTuple):
    """One element: where it starts, where its content starts, and where it ends."""

    tag: int
    start: int
    content: int
    end: int
    parent: int
    """Index of the element around it; -1 for the outermost."""


@lru_cache(maxsize=1024)
def tree(data: bytes) -> tuple[Node, ...]:
    """List the elements of a message, also those inside strings; () when it is not DER."""
    nodes: list[Node] = []
    stack = [(0, len(data), -1, 0)]
    while stack:
        start, end, parent, depth = stack.pop()
        first = len(nodes)
        if not _read_elements(data, start, end, parent, nodes):
            del nodes[first:]
            continue
        if len(nodes) > MAX_NODES:
            return tuple(nodes[:MAX_NODES])
        if depth >= MAX_NESTING:
            continue
        for index in range(first, len(nodes)):
            node = nodes[index]
            tag, content, stop = node.tag, node.content, node.end
            if tag & 0x20:
                stack.append((content, stop, index, depth + 1))
            elif stop - content >= 4 and tag in _STRINGS_OF_OCTETS:
                inside = content + (tag == der.BIT_STRING)
                if data[inside] & 0x20 and _header(data, inside, stop)[1] == stop:
                    stack.append((inside, stop, index, depth + 1))
    return tuple(nodes)


def _read_elements(data: bytes, at: int, end: int, parent: int, nodes: list[Node]) -> bool:
    while at < end:
        content, stop = _header(data, at, end)
        if stop < 0:
            return False
        nodes.append(Node(data[at], at, content, stop, parent))
        at = stop
    return True


def _header(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a header: where its content starts and ends, or -1 twice. Faster than `der`'s, laxer."""
    content = at + 2
    if content > end or data[at] & 0x1F == 0x1F:
        return -1, -1
    size = data[at + 1]
    if size >= 0x80:
        content += size & 0x7F
        if size == 0x80 or content > end:
            return -1, -1
        size = int.from_bytes(data[at + 2 : content], "big")
    stop = content + size
    return (content, stop) if stop <= end else (-1, -1)


def put(data: bytes, index: int, element: bytes) -> bytes:
    """Replace element `index` of `tree(data)` and mend every length above it."""
    nodes = tree(data)
    node = nodes[index]
    start, end, out = node.start, node.end, element
    while node.parent >= 0:
        node = nodes[node.parent]
        out = der.tlv(node.tag, data[node.content : start] + out + data[end : node.end])
        start, end = node.start, node.end
    return data[:start] + out + data[end:]


# -- mutations that know DER -----------------------------------------------------------------


def _pick(rng: random.Random, data: bytes) -> tuple[int, Node] | None:
    nodes = tree(data)
    if not nodes:
        return None
    index = rng.randrange(len(nodes))
    return index, nodes[index]


def _in_tree(
    change: Callable[[random.Random, bytes, Node, Sequence[bytes]], bytes],
) -> Mutation:
    """Make a mutation of messages from one that gives an element's replacement."""

    def mutation(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
        found = _pick(rng, data)
        if found is None:
            return _flip(rng, data, others)
        return put(data, found[0], change(rng, data, found[1], others))

    return mutation


def _edge(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    edges = _EDGES.get(node.tag)
    if edges is None:
        return der.tlv(node.tag, b"")
    return der.tlv(node.tag, rng.choice(edges))


def _flip_content(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    content = bytearray(data[node.content : node.end])
    if not content:
        return der.tlv(node.tag, rng.randbytes(rng.randrange(1, 6)))
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return der.tlv(node.tag, bytes(content))


def _random_content(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    size = rng.choice((0, 1, 2, 4, 8, 16, 20, 32, node.end - node.content, rng.randrange(200)))
    return der.tlv(node.tag, rng.randbytes(size))


def _cut_content(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    size = node.end - node.content
    return der.tlv(node.tag, data[node.content : node.content + rng.randrange(size + 1)])


def _drop(_rng: random.Random, _data: bytes, _node: Node, _others: Sequence[bytes]) -> bytes:
    return b""


def _twice(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    times = rng.choice((2, 2, 2, 3, MAX_GROWTH if node.end - node.start < 100 else 4))
    return data[node.start : node.end] * times


def _retag(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    new = (node.tag + 1, node.tag - 1, node.tag ^ 0x20, node.tag ^ 0x80, rng.choice(_TAGS))
    return der.tlv(rng.choice(new) & 0xFF, data[node.content : node.end])


def _wrap(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    out = data[node.start : node.end]
    for _ in range(rng.choice((1, 1, 2, 30))):
        out = der.tlv(rng.choice((node.tag | 0x20, 0x30, 0xA0)), out)
    return out


def _unwrap(_rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    return data[node.content : node.end]


def _other_here(rng: random.Random, data: bytes, _node: Node, _others: Sequence[bytes]) -> bytes:
    other = rng.choice(tree(data))
    return data[other.start : other.end]


def _splice(rng: random.Random, data: bytes, node: Node, others: Sequence[bytes]) -> bytes:
    """Take an element of another message, by preference one of the same tag."""
    source = rng.choice(others) if others else data
    nodes = tree(source)
    alike = [n for n in nodes if n.tag == node.tag] if rng.random() < 0.8 else []
    if not nodes:
        return data[node.start : node.end]
    other = rng.choice(alike or nodes)
    return source[other.start : other.end]


def _bad_length(rng: random.Random, data: bytes, node: Node, _others: Sequence[bytes]) -> bytes:
    """Write a length that is wrong, not minimal, indefinite or huge."""
    content = data[node.content : node.end]
    size = len(content)
    length = rng.choice(
        (
            b"\x81" + bytes((size & 0xFF,)),
            b"\x82" + (size & 0xFFFF).to_bytes(2, "big"),
            b"\x84" + size.to_bytes(4, "big"),
            b"\x85" + size.to_bytes(5, "big"),
            b"\x80",
            b"\xff",
            b"\x84\xff\xff\xff\xff",
            b"\x82\xff\xff",
            bytes(((size + 1) & 0x7F,)),
            bytes(((size - 1) & 0x7F,)),
            b"\x7f",
            b"",
        )
    )
    return bytes((node.tag,)) + length + content + (b"\0\0" if length == b"\x80" else b"")


def _swap(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Exchange two neighbours."""
    nodes = tree(data)
    families: dict[int, list[Node]] = {}
    for node in nodes:
        if node.parent >= 0:
            families.setdefault(node.parent, []).append(node)
    several = [parent for parent, members in families.items() if len(members) > 1]
    if not several:
        return _flip(rng, data, others)
    parent = rng.choice(several)
    members = families[parent]
    at = rng.randrange(len(members) - 1)
    first, second = members[at], members[at + 1]
    around = nodes[parent]
    content = (
        data[around.content : first.start]
        + data[second.start : second.end]
        + data[first.start : first.end]
        + data[second.end : around.end]
    )
    return put(data, parent, der.tlv(around.tag, content))


# -- mutations that do not -------------------------------------------------------------------


def _flip(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4, 16))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _overwrite(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    new = rng.randbytes(rng.randrange(1, 5))
    return data[:at] + new + data[at + len(new) :]


def _truncate(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _insert(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.choice((rng.randrange(len(data) + 1), len(data)))
    return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]


def _remove(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randrange(1, 41) :]


def _repeat(rng: random.Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at : at + rng.randrange(1, 41)] + data[at:]


def _join(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Begin as one message and end as another."""
    other = rng.choice(others) if others else data
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


_IN_TREE: tuple[Mutation, ...] = (
    *map(_in_tree, (_edge, _edge, _flip_content, _flip_content, _random_content, _cut_content)),
    *map(_in_tree, (_drop, _twice, _retag, _wrap, _unwrap, _other_here, _splice, _splice)),
    *(_in_tree(_bad_length), _swap),
)
_BLIND: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _overwrite,
    _truncate,
    _insert,
    _remove,
    _repeat,
    _join,
)


def mutate(
    rng: random.Random, data: bytes, others: Sequence[bytes] = (), *, max_bytes: int = 60_000
) -> bytes:
    """Damage a message in one to three ways, three times out of four within its tree.

    others: messages to take parts from.
    """
    out = data
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        out = rng.choice(_IN_TREE if rng.random() < 0.75 else _BLIND)(rng, out, others)
    return out[:max_bytes]


def seeded(*words: object) -> random.Random:
    """Return the generator of a seed given in words: the same damage in every run."""
    # What it chooses is damage, not keys.
    return random.Random(" ".join(map(str, words)))  # noqa: S311
