"""MS-KILE 2.2: the pre-authentication data that Windows adds to RFC 4120."""

from typing import Final

from kdc.wire.rfc4120 import EncryptionKey
from pki import asn1


@asn1.sequence
class KerbPaPacRequest:
    """KERB-PA-PAC-REQUEST ::= SEQUENCE { include-pac [0] BOOLEAN } (MS-KILE 2.2.3)."""

    include_pac: bool = asn1.explicit(0, asn1.BOOLEAN)


ENCTYPE_BITS = {17: 0x08, 18: 0x10}
"""Bits of PA-SUPPORTED-ENCTYPES and msDS-SupportedEncryptionTypes by encryption type (2.2.7,
2.2.8). There are none for RFC 8009's types."""
AES_SESSION_KEY_BIT = 0x20
"""AES256-CTS-HMAC-SHA1-96-SK: session keys are of AES, whatever seals the ticket (2.2.7)."""
FAST_SUPPORTED = 0x10000
"""FAST-supported: Windows' clients look for it in PA-SUPPORTED-ENCTYPES (2.2.7)."""
ENCTYPE_MASK = 0x3F
"""The bits that name encryption types; others name features (2.2.7)."""


class PacOption:
    """Bits of PA-PAC-OPTIONS as masks of the 32-bit value (2.2.10)."""

    CLAIMS: Final = 1 << 31
    BRANCH_AWARE: Final = 1 << 30
    FORWARD_TO_FULL_DC: Final = 1 << 29
    RESOURCE_BASED_CONSTRAINED_DELEGATION: Final = 1 << 28


@asn1.sequence
class PaPacOptions:
    """PA-PAC-OPTIONS ::= SEQUENCE { flags [0] KerberosFlags } (MS-KILE 2.2.10)."""

    flags: int = asn1.explicit(0, asn1.FLAGS32)


@asn1.sequence
class KerbErrorData:
    """KERB-ERROR-DATA ::= SEQUENCE {

    data-type [1] INTEGER, data-value [2] OCTET STRING OPTIONAL } (2.2.1)
    """

    data_type: int = asn1.explicit(1, asn1.INT32)
    data_value: bytes | None = asn1.explicit(2, asn1.OCTET_STRING, default=None)


KERB_ERR_TYPE_EXTENDED = 3
_EXTENDED_FLAGS = 1


class NtStatus:
    """NTSTATUS values in the e-data of refusals (MS-ERREF 2.3.1)."""

    ACCOUNT_RESTRICTION: Final = 0xC000006E
    INVALID_LOGON_HOURS: Final = 0xC000006F
    PASSWORD_EXPIRED: Final = 0xC0000071
    ACCOUNT_DISABLED: Final = 0xC0000072
    NOT_SUPPORTED: Final = 0xC00000BB
    ACCOUNT_EXPIRED: Final = 0xC0000193
    PASSWORD_MUST_CHANGE: Final = 0xC0000224
    NOT_FOUND: Final = 0xC0000225
    ACCOUNT_LOCKED_OUT: Final = 0xC0000234
    NO_MATCH: Final = 0xC0000272


def extended_error(status: int) -> bytes:
    """Encode a KERB-ERROR-DATA that holds a KERB_EXT_ERROR with this NTSTATUS (2.2.1, 2.2.2)."""
    value = b"".join(word.to_bytes(4, "little") for word in (status, 0, _EXTENDED_FLAGS))
    return asn1.encode(KerbErrorData(data_type=KERB_ERR_TYPE_EXTENDED, data_value=value))


MAX_LISTED_ETYPES = 32  # sixteen encryption types have numbers
KERB_KEY_LIST_REQ = asn1.sequence_of(asn1.INT32, MAX_LISTED_ETYPES)
"""KERB-KEY-LIST-REQ ::= SEQUENCE OF Int32 -- encryption types (2.2.11)."""
KERB_KEY_LIST_REP = asn1.sequence_of(asn1.nested(EncryptionKey), MAX_LISTED_ETYPES)
"""KERB-KEY-LIST-REP ::= SEQUENCE OF EncryptionKey (2.2.12)."""
