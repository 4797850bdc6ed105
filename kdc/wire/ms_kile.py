"""MS-KILE 2.2: the pre-authentication data that Windows adds to RFC 4120."""

from pki import asn1


@asn1.sequence
class KerbPaPacRequest:
    """KERB-PA-PAC-REQUEST ::= SEQUENCE { include-pac [0] BOOLEAN } (MS-KILE 2.2.3)."""

    include_pac: bool = asn1.explicit(0, asn1.BOOLEAN)


PA_SUPPORTED_ENCTYPES_AES = 0x18
"""PA-SUPPORTED-ENCTYPES bits AES128-CTS-HMAC-SHA1-96 and AES256-CTS-HMAC-SHA1-96 (2.2.8)."""
