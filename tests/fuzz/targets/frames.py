"""Frames around Kerberos messages are taken apart or refused, and what is read is written alike.

The bytes are read as a message to kpasswd, as its ChangePasswdData, and as a KDC-PROXY-MESSAGE.
"""

from kdc.wire.ms_kkdcp import KdcProxyMessage
from kdc.wire.rfc3244 import ChangePasswdData, decode_frame, encode_frame
from pki import asn1
from pki.errors import PkiError


def one(data: bytes) -> None:
    """Read one message in all three ways."""
    frame = decode_frame(data)
    if frame is not None:
        assert encode_frame(frame.version, frame.ap, frame.rest) == data
    for declared in (ChangePasswdData, KdcProxyMessage):
        try:
            value = asn1.decode(declared, data)
        except PkiError as error:
            assert len(error.detail) < 80
            continue
        assert asn1.encode(value) == data
        if isinstance(value, ChangePasswdData):
            assert repr(value) == "ChangePasswdData(newpasswd=***)"
