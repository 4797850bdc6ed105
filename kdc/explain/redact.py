"""Taking out of a message what could be attacked offline, before the message is kept.

What a request holds is known to its sender and, but for one thing, useless to others: an encrypted
timestamp is sealed with a key made of a password, so whoever has it can try passwords at leisure.
Tickets of services may be sealed with such a key as well.

Rules
  1. What is taken out is replaced by zeros of the same length: the message still decodes.
  2. A message that is not DER may hold the same thing in another form. The search is for the
     shape, not for the type, and when in doubt it takes out more.
"""

import re
from contextlib import suppress

from kdc.wire.constants import MessageType
from kdc.wire.rfc4120 import EncryptedData
from pki import asn1, der
from pki.errors import DerFault, PkiError

_TGS_REQ = 0x60 | MessageType.TGS_REQ
_AP_REQ = 0x60 | MessageType.AP_REQ

# A length in any form that BER knows, minimal or not.
_LENGTH = rb"(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)"
_SEALED_PADATA = re.compile(
    # padata-type [1] INTEGER 2 (PA-ENC-TIMESTAMP), 5 (PA-ENC-UNIX-TIME) or 138
    # (PA-ENCRYPTED-CHALLENGE), then padata-value [2], from whose tag on we look. Not a KDC-REQ's
    # own pvno [1] 5, msg-type [2] 10 or 12. An EncryptedData of key version 2 or 5 looks the same;
    # its cipher goes as well.
    rb"\xa1" + _LENGTH + rb"\x02" + _LENGTH + rb"\x00*[\x02\x05\x8a](?:\x00\x00)?"
    rb"(?=\xa2)(?!\xa2\x03\x02\x01[\x0a\x0c])",
    re.DOTALL,
)
MAX_SEALED = 64
"""Shapes that are taken out one by one, as many as a request has padata; after them all goes."""
_MIN_SEALED_BYTES = 24
"""No ciphertext is shorter; names of keys and checksums of 16 and 20 octets are."""


def redact(message: bytes) -> bytes:
    """Return a message with the ciphers of passwords' timestamps and of tickets set to zero.

    A message without them is returned as it is. Never raises.
    """
    if message[:1] == bytes((_TGS_REQ,)):
        return without_ciphers(message)
    found = _SEALED_PADATA.search(message)
    if found is None:
        return message
    out = bytearray(message)
    for _ in range(MAX_SEALED):
        # On from its end: each octet is looked at once, however many shapes begin in it.
        end = _blank_padata_value(message, out, found.end())
        found = _SEALED_PADATA.search(message, end)
        if found is None:
            return bytes(out)
    out[found.end() :] = bytes(len(message) - found.end())
    return bytes(out)


def is_blank(cipher: bytes) -> bool:
    """Tell whether a cipher was taken out."""
    return len(cipher) > 0 and not any(cipher)


def _blank_padata_value(message: bytes, out: bytearray, at: int) -> int:
    """Blank the cipher of the EncryptedData in padata-value [2], whose tag stands at `at`.

    Returns where it ends.
    """
    try:
        _, start, whole = der.read_tlv(message, at)
        _, start, end = der.read_tlv(message, start, whole)
        if end != whole:  # a shorter length would leave the cipher standing behind the value
            der.fail(DerFault.TRAILING_DATA, "padata-value")
    except (PkiError, IndexError):
        # Not DER: how far it reaches cannot be said.
        start, end = at + 1, len(message)
    with suppress(PkiError):  # when it is no EncryptedData, all of it goes
        # The cipher is the last field, so the value ends with it.
        start = end - len(asn1.decode(EncryptedData, message[start:end]).cipher)
    out[start:end] = bytes(end - start)
    return end


def without_ciphers(message: bytes) -> bytes:
    """Blank every OCTET STRING of a cipher's size in a message; all of it when it is not DER."""
    out = bytearray(message)
    try:
        der.walk(message)
        stack = [(0, len(message))]
        while stack:
            for tag, _, start, end in der.children(message, *stack.pop()):
                if tag & 0x20 or (tag == der.OCTET_STRING and message[start] == _AP_REQ):
                    stack.append((start, end))
                elif tag == der.OCTET_STRING and end - start >= _MIN_SEALED_BYTES:
                    out[start:end] = bytes(end - start)
    except (PkiError, IndexError):
        return message[:1] + bytes(len(message) - 1)
    return bytes(out)
