"""PEM armour (RFC 7468) around one DER value; DER itself passes as it is."""

import base64
import binascii
import re

from pki.errors import DerFault, PkiError

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----\s(.*?)-----END \1-----", re.DOTALL)


def from_pem(data: bytes) -> bytes:
    """Return the content of the first PEM block, or the data unchanged when there is none.

    Raises PkiError when a block is not base64.
    """
    if b"-----BEGIN" not in data:
        return data
    match = _BLOCK.search(data)
    if match is None:
        raise PkiError(DerFault.BAD_VALUE, "PEM")
    try:
        return base64.b64decode(b"".join(match[2].split()), validate=True)
    except binascii.Error:
        raise PkiError(DerFault.BAD_VALUE, "PEM") from None
