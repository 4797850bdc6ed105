"""kpasswd's frame for people: as a tree, and without its ciphers for the recorder (RFC 3244)."""

from kdc.explain.names import kpasswd_version_text
from kdc.explain.node import Node
from kdc.explain.redact import without_ciphers
from kdc.explain.text import count
from kdc.explain.tree import message_tree
from kdc.wire.rfc3244 import HEADER, decode_frame, encode_frame

_FIRST_TAG = 0x60  # Kerberos' own messages start with an APPLICATION tag; a frame of 24 KiB would


def is_frame(message: bytes) -> bool:
    """Tell whether a message is a whole frame of kpasswd."""
    return bool(message) and message[0] < _FIRST_TAG and decode_frame(message) is not None


def frame_tree(message: bytes) -> Node:
    """Make the tree of a frame. Assumes `is_frame`; never raises."""
    root = Node(name="kpasswd", value=count(len(message), "octet"), offset=0)
    frame = decode_frame(message)
    if frame is None:
        root.fault = "lengths that do not fit"
        return root
    root.children = [
        Node(name="message-length", value=str(len(message)), offset=0),
        Node(name="protocol-version", value=kpasswd_version_text(frame.version), offset=2),
        Node(name="AP-REQ-length", value=str(len(frame.ap)), offset=4),
    ]
    if frame.ap:
        root.children.append(_at(HEADER.size, message_tree(frame.ap)))
    rest = _at(HEADER.size + len(frame.ap), message_tree(frame.rest))
    rest.name = "KRB-PRIV" if frame.ap else rest.name
    root.children.append(rest)
    return root


def _at(start: int, tree: Node) -> Node:
    """Count the offsets of a message's tree from the start of the frame that it stands in."""
    if tree.offset is not None:
        tree.offset += start
    for child in tree.children:
        _at(start, child)
    return tree


def redact_frame(message: bytes) -> bytes:
    """Return a request of kpasswd with its ciphers set to zero: in them is a password.

    What is no frame keeps its header alone. Never raises.
    """
    frame = decode_frame(message)
    if frame is None:
        kept = message[: HEADER.size]
        return kept + bytes(len(message) - len(kept))
    parts = (without_ciphers(part) if part else b"" for part in (frame.ap, frame.rest))
    return encode_frame(frame.version, *parts)
