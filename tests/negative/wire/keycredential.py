"""Values of msDS-KeyCredentialLink, right and wrong (MS-ADTS 2.2.20)."""

import struct
from dataclasses import dataclass, field
from hashlib import sha256

from tests.negative.wire.keys import RsaKey

KEY_ID, KEY_HASH, MATERIAL, USAGE, SOURCE, DEVICE, CUSTOM, LAST_LOGON, CREATED = range(1, 10)
NGC = b"\x01"
FILETIME_2026 = struct.pack("<Q", 134_000_000_000_000_000)
DOTNET_2026 = struct.pack("<Q", 639_000_000_000_000_000 | 1 << 62)


def bcrypt(
    key: RsaKey,
    *,
    magic: bytes = b"RSA1",
    exponent: bytes | None = None,
    modulus_size: int | None = None,
) -> bytes:
    """Encode a BCRYPT_RSAPUBLIC_BLOB."""
    e = key.e.to_bytes((key.e.bit_length() + 7) // 8, "big") if exponent is None else exponent
    n = key.n.to_bytes(key.size, "big")
    size = key.size if modulus_size is None else modulus_size
    return magic + struct.pack("<5I", key.n.bit_length(), len(e), size, 0, 0) + e + n


def entry(identifier: int, value: bytes, *, size: int | None = None) -> bytes:
    """Encode one entry; size: the length it claims."""
    return struct.pack("<HB", len(value) if size is None else size, identifier) + value


@dataclass(kw_only=True)
class KeyCredential:
    """A value for the key's owner; parts can be replaced or left out."""

    material: bytes
    entries: dict[int, bytes | None] = field(default_factory=dict)
    """Identifier -> value; None: left out. Without one: the usual entry."""
    version: int = 0x200
    order: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 9)
    tail: bytes = b""

    def blob(self) -> bytes:
        """Encode the KEYCREDENTIALLINK_BLOB."""
        values: dict[int, bytes | None] = {
            MATERIAL: self.material,
            USAGE: NGC,
            SOURCE: b"\x00",
            DEVICE: bytes(16),
            LAST_LOGON: FILETIME_2026,
            CREATED: FILETIME_2026,
            **self.entries,
        }
        if KEY_ID not in values:
            values[KEY_ID] = sha256(self.material).digest()
        hashed = b"".join(
            entry(i, value)
            for i in self.order
            if i > KEY_HASH and (value := values.get(i)) is not None
        )
        if KEY_HASH not in values:
            values[KEY_HASH] = sha256(hashed + self.tail).digest()
        out = struct.pack("<I", self.version)
        for identifier in self.order:
            value = values.get(identifier)
            if value is not None:
                out += entry(identifier, value)
        return out + self.tail

    def text(self, dn: str) -> str:
        """Encode the DN-Binary value."""
        blob = self.blob()
        return f"B:{2 * len(blob)}:{blob.hex().upper()}:{dn}"


def of(key: RsaKey, **changes: object) -> KeyCredential:
    """Make an honest value for a key, then change its parts."""
    made = KeyCredential(material=bcrypt(key))
    for name, value in changes.items():
        setattr(made, name, value)
    return made
