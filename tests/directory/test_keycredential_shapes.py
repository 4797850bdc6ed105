"""Values of msDS-KeyCredentialLink in the shapes that Windows, Entra ID, Samba and tools write.

tests/vectors/keycredential_shapes.json: `modulus` is that of the key the value was made with,
told by the library that made it; the rest of `expected` is what MS-ADTS 2.2.20 says of the octets.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from directory.keycredential import decode_key_credential

DN = "CN=alice,CN=Users,DC=LAB,DC=TEST"
_FILE = Path(__file__).resolve().parents[1] / "vectors/keycredential_shapes.json"
VECTORS = json.loads(_FILE.read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_a_shape_decodes(vector: dict[str, Any]) -> None:
    """MS-ADTS 2.2.20: only KeyID, KeyMaterial and KeyUsage decide; the rest is recorded."""
    found = decode_key_credential(vector["value"], owner_dn=DN)
    custom = found.custom_key_information
    assert {
        "usable": found.usable,
        "reason": found.reason,
        "material": str(found.material),
        "usage": found.usage,
        "key_source": found.source,
        "device_id": str(found.device_id) if found.device_id else None,
        "custom_key_information": None if custom is None else custom.hex(),
        "created": found.created.isoformat() if found.created else None,
        "last_logon": found.last_logon.isoformat() if found.last_logon else None,
        "warnings": list(found.warnings),
    } == vector["expected"]
    modulus = found.public_key.n if found.public_key is not None else 0
    assert modulus == int(vector["modulus"], 16)
