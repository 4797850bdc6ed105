"""Public keys and registered keys (msDS-KeyCredentialLink), as the tree shows them."""

from datetime import datetime

from directory.model import KeyCredential
from kdc.explain.node import Node
from kdc.explain.text import escape
from kdc.explain.values import time_text
from pki.keys import KeyKind, PublicKey

MAX_CREDENTIALS = 16


def key_text(key: PublicKey) -> str:
    """Describe a public key: kind, size, exponent, and the digest the key index knows it by."""
    what = f"EC {key.curve}"
    if key.kind is KeyKind.RSA:
        what = f"RSA {key.bits} bits, exponent {key.e}"
    return f"{what}, digest {key.digest.hex()[:16]}..."


_SOURCES = {0: "AD", 1: "AzureAD"}
_USAGES = {0: "AdminKey", 1: "NGC", 2: "STK", 3: "BitlockerRecovery", 7: "FIDO", 8: "FEK"}


def credential_tree(credential: KeyCredential, signer: PublicKey | None = None) -> Node:
    """Show one value of msDS-KeyCredentialLink (MS-ADTS 2.2.20).

    signer: the key of the request's signer, when there is one; then it says whether it is the same.
    """
    key = credential.public_key
    state = "usable" if credential.usable else f"NOT usable: {credential.reason}"
    root = Node(name="KeyCredential", value=state)
    rows: list[tuple[str, str]] = [("KeyID", credential.key_id.hex() or "(absent)")]
    if key is not None:
        rows.append(("KeyMaterial", f"{credential.material}: {key_text(key)}"))
        if signer is not None:
            same = key.digest == signer.digest
            rows.append(("(compared)", "the signer's key" if same else "not the signer's key"))
    if credential.usage is not None:
        usage = _USAGES.get(credential.usage, "unknown")
        rows.append(("KeyUsage", f"{credential.usage} {usage}"))
    if credential.source is not None:
        source = _SOURCES.get(credential.source, "unknown")
        rows.append(("KeySource", f"{credential.source} {source}"))
    if credential.device_id is not None:
        rows.append(("DeviceId", str(credential.device_id)))
    times: tuple[tuple[str, datetime | None], ...] = (
        ("KeyApproximateLastLogonTimeStamp", credential.last_logon),
        ("KeyCreationTime", credential.created),
    )
    rows += [(name, time_text(value)) for name, value in times if value is not None]
    rows += [("(note)", warning) for warning in credential.warnings]
    root.children = [Node(name=name, value=escape(value, 200)) for name, value in rows]
    return root
