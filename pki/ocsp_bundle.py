"""OCSP responses in one block, found by the certificate they are about and read only when asked.

Thousands of responses are one file to look at and to replace, and cost nobody anything before their
certificate is seen. A block is made by `encode_bundle` and holds what was verified before; who uses
a response verifies it again.

Theory of operation. Magic, a count, then a record for each certificate, sorted: SHA-256 of the
certificate, a mark of the response (16 octets of its SHA-256), offset and length of the response.
The responses follow. All numbers are 32 bits, big-endian.
"""

import hashlib
import struct
from collections.abc import Mapping
from typing import Final

from pki.errors import PkiError, RevocationFault
from pki.ocsp import MAX_OCSP_BYTES

MAX_BUNDLE_BYTES: Final = 64 << 20
MAX_BUNDLED: Final = 16_384
MARK_BYTES: Final = 16

_MAGIC: Final = b"KTOCSP1\n"
_HEAD: Final = struct.Struct(">8sI")
_RECORD: Final = struct.Struct(f">32s{MARK_BYTES}sII")
_DIGEST_BYTES: Final = 32


def encode_bundle(responses: Mapping[bytes, bytes]) -> bytes:
    """Encode responses (DER) by the SHA-256 of their certificates."""
    at = _HEAD.size + len(responses) * _RECORD.size
    records, bodies = [], []
    for digest in sorted(responses):
        body = responses[digest]
        mark = hashlib.sha256(body).digest()[:MARK_BYTES]
        records.append(_RECORD.pack(digest, mark, at, len(body)))
        bodies.append(body)
        at += len(body)
    return b"".join((_HEAD.pack(_MAGIC, len(records)), *records, *bodies))


class OcspBundle:
    """A block of responses. Raises PkiError(MALFORMED) when it is none."""

    __slots__ = ("_buffer", "_count", "edition")

    def __init__(self, buffer: bytes = b"") -> None:
        """buffer: what `encode_bundle` made, kept as it is; empty: no responses."""
        self.edition = object()
        """Stands for this block, and keeps none of it in memory."""
        self._buffer = buffer
        self._count = 0
        if not buffer:
            return
        if not _HEAD.size <= len(buffer) <= MAX_BUNDLE_BYTES:
            raise PkiError(RevocationFault.MALFORMED, "size of the OCSP bundle")
        magic, self._count = _HEAD.unpack_from(buffer)
        room = (len(buffer) - _HEAD.size) // _RECORD.size
        if magic != _MAGIC or self._count > min(room, MAX_BUNDLED):
            raise PkiError(RevocationFault.MALFORMED, "head of the OCSP bundle")

    def __len__(self) -> int:
        return self._count

    def mark(self, certificate: bytes) -> bytes | None:
        """Return what changes when the response to a certificate does; None: there is none.

        certificate: its SHA-256.
        """
        found = self._find(certificate)
        return None if found is None else found[0]

    def response(self, certificate: bytes) -> bytes | None:
        """Return the response (DER) to a certificate, by its SHA-256. Raises PkiError(MALFORMED)"""
        found = self._find(certificate)
        if found is None:
            return None
        _, at, length = found
        if length > MAX_OCSP_BYTES or at + length > len(self._buffer):
            raise PkiError(RevocationFault.MALFORMED, "record of the OCSP bundle")
        return self._buffer[at : at + length]

    def items(self) -> dict[bytes, bytes]:
        """Return all responses by the SHA-256 of their certificates. Raises PkiError(MALFORMED)."""
        out = {}
        for index in range(self._count):
            start = _HEAD.size + index * _RECORD.size
            digest = self._buffer[start : start + _DIGEST_BYTES]
            body = self.response(digest)
            if body is not None:
                out[digest] = body
        return out

    def _find(self, certificate: bytes) -> tuple[bytes, int, int] | None:
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            start = _HEAD.size + middle * _RECORD.size
            digest = self._buffer[start : start + _DIGEST_BYTES]
            if digest == certificate:
                _, mark, at, length = _RECORD.unpack_from(self._buffer, start)
                return mark, at, length
            if digest < certificate:
                low = middle + 1
            else:
                high = middle
        return None
