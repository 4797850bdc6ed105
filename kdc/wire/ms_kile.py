"""MS-KILE 2.2: the pre-authentication data that Windows adds to RFC 4120."""

from pki import asn1


@asn1.sequence
class KerbPaPacRequest:
    """KERB-PA-PAC-REQUEST ::= SEQUENCE { include-pac [0] BOOLEAN } (MS-KILE 2.2.3)."""

    include_pac: bool = asn1.explicit(0, asn1.BOOLEAN)


PA_SUPPORTED_ENCTYPES_BITS = {17: 0x08, 18: 0x10}
"""Bits of PA-SUPPORTED-ENCTYPES by encryption type (2.2.8); it has none for RFC 8009's types."""
