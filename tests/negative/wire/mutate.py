"""Change one element deep inside a message and keep all the lengths around it right."""

from collections.abc import Callable

from tests.negative.wire import der

Change = Callable[[bytes], bytes]


def rewrite(data: bytes, path: tuple[int, ...], change: Change) -> bytes:
    """Replace the element at a path of child numbers by what `change` makes of its DER."""
    if not path:
        return change(data)
    node = der.read(data)
    children = [child.raw for child in node]
    children[path[0]] = rewrite(children[path[0]], path[1:], change)
    return der.tlv(node.tag, b"".join(children))


def content(new: bytes) -> Change:
    """Make a change that keeps the tag and replaces the content."""
    return lambda element: der.tlv(element[0], new)


def tag(new: int) -> Change:
    """Make a change of the tag octet alone."""
    return lambda element: bytes((new,)) + element[1:]


def high_tag(element: bytes) -> bytes:
    """Write the same tag number in the high-tag-number form."""
    return bytes((element[0] | 0x1F, element[0] & 0x1F)) + element[1:]


def leading_zero(element: bytes) -> bytes:
    """Put a zero octet in front of an INTEGER's value."""
    return der.tlv(element[0], b"\x00" + der.read(element).content)


def nested(depth: int) -> bytes:
    """Make a tower of SEQUENCEs. It is built from the inside, each level only a header longer."""
    headers = []
    size = 0
    for _ in range(depth):
        header = bytes((der.SEQUENCE,)) + der.length(size)
        headers.append(header)
        size += len(header)
    return b"".join(reversed(headers))


# The elements of a KDC-REQ with padata: APPLICATION tag, SEQUENCE, then context tags in order.
OUTER: tuple[int, ...] = ()
SEQUENCE = (0,)
PVNO = (0, 0, 0)
MSG_TYPE = (0, 1, 0)
PADATA = (0, 2, 0)
FIRST_PA = (0, 2, 0, 0)
FIRST_PA_VALUE = (0, 2, 0, 0, 1, 0)
BODY = (0, 3, 0)
CNAME = (0, 3, 0, 1, 0)
REALM = (0, 3, 0, 2, 0)
TILL = (0, 3, 0, 4, 0)
NONCE = (0, 3, 0, 5, 0)
