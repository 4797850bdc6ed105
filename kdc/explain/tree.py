"""A message as a named tree: every field with its ASN.1 name and its value in human form.

The whole of it: down to AuthPack, SignedData, SignerInfo and the certificates. Rules and method
stand in `kdc.explain.reader`; what is inside an OCTET STRING or an ANY in `contents`; how a value
is written in `field_text` and `values`.
"""

from collections.abc import Mapping
from types import ModuleType

from kdc.explain.contents import CONTENTS
from kdc.explain.field_text import TEXTS
from kdc.explain.node import Node
from kdc.explain.reader import Reader, Schema
from kdc.explain.text import count
from kdc.wire import ms_kile, ms_sfu, rfc4120, rfc4556, rfc6113
from kdc.wire.constants import MessageType
from pki import certificate, cms_syntax

MAX_MESSAGE_BYTES = 1024 * 1024
_MESSAGES: Mapping[int, tuple[str, type]] = {
    0x60 | MessageType.AS_REQ: ("AS-REQ", rfc4120.AsReq),
    0x60 | MessageType.AS_REP: ("AS-REP", rfc4120.AsRep),
    0x60 | MessageType.TGS_REQ: ("TGS-REQ", rfc4120.TgsReq),
    0x60 | MessageType.TGS_REP: ("TGS-REP", rfc4120.TgsRep),
    0x60 | MessageType.AP_REQ: ("AP-REQ", rfc4120.ApReq),
    0x60 | MessageType.KRB_ERROR: ("KRB-ERROR", rfc4120.KrbError),
}


def message_name(message: bytes) -> str:
    """Name the kind of a message by its first octet; "" when it is none of Kerberos' own."""
    known = _MESSAGES.get(message[0]) if message else None
    return "" if known is None else known[0]


def message_tree(message: bytes) -> Node:
    """Make the tree of a message. Never raises; see the rules in `kdc.explain.reader`."""
    reader = Reader(message[:MAX_MESSAGE_BYTES], SCHEMA)
    name = message_name(message) or "(no Kerberos message)"
    root = Node(name=name, value=count(len(message), "octet"), offset=0)
    reader.run(root, lambda node: _message(reader, node))
    return root


def _message(reader: Reader, root: Node) -> None:
    end = len(reader.message)
    if not end:
        root.fault = "empty"
        return
    got = reader.header(root, "(header)", 0, end)
    if got is None:
        return
    reader.blame(root, 0)
    tag, element = got
    known = _MESSAGES.get(tag)
    if known is None:
        reader.any(root, element, tag)
    else:
        reader.declared(root, known[1], element)
    if element.end != end:
        reader.fail(root, "(trailing)", element.end, "trailing data")


# -- the tables ------------------------------------------------------------------------------


def _classes(*modules: ModuleType) -> dict[str, type]:
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, type) and "__asn1__" in vars(value):
                found[name] = value
    return found


def _child_value(node: Node, name: str) -> str:
    return next((child.value for child in node.children if child.name == name), "")


def _principal(node: Node) -> str:
    parts = next((c.value for c in node.children if c.name == "name-string"), "")
    return parts.replace('", "', "/")


def _short_oid(text: str) -> str:
    return text.partition(" (")[0]


def _algorithm(node: Node) -> str:
    return _short_oid(_child_value(node, "algorithm"))


def _padata(node: Node) -> str:
    return _child_value(node, "padata-type").partition(" ")[2]


def _extension(node: Node) -> str:
    return _short_oid(_child_value(node, "extnID"))


def _attribute(node: Node) -> str:
    return _short_oid(_child_value(node, "attrType"))


SCHEMA = Schema(
    classes=_classes(rfc4120, rfc4556, rfc6113, ms_kile, ms_sfu, certificate, cms_syntax),
    contents=CONTENTS,
    texts=TEXTS,
    summaries={
        "PrincipalName": _principal,
        "AlgorithmIdentifier": _algorithm,
        "PaData": _padata,
        "Extension": _extension,
        "Attribute": _attribute,
    },
)
