"""The tree that a message becomes: its nodes."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Node:
    """One field of a message."""

    name: str
    """The ASN.1 name of the field, or the name of its type."""
    value: str = ""
    """In human form, on one line, escaped; "" for what only has children."""
    fault: str = ""
    """What is wrong here, in fixed words; "" when nothing is."""
    offset: int | None = None
    """Where the element starts; None for what is not an element of the message."""
    children: list["Node"] = field(default_factory=list)

    def find(self, *path: str) -> "Node | None":
        """Find a descendant by names, each the first match at any depth below the last."""
        found: Node | None = self
        for name in path:
            found = None if found is None else _search(found, name)
        return found

    def as_json(self) -> dict[str, object]:
        """Return the node with stable keys; empty ones are left out."""
        out: dict[str, object] = {"name": self.name}
        if self.offset is not None:
            out["offset"] = self.offset
        if self.value:
            out["value"] = self.value
        if self.fault:
            out["fault"] = self.fault
        if self.children:
            out["children"] = [child.as_json() for child in self.children]
        return out

    def faults(self) -> list["Node"]:
        """List the nodes with a fault, in the order of the message."""
        own = [self] if self.fault else []
        return own + [node for child in self.children for node in child.faults()]


def _search(node: Node, name: str) -> Node | None:
    for child in node.children:
        if child.name == name:
            return child
        found = _search(child, name)
        if found is not None:
            return found
    return None
