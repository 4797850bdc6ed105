"""A keytab or a credential cache is read or refused with its own error; what was read reads back.

Written again it may differ (holes, old number widths), but it reads to the same entries.
"""

from directory.backend import DirectoryError, DirectoryFault
from directory.keytab import decode_keytab, encode_keytab
from kdc.formats.ccache import CcacheError, decode_ccache, encode_ccache, parse_principal


def _read_keytab(data: bytes) -> None:
    try:
        entries = decode_keytab(data)
    except DirectoryError as error:
        assert error.kind is DirectoryFault.INVALID
        return
    assert all(entry.principal for entry in entries)
    assert decode_keytab(encode_keytab(entries)) == entries


def _read_ccache(data: bytes) -> None:
    try:
        cache = decode_ccache(data)
    except CcacheError:
        return
    assert repr(cache)
    try:
        written = encode_ccache(cache)
    except CcacheError:
        return
    # A ticket without a start is written as starting when it was issued: equal from then on.
    assert encode_ccache(decode_ccache(written)) == written


def one(data: bytes) -> None:
    """Read one file as either."""
    _read_keytab(data)
    _read_ccache(data)
    try:
        principal = parse_principal(data[:300].decode("utf-8", "surrogateescape"))
    except CcacheError:
        return
    assert parse_principal(str(principal)) == principal
