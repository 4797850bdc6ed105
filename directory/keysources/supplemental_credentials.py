"""supplementalCredentials: the keys of a password as Active Directory and Samba keep them. Pure.

MS-SAMR 2.2.10.1 USER_PROPERTIES holds named properties, each value in hexadecimal digits. The one
read here is `Primary:Kerberos-Newer-Keys`, a KERB_STORED_CREDENTIAL_NEW (2.2.10.6): the keys of the
password, of the one before and of the one before that. All numbers are little-endian.
"""

import struct
from dataclasses import dataclass, field
from typing import NoReturn

NEWER_KEYS = "Primary:Kerberos-Newer-Keys"
MAX_BYTES = 1024 * 1024  # what one property's 16-bit length allows, sixteen times
MAX_PROPERTIES = 64  # Windows writes five
MAX_KEYS = 64  # of one KERB_STORED_CREDENTIAL_NEW; Windows writes nine
DEFAULT_ITERATIONS = 4096  # RFC 3962 4; MS-SAMR 3.1.1.8.11.6 prescribes it

_HEAD = struct.Struct("<IIHH")
_SIGNATURE_AT = _HEAD.size + 96
_SIGNATURE = 0x50
_PROPERTY = struct.Struct("<HHH")
_STORED = struct.Struct("<HHHHHHHHII")
_KEY = struct.Struct("<HHIIIII")
_REVISION = 4


class BadCredentialsError(ValueError):
    """A blob that is not what MS-SAMR 2.2.10 describes; the text says where, never a secret."""


def _bad(why: str) -> NoReturn:
    raise BadCredentialsError(f"supplementalCredentials: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """One key of a password."""

    etype: int
    iterations: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeys:
    """The keys of the last three passwords, and the salt of all of them."""

    salt: str
    current: tuple[StoredKey, ...]
    old: tuple[StoredKey, ...]
    older: tuple[StoredKey, ...]


def properties(blob: bytes) -> dict[str, bytes]:
    """Split USER_PROPERTIES into name and value. Raises BadCredentialsError."""
    if len(blob) > MAX_BYTES:
        _bad("too large")
    if len(blob) < _SIGNATURE_AT:
        _bad("cut short")
    _, length, _, _ = _HEAD.unpack_from(blob)
    # Length counts what follows itself and the two reserved fields; one octet comes after that.
    if len(blob) - _HEAD.size - length not in (0, 1):
        _bad("its length is wrong")
    end = _HEAD.size + length
    if end < _SIGNATURE_AT + 2:
        _bad("cut short")
    (signature,) = struct.unpack_from("<H", blob, _SIGNATURE_AT)
    if signature != _SIGNATURE:
        _bad("not signed with P")
    pos = _SIGNATURE_AT + 2
    if end - pos < 2:
        return {}  # "When there are zero USER_PROPERTY elements ... this field MUST be omitted"
    (count,) = struct.unpack_from("<H", blob, pos)
    pos += 2
    if count > MAX_PROPERTIES:
        _bad("too many properties")
    found: dict[str, bytes] = {}
    for _ in range(count):
        if pos + _PROPERTY.size > end:
            _bad("a property is cut short")
        name_size, value_size, _ = _PROPERTY.unpack_from(blob, pos)
        pos += _PROPERTY.size
        if pos + name_size + value_size > end:
            _bad("a property runs past the end")
        try:
            name = blob[pos : pos + name_size].decode("utf-16-le")
            digits = blob[pos + name_size : pos + name_size + value_size]
            value = bytes.fromhex(digits.decode("ascii"))
        except ValueError:
            _bad("a property does not read")
        if 2 * len(value) != len(digits) or name in found:
            _bad("a property does not read")
        found[name] = value
        pos += name_size + value_size
    return found


def decode_newer_keys(blob: bytes) -> StoredKeys:
    """Decode KERB_STORED_CREDENTIAL_NEW (MS-SAMR 2.2.10.6). Raises BadCredentialsError."""
    if len(blob) < _STORED.size:
        _bad("Kerberos-Newer-Keys is cut short")
    head = _STORED.unpack_from(blob)
    revision, _, current, service, old, older, salt_size, _, salt_at, _ = head
    if revision != _REVISION:
        _bad("Kerberos-Newer-Keys is of another revision")
    if current + service + old + older > MAX_KEYS:
        _bad("Kerberos-Newer-Keys has too many keys")
    if salt_at + salt_size > len(blob):
        _bad("the salt runs past the end")
    try:
        salt = blob[salt_at : salt_at + salt_size].decode("utf-16-le")
    except ValueError:
        _bad("the salt does not read")
    groups: list[tuple[StoredKey, ...]] = []
    pos = _STORED.size
    for count in (current, service, old, older):
        keys = tuple(_key_at(blob, pos + i * _KEY.size) for i in range(count))
        groups.append(keys)
        pos += count * _KEY.size
    return StoredKeys(salt=salt, current=groups[0], old=groups[2], older=groups[3])


def _key_at(blob: bytes, pos: int) -> StoredKey:
    """Decode one KERB_KEY_DATA_NEW (MS-SAMR 2.2.10.7)."""
    if pos + _KEY.size > len(blob):
        _bad("a key's description is cut short")
    _, _, _, iterations, etype, size, start = _KEY.unpack_from(blob, pos)
    if start + size > len(blob):
        _bad("a key runs past the end")
    return StoredKey(etype=etype, iterations=iterations, key=blob[start : start + size])


def newer_keys(blob: bytes) -> StoredKeys | None:
    """Return the Kerberos keys in supplementalCredentials, None when it holds none.

    Raises BadCredentialsError.
    """
    value = properties(blob).get(NEWER_KEYS)
    return None if value is None else decode_newer_keys(value)
