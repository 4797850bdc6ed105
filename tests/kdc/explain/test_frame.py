"""The tree of a kpasswd frame."""

from kdc.explain.frame import frame_tree
from kdc.explain.node import Node
from kdc.wire.rfc3244 import CHANGE_PASSWORD, encode_frame
from tests.kdc.builders import BODY, as_req


def nodes(node: Node) -> list[Node]:
    """List a node and all below it."""
    return [node, *(below for child in node.children for below in nodes(child))]


def test_offsets_count_from_the_start_of_the_frame() -> None:
    """RFC 3244 2: two messages behind a header; offsets are those of the whole."""
    inner = as_req(BODY)
    frame = encode_frame(CHANGE_PASSWORD, inner, inner)
    *_, first, second = frame_tree(frame).children
    assert (first.offset, second.offset) == (6, 6 + len(inner))
    for tree in (first, second):
        body = tree.find("req-body")
        assert body is not None
        assert body.offset is not None
        assert frame[body.offset] == 0xA4
    assert max(node.offset or 0 for node in nodes(second)) < len(frame)
