"""A key credential blob never raises: it is usable, or says in one fixed phrase why it is not.

A usable one has the digest of its material as KeyID, and its key written again is the same key.
The bytes are read as key material as well: a value or a PkiError.
"""

from hashlib import sha256

from directory.keycredential import decode_blob, decode_key_credential, format_dn_binary
from directory.keymaterial import MaterialForm, decode_key_material, encode_key_material
from pki.errors import PkiError

_OWNER = "CN=alice,CN=Users,DC=lab,DC=test"


def _read_material(data: bytes) -> None:
    try:
        form, key = decode_key_material(data)
    except PkiError as error:
        assert len(error.detail) < 80
        return
    assert repr(key)
    try:
        written = encode_key_material(key, form)
    except PkiError:
        return
    assert decode_key_material(written) == (form, key)
    if form in (MaterialForm.RSA_PUBLIC_KEY, MaterialForm.BCRYPT):
        assert written == data or form is MaterialForm.BCRYPT


def one(data: bytes) -> None:
    """Read one blob, alone and in its DN-Binary text."""
    _read_material(data)
    credential = decode_blob(data, text="")
    assert credential.usable == (not credential.reason)
    assert len(credential.reason) < 120
    if credential.usable:
        assert credential.public_key is not None
        assert credential.usage == 1
        assert any(sha256(data[at:end]).digest() == credential.key_id for at, end in _entries(data))
    text = format_dn_binary(data, _OWNER)
    value = decode_key_credential(text, owner_dn=_OWNER)
    assert (value.usable, value.reason) == (credential.usable, credential.reason)


def _entries(data: bytes) -> list[tuple[int, int]]:
    """List the entries' ranges: two octets of length, one of identifier, the value."""
    out, at = [], 4
    while at + 3 <= len(data):
        end = at + 3 + int.from_bytes(data[at : at + 2], "little")
        out.append((at + 3, end))
        at = end
    return out
