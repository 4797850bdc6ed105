"""RFC 3244: the frame of kpasswd, its results, and what a change of password carries.

    message length (2) | protocol version (2) | AP-REQ length (2) | AP-REQ | KRB-PRIV

All numbers are big-endian; the message length counts the whole frame. A reply has version 1 and an
AP-REP in the place of the AP-REQ; with an AP-REP length of 0 a KRB-ERROR follows.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from kdc.wire.rfc4120 import PrincipalName
from pki import asn1

HEADER = struct.Struct(">HHH")

CHANGE_PASSWORD = 1
"""The older protocol, of MIT and Heimdal: user-data is the new password, one's own."""
SET_PASSWORD = 0xFF80
"""RFC 3244: user-data is ChangePasswdData."""
REPLY_VERSION = 1

MAX_RESULT_TEXT_BYTES = 512  # clients show it on one screen


class ResultCode(IntEnum):
    """The first two octets of a reply's user-data (RFC 3244 2)."""

    SUCCESS = 0
    MALFORMED = 1
    HARDERROR = 2
    AUTHERROR = 3
    SOFTERROR = 4
    ACCESSDENIED = 5
    BAD_VERSION = 6
    INITIAL_FLAG_NEEDED = 7


@asn1.sequence
class ChangePasswdData:
    """ChangePasswdData ::= SEQUENCE {

    newpasswd [0] OCTET STRING, targname [1] PrincipalName OPTIONAL, targrealm [2] Realm OPTIONAL }
    """

    newpasswd: bytes = asn1.explicit(0, asn1.OCTET_STRING)
    targname: PrincipalName | None = asn1.explicit(1, asn1.nested(PrincipalName), default=None)
    targrealm: str | None = asn1.explicit(2, asn1.GENERAL_STRING, default=None)

    def __repr__(self) -> str:
        """Never show the password."""
        return "ChangePasswdData(newpasswd=***)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A kpasswd message taken apart; nothing in it is looked at."""

    version: int
    ap: bytes
    """AP-REQ or AP-REP; empty in an error."""
    rest: bytes
    """KRB-PRIV; in an error KRB-ERROR."""


def decode_frame(message: bytes) -> Frame | None:
    """Take a whole message apart; None when its lengths do not fit."""
    if len(message) < HEADER.size:
        return None
    length, version, ap_length = HEADER.unpack_from(message)
    end = HEADER.size + ap_length
    if length != len(message) or end > length:
        return None
    return Frame(version=version, ap=message[HEADER.size : end], rest=message[end:])


def encode_frame(version: int, ap: bytes, rest: bytes) -> bytes:
    """Put a message together. Raises struct.error past 65,535 octets."""
    return HEADER.pack(HEADER.size + len(ap) + len(rest), version, len(ap)) + ap + rest


def encode_result(code: ResultCode, text: str) -> bytes:
    """Encode the user-data of a reply, and the e-data of an error: code and UTF-8 text."""
    shown = text.encode()[:MAX_RESULT_TEXT_BYTES].decode(errors="ignore")
    return int(code).to_bytes(2, "big") + shown.encode()
