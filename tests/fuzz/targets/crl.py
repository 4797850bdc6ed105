"""A CRL is read or refused with a PkiError; a serial number is found only if it is in there."""

from pki import der
from pki.crl import Crl
from pki.errors import PkiError

_SERIALS = (0, 1, 7, 127, 128, 255, 65_537, 2**64, 2**159 - 1)


def one(data: bytes) -> None:
    """Read one list."""
    try:
        crl = Crl(data)
    except PkiError as error:
        assert len(error.detail) < 80
        return
    for serial in _SERIALS:
        reason = crl.reason_of(serial)
        if reason is not None:
            assert der.integer_content(serial) in data
            assert 0 <= reason <= 10
    assert crl.entries.steps() <= len(data).bit_length()
